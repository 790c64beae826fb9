"""The pool of connections to one upstream: every law that its pure state must keep."""

from __future__ import annotations

import itertools

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.strategies import DataObject, data, sampled_from
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.net.pool import Next, Pool


class PoolTests(SynchronousTestCase):
    """What each call gives, case by case."""

    def test_the_last_used_goes_first(self) -> None:
        """Of two idle connections the one used last is leased: the other may go stale."""
        pool: Pool[str, str] = Pool(4, 4, 4)
        for name in ("old", "young"):
            self.assertIs(pool.take(), Next.OPEN)
            pool.opened(name)
        pool.give_back("old")
        pool.give_back("young")
        self.assertEqual(pool.take(), "young")

    def test_a_fresh_one_is_never_an_idle_one(self) -> None:
        """Asking for a new connection leaves the idle ones where they are."""
        pool: Pool[str, str] = Pool(2, 0, 2)
        pool.take()
        pool.opened("a")
        pool.give_back("a")
        self.assertIs(pool.take_new(), Next.OPEN)
        self.assertEqual(pool.idle, ["a"])

    def test_a_full_line_refuses(self) -> None:
        """Beyond the connections and the line allowed, asking is refused."""
        pool: Pool[str, str] = Pool(1, 1, 1)
        self.assertIs(pool.take(), Next.OPEN)
        self.assertIs(pool.take(), Next.WAIT)
        pool.wait("first")
        self.assertIs(pool.take(), Next.REFUSE)

    def test_a_failed_opening_lets_the_next_try(self) -> None:
        """Who waits behind an opening that failed opens in its place."""
        pool: Pool[str, str] = Pool(1, 1, 1)
        pool.take()
        pool.wait("next")
        self.assertEqual(pool.not_opened(), "next")
        self.assertEqual(pool.opening, 1)

    def test_a_connection_given_back_twice_is_given_back_once(self) -> None:
        """The second giving back changes nothing: it cannot be leased to two."""
        pool: Pool[str, str] = Pool(1, 1, 1)
        pool.take()
        pool.opened("a")
        pool.give_back("a")
        pool.give_back("a")
        self.assertEqual(pool.idle, ["a"])


class AnyHistory(RuleBasedStateMachine):
    """Whatever happens in whatever order, each connection is in one place and none is lost."""

    MOST, LINE, SPARE = 3, 2, 2

    def __init__(self) -> None:
        super().__init__()
        self.pool: Pool[int, int] = Pool(self.MOST, self.LINE, self.SPARE)
        self.names = itertools.count()
        self.leased: set[int] = set()
        self.closed: set[int] = set()
        self.openers = 0

    def _after(self, waiter: int | None) -> None:
        if waiter is not None:
            self.openers += 1

    @rule()
    def ask(self) -> None:
        """An exchange asks."""
        got = self.pool.take()
        if got is Next.OPEN:
            self.openers += 1
        elif got is Next.WAIT:
            self.pool.wait(next(self.names))
        elif isinstance(got, int):
            assert got not in self.leased
            self.leased.add(got)

    @precondition(lambda self: not self.pool.idle)
    @rule()
    def asks_for_a_fresh_one(self) -> None:
        """An exchange asks again, since the connection that it was given had died."""
        got = self.pool.take_new()
        if got is Next.OPEN:
            self.openers += 1
        elif got is Next.WAIT:
            self.pool.wait(next(self.names))

    @precondition(lambda self: self.pool.waiting)
    @rule(choose=data())
    def gives_up(self, choose: DataObject) -> None:
        """One in line leaves it; a second time changes nothing."""
        waiter = choose.draw(sampled_from(sorted(self.pool.waiting)))
        self.pool.leave(waiter)
        self.pool.leave(waiter)
        assert waiter not in self.pool.waiting

    @precondition(lambda self: self.closed)
    @rule(choose=data())
    def is_told_late(self, choose: DataObject) -> None:
        """What has gone already goes again, or is given back: it changes nothing."""
        connection = choose.draw(sampled_from(sorted(self.closed)))
        before = self.pool.size, list(self.pool.waiting)
        assert self.pool.gone(connection) is None
        assert self.pool.give_back(connection) is None
        assert (self.pool.size, list(self.pool.waiting)) == before

    @precondition(lambda self: self.openers > 0)
    @rule()
    def connected(self) -> None:
        """An opening succeeds."""
        self.openers -= 1
        connection = next(self.names)
        self.pool.opened(connection)
        self.leased.add(connection)

    @precondition(lambda self: self.openers > 0)
    @rule()
    def refused(self) -> None:
        """An opening fails."""
        self.openers -= 1
        self._after(self.pool.not_opened())

    @precondition(lambda self: self.leased)
    @rule(choose=data())
    def done(self, choose: DataObject) -> None:
        """An exchange ends well."""
        connection = choose.draw(sampled_from(sorted(self.leased)))
        waiter = self.pool.give_back(connection)
        if waiter is None:
            self.leased.discard(connection)
            if connection not in self.pool.idle:
                self.closed.add(connection)

    @precondition(lambda self: self.leased or self.pool.idle)
    @rule(choose=data())
    def dies(self, choose: DataObject) -> None:
        """A connection closes, in use or not."""
        connection = choose.draw(sampled_from(sorted(self.leased | set(self.pool.idle))))
        self.leased.discard(connection)
        self.closed.add(connection)
        self._after(self.pool.gone(connection))

    @invariant()
    def one_place(self) -> None:
        """Each connection is idle or busy, never both; busy is exactly what is leased."""
        assert self.pool.busy == self.leased
        assert not self.pool.busy & set(self.pool.idle)
        assert len(set(self.pool.idle)) == len(self.pool.idle)
        assert not self.closed & (self.pool.busy | set(self.pool.idle))

    @invariant()
    def bounds(self) -> None:
        """No bound is ever passed, and openings are counted right."""
        assert self.pool.size <= self.MOST
        assert len(self.pool.idle) <= self.SPARE
        assert len(self.pool.waiting) <= self.LINE
        assert self.pool.opening == self.openers

    @invariant()
    def nobody_waits_in_vain(self) -> None:
        """Nobody stands in line while a connection is idle or could be opened."""
        if self.pool.waiting:
            assert not self.pool.idle
            assert self.pool.size == self.MOST


AnyHistory.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
AnyHistoryTests = AnyHistory.TestCase
