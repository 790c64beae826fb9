"""How workers see each other's connections."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.board import SLACK, Board, memory


class BoardTests(SynchronousTestCase):
    """Some workers at one board."""

    def boards(self, count: int) -> list[Board]:
        """Return the views of so many, who all accept."""
        descriptor = memory()
        made = [Board(descriptor, number) for number in range(count)]
        os.close(descriptor)
        for board in made:
            board.joins()
        return made

    def test_one_that_is_ahead_steps_back(self) -> None:
        """It sees that another one has clearly fewer; the other one sees nothing."""
        one, other = self.boards(2)
        for _ in range(SLACK):
            one.comes()
        self.assertFalse(one.crowded())
        one.comes()
        self.assertTrue(one.crowded())
        self.assertFalse(other.crowded())
        one.goes()
        self.assertFalse(one.crowded())

    def test_nobody_waits_for_the_dead(self) -> None:
        """One that is gone, or does not accept yet, is nobody to leave anything to."""
        one, other, third = self.boards(3)
        for _ in range(20):
            one.comes()
            third.comes()
        self.assertTrue(one.crowded())
        other.leaves()
        self.assertFalse(one.crowded())
        other.goes()
        self.assertFalse(one.crowded())

    def test_alone(self) -> None:
        """With nobody else there is nobody to step back for."""
        (one,) = self.boards(1)
        for _ in range(1000):
            one.comes()
        self.assertFalse(one.crowded())

    @given(st.integers(2, 6), st.lists(st.integers(0, 5), max_size=200))
    def test_they_stay_together(self, count: int, first: list[int]) -> None:
        """Whoever the kernel asks first, nobody gets clearly ahead while all can accept."""
        boards = self.boards(count)
        for asked in first:
            order = [boards[(asked + at) % count] for at in range(count)]
            next(board for board in order if not board.crowded()).comes()
            numbers = [board._open for board in boards]
            self.assertLessEqual(max(numbers) - min(numbers), SLACK + 1)
