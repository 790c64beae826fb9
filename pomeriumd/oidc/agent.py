"""
Connections to the provider: verified TLS, one request each, and an end to every one.

twisted.web bounds neither the number of an answer's header fields nor the time in which
a closed TLS connection is gone; here each connection has a limit on its bytes and age.
"""

from __future__ import annotations

from typing import Any, Final

import attrs
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.interfaces import (
    IDelayedCall,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
    ITCPTransport,
)
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, HTTPConnectionPool
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IPolicyForHTTPS
from zope.interface import implementer

MAX_RECEIVED: Final = 1_048_576
"""Bytes of one answer with its head; a body of DEFAULT_SIZE fits with room."""

MAX_SECONDS: Final = 30.0
"""Age of a connection; longer than any request may take."""

CONNECT_SECONDS: Final = 4.0
"""For a connection; less than a whole request may take, so that the log can tell."""


def provider_agent(reactor: Any, policy: IPolicyForHTTPS) -> IAgent:
    """
    Return an agent for the requests to one provider.

    Args:
        reactor: with TCP, time and a name resolver.
        policy: how a certificate is verified; ``BrowserLikePolicyForHTTPS()`` with the
            system's roots or those of the settings.
    """
    agent: IAgent = Agent.usingEndpointFactory(
        reactor, _Endpoints(reactor, policy), HTTPConnectionPool(reactor, persistent=False)
    )
    return agent


@implementer(IAgentEndpointFactory)
@attrs.frozen
class _Endpoints:
    _reactor: Any
    _policy: IPolicyForHTTPS

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """Return where to connect for ``uri``, over TLS unless it is plain http."""
        endpoint = self._address_or_name(uri.host.decode("ascii"), uri.port)
        if uri.scheme != b"http":
            creator = self._policy.creatorForNetloc(uri.host, uri.port)
            endpoint = wrapClientTLS(creator, endpoint, clock=self._reactor)
        return BoundedEndpoint(endpoint, self._reactor)

    def _address_or_name(self, host: str, port: int) -> IStreamClientEndpoint:
        # An address needs no resolver, and so no thread of the pool.
        kind: type[TCP4ClientEndpoint | TCP6ClientEndpoint | HostnameEndpoint] = HostnameEndpoint
        if isIPAddress(host):
            kind = TCP4ClientEndpoint
        elif isIPv6Address(host):
            kind = TCP6ClientEndpoint
        return kind(self._reactor, host, port, timeout=CONNECT_SECONDS)


@implementer(IStreamClientEndpoint)
@attrs.frozen
class BoundedEndpoint:
    """Another endpoint, whose connections end at MAX_RECEIVED bytes or MAX_SECONDS."""

    _endpoint: IStreamClientEndpoint
    _clock: IReactorTime

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect; the protocol given back is the factory's own."""
        connected: Deferred[Any] = self._endpoint.connect(_Bounding(protocolFactory, self._clock))
        return connected.addCallback(_inner)


def _inner(bounded: ProtocolWrapper) -> IProtocol:
    inner: IProtocol = bounded.wrappedProtocol
    return inner


class _Bounded(ProtocolWrapper):
    """Counts and times one connection."""

    factory: _Bounding
    transport: ITCPTransport
    _left = MAX_RECEIVED
    _timer: IDelayedCall | None = None

    def connectionMade(self) -> None:
        self._timer = self.factory.clock.callLater(MAX_SECONDS, self.transport.abortConnection)
        super().connectionMade()

    def dataReceived(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self.transport.abortConnection()
        else:
            super().dataReceived(data)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # no default, as in ProtocolWrapper
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        super().connectionLost(reason)


class _Bounding(WrappingFactory):
    protocol = _Bounded

    def __init__(self, factory: IProtocolFactory, clock: IReactorTime) -> None:
        super().__init__(factory)
        self.clock = clock
