"""
Reads application/x-www-form-urlencoded, of a query or of a form's body, strictly.

Source: https://url.spec.whatwg.org/#application/x-www-form-urlencoded, without its
leniencies: what two readers could read in two ways is refused.
"""

from __future__ import annotations

import re

from pomeriumd.errors import BadMessage

_COUNT = 64
"""Parameters of the largest query: ours have a dozen, a provider adds a few."""

_SIZE = 65_536
"""Bytes of the largest one; a form is bounded by ``Limits.small_body`` before."""

_NAME_SHOWN = 40
"""Characters of a name that an error text shows."""

_ODD = re.compile(rb"[^\x21-\x7e]|%(?![0-9A-Fa-f]{2})")

_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")


def parameters(query: bytes | None) -> dict[str, str]:
    """
    Return the parameters by name, decoded, in order.

    A name without an equals sign has the value ""; empty pieces are passed over.

    Args:
        query: without its question mark; None is as good as empty.

    Raises:
        BadMessage: a name occurs twice (O15: of two ``state``, one is checked and the other
            is used), there are too many, or a piece is no ASCII, no UTF-8 or half an
            escape. No text holds a value: it may be a code or a token.
    """
    if not query:
        return {}
    if len(query) > _SIZE:
        raise BadMessage(f"parameters of {len(query)} bytes, at most {_SIZE}")
    if _ODD.search(query):
        raise BadMessage("parameters hold a space, a control, a byte over 126 or half an escape")
    pieces = [piece for piece in query.split(b"&") if piece]
    if len(pieces) > _COUNT:
        raise BadMessage(f"{len(pieces)} parameters, at most {_COUNT}")
    found: dict[str, str] = {}
    for piece in pieces:
        raw_name, _, raw_value = piece.partition(b"=")
        name, value = _decoded(raw_name), _decoded(raw_value)
        if name in found:
            raise BadMessage(f"parameter {name[:_NAME_SHOWN]!a} occurs twice")
        found[name] = value
    return found


def _decoded(text: bytes) -> str:
    """Decode a name or a value."""
    plain = text.replace(b"+", b" ")
    if b"%" in plain:
        plain = _ESCAPE.sub(lambda escape: bytes((int(escape[1], 16),)), plain)
    if b"\0" in plain:
        raise BadMessage("a parameter holds NUL")
    try:
        return plain.decode("utf-8")
    except UnicodeDecodeError:
        raise BadMessage("a parameter is not UTF-8") from None
