"""Promises of the wheel."""

from __future__ import annotations

import math

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.net.deadlines import Deadlines


class Phase:
    """A thing with a deadline that writes its name down when it is late."""

    def __init__(self, name: str, late: list[str], due: float = math.inf) -> None:
        self.name, self.late, self.due = name, late, due

    def overdue(self) -> None:
        """Note the lateness and wait for nothing more."""
        self.late.append(self.name)
        self.due = math.inf


class Closing(Phase):
    """A thing that makes the wheel forget others when it is late."""

    def __init__(self, late: list[str], deadlines: Deadlines, gone: list[Phase]) -> None:
        super().__init__("closing", late, due=1.0)
        self.deadlines, self.gone = deadlines, gone

    def overdue(self) -> None:
        """Forget all of them, itself too."""
        super().overdue()
        for thing in self.gone:
            self.deadlines.forget(thing)


class Failing(Phase):
    """A thing whose overdue() is broken."""

    def overdue(self) -> None:
        """Fail."""
        super().overdue()
        raise ValueError(self.name)


class DeadlinesTests(SynchronousTestCase):
    """Deadlines tells each thing once its time is over, and nothing before."""

    def setUp(self) -> None:
        """Make a wheel on a clock that stands still."""
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)
        self.late: list[str] = []

    def test_tells_at_the_first_tick_after(self) -> None:
        """A thing is told at the first tick that is not before its time, and once."""
        thing = Phase("a", self.late)
        self.deadlines.watch(thing)
        thing.due = self.deadlines.now + 1.2
        self.clock.pump([0.5, 0.5])
        self.assertEqual(self.late, [])
        self.clock.advance(0.5)
        self.assertEqual(self.late, ["a"])
        self.clock.pump([0.5] * 4)
        self.assertEqual(self.late, ["a"])

    def test_never_is_never(self) -> None:
        """A thing whose due is inf is not told, however long it takes."""
        self.deadlines.watch(Phase("a", self.late))
        self.clock.pump([0.5] * 1000)
        self.assertEqual(self.late, [])

    def test_a_moved_deadline_counts(self) -> None:
        """A deadline that is moved before it is met is met later."""
        thing = Phase("a", self.late, due=1.0)
        self.deadlines.watch(thing)
        self.clock.advance(0.5)
        thing.due = 2.0
        self.clock.pump([0.5, 0.5])
        self.assertEqual(self.late, [])
        self.clock.advance(0.5)
        self.assertEqual(self.late, ["a"])

    def test_tells_again_while_late(self) -> None:
        """A thing that leaves its due in the past is told at every tick."""
        told: list[float] = []

        class Stubborn(Phase):
            def overdue(self) -> None:
                """Stay late."""
                told.append(self.due)

        self.deadlines.watch(Stubborn("a", self.late, due=0.5))
        self.clock.pump([0.5] * 3)
        self.assertEqual(told, [0.5] * 3)

    def test_forgotten_is_not_told(self) -> None:
        """A thing that was forgotten is not told."""
        thing = Phase("a", self.late, due=1.0)
        self.deadlines.watch(thing)
        self.deadlines.forget(thing)
        self.clock.pump([0.5] * 4)
        self.assertEqual(self.late, [])

    def test_no_timer_without_things(self) -> None:
        """The timer runs exactly while something is watched."""
        self.assertEqual(self.clock.getDelayedCalls(), [])
        one, two = Phase("a", self.late), Phase("b", self.late)
        for thing in (one, two, one):
            self.deadlines.watch(thing)
        self.clock.advance(0.5)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.deadlines.forget(one)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.deadlines.forget(two)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_forgetting_a_stranger_is_fine(self) -> None:
        """Forgetting what is not watched changes nothing."""
        self.deadlines.forget(Phase("a", self.late))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_thing_may_forget_itself_and_others(self) -> None:
        """What one overdue() settles for others does not reach them any more."""
        all_of_them: list[Phase] = []
        for _ in range(8):
            thing = Closing(self.late, self.deadlines, all_of_them)
            all_of_them.append(thing)
            self.deadlines.watch(thing)
        self.clock.pump([0.5] * 4)
        self.assertEqual(self.late, ["closing"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_thing_watched_while_walking_is_kept(self) -> None:
        """A thing that begins when the last one ends is watched from then on."""
        deadlines, late = self.deadlines, self.late

        class Successor(Phase):
            def overdue(self) -> None:
                """Hand over."""
                super().overdue()
                deadlines.forget(self)
                deadlines.watch(Phase("next", late, due=1.0))

        deadlines.watch(Successor("first", late, due=0.5))
        self.clock.pump([0.5, 0.5])
        self.assertEqual(late, ["first", "next"])
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_one_failure_stops_nobody(self) -> None:
        """A thing that fails is logged; the others are told and the wheel turns on."""
        self.deadlines.watch(Failing("bad", self.late, due=0.5))
        self.deadlines.watch(Phase("good", self.late, due=0.5))
        later = Phase("later", self.late, due=1.0)
        self.deadlines.watch(later)
        self.clock.pump([0.5, 0.5])
        self.assertEqual(sorted(self.late), ["bad", "good", "later"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_now_is_fresh_to_a_tick(self) -> None:
        """The coarse clock follows the fine one while something is watched, and on watch."""
        self.clock.advance(100.0)
        thing = Phase("a", self.late)
        self.deadlines.watch(thing)
        self.assertEqual(self.deadlines.now, 100.0)
        self.clock.advance(0.5)
        self.assertEqual(self.deadlines.now, 100.5)
        self.deadlines.forget(thing)
        self.clock.advance(100.0)
        self.deadlines.watch(thing)
        self.assertEqual(self.deadlines.now, 200.5)
