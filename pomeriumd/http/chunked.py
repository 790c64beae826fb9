"""
The chunked coding, read strictly.

One reader for both sides: what a client sent and what an upstream answered. It takes the
grammar of RFC 9112 and none of its leniencies; extensions are read over, as the RFC asks,
but they are bounded: they are bytes that nobody is ever charged for otherwise.

Source: RFC 9112 section 7.1.
"""

from __future__ import annotations

import re

import attrs

from pomeriumd.errors import BadMessage
from pomeriumd.http.events import Field
from pomeriumd.http.fields import read_fields, trailers_that_may_pass

_LINE_SIZE = 256
"""Bytes of the longest size line. Extensions are hardly in use anywhere; a line that drips
in byte by byte is looked at again for each byte, so it is kept short."""

_EXTENSIONS = rb"(?:;[\t\x20-\x7e\x80-\xff]*)?"

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(" + _EXTENSIONS + rb")\r\n")

_SIZE_SO_FAR = re.compile(rb"(?:[0-9A-Fa-f]{1,16}" + _EXTENSIONS + rb"\r?)?")

_BARE = re.compile(rb"(?<!\r)\n")


def chunk(octets: bytes) -> bytes:
    """Return a piece of a body as one chunk; b"" for an empty one, which would end it."""
    return b"%x\r\n%b\r\n" % (len(octets), octets) if octets else b""


@attrs.define(eq=False, repr=False)
class ChunkedReader:
    """
    The body of one message.

    Attributes:
        bound: bytes of all chunk extensions together, and again of all trailers.
        rest: once ``ended``, the bytes behind the message.
        trailers: once ``ended``, those that may be forwarded.
    """

    bound: int
    ended: bool = attrs.field(default=False, init=False)
    rest: bytes = attrs.field(default=b"", init=False)
    trailers: tuple[Field, ...] = attrs.field(default=(), init=False)
    _left: int = attrs.field(default=0, init=False)
    """Bytes of the current chunk and its CR LF that are still to come."""
    _extended: int = attrs.field(default=0, init=False)
    _in_trailers: bool = attrs.field(default=False, init=False)
    _held: bytes = attrs.field(default=b"", init=False)
    """The beginning of a size line, a chunk's CR LF or the trailers; at most ``bound``
    or ``_LINE_SIZE`` bytes."""

    def feed(self, octets: bytes) -> bytes:
        """
        Take bytes of the message, and give those of its body among them.

        Raises:
            BadMessage: this is not the chunked coding, or a bound was reached.
        """
        buffer = self._held + octets if self._held else octets
        self._held = b""
        pieces: list[bytes] = []
        position = 0
        while not self._in_trailers:
            if self._left == 0:
                size = _SIZE.match(buffer, position)
                if size is None:
                    self._hold_size(buffer[position:])
                    break
                position = size.end()
                self._begin(size)
                continue
            if self._left > 2:  # noqa: PLR2004 - the CR LF behind the chunk
                piece = buffer[position : position + self._left - 2]
                position += len(piece)
                self._left -= len(piece)
                pieces.append(piece)
            if self._left > 2 or not self._skip_line_end(buffer[position : position + 2]):  # noqa: PLR2004
                break
            position += 2
        if self._in_trailers:
            self._end(buffer[position:])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _begin(self, size: re.Match[bytes]) -> None:
        """Begin the chunk that a size line announces."""
        if len(size[0]) > _LINE_SIZE:
            raise BadMessage(f"chunk size line of more than {_LINE_SIZE} bytes")
        self._extended += len(size[2])
        if self._extended > self.bound:
            raise BadMessage(f"chunk extensions of more than {self.bound} bytes")
        count = int(size[1], 16)
        self._left = count + 2 if count else 0
        self._in_trailers = count == 0

    def _hold_size(self, line: bytes) -> None:
        """Keep the beginning of a size line, if it can still become one."""
        if _SIZE_SO_FAR.fullmatch(line, 0, _LINE_SIZE) is None:
            raise BadMessage("chunk size is not hex digits and CR LF")
        if len(line) > _LINE_SIZE:
            raise BadMessage(f"chunk size line of more than {_LINE_SIZE} bytes")
        self._held = line

    def _skip_line_end(self, found: bytes) -> bool:
        """Return whether the line end behind a chunk is here, whole."""
        if found == b"\r\n":
            self._left = 0
            return True
        if found not in (b"", b"\r"):
            raise BadMessage("chunk does not end in CR LF")
        self._held = found
        return False

    def _end(self, buffer: bytes) -> None:
        """Read the trailers, if they are whole, and end the message."""
        if buffer.startswith(b"\r\n"):
            self.ended, self.rest = True, buffer[2:]
            return
        end = buffer.find(b"\r\n\r\n")
        if (len(buffer) if end < 0 else end + 4) > self.bound:
            raise BadMessage(f"trailers of more than {self.bound} bytes")
        if end < 0:
            # Whoever takes it for a line's end sees another message behind these trailers.
            if _BARE.search(buffer):
                raise BadMessage("trailers have a line that ends in LF alone")
            self._held = buffer
            return
        self.trailers = trailers_that_may_pass(read_fields(buffer[: end + 2]))
        self.ended, self.rest = True, buffer[end + 4 :]
