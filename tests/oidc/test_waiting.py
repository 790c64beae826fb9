"""Tests for waiting with a limit, together, and not too soon again."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.errors import ProviderError
from pomeriumd.oidc.waiting import Backoff, Patience, SingleFlight, within


async def waiting_for(deferred: Deferred[str]) -> str:
    """Return what ``deferred`` brings."""
    return await deferred


class WithinTests(SynchronousTestCase):
    """within() ends work that takes too long, and nothing else."""

    def test_in_time_leaves_no_timer(self) -> None:
        """An answer in time is the answer."""
        clock, work = Clock(), Deferred[str]()
        waited = within(5, clock, waiting_for(work), "token endpoint")
        work.callback("x")
        self.assertEqual(self.successResultOf(waited), "x")
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_late_is_a_provider_error(self) -> None:
        """The work is cancelled and the text says after how long."""
        cancelled: list[object] = []
        clock, work = Clock(), Deferred[str](cancelled.append)
        waited = within(5, clock, waiting_for(work), "token endpoint")
        clock.advance(5)
        failure = self.failureResultOf(waited, ProviderError)
        self.assertEqual(failure.getErrorMessage(), "token endpoint: no answer in 5 s")
        self.assertEqual(cancelled, [work])

    def test_work_that_answers_its_own_cancel_is_late_all_the_same(self) -> None:
        """An answer after the end is dropped."""
        clock, work = Clock(), Deferred[str](lambda late: late.callback("x"))
        waited = within(5, clock, waiting_for(work), "token endpoint")
        clock.advance(6)
        failure = self.failureResultOf(waited, ProviderError)
        self.assertEqual(failure.getErrorMessage(), "token endpoint: answer after 5 s, dropped")

    def test_a_caller_that_leaves_is_not_a_timeout(self) -> None:
        """Its own cancel comes out as one, and leaves no timer."""
        clock, work = Clock(), Deferred[str]()
        waited = within(5, clock, waiting_for(work), "token endpoint")
        waited.cancel()
        self.failureResultOf(waited, CancelledError)
        self.assertEqual(clock.getDelayedCalls(), [])


class SingleFlightTests(SynchronousTestCase):
    """Many ask, one run answers all."""

    def setUp(self) -> None:
        """Count the runs; each waits for its Deferred."""
        self.runs: list[Deferred[str]] = []
        self.flight = SingleFlight(self.start)

    async def start(self) -> str:
        """Begin a run."""
        run: Deferred[str] = Deferred()
        self.runs.append(run)
        return await run

    def test_all_get_the_answer_of_one_run(self) -> None:
        """And whoever asks after it starts another."""
        waiters = [self.flight.get() for _ in range(3)]
        self.assertEqual(len(self.runs), 1)
        self.runs[0].callback("x")
        self.assertEqual([self.successResultOf(w) for w in waiters], ["x"] * 3)
        self.assertNoResult(self.flight.get())
        self.assertEqual(len(self.runs), 2)

    def test_a_failure_is_everybodys(self) -> None:
        """And the next one tries again."""
        waiters = [self.flight.get() for _ in range(2)]
        self.runs[0].errback(ProviderError("down"))
        for waiter in waiters:
            self.failureResultOf(waiter, ProviderError)
        self.flight.get()
        self.assertEqual(len(self.runs), 2)

    def test_who_leaves_harms_no_other(self) -> None:
        """Only the last one to leave ends the run."""
        first, second = self.flight.get(), self.flight.get()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertFalse(self.runs[0].called)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.assertTrue(self.runs[0].called)
        self.assertNoResult(self.flight.get())
        self.assertEqual(len(self.runs), 2)

    def test_one_answered_waiter_may_cancel_another(self) -> None:
        """The other gets its cancel, and nobody an error."""
        first, second = self.flight.get(), self.flight.get()
        first.addCallback(lambda _: second.cancel())
        self.runs[0].callback("x")
        self.successResultOf(first)
        self.failureResultOf(second, CancelledError)

    def test_an_answer_at_once_is_given_at_once(self) -> None:
        """A run without a wait leaves nothing behind."""

        async def at_once() -> str:
            return "x"

        flight = SingleFlight(at_once)
        self.assertEqual(self.successResultOf(flight.get()), "x")
        self.assertEqual(self.successResultOf(flight.get()), "x")


class BackoffTests(SynchronousTestCase):
    """The pause doubles, stays under its bound, and is never the same for two."""

    def pauses(self, octets: bytes, count: int) -> list[float]:
        """Return the pauses after ``count`` failures in a row."""
        clock = Clock()
        backoff = Backoff(clock=clock, random=lambda _: octets)
        pauses = []
        for _ in range(count):
            backoff.failed()
            pauses.append(backoff.left)
            clock.advance(backoff.left)
            self.assertEqual(backoff.left, 0)
        return pauses

    def test_doubles_to_a_minute(self) -> None:
        """With the middle jitter these are the round numbers."""
        self.assertEqual(self.pauses(b"\x80\x00", 8), [1, 2, 4, 8, 16, 32, 60, 60])

    def test_jitter_is_a_quarter_each_way(self) -> None:
        """The least and the greatest."""
        self.assertEqual(self.pauses(b"\0\0", 2), [0.75, 1.5])
        self.assertLess(self.pauses(b"\xff\xff", 8)[-1], 75)

    def test_success_forgets(self) -> None:
        """The next failure begins at a second again."""
        backoff: Any = Backoff(clock=Clock(), random=lambda _: b"\x80\x00")
        self.assertEqual((backoff.left, backoff.failing), (0, False))
        backoff.failed()
        backoff.failed()
        self.assertTrue(backoff.failing)
        backoff.worked()
        self.assertEqual((backoff.left, backoff.failing), (0, False))
        backoff.failed()
        self.assertEqual(backoff.left, 1)


class PatienceTests(SynchronousTestCase):
    """While a provider hangs, one caller at a time waits for it, and the others hear so."""

    def setUp(self) -> None:
        """Have a question that the test answers."""
        self.clock = Clock()
        self.patience = Patience(
            clock=self.clock,
            backoff=Backoff(clock=self.clock, random=lambda _: b"\x80\x00", longest=10),
        )
        self.asked: list[Deferred[str]] = []

    def ask(self) -> Deferred[str]:
        """Ask."""

        async def question() -> str:
            self.asked.append(Deferred())
            return await self.asked[-1]

        return Deferred.fromCoroutine(self.patience.ask("token endpoint", question))

    def fail_after(self, seconds: float) -> None:
        """Ask, and fail so much later."""
        waiting = self.ask()
        self.clock.advance(seconds)
        self.asked[-1].errback(ProviderError("down"))
        self.assertEqual(str(self.failureResultOf(waiting, ProviderError).value), "down")

    def not_asked(self) -> None:
        """See that nobody waits any more."""
        before = len(self.asked)
        self.assertEqual(
            str(self.failureResultOf(self.ask(), ProviderError).value),
            "token endpoint: no answer a moment ago, not asked again so soon",
        )
        self.assertEqual(len(self.asked), before)

    def test_many_at_once_while_all_is_well(self) -> None:
        """Nobody waits for another."""
        both = [self.ask(), self.ask()]
        for asked in self.asked:
            asked.callback("x")
        self.assertEqual([self.successResultOf(one) for one in both], ["x", "x"])

    def test_after_somebody_waited_for_nothing(self) -> None:
        """The next ones hear at once; when the pause is over one finds out, and only one."""
        self.fail_after(5)
        self.not_asked()
        self.clock.advance(1)
        probe = self.ask()
        self.clock.advance(4)
        self.not_asked()
        self.asked[-1].callback("back")
        self.assertEqual(self.successResultOf(probe), "back")
        both = [self.ask(), self.ask()]
        self.assertEqual(len(self.asked), 4)
        for one in both:
            self.assertNoResult(one)
            one.cancel()
            self.failureResultOf(one, CancelledError)

    def test_the_pause_is_bounded(self) -> None:
        """A provider that is back is noticed within ten seconds."""
        for pause in (1, 2, 4, 8, 10, 10):
            self.fail_after(5)
            self.clock.advance(pause - 0.1)
            self.not_asked()
            self.clock.advance(0.1)

    def test_one_that_fails_at_once(self) -> None:
        """It keeps nobody waiting, and whoever asks next is not kept from asking."""
        for _ in range(3):
            self.fail_after(0.9)
        self.assertEqual(len(self.asked), 3)
