"""
A network in memory that behaves like one: buffers that fill, pauses, ends that come later.

Unlike ``StringTransport`` a link here delivers nothing while its reader is paused, tells its
producer when too much waits, and calls ``connectionLost`` in a later turn, as a reactor does.
"""

from __future__ import annotations

from collections import deque

import attrs
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import (
    ConnectError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
)
from twisted.internet.interfaces import (
    IAddress,
    IProtocol,
    IProtocolFactory,
    IPushProducer,
    IStreamClientEndpoint,
)
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from pomeriumd.net.peer import Peer

ROOM = 256
"""Bytes that may wait before the producer is told to pause; small, so that it happens."""


@attrs.define(eq=False)
class Link:
    """
    One connection: our side's transport, and what the other side can do with it.

    Attributes:
        clock: in whose next turn what has been settled happens.
        deaf: after ``loseConnection`` our side hears nothing but the end, as behind
            ``transport.Accepted``.
    """

    clock: Clock
    deaf: bool = False
    protocol: IProtocol = attrs.field(init=False)
    waiting: bytearray = attrs.Factory(bytearray)
    """What our side wrote and the other has not taken."""
    coming: deque[bytes | Exception] = attrs.Factory(deque)
    """What the other side sent while ours was paused."""
    ending: bool = False
    """Our side has closed in peace."""
    aborted: bool = False
    """Our side has broken it off."""
    lost: bool = False
    """Our side has been told of the end."""
    paused: bool = False
    _full: bool = False
    _producer: IPushProducer | None = None

    def connect(self, protocol: IProtocol) -> None:
        """Begin."""
        self.protocol = protocol
        protocol.makeConnection(self)  # type: ignore[arg-type]  # as far as ours use one

    # Our side

    def getPeer(self) -> IAddress:
        """Return an address, always the same."""
        return IPv4Address("TCP", "203.0.113.9", 4711)

    def write(self, octets: bytes) -> None:
        """Keep it for the other side."""
        assert not self.ending, f"{octets!r} was written after the end"
        if self.aborted or self.lost:
            return
        self.waiting += octets
        if len(self.waiting) > ROOM and not self._full:
            self._full = True
            if self._producer is not None:
                self._producer.pauseProducing()

    def backlog(self) -> int:
        """Return how much the other side has not taken."""
        return len(self.waiting)

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """Remember whom to pause."""
        assert streaming
        assert self._producer is None, "a second producer"
        self._producer = producer

    def unregisterProducer(self) -> None:
        """Forget him."""
        self._producer = None

    def pauseProducing(self) -> None:
        """Deliver nothing."""
        self.paused = True

    def resumeProducing(self) -> None:
        """Deliver again, from the next turn on."""
        self.paused = False
        self.clock.callLater(0, self._deliver)

    def loseConnection(self) -> None:
        """Close when all is taken."""
        if not (self.ending or self.aborted or self.lost):
            self.ending = True
            self._settle()

    def abortConnection(self) -> None:
        """Close, and throw away what was not taken."""
        if not (self.aborted or self.lost):
            self.aborted = True
            self.waiting.clear()
            self.clock.callLater(0, self._lose, ConnectionAborted())

    def _settle(self) -> None:
        if self.ending and not self.waiting:
            assert self._producer is None, "closed with a producer"
            self.clock.callLater(0, self._lose, ConnectionDone())

    def _lose(self, reason: Exception) -> None:
        if not self.lost:
            self.lost = True
            self.coming.clear()
            self.protocol.connectionLost(Failure(reason))

    def _deliver(self) -> None:
        while self.coming and not (self.paused or self.aborted or self.lost):
            piece = self.coming.popleft()
            if not isinstance(piece, bytes):
                self._hear_end(piece)
            elif not (self.deaf and self.ending):
                self.protocol.dataReceived(piece)

    def _hear_end(self, reason: Exception) -> None:
        if not (self.ending and self.waiting):
            self._lose(reason)

    # The other side

    @property
    def open(self) -> bool:
        """Nobody has ended it."""
        return not (self.ending or self.aborted or self.lost)

    @property
    def quiet(self) -> bool:
        """All that the other side sent has been heard, and so will be what it sends next."""
        return not (self.paused or self.coming)

    @property
    def over(self) -> bool:
        """Nothing will come from it any more."""
        return self.aborted or self.lost or (self.ending and not self.waiting)

    def take(self) -> bytes:
        """Take what our side wrote."""
        octets = bytes(self.waiting)
        self.waiting.clear()
        if self._full:
            self._full = False
            if self._producer is not None and not self.lost:
                self._producer.resumeProducing()
        if not (self.aborted or self.lost):
            self._settle()
        return octets

    def send(self, octets: bytes) -> None:
        """Send these bytes; they arrive at once, or when our side reads on."""
        self.coming.append(octets)
        self._deliver()

    def end(self, *, clean: bool) -> None:
        """End it, in peace or by a reset; a reset is heard even by who does not read."""
        if clean:
            self.coming.append(ConnectionDone())
            self._deliver()
        else:
            self._lose(ConnectionLost())


@attrs.define(eq=False)
class Network:
    """A ``Connector`` whose upstreams are links; what asks to connect may have to wait."""

    clock: Clock
    mood: str = "open"
    """"open", "refuse" or "hold"."""
    links: list[Link] = attrs.Factory(list)
    held: list[tuple[Deferred[IProtocol], IProtocolFactory]] = attrs.Factory(list)

    def __call__(self, peer: Peer, place: str = "") -> IStreamClientEndpoint:
        """Return an endpoint."""
        return _Endpoint(self)

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect, refuse, or wait."""
        if self.mood == "open":
            return succeed(self._open(factory))
        if self.mood == "refuse":
            return fail(ConnectError(string="nobody listens"))
        waiting: Deferred[IProtocol] = Deferred(self._forget)
        self.held.append((waiting, factory))
        return waiting

    def _forget(self, waiting: Deferred[IProtocol]) -> None:
        self.held = [pair for pair in self.held if pair[0] is not waiting]

    def settle(self, *, good: bool) -> None:
        """Let the oldest of those that wait come about, or fail."""
        if self.held:
            waiting, factory = self.held.pop(0)
            if good:
                waiting.callback(self._open(factory))
            else:
                waiting.errback(ConnectError(string="nobody listens any more"))

    def _open(self, factory: IProtocolFactory) -> IProtocol:
        protocol = factory.buildProtocol(IPv4Address("TCP", "10.0.0.1", 8080))
        assert protocol is not None
        link = Link(self.clock)
        self.links.append(link)
        link.connect(protocol)
        return protocol


@implementer(IStreamClientEndpoint)
@attrs.define(eq=False)
class _Endpoint:
    network: Network

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect."""
        return self.network.connect(protocolFactory)
