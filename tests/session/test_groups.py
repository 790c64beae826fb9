"""Tests for pomeriumd.session.groups."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.session.claims import GROUP_COUNT
from pomeriumd.session.groups import GROUPS_SIZE, fitting

names = st.text('abcdeö"\\', min_size=1, max_size=9)


class FittingTests(SynchronousTestCase):
    """fitting() keeps a session within its bounds and loses no group that counts."""

    def test_all_of_them_if_they_fit(self) -> None:
        """A person with some groups keeps them, once each, in the provider's order."""
        self.assertEqual(fitting(["b", "a", "b", ""]), ("b", "a"))

    def test_a_person_in_thousands_of_groups(self) -> None:
        """The group that a policy names is there, wherever the provider lists it."""
        groups = [f"{n:036d}" for n in range(5_000)]
        kept = fitting([*groups, "admins"], {"admins"})
        self.assertEqual(kept[-1], "admins")
        self.assertGreater(len(kept), 100)

    @given(st.lists(names, max_size=2_000), st.sets(names, max_size=5))
    def test_is_bounded_and_in_order(self, groups: list[str], named: set[str]) -> None:
        """What is kept is a subsequence within the bounds."""
        kept = fitting(groups, named)
        rest = iter(dict.fromkeys(groups))
        self.assertTrue(all(group in rest for group in kept))
        self.assertLessEqual(len(orjson.dumps(kept)), GROUPS_SIZE + 2)
        self.assertLessEqual(len(kept), GROUP_COUNT)

    def test_what_json_escapes_counts_as_it_is_written(self) -> None:
        """Names full of quotes do not make a session that no URL can carry."""
        kept = fitting('"' * 250 + str(n) for n in range(40))
        self.assertLessEqual(len(orjson.dumps(kept)), GROUPS_SIZE + 2)
        self.assertGreater(len(kept), 10)

    def test_a_group_that_is_too_long_is_none(self) -> None:
        """What no token may hold is left out here."""
        self.assertEqual(fitting(["x" * 1025, "y"]), ("y",))
