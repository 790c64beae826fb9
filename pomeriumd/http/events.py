"""
What one HTTP message is made of, in any version of HTTP.

The parsers make these values and the exchange passes them on. Nothing here knows
framing: Connection, Keep-Alive, TE, Transfer-Encoding, Upgrade, Content-Length,
Expect and Host never stand among ``fields``; what they said is in the attributes.

They are named tuples because one is made for each request and each piece of a body:
a frozen attrs class costs three times as much to build.
"""

from __future__ import annotations

from typing import NamedTuple

Field = tuple[bytes, bytes]
"""One header field: (name in lower case, value without surrounding white space)."""


class Request(NamedTuple):
    """A request's head that passed the gate; the same value for rules, log and upstream."""

    method: bytes
    host: bytes
    """Canonical: lower case, one trailing dot off, no port; IPv6 in brackets."""
    port: int | None
    """The port as the Host field said it; None when it named none."""
    path: bytes
    """Canonical, begins with a slash: rules and upstream see exactly this. The one other
    is b"*", of OPTIONS alone."""
    query: bytes | None
    """Untouched, without its question mark; None where there was none."""
    fields: list[Field]
    """End-to-end fields in wire order; treat as frozen."""
    length: int | None
    """Size of the body in bytes, 0 for none; None when only its end will tell."""
    upgrade: bytes | None
    """b"websocket" when the client asks for it properly; no other is ever here."""


class Response(NamedTuple):
    """A response's head."""

    status: int
    fields: list[Field]
    length: int | None
    """What Content-Length says or will say, in bytes; None when only the end tells.
    For HEAD and 304 it describes a body that is not sent."""


class Data(NamedTuple):
    """A piece of a body."""

    data: bytes


class End(NamedTuple):
    """The end of a message, with its trailers (those that may be forwarded)."""

    trailers: tuple[Field, ...] = ()
