"""
The one spelling of a path, for rules, log and upstream alike.

A path is canonical when there is one way left to write it that a rule could miss:

- escapes of unreserved characters are decoded (``/%77ith`` is ``/with``), the hex digits
  of the others are upper case, and printable characters that a path may not hold raw
  (``"<>[]^`{|}``; browsers send some of them) are escaped;
- dot segments are resolved; one that climbs above the root is refused;
- empty segments are dropped: many backends merge slashes, so with ``//admin`` kept, the
  rule for ``/admin`` would not see what the backend serves. A last slash stays.

Refused, since readers differ on what it means: a raw backslash, ``%2F %5C %00 %3B %25 %3F
%23`` and other escaped controls, overlong UTF-8, a dot segment or an empty one with
parameters (``/..;x/``, ``/;x/``: some backends drop parameters before they resolve dots).
A raw ``;`` elsewhere stays: matrix parameters are in real use.

Source: RFC 3986 sections 3.3, 5.2.4 and 6.2.2.
"""

from __future__ import annotations

import re

from pomeriumd.errors import BadMessage

_PLAIN = rb"\-A-Za-z0-9_~!$&'()*+,=:@"

_ORDINARY = re.compile(
    rb"(?=/)((?:/[" + _PLAIN + rb"][" + _PLAIN + rb".;]*+)*+/?)(?:\?([!-\"$-~]*+))?"
)
"""A target that is canonical already, as nearly all are: no escape, no segment that begins
with a dot or a semicolon, no empty one but the last."""

_NOT_IN_A_TARGET = re.compile(rb"[^!-\"$-~]")

_TO_REWRITE = re.compile(rb"%([0-9A-Fa-f]{2})?|[\"<>\[\]^`{|}]")

_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")

_REFUSED = frozenset(b"/\\;%?#") | frozenset(range(0x20)) | {0x7F}

_OVERLONG = re.compile(rb"%C[01]%[89AB][0-9A-F]|%E0%[89][0-9A-F]|%F0%8[0-9A-F]")
"""Spellings of ``/``, ``.`` and the like in more bytes than they need."""

_DOTS = (b".", b"..")

_SIGN = re.compile(rb"%(?:2[1469A-C78]|3[AD]|40)")
"""An escape of one of ``!$&'()*+,:=@``."""


def canonical(target: bytes) -> tuple[bytes, bytes | None]:
    """
    Split a target in origin form into its canonical path and its query.

    Returns:
        The path, which ``canonical`` leaves as it is from now on; and the query, untouched
        and without its question mark, or None.

    Raises:
        BadMessage: a path or query that two readers could read in two ways.
    """
    ordinary = _ORDINARY.fullmatch(target)
    if ordinary is not None:
        path, query = ordinary.group(1, 2)
        return path, query
    if not target.startswith(b"/"):
        raise BadMessage("target does not begin with a slash")
    odd = _NOT_IN_A_TARGET.search(target)
    if odd is not None:
        raise BadMessage(f"target holds byte 0x{odd[0][0]:02x}")
    raw, mark, rest = target.partition(b"?")
    return _resolved(_escaped_once(raw)), rest if mark else None


def plain_signs(path: bytes) -> bytes:
    """
    Return a canonical path with the signs raw that may stand raw: ``/@x`` for ``/%40x``.

    To the RFC these are two paths, and the upstream is sent the one that came; to nearly
    every backend they are one, so to rules they have to be (P2).
    """
    return _SIGN.sub(lambda found: bytes((int(found[0][1:], 16),)), path)


def _escaped_once(path: bytes) -> bytes:
    """Give each character of a path its one spelling."""
    if b"\\" in path:
        raise BadMessage("path holds a backslash")
    path = _TO_REWRITE.sub(_spelling, path)
    if _OVERLONG.search(path):
        raise BadMessage("path holds overlong UTF-8")
    return path


def _spelling(found: re.Match[bytes]) -> bytes:
    """Return the one spelling of an escape, or of a character that wants one."""
    text = found[0]
    if text == b"%":
        raise BadMessage("path holds a percent sign without two hex digits")
    if found[1] is None:
        return b"%%%02X" % text[0]
    code = int(found[1], 16)
    if code in _REFUSED:
        raise BadMessage(f"path holds {text.decode('ascii').upper()}")
    return bytes((code,)) if code in _UNRESERVED else text.upper()


def _resolved(path: bytes) -> bytes:
    """Resolve dot segments and drop empty ones."""
    kept: list[bytes] = []
    segment = b""
    for segment in path.split(b"/"):
        if segment in (b"", b"."):
            continue
        if segment == b"..":
            if not kept:
                raise BadMessage("path climbs above its root")
            kept.pop()
            continue
        if segment.partition(b";")[0] in (b"", *_DOTS):
            raise BadMessage("path has a dot segment or an empty one with parameters")
        kept.append(segment)
    last = b"/" if kept and segment in (b"", *_DOTS) else b""
    return b"/" + b"/".join(kept) + last
