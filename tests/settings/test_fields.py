"""Tests of pomeriumd.settings.fields."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import hypothesis
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.settings import fields
from pomeriumd.settings.reads import Unfit

MAKES_ONE = "; `head -c32 /dev/urandom | base64` makes one"


class FieldTests(SynchronousTestCase):
    """Each reader takes what is right and says in full what is not."""

    def refuses(self, read: Callable[[object], Any], found: object, text: str) -> None:
        """Assert that a value is refused in exactly these words."""
        with self.assertRaises(Unfit) as caught:
            read(found)
        self.assertEqual(str(caught.exception), text)

    def test_text(self) -> None:
        """Text is one printable line."""
        self.assertEqual(fields.text("a b"), "a b")
        self.assertEqual(fields.text(b"a b\r\n"), "a b")
        self.refuses(fields.text, 12, "want text, got a number; put it in quotes")
        self.refuses(fields.text, True, "want text, got true or false; put it in quotes")
        self.refuses(fields.text, "", "want text, got an empty one")
        self.refuses(fields.text, "a\nb", "holds a control character or a line break")
        self.refuses(fields.text, "a\x1b[0m", "holds a control character or a line break")
        self.refuses(fields.text, "a" * 4097, "want at most 4096 characters, got 4097")
        self.refuses(fields.text, b"\xff", "is not UTF-8")
        self.refuses(fields.text, None, "want text, got nothing")

    def test_flag(self) -> None:
        """A flag is true or false, in quotes or not."""
        self.assertEqual(
            [fields.flag(x) for x in (True, "TRUE", False, "false")], [True, True, False, False]
        )
        self.refuses(fields.flag, "yes", "want true or false, got 'yes'")
        self.refuses(fields.flag, 1, "want true or false, got a number")

    def test_count(self) -> None:
        """A number has bounds."""
        read = fields.count(1, 10)
        self.assertEqual([read(1), read("10")], [1, 10])
        self.refuses(read, 0, "want 1 to 10, got 0")
        self.refuses(read, "11", "want 1 to 10, got 11")
        self.refuses(read, 1.5, "want a whole number, got a number")
        self.refuses(read, True, "want a whole number, got true or false")
        self.refuses(read, "-1", "want a whole number, got '-1'")

    def test_one_of(self) -> None:
        """One word of a few; those that are to come are named so."""
        read = fields.one_of("a", "b", "c", not_yet=("d",))
        self.assertEqual(read("b"), "b")
        self.refuses(read, "x", "want a, b or c, got 'x'")
        self.refuses(read, "d", "not yet: 'd'; want a, b or c")
        self.refuses(fields.one_of("all"), "x", "want all, got 'x'")

    def test_same_site(self) -> None:
        """Strict is refused with the reason."""
        self.assertEqual([fields.same_site("Lax"), fields.same_site("none")], ["lax", "none"])
        self.refuses(
            fields.same_site,
            "Strict",
            "'strict' breaks every login: the browser leaves the cookies out when the provider "
            "sends the user back; want lax or none",
        )

    def test_cookie_name(self) -> None:
        """A cookie name is a token without the prefixes that browsers read."""
        self.assertEqual(fields.cookie_name("_pomerium"), "_pomerium")
        self.refuses(
            fields.cookie_name, "a b", "want a cookie name of letters, digits and dashes, got 'a b'"
        )
        self.refuses(
            fields.cookie_name,
            "__HOST-x",
            "want no prefix, got '__HOST-x'; __Host- is added where it can be",
        )

    def test_header_value(self) -> None:
        """A header's value is one line of printable ASCII, and is never shown."""
        self.assertEqual(fields.header_value(""), "")
        odd = "holds a character that a header field may not: want printable ASCII"
        for found in ("a\r\nB: c", "a\nb", "\x00", "caf\u00e9", "\x7f"):
            self.refuses(fields.header_value, found, odd)
        self.refuses(fields.header_value, " a", "begins or ends with a space")
        not_yet = "not yet: $pomerium. substitutions"
        self.refuses(fields.response_header_value, "${pomerium.id_token}", not_yet)
        self.refuses(fields.header_value, 1, "want text, got a number; put it in quotes")

    def test_request_header_names(self) -> None:
        """A route sets no field that the connection, or the application's trust, rests on."""
        self.assertEqual(fields.request_header_name("Authorization"), "Authorization")
        for name in ("Connection", "transfer-encoding", "TE", "Content-Length", "Upgrade"):
            self.refuses(
                fields.request_header_name,
                name,
                f"{name} is not for settings: it belongs to the connection",
            )
        for name in ("X-Pomerium-Jwt-Assertion", "x_pomerium_claim", "X.Pomerium-X"):
            self.refuses(
                fields.request_header_name, name, f"{name} is ours alone: the application trusts it"
            )
        self.refuses(
            fields.request_header_name, "hOST", "Host is not set here; see 'preserve_host_header'"
        )

    def test_response_header_names(self) -> None:
        """Fields that each response has of its own are not for settings."""
        self.refuses(
            fields.response_header_name,
            "Set-Cookie",
            "Set-Cookie is not for settings: it belongs to each response",
        )

    def test_user(self) -> None:
        """A user is an address with one @, or an id with none."""
        self.assertEqual(
            [fields.user("a@b.c"), fields.user("10769150350006150715113082367")],
            ["a@b.c", "10769150350006150715113082367"],
        )
        self.refuses(fields.user, "a@b@c", "want one @ at most, got 'a@b@c'")
        self.refuses(fields.user, "@b", "want name@domain or a user id, got '@b'")
        self.refuses(fields.user, "a@", "want name@domain or a user id, got 'a@'")
        self.refuses(fields.user, "a b", "want no spaces, got 'a b'")

    def test_domain(self) -> None:
        """A domain is labels and dots."""
        self.assertEqual(fields.domain("Example.COM"), "example.com")
        self.refuses(fields.domain, "@a.b", "want a domain without @, got '@a.b'")
        self.refuses(fields.domain, ".a.b", "want a domain without a leading dot, got '.a.b'")
        for found in ("*.a.b", "a..b", "-a.b", "https://a", "a.b."):
            self.refuses(fields.domain, found, f"want a domain such as example.com, got '{found}'")

    def test_path(self) -> None:
        """A path is written as rules and upstream see it."""
        self.assertEqual(fields.path("/a/%C3%A4;b"), "/a/%C3%A4;b")
        self.refuses(fields.path, "a", "want a path that begins with /, got 'a'")
        self.refuses(fields.path, "/a?b", "want a path without a query, got '/a?b'")
        for found, form in (
            ("/a/../b", "/b"),
            ("/%c3%a4", "/%C3%A4"),
            ("/%41", "/A"),
            ("/./a", "/a"),
        ):
            self.refuses(fields.path, found, f"requests have it as '{form}', got '{found}'")
        self.refuses(fields.path, "/\u00e4", r"want ASCII, other characters as %XX, got '/\xe4'")

    def test_paths_that_no_request_has(self) -> None:
        """A rule on a path that is refused before any rule would never hold."""
        for found in ("/a%2Fb", "/%5c", "/%00", "/%3B", "/%25", "/%3F", "/%23", "/%4", "/a#b"):
            with self.assertRaises(Unfit) as caught:
                fields.path(found)
            self.assertTrue(
                str(caught.exception).startswith(f"no request has the path '{found}': ")
            )

    def test_algorithms(self) -> None:
        """Only what a public key verifies is taken."""
        for found in ("HS256", "none", "rs256"):
            with self.assertRaises(Unfit):
                fields.algorithm(found)
        self.assertEqual(fields.algorithm("EdDSA"), "EdDSA")

    def test_long_text_is_cut(self) -> None:
        """An error shows the beginning of a long text only."""
        self.refuses(fields.one_of("all"), "x" * 100, "want all, got '" + "x" * 60 + "'...")


