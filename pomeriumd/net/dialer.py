"""Connections to others that write without a queue, for Twisted's endpoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
from twisted.internet import tcp
from twisted.internet.interfaces import (
    IAddress,
    IConnector,
    IDelayedCall,
    IHostnameResolver,
    IListeningPort,
    IProtocol,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorTime,
)
from twisted.internet.protocol import ClientFactory, ServerFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from pomeriumd.net.transport import PlainClient

_NO_MORE: ClientFactory[Any] = ClientFactory()
"""Stands for a factory that has done its work."""


class Connector(tcp.Connector):
    """Twisted's connector, with a transport of ours."""

    def _makeTransport(self) -> PlainClient:
        return PlainClient(self.host, self.port, self.bindAddress, self, self.reactor)

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:
        """Build it, and let go of who did: it holds the connection, which holds us."""
        protocol = super().buildProtocol(addr)
        self.factory = _NO_MORE
        return protocol

    def connectionLost(self, reason: Failure) -> None:
        """Let go of the connection: a circle would wait for the garbage collector."""
        super().connectionLost(reason)
        self.transport = None


@implementer(IReactorTCP, IReactorTime, IReactorPluggableNameResolver)
@attrs.frozen(eq=False)
class Dialer:
    """
    A reactor as far as ``HostnameEndpoint`` needs one; its connections are ``PlainClient``.

    Names, time and everything else are the real reactor's.
    """

    _reactor: Any

    @property
    def nameResolver(self) -> IHostnameResolver:
        """Return the real one's."""
        resolver: IHostnameResolver = self._reactor.nameResolver
        return resolver

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        """Install it at the real one, and return what was there."""
        before: IHostnameResolver = self._reactor.installNameResolver(resolver)
        return before

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: ClientFactory[Any],
        timeout: float = 30,
        bindAddress: Any = None,
    ) -> IConnector:
        """Connect, and return the connector."""
        connector = Connector(host, port, factory, timeout, bindAddress, self._reactor)
        connector.connect()
        return connector

    def listenTCP(
        self, port: int, factory: ServerFactory, backlog: int = 50, interface: Any = ""
    ) -> IListeningPort:
        """Listen at the real one; ports of ours are ``port.Port``."""
        listening: IListeningPort = self._reactor.listenTCP(port, factory, backlog, interface)
        return listening

    def seconds(self) -> float:
        """Return the real one's clock."""
        now: float = self._reactor.seconds()
        return now

    def callLater(
        self,
        delay: float,
        callable: Callable[..., Any],  # noqa: A002  # the interface's name for it
        *args: object,
        **kwargs: object,
    ) -> IDelayedCall:
        """Call later, by the real one."""
        call: IDelayedCall = self._reactor.callLater(delay, callable, *args, **kwargs)
        return call

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        """Return the real one's calls."""
        calls: Sequence[IDelayedCall] = self._reactor.getDelayedCalls()
        return calls
