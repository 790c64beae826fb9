"""Tests for pomeriumd.net.turn_end: what is written when, and that nothing is lost by it."""

from __future__ import annotations

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.net.deadlines import Deadlines
from pomeriumd.net.transport import HELD_SIZE, PlainServer
from pomeriumd.net.turn_end import MOST, TurnEnd
from tests.support.sockets import Listening, OneProtocol, Source, Told, Turns, connected, drained


@attrs.define(eq=False)
class Flushing:
    """A transport that notes when it is flushed, and may have a bug."""

    told: list[object]
    bug: Exception | None = None

    def flush(self) -> None:
        """Note it."""
        self.told.append(self)
        if self.bug is not None:
            raise self.bug


class TurnEndTests(SynchronousTestCase):
    """TurnEnd flushes each that asked, once."""

    def setUp(self) -> None:
        """Make one."""
        self.end = TurnEnd()
        self.told: list[object] = []

    def test_in_order_and_once(self) -> None:
        """Those that asked are flushed in that order, and not again at the next end."""
        both = [Flushing(self.told), Flushing(self.told)]
        for one in both:
            self.end.add(one)
        self.assertEqual(self.told, [])
        self.end.come()
        self.end.come()
        self.assertEqual(self.told, both)

    def test_no_more_wait_than_may(self) -> None:
        """What is held is bounded: with one too many, all go out before the end."""
        for _ in range(MOST):
            self.end.add(Flushing(self.told))
        self.assertEqual((len(self.told), self.end.waiting), (MOST, []))

    def test_ones_bug_is_its_own(self) -> None:
        """The others are flushed, and the log has what went wrong."""
        many = [Flushing(self.told, error) for error in (None, ValueError("bug"), None)]
        for one in many:
            self.end.add(one)
        self.end.come()
        self.assertEqual(self.told, many)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class EndedTurns(Turns):
    """A reactor that says when its turn ends."""

    def __init__(self) -> None:
        super().__init__()
        self.turn_end = TurnEnd()

    def turn(self, wait: float = 1.0) -> None:
        """Do what one turn does, with its end."""
        super().turn(wait)
        self.turn_end.come()


class TransportCase(SynchronousTestCase):
    """One accepted connection on a reactor whose turns end."""

    def start(self, *, small: int = 0) -> PlainServer:
        """Begin a connection and return its server side."""
        self.reactor = EndedTurns()
        self.protocol = Told()
        listening = Listening(OneProtocol(self.protocol), Deadlines(self.reactor))
        server, self.client, address = connected(small)
        self.addCleanup(self.client.close)
        self.addCleanup(server.close)
        transport = PlainServer(
            server,
            address,
            listening,
            1,
            self.reactor,  # type: ignore[arg-type]  # what it needs of IReactorFDSet
        )
        transport.begin()
        return transport

    def there(self) -> bytes:
        """Return what the client can read without waiting."""
        self.client.setblocking(False)
        try:
            return self.client.recv(99)
        except BlockingIOError:
            return b"nothing"
        finally:
            self.client.setblocking(True)


class HeldTests(TransportCase):
    """A write is held until the turn ends."""

    def test_together_at_the_end(self) -> None:
        """Nothing goes out before; then all of the turn's writes do, as one."""
        transport = self.start()
        for piece in (b"a", b"", b"bc"):
            transport.write(piece)
        self.assertEqual(self.there(), b"nothing")
        self.reactor.turn_end.come()
        self.assertEqual(self.there(), b"abc")
        self.assertEqual(self.reactor.writers, set())

    def test_a_close_comes_behind_it(self) -> None:
        """loseConnection() in the same turn: the client reads all, then the end."""
        transport = self.start()
        transport.write(b"last words")
        transport.loseConnection()
        self.assertEqual(self.client.recv(99), b"last words")
        self.assertEqual(self.client.recv(99), b"")

    def test_the_end_of_our_half_comes_behind_it(self) -> None:
        """loseWriteConnection() in the same turn likewise."""
        transport = self.start()
        transport.write(b"last words")
        transport.loseWriteConnection()
        self.reactor.turn(0)
        self.assertEqual(self.client.recv(99), b"last words")
        self.assertEqual(self.client.recv(99), b"")

    def test_an_abort_drops_it(self) -> None:
        """abortConnection() in the same turn: nothing of it reaches the wire."""
        transport = self.start()
        transport.write(b"half of an answer")
        transport.abortConnection()
        self.reactor.turn_end.come()
        self.assertEqual(self.there(), b"nothing")
        self.reactor.turns(1)

    def test_a_loss_drops_it(self) -> None:
        """A connection that is gone is not written to at the end."""
        transport = self.start()
        transport.write(b"answer")
        transport.connectionLost(Failure(ConnectionLost()))
        self.reactor.turn_end.come()
        self.assertEqual(self.client.recv(99), b"")

    def test_what_is_held_is_bounded(self) -> None:
        """Who writes on and on in one turn fills the socket in it, and is told."""
        transport = self.start(small=4096)
        source = Source()
        transport.registerProducer(source, streaming=True)
        piece = bytes(range(256)) * 16
        count = 0
        while not source.told:
            transport.write(piece)
            self.assertLess(len(transport._unsent), HELD_SIZE)
            count += 1
        self.assertEqual(source.told, ["pause"])
        self.assertEqual(drained(self.client, self.reactor, count * 4096), piece * count)

    def test_the_producer_is_paused_then(self) -> None:
        """What the socket does not take at the end is queued, and pauses who feeds it."""
        transport = self.start(small=4096)
        source = Source()
        transport.registerProducer(source, streaming=True)
        written = bytes(range(256)) * 4096
        transport.write(written)
        self.assertEqual(source.told, [])
        self.reactor.turn_end.come()
        self.assertEqual(source.told, ["pause"])
        self.assertEqual(drained(self.client, self.reactor, len(written)), written)
        self.reactor.turns(1)
        self.assertEqual(source.told, ["pause", "resume"])

    @given(st.lists(st.one_of(st.integers(0, 30_000), st.just("end")), max_size=30))
    def test_every_byte_once_and_in_order(self, steps: list[object]) -> None:
        """Whatever is written in whichever turn, and however little the socket takes."""
        transport = self.start(small=4096)
        written = b""
        for number, step in enumerate(steps):
            if isinstance(step, int):
                piece = bytes([number]) * step
                written += piece
                transport.write(piece)
            else:
                self.reactor.turn(0)
        self.reactor.turn_end.come()
        self.assertEqual(drained(self.client, self.reactor, len(written)), written)
        self.client.close()
        transport.connectionLost(Failure(ConnectionLost()))
