"""The reasons for which a connection is not read."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.net.pauses import Pauses


class PausesTests(SynchronousTestCase):
    """Reading stops with the first reason and goes on with the last."""

    def test_first_and_last_are_told(self) -> None:
        """Two reasons, one of them twice: one stop, one going on."""
        pauses = Pauses()
        self.assertEqual([pauses.add(why) for why in "aba"], [True, False, False])
        self.assertEqual([pauses.drop(why) for why in "bab"], [False, True, False])

    def test_a_reason_that_is_not_there_changes_nothing(self) -> None:
        """Dropping what was never added does not let reading go on."""
        pauses = Pauses()
        self.assertFalse(pauses.drop("a"))
        pauses.add("a")
        self.assertFalse(pauses.drop("b"))
        self.assertEqual(pauses.reasons, {"a"})
