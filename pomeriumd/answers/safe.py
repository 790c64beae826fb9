"""
What may stand on a page: text without tricks, links that only lead to pages.

Escaping is the template's job and always on; this is for what escaping cannot see.
"""

from __future__ import annotations

import re

from markupsafe import Markup

TEXT_LIMIT = 300
"""Characters of one foreign value on a page: longer than any e-mail address, and short
enough that a page of a hundred of them stays readable."""

URL_LIMIT = 8192
"""Characters of a link: what browsers and servers take everywhere."""

_TRICKS = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # controls
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # direction marks, line separators
    "\ud800-\udfff\ufeff\ufff9-\uffff"  # no text at all
    "\U000e0000-\U000e0fff]"  # tags: invisible
)

_AUTHORITY = r"https?://(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?"
_URL = re.compile(rf"(?:{_AUTHORITY}(?=[/?#]|$)|/(?!/))[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]*")
_ORIGIN = re.compile(_AUTHORITY)


def printable(value: object) -> str:
    """
    Return a value as text that shows what it is.

    Controls, direction overrides and lone surrogates become U+FFFD: an address must not
    be able to look like another one, and what is no text cannot be encoded.

    Args:
        value: markup (of a macro of ours, never of a stranger) goes through as it is.
    """
    if isinstance(value, Markup):
        return value
    return _TRICKS.sub("\ufffd", str(value))


def short(text: str, limit: int = TEXT_LIMIT) -> str:
    """Return the text printable and at most ``limit`` characters long, cut with an ellipsis."""
    return printable(text if len(text) <= limit else text[: limit - 1] + "…")


def link(url: str | None) -> str | None:
    """
    Return the URL if it may be a link: a path of this host, or http(s) with a plain host.

    Anything else is None and has no link: ``javascript:``, ``//host``, a backslash, user
    information before the host, white space, what is not ASCII.

    Source: RFC 3986 section 2 (the characters that a URL is made of).
    """
    if url is None or len(url) > URL_LIMIT or _URL.fullmatch(url) is None:
        return None
    return url


def origin(url: str | None) -> str | None:
    """Return ``scheme://host[:port]`` of an absolute link, fit for a policy; None for others."""
    found = _ORIGIN.match(url) if url is not None and link(url) is not None else None
    return found.group() if found else None
