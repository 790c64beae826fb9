"""Tests for pomeriumd.http.target: one spelling of a path."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.errors import BadMessage
from pomeriumd.http.target import canonical, plain_signs


def path_of(target: bytes) -> str:
    """Return the canonical path, or what it is refused with."""
    try:
        return canonical(target)[0].decode("ascii")
    except BadMessage as error:
        return str(error)


def paths(cases: dict[bytes, str]) -> dict[bytes, str]:
    """Return what becomes of each case."""
    return {case: path_of(case) for case in cases}


class PathTests(SynchronousTestCase):
    """canonical() gives the one path that rules, log and upstream see."""

    def test_ordinary_paths_stay(self) -> None:
        """What is canonical is left as it is."""
        for path in (
            b"/",
            b"/a",
            b"/a/",
            b"/a/b.html",
            b"/a..b/c.",
            b"/a...",
            b"/-_~!$&'()*+,=:@",
            b"/a;v=1/b;w=2",
            b"/%E4%BD%A0",
            b"/...",
            b"/.well-known/x",
            b"/.pomerium/sign_in",
            b"/a%40b%20c%7C",
        ):
            self.assertEqual(canonical(path), (path, None))

    def test_unreserved_escapes_are_decoded(self) -> None:
        """P2: no letter, digit, dot, hyphen, underscore or tilde has a second spelling."""
        unreserved = b"ABCXYZabcxyz0189-._~"
        for character in unreserved:
            for spelling in (b"/x%%%02X" % character, b"/x%%%02x" % character):
                self.assertEqual(canonical(spelling), (b"/x" + bytes((character,)), None))

    def test_signs_that_may_stand_raw(self) -> None:
        """They stay as they came; for those who compare, plain_signs() makes them one."""
        for octet in range(0x21, 0x7F):
            escape = b"/%%%02X" % octet
            try:
                path, _ = canonical(escape)
            except BadMessage:
                continue
            raw = canonical(b"/" + bytes((octet,)))[0] if octet not in b"./" else path
            self.assertEqual(plain_signs(path), raw)
            self.assertEqual(canonical(plain_signs(path))[0], plain_signs(path))

    def test_other_escapes_are_upper_case(self) -> None:
        """An escape that stays has one spelling."""
        self.assertEqual(path_of(b"/%e4%bd%a0%2b"), "/%E4%BD%A0%2B")

    def test_characters_that_want_an_escape_get_one(self) -> None:
        """Browsers send some of these raw: raw and escaped are one path."""
        raw = b'/a"<>[]^`{|}b'
        escaped = b"/a" + b"".join(b"%%%02x" % c for c in b'"<>[]^`{|}') + b"b"
        self.assertEqual(path_of(raw), "/a%22%3C%3E%5B%5D%5E%60%7B%7C%7Db")
        self.assertEqual(path_of(escaped), path_of(raw))

    def test_dot_segments_are_resolved(self) -> None:
        """P1: in every spelling, before anybody matches."""
        cases = {
            b"/public/../admin": "/admin",
            b"/public/%2e%2E/admin": "/admin",
            b"/public/.%2e/admin": "/admin",
            b"/public/%2e./admin": "/admin",
            b"/a/./b": "/a/b",
            b"/a/%2e/b": "/a/b",
            b"/a/b/..": "/a/",
            b"/a/b/.": "/a/b/",
            b"/a/..": "/",
            b"/./": "/",
            b"/.": "/",
            b"/a/b/../../c": "/c",
            b"/a//../b": "/b",
            b"/x/.hidden": "/x/.hidden",
            b"/x/..y": "/x/..y",
        }
        self.assertEqual(paths(cases), cases)

    def test_empty_segments_are_dropped(self) -> None:
        """A backend that merges slashes serves /admin for //admin: so the rule sees that."""
        cases = {
            b"//admin": "/admin",
            b"///admin": "/admin",
            b"/a//b": "/a/b",
            b"/a//": "/a/",
            b"//": "/",
            b"//evil.example/": "/evil.example/",
            b"/%2e//admin": "/admin",
        }
        self.assertEqual(paths(cases), cases)

    def test_climbing_above_the_root(self) -> None:
        """It is refused, not cut short as RFC 3986 has it."""
        cases = dict.fromkeys(
            [b"/..", b"/../a", b"/a/../../b", b"/%2e%2e/a", b"//../a", b"/./../a"],
            "path climbs above its root",
        )
        self.assertEqual(paths(cases), cases)

    def test_escapes_that_are_refused(self) -> None:
        """P3 and P4: what decoders in front and behind differ on, in either case."""
        codes = [*b"/\\;%?#", *range(0x20), 0x7F]
        spellings = [(b"%%%02X" % code, b"%%%02x" % code) for code in codes]
        cases = {
            b"/a" + spelling + b"b": f"path holds {pair[0].decode()}"
            for pair in spellings
            for spelling in pair
        }
        self.assertEqual(paths(cases), cases)

    def test_double_encoding(self) -> None:
        """%25 is refused, so that nothing decodes twice."""
        cases = dict.fromkeys([b"/%252e%252e/a", b"/%25%32%65", b"/%%32%65"], "")
        found = {case: path_of(case)[:10] for case in cases}
        self.assertEqual(found, dict.fromkeys(cases, "path holds"))

    def test_broken_escapes(self) -> None:
        """A percent sign wants two hex digits."""
        cases = dict.fromkeys(
            [b"/%", b"/%a", b"/%zz", b"/%0", b"/a%/b", b"/%u002e", b"/%-1"],
            "path holds a percent sign without two hex digits",
        )
        self.assertEqual(paths(cases), cases)

    def test_overlong_utf8(self) -> None:
        """Old decoders read these as dot, slash, backslash and NUL."""
        cases = dict.fromkeys(
            [
                b"/%c0%ae%c0%ae/a",
                b"/%c0%af",
                b"/%C1%9C",
                b"/%e0%80%ae",
                b"/%E0%80%AF",
                b"/%f0%80%80%ae",
                b"/%c0%80",
            ],
            "path holds overlong UTF-8",
        )
        self.assertEqual(paths(cases), cases)

    def test_dots_with_parameters(self) -> None:
        """Servlet containers drop parameters before they resolve dots."""
        cases = dict.fromkeys(
            [b"/a/..;/b", b"/a/..;x=1/b", b"/.;/b", b"/%2e%2e;/b", b"/;/b", b"/;x", b"/a/;x/b"],
            "path has a dot segment or an empty one with parameters",
        )
        self.assertEqual(paths(cases), cases)

    def test_bytes_that_no_target_holds(self) -> None:
        """P4 and P14: fragment, space, controls and everything beyond ASCII; a backslash too."""
        octets = [*range(0x21), *range(0x7F, 0x100), ord("#")]
        cases = {b"/a%bb" % bytes((o,)): f"target holds byte 0x{o:02x}" for o in octets}
        queries = {b"/a?%bb" % bytes((o,)): f"target holds byte 0x{o:02x}" for o in octets}
        backslash = {b"/a\\b": "path holds a backslash", b"/..\\a": "path holds a backslash"}
        for family in (cases, queries, backslash):
            self.assertEqual(paths(family), family)

    def test_not_a_path(self) -> None:
        """Origin form begins with a slash."""
        cases = dict.fromkeys(
            [b"", b"a", b"*", b"http://a/", b"?a", b"%2Fa"], "target does not begin with a slash"
        )
        self.assertEqual(paths(cases), cases)


