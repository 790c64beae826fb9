"""The site where Prometheus reads: what it answers, and what it does not let itself be made do."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from typing import Any

import attrs
from twisted.internet.address import IPv4Address
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http import HTTPChannel

from pomeriumd.daemon.metrics_site import CONNECTIONS, IDLE_SECONDS, SCRAPE_SECONDS, MetricsSite
from pomeriumd.settings.values import Address

HERE = Address("127.0.0.1", 9090)


class Wire(StringTransport):
    """A client's end."""

    aborted = False

    def abortConnection(self) -> None:
        """Note it, and be gone."""
        self.aborted = True
        super().abortConnection()


class SiteCase(SynchronousTestCase):
    """A site in memory."""

    def setUp(self) -> None:
        """Start it."""
        self.reactor: Any = MemoryReactorClock()
        self.made = 0
        self.pieces: list[bytes] = [b"one 1\n", b"", b"two 2\n"]
        self.site = MetricsSite(HERE, self.text, self.reactor)
        self.site.privilegedStartService()
        self.site.startService()

    def text(self) -> Iterator[bytes]:
        """Give the pieces, and count them."""
        for piece in self.pieces:
            self.made += 1
            yield piece

    def connect(self) -> tuple[Any, Wire]:
        """Open a connection; the protocol is None for one that is closed at once."""
        factory = self.reactor.tcpServers[-1][1]
        factory.doStart()
        self.addCleanup(factory.doStop)
        protocol = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 4711))
        wire = Wire()
        if protocol is not None:
            protocol.makeConnection(wire)
        return protocol, wire

    def turns(self, count: int = 10) -> None:
        """Let the loop turn; what a call puts off waits for the next turn, as in a real one."""
        for _ in range(count):
            due = [c for c in self.reactor.getDelayedCalls() if c.time <= self.reactor.seconds()]
            for call in due:
                if call.active():
                    self.reactor.calls.remove(call)
                    call.called = 1
                    call.func(*call.args, **call.kw)

    def ask(self, target: str = "/metrics", method: str = "GET") -> bytes:
        """Return the whole answer to one request."""
        protocol, wire = self.connect()
        protocol.dataReceived(f"{method} {target} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
        self.turns()
        return bytes(wire.value())


class AnswerTests(SiteCase):
    """What is there, and what is not."""

    def test_the_text(self) -> None:
        """The pieces come in order, in the type that Prometheus knows."""
        head, _, body = self.ask().partition(b"\r\n\r\n")
        self.assertIn(b"200 OK", head)
        self.assertIn(b"text/plain; version=0.0.4; charset=utf-8", head)
        self.assertEqual(body, b"one 1\ntwo 2\n")

    def test_head(self) -> None:
        """HEAD has the head and makes no text."""
        head, _, body = self.ask(method="HEAD").partition(b"\r\n\r\n")
        self.assertIn(b"200 OK", head)
        self.assertIn(b"version=0.0.4", head)
        self.assertEqual((body, self.made), (b"", 0))

    def test_the_page(self) -> None:
        """Whoever comes with a browser finds the way."""
        self.assertIn(b'<a href="/metrics">', self.ask("/"))

    def test_nothing_else(self) -> None:
        """Every other path is 404, every other method is refused."""
        for target in ("/metrics/", "/metrics/x", "/x", "//metrics", "/.pomerium/", "/%2e%2e"):
            self.assertIn(b" 404 ", self.ask(target).partition(b"\r\n")[0], target)
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            self.assertRegex(self.ask(method=method), rb"^HTTP/1.[01] (405|501) ", method)
        self.assertEqual(self.made, 0)


class BoundTests(SiteCase):
    """A scraper that went wrong takes no more than its share."""

    def test_each_turn_makes_one_piece(self) -> None:
        """Whoever else is served has a turn between two pieces."""
        self.pieces = [b"x 1\n"] * 5
        protocol, _ = self.connect()
        protocol.dataReceived(b"GET /metrics HTTP/1.0\r\n\r\n")
        made = []
        for _ in range(4):
            made.append(self.made)
            self.turns(1)
        self.assertEqual(made, [1, 2, 3, 4])

    def test_a_slow_client_is_waited_for_and_then_cut(self) -> None:
        """Nothing is made for one who does not read; in the end the connection is broken off."""
        self.pieces = [b"x 1\n"] * 500
        protocol, wire = self.connect()
        protocol.dataReceived(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert wire.producer is not None
        wire.producer.pauseProducing()
        made = self.made
        self.turns(50)
        self.assertEqual(self.made, made)
        wire.producer.resumeProducing()
        self.turns(3)
        self.assertGreater(self.made, made)
        wire.producer.pauseProducing()
        self.reactor.advance(SCRAPE_SECONDS)
        self.assertTrue(wire.aborted)

    def test_a_client_that_leaves_stops_the_work(self) -> None:
        """No piece is made for nobody, and no call is left behind."""
        self.pieces = [b"x 1\n"] * 500
        protocol, _ = self.connect()
        protocol.dataReceived(b"GET /metrics HTTP/1.0\r\n\r\n")
        self.turns(2)
        made = self.made
        protocol.connectionLost(Failure(ConnectionDone()))
        self.turns(50)
        self.assertEqual(self.made, made)

    def test_only_so_many_connections(self) -> None:
        """One more is closed; when one has left there is room again."""
        open_ones = [self.connect()[0] for _ in range(CONNECTIONS)]
        self.assertIsNone(self.connect()[0])
        open_ones[0].connectionLost(Failure(ConnectionDone()))
        self.assertIsNotNone(self.connect()[0])

    def test_an_idle_connection_is_closed(self) -> None:
        """Whoever says nothing is not waited for without end."""
        _, wire = self.connect()
        self.reactor.advance(IDLE_SECONDS + 1)
        self.assertTrue(wire.disconnecting)

    def test_a_text_that_fails_is_cut(self) -> None:
        """Half a text never passes for a whole one, and the log has the error."""

        def broken() -> Iterator[bytes]:
            yield b"x 1\n"
            raise ZeroDivisionError

        self.site._text = broken
        site = MetricsSite(Address("127.0.0.1", 9091), broken, self.reactor)
        site.privilegedStartService()
        protocol, wire = self.connect()
        protocol.dataReceived(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        self.turns()
        self.assertTrue(wire.aborted)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


@attrs.define
class Taken:
    """A reactor whose addresses are taken."""

    number: int = errno.EADDRINUSE
    asked: list[str] = attrs.Factory(list)

    def listenTCP(self, port: int, factory: object, interface: str) -> None:
        """Refuse."""
        self.asked.append(interface)
        raise CannotListenError(interface, port, OSError(self.number, os.strerror(self.number)))


class ListeningTests(SiteCase):
    """Where it listens."""

    def listened(self) -> list[tuple[int, str]]:
        """Return ports and interfaces, in order."""
        return [(port, interface) for port, _, _, interface in self.reactor.tcpServers]

    def test_it_listens_where_it_is_told(self) -> None:
        """Loopback is loopback and nothing else."""
        self.assertEqual(self.listened(), [(9090, "127.0.0.1")])

    def test_none_is_nowhere(self) -> None:
        """Without an address there is no port."""
        reactor: Any = MemoryReactorClock()
        site = MetricsSite(None, self.text, reactor)
        site.privilegedStartService()
        self.assertEqual(reactor.tcpServers, [])
        self.assertIsNone(site.stopService())

    def test_it_moves(self) -> None:
        """A reload binds the new address first, and then leaves the old one."""
        self.site.move(Address("127.0.0.1", 9091))
        self.assertEqual(self.listened(), [(9090, "127.0.0.1"), (9091, "127.0.0.1")])
        self.site.move(Address("127.0.0.1", 9091))
        self.assertEqual(len(self.listened()), 2)
        self.site.move(None)
        self.assertIsNone(self.site.address)
        self.site.move(Address("", 9090))
        self.assertEqual(self.listened()[-1], (9090, "::"))

    def test_an_address_that_is_taken_changes_nothing(self) -> None:
        """The reload learns of it, and the old address serves on."""
        self.site._reactor = Taken()
        with self.assertRaises(CannotListenError):
            self.site.move(Address("127.0.0.1", 9091))
        self.assertEqual(self.site.address, HERE)
        self.assertIsNotNone(self.site._port)

    def test_a_start_says_what_to_do(self) -> None:
        """An address that is taken ends the start with a sentence."""
        site = MetricsSite(HERE, self.text, Taken())
        with self.assertRaises(SystemExit) as caught:
            site.privilegedStartService()
        self.assertEqual(
            str(caught.exception),
            "pomeriumd: metrics_address: cannot listen on 127.0.0.1:9090: [Errno 98] Address "
            "already in use; stop what has it, or set another address",
        )

    def test_a_host_without_ipv6(self) -> None:
        """Everywhere is IPv4 where there is no IPv6."""
        reactor = Taken(errno.EAFNOSUPPORT)
        site = MetricsSite(None, self.text, reactor)
        with self.assertRaises(CannotListenError):
            site.move(Address("", 9090))
        self.assertEqual(reactor.asked, ["::", "0.0.0.0"])  # noqa: S104

    def test_the_end_cuts_what_is_open(self) -> None:
        """A shutdown does not wait for a scraper."""
        _, wire = self.connect()
        self.site.stopService()
        self.assertTrue(wire.aborted)

    def test_a_socket_that_was_handed_over(self) -> None:
        """A descriptor is listened on, non-blocking, and our copy is closed."""
        listening = socket.create_server(("127.0.0.1", 0))
        adopted: list[tuple[bool, int]] = []

        class Adopting(MemoryReactorClock):
            def adoptStreamPort(self, descriptor: int, family: int, factory: object) -> None:
                adopted.append((os.get_blocking(descriptor), family))

        descriptor = os.dup(listening.fileno())
        site = MetricsSite(None, self.text, Adopting(), descriptor)
        site.privilegedStartService()
        self.assertEqual(adopted, [(False, socket.AF_INET)])
        self.assertRaises(OSError, os.fstat, descriptor)
        listening.close()


class PinnedTests(SynchronousTestCase):
    """What of Twisted's we depend on."""

    def test_a_channel_can_be_broken_off(self) -> None:
        """It has no public name for that."""
        self.assertTrue(callable(HTTPChannel.forceAbortClient))
