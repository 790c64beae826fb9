"""Promises of the port: who is let in, who waits, and what happens when there is no room."""

from __future__ import annotations

import errno
import socket
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Protocol
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pomeriumd.net import port as port_module
from pomeriumd.net.contexts import CertificateStore
from pomeriumd.net.deadlines import Deadlines
from pomeriumd.net.port import RETRY_SECONDS, STEP_SECONDS, Port
from pomeriumd.net.tls import TLSServer
from pomeriumd.net.transport import UNSENT_SIZE, PlainServer
from pomeriumd.settings.values import Address
from tests.support.certificates import NOW, leaf
from tests.support.sockets import OneProtocol, Told, Turns


class Making(OneProtocol):
    """Gives each connection a protocol of its own, and remembers them."""

    noisy = False

    def __init__(self) -> None:
        super().__init__(None)
        self.made: list[Told] = []

    def buildProtocol(self, addr: Any) -> Protocol:
        """Make one."""
        self.asked.append(addr)
        self.made.append(Told())
        return self.made[-1]


class Case(SynchronousTestCase):
    """One port on a reactor whose turns are called."""

    def listen(self, host: str = "127.0.0.1", **more: Any) -> Port:
        """Start a port at a free number."""
        self.reactor = Turns()
        self.factory = Making()
        self.deadlines = Deadlines(self.reactor)
        port = Port(Address(host, 0), self.factory, self.reactor, deadlines=self.deadlines, **more)
        port.startListening()
        self.addCleanup(self.stop, port, self.reactor)
        return port

    def stop(self, port: Port, reactor: Turns) -> None:
        """Stop listening, and drop what is connected."""
        stopping = port.stopListening()
        reactor.advance(0)
        if stopping is not None:
            self.successResultOf(stopping)
        for one in list(reactor.readers | reactor.writers):
            one.abortConnection()
        reactor.pump([0, 0])

    def connect(self, port: Port, host: str = "127.0.0.1") -> socket.socket:
        """Connect a client."""
        client = socket.create_connection((host, port.getHost().port), timeout=5)
        self.addCleanup(client.close)
        return client

    def logged(self) -> EventLoggingObserver:
        """Return what is logged from now on."""
        observer = EventLoggingObserver()
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        return observer


def lines(observer: EventLoggingObserver) -> list[tuple[LogLevel, str]]:
    """Return level and text of the port's lines."""
    return [
        (event["log_level"], event["log_format"].format(**event))
        for event in observer
        if event["log_namespace"].startswith("pomeriumd.")
    ]


