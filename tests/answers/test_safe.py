"""pomeriumd.answers.safe: text without tricks, links that only lead to pages."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.answers.safe import TEXT_LIMIT, URL_LIMIT, link, origin, printable, short

GOOD = (
    "/",
    "/.pomerium/sign_out",
    "/a?b=c&d=%2F#e",
    "https://auth.example.com",
    "https://auth.example.com/",
    "https://auth.example.com:8443/sign_in?x=https://elsewhere.example/",
    "https://xn--bcher-kva.example/",
    "http://127.0.0.1:9000/x",
    "http://[::1]:9000/x",
    "https://a.example?x=1",
)

BAD = (
    "",
    "x",
    "?x",
    "//evil.example/",
    "/\\evil.example/",
    "\\\\evil.example/",
    "javascript:alert(1)",
    "JavaScript:alert(1)",
    " javascript:alert(1)",
    "java\tscript:alert(1)",
    "javascript://a.example/%0aalert(1)",
    "data:text/html,<b>x",
    "vbscript:x",
    "blob:https://a.example/x",
    "ftp://a.example/",
    "file:///etc/passwd",
    "https:",
    "https:a.example",
    "https:///a.example",
    "https://",
    "https://user@evil.example/",
    "https://good.example@evil.example/",
    "https://good.example\\@evil.example/",
    "https://a.example:x/",
    "https://a.example:123456/",
    "https://-a.example/",
    "https://a.example./",
    "https://b\u00fccher.example/",
    "https://a.example/\u202e",
    "https://a.example/ x",
    "https://a.example/\r\nset-cookie:x",
    "https://a.example/\n",
    '/"onclick="x',
    "/<script>",
    "/`x`",
    "/" + "a" * URL_LIMIT,
)


class LinkTests(SynchronousTestCase):
    """link() lets through what leads to a page, and nothing else."""

    def test_pages_are_links(self) -> None:
        """Paths of this host and http(s) URLs come back as they are."""
        self.assertEqual([link(url) for url in GOOD], list(GOOD))

    def test_all_else_is_none(self) -> None:
        """Scripts, other schemes, hosts in disguise and what is no URL have no link."""
        self.assertEqual([url for url in BAD if link(url) is not None], [])

    def test_none_stays_none(self) -> None:
        """No URL is no link."""
        self.assertIsNone(link(None))

    @given(st.text() | st.text(alphabet="/\\:@.?#ahtpsjvcri<>\"' \t\n"))
    def test_nothing_else_gets_through(self, text: str) -> None:
        """Whatever is a link begins with one slash or with http(s), and is plain ASCII."""
        url = link(text)
        if url is not None:
            self.assertRegex(url, r"\A(/(?!/)|https?://[a-z0-9\[])[!#-;=?-\[\]_a-z~]*\Z")


class OriginTests(SynchronousTestCase):
    """origin() gives what may stand in a policy."""

    def test_origin_of_a_link(self) -> None:
        """Path and query stay behind, the port stays."""
        self.assertEqual(
            origin("https://auth.example.com:8443/x?y=;z"), "https://auth.example.com:8443"
        )

    def test_no_link_has_none(self) -> None:
        """What is no link, and a path, has no origin."""
        self.assertEqual([url for url in (*BAD, "/x", None) if origin(url) is not None], [])

    @given(st.text(alphabet="htps:/.ab[]1;, '*\n"))
    def test_cannot_end_a_directive(self, text: str) -> None:
        """No origin holds what separates sources or directives of a policy."""
        self.assertFalse(set(origin(text) or "") & set(";,' *\n"))


class PrintableTests(SynchronousTestCase):
    """printable() and short() show text as what it is."""

    def test_tricks_are_shown(self) -> None:
        """Controls, direction overrides and invisible tags are replaced, letters are not."""
        self.assertEqual(
            printable("a\x00b\x1b[31m\r\nc\x7f\x85\u202egpj.exe\u2066\ufeff\U000e0041 ж אב é"),
            "a\ufffdb\ufffd[31m\ufffd\ufffdc\ufffd\ufffd\ufffdgpj.exe\ufffd\ufffd\ufffd ж אב é",
        )

    def test_markup_of_ours_goes_through(self) -> None:
        """What a macro wrote keeps its line ends."""
        self.assertEqual(printable(Markup("<b>\n</b>")), "<b>\n</b>")

    @given(st.text(alphabet=st.characters()))
    def test_can_be_encoded_and_has_no_controls(self, text: str) -> None:
        """Any text at all, lone surrogates too, comes out as UTF-8 without controls."""
        seen = short(text)
        seen.encode("utf-8")
        self.assertLessEqual(len(seen), TEXT_LIMIT)
        self.assertFalse([c for c in seen if unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"}])

    def test_cut_with_an_ellipsis(self) -> None:
        """What is too long is cut, and one sees that it was."""
        self.assertEqual(short("abcdef", 4), "abc…")
        self.assertEqual(short("abcd", 4), "abcd")
