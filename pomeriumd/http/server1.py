"""
HTTP/1.1 as a server speaks it: bytes in, events out, and answers to bytes.

It reads one message at a time. What a client sends behind the message that is being
answered is held back as bytes, unread, until ``next``: answers cannot change places (F5),
and a head is judged only when its turn comes. Nothing here knows a transport, a clock or
a route.

Source: RFC 9112.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

import attrs

from pomeriumd.errors import BadMessage, ClientError, HeadTooLarge, PomeriumError, UpstreamBroken
from pomeriumd.http.chunked import ChunkedReader
from pomeriumd.http.events import Data, End, Field, Request, Response
from pomeriumd.http.fields import field_lines
from pomeriumd.http.head import HeadReader
from pomeriumd.http.limits import Limits
from pomeriumd.http.notes import Notes
from pomeriumd.http.outgoing import CHUNKED, UNTIL_CLOSE, WITHOUT, Counted, Outgoing
from pomeriumd.http.request_heads import RequestHeads
from pomeriumd.http.status import NO_BODY, STATUS_LINES

Event = Request | Data | End

_END = End()


class _Reading(enum.Enum):
    """What the next byte of the client is."""

    HEAD = "of a head"
    LENGTH = "of a body of known size"
    CHUNKED = "of a chunked body"
    NEXT = "of the next message, which waits"
    TUNNEL = "of what was upgraded to"
    NOTHING = "of no interest any more"


_HEAD, _NEXT = _Reading.HEAD, _Reading.NEXT  # each look-up in an Enum class costs 60 ns


@attrs.define(eq=False, repr=False)  # what waits in it holds cookies
class Server1:
    """
    One client's connection.

    The caller feeds what arrives and sends what the other methods return. An error raised
    by ``feed`` or ``next`` ends the reading: the caller answers with its status, if it has
    not answered yet, and closes.

    Attributes:
        limits: the bounds.
        heads: reads the heads of all connections.
        date: gives the value of the Date field for answers that have none; b"" for none.
        expects_continue: the current request waits for ``continue_``, and no byte of its
            body has come.
        notes: of the current request's fields.
    """

    limits: Limits
    heads: RequestHeads = attrs.field()
    date: Callable[[], bytes] = attrs.field(default=bytes, kw_only=True)
    expects_continue: bool = attrs.field(default=False, init=False)
    notes: Notes = attrs.field(factory=Notes, init=False)
    _reader: HeadReader = attrs.field(init=False)
    _reading: _Reading = attrs.field(default=_Reading.HEAD, init=False)
    _left: int = attrs.field(default=0, init=False)
    """Bytes of a body of known size that are still to come."""
    _chunks: ChunkedReader = attrs.field(init=False)
    """Made for each chunked body."""
    _held: bytes = attrs.field(default=b"", init=False)
    """Bytes behind the current message."""
    _head_only: bool = attrs.field(default=False, init=False)
    _http11: bool = attrs.field(default=True, init=False)
    _persists: bool = attrs.field(default=True, init=False)
    _eof: bool = attrs.field(default=False, init=False)
    _out: Outgoing | None = attrs.field(default=None, init=False)
    _answered: bool = attrs.field(default=False, init=False)

    @heads.default
    def _own_heads(self) -> RequestHeads:
        return RequestHeads(self.limits)

    def __attrs_post_init__(self) -> None:
        self._reader = HeadReader(
            self.limits.head_size,
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
            BadMessage,
            HeadTooLarge,
            blank=True,
        )

    def feed(self, octets: bytes) -> list[Event]:
        """
        Take bytes from the client.

        Returns:
            What they mean for the current message, in order. Bytes of later messages wait.

        Raises:
            ClientError: the message cannot be taken; its class says the status. What the
                same bytes meant before the fault is not given: it was not whole.
        """
        if not octets:
            return []
        try:
            if self._reading is _HEAD:
                taken = self._reader.take(octets)
                return [] if taken is None else self._begin(*taken)
            return self._go_on(octets)
        except ClientError:
            self._stop()
            raise

    def _begin(self, head: bytes, rest: bytes) -> list[Event]:
        """Judge a whole head, and go on with the bytes behind it."""
        try:
            request, judged, http11 = self.heads.read(head)
        except ClientError:
            self._reader.refuse_bare(head)
            raise
        self._http11 = http11
        self._head_only = request.method == b"HEAD"
        _, _, _, _, _, self._persists, self.expects_continue, self.notes = judged
        length = request.length
        if length == 0:
            self._reading = _NEXT
            if rest:
                self._hold(rest)
            return [request, _END]
        if length is None:
            self._chunks = ChunkedReader(self.limits.trailer_size)
            self._reading = _Reading.CHUNKED
        else:
            self._left = length
            self._reading = _Reading.LENGTH
        return [request, *self._go_on(rest)] if rest else [request]

    def _go_on(self, octets: bytes) -> list[Event]:
        """Take bytes that come after a head."""
        match self._reading:
            case _Reading.LENGTH:
                return self._counted(octets)
            case _Reading.CHUNKED:
                return self._chunked(octets)
            case _Reading.NEXT:
                self._hold(octets)
                return []
            case _Reading.TUNNEL:
                return [Data(octets)]
            case _:
                return []

    def _counted(self, octets: bytes) -> list[Event]:
        """Take bytes of a body of known size."""
        self.expects_continue = False
        left = self._left
        if len(octets) < left:
            self._left = left - len(octets)
            return [Data(octets)]
        self._left = 0
        self._reading = _Reading.NEXT
        if len(octets) > left:
            self._hold(octets[left:])
        return [Data(octets[:left]), _END]

    def _chunked(self, octets: bytes) -> list[Event]:
        """Take bytes of a chunked body."""
        self.expects_continue = False
        chunks = self._chunks
        body = chunks.feed(octets)
        events: list[Event] = [Data(body)] if body else []
        if chunks.ended:
            events.append(End(chunks.trailers))
            self._reading = _Reading.NEXT
            if chunks.rest:
                self._hold(chunks.rest)
        return events

    def _hold(self, octets: bytes) -> None:
        """Keep what lies behind the current message, unless nobody will read it."""
        if not self._persists:
            return
        self._held += octets
        if len(self._held) > self.limits.pipelined + self.limits.buffered:
            raise BadMessage(f"{len(self._held)} bytes behind a request that is being answered")

    def _stop(self) -> None:
        """Read nothing any more."""
        self._reading = _Reading.NOTHING
        self._persists = False
        self._held = b""

    def next(self) -> list[Event]:
        """
        Go on to the next message, once the exchange is over both ways.

        Returns:
            What the bytes that waited mean, as ``feed`` does; [] also when this connection
            carries no other message.

        Raises:
            ClientError: as ``feed`` does.
        """
        if not self.keep_alive:
            return []
        self._reading = _HEAD
        self._out = None
        self._answered = False
        self._head_only = False  # or a refused head would be answered as the HEAD before it
        self.expects_continue = False
        if not self._held and not self._eof:
            return []
        held, self._held = self._held, b""
        events = self.feed(held)
        if self._eof and not events:
            self._stop()
            raise BadMessage("connection ended inside a request")
        return events

    @property
    def waiting(self) -> bool:
        """Whether so much waits behind the current message that reading should stop."""
        return len(self._held) >= self.limits.pipelined

    @property
    def idle(self) -> bool:
        """Whether it is between messages, and nothing of the next one is here."""
        return self._reading is _HEAD and not self._reader.begun

    @property
    def keep_alive(self) -> bool:
        """Whether the exchange is over both ways and another message may follow."""
        return (
            self._persists
            and self._answered
            and self._reading is _NEXT
            and (not self._eof or bool(self._held))
        )

    def continue_(self) -> bytes:
        """Return the interim answer that lets the client send its body; once, then b""."""
        if not self.expects_continue:
            return b""
        self.expects_continue = False
        return b"HTTP/1.1 100 Continue\r\n\r\n"

    def respond(self, response: Response, *, close: bool = False) -> bytes:
        """
        Begin the answer to the current request.

        Args:
            response: its fields are end-to-end; framing is put in here.
            close: whether this is to be the connection's last answer.

        Returns:
            The head's bytes.

        Raises:
            PomeriumError: the request was answered already, the status is interim, or a
                field holds what would begin another field.
        """
        status, fields, length = response
        if self._out is not None or status < 200:  # noqa: PLR2004 - the first final status
            raise PomeriumError(f"status {status} where no answer may begin")
        out = self._out = self._framed(status, length)
        # A client that was never told to go on may send its body or leave it out: what it
        # sends next could be either (RFC 9110 section 10.1.1).
        if close or self.expects_continue or not self._http11:
            self._persists = False
        head = b"%b\r\n%b" % (STATUS_LINES[status], field_lines(fields))
        if out is CHUNKED:
            head += b"transfer-encoding: chunked\r\n"
        elif length is not None and status != 204:  # noqa: PLR2004 - has none, not even 0
            head += b"content-length: %d\r\n" % length
        if not self._persists:
            head += b"connection: close\r\n"
        if b"\r\ndate: " not in head and (date := self.date()):
            head += b"date: %b\r\n" % date
        return head + b"\r\n"

    def _framed(self, status: int, length: int | None) -> Outgoing:
        """Choose how the client learns where the answer's body ends."""
        if self._head_only or status in NO_BODY:
            return WITHOUT
        if length is not None:
            return Counted(length, length, UpstreamBroken)
        return CHUNKED if self._http11 else UNTIL_CLOSE

    def data(self, octets: bytes) -> bytes:
        """
        Return the bytes to send for a piece of the answer's body; b"" if it has none.

        Raises:
            UpstreamBroken: it is more than the head announced; the caller aborts.
        """
        if self._out is None:
            raise PomeriumError("a body before its head")
        return self._out.data(octets)

    def end(self, trailers: tuple[Field, ...] = ()) -> bytes:
        """
        Return the bytes to send at the end of the answer.

        Raises:
            UpstreamBroken: the body was less than the head announced; the caller aborts.
        """
        if self._out is None:
            raise PomeriumError("an end before its head")
        last = self._out.end(trailers)
        self._answered = True
        return last

    def switch(self, response: Response) -> tuple[bytes, bytes]:
        """
        Begin the tunnel that a request with ``upgrade`` asked for.

        Returns:
            The head's bytes, and the bytes of the tunnel that are here already. From now on
            ``feed`` gives all there is as ``Data``.
        """
        if self._out is not None or self._reading is not _Reading.NEXT:
            raise PomeriumError("a tunnel where no answer may begin")
        self._out = WITHOUT
        self._reading = _Reading.TUNNEL
        self._persists = False
        early, self._held = self._held, b""
        head = b"%b\r\n%bconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
        return head % (STATUS_LINES[101], field_lines(response.fields)), early

    def closed(self) -> bool:
        """
        Take the end of the client's bytes.

        Returns:
            True if it cut nothing: no message had begun, or the current one is whole.
        """
        self._eof = True
        if self._reading in (_Reading.NEXT, _Reading.TUNNEL, _Reading.NOTHING):
            return True
        whole = self.idle
        self._stop()
        return whole
