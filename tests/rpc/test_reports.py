"""Tests for pomeriumd.rpc.reports."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.rpc.reports import AGAIN, SUBJECTS, Seldom


class SeldomTests(SynchronousTestCase):
    """Something is said again after a minute, about each subject, within a bound."""

    def test_each_once_a_minute(self) -> None:
        """One subject does not silence another."""
        said = Seldom()
        times = [("a", 0.0), ("a", 59.0), ("b", 59.0), ("a", AGAIN), ("b", AGAIN), ("b", 120.0)]
        self.assertEqual(
            [said.due(subject, now) for subject, now in times],
            [True, False, True, True, False, True],
        )

    def test_many_subjects(self) -> None:
        """More than are remembered go unsaid, until the minute is over."""
        said = Seldom()
        spoken = [said.due(str(number), 0.0) for number in range(SUBJECTS + 5)]
        self.assertEqual(spoken, [True] * SUBJECTS + [False] * 5)
        self.assertTrue(said.due("another", AGAIN))

    def test_a_clock_that_was_set_back(self) -> None:
        """Nothing is silent until the old time comes again."""
        said = Seldom()
        said.due("a", 3600.0)
        self.assertTrue(said.due("a", 0.0))
