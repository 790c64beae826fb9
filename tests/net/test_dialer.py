"""Promises of the dialer: Twisted's endpoints connect with transports of ours."""

from __future__ import annotations

import gc
import socket
import weakref
from typing import Any

from twisted.internet import error
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorTime,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pomeriumd.net.contexts import CertificateStore, client_options
from pomeriumd.net.dialer import Dialer
from pomeriumd.net.transport import UNSENT_SIZE, PlainClient
from tests.support.certificates import NOW, authority, leaf
from tests.support.served import Served
from tests.support.sockets import Told, Turns, reset


class Names:
    """Resolves every name to the loopback address."""

    def resolveHostName(self, receiver: Any, hostName: str, portNumber: int = 0, **_: Any) -> Any:
        """Give it at once."""
        receiver.resolutionBegan(self)
        receiver.addressResolved(IPv4Address("TCP", "127.0.0.1", portNumber))
        receiver.resolutionComplete()
        return self


class DialTests(SynchronousTestCase):
    """A connection to an upstream, one turn at a time."""

    def dial(self) -> tuple[Turns, Deferred[Any], socket.socket]:
        """Begin to connect to a listening socket."""
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        listening.settimeout(5)
        reactor = Turns()
        reactor.nameResolver = Names()  # type: ignore[attr-defined]  # as a reactor has one
        endpoint = HostnameEndpoint(Dialer(reactor), "up.test", listening.getsockname()[1])
        connecting = endpoint.connect(Factory.forProtocol(Told))
        return reactor, connecting, listening

    def connected(self) -> tuple[Turns, Told, socket.socket]:
        """Connect."""
        reactor, connecting, listening = self.dial()
        reactor.turns(3)
        there, _ = listening.accept()
        self.addCleanup(there.close)
        there.settimeout(5)
        protocol = self.successResultOf(connecting)
        assert isinstance(protocol, Told)
        return reactor, protocol, there

    def test_interfaces(self) -> None:
        """It is what HostnameEndpoint asks a reactor to be."""
        dialer = Dialer(MemoryReactorClock())
        for interface in (IReactorTCP, IReactorTime, IReactorPluggableNameResolver):
            verifyObject(interface, dialer)

    def test_delegates(self) -> None:
        """Names, time and listening are the real reactor's."""
        real = MemoryReactorClock()
        dialer = Dialer(real)
        real.advance(5)
        self.assertEqual(dialer.seconds(), 5)
        called: list[int] = []
        dialer.callLater(1, called.append, 7)
        self.assertEqual(dialer.getDelayedCalls(), real.getDelayedCalls())
        real.advance(1)
        self.assertEqual(called, [7])
        self.assertIs(dialer.nameResolver, real.nameResolver)
        names = Names()
        dialer.installNameResolver(names)  # type: ignore[arg-type]  # as far as used
        self.assertIs(real.nameResolver, names)
        dialer.listenTCP(80, Factory())  # type: ignore[arg-type]  # as far as used
        self.assertEqual(len(real.tcpServers), 1)

    def test_nothing_waits_for_the_collector(self) -> None:
        """All that was needed to connect is freed as soon as the connection has ended."""
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        reactor, protocol, there = self.connected()
        transport = protocol.transport
        assert isinstance(transport, PlainClient)
        gone = [weakref.ref(each) for each in (transport, transport.connector)]
        del transport
        there.close()
        reactor.turns(2)
        protocol.transport = None
        self.assertEqual([ref() for ref in gone], [None, None])

    def test_connects_with_ours(self) -> None:
        """The transport writes at once, without delay, and leaves no timer behind."""
        reactor, protocol, there = self.connected()
        transport = protocol.transport
        assert isinstance(transport, PlainClient)
        self.assertTrue(transport.getTcpNoDelay())
        unsent = transport.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)
        self.assertEqual(unsent, UNSENT_SIZE)
        transport.write(b"GET /")
        self.assertEqual(there.recv(99), b"GET /")
        self.assertEqual(reactor.writers, set())
        there.sendall(b"HTTP/1.1 200 OK")
        reactor.turn()
        self.assertEqual(protocol.got, [b"HTTP/1.1 200 OK"])
        self.assertEqual(reactor.getDelayedCalls(), [])
        there.close()
        reactor.turns(2)
        self.assertEqual(protocol.lost, [ConnectionDone])
        self.assertEqual(reactor.readers, set())

    def test_a_reset_is_no_end(self) -> None:
        """An upstream's reset is ConnectionLost, though a write met it first."""
        for write_first in (False, True):
            reactor, protocol, there = self.connected()
            reset(there)
            if write_first:
                assert protocol.transport is not None
                protocol.transport.write(b"x")
            reactor.turns(3)
            self.assertEqual(protocol.lost, [ConnectionLost])

    def test_an_early_answer_is_read(self) -> None:
        """What an upstream said before it closed on an upload is delivered."""
        reactor, protocol, there = self.connected()
        there.sendall(b"413 too large")
        there.close()
        assert protocol.transport is not None
        for _ in range(5):
            protocol.transport.write(b"x" * 10_000)
        reactor.turns(4)
        self.assertEqual(protocol.got, [b"413 too large"])
        self.assertEqual(protocol.lost, [ConnectionLost])

    def test_refused(self) -> None:
        """A closed port is a failure of the endpoint, in time."""
        reactor, connecting, listening = self.dial()
        listening.close()
        reactor.turns(4)
        # The endpoint learns that there are no more addresses at its next attempt.
        reactor.advance(0.3)
        self.failureResultOf(connecting, error.ConnectionRefusedError)
        self.assertEqual(reactor.getDelayedCalls(), [])

    def test_cancelled(self) -> None:
        """Who cancels leaves neither socket nor timer behind."""
        reactor, connecting, _ = self.dial()
        connecting.cancel()
        self.failureResultOf(connecting)
        reactor.turns(2)
        self.assertEqual((reactor.readers, reactor.writers), (set(), set()))
        self.assertEqual(reactor.getDelayedCalls(), [])


class Answer(Protocol):
    """Answers once."""

    def dataReceived(self, data: bytes) -> None:
        """Answer."""
        assert self.transport is not None
        self.transport.write(b"answer to " + data)


class TLSTests(SynchronousTestCase):
    """TLS of Twisted's over transports of ours, against TLS on the socket."""

    def test_verified(self) -> None:
        """An upstream with the right certificate is reached, by address here."""
        served = Served(Answer, store=CertificateStore.of([leaf("127.0.0.1").pair()], NOW))
        got: Deferred[bytes] = Deferred()

        class Asking(Protocol):
            def connectionMade(self) -> None:
                assert self.transport is not None
                self.transport.write(b"question")

            def dataReceived(self, data: bytes) -> None:
                got.callback(data)

        creator = client_options(
            server_name="127.0.0.1", custom_ca=authority().pem, place="policy[0]"
        )

        def start() -> None:
            real = served.reactor
            real.installNameResolver(Names())  # type: ignore[arg-type]  # as far as used
            endpoint = HostnameEndpoint(Dialer(real), "127.0.0.1", served.port.getHost().port)
            wrapped = wrapClientTLS(creator, endpoint, clock=real)
            wrapped.connect(Factory.forProtocol(Asking)).addErrback(got.errback)

        served.reactor.callWhenRunning(start)
        self.assertEqual(served.until(got), b"answer to question")
