"""
One HTTP/1.1 connection from a client: bytes to exchanges, answers to bytes.

It owns the socket's side of every rule about time and flow: which deadline runs, when
reading pauses, when the connection may carry another request. What a request means is
somebody else's: each one is handed to ``serve`` as an ``Exchange``.

Reading pauses for *reasons*, and goes on when none is left: a boolean cannot hold two.
"""

from __future__ import annotations

import math
from typing import Protocol as Shape

import attrs
from twisted.internet.interfaces import IAddress, IPushProducer
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from pomeriumd.errors import ClientError, ClientGone, RequestTimeout
from pomeriumd.http.events import Data, End, Field, Request, Response
from pomeriumd.http.limits import Limits
from pomeriumd.http.notes import Notes
from pomeriumd.http.request_heads import RequestHeads
from pomeriumd.http.server1 import Server1
from pomeriumd.net.client_certificates import Shown
from pomeriumd.net.deadlines import Deadlines
from pomeriumd.net.exchange import Exchange
from pomeriumd.net.pauses import PIPELINED, UNHEARD, UPSTREAM, Pauses
from pomeriumd.net.wire import Wire


@attrs.frozen(kw_only=True)
class Times:
    """Seconds that each phase of a connection may take; ``math.inf`` is without end."""

    head: float = 10.0
    """From the first byte of a request (or the connection) to the end of its head."""
    body: float = 30.0
    """Between two pieces of a request's body, while we want them."""
    write: float = math.inf
    """That a client may take nothing of what waits for it."""
    idle: float = 300.0
    """Between two requests."""


class Serving(Shape):
    """What a server connection needs from the daemon around it."""

    @property
    def limits(self) -> Limits:
        """Return the bounds."""

    @property
    def heads(self) -> RequestHeads:
        """Return what reads heads."""

    @property
    def times(self) -> Times:
        """Return what each phase may take, for now."""

    @property
    def deadlines(self) -> Deadlines:
        """Return the wheel."""

    @property
    def closing(self) -> bool:
        """Say whether connections are not kept, as when the daemon shuts down: answers say so."""

    def serve(self, exchange: Exchange) -> None:
        """Answer the exchange, now or later."""

    def unreadable(self, exchange: Exchange, error: ClientError) -> None:
        """Answer a request that could not be read; the connection closes after it."""

    def ended(self, exchange: Exchange) -> None:
        """Write the exchange's line in the access log."""

    def new_id(self) -> str:
        """Return a request id that was never given before."""

    def clock(self) -> float:
        """Return seconds, for durations."""

    def date(self) -> bytes:
        """Return the Date field's value for now."""

    def opened(self, connection: ServerConnection) -> None:
        """A connection begins."""

    def closed(self, connection: ServerConnection) -> None:
        """A connection has ended."""


UNREADABLE = Request(b"-", b"", None, b"-", None, [], 0, None)
"""Stands for a request whose head could not be read, in its answer and its log line."""


