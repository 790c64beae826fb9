"""Tests for the connections to a provider and their limits."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import URI, BrowserLikePolicyForHTTPS
from twisted.web.iweb import IAgent, IAgentEndpointFactory
from zope.interface.verify import verifyObject

from pomeriumd.oidc.agent import (
    MAX_RECEIVED,
    MAX_SECONDS,
    BoundedEndpoint,
    _Endpoints,
    provider_agent,
)


class Received(Protocol):
    """Keeps count of what comes."""

    size = 0
    lost = False

    def dataReceived(self, data: bytes) -> None:
        """Count."""
        self.size += len(data)

    def connectionLost(self, reason: object = None) -> None:
        """Note the end."""
        self.lost = True


class Aborting(StringTransport):
    """A transport that says when it was aborted."""

    aborted = False

    def abortConnection(self) -> None:
        """Note it."""
        self.aborted = True


class BoundedTests(SynchronousTestCase):
    """A connection ends at its bytes or its age, whatever the provider does."""

    def setUp(self) -> None:
        """Connect in memory."""
        self.reactor = MemoryReactorClock()
        endpoint = BoundedEndpoint(TCP4ClientEndpoint(self.reactor, "127.0.0.1", 1), self.reactor)
        verifyObject(IStreamClientEndpoint, endpoint)
        connected = endpoint.connect(Factory.forProtocol(Received))
        self.transport = Aborting()
        factory = self.reactor.tcpClients[0][2]
        wire: Any = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        self.wire = wire
        self.wire.makeConnection(self.transport)
        self.inner: Any = self.successResultOf(connected)

    def test_gives_the_protocol_that_was_asked_for(self) -> None:
        """The agent meets its own protocol, not the wrapper."""
        self.assertIsInstance(self.inner, Received)
        self.inner.transport.write(b"x")
        self.assertEqual(self.transport.value(), b"x")

    def test_bytes_end_at_the_bound(self) -> None:
        """Endless header fields are cut off, and what is over is not passed on."""
        self.wire.dataReceived(b"x" * MAX_RECEIVED)
        self.assertFalse(self.transport.aborted)
        self.wire.dataReceived(b"x")
        self.assertTrue(self.transport.aborted)
        self.assertEqual(self.inner.size, MAX_RECEIVED)

    def test_age_ends_at_the_bound(self) -> None:
        """A peer that does not close is left."""
        self.reactor.advance(MAX_SECONDS - 1)
        self.assertFalse(self.transport.aborted)
        self.reactor.advance(1)
        self.assertTrue(self.transport.aborted)

    def test_a_closed_connection_leaves_no_timer(self) -> None:
        """Its end is passed on."""
        self.wire.connectionLost(Failure(ConnectionDone()))
        self.assertTrue(self.inner.lost)
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class AgentTests(SynchronousTestCase):
    """provider_agent() gives an agent whose every connection is bounded."""

    def test_plain_and_tls_are_bounded(self) -> None:
        """For either scheme there is an endpoint of ours."""
        reactor = MemoryReactorClock()
        endpoints = _Endpoints(reactor, BrowserLikePolicyForHTTPS())
        verifyObject(IAgentEndpointFactory, endpoints)
        for url in (
            b"http://127.0.0.1:9400/",
            b"http://[::1]:9400/",
            b"http://localhost/",
            b"https://idp.example.com/",
        ):
            self.assertIsInstance(endpoints.endpointForURI(URI.fromBytes(url)), BoundedEndpoint)

    def test_an_address_is_connected_to_without_a_resolver(self) -> None:
        """No thread is needed for one."""
        for url, place in (
            (b"http://127.0.0.1:9400/", ("127.0.0.1", 9400)),
            (b"http://[::1]:80/", ("::1", 80)),
        ):
            reactor = MemoryReactorClock()
            endpoints = _Endpoints(reactor, BrowserLikePolicyForHTTPS())
            endpoint = endpoints.endpointForURI(URI.fromBytes(url))
            self.assertNoResult(endpoint.connect(Factory.forProtocol(Received)))
            self.assertEqual(reactor.tcpClients[0][:2], place)

    def test_is_an_agent(self) -> None:
        """Making it connects to nothing."""
        reactor = MemoryReactorClock()
        verifyObject(IAgent, provider_agent(reactor, BrowserLikePolicyForHTTPS()))
        self.assertEqual(reactor.tcpClients, [])
