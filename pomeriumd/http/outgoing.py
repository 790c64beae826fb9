"""
Writes one body the way its head announced it.

Source: RFC 9112 section 6.
"""

from __future__ import annotations

from typing import Protocol

import attrs

from pomeriumd.errors import PomeriumError
from pomeriumd.http.chunked import chunk
from pomeriumd.http.events import Field
from pomeriumd.http.fields import field_lines


class Outgoing(Protocol):
    """One body on its way out, piece by piece."""

    def data(self, octets: bytes) -> bytes:
        """Return the bytes to send for a piece of the body."""

    def end(self, trailers: tuple[Field, ...]) -> bytes:
        """Return the bytes to send at the end of the body."""


class Without:
    """The body of a message that has none on the wire: whatever it is, it stays here."""

    def data(self, octets: bytes) -> bytes:
        """Return b""."""
        return b""

    def end(self, trailers: tuple[Field, ...]) -> bytes:
        """Return b""."""
        return b""


class UntilClose(Without):
    """A body that ends with the connection."""

    def data(self, octets: bytes) -> bytes:
        """Return the piece as it is."""
        return octets


class Chunked:
    """A body whose chunks say where it ends."""

    def data(self, octets: bytes) -> bytes:
        """Return the piece as a chunk."""
        return chunk(octets)

    def end(self, trailers: tuple[Field, ...]) -> bytes:
        """Return the last chunk, with the trailers."""
        return b"0\r\n%b\r\n" % field_lines(trailers)


@attrs.define
class Counted:
    """
    A body of announced size.

    Attributes:
        length: that size in bytes.
        left: bytes that are still to come.
        broken: what to raise for a body of another size: the caller then aborts the
            connection, so that a short body never looks whole.
    """

    length: int
    left: int
    broken: type[PomeriumError]

    def data(self, octets: bytes) -> bytes:
        """Return the piece as it is."""
        self.left -= len(octets)
        if self.left < 0:
            raise self._mismatch()
        return octets

    def end(self, trailers: tuple[Field, ...]) -> bytes:
        """Return b""; there is no place for trailers."""
        if self.left:
            raise self._mismatch()
        return b""

    def _mismatch(self) -> PomeriumError:
        """Say how the body differs from what was announced."""
        came = self.length - self.left
        return self.broken(f"body of {self.length} bytes announced, {came} came")


WITHOUT = Without()
UNTIL_CLOSE = UntilClose()
CHUNKED = Chunked()
