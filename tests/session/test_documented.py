"""docs/sessions.md says what the code does."""

from __future__ import annotations

from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.session import handoff, login, pending, standing
from pomeriumd.session.cookies import PIECE_COUNT, PIECE_SIZE

MANUAL = (Path(__file__).parents[2] / "docs" / "sessions.md").read_text("utf-8")


class DocumentedTests(SynchronousTestCase):
    """The table of limits is the code's."""

    def test_every_limit_of_the_settings(self) -> None:
        """Each key stands in the table with its default."""
        keys = {
            "expire": ("`cookie_expire`", "14 h", 3600),
            "idle": ("`session_idle`", "1 h", 3600),
            "recheck": ("`session_recheck`", "10 min", 60),
            "recheck_max": ("`session_recheck_max`", "60 min", 60),
        }
        limits = attrs.asdict(standing.SessionLimits())
        self.assertEqual(limits.keys(), keys.keys())
        for name, (key, default, unit) in keys.items():
            self.assertIn(f"| {key} | {default} |", MANUAL)
            self.assertEqual(limits[name], float(default.split()[0]) * unit)

    def test_every_limit_that_is_fixed(self) -> None:
        """The other numbers of the manual are those of the code."""
        for text, value in (
            (f"| {pending.LOGIN_SECONDS // 60} min | leaving", 3600),
            (f"| {pending.LOGINS} a browser and host |", 8),
            (f"| {handoff.HANDOFF_SECONDS} s, once |", 60),
            (f"| {login.ROUNDS} sign-ins, each within {login.ROUND_SECONDS} s", 3),
            (f"A value over {PIECE_SIZE:,} bytes", PIECE_SIZE),
            (f"| Clocks apart | fixed | {standing.LEEWAY} s |", 60),
        ):
            self.assertIn(text, MANUAL, msg=str(value))
        self.assertEqual(PIECE_COUNT, 5)
        self.assertIn("up to five cookies", MANUAL)
