"""Tests for pomeriumd.session.csrf."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.session.csrf import csrf_token, csrf_valid

KEYS = (b"\x07" * 32,)
OTHER = (b"\x08" * 32,)
OURS = {"session_id": "s1", "audience": "app:443", "action": "sign out"}
TOKEN = csrf_token(KEYS, **OURS)


class CsrfTests(SynchronousTestCase):
    """A form's token holds for its session, host and action."""

    def test_its_own(self) -> None:
        """The token that was put into the form is taken, also under a previous key."""
        self.assertTrue(csrf_valid(KEYS, TOKEN, **OURS))
        self.assertTrue(csrf_valid(OTHER + KEYS, TOKEN, **OURS))
        self.assertFalse(csrf_valid(OTHER, TOKEN, **OURS))

    def test_anothers(self) -> None:
        """Another session, host or action has another token."""
        for name in OURS:
            self.assertFalse(csrf_valid(KEYS, TOKEN, **{**OURS, name: "other"}))

    @given(st.text(st.characters(), max_size=50))
    def test_any_text(self, given: str) -> None:
        """A guess is refused and breaks nothing, surrogates among it."""
        self.assertEqual(csrf_valid(KEYS, given, **OURS), given == TOKEN)

    @given(st.lists(st.text("ab:1", max_size=4), min_size=3, max_size=3), st.integers(0, 9))
    def test_parts_do_not_run_together(self, parts: list[str], at: int) -> None:
        """Moving letters from one part to the next gives another token."""
        text = "".join(parts)
        other = [text[: at % 5], text[at % 5 : at], text[max(at, at % 5) :]]
        tokens = [
            csrf_token(KEYS, session_id=a, audience=b, action=c) for a, b, c in (parts, other)
        ]
        self.assertEqual(tokens[0] == tokens[1], parts == other)
