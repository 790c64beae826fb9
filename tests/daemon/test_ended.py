"""Exchanges that have ended: all are counted and logged, together, before anything is written."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.access_log import AccessEntry
from pomeriumd.daemon.cells import Reading
from pomeriumd.daemon.ended import MOST, Ended
from pomeriumd.daemon.tally import Tally
from pomeriumd.net.turn_end import TurnEnd
from tests.support.exchanges import compiled, ended


@attrs.define(eq=False)
class Writing:
    """A transport that notes how many were counted when it wrote."""

    counted: Any
    saw: list[float] = attrs.Factory(list)

    def flush(self) -> None:
        """Write."""
        self.saw.append(self.counted())


class EndedTests(SynchronousTestCase):
    """A turn of the reactor, called by the test."""

    def setUp(self) -> None:
        """Begin."""
        self.turn_end, self.tally = TurnEnd(), Tally()
        self.logged: list[AccessEntry] = []
        self.ended = Ended(
            self.tally, self.logged.append, lambda: 2.0, lambda: 1000.0, self.turn_end
        )
        self.route = compiled()

    def counted(self) -> float:
        """Return how many were counted."""
        return sum(
            numbers[0]
            for (family, _), numbers in Reading(self.tally.memory)
            if family == "exchange"
        )

    def test_before_what_waits_is_written(self) -> None:
        """Whoever has an answer was counted, also if its writing was asked for first."""
        first, last = Writing(self.counted), Writing(self.counted)
        self.turn_end.add(first)
        self.ended.add(ended(self.route))
        self.ended.add(ended(self.route))
        self.turn_end.add(last)
        self.assertEqual((self.counted(), self.logged), (0, []))
        self.turn_end.come()
        self.assertEqual((first.saw, last.saw), ([2], [2]))
        self.assertEqual(len(self.logged), 2)

    @given(st.lists(st.integers(0, 2 * MOST), max_size=6))
    def test_each_once(self, turns: list[int]) -> None:
        """However many end in a turn, each is counted and logged once, and few wait."""
        self.setUp()
        for count in turns:
            for _ in range(count):
                self.ended.add(ended(self.route))
                self.assertLess(len(self.ended._waiting), MOST)
            self.turn_end.come()
        self.assertEqual((self.counted(), len(self.logged)), (sum(turns), sum(turns)))

    def test_the_line_says_what_the_exchange_was(self) -> None:
        """Its time is when the turn ended, its duration from its beginning to its end."""
        self.ended.add(ended(self.route, status=404, sent=5, decision="public"))
        self.turn_end.come()
        (entry,) = self.logged
        self.assertEqual(
            (entry.time, entry.duration_ms, entry.status, entry.sent, entry.route),
            (1000.0, 2000.0, 404, 5, self.route.id),
        )

    def test_what_cannot_be_counted_is_logged(self) -> None:
        """A bug in counting keeps no line back."""
        self.ended.add(ended(self.route, reasons=[[]]))
        self.turn_end.come()
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        self.assertEqual(len(self.logged), 1)

    def test_without_a_turn_at_once(self) -> None:
        """Under a reactor that has no end of a turn nothing waits."""
        ended_at_once = Ended(self.tally, self.logged.append, lambda: 2.0, lambda: 1000.0, None)
        ended_at_once.add(ended(self.route))
        self.assertEqual((self.counted(), len(self.logged)), (1, 1))
