"""Tests of pomeriumd.settings.patterns."""

from __future__ import annotations

import re
import sys

# What patterns.py uses of the private parser is pinned here.
from re import _compiler, _parser  # type: ignore[attr-defined]  # as above
from typing import Any

import hypothesis
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.settings.patterns import LONGEST, path_regex
from pomeriumd.settings.reads import Unfit

STALLS = "so that a long path would stall us; "
TWO_WAYS = (
    " repeats something that can be read in two ways, "
    + STALLS
    + "begin what is repeated with a character of its own"
)


class PathRegexTests(SynchronousTestCase):
    """Expressions as people write them are taken; those that could stall us are not."""

    def refuses(self, pattern: str, text: str) -> None:
        """Assert that an expression is refused in exactly these words."""
        with self.assertRaises(Unfit) as caught:
            path_regex(pattern)
        self.assertEqual(str(caught.exception), text)

    def test_takes_what_people_write(self) -> None:
        """What routes look like in practice is taken as it is."""
        for pattern in (
            "/a/.*",
            "^/api/v[12]/.*$",
            r".*\.(js|css|png)",
            "/[^/]+/settings",
            "(/[^/]+)*",
            "([a-z]+/)*",
            "/(admin|api)(/.*)?",
            "(?i)/Foo.*",
            r"/(?P<id>\d{1,9})(\.[a-z]+)?",
            r"/\w+/[a-f0-9-]{36}",
            "/(?:a|b)?/x",
            "/.*/edit",
            ".*/[^/]+/edit/.*",
        ):
            self.assertEqual(path_regex(pattern), pattern)

    def test_escapes_as_paths_have_them(self) -> None:
        """An escape that no canonical path holds would be a rule that sees nothing."""
        for pattern in ("/%E4%BD%A0", "/a%20b", "/%7C", "/%", "/100%", "/%[0-9A-F]{2}"):
            self.assertEqual(path_regex(pattern), pattern)
        for escape, wanted in (
            ("%41", "want A: so it stands in a path"),
            ("%2e", "want .: so it stands in a path"),
            ("%7c", "want %7C: so it stands in a path"),
            ("%40", "want @: so it stands in a path"),
            ("%2B", "want +: so it stands in a path"),
        ):
            self.refuses(f"/a{escape}/.*", f"holds {escape}, {wanted}")
        for escape in ("%2F", "%2f", "%5C", "%00", "%3B", "%25", "%3F", "%23", "%7f"):
            self.refuses(f"/a{escape}", f"holds {escape}, and no path with that is let in")

    def test_what_re2_has_not(self) -> None:
        """What Pomerium's engine does not know is refused."""
        for pattern, what in (
            ("(?=a)a", "looks around"),
            ("a(?<!b)", "looks around"),
            ("(?!x).*", "looks around"),
            ("(a)b(?P=n)", ""),
            ("(?P<n>a)(?P=n)", "refers back to a group"),
            ("(a)?(?(1)b|c)", "refers back to a group"),
            ("(?>a|b)", "has an atomic group"),
            ("/a*+", "has a possessive repeat"),
        ):
            if what:
                self.refuses(pattern, f"{pattern!a} {what}, which RE2 has not")
            else:
                with self.assertRaises(Unfit):
                    path_regex(pattern)

    def test_two_ways_in_a_repeat(self) -> None:
        """What doubles with each round is refused."""
        for pattern in (
            "(a+)+",
            "(a*)*",
            "(a|a)*b",
            "(/.*)*x",
            r"(\d+|[a-z]+)*",
            "(a|aa)+",
            "(a?){30}",
        ):
            self.refuses(pattern, f"'{pattern.replace(chr(92), chr(92) * 2)}'{TWO_WAYS}")

    def test_competing_repeats(self) -> None:
        """A repeat that is tried again over what another try went over takes the square."""
        for pattern in (
            ".*/.*x",
            "[a-z]*b[a-z]*c",
            ".*a[ab]*c",
            ".*x[a-z]*",
            "a*a*a*x",
            ".*(a[ab]*)?c",
            "(/[^/]*)*a.*a",
            "(/[^/]*)*a(/a)*",
        ):
            self.refuses(
                pattern,
                f"'{pattern}' has repeats that compete for the same characters, {STALLS}"
                "try [^/]* for .*",
            )

    def test_bounds(self) -> None:
        """Size, rounds and choices are bounded."""
        self.refuses("a" * (LONGEST + 1), "want at most 512 characters, got 513")
        self.refuses("a{1001}", "'a{1001}' repeats more than 1000 times")
        many = "(?:a|b|ab)" * 4
        self.refuses(many, f"{many!r} has too many ways to match; make it plainer")

    def test_no_expression(self) -> None:
        """What is no expression is refused with the reason."""
        self.refuses(
            "/(a",
            "is no regular expression: missing ), unterminated subpattern at position 1, in '/(a'",
        )
        self.refuses("[[:alpha:]]", "not yet: sets within sets, in '[[:alpha:]]'")
        self.refuses("/\u00e4", r"want ASCII, other characters as %XX, got '/\xe4'")

    @hypothesis.settings(deadline=None)
    @given(st.from_regex(r"[ab/.*+?|()\[\]{}0-9^$\\-]{0,40}", fullmatch=True))
    def test_any_text_is_taken_or_refused(self, pattern: str) -> None:
        """No text makes the reader fail in another way than by refusing."""
        try:
            path_regex(pattern)
        except Unfit:
            return
        re.compile(pattern)

    def test_depth(self) -> None:
        """Groups within groups are bounded by the size, and do not exhaust the stack."""
        pattern = "(" * 256 + ")" * 256
        try:
            path_regex(pattern)
        except Unfit as error:
            self.assertEqual(str(error), "has too many groups inside each other")

    def test_parser_is_as_we_know_it(self) -> None:
        """The private parser gives the tree that the walk expects."""
        self.assertEqual(sys.version_info[:2], (3, 11))
        tree = list(_parser.parse("a[b-c]*(d|e.)"))
        self.assertEqual([str(op) for op, _ in tree], ["LITERAL", "MAX_REPEAT", "SUBPATTERN"])


