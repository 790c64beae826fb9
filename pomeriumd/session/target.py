"""
Where a browser may be sent: an absolute URL of ours, read in exactly one way.

Browsers repair what they are given (a backslash becomes a slash, a tab vanishes), so
nothing is repaired here: a text is a target to the letter, or it is refused.

Source: RFC 3986 sections 3.1 to 3.4; the WHATWG URL standard for what browsers repair.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from urllib.parse import quote_from_bytes

import attrs

from pomeriumd.errors import BadToken

TARGET_SIZE = 2_000
"""Longest target that a sign-in returns to, in characters: it travels in a cookie."""

_TARGET = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>[a-z0-9_](?:[a-z0-9._-]{0,252})|\[[0-9a-f:.]{2,45}\])"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
    r"(?P<rest>/[\x21\x24-\x5b\x5d\x5f\x61-\x7e]*|)"
)
"""Path and query have no control, space, quote, hash, backslash, caret or backtick."""

_AS_IT_IS = "".join(chr(c) for c in range(0x21, 0x7F) if chr(c) not in '"#\\^`')
"""What :func:`written` leaves as it is: what ``_TARGET`` allows."""

_LAST_PORT = 65_535

_DEFAULT_PORTS = {"http": 80, "https": 443}


@attrs.frozen(kw_only=True)
class Target:
    """An absolute http or https URL, taken apart."""

    scheme: str
    host: str
    port: int
    rest: str
    """Path and query; begins with a slash."""

    @property
    def origin(self) -> str:
        """Return ``scheme://host``, with the port if it is not the scheme's own."""
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}"

    @property
    def audience(self) -> str:
        """Return ``host:port``; the port is always written."""
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """Return the whole URL."""
        return self.origin + self.rest


def target(url: str) -> Target:
    """
    Take an absolute URL apart.

    Raises:
        BadToken: anything but http or https, a lower-case host, maybe a port, and a path
            in printable ASCII: no user, no fragment, no character a browser would repair.
    """
    found = _TARGET.fullmatch(url) if len(url) <= TARGET_SIZE else None
    if found is None:
        raise BadToken("redirect target is not an absolute http or https URL")
    if found["host"].startswith("["):
        try:
            IPv6Address(found["host"][1:-1])
        except ValueError:
            raise BadToken("redirect target's host is no IPv6 address") from None
    port = int(found["port"]) if found["port"] else _DEFAULT_PORTS[found["scheme"]]
    if port > _LAST_PORT:
        raise BadToken("redirect target's port is none")
    return Target(scheme=found["scheme"], host=found["host"], port=port, rest=found["rest"] or "/")


def written(origin: str, path: bytes, query: bytes | None) -> str:
    """
    Return the URL to come back to, for :func:`target` to read.

    Args:
        origin: ``scheme://host[:port]`` of the route.
        path: canonical.
        query: untouched, or None.

    Returns:
        At most ``TARGET_SIZE`` characters: without its query if it is longer with it,
        and else the origin's root. Octets that no target may have are percent-encoded.
    """
    address = origin + quote_from_bytes(path, safe=_AS_IT_IS)
    if query is not None:
        whole = f"{address}?{quote_from_bytes(query, safe=_AS_IT_IS)}"
        if len(whole) <= TARGET_SIZE:
            return whole
    return address if len(address) <= TARGET_SIZE else f"{origin}/"
