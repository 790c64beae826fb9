"""The clock of timers, and the watch over the time of day."""

from __future__ import annotations

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.clock import LOOK_SECONDS, STEP_SECONDS, ClockWatch, steady


class SteadyTests(SynchronousTestCase):
    """A reactor's timers count by the clock they were given."""

    def setUp(self) -> None:
        """Make a reactor whose seconds are ours."""
        self.reactor = EPollReactor()
        self.addCleanup(self.close)
        self.passed = 100.0

    def close(self) -> None:
        """Give back its descriptors."""
        self.reactor.removeAll()
        assert self.reactor.waker is not None
        self.reactor.waker.connectionLost(None)
        self.reactor._poller.close()

    def test_timers_count_by_it(self) -> None:
        """A call comes when its seconds have passed there, not before."""
        steady(self.reactor, lambda: self.passed)
        called: list[int] = []
        self.reactor.callLater(10, called.append, 1)
        self.reactor.runUntilCurrent()
        self.assertEqual(self.reactor.timeout(), 10)
        self.passed += 9
        self.reactor.runUntilCurrent()
        self.assertEqual(called, [])
        self.passed += 1
        self.reactor.runUntilCurrent()
        self.assertEqual(called, [1])

    def test_not_under_a_call_that_waits(self) -> None:
        """It would come in fifty years."""
        waiting = self.reactor.callLater(1, list)
        with self.assertRaises(RuntimeError) as caught:
            steady(self.reactor)
        self.assertEqual(
            str(caught.exception), "a reactor's clock cannot be changed under calls that wait"
        )
        waiting.cancel()


class ClockWatchTests(SynchronousTestCase):
    """A time of day that was set is told, with what follows and what to do."""

    def setUp(self) -> None:
        """Watch a clock that the test sets."""
        self.clock = Clock()
        self.set_by = 0.0
        self.watch = ClockWatch(
            lambda: 1_790_000_000 + self.clock.seconds() + self.set_by, self.clock
        )
        self.log = EventLoggingObserver()
        globalLogPublisher.addObserver(self.log)
        self.addCleanup(globalLogPublisher.removeObserver, self.log)
        self.watch.startService()

    def said(self, seconds: float) -> list[str]:
        """Set the clock by so much; return what is logged within two looks."""
        self.log._events.clear()
        self.set_by += seconds
        self.clock.advance(LOOK_SECONDS)
        self.clock.advance(LOOK_SECONDS)
        return [str(formatEvent(event)) for event in self.log]

    def test_set_forward(self) -> None:
        """Once, by how much, and what to do if that was wrong."""
        [line] = self.said(3600)
        self.assertTrue(
            line.startswith("the clock was set forward by 3600 s, or this machine slept: "), line
        )
        self.assertIn("timedatectl", line)

    def test_set_back(self) -> None:
        """The same the other way; and again when it is put right."""
        [line] = self.said(-3600)
        self.assertTrue(line.startswith("the clock was set back by 3600 s: "), line)
        self.assertIn("timedatectl", line)
        [line] = self.said(3600)
        self.assertIn("set forward by 3600 s", line)

    def test_a_clock_that_is_slewed(self) -> None:
        """What stays within the leeway that everything here gives is no news."""
        for step in (0.0, 0.005, -0.005, STEP_SECONDS - 0.1, 0.1 - STEP_SECONDS):
            self.assertEqual(self.said(step), [])

    def test_it_ends(self) -> None:
        """No timer stays."""
        self.watch.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])
