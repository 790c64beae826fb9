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

import attrs
import httptools

from pomeriumd.errors import BadMessage, ClientError, HeadTooLarge, PomeriumError, UpstreamBroken
from pomeriumd.http.chunked import ChunkedReader
from pomeriumd.http.events import Data, End, Field, Request, Response
from pomeriumd.http.fields import write_fields
from pomeriumd.http.gate import admit, request_line
from pomeriumd.http.head import HeadReader
from pomeriumd.http.limits import Limits
from pomeriumd.http.outgoing import Framing, Outgoing
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


@attrs.define
class Server1:
    """
    One client's connection.

    The caller feeds what arrives and sends what the other methods return. An error raised
    by ``feed`` or ``next`` ends the reading: the caller answers with its status, if it has
    not answered yet, and closes.

    Attributes:
        limits: the bounds.
        date: value of the Date field for answers that have none; b"" for none. Whoever has
            a clock sets it.
        expects_continue: the current request waits for ``continue_``, and no byte of its
            body has come.
    """

    limits: Limits
    date: bytes = attrs.field(default=b"", kw_only=True)
    expects_continue: bool = attrs.field(default=False, init=False)
    _reader: HeadReader[httptools.HttpRequestParser] = attrs.field(init=False)
    _reading: _Reading = attrs.field(default=_Reading.HEAD, init=False)
    _left: int = attrs.field(default=0, init=False)
    """Bytes of a body of known size that are still to come."""
    _chunks: ChunkedReader | None = attrs.field(default=None, init=False)
    _held: bytes = attrs.field(default=b"", init=False)
    """Bytes behind the current message."""
    _head_only: bool = attrs.field(default=False, init=False)
    _http11: bool = attrs.field(default=True, init=False)
    _persists: bool = attrs.field(default=True, init=False)
    _eof: bool = attrs.field(default=False, init=False)
    _out: Outgoing | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._reader = HeadReader(
            httptools.HttpRequestParser,
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
            if self._reading is _Reading.HEAD:
                taken = self._reader.take(octets)
                return [] if taken is None else self._begin(*taken)
            return self._go_on(octets)
        except ClientError:
            self._stop()
            raise

    def _begin(self, head: bytes, rest: bytes) -> list[Event]:
        """Judge a whole head, and go on with the bytes behind it."""
        limits = self.limits
        method, target, http11 = request_line(head[: head.find(b"\r\n")], limits)
        self._http11 = http11
        self._head_only = method == b"HEAD"
        count = head.count(b"\n") - 2
        if count > limits.field_count:
            raise HeadTooLarge(f"{count} fields, at most {limits.field_count}")
        fields = self._reader.fields(head)
        request, self._persists, self.expects_continue = admit(
            method, target, fields, http11=http11
        )
        length = request.length
        if length == 0:
            self._reading = _Reading.NEXT
            if rest:
                self._hold(rest)
            return [request, _END]
        if length is None:
            self._chunks = ChunkedReader(limits.trailer_size)
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
        if chunks is None:
            raise PomeriumError("a chunked body without its reader")
        body = chunks.feed(octets)
        events: list[Event] = [Data(body)] if body else []
        if chunks.ended:
            events.append(End(chunks.trailers))
            self._chunks = None
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
        self._reading = _Reading.HEAD
        self._out = None
        self.expects_continue = False
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
        return self._reading is _Reading.HEAD and not self._reader.begun

    @property
    def keep_alive(self) -> bool:
        """Whether the exchange is over both ways and another message may follow."""
        return (
            self._persists
            and self._reading is _Reading.NEXT
            and self._out is not None
            and self._out.ended
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
        if close or self.expects_continue or out.framing is Framing.CLOSE or not self._http11:
            self._persists = False
        ours: list[Field] = []
        if length is not None and status != 204 and out.framing is not Framing.CHUNKED:  # noqa: PLR2004
            ours.append((b"content-length", b"%d" % length))
        elif out.framing is Framing.CHUNKED:
            ours.append((b"transfer-encoding", b"chunked"))
        if not self._persists:
            ours.append((b"connection", b"close"))
        if self.date and not any(name == b"date" for name, _ in fields):
            ours.append((b"date", self.date))
        return write_fields(STATUS_LINES[status], [*fields, *ours])

    def _framed(self, status: int, length: int | None) -> Outgoing:
        """Choose how the client learns where the answer's body ends."""
        if self._head_only or status in NO_BODY:
            return Outgoing(Framing.NONE, UpstreamBroken)
        if length is not None:
            return Outgoing(Framing.LENGTH, UpstreamBroken, length)
        return Outgoing(Framing.CHUNKED if self._http11 else Framing.CLOSE, UpstreamBroken)

    def data(self, octets: bytes) -> bytes:
        """
        Return the bytes to send for a piece of the answer's body; b"" if it has none.

        Raises:
            UpstreamBroken: it is more than the head announced; the caller aborts.
        """
        return self._answer().data(octets)

    def end(self, trailers: tuple[Field, ...] = ()) -> bytes:
        """
        Return the bytes to send at the end of the answer.

        Raises:
            UpstreamBroken: the body was less than the head announced; the caller aborts.
        """
        return self._answer().end(trailers)

    def _answer(self) -> Outgoing:
        """Return the answer that has begun."""
        if self._out is None:
            raise PomeriumError("a body before its head")
        return self._out

    def switch(self, response: Response) -> tuple[bytes, bytes]:
        """
        Begin the tunnel that a request with ``upgrade`` asked for.

        Returns:
            The head's bytes, and the bytes of the tunnel that are here already. From now on
            ``feed`` gives all there is as ``Data``.
        """
        if self._out is not None or self._reading is not _Reading.NEXT:
            raise PomeriumError("a tunnel where no answer may begin")
        self._out = Outgoing(Framing.NONE, UpstreamBroken)
        self._reading = _Reading.TUNNEL
        self._persists = False
        early, self._held = self._held, b""
        ours = [(b"connection", b"upgrade"), (b"upgrade", b"websocket")]
        return write_fields(STATUS_LINES[101], [*response.fields, *ours]), early

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
