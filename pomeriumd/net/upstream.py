"""
One connection to an upstream: one exchange at a time, one after the other.

Who gets it is decided elsewhere (``upstreams``); here is what the lessee can do with it,
and what he is told.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol as Shape

from OpenSSL import SSL
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IHandshakeListener, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from pomeriumd.errors import (
    PomeriumError,
    UpstreamBroken,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from pomeriumd.http.client1 import Client1
from pomeriumd.http.events import Data, End, Field, Response
from pomeriumd.http.fields import FieldLines
from pomeriumd.http.limits import Limits
from pomeriumd.net.deadlines import Deadlines
from pomeriumd.net.exchange import SWITCHING
from pomeriumd.net.pauses import CLIENT, Pauses
from pomeriumd.net.peer import TLSPolicy
from pomeriumd.net.tls_failures import late, refused
from pomeriumd.net.wire import Wire

IDLE_SECONDS = 60.0
"""How long an idle connection is kept; below the 75 s of nginx and the like, so that the
upstream is seldom the one that closes first."""

CLOSE_SECONDS = 5.0
"""How long an upstream that reads nothing keeps a connection that we have closed in peace."""

_STALLED = "see what keeps the application, or raise timeout_idle"


class Asker(Shape):
    """Who is told what the upstream answers, and how the request's output flows."""

    def responded(self, response: Response) -> None:
        """Take the answer's head."""

    def answer_data(self, octets: bytes) -> None:
        """Take a piece of the answer's body, or of a tunnel."""

    def answer_end(self, trailers: tuple[Field, ...]) -> None:
        """The answer is complete; the connection may be somebody else's already."""

    def answer_lost(self, error: PomeriumError) -> None:
        """The upstream is gone before its answer was complete; nothing follows."""

    def answer_flush(self) -> None:
        """All that had arrived has been told: what is held to be written goes out now."""

    def upstream_full(self) -> None:
        """The upstream takes no more for now: pause what feeds it."""

    def upstream_drained(self) -> None:
        """The upstream takes more again."""


