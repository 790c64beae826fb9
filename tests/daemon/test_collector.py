"""The collector and generations."""

from __future__ import annotations

import gc

from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.collector import left_alone


class LeftAloneTests(SynchronousTestCase):
    """What is made meanwhile is never looked at."""

    def setUp(self) -> None:
        """Put back what is frozen, in the end."""
        self.addCleanup(gc.unfreeze)

    def test_it_looks_at_nothing_meanwhile_and_at_nothing_of_it_afterwards(self) -> None:
        """It is off for that time, and then on, and what was made is not among its own."""
        with left_alone():
            self.assertFalse(gc.isenabled())
            made: list[list[int]] = [[]]
        self.assertTrue(gc.isenabled())
        self.assertFalse(any(one is made for one in gc.get_objects()))

    def test_a_failure_keeps_nothing(self) -> None:
        """It is on again, and looks at what was made until then."""
        made: list[list[int]] = []
        with self.assertRaises(KeyError), left_alone():
            made.append([])
            raise KeyError
        self.assertTrue(gc.isenabled())
        self.assertTrue(any(one is made for one in gc.get_objects()))

    def test_who_keeps_it_off_keeps_it_off(self) -> None:
        """Two at a time, or a process that never collects: the outer one decides."""
        gc.disable()
        self.addCleanup(gc.enable)
        with left_alone():
            pass
        self.assertFalse(gc.isenabled())