@implementer(IPushProducer)
class ServerConnection(Protocol):
    """One connection from a client; the ``Stream`` of its exchanges."""

    transport: Wire  # type: ignore[assignment]  # narrower than Protocol's, wider than any ours
    _log = Logger()

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._parser = Server1(serving.limits, serving.heads, date=serving.date)
        self._exchange: Exchange | None = None
        self._paused = Pauses()
        self._full = False
        """The client does not take what waits for it: its time for that is all that runs,
        and its next request has to wait, or the answers would wait here without a bound."""
        self._backlog = 0
        """What waited for the client when its time began."""
        self._out: list[bytes] = []
        self._tunnel = False
        self._taking = False
        self._closing = False
        self._client = ""
        self._secure = False
        self._shown: Shown | None = None
        self.due = math.inf

    @property
    def exchange(self) -> Exchange | None:
        """Return the exchange under way."""
        return self._exchange

    # IProtocol

    def connectionMade(self) -> None:
        """Begin: the clock for the first head runs."""
        peer = self.transport.getPeer()
        self._client = str(getattr(peer, "host", ""))
        self._secure = bool(getattr(self.transport, "secure", False))
        self._shown = getattr(self.transport, "shown", None)
        # For as long as the connection lives: the transport then tells when its
        # buffer is full and when it has drained.
        self.transport.registerProducer(self, streaming=True)
        serving = self._serving
        serving.opened(self)
        serving.deadlines.watch(self)
        self.due = serving.deadlines.now + serving.times.head

    def dataReceived(self, octets: bytes) -> None:
        """Take what the client sent."""
        if self._tunnel:
            self._through(octets)
        elif not self._closing:
            self._read(octets)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell whoever is at work that nobody is left to answer."""
        self._serving.deadlines.forget(self)
        self._closing = True
        self._out.clear()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.client_lost(ClientGone("the client closed the connection"))
        self._serving.closed(self)

    # IPushProducer: the transport's buffer towards the client

    def pauseProducing(self) -> None:
        """The client is slower than what we write: hold what feeds it."""
        self._full = True
        self._backlog = self.transport.backlog()
        self.due = self._serving.deadlines.now + self._serving.times.write
        if self._exchange is not None:
            self._exchange.output(full=True)

    def resumeProducing(self) -> None:
        """The client has taken what waited."""
        self._full = False
        self._await_body()
        if self._exchange is not None:
            self._exchange.output(full=False)
        elif not (self._closing or self._taking):
            self._rest()

    def stopProducing(self) -> None:
        """The transport is gone; ``connectionLost`` follows and tells everybody."""

    # Reading

    def _read(self, octets: bytes) -> None:
        parser, serving = self._parser, self._serving
        if parser.idle:
            self.due = serving.deadlines.now + serving.times.head
        try:
            events = parser.feed(octets)
        except ClientError as error:
            self._refuse(error)
            return
        if events:
            self._take(events)
        if parser.waiting:
            self.pause(PIPELINED)

    def _take(self, events: list[Request | Data | End]) -> None:
        """Hand on events; and those of the next requests, as far as they are answered."""
        self._taking = True
        while events:
            for event in events:
                self._hand_on(event)
            events = []
            exchange = self._exchange
            if exchange is not None:
                if not exchange.ended:
                    exchange.flush_sink()
                    if not exchange.heard:
                        self.pause(UNHEARD)
            # The exchange that has just ended may have been the last one allowed.
            elif not self._closing:
                events = self._next()
        self._taking = False

    def _hand_on(self, event: Request | Data | End) -> None:
        serving = self._serving
        if type(event) is Request:
            self._begin(event)
            return
        exchange = self._exchange
        if exchange is None or exchange.ended:
            return  # answered already; or its head said that no body follows
        if not self._full:
            ended = type(event) is End
            self.due = math.inf if ended else serving.deadlines.now + serving.times.body
        exchange.arrived(event)  # type: ignore[arg-type]  # Request went its own way above

    def _begin(self, request: Request) -> None:
        serving = self._serving
        self.due = math.inf if request.length == 0 else serving.deadlines.now + serving.times.body
        exchange = self._exchange = Exchange(
            request,
            serving.new_id(),
            self._client,
            self._secure,
            self._parser.notes,
            serving.clock(),
            self,
            serving.ended,
            request.length == 0,
        )
        if self._shown is not None:
            exchange.shown = self._shown
        serving.serve(exchange)

    def _next(self) -> list[Request | Data | End]:
        """Return the events of the request that waited, if one did and its turn has come."""
        if self._full:
            return []
        try:
            events = self._parser.next()
        except ClientError as error:
            self._refuse(error)
            return []
        if self._paused.reasons and not self._parser.waiting:
            self.resume(PIPELINED)
        if not (events or self._parser.idle):
            # The beginning of its head has come: from here on that is what is waited for.
            self.due = self._serving.deadlines.now + self._serving.times.head
        return events

    def _refuse(self, error: ClientError) -> None:
        """Answer what cannot be read, if an answer is still possible, and close."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            # The body broke off: the answer under way cannot be told from a good one.
            exchange.client_lost(error)
            self._abort()
            return
        serving = self._serving
        self._closing = True
        serving.unreadable(
            Exchange(
                UNREADABLE,
                serving.new_id(),
                self._client,
                self._secure,
                Notes(),
                serving.clock(),
                self,
                serving.ended,
                False,
            ),
            error,
        )

    def _through(self, octets: bytes) -> None:
        exchange = self._exchange
        if exchange is not None:
            exchange.arrived(Data(octets))
            exchange.flush_sink()

    # Stream: what the exchange does

    def start(self, response: Response, *, close: bool) -> None:
        """Write the head."""
        closing = close or self._closing or self._serving.closing
        self._out.append(self._parser.respond(response, close=closing))

    def write(self, octets: bytes) -> None:
        """Write a piece of the body."""
        self._out.append(octets if self._tunnel else self._parser.data(octets))

    def flush(self) -> None:
        """Write once for all that was given since the last time: one segment, one record."""
        out = self._out
        if out:
            self.transport.write(out[0] if len(out) == 1 else b"".join(out))
            out.clear()

    def finish(self, trailers: tuple[Field, ...]) -> None:
        """End the answer, and go on to the next request or close."""
        exchange, self._exchange = self._exchange, None
        if self._tunnel:
            self.flush()
            self._close()
            return
        parser = self._parser
        self._out.append(parser.end(trailers))
        self.flush()
        answered_early = exchange is not None and not exchange.ended
        if answered_early or self._closing or not parser.keep_alive:
            self._close()
        else:
            self._rest()

    def _rest(self) -> None:
        """Wait for the next request; or take the one that waits."""
        if self._paused.reasons:
            self.resume(UNHEARD)
            self.resume(UPSTREAM)
        if self._full:
            return
        serving = self._serving
        self.due = serving.deadlines.now + serving.times.idle
        if not self._taking:
            events = self._next()
            if events:
                self._take(events)

    def cut(self) -> None:
        """Break off."""
        self._exchange = None
        self._abort()

    def switch(self, response: Response) -> bytes:
        """Become a tunnel."""
        head, ahead = self._parser.switch(response)
        self._out.append(head)
        self._tunnel = True
        self.due = math.inf
        return ahead

    def listen(self) -> None:
        """The body is wanted: tell a client that waits for our word, and read on."""
        if self._parser.expects_continue:
            self.transport.write(self._parser.continue_())
        if self._paused.reasons:
            self.resume(UNHEARD)

    def pause(self, why: str) -> None:
        """Stop reading for this reason too."""
        if self._paused.add(why):
            self.transport.pauseProducing()
            # While we do not want it, its being late is not the client's doing.
            if not self._full:
                self.due = math.inf

    def resume(self, why: str) -> None:
        """This reason is over."""
        if self._paused.drop(why) and not self._closing:
            self.transport.resumeProducing()
            self._await_body()

    def _await_body(self) -> None:
        """Give the client its time for the next piece of a body that we want."""
        if self._full:
            return
        exchange = self._exchange
        wanted = exchange is not None and not exchange.ended and not self._paused.reasons
        serving = self._serving
        self.due = serving.deadlines.now + serving.times.body if wanted else math.inf

    # The end

    def retire(self) -> None:
        """The daemon shuts down: close now if idle, after the answer otherwise."""
        if self._exchange is None and not self._closing:
            self._close()

    def abort(self) -> None:
        """The daemon's patience is over."""
        self._abort()

    def overdue(self) -> None:
        """A deadline passed: which one, the state tells."""
        if self._full and self._takes_some():
            return
        self.due = math.inf
        exchange = self._exchange
        if exchange is None:
            # Idle, or answers that are not taken, or a head that never came to its end.
            if self._full or self._parser.idle or self._closing:
                self._abort()
            else:
                self._refuse(RequestTimeout("the request's head did not arrive in time"))
            return
        exchange.client_lost(RequestTimeout("the client stalled"))
        self._exchange = None
        self._abort()

    def _takes_some(self) -> bool:
        """Give a client its time anew that is slow, and not at a stand."""
        backlog = self.transport.backlog()
        flows = backlog < self._backlog
        if flows:
            self._backlog = backlog
            self.due = self._serving.deadlines.now + self._serving.times.write
        return flows

    def _close(self) -> None:
        # The transport flushes, says goodbye, and lets a client that is still sending
        # read our answer first; its own deadlines end that.
        self._closing = True
        self.due = math.inf
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def _abort(self) -> None:
        self._closing = True
        self.transport.abortConnection()


@attrs.define(eq=False)
class ServerConnections(ServerFactory):
    """Makes a ``ServerConnection`` for each accepted socket."""

    _serving: Serving
    noisy: bool = False

    def buildProtocol(self, addr: IAddress | None) -> ServerConnection:
        """Return the protocol of one connection."""
        return ServerConnection(self._serving)