@implementer(IPushProducer, IHandshakeListener)
class UpstreamConnection(Protocol):
    """
    One connection to an upstream; leased to one exchange at a time.

    Args:
        limits: of what is read.
        deadlines: watch it.
        tls: what is asked of the upstream; None is plain TCP.
    """

    transport: Wire  # type: ignore[assignment]  # narrower than Protocol's, wider than any ours

    def __init__(self, limits: Limits, deadlines: Deadlines, tls: TLSPolicy | None = None) -> None:
        self._parser = Client1(limits)
        self._deadlines = deadlines
        self._asker: Asker | None = None
        self._out: list[bytes] = []
        self._paused = Pauses()
        self._tls = tls
        self._shaken = tls is None
        """The handshake is complete, or there is none."""
        self._ours_wanted = False
        """The upstream asks for a client certificate."""
        self._tunnel = False
        self._full = False
        self._closing = False
        self._head = self._stall = math.inf
        self._asked = False
        """The request is complete: it is for the upstream to answer."""
        self.due = math.inf
        self.served = 0
        """Exchanges that it has carried."""
        self.on_free: Callable[[UpstreamConnection, bool], None] = _unowned
        self.on_gone: Callable[[UpstreamConnection], None] = _ignored
        self.on_asked: Callable[[], None] = _nobody_told
        """Is told that the upstream asks for a certificate, and none is shown."""

    # IProtocol

    def connectionMade(self) -> None:
        """Begin."""
        self.transport.registerProducer(self, streaming=True)
        self._deadlines.watch(self)

    def handshakeCompleted(self) -> None:
        """Go on: the upstream is believed. In TLS 1.3 it may still refuse us."""
        self._shaken = True
        # What it asked is gone with the connection, and it is then that it is needed.
        self._ours_wanted = _asks(self.transport)
        if self._ours_wanted and self._tls is not None and self._tls.client_cert is None:
            self.on_asked()

    def dataReceived(self, octets: bytes) -> None:
        """Take what the upstream sent."""
        asker = self._asker
        if asker is None:
            # Nobody asked: whatever this is, it must not become somebody's answer.
            self.on_gone(self)
            self._abort()
            return
        if self._tunnel:
            self.due = self._deadlines.now + self._stall
            asker.answer_data(octets)
            asker.answer_flush()
            return
        try:
            events = self._parser.feed(octets)
        except UpstreamBroken as error:
            self._fail(error)
            return
        if events:
            # A head, or a chunk's size line, that drips in is no piece of an answer.
            self.due = self._deadlines.now + self._stall
            self._tell(asker, events)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell whoever waits for the rest."""
        self._deadlines.forget(self)
        closing, self._closing = self._closing, True
        if not closing:
            # A TLS transport holds its producer, which holds it.
            self.transport.unregisterProducer()
        asker, self._asker = self._asker, None
        self.on_gone(self)
        if asker is None:
            return
        clean = reason.check(ConnectionDone) is not None
        if self._tunnel:
            asker.answer_end(())
            return
        try:
            events = self._parser.closed(clean=clean)
        except UpstreamBroken as error:
            asker.answer_lost(self._refused(reason) or error)
            return
        if not any(isinstance(event, End) for event in events):
            asker.answer_lost(
                UpstreamBroken("the upstream closed the connection before it answered")
            )
            return
        for event in events:
            _tell_one(asker, event)

    def _refused(self, reason: Failure) -> UpstreamUnreachable | None:
        """Return that TLS was refused, by either side, if that is what ended the connection."""
        error = reason.value
        if self._tls is None or self._parser.began or error is None:
            return None
        if isinstance(error, ConnectionAborted):
            return None
        asked = self._ours_wanted or _asks(self.transport)
        return refused(error, self._tls, shaken=self._shaken, asked=asked)

    def _tell(self, asker: Asker, events: list[Response | Data | End]) -> None:
        for event in events:
            if type(event) is End:
                # Free first: who is told may need a connection at once.
                self._free()
                asker.answer_end(event.trailers)
                return
            if type(event) is Response and event.status == SWITCHING:
                self._tunnel = True
                asker.responded(event)
                ahead = self._parser.trailing()
                if ahead:
                    asker.answer_data(ahead)
            else:
                _tell_one(asker, event)
        asker.answer_flush()

    # What the exchange does

    @property
    def unanswered(self) -> bool:
        """Not one byte of the answer has come."""
        return not self._parser.began

    def start(
        self,
        asker: Asker,
        method: bytes,
        target: bytes,
        fields: FieldLines,
        length: int | None,
        upgrade: bytes | None,
    ) -> None:
        """Write a request's head; it goes out with the next ``flush`` or ``finish``."""
        self._asker = asker
        self._asked = False
        self.served += 1
        self._out.append(self._parser.request(method, target, fields, length, upgrade=upgrade))

    def expect(self, head: float, stall: float) -> None:
        """
        Set the seconds for the answer's head, and for each step besides.

        The first run from the end of the request: how long its body takes is the client's
        affair. The others are the time between two pieces of the answer, and the time in
        which the upstream must take something of what waits for it.
        """
        self._head, self._stall = head, stall
        self._await()

    def _await(self) -> None:
        """Give the upstream its time for what it owes next; nothing while we hold it."""
        if self._paused.reasons:
            self.due = math.inf
        elif self._tunnel or self._parser.began:
            self.due = self._deadlines.now + self._stall
        else:
            self.due = self._deadlines.now + self._head if self._asked else math.inf

    def send(self, octets: bytes) -> None:
        """Write a piece of the request's body."""
        self._out.append(octets if self._tunnel else self._parser.data(octets))
        if self._parser.began and not self._paused.reasons:
            # Either direction shows that a tunnel, or an answer that began early, is in use.
            self.due = self._deadlines.now + self._stall

    def flush(self) -> None:
        """Write once for all that was given."""
        out = self._out
        if out:
            self.transport.write(out[0] if len(out) == 1 else b"".join(out))
            out.clear()

    def finish(self, trailers: tuple[Field, ...] = ()) -> None:
        """The request is complete."""
        self._out.append(self._parser.end(trailers))
        self._asked = True
        if not self._parser.began:
            self.due = self._deadlines.now + self._head
        self.flush()

    def pause(self, why: str) -> None:
        """Stop reading from the upstream for this reason too."""
        if self._paused.add(why):
            self.transport.pauseProducing()
            self.due = math.inf

    def resume(self, why: str) -> None:
        """This reason is over."""
        if self._paused.drop(why):
            self._await()
            self.transport.resumeProducing()

    def unused(self) -> None:
        """Go back to the pool: whoever leased it has left before it was used."""
        self.on_free(self, True)  # a callback of one positional flag

    def cut(self) -> None:
        """Nobody wants the rest: close at once, so that it never becomes another's."""
        self._asker = None
        self._abort()

    # IPushProducer: the transport's buffer towards the upstream

    def pauseProducing(self) -> None:
        """The upstream is slower than what we write."""
        self._full = True
        if self._asker is not None:
            if not self._paused.reasons:
                self.due = self._deadlines.now + self._stall
            self._asker.upstream_full()

    def resumeProducing(self) -> None:
        """The upstream has taken what waited."""
        self._full = False
        if self._asker is not None:
            self._await()
            self._asker.upstream_drained()

    def stopProducing(self) -> None:
        """The transport is gone; ``connectionLost`` follows."""

    # The end

    def overdue(self) -> None:
        """The upstream took too long; or an idle connection has lain long enough."""
        self.due = math.inf
        if self._closing:
            self._abort()
        elif self._asker is None:
            self.close()
        elif self._tls is not None and not self._shaken:
            self._fail(late(self._tls))
        elif self._parser.began:
            self._fail(UpstreamTimeout("the upstream's answer stalled", _STALLED))
        elif self._asked:
            self._fail(UpstreamTimeout("no answer from the upstream in time"))
        else:
            self._fail(
                UpstreamTimeout("the upstream takes no more of the request's body", _STALLED)
            )

    def close(self) -> None:
        """Close in peace; from now on, not from when it is done, nobody leases it."""
        self.on_gone(self)
        self._closing = True
        self.due = self._deadlines.now + CLOSE_SECONDS
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def rest(self) -> None:
        """Lie idle from now on."""
        self.due = self._deadlines.now + IDLE_SECONDS

    def _free(self) -> None:
        self._asker = None
        self.due = math.inf
        if self._paused.drop(CLIENT):
            self.transport.resumeProducing()
        # Answered and still not read: what waits belongs to this exchange, and whoever came
        # next would not be told that there is no room.
        self.on_free(self, self._parser.reusable and not self._full)

    def _fail(self, error: PomeriumError) -> None:
        asker, self._asker = self._asker, None
        self._abort()
        if asker is not None:
            asker.answer_lost(error)

    def _abort(self) -> None:
        self.transport.abortConnection()


def _tell_one(asker: Asker, event: Response | Data | End) -> None:
    if type(event) is Data:
        asker.answer_data(event.data)
    elif type(event) is Response:
        asker.responded(event)
    elif type(event) is End:
        asker.answer_end(event.trailers)


def _unowned(connection: UpstreamConnection, _: bool) -> None:
    connection.close()


def _ignored(connection: UpstreamConnection) -> None:
    """Stand in until a pool owns the connection."""


def _nobody_told() -> None:
    """Stand in until a pool owns the connection."""


def _asks(transport: object) -> bool:
    """
    Tell whether the other side asks for a certificate of ours.

    One that names no authorities when it asks is not seen.
    """
    handle = getattr(transport, "getHandle", lambda: None)()
    return isinstance(handle, SSL.Connection) and bool(handle.get_client_ca_list())
