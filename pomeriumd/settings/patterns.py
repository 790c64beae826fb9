"""
The reader of ``regex``: expressions that RE2 would take and that no path can stall.

Pomerium matches with RE2, whose time grows with the path alone. Python's ``re`` tries
alternatives one after the other, and a route is found *before* anybody signed in: with
``(a+)+`` a stranger stops a worker with forty characters, with ``.*/.*x`` with sixteen
thousand. So an expression is taken only if plain
backtracking takes a time that grows with the path alone, as RE2's does:

- within a repeat the next character decides each choice (the LL(1) property), so that there
  is one way through all its rounds;
- where the end of a repeat is *not* decided, it may be tried at each character; so each long
  repeat that comes after it must begin behind a character that it cannot take itself, as in
  ``.*/[^/]*x``. Then no two tries go over the same characters.

Only printable ASCII is considered: a canonical path holds nothing else.
"""

from __future__ import annotations

import re
import warnings

# The parser has no public name; tests/settings/test_patterns.py pins what is used of it.
from re import _parser  # type: ignore[attr-defined]  # as above
from typing import Any

import attrs

from pomeriumd.errors import BadMessage
from pomeriumd.http.target import canonical, plain_signs
from pomeriumd.settings.fields import shown, text
from pomeriumd.settings.reads import Unfit

LONGEST = 512
"""Characters of an expression."""

LONG = 64
"""Rounds above which a repeat counts as long as the path itself."""

MOST_ROUNDS = 1_000
"""Rounds that a counted repeat may ask for; RE2 has the same bound."""

MOST_TRIES = 64
"""Ways to go through the short undecided choices of one expression, all multiplied."""

ALPHABET = frozenset(map(chr, range(0x21, 0x7F)))

Characters = frozenset[str]
Sequence = list[tuple[Any, Any]]

_NOTHING: Characters = frozenset()

_ESCAPE = re.compile("%[0-9A-Fa-f]{2}")

_NOT_IN_RE2 = {
    "ASSERT": "looks around",
    "ASSERT_NOT": "looks around",
    "GROUPREF": "refers back to a group",
    "GROUPREF_EXISTS": "refers back to a group",
    "GROUPREF_IGNORE": "refers back to a group",
    "ATOMIC_GROUP": "has an atomic group",
    "POSSESSIVE_REPEAT": "has a possessive repeat",
}

_SINGLE = frozenset({"LITERAL", "NOT_LITERAL", "IN", "ANY"})

_CATEGORIES = {
    "CATEGORY_DIGIT": r"\d",
    "CATEGORY_NOT_DIGIT": r"\D",
    "CATEGORY_SPACE": r"\s",
    "CATEGORY_NOT_SPACE": r"\S",
    "CATEGORY_WORD": r"\w",
    "CATEGORY_NOT_WORD": r"\W",
}


def path_regex(found: object) -> str:
    """Return an expression that whole paths can safely be matched with."""
    pattern = text(found)
    if len(pattern) > LONGEST:
        raise Unfit(f"want at most {LONGEST} characters, got {len(pattern)}")
    if not pattern.isascii():
        raise Unfit(f"want ASCII, other characters as %XX, got {shown(pattern)}")
    _check_escapes(pattern)
    try:
        _Weigher(pattern).weigh()
    except RecursionError:
        raise Unfit("has too many groups inside each other") from None
    return pattern


def name_regex(found: object) -> str:
    """Return an expression that whole names in a certificate can safely be matched with."""
    pattern = text(found)
    if len(pattern) > LONGEST:
        raise Unfit(f"want at most {LONGEST} characters, got {len(pattern)}")
    if not pattern.isascii():
        raise Unfit(f"want ASCII, names in other letters as xn--, got {shown(pattern)}")
    try:
        _Weigher(pattern).weigh()
    except RecursionError:
        raise Unfit("has too many groups inside each other") from None
    return pattern


