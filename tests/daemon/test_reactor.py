"""Tests for pomeriumd.daemon.reactor: Twisted's epoll reactor, with an end to each turn."""

from __future__ import annotations

import socket
import subprocess
import sys

import attrs
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.reactor import EVENTS, Reactor


@attrs.define(eq=False)
class End:
    """One end of a pair of sockets, as reactors see it."""

    socket: socket.socket
    told: list[object] = attrs.Factory(list)
    answer: Exception | None = None
    bug: Exception | None = None
    kept: bytes = b""
    reactor: Reactor | None = None

    def fileno(self) -> int:
        """Return the descriptor."""
        return self.socket.fileno()

    def logPrefix(self) -> str:
        """Return what old logs call it."""
        return "end"

    def doRead(self) -> Exception | None:
        """Read, keep it for the end of the turn, and say what the test wants said."""
        self.kept = self.socket.recv(99)
        self.told.append(self.kept)
        if self.bug is not None:
            raise self.bug
        if self.reactor is not None:
            self.reactor.turn_end.add(self)
        return self.answer

    def doWrite(self) -> None:
        """Note that there is room."""
        self.told.append("room")

    def flush(self) -> None:
        """Note the turn's end."""
        self.told.append("end of turn")

    def connectionLost(self, reason: Failure) -> None:
        """Note it."""
        self.told.append(type(reason.value))


class ReactorTests(SynchronousTestCase):
    """Reactor.doPoll()."""

    def setUp(self) -> None:
        """Have a reactor that is nobody else's, and two connected sockets."""
        self.reactor = Reactor()
        self.sockets: list[socket.socket] = []
        self.addCleanup(self.close)
        one, self.other = self.pair()
        self.end = End(one)

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """Return two connected sockets."""
        one, other = socket.socketpair()
        self.sockets += one, other
        return one, other

    def close(self) -> None:
        """Give everything back."""
        self.reactor.removeAll()
        for waker in tuple(self.reactor._internalReaders):
            waker.connectionLost(None)
        self.reactor._poller.close()
        for each in self.sockets:
            each.close()

    def test_events_then_the_end(self) -> None:
        """All that can be read is read first; then what it led to is written."""
        second, peer = self.pair()
        ends = [self.end, End(second, self.end.told)]
        for end, feeder in zip(ends, (self.other, peer), strict=True):
            end.reactor = self.reactor
            self.reactor.addReader(end)
            feeder.send(b"x")
        self.reactor.doPoll(1)
        self.assertEqual(self.end.told, [b"x", b"x", "end of turn", "end of turn"])

    def test_a_turn_has_an_end(self) -> None:
        """With more events than one turn may have, what the first wrote does not wait for all."""
        told: list[object] = []
        for _ in range(EVENTS + 1):
            one, other = self.pair()
            self.reactor.addReader(End(one, told, reactor=self.reactor))
            other.send(b"x")
        self.reactor.doPoll(1)
        self.assertEqual((told.count(b"x"), told.count("end of turn")), (EVENTS, EVENTS))
        self.reactor.doPoll(1)
        self.assertEqual(len(told), 2 * (EVENTS + 1))

    def test_what_timed_calls_wrote_does_not_wait(self) -> None:
        """It is flushed before the reactor sleeps, though nothing ever happens."""
        self.reactor.turn_end.add(self.end)
        self.reactor.doPoll(0)
        self.assertEqual(self.end.told, ["end of turn"])

    def test_room(self) -> None:
        """Who waits for room is told."""
        self.reactor.addWriter(self.end)
        self.reactor.doPoll(1)
        self.assertEqual(self.end.told, ["room"])

    def test_an_end_disconnects(self) -> None:
        """What doRead() returns ends the connection, and it is not asked again."""
        for answer in (ConnectionDone(), ConnectionLost()):
            end = End(self.end.socket, answer=answer)
            self.reactor.addReader(end)
            self.other.send(b"x")
            self.reactor.doPoll(1)
            self.assertEqual(end.told, [b"x", type(answer)])
            self.assertNotIn(end, self.reactor.getReaders())

    def test_a_bug_disconnects(self) -> None:
        """An exception in doRead() is logged and ends that connection alone."""
        self.end.bug = ValueError("bug")
        self.reactor.addReader(self.end)
        self.other.send(b"x")
        self.reactor.doPoll(1)
        self.assertEqual(self.end.told, [b"x", ValueError])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_one_that_an_event_removed_is_not_told(self) -> None:
        """Of two that can be read, the first removes the second: that one hears nothing."""
        second, peer = self.pair()
        ends = [self.end, End(second)]

        def remove(_: object = None) -> None:
            for end in ends:
                self.reactor.removeReader(end)

        for end, feeder in zip(ends, (self.other, peer), strict=True):
            self.patch(end, "told", Removing(remove))
            self.reactor.addReader(end)
            feeder.send(b"x")
        self.reactor.doPoll(1)
        self.assertEqual(sorted(len(end.told) for end in ends), [0, 1])


class Removing(list[object]):
    """A list that calls somebody when it is added to."""

    def __init__(self, then: object) -> None:
        super().__init__()
        self.then = then

    def append(self, thing: object) -> None:
        """Add, and call."""
        super().append(thing)
        assert callable(self.then)
        self.then()


INSTALL = """
import sys
{before}
from pomeriumd.daemon.reactor import install
install()
from twisted.internet import reactor
print(type(reactor).__module__)
"""


class InstallTests(SynchronousTestCase):
    """install() takes the place of the default, and of nothing else."""

    def installed(self, before: str) -> str:
        """Return where the reactor comes from in a new process."""
        script = INSTALL.format(before=before)
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def test_by_default_it_is_ours(self) -> None:
        """Nobody asked for another."""
        self.assertEqual(self.installed(""), "pomeriumd.daemon.reactor")

    def test_one_that_was_asked_for_stays(self) -> None:
        """``twistd --reactor=select pomerium`` gets what it names."""
        asked = "from twisted.internet import selectreactor; selectreactor.install()"
        self.assertEqual(self.installed(asked), "twisted.internet.selectreactor")
