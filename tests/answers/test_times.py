"""pomeriumd.answers.times: moments and spans in words."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.answers.times import Moment, moment, span


class SpanTests(SynchronousTestCase):
    """span() says how long, and never more than it is."""

    def test_words(self) -> None:
        """Each size of span has its words, singular and plural."""
        words = {
            -5: "less than a minute",
            0: "less than a minute",
            59.9: "less than a minute",
            60: "1 minute",
            600: "10 minutes",
            3599: "59 minutes",
            3600: "1 hour",
            5400: "1 hour 30 minutes",
            7260: "2 hours 1 minute",
            50400: "14 hours",
            86400: "1 day",
            90000: "1 day 1 hour",
            180000: "2 days 2 hours",
        }
        self.assertEqual({seconds: span(seconds) for seconds in words}, words)

    def test_endless(self) -> None:
        """Even infinity has words."""
        self.assertEqual(span(float("inf")), "2932896 days 23 hours")


class MomentTests(SynchronousTestCase):
    """moment() shows a time for machines, for people and from now."""

    def test_past(self) -> None:
        """A past moment was some time ago."""
        self.assertEqual(
            moment(1_763_870_000, 1_763_870_700.5),
            Moment("2025-11-23T03:53:20Z", "23 Nov 2025, 03:53 UTC", "11 minutes ago"),
        )

    def test_future(self) -> None:
        """A moment to come is in some time."""
        self.assertEqual(
            moment(1_767_225_600, 1_767_222_000),
            Moment("2026-01-01T00:00:00Z", "1 Jan 2026, 00:00 UTC", "in 1 hour"),
        )

    @given(st.integers(), st.floats(0, 1e12))
    def test_any_number_is_a_moment(self, when: int, now: float) -> None:
        """A number far outside every calendar does not stop the page."""
        self.assertRegex(moment(when, now).iso, r"\A[0-9]{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")
