"""
Claims, edited by a fuzzer: what is signed or sealed by us, or by a provider, and still odd.

A search that flips bits of a signed token only ever meets the signature check. Here the
octets say which claims change and into what, and the result is signed anew.
"""

from __future__ import annotations

from typing import Any

from tests.fuzz.harness import Input

EDITS = 6
"""Claims that one input changes at most."""

LONGEST = 4_096
"""Characters of the longest text that an edit makes."""

_NUMBERS: tuple[object, ...] = (
    0,
    -1,
    1,
    1_790_000_000,
    1_790_000_060,
    1_789_999_900,
    1_790_000_061,
    2**31,
    2**53 + 1,
    2**63 - 1,
    253_402_300_799,
    7_258_118_400,
    0.5,
    -0.0,
    1e300,
    True,
    False,
    None,
)

_SHAPES: tuple[object, ...] = ("", [], {}, [[]], [None], {"a": {}}, [{}], "@", "a@b", "a@b@c")


def edited(claims: dict[str, Any], given: Input) -> dict[str, Any]:
    """
    Return the claims with some of them changed, gone, or new.

    Args:
        claims: good ones.
        given: says which; used up as far as it goes.
    """
    names = (*claims, "new")
    changed = dict(claims)
    for _ in range(EDITS):
        if not given.left:
            break
        name = given.one_of(names)
        value = _value(given, claims)
        if value is _GONE:
            changed.pop(name, None)
        else:
            changed[name] = value
    return changed


_GONE = object()


def _value(given: Input, claims: dict[str, Any]) -> object:
    """Return a value, or ``_GONE``."""
    return given.one_of(_KINDS)(given, claims)


def _gone(_: Input, __: dict[str, Any]) -> object:
    return _GONE


def _number(given: Input, _: dict[str, Any]) -> object:
    return given.one_of(_NUMBERS)


def _shape(given: Input, _: dict[str, Any]) -> object:
    return given.one_of(_SHAPES)


def _text(given: Input, _: dict[str, Any]) -> object:
    return given.text(given.number())


def _long_text(given: Input, _: dict[str, Any]) -> object:
    size = (given.number() << 8 | given.number()) % LONGEST
    return (given.text(1 + given.number() % 4) * size)[:size]


def _list(given: Input, claims: dict[str, Any]) -> object:
    values = [_value(given, claims) for _ in range(given.number() % 4)]
    return [value for value in values if value is not _GONE]


def _texts(given: Input, _: dict[str, Any]) -> object:
    number, text = given.number() << 2, given.text(1 + given.number() % 64)
    return [f"{text}{count}" for count in range(number)]


def _anothers(given: Input, claims: dict[str, Any]) -> object:
    return claims[given.one_of(tuple(claims))] if claims else _GONE


_KINDS = (_gone, _number, _shape, _text, _long_text, _list, _texts, _anothers)