class DurationTests(SynchronousTestCase):
    """Durations are Go's, with their units."""

    def test_reads_go(self) -> None:
        """Units add up; fractions count."""
        read = fields.duration(0.001, 1e9, zero=True)
        found = [
            "1h30m",
            "500ms",
            "1.5h",
            ".5s",
            "30s",
            "1m0s",
            "0",
            0,
            "250us",
            "2h45m30.5s",
            "1.1h",
        ]
        wanted = [5400.0, 0.5, 5400.0, 0.5, 30.0, 60.0, 0.0, 0.0, None, 9930.5, 3960.0]
        for text, seconds in zip(found, wanted, strict=True):
            if seconds is None:
                with self.assertRaises(Unfit):
                    read(text)
            else:
                self.assertEqual(read(text), seconds)

    def refuses(self, found: object, text: str) -> None:
        """Assert that a duration is refused in exactly these words."""
        with self.assertRaises(Unfit) as caught:
            fields.duration(1, 3600)(found)
        self.assertEqual(str(caught.exception), text)

    def test_no_unit(self) -> None:
        """A number without a unit gets a hint; to Go it would be nanoseconds."""
        self.refuses(30, "no unit in 30; write 30s or 30m")
        self.refuses("30", "no unit in '30'; write 30s or 30m")
        self.refuses(1.5, "no unit in 1.5; write 1.5s or 1.5m")

    def test_no_duration(self) -> None:
        """What is no duration is shown."""
        for found in ("1d", "h", "1h 30m", "-5m", "1h30", "\u0661s", "1e3s"):
            wanted = f"want a duration such as 30s, 5m or 1h30m, got {found!a}"
            self.refuses(found, wanted)

    def test_bounds(self) -> None:
        """Too short and too long are refused with the bounds."""
        self.refuses("500ms", "want 1s to 1h, got 500ms")
        self.refuses("1h1s", "want 1s to 1h, got 1h1s")
        self.refuses("0s", "want 1s to 1h, got 0s")

    @hypothesis.settings(deadline=None)
    @given(st.integers(1, 10**9).map(lambda milliseconds: milliseconds / 1000))
    def test_written_is_read_back(self, seconds: float) -> None:
        """What is written for a duration reads as that duration."""
        self.assertEqual(fields.duration(0, 1e9)(fields.written(seconds)), seconds)


