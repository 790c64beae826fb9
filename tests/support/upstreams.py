"""Upstreams in memory: endpoints that connect at once, later, or not at all."""

from __future__ import annotations

import attrs
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from pomeriumd.net.peer import Peer
from pomeriumd.net.upstream import UpstreamConnection


@attrs.define(eq=False)
class MemoryServer:
    """An upstream's view of one connection."""

    protocol: UpstreamConnection
    peer: Peer
    transport: StringTransport = attrs.Factory(StringTransport)

    def sends(self, *pieces: bytes) -> None:
        """Send these bytes."""
        for piece in pieces:
            self.protocol.dataReceived(piece)

    def got(self) -> bytes:
        """Return what came since the last time."""
        octets: bytes = self.transport.value()
        self.transport.clear()
        return octets

    def closes(self, *, clean: bool = True) -> None:
        """Close the connection, in peace or by a reset."""
        reason = ConnectionDone() if clean else ConnectionLost()
        self.protocol.connectionLost(Failure(reason))

    @property
    def gone(self) -> bool:
        """Our side has ended the connection."""
        return bool(self.transport.disconnecting)

    @property
    def aborted(self) -> bool:
        """Our side has broken it off."""
        return bool(self.transport.disconnected)


@attrs.define(eq=False)
class MemoryUpstreams:
    """A ``Connector``: every peer's endpoint ends here."""

    opened: list[MemoryServer] = attrs.Factory(list)
    refuse: bool = False
    refusal: Exception = attrs.Factory(lambda: ConnectError(string="nobody listens"))
    """How a connection fails that is refused."""
    hold: bool = False
    held: list[tuple[Peer, IProtocolFactory, Deferred[IProtocol]]] = attrs.Factory(list)

    def __call__(self, peer: Peer, place: str = "") -> IStreamClientEndpoint:
        """Return an endpoint of this peer."""
        return _Endpoint(self, peer)

    @property
    def last(self) -> MemoryServer:
        """The connection that was opened last."""
        return self.opened[-1]

    def release(self) -> None:
        """Let the connections come about that were held."""
        held, self.held = self.held, []
        for peer, factory, waiting in held:
            waiting.callback(self._open(peer, factory))

    def connect(self, peer: Peer, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect as the test wants it."""
        if self.refuse:
            return fail(self.refusal)
        if self.hold:
            waiting: Deferred[IProtocol] = Deferred()
            self.held.append((peer, factory, waiting))
            return waiting
        return succeed(self._open(peer, factory))

    def _open(self, peer: Peer, factory: IProtocolFactory) -> IProtocol:
        protocol = factory.buildProtocol(IPv4Address("TCP", peer.host, peer.port))
        assert isinstance(protocol, UpstreamConnection)
        server = MemoryServer(protocol, peer)
        self.opened.append(server)
        protocol.makeConnection(server.transport)
        return protocol


@implementer(IStreamClientEndpoint)
@attrs.define(eq=False)
class _Endpoint:
    upstreams: MemoryUpstreams
    peer: Peer

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect."""
        return self.upstreams.connect(self.peer, protocolFactory)