class ListenTests(Case):
    """Where a port listens, and as what clients arrive."""

    def test_plain(self) -> None:
        """Without certificates connections are plain, and know their client."""
        port = self.listen()
        verifyObject(IListeningPort, port)
        client = self.connect(port)
        self.reactor.turn()
        transport = self.factory.made[0].transport
        assert isinstance(transport, PlainServer)
        self.assertEqual(transport.getPeer(), IPv4Address("TCP", *client.getsockname()))
        client.sendall(b"hello")
        self.reactor.turn()
        self.assertEqual(self.factory.made[0].got, [b"hello"])
        self.assertEqual(port.open, 1)

    def test_tls(self) -> None:
        """With certificates a connection counts at once, its protocol comes later."""
        port = self.listen(store=CertificateStore.of([leaf("a.test").pair()], NOW))
        self.connect(port)
        self.reactor.turn()
        self.assertEqual((port.open, self.factory.made), (1, []))
        (transport,) = (one for one in self.reactor.readers if one is not port)
        self.assertIsInstance(transport, TLSServer)

    def test_a_new_store_is_for_new_connections(self) -> None:
        """A handshake begins with the store that the port has then."""
        first = CertificateStore.of([leaf("a.test").pair()], NOW)
        second = CertificateStore.of([leaf("b.test").pair()], NOW)
        port = self.listen(store=first)
        begun = []
        for store in (first, second):
            port.store = store
            self.connect(port)
            self.reactor.turn()
            begun.append(store.base())
        found = {
            one._tls.get_context() for one in self.reactor.readers if isinstance(one, TLSServer)
        }
        self.assertEqual(found, set(begun))

    def test_everywhere(self) -> None:
        """The empty host is IPv6 and IPv4; an IPv4 client is known by its IPv4 address."""
        port = self.listen("")
        self.connect(port, "127.0.0.1")
        self.reactor.turn()
        self.connect(port, "::1")
        self.reactor.turn()
        four, six = self.factory.asked
        self.assertEqual((type(four), four.host), (IPv4Address, "127.0.0.1"))
        self.assertEqual((type(six), six.host), (IPv6Address, "::1"))
        transport = self.factory.made[0].transport
        assert isinstance(transport, PlainServer)
        self.assertEqual(transport.getHost(), IPv4Address("TCP", "127.0.0.1", port.getHost().port))

    def test_everywhere_without_ipv6(self) -> None:
        """On a host without IPv6 everywhere is IPv4."""
        made: list[int] = []
        real = socket.socket

        def no_ipv6(family: int, *more: Any, **others: Any) -> socket.socket:
            made.append(family)
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            return real(family, *more, **others)

        self.patch(socket, "socket", no_ipv6)
        port = self.listen("")
        self.assertEqual(made, [socket.AF_INET6, socket.AF_INET])
        self.patch(socket, "socket", real)
        self.assertEqual(port.getHost().host, "0.0.0.0")  # noqa: S104  # what is being tested
        self.connect(port)
        self.reactor.turn()
        self.assertEqual(self.factory.asked[0].host, "127.0.0.1")

    def test_ipv6_alone(self) -> None:
        """A given IPv6 address is that one only."""
        port = self.listen("::1")
        self.assertRaises(OSError, self.connect, port, "127.0.0.1")
        self.connect(port, "::1")
        self.reactor.turn()
        self.assertEqual(self.factory.asked[0].host, "::1")

    def test_taken(self) -> None:
        """An address that another has raises, with the system's reason."""
        port = self.listen()
        other = Port(
            Address("127.0.0.1", port.getHost().port),
            Making(),
            self.reactor,
            deadlines=self.deadlines,
        )
        with self.assertRaises(CannotListenError) as caught:
            other.startListening()
        self.assertEqual(caught.exception.socketError.errno, errno.EADDRINUSE)

    def test_adopted(self) -> None:
        """A listening descriptor is taken over, blocking or not."""
        with socket.create_server(("127.0.0.1", 0)) as theirs:
            number = theirs.getsockname()[1]
            descriptor = theirs.detach()
        self.reactor, self.factory = Turns(), Making()
        port = Port.adopt(
            descriptor, self.factory, self.reactor, deadlines=Deadlines(self.reactor), most=7
        )
        port.startListening()
        self.addCleanup(self.stop, port, self.reactor)
        self.assertEqual((port.getHost().port, port.most), (number, 7))
        self.connect(port)
        self.reactor.turn()
        port.doRead()
        self.assertEqual(len(self.factory.made), 1)

    def test_options_are_inherited(self) -> None:
        """Accepted sockets send without delay and notice a dead peer, adopted or bound."""
        port = self.listen()
        self.connect(port)
        self.reactor.turn()
        transport = self.factory.made[0].transport
        assert isinstance(transport, PlainServer)
        self.assertTrue(transport.getTcpNoDelay())
        self.assertTrue(transport.getTcpKeepAlive())
        idle = transport.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        self.assertEqual(idle, 60)
        unsent = transport.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)
        self.assertEqual(unsent, UNSENT_SIZE)

    def test_stops(self) -> None:
        """Stopping frees the address; what is connected goes on."""
        port = self.listen()
        number = port.getHost().port
        client = self.connect(port)
        self.reactor.turn()
        stopping = port.stopListening()
        assert stopping is not None
        self.reactor.advance(0)
        self.successResultOf(stopping)
        self.assertRaises(OSError, socket.create_connection, ("127.0.0.1", number), 5)
        client.sendall(b"still")
        self.reactor.turn()
        self.assertEqual(self.factory.made[0].got, [b"still"])


