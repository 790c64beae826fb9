"""
JSON from strangers, read so that nobody else could read it otherwise.

Pure: bytes in, a dict or a ValueError out. Nothing here knows what the members mean.

Source: RFC 8259 section 4 (names should be unique), RFC 7519 section 4 (claim names
must be); a reader that takes the last of two names and one that takes the first disagree
about who signed in.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

MAX_DEPTH = 32
"""Nesting levels; real metadata has 3, real claims have 4."""

# A string without its end is one token to the end of the text, so the scan is linear.
_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', re.DOTALL)


def read_object(octets: bytes) -> dict[str, Any]:
    """
    Read one JSON object.

    Args:
        octets: the whole document; the caller has bounded its size.

    Returns:
        The members. Numbers beyond a float's range are infinite: check ranges.

    Raises:
        ValueError: it is no UTF-8, no JSON, nested deeper than MAX_DEPTH, not an object,
            or some object in it has a name twice. The text says which, and never quotes
            the document.
    """
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    if _depth(text) > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    try:
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON at character {error.pos}") from None
    if not isinstance(document, dict):
        raise ValueError(f"want an object, got {_kind_of(document)}")  # noqa: TRY004 - the callers catch one
    return document


def _depth(text: str) -> int:
    depth = deepest = 0
    for token in _TOKENS.finditer(text):
        match token[0]:
            case "[" | "{":
                depth += 1
                deepest = max(deepest, depth)
            case "]" | "}":
                depth -= 1
    return deepest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name occurs twice in one object")
    return members


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _kind_of(document: object) -> str:
    if isinstance(document, list):
        return "a list"
    return "null" if document is None else "a single value"
