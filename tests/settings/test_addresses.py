"""Tests of pomeriumd.settings.addresses."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network
from typing import Any

import hypothesis
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.settings import addresses
from pomeriumd.settings.reads import Unfit
from pomeriumd.settings.values import Address, Origin, UpstreamURL

LABEL = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
NAME = st.lists(LABEL, min_size=1, max_size=4).map(".".join)
HOST = NAME | st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map(str)


class AddressTests(SynchronousTestCase):
    """URLs, addresses and networks come out canonical or are refused in full words."""

    def refuses(self, read: Callable[[object], Any], found: object, text: str) -> None:
        """Assert that a value is refused in exactly these words."""
        with self.assertRaises(Unfit) as caught:
            read(found)
        self.assertEqual(str(caught.exception), text)

    def test_origins(self) -> None:
        """One origin has one spelling."""
        for found, origin in (
            ("https://A.Example", Origin("https", "a.example", 443)),
            ("HTTPS://a.example.:443/", Origin("https", "a.example", 443)),
            ("http://a:8080", Origin("http", "a", 8080)),
            ("https://b\u00fccher.example", Origin("https", "xn--bcher-kva.example", 443)),
            ("https://[2001:DB8:0::1]:8443", Origin("https", "[2001:db8::1]", 8443)),
            ("https://192.0.2.1", Origin("https", "192.0.2.1", 443)),
        ):
            self.assertEqual(addresses.route_origin(found), origin)

    def test_refused_origins(self) -> None:
        """What is no origin is refused with what was found."""
        read = addresses.route_origin
        for found, text in (
            ("ftp://a", "want http:// or https://, got 'ftp://a'"),
            ("a.example", "want http:// or https://, got 'a.example'"),
            ("https://", "no host in 'https://'"),
            ("https://a/b", "want no path, got '/b'; put it in 'path' or 'prefix'"),
            ("https://a?b", "want scheme, host and port only, got 'https://a?b'"),
            ("https://a#b", "want scheme, host and port only, got 'https://a#b'"),
            ("https://a:0", "want a port of 1 to 65535, got 0"),
            ("https://a:65536", "want a port of 1 to 65535, got 65536"),
            ("https://a:b", "want host or host:port, got 'https://a:b'"),
            ("https://[::1", "want host or host:port, got 'https://[::1'"),
            ("https://[::g]", "want an IPv6 address in brackets, got '[::g]'"),
            ("https://[fe80::1%eth0]", "want an IPv6 address in brackets, got '[fe80::1%eth0]'"),
            ("https://127.1", "want a host name or an IP address, got '127.1'"),
            ("https://0x7f.1", "want a host name or an IP address, got '0x7f.1'"),
            ("https://*.a", "not yet: wildcards, as in '*.a'; want one host name"),
            ("https://a..b", "want a host name, got 'a..b'"),
            ("https://a b", "want a host name, got 'a b'"),
            ("https://a\\b", "want a host name, got 'a\\\\b'"),
            ("https://" + "a" * 64, "want a host name, got '" + "a" * 60 + "'..."),
            ("https://\u2488.example", r"want a host name, got '\u2488.example'"),
            ("tcp+https://a:22", "not yet: tcp+https://; want http:// or https://"),
            (12, "want text, got a number; put it in quotes"),
        ):
            self.refuses(read, found, text)

    def test_passwords_are_not_shown(self) -> None:
        """A URL with a password in it is refused without it."""
        for read in (addresses.route_origin, addresses.upstream, addresses.issuer):
            self.refuses(read, "https://u:hunter2@a", "want a URL without user name and password")
        self.refuses(
            addresses.upstream,
            "ftp://u:hunter2@a",
            "want http:// or https://, got text with an @ in it",
        )

    def test_services(self) -> None:
        """A service of ours has no path."""
        self.refuses(
            addresses.service_origin,
            "https://a/b",
            "want scheme, host and port only, got the path '/b'",
        )

    def test_upstreams(self) -> None:
        """An upstream may have a path, which loses its last slash."""
        self.assertEqual(addresses.upstream("http://a:81/x/"), UpstreamURL("http", "a", 81, "/x"))
        self.assertEqual(addresses.upstream("https://[::1]/"), UpstreamURL("https", "::1", 443, ""))
        self.assertEqual(addresses.upstream("http://my_app"), UpstreamURL("http", "my_app", 80, ""))

    def test_refused_upstreams(self) -> None:
        """What Pomerium has and we do not is named so."""
        read = addresses.upstream
        for found, text in (
            ("h2c://a", "not yet: h2c://; want http:// or https://"),
            ("http+unix:///x", "not yet: http+unix://; want http:// or https://"),
            ("http://a,3", "want a host name, got 'a,3'"),
            ("http://a/,3", "not yet: weights, as in 'http://a/,3'; want one URL"),
            ("http://a/,3/", "not yet: weights, as in 'http://a/,3/'; want one URL"),
            ("http://a/?b", "want no query and no fragment, got 'http://a/?b'"),
            ("http://a/b c", "want other characters of the path as %XX, got '/b c'"),
            ("http://a/%2-0b", "want other characters of the path as %XX, got '/%2-0b'"),
            ("http://a/b%", "want other characters of the path as %XX, got '/b%'"),
            ("http://a/../b", "want a path without . and .. segments, got '/../b'"),
            ("http://a/b/%2E.", "want a path without . and .. segments, got '/b/%2E.'"),
            ("http://a/b%2f./c", "want a path without . and .. segments, got '/b%2f./c'"),
        ):
            self.refuses(read, found, text)

    def test_issuers(self) -> None:
        """An issuer stays as it was written; plain http is for loopback."""
        for found in ("https://id.example/realms/A/", "http://localhost:9000", "http://[::1]/"):
            self.assertEqual(addresses.issuer(found), found)
        for found in ("http://id.example", "http://127.0.0.1.example", "http://10.0.0.1"):
            self.refuses(
                addresses.issuer,
                found,
                f"want https:// (http:// on loopback only), got '{found}'",
            )

    def test_listening(self) -> None:
        """Where to listen, in all its forms."""
        for found, address in (
            (":443", Address("", 443)),
            ("127.0.0.1:0", Address("127.0.0.1", 0)),
            ("[::1]:8443", Address("::1", 8443)),
            ("localhost:1", Address("localhost", 1)),
        ):
            self.assertEqual(addresses.listen_address(found), address)
        for found in ("::1:443", "443", "a", "https://a:443", "[::1]", ":"):
            self.refuses(
                addresses.listen_address,
                found,
                f"want :port, host:port or [IPv6]:port, got '{found}'",
            )
        self.refuses(addresses.listen_address, 443, "want host:port, got 443; write ':443'")
        self.refuses(addresses.listen_address, ":65536", "want a port of 0 to 65535, got 65536")

    def test_networks(self) -> None:
        """An address is a network of one; everybody is no proxy."""
        self.assertEqual(addresses.network("192.0.2.1"), IPv4Network("192.0.2.1/32"))
        self.assertEqual(addresses.network("2001:db8::/32"), IPv6Network("2001:db8::/32"))
        for found in ("0.0.0.0/0", "::/0"):
            self.refuses(
                addresses.network,
                found,
                f"{found} is everybody: any client could say who it is; name the proxies",
            )
        self.refuses(
            addresses.network,
            "10.0.0.1/8",
            "want an address or a network, got '10.0.0.1/8'; the address has bits beyond the mask",
        )
        self.refuses(addresses.network, "a", "want an address or a network, got 'a'")

    def test_loopback(self) -> None:
        """Only what cannot be another machine is loopback."""
        good = ["localhost", "x.localhost", "127.3.2.1", "::1", "[::1]"]
        bad = ["localhost.example", "127.0.0.1.example", "10.0.0.1", "notlocalhost"]
        self.assertEqual([addresses.is_loopback(name) for name in good], [True] * 5)
        self.assertEqual([addresses.is_loopback(name) for name in bad], [False] * 4)

    @hypothesis.settings(deadline=None)
    @given(st.sampled_from(["http", "https"]), HOST, st.integers(1, 65535))
    def test_canonical_is_fixed(self, scheme: str, host: str, port: int) -> None:
        """An origin's own text reads as that origin, whatever the case it was written in."""
        found = f"{scheme}://{addresses.bracketed(host)}:{port}"
        origin = addresses.route_origin(found.upper())
        self.assertEqual(addresses.route_origin(origin.text), origin)
        self.assertEqual(origin.port, port)

    @hypothesis.settings(deadline=None)
    @given(st.text())
    def test_any_text_is_read_or_refused(self, found: str) -> None:
        """No text makes a reader fail in another way than by refusing."""
        for read in (
            addresses.route_origin,
            addresses.upstream,
            addresses.issuer,
            addresses.listen_address,
            addresses.network,
            addresses.name_or_address,
        ):
            for text in (found, f"https://{found}", f"{found}:443"):
                try:
                    read(text)
                except Unfit as error:
                    self.assertTrue(str(error).isascii())
