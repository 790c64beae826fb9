"""Tests for pomeriumd.session.target."""

from __future__ import annotations

import itertools
from urllib.parse import urlsplit

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.errors import BadToken
from pomeriumd.session.target import TARGET_SIZE, target, written

APP = "https://app.example.com"

SCHEMES = (
    "",
    "//",
    "///",
    "/\\",
    "\\\\",
    "https:",
    "https:/",
    "javascript:",
    "\tjava\nscript:",
    "data:text/html,",
    "HTTPS://",
    "https:\\\\",
    "ftp://",
    "https:///",
    " https://",
    "https://app.example.com@",
    "https://app.example.com:443@",
    "https://:x@",
    "https://app.example.com:65536",
    "https://app.example.com:99999",
    "https://app.example.com:0",
)
PADDING = ("", "%09", "\t", "\r\n", "\x00", " ", "%2f%2f", "@", "#", "?")


class TargetTests(SynchronousTestCase):
    """target() reads an absolute URL in one way, or refuses it."""

    def test_takes_it_apart(self) -> None:
        """Scheme, host, port and the rest, with the default port filled in."""
        for url, parts in (
            ("https://app.example.com/a?b=c", ("https", "app.example.com", 443, "/a?b=c")),
            ("http://app.example.com", ("http", "app.example.com", 80, "/")),
            ("https://app.localhost:8443/", ("https", "app.localhost", 8443, "/")),
            ("https://[::1]:8443/x", ("https", "[::1]", 8443, "/x")),
            ("https://_app.example.com/", ("https", "_app.example.com", 443, "/")),
        ):
            found = target(url)
            self.assertEqual((found.scheme, found.host, found.port, found.rest), parts)

    def test_origin_and_audience(self) -> None:
        """The origin leaves the scheme's own port out; the audience always has it."""
        found = target("https://app.example.com:443/x")
        self.assertEqual(found.origin, APP)
        self.assertEqual(found.audience, "app.example.com:443")
        self.assertEqual(found.url, f"{APP}/x")
        self.assertEqual(target("http://a:443/").origin, "http://a:443")

    def test_everything_a_browser_would_repair(self) -> None:
        """Whatever stands before a stranger's host, it is refused or it names that host."""
        for scheme, padding in itertools.product(SCHEMES, PADDING):
            url = f"{scheme}{padding}evil.example/x"
            with self.assertRaises(BadToken, msg=repr(url)) as caught:
                target(url)
            self.assertEqual(
                str(caught.exception), "redirect target is not an absolute http or https URL"
            )

    def test_other_spellings_of_our_own(self) -> None:
        """Upper case, users, fragments, odd ports and characters are refused."""
        for url in (
            "https://APP.example.com/",
            "https://u@app.example.com/",
            f"{APP}/#x",
            f"{APP}:0/",
            f"{APP}:/",
            f"{APP}:099/",
            f"{APP}:655360/",
            f"{APP}/a b",
            f"{APP}/\\evil.example",
            f"{APP}/é",
            f'{APP}/"',
            f"{APP}\\@evil.example/",
            f"{APP}?x",
            f"{APP}#@evil.example/",
            "https://app%2eexample.com/",
            "https://äpp.example.com/",
            f"{APP}/\n",
            f"{APP}/\x7f",
            "https://-app/",
            "https://.app/",
            f"{APP}/" + "x" * TARGET_SIZE,
        ):
            with self.assertRaises(BadToken, msg=repr(url)):
                target(url)

    @given(st.text(max_size=30) | st.text("htps:/\\@.#?%[]a1\t\n", max_size=30))
    def test_agrees_with_the_library(self, text: str) -> None:
        """Whatever is taken, urlsplit sees the same scheme, host and port in it."""
        for url in (text, f"https://{text}", f"{APP}{text}"):
            try:
                found = target(url)
            except BadToken:
                continue
            split = urlsplit(url)
            self.assertEqual(found.scheme, split.scheme)
            self.assertEqual(found.host.strip("[]"), split.hostname)
            self.assertEqual(found.port, split.port or {"http": 80, "https": 443}[split.scheme])


class WrittenTests(SynchronousTestCase):
    """written() gives a target that target() takes, whatever was asked for."""

    @given(st.binary(max_size=60), st.none() | st.binary(max_size=60))
    def test_every_request_can_be_come_back_to(self, path: bytes, query: bytes | None) -> None:
        """No octet of a path or query leads out of the host or into an error."""
        found = target(written(APP, b"/" + path, query))
        self.assertEqual(found.audience, "app.example.com:443")

    def test_what_is_fine_stays_as_it_is(self) -> None:
        """Path and query come back to the letter, escapes among them."""
        self.assertEqual(
            written(APP, b"/a%20b;c", b"q=%41&r=/?+{}|"), f"{APP}/a%20b;c?q=%41&r=/?+{{}}|"
        )

    def test_what_no_target_may_have_is_escaped(self) -> None:
        """A backslash or a hash is what it was, written so that nobody repairs it."""
        self.assertEqual(written(APP, b"/a", b'\\^`"#\xff'), f"{APP}/a?%5C%5E%60%22%23%FF")

    def test_a_long_one_is_shortened(self) -> None:
        """First the query goes, then the path: a cookie has to hold it."""
        self.assertEqual(written(APP, b"/a", b"x" * TARGET_SIZE), f"{APP}/a")
        self.assertEqual(written(APP, b"/" + b"x" * TARGET_SIZE, b"q"), f"{APP}/")
