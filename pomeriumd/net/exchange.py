"""
One request and the way to answer it, in any version of HTTP.

An exchange has a client side (``Exchange``, made by a server connection) and, once a
connection to the upstream is leased, an upstream side (``net/upstream``). Each side
tells a ``Sink`` what arrives on it; whoever relays crosses the two.

Nothing here knows framing: HTTP/2 comes in as another ``Stream``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import attrs
from twisted.internet.defer import Deferred

from pomeriumd.answers.answer import Answer
from pomeriumd.errors import BodyTooLarge, ClientGone, PomeriumError
from pomeriumd.http.events import Data, End, Field, Request, Response
from pomeriumd.http.notes import Notes

if TYPE_CHECKING:
    from pomeriumd.access.routes import Route
    from pomeriumd.net.client_certificates import Shown as ClientShown
    from pomeriumd.session.known import Known


SWITCHING = 101
"""The status after which both bodies are bytes of another protocol (RFC 9110, 15.2.2)."""


class Sink(Protocol):
    """Who is told what arrives on one side of an exchange, and how its output flows."""

    def data(self, octets: bytes) -> None:
        """Take a piece of the body."""

    def end(self, trailers: tuple[Field, ...]) -> None:
        """The body is complete."""

    def lost(self, error: PomeriumError) -> None:
        """This side is gone before its message was complete; nothing follows."""

    def flush(self) -> None:
        """All that had arrived has been told: what is held to be written goes out now."""

    def full(self) -> None:
        """This side takes no more for now: pause what feeds it."""

    def drained(self) -> None:
        """This side takes more again."""


class Stream(Protocol):
    """The server's side of one message exchange on a connection to a client."""

    def start(self, response: Response, *, close: bool) -> None:
        """Write the head."""

    def write(self, octets: bytes) -> None:
        """Write a piece of the body; it goes out with the next ``flush``."""

    def flush(self) -> None:
        """Let out what was written."""

    def finish(self, trailers: tuple[Field, ...]) -> None:
        """End the answer; the connection goes on to the next request, or closes."""

    def cut(self) -> None:
        """Break off so that the client sees a truncated answer, never a short one."""

    def switch(self, response: Response) -> bytes:
        """Answer 101 and become a tunnel; give back what the client sent ahead."""

    def listen(self) -> None:
        """The body is wanted now."""

    def pause(self, why: str) -> None:
        """Stop reading from the client for this reason too."""

    def resume(self, why: str) -> None:
        """This reason is over; reading goes on when no other is left."""


