"""Tests for pomeriumd.http.host: one spelling of a host."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.errors import BadMessage
from pomeriumd.http.host import authority


def refusal(value: bytes) -> str:
    """Return the text with which a Host is refused."""
    try:
        return f"passed: {authority(value)!r}"
    except BadMessage as error:
        return str(error)


class AuthorityTests(SynchronousTestCase):
    """authority() gives a canonical host and the port that was named."""

    def test_spellings_of_a_name(self) -> None:
        """P8: case and one trailing dot make no other host."""
        for value in (b"app.example", b"APP.Example", b"app.example.", b"App.EXAMPLE."):
            self.assertEqual(authority(value), (b"app.example", None))
            self.assertEqual(authority(value + b":8443"), (b"app.example", 8443))

    def test_addresses(self) -> None:
        """IPv6 has one form, in brackets."""
        self.assertEqual(
            [
                authority(b"127.0.0.1:80"),
                authority(b"[::1]"),
                authority(b"[0:0:0:0:0:0:0:1]:8443"),
                authority(b"[2001:DB8::0A]"),
                authority(b"[::ffff:10.0.0.1]"),
            ],
            [
                (b"127.0.0.1", 80),
                (b"[::1]", None),
                (b"[::1]", 8443),
                (b"[2001:db8::a]", None),
                (b"[::ffff:a00:1]", None),
            ],
        )

    def test_what_is_no_host(self) -> None:
        """P9 and P14: nothing that another reader cuts, folds or decodes."""
        grammar = "Host is not a host name or address with an optional port"
        cases = dict.fromkeys(
            [
                *(b"a%bb" % bytes((octet,)) for octet in b"/?#@\\% \t,;'\"<>()[]{}|^`~!$&*+="),
                "a\uff0eexample".encode(),
                b"a\xff",
                b"a\0",
                b"user@a",
                b"user:pass@a",
                b"http://a",
                b".",
                b".a",
                b"-a",
                b"a-",
                b"a..",
                b"a:",
                b"a:b",
                b"a:-1",
                b"a:+1",
                b"a: 1",
                b"a:123456",
                b"a:1:2",
                b"::1",
                b"[::1",
                b"[]",
                b"[::1]a",
                b"[fe80::1%25eth0]",
                b"[fe80::1%eth0]",
                b"[v1.a]",
            ],
            grammar,
        )
        cases |= {
            b"": "Host is empty",
            b"a:0": "Host names port 0, want 1 to 65535",
            b"a:65536": "Host names port 65536, want 1 to 65535",
            b"[:::1]": "Host is not an IPv6 address",
            b"[1.2.3.4]": "Host is not an IPv6 address",
            b"a..b": "Host has an empty or overlong label",
            b"a" * 64 + b".b": "Host has an empty or overlong label",
            b"a." * 127 + b"b": "Host has an empty or overlong label",
        }
        self.assertEqual({case: refusal(case) for case in cases}, cases)

    @given(st.from_regex(rb"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,20}[A-Za-z0-9_])?", fullmatch=True))
    def test_canonical_is_canonical(self, value: bytes) -> None:
        """Done twice is done once."""
        if not refusal(value).startswith("Host"):
            host, _ = authority(value)
            self.assertEqual(authority(host), (host, None))
