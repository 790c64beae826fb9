"""
Collects the head of a message, and has llhttp read its fields.

A head is read when its last byte is here and never before, by a parser that reads nothing
else: so no state of one message reaches the next, and bytes behind a head (a body, a
pipelined request, a WebSocket frame) are never read as something they are not. Making a
parser costs a sixth of a microsecond.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import attrs
import httptools

from pomeriumd.errors import PomeriumError
from pomeriumd.http.events import Field

_END = b"\r\n\r\n"

_NAMES_KEPT = 2_048
"""Spellings of field names that are remembered; more are lower-cased each time."""

_NAME_SIZE_KEPT = 64
"""Bytes of the longest name that is remembered."""

_KNOWN = b"""
    Accept Accept-Encoding Accept-Language Accept-Ranges Age Authorization Cache-Control
    Connection Content-Encoding Content-Length Content-Security-Policy Content-Type Cookie
    Date DNT ETag Expires Host If-Modified-Since If-None-Match Keep-Alive Last-Modified
    Location Origin Pragma Priority Range Referer Sec-CH-UA Sec-CH-UA-Mobile
    Sec-CH-UA-Platform Sec-Fetch-Dest Sec-Fetch-Mode Sec-Fetch-Site Sec-Fetch-User
    Sec-WebSocket-Extensions Sec-WebSocket-Key Sec-WebSocket-Version Server Set-Cookie
    Strict-Transport-Security TE Trailer Transfer-Encoding Upgrade Upgrade-Insecure-Requests
    User-Agent Vary Via X-Content-Type-Options X-Forwarded-For X-Forwarded-Proto
    X-Frame-Options X-Requested-With
""".split()


_COMPLETE: Field = (b"", b"")
"""Stands behind the last field that llhttp gave, once it saw the head's end."""


class _Names(dict[bytes, bytes]):
    """Field names in lower case, by the spelling that came."""

    def __missing__(self, name: bytes) -> bytes:
        lower = name.lower()
        # Full, it stays as it is: who fills it with rubbish makes a request of his cost
        # 50 ns a name more, and cannot push out the spellings that all others use.
        if len(self) < _NAMES_KEPT and len(name) <= _NAME_SIZE_KEPT:
            self[name] = lower
        return lower


_NAMES = _Names((spelling, name.lower()) for name in _KNOWN for spelling in (name, name.lower()))


class _Listener:
    """What llhttp calls. The Nones spare it failing look-ups."""

    __slots__ = ("on_header", "on_headers_complete")
    on_message_begin = on_url = on_status = on_message_complete = None
    on_body = on_chunk_header = on_chunk_complete = None

    def __init__(
        self, on_header: Callable[[bytes, bytes], None], on_headers_complete: Callable[[], None]
    ) -> None:
        self.on_header = on_header
        self.on_headers_complete = on_headers_complete


P = TypeVar("P", httptools.HttpRequestParser, httptools.HttpResponseParser)


@attrs.define(eq=False, repr=False)
class FieldReader(Generic[P]):
    """
    Has llhttp read the fields of whole heads, of any connection.

    Attributes:
        parser: of requests or of responses.
        broken: what to raise for a head that cannot be read.
    """

    parser: type[P]
    broken: type[PomeriumError]
    _fields: list[Field] = attrs.field(factory=list, init=False)
    _listener: _Listener = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        append, names = self._fields.append, _NAMES

        def on_header(name: bytes, value: bytes) -> None:
            append((names[name], value.rstrip()))

        def on_headers_complete() -> None:
            append(_COMPLETE)

        self._listener = _Listener(on_header, on_headers_complete)

    def read(self, head: bytes) -> list[Field]:
        """
        Read the fields of a whole head, in wire order.

        Raises:
            broken: llhttp refuses the head, or sees another end of it than we.
        """
        found = self._fields
        found.clear()
        try:
            self.parser(self._listener).feed_data(head)
        except httptools.HttpParserUpgrade:
            pass  # the head asks for an upgrade, and was read whole
        except httptools.HttpParserError as error:
            raise self.broken(f"head: {str(error).lower()}") from None
        # It holds one empty line, its last: so this is one head, and all of it.
        if not found or found.pop() is not _COMPLETE:
            raise self.broken("head does not end where its empty line is")
        return found[:]


@attrs.define(eq=False, repr=False)
class HeadReader:
    """
    The head of one message after another, from one peer.

    Attributes:
        size: bytes of the largest head taken.
        begins: the bytes that a head may begin with; anything else is refused at once, so
            that a TLS client on a plain port hears of it before its head's deadline.
        broken: what to raise for what is no head.
        large: what to raise for one that is too large.
        blank: whether one empty line in front of a head is passed over.
    """

    size: int
    begins: bytes
    broken: type[PomeriumError]
    large: type[PomeriumError]
    blank: bool = False
    _passed: bool = attrs.field(default=False, init=False)
    _held: bytearray = attrs.field(factory=bytearray, init=False)

    @property
    def begun(self) -> bool:
        """Whether a part of a head is here."""
        return bool(self._held)

    def take(self, octets: bytes) -> tuple[bytes, bytes] | None:
        """
        Take bytes of a head.

        Returns:
            The whole head, with its empty line, and the bytes behind it; or None while
            its end is not here.

        Raises:
            broken: it does not begin like a head, or has a line that ends in LF alone.
            large: it is over the bound, complete or not.
        """
        if not self._held and octets[:1] in self.begins:
            end = octets.find(_END)
            if 0 <= end <= self.size - len(_END):
                self._passed = False
                end += len(_END)
                if end == len(octets):
                    return octets, b""
                return octets[:end], octets[end:]
        return self._gather(octets)

    def _gather(self, octets: bytes) -> tuple[bytes, bytes] | None:
        """Take bytes of a head that comes in pieces, or that something is wrong with."""
        held = self._held
        fresh = max(0, len(held) - 3)
        held += octets
        if self.blank and not self._passed and held[:2] == b"\r\n":
            self._passed = True
            fresh = 0
            del held[:2]
        if not held or (self.blank and not self._passed and held == b"\r"):
            return None
        if held[:1] not in self.begins:
            raise self.broken("head does not begin like one")
        end = held.find(_END, fresh)
        if (len(held) if end < 0 else end + len(_END)) > self.size:
            self.refuse_bare(held, fresh, self.size)
            raise self.large(f"head of more than {self.size} bytes")
        if end < 0:
            self.refuse_bare(held, fresh)
            return None
        head, rest = bytes(held[: end + len(_END)]), bytes(held[end + len(_END) :])
        held.clear()
        self._passed = False
        return head, rest

    def refuse_bare(
        self, octets: bytes | bytearray, fresh: int = 0, end: int | None = None
    ) -> None:
        """
        Raise if a line ends in LF alone.

        A head that comes in pieces is refused for it as soon as it is seen. So whoever finds
        another fault in a whole head asks here first: it must not hang on the pieces which
        of two faults a client is told.

        Args:
            octets: of a head, its begin or all of it.
            fresh: where the part begins that was not looked at before.
            end: where the part ends that counts.

        Raises:
            broken: there is such a line.
        """
        place = octets.find(b"\n", fresh, end)
        while place >= 0:
            if octets[place - 1 : place] != b"\r":
                raise self.broken("head has a line that ends in LF alone")
            place = octets.find(b"\n", place + 1, end)