class RoomTests(Case):
    """There is a bound, and who comes above it waits and loses nothing."""

    def test_full_and_again(self) -> None:
        """A full port accepts nobody, says so once, and goes on when some have left."""
        observer = self.logged()
        port = self.listen(most=3)
        clients = [self.connect(port) for _ in range(5)]
        clients[4].sendall(b"waiting")
        for _ in range(4):
            self.reactor.turn(0.02)
        self.assertEqual((port.open, len(self.factory.made)), (3, 3))
        self.assertTrue(port.paused)
        self.assertNotIn(port, self.reactor.readers)
        for number in (0, 1):
            clients[number].close()
        for _ in range(4):
            self.reactor.turn(0.05)
        self.assertEqual((port.open, len(self.factory.made)), (3, 5))
        self.assertFalse(port.paused)
        self.assertEqual(self.factory.made[4].got, [b"waiting"])
        number = port.getHost().port
        full = (
            f"{number} is full: 3 connections are open; more wait until some have left; "
            "raise max_connections if they are wanted"
        )
        self.assertEqual(
            lines(observer),
            [
                (LogLevel.warn, full),
                (LogLevel.info, f"{number} accepts connections again"),
            ],
        )

    def test_another_bound(self) -> None:
        """A full port that may have more goes on at once; one that may have fewer cuts nobody."""
        port = self.listen(most=2)
        for _ in range(4):
            self.connect(port)
        self.reactor.turns(3)
        self.assertEqual(port.open, 2)
        port.allow(3)
        self.reactor.turns(3)
        self.assertEqual(port.open, 3)
        port.allow(1)
        self.reactor.turns(3)
        self.assertEqual((port.open, port in self.reactor.readers), (3, False))

    def test_slack(self) -> None:
        """A large port that was full waits until one in twenty has left: no line per client."""
        observer = self.logged()
        port = self.listen(most=40)
        clients = [self.connect(port) for _ in range(41)]
        self.reactor.turns(12)
        self.assertEqual(port.open, 40)
        clients[0].close()
        self.reactor.turns(2)
        self.assertEqual((port.open, port in self.reactor.readers), (39, False))
        clients[1].close()
        self.reactor.turns(2)
        self.assertEqual((port.open, port in self.reactor.readers), (39, True))
        self.assertEqual(len(lines(observer)), 2)

    def test_handshakes_take_room(self) -> None:
        """Connections that never finish their handshake count, and leave in time."""
        port = self.listen(
            most=2,
            store=CertificateStore.of([leaf("a.test").pair()], NOW),
            handshake_seconds=2.0,
        )
        for _ in range(3):
            self.connect(port)
        self.reactor.turns(2)
        self.assertEqual(port.open, 2)
        self.reactor.pump([0.5] * 5)
        self.assertEqual((port.open, port.failed_handshakes), (0, 2))
        self.reactor.turns(2)
        self.assertEqual(port.open, 1)

    def test_a_full_port_that_stops(self) -> None:
        """Stopping while full neither accepts again nor leaves anything behind."""
        port = self.listen(most=1)
        clients = [self.connect(port) for _ in range(2)]
        self.reactor.turns(2)
        stopping = port.stopListening()
        assert stopping is not None
        self.reactor.advance(0)
        self.successResultOf(stopping)
        clients[0].close()
        self.reactor.turns(2)
        self.assertEqual(self.factory.made[0].lost, [ConnectionDone])
        self.assertEqual((port.open, self.reactor.readers), (0, set()))

    def test_a_turn_of_accepting_is_bounded(self) -> None:
        """However many wait, others have their turn in between."""
        self.patch(port_module, "ACCEPTS", 4)
        port = self.listen()
        for _ in range(10):
            self.connect(port)
        made = []
        for _ in range(4):
            self.reactor.turn(0.02)
            made.append(len(self.factory.made))
        self.assertEqual(made, [4, 8, 10, 10])