class SecretTests(SynchronousTestCase):
    """Secrets have their size, and no error shows them."""

    def test_reads(self) -> None:
        """Base64 in a text or a file, with line breaks."""
        octets = bytes(range(32))
        text = base64.b64encode(octets)
        for found in (text.decode(), text + b"\n", text[:20] + b"\n" + text[20:]):
            self.assertEqual(fields.root_secret(found).reveal(), octets)

    def test_refuses(self) -> None:
        """The fault is said, the secret not."""
        for found, text in (
            ("hunter2!", "is not base64"),
            ("aHVudGVyMg==", "want 32 bytes in base64, got 7"),
            (5, "want base64, got a number"),
            (b"\xff\xff", "is not UTF-8"),
            ("caf\u00e9", "is not base64"),
        ):
            with self.assertRaises(Unfit) as caught:
                fields.root_secret(found)
            self.assertEqual(str(caught.exception), text + MAKES_ONE)

    @hypothesis.settings(deadline=None)
    @given(st.text(min_size=6) | st.binary(min_size=6))
    def test_never_shown(self, found: str | bytes) -> None:
        """Whatever stands in place of a secret, no error repeats it."""
        shown = found if isinstance(found, str) else found.decode("latin-1")
        for read in (fields.root_secret, fields.secret_text, fields.header_value):
            try:
                read(found)
            except Unfit as error:
                self.assertNotIn(shown, str(error))
                self.assertIsNone(error.__cause__)
