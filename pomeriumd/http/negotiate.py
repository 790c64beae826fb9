"""
What kind of answer whoever sent a request can use.

Source: Fetch metadata (W3C), RFC 9110 section 12.5.1 (Accept).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pomeriumd.http.events import Field, Request

_WINDOWS = frozenset({b"document", b"iframe", b"frame"})
"""Destinations in which a person sees what comes: a sign-in page is of use there."""

_HTML = (b"text/html", b"application/xhtml+xml")

_RANGES = 64
"""Media ranges of one Accept that are looked at."""

_QUALITY = re.compile(rb"q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)", re.IGNORECASE)


def first(fields: Iterable[Field], name: bytes) -> bytes | None:
    """Return the first value of a field, by its name in lower case; None if it is not there."""
    for field, value in fields:
        if field == name:
            return value
    return None


def is_navigation(request: Request) -> bool:
    """
    Return whether a person follows a link here, so that a redirect to another origin works.

    What the browser itself says (Sec-Fetch-*, which scripts cannot set) is believed first;
    without it, a script's X-Requested-With; without that, whether HTML is asked for by name:
    ``*/*`` is what scripts and curl send.
    """
    if request.method not in (b"GET", b"HEAD") or request.upgrade is not None:
        return False
    mode = first(request.fields, b"sec-fetch-mode")
    dest = first(request.fields, b"sec-fetch-dest")
    if mode is not None or dest is not None:
        return mode in (None, b"navigate") and dest in (None, *_WINDOWS)
    if first(request.fields, b"x-requested-with") is not None:
        return False
    return _quality(request.fields, _HTML) > 0


def wants_json(request: Request) -> bool:
    """
    Return whether an answer of ours is better JSON than HTML.

    It is if Accept ranks JSON over HTML; where it names neither, if a script asks.
    """
    fields = request.fields
    json, html = _quality(fields, (b"application/json",)), _quality(fields, _HTML)
    if json or html:
        return json > html
    mode = first(fields, b"sec-fetch-mode")
    if mode is not None:
        return mode != b"navigate"
    return first(fields, b"x-requested-with") is not None


def _quality(fields: Iterable[Field], types: tuple[bytes, ...]) -> float:
    """Return how much Accept wants one of these types by name: 0 to 1."""
    best = 0.0
    accept = b",".join(value for name, value in fields if name == b"accept")
    for media in accept.split(b",", _RANGES)[:_RANGES]:
        kind, *options = (part.strip() for part in media.split(b";"))
        if kind.lower() in types:
            given = [found[1] for found in map(_QUALITY.fullmatch, options) if found]
            best = max(best, float(given[0]) if given else 1.0)
    return best
