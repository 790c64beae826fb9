"""The site where Prometheus reads: what it answers, and what it does not let itself be made do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http import HTTPChannel

from pomeriumd.daemon.listeners import METRICS, Listener, bound
from pomeriumd.daemon.metrics_site import CONNECTIONS, IDLE_SECONDS, SCRAPE_SECONDS, MetricsSite
from pomeriumd.settings.values import Address

HERE = Address("127.0.0.1", 0)


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
        self.site = MetricsSite(self.text, self.reactor)
        self.site.startService()
        self.site.listen(self.listener())

    def listener(self) -> Listener:
        """Return a socket that listens."""
        made = bound(METRICS, HERE)
        self.addCleanup(made.close)
        return made

    def text(self) -> Iterator[bytes]:
        """Give the pieces, and count them."""
        for piece in self.pieces:
            self.made += 1
            yield piece

    def connect(self) -> tuple[Any, Wire]:
        """Open a connection; the protocol is None for one that is closed at once."""
        factory = self.reactor.adoptedPorts[-1][2]
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

        MetricsSite(broken, self.reactor).listen(self.listener())
        protocol, wire = self.connect()
        protocol.dataReceived(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        self.turns()
        self.assertTrue(wire.aborted)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class ListeningTests(SiteCase):
    """Where it listens."""

    def test_none_is_nowhere(self) -> None:
        """Without a socket there is no port."""
        reactor: Any = MemoryReactorClock()
        site = MetricsSite(self.text, reactor)
        site.listen(None)
        self.assertEqual(reactor.adoptedPorts, [])
        self.assertIsNone(site.stopService())

    def test_it_moves(self) -> None:
        """A reload takes the new socket first, and then leaves the old one."""
        events: list[str] = []

        class Port:
            def __init__(self, name: str) -> None:
                self.name = name
                events.append(f"begin {name}")

            def stopListening(self) -> None:
                events.append(f"stop {self.name}")

        names = iter("ab")
        self.reactor.adoptStreamPort = lambda *_: Port(next(names))
        site = MetricsSite(self.text, self.reactor)
        site.listen(self.listener())
        site.listen(self.listener())
        site.listen(None)
        self.assertEqual(events, ["begin a", "begin b", "stop a", "stop b"])

    def test_the_end_cuts_what_is_open(self) -> None:
        """A shutdown does not wait for a scraper."""
        _, wire = self.connect()
        self.site.stopService()
        self.assertTrue(wire.aborted)


class PinnedTests(SynchronousTestCase):
    """What of Twisted's we depend on."""

    def test_a_channel_can_be_broken_off(self) -> None:
        """It has no public name for that."""
        self.assertTrue(callable(HTTPChannel.forceAbortClient))
