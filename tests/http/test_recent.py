"""Tests for pomeriumd.http.recent: what is remembered, and for how long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.http.recent import OFFERS, Recent

keys = st.integers(0, 30)


class RecentTests(SynchronousTestCase):
    """Recent gives back what was put, or nothing."""

    @given(st.lists(st.integers(0, 12), min_size=31, max_size=31), st.lists(keys, max_size=200))
    def test_never_another_value_and_never_too_much(
        self, sizes: list[int], puts: list[int]
    ) -> None:
        """What is found is what the key stands for, and the bounds hold whatever is put."""
        recent: Recent[int, tuple[int, int]] = Recent(8, 40)
        for key in puts:
            value = (key, sizes[key])
            self.assertIn(recent.get(key, sizes[key]), (None, value))
            recent.put(key, value, sizes[key])
            self.assertLessEqual(len(recent), 8)
            self.assertLessEqual(len(recent._offered), 4 * OFFERS)
            self.assertLessEqual(sum(recent._young[k][1] for k in recent._young), 20)

    @given(keys, st.lists(keys, max_size=300))
    def test_what_is_in_use_stays(self, used: int, others: list[int]) -> None:
        """Strangers' entries do not push out one that is looked up now and then."""
        recent: Recent[int, str] = Recent(8, 1000)
        for _ in range(2):
            recent.put(used, "mine", 1)
        for count, other in enumerate(others):
            recent.put(100 + other, "theirs", 1)
            if count % 3 == 0:
                self.assertEqual(recent.get(used, 1), "mine")

    def test_what_is_too_large_is_not_kept(self) -> None:
        """A value over half of the bound would push out all others."""
        recent: Recent[str, int] = Recent(8, 100)
        for _ in range(2):
            recent.put("large", 1, 51)
        self.assertIsNone(recent.get("large", 51))

    def test_what_comes_once_is_not_kept(self) -> None:
        """However many strangers come once, nothing of theirs takes anybody's place."""
        recent: Recent[int, str] = Recent(8, 1000)
        for key in (1, 2, 1, 2):
            recent.put(key, "in use", 1)
        for stranger in range(100, 10_100):
            recent.put(stranger, "once", 1)
        self.assertEqual([recent.get(key, 1) for key in (1, 2)], ["in use"] * 2)
        self.assertEqual(len(recent), 2)