class Exchange:
    """
    The client's side of one exchange: its request, and the way to answer.

    What the access line will say of it is filled in as the exchange goes on. One is made for
    each request: what is not known yet stands on the class.

    Args:
        request: its head.
        id: unique; on every log line and page of this exchange.
        client: the client's address as text: the socket's other end, until whoever serves
            the exchange knows better because a trusted proxy stands there.
        secure: whether it came over TLS.
        notes: of the head's fields.
        began: seconds of the clock when the head was complete.
        stream: the way to answer.
        on_end: is told that it is over, once.
        ended: the whole body of the request has come.
    """

    status = 0
    """Status of the answer that went out; 0 before that."""
    sent = 0
    """Bytes of the answer's body."""
    received = 0
    """Bytes of the request's body."""
    over = False
    route: Route | None = None
    known: Known | None = None
    """The session that it was decided by, if any."""
    user = ""
    decision = ""
    reasons: tuple[str, ...] = ()
    decided = 0.0
    """Seconds spent on session and decision."""
    upstream = 0.0
    """Seconds from the request's head going out to the answer's head coming in."""
    error = ""
    shown: ClientShown | None = None
    """What the client's connection showed of itself, if it was asked for a certificate."""
    again = 0.0
    """Seconds of the clock when it was decided again last, if it lasts."""
    waits: Deferred[Any] | None = None
    """What is waited for before anybody listens; it is cancelled when the client leaves."""
    _sink: Sink | None = None
    _held: list[Data | End] | None = None

    def __init__(
        self,
        request: Request,
        id: str,  # noqa: A002  # it is one
        client: str,
        secure: bool,
        notes: Notes,
        began: float,
        stream: Stream,
        on_end: Callable[[Exchange], None],
        ended: bool,
    ) -> None:
        self.request = request
        self.id = id
        self.client = client
        self.secure = secure
        self.notes = notes
        self.began = began
        self.ended = ended
        self._stream = stream
        self._on_end = on_end

    # What the connection tells.

    def arrived(self, event: Data | End) -> None:
        """Take an event of the request's body, from the connection."""
        if isinstance(event, End):
            self.ended = True
        else:
            self.received += len(event.data)
        if self._sink is None:
            # Bounded: the connection stops reading while nobody listens.
            self._held = [*(self._held or ()), event]
        elif not self.over:
            self._tell(self._sink, event)

    def flush_sink(self) -> None:
        """All that had arrived from the client has been told."""
        if self._sink is not None and not self.over:
            self._sink.flush()

    def client_lost(self, error: PomeriumError) -> None:
        """The client's connection is gone, or what it sends cannot be read."""
        if self.over:
            return
        sink, waits = self._sink, self.waits
        self._end(error)
        if waits is not None:
            waits.cancel()
        if sink is not None:
            sink.lost(error)

    def output(self, *, full: bool) -> None:
        """The client's connection takes no more for now, or takes more again."""
        if self._sink is not None and not self.over:
            if full:
                self._sink.full()
            else:
                self._sink.drained()

    # What the one who answers does.

    @property
    def heard(self) -> bool:
        """Somebody listens to the request's body."""
        return self._sink is not None

    @property
    def started(self) -> bool:
        """The head of the answer has gone out: there is no other answer any more."""
        return self.status != 0

    def listen(self, sink: Sink) -> None:
        """
        Have the request's body, what has come of it first, told to ``sink``.

        A request without a body is told as its end; to the next sink too, since it may have
        to be sent again.
        """
        self._sink = sink
        self._stream.listen()
        held, self._held = self._held, None
        if held is not None:
            for event in held:
                self._tell(sink, event)
            sink.flush()
        elif self.ended:
            sink.end(())

    def _tell(self, sink: Sink, event: Data | End) -> None:
        if isinstance(event, End):
            sink.end(event.trailers)
        else:
            sink.data(event.data)

    def pause(self, why: str) -> None:
        """Stop reading the request's body for this reason too."""
        self._stream.pause(why)

    def resume(self, why: str) -> None:
        """This reason is over."""
        self._stream.resume(why)

    def respond(self, response: Response, *, close: bool = False) -> None:
        """Give the answer's head; it goes out with the next flush."""
        self.status = response.status
        self._stream.start(response, close=close)

    def send(self, octets: bytes) -> None:
        """Give a piece of the answer's body; it goes out with the next flush."""
        self.sent += len(octets)
        self._stream.write(octets)

    def flush(self) -> None:
        """Let out what was given so far."""
        self._stream.flush()

    def finish(self, trailers: tuple[Field, ...] = ()) -> None:
        """End the answer. The exchange is over."""
        self._end(None)
        self._stream.finish(trailers)

    def cut(self, error: PomeriumError) -> None:
        """Break off: nobody is answered any more."""
        if not self.over:
            self._end(error)
            self._stream.cut()

    def end_now(self, error: PomeriumError) -> None:
        """Break off on both sides: whoever is at work is told what lets nobody go on."""
        if self.over:
            return
        self.error = type(error).__name__
        self.status = self.status or error.status
        sink = self._sink
        self._end(error)
        self._stream.cut()
        if sink is not None:
            sink.lost(error)

    def switch(self, response: Response) -> bytes:
        """Answer 101: from here on both bodies are bytes of another protocol."""
        self.status = response.status
        return self._stream.switch(response)

    def reply(self, answer: Answer, *, close: bool = False) -> None:
        """Give a whole answer of our own, and close after it if asked. The exchange is over."""
        # A body that was not read would be taken for the next request.
        self.respond(
            Response(answer.status, list(answer.fields), len(answer.body)),
            close=close or not self.ended,
        )
        self.send(answer.body)
        self.finish()

    def _end(self, error: PomeriumError | None) -> None:
        self.over = True
        # A tunnel has no end but that one side leaves.
        if error is not None and self.status != SWITCHING and not self.error:
            self.error = type(error).__name__
            if not self.status:
                self.status = error.status
        self._sink = self._held = None
        self._on_end(self)


@attrs.define(eq=False)
class SmallBody:
    """A Sink that gathers a small body, for pages of ours: forms, nothing else."""

    _exchange: Exchange
    _most: int
    _pieces: list[bytes] = attrs.Factory(list)
    _size: int = 0
    _whole: Deferred[bytes] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._whole = Deferred(lambda _: self._exchange.cut(ClientGone("the wait was cancelled")))

    def read(self) -> Deferred[bytes]:
        """
        Return the body when it is complete.

        Raises:
            BodyTooLarge: it is larger than ``most`` bytes, whether announced or not.
            ClientGone: the client left before its end.
        """
        if (self._exchange.request.length or 0) > self._most:
            return self._refused()
        self._exchange.listen(self)
        return self._whole

    def _refused(self) -> Deferred[bytes]:
        self._whole.errback(BodyTooLarge(f"body over {self._most} bytes"))
        return self._whole

    def data(self, octets: bytes) -> None:
        """Keep a piece."""
        if self._whole.called:
            return
        self._size += len(octets)
        if self._size > self._most:
            self._pieces.clear()
            self._refused()
        else:
            self._pieces.append(octets)

    def end(self, trailers: tuple[Field, ...]) -> None:
        """Give the whole body to who waits for it; trailers of a form mean nothing."""
        if not self._whole.called:
            self._whole.callback(b"".join(self._pieces))

    def lost(self, error: PomeriumError) -> None:
        """Tell who waits that there is no body."""
        if not self._whole.called:
            self._whole.errback(error)

    def flush(self) -> None:
        """Nothing is written from here."""

    def full(self) -> None:
        """Nothing is written from here."""

    def drained(self) -> None:
        """Nothing is written from here."""