class QueryTests(SynchronousTestCase):
    """The query is another thing, and passes as it came."""

    def test_it_is_untouched(self) -> None:
        """P5: escapes, dots, slashes and a second question mark stay, and no rule sees them."""
        for query in (b"", b"a=/../b", b"a=%2f%00%zz", b"??", b"a=b|c{d}[e]\\", b"//"):
            self.assertEqual(canonical(b"/a?" + query), (b"/a", query))
            self.assertEqual(canonical(b"/b/../a?" + query), (b"/a", query))

    def test_none_is_not_empty(self) -> None:
        """A question mark with nothing behind it is kept."""
        self.assertEqual([canonical(b"/a")[1], canonical(b"/a?")[1]], [None, b""])


tokens = st.sampled_from(
    [
        b"/",
        b"//",
        b".",
        b"..",
        b"%2e",
        b"%2E%2e",
        b";",
        b"a",
        b"B",
        b"%41",
        b"%e4",
        b"%2b",
        b"|",
        b"?",
        b"%7c",
        b"~",
        b"x.y",
        b"@",
        b"%2F",
        b"%",
        b"\\",
    ]
)

targets = st.lists(tokens, max_size=12).map(lambda pieces: b"/" + b"".join(pieces))


def ours(target: bytes) -> tuple[bytes, bytes | None] | None:
    """Return what a target becomes, None if it is refused."""
    try:
        return canonical(target)
    except BadMessage:
        return None


class LawTests(SynchronousTestCase):
    """What holds for every target."""

    @given(targets | st.binary(max_size=20).map(lambda octets: b"/" + octets))
    @example(b"/a/%2e%2E//b;c/./?..")
    def test_canonical_is_canonical(self, target: bytes) -> None:
        """Done twice is done once."""
        once = ours(target)
        if once is not None:
            self.assertEqual(canonical(once[0]), (once[0], None))

    @given(targets)
    def test_nothing_is_left_to_resolve(self, target: bytes) -> None:
        """No dot segment, no empty segment but the last, no lower-case escape."""
        once = ours(target)
        if once is not None:
            segments = once[0].split(b"/")[1:]
            self.assertFalse({b".", b".."} & set(segments))
            self.assertNotIn(b"", segments[:-1])
            self.assertTrue(once[0].startswith(b"/"))

    @given(st.lists(st.sampled_from([b"a", b"%41", b"b.c", b"~"]), min_size=1), st.data())
    def test_every_spelling_of_a_letter_is_one_path(
        self, segments: list[bytes], data: st.DataObject
    ) -> None:
        """Escaping any letters of a path changes nothing."""
        plain, _ = canonical(b"/" + b"/".join(segments))
        spelled = b"".join(
            data.draw(st.sampled_from([bytes((c,)), b"%%%02x" % c, b"%%%02X" % c]))
            if c != ord("/")
            else b"/"
            for c in plain
        )
        self.assertEqual(canonical(spelled), (plain, None))