class EffortTests(SynchronousTestCase):
    """What is taken costs plain backtracking no more than so much for each character."""

    @hypothesis.settings(deadline=None)
    @given(
        st.lists(
            st.sampled_from(
                [
                    *("a", "b", "/", "[ab]*", "[^/]+", ".*", "(/a)*", "(a|b)+", "(a|ab|b)", "b?"),
                    *(".+", "(/[^/]*)*", "[^a]*", "(a[ab]*)?", "(?:a|/b*)+", "[ab]{2,9}", "(.+)?"),
                ]
            ),
            min_size=1,
            max_size=6,
        ).map("".join)
    )
    def test_grows_with_the_path(self, pattern: str) -> None:
        """A path of twice the size takes about twice the steps, not four times."""
        try:
            path_regex(pattern)
        except Unfit:
            return
        program = _program(list(_parser.parse(pattern)), [])
        program.append(("match", None))
        for unit in ("a", "/", "/a", "ab", "b/"):
            for end in ("", "!"):
                short = _steps(program, unit * (400 // len(unit)) + end)
                long = _steps(program, unit * (800 // len(unit)) + end)
                self.assertLess(long, 3 * short + 5_000)


Program = list[tuple[str, Any]]


def _program(sequence: list[tuple[Any, Any]], program: Program) -> Program:
    """Translate an expression for a plain backtracking machine."""
    for op, argument in sequence:
        match str(op):
            case "SUBPATTERN":
                _program(list(argument[3]), program)
            case "BRANCH":
                ends = []
                for branch in argument[1]:
                    program.append(("split", None))
                    at = len(program) - 1
                    _program(list(branch), program)
                    ends.append(len(program))
                    program.append(("jump", None))
                    program[at] = ("split", (at + 1, len(program)))
                program.append(("fail", None))
                for end in ends:
                    program[end] = ("jump", len(program))
            case "MAX_REPEAT":
                least, most, body = argument
                for _ in range(least):
                    _program(list(body), program)
                endless = most == _parser.MAXREPEAT
                for _ in range(1 if endless else most - least):
                    at = len(program)
                    program.append(("split", None))
                    _program(list(body), program)
                    if endless:
                        program.append(("jump", at))
                    program[at] = ("split", (at + 1, len(program)))
            case _:
                single = _parser.SubPattern(_parser.State(), [(op, argument)])
                program.append(("take", _compiler.compile(single).fullmatch))
    return program


def _steps(program: Program, path: str) -> int:
    """Return how many steps plain backtracking takes to accept or refuse a path."""
    count, waiting = 0, [(0, 0)]
    while waiting and count < 2_000_000:
        line, at = waiting.pop()
        count += 1
        op, argument = program[line]
        if op == "match":
            if at == len(path):
                return count
        elif op == "jump":
            waiting.append((argument, at))
        elif op == "split":
            waiting += [(argument[1], at), (argument[0], at)]
        elif op == "take" and at < len(path) and argument(path[at]):
            waiting.append((line + 1, at + 1))
    return count