def _check_escapes(pattern: str) -> None:
    """Refuse an escape that no path has once it is canonical: the rule would see nothing."""
    for escape in _ESCAPE.findall(pattern):
        try:
            path, _ = canonical(b"/x" + escape.encode("ascii"))
        except BadMessage:
            raise Unfit(f"holds {escape}, and no path with that is let in") from None
        seen = plain_signs(path).decode("ascii").removeprefix("/x")
        if seen != escape:
            raise Unfit(f"holds {escape}, want {seen}: so it stands in a path")


def _parsed(pattern: str) -> tuple[Sequence, bool]:
    """Return the parsed expression, and whether it ignores case anywhere."""
    with warnings.catch_warnings():
        # "[[:alpha:]]" and the like mean something else to RE2 than to Python.
        warnings.simplefilter("error", FutureWarning)
        try:
            re.compile(pattern)
            tree = _parser.parse(pattern)
        except FutureWarning:
            raise Unfit(f"not yet: sets within sets, in {shown(pattern)}") from None
        except (re.error, OverflowError) as error:
            raise Unfit(f"is no regular expression: {error}, in {shown(pattern)}") from None
    return list(tree), bool(tree.state.flags & re.IGNORECASE) or "(?i" in pattern


@attrs.define
class _Weigher:
    """Goes through one expression and refuses what could take long."""

    _pattern: str
    _any_case: bool = False
    _loose: bool = False
    """Whether, to the right of where we are, there is a long repeat that several tries could
    each go over again."""
    _clash: bool = False
    _tries: int = 1

    def weigh(self) -> None:
        sequence, self._any_case = _parsed(self._pattern)
        self._walk(sequence, _NOTHING, _NOTHING)
        if self._clash:
            raise Unfit(
                f"{shown(self._pattern)} has repeats that compete for the same characters, so that "
                "a long path would stall us; try [^/]* for .*"
            )
        if self._tries > MOST_TRIES:
            raise Unfit(f"{shown(self._pattern)} has too many ways to match; make it plainer")

    def _walk(self, sequence: Sequence, before: Characters, follow: Characters) -> None:
        """
        Weigh a sequence from right to left.

        Args:
            sequence: the items.
            before: what the character right before it can be.
            follow: what the character right after it can be.
        """
        for index in range(len(sequence) - 1, -1, -1):
            op, argument = item = sequence[index]
            ahead = self._last(sequence[index - 1]) if index else before
            match str(op):
                case "SUBPATTERN":
                    self._walk(list(argument[3]), ahead, follow)
                case "BRANCH":
                    self._branch([list(branch) for branch in argument[1]], ahead, follow)
                case "MAX_REPEAT" | "MIN_REPEAT":
                    self._repeat(argument, ahead, follow)
                case name if name in _NOT_IN_RE2:
                    raise Unfit(f"{shown(self._pattern)} {_NOT_IN_RE2[name]}, which RE2 has not")
            first, empty = self._first([item])
            follow = first | follow if empty else first

    def _branch(self, branches: list[Sequence], before: Characters, follow: Characters) -> None:
        if not self._decided_branch(branches, follow):
            self._tries *= len(branches)
        for branch in branches:
            self._walk(branch, before, follow)

    def _repeat(self, argument: Any, before: Characters, follow: Characters) -> None:
        least, most, body = argument[0], argument[1], list(argument[2])
        if least > MOST_ROUNDS or (most != _parser.MAXREPEAT and most > MOST_ROUNDS):
            raise Unfit(f"{shown(self._pattern)} repeats more than {MOST_ROUNDS} times")
        first, empty = self._first(body)
        undecided = least != most and bool(first & follow)
        if most <= 1:
            self._tries *= 2 if undecided or empty else 1
            self._walk(body, before, follow)
            return
        # Two ways through one round would be 2**n ways through n rounds.
        if empty or not self._decided(body, first):
            raise Unfit(
                f"{shown(self._pattern)} repeats something that can be read in two ways, so that "
                "a long path would stall us; begin what is repeated with a character of its own"
            )
        # After the last round comes what follows, not another round.
        self._walk(body, before | self._taken(body), first | follow)
        if undecided and most <= LONG:
            self._tries *= most - least + 1
        elif undecided:
            self._clash = self._clash or self._loose
        # At the very end, what takes every character takes all that is left: no second try.
        final = not follow and first == ALPHABET and most == _parser.MAXREPEAT
        if most > LONG and not final and self._taken(body) & before:
            self._loose = True

    def _last(self, item: tuple[Any, Any]) -> Characters:
        """Return what the character can be that an item ends with; anything if in doubt."""
        op, argument = item
        if str(op) in _SINGLE:
            return self._characters(str(op), argument)
        return ALPHABET

    def _taken(self, sequence: Sequence) -> Characters:
        """Return every character that a sequence can take anywhere."""
        taken = _NOTHING
        for op, argument in sequence:
            match str(op):
                case "SUBPATTERN":
                    taken |= self._taken(list(argument[3]))
                case "BRANCH":
                    taken = taken.union(*(self._taken(list(branch)) for branch in argument[1]))
                case "MAX_REPEAT" | "MIN_REPEAT":
                    taken |= self._taken(list(argument[2]))
                case "AT":
                    pass
                case name:
                    taken |= self._characters(name, argument)
        return taken

    def _decided(self, sequence: Sequence, follow: Characters) -> bool:
        """Return whether the next character decides each choice in a sequence."""
        for op, argument in reversed(sequence):
            match str(op):
                case "SUBPATTERN":
                    good = self._decided(list(argument[3]), follow)
                case "BRANCH":
                    branches = [list(branch) for branch in argument[1]]
                    good = self._decided_branch(branches, follow) and all(
                        self._decided(branch, follow) for branch in branches
                    )
                case "MAX_REPEAT" | "MIN_REPEAT":
                    least, most, body = argument[0], argument[1], list(argument[2])
                    begin, hollow = self._first(body)
                    good = (
                        not hollow
                        and (least == most or not begin & follow)
                        and self._decided(body, begin | follow if most > 1 else follow)
                    )
                case _:
                    good = True
            if not good:
                return False
            first, empty = self._first([(op, argument)])
            follow = first | follow if empty else first
        return True

    def _decided_branch(self, branches: list[Sequence], follow: Characters) -> bool:
        taken: Characters = _NOTHING
        for branch in branches:
            first, empty = self._first(branch)
            first = first | follow if empty else first
            if first & taken:
                return False
            taken |= first
        return True

    def _first(self, sequence: Sequence) -> tuple[Characters, bool]:
        """Return what a sequence can begin with, and whether it can match nothing."""
        found: Characters = _NOTHING
        for op, argument in sequence:
            match str(op):
                case "SUBPATTERN":
                    first, empty = self._first(list(argument[3]))
                case "BRANCH":
                    parts = [self._first(list(branch)) for branch in argument[1]]
                    first = _NOTHING.union(*(characters for characters, _ in parts))
                    empty = any(hollow for _, hollow in parts)
                case "MAX_REPEAT" | "MIN_REPEAT":
                    first, empty = self._first(list(argument[2]))
                    empty = empty or argument[0] == 0
                case "AT":
                    first, empty = _NOTHING, True
                case name:
                    first, empty = self._characters(name, argument), False
            found |= first
            if not empty:
                return found, False
        return found, True

    def _characters(self, op: str, argument: Any) -> Characters:
        """Return what one item that takes one character takes."""
        match op:
            case "LITERAL":
                return self._cases(chr(argument))
            case "NOT_LITERAL":
                return ALPHABET - self._cases(chr(argument))
            case "RANGE":
                return self._cases(*map(chr, range(argument[0], min(argument[1], 0x7E) + 1)))
            case "CATEGORY":
                wanted = re.compile(_CATEGORIES[str(argument)])
                return frozenset(filter(wanted.match, ALPHABET))
            case "IN":
                items = [(str(item), value) for item, value in argument]
                taken = _NOTHING.union(
                    *(self._characters(item, value) for item, value in items if item != "NEGATE")
                )
                return ALPHABET - taken if items[0][0] == "NEGATE" else taken
        return ALPHABET

    def _cases(self, *characters: str) -> Characters:
        both = (c for one in characters for c in (one, one.swapcase()))
        return frozenset(both if self._any_case else characters)
