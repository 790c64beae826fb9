"""
Writes one body the way its head announced it.

Source: RFC 9112 section 6.
"""

from __future__ import annotations

import enum

import attrs

from pomeriumd.errors import PomeriumError
from pomeriumd.http.chunked import chunk
from pomeriumd.http.events import Field
from pomeriumd.http.fields import write_fields


class Framing(enum.Enum):
    """How the other side learns where a body ends."""

    NONE = "no body"
    LENGTH = "Content-Length"
    CHUNKED = "chunked"
    CLOSE = "end of the connection"


@attrs.define
class Outgoing:
    """
    One body on its way out.

    Attributes:
        broken: what to raise for a body of another size than announced: the caller aborts
            the connection, so that a short body never looks whole.
    """

    framing: Framing
    broken: type[PomeriumError]
    length: int = 0
    sent: int = attrs.field(default=0, init=False)
    ended: bool = attrs.field(default=False, init=False)

    @property
    def whole(self) -> bool:
        """Whether every byte that was announced has been handed out to be sent."""
        return self.ended or (self.framing is Framing.LENGTH and self.sent == self.length)

    def data(self, octets: bytes) -> bytes:
        """Return the bytes to send for a piece of the body."""
        framing = self.framing
        if framing is Framing.LENGTH:
            self.sent += len(octets)
            if self.sent > self.length:
                raise self.broken(f"body of {self.length} bytes announced, {self.sent} came")
            return octets
        if framing is Framing.CHUNKED:
            return chunk(octets)
        return octets if framing is Framing.CLOSE else b""

    def end(self, trailers: tuple[Field, ...]) -> bytes:
        """Return the bytes to send at the end of the body."""
        framing = self.framing
        if framing is Framing.LENGTH and self.sent != self.length:
            raise self.broken(f"body of {self.length} bytes announced, {self.sent} came")
        self.ended = True
        if framing is Framing.CHUNKED:
            return b"0\r\n" + (write_fields(b"", trailers) if trailers else b"\r\n")
        return b""
