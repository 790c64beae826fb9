"""Work in pieces."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.pieces import Pieces, finish


class FinishTests(SynchronousTestCase):
    """All of it at once."""

    def test_the_result_comes_back(self) -> None:
        """However many pieces there are, none among them."""

        def work(count: int) -> Pieces[str]:
            for _ in range(count):
                yield
            return "done"

        for count in (0, 1, 5):
            self.assertEqual(finish(work(count)), "done")

    def test_what_it_raises_comes_through(self) -> None:
        """An error in a later piece is the caller's."""

        def work() -> Pieces[None]:
            yield
            raise KeyError("x")

        self.assertRaises(KeyError, finish, work())