class Refusing:
    """A listening socket whose accept() fails as told, and then does as the real one."""

    def __init__(self, real: socket.socket, errors: list[int]) -> None:
        self.real, self.errors = real, errors

    def accept(self) -> Any:
        """Fail, or accept."""
        if self.errors:
            number = self.errors.pop(0)
            raise OSError(number, "no")
        return self.real.accept()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class TroubleTests(Case):
    """What goes wrong at accept() costs at most the client that it concerns."""

    def refuse(self, port: Port, *errors: int) -> None:
        """Let the next accepts fail."""
        port.socket = Refusing(port.socket, list(errors))

    def test_no_descriptors(self) -> None:
        """Without descriptors it waits a second, spins on nothing, and says so once."""
        for number in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
            observer = self.logged()
            port = self.listen()
            client = self.connect(port)
            client.sendall(b"patient")
            self.refuse(port, number, number)
            for _ in range(2):
                self.reactor.turn()
                self.assertNotIn(port, self.reactor.readers)
                self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
                self.reactor.advance(RETRY_SECONDS)
                self.assertIn(port, self.reactor.readers)
            self.reactor.turns(2)
            self.assertEqual(self.factory.made[0].got, [b"patient"])
            self.assertEqual(self.reactor.getDelayedCalls(), [])
            said = (
                f"{port.getHost().port} cannot accept: [Errno {number}] no; "
                "tries again each second; "
                "raise the limit of open files (LimitNOFILE= in the unit), or lower max_connections"
            )
            again = f"{port.getHost().port} accepts connections again"
            self.assertEqual(lines(observer), [(LogLevel.error, said), (LogLevel.info, again)])
            globalLogPublisher.removeObserver(observer)

    def test_stopped_while_waiting(self) -> None:
        """Stopping takes the timer along."""
        port = self.listen()
        self.connect(port)
        self.refuse(port, errno.EMFILE)
        self.reactor.turn()
        stopping = port.stopListening()
        assert stopping is not None
        self.reactor.advance(0)
        self.successResultOf(stopping)
        self.assertEqual((self.reactor.getDelayedCalls(), self.reactor.readers), ([], set()))

    def test_full_and_without_descriptors(self) -> None:
        """With two reasons to wait it goes on when neither is left."""
        port = self.listen(most=1)
        first = self.connect(port)
        self.reactor.turn()
        self.refuse(port, errno.EMFILE)
        port.most = 2
        self.connect(port)
        self.reactor.turn()
        port.most = 1
        port._pause("full")
        self.reactor.advance(RETRY_SECONDS)
        self.assertNotIn(port, self.reactor.readers)
        first.close()
        self.reactor.turns(2)
        self.assertEqual((port.open, len(self.factory.made)), (1, 2))

    def test_a_client_that_left_already(self) -> None:
        """What accept() says of one connection does not keep the next one out."""
        for number in (errno.ECONNABORTED, errno.EPERM, errno.EPROTO, errno.ENETUNREACH):
            port = self.listen()
            self.connect(port)
            self.refuse(port, number, number)
            self.reactor.turn()
            self.assertEqual(len(self.factory.made), 1)

    def test_a_factory_that_fails(self) -> None:
        """A protocol that cannot be built costs one connection, which is closed and counted."""
        port = self.listen()

        def fail(_: Any) -> Protocol:
            raise ValueError("bug")

        good = self.factory.buildProtocol
        self.factory.buildProtocol = fail  # type: ignore[method-assign,assignment]  # a bug
        client = self.connect(port)
        self.reactor.turns(2)
        self.assertEqual(client.recv(1), b"")
        self.assertEqual(port.open, 0)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.factory.buildProtocol = good  # type: ignore[method-assign]  # repaired
        self.connect(port)
        self.reactor.turn()
        self.assertEqual((port.open, len(self.factory.made)), (1, 1))

    def test_a_context_that_fails(self) -> None:
        """A store that fails costs one connection, which is closed and counted."""

        class Failing:
            def base(self) -> None:
                raise ValueError("bug")

        port = self.listen(store=Failing())
        client = self.connect(port)
        self.reactor.turns(2)
        self.assertEqual(client.recv(1), b"")
        self.assertEqual((port.open, self.reactor.readers), (0, {port}))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class Fuller:
    """Another process has fewer connections, as long as the test says so."""

    def __init__(self) -> None:
        self.has = 0
        self.ahead = True

    def comes(self) -> None:
        """One more."""
        self.has += 1

    def goes(self) -> None:
        """One less."""
        self.has -= 1

    def crowded(self) -> bool:
        """Say what the test says."""
        return self.ahead


class SharingTests(Case):
    """Several processes at one socket."""

    def turn(self, seconds: float = 0) -> None:
        """Let time pass, then do what is there to do."""
        self.reactor.advance(seconds)
        self.reactor.turn(0.02)

    def test_who_has_more_steps_back(self) -> None:
        """What waits is left to the others for a moment, and is not refused."""
        fuller = Fuller()
        port = self.listen(sharing=fuller)
        self.connect(port)
        self.turn()
        self.assertEqual((port.open, port.paused), (0, False))
        fuller.ahead = False
        self.turn(STEP_SECONDS)
        self.assertEqual((port.open, fuller.has), (1, 1))

    def test_nobody_waits_for_one_that_is_busy(self) -> None:
        """When nobody has taken it a moment later, it is ours, whoever has more."""
        port = self.listen(sharing=Fuller())
        self.connect(port)
        self.turn()
        self.turn(STEP_SECONDS)
        self.assertEqual(port.open, 1)

    def test_each_new_one_is_left_to_the_others_first(self) -> None:
        """One that was taken after a moment does not make the next one ours at once."""
        port = self.listen(sharing=Fuller())
        for count in range(1, 4):
            self.connect(port)
            self.turn(1.0)
            self.assertEqual(port.open, count - 1)
            self.turn(STEP_SECONDS)
            self.assertEqual(port.open, count)

    def test_the_count_goes_down(self) -> None:
        """A connection that ends is told of."""
        fuller = Fuller()
        fuller.ahead = False
        port = self.listen(sharing=fuller)
        client = self.connect(port)
        self.turn()
        client.close()
        self.turn()
        self.assertEqual((port.open, fuller.has), (0, 0))

    def test_the_end_comes_in_that_moment_too(self) -> None:
        """A port that is closed while it steps back leaves nothing behind."""
        port = self.listen(sharing=Fuller())
        self.connect(port)
        self.turn()
        self.stop(port, self.reactor)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
