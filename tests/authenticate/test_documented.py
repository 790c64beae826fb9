"""docs/sessions.md explains every check that authenticate and the route hosts name."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parents[2]


class DocumentedTests(SynchronousTestCase):
    """The page, the log and the manual share one word for each check."""

    def test_every_check_is_in_the_table(self) -> None:
        """A word that a failed sign-in's page shows is a row of the manual's table."""
        named: set[str] = set()
        for package in ("authenticate", "session"):
            for file in (ROOT / "pomeriumd" / package).glob("*.py"):
                source = file.read_text("utf-8")
                named.update(
                    re.findall(
                        r'(?:LoginFailed|super\(\).__init__)\(\s*[^,]+,\s*"([a-z-]+)"', source
                    )
                )
        self.assertLessEqual({"state-cookie", "login-cookie", "provider-error"}, named)
        manual = (ROOT / "docs" / "sessions.md").read_text("utf-8")
        rows = set(re.findall(r"^\| `([a-z-]+)` \|", manual, re.MULTILINE))
        # This one is of the identity provider's answer; its page says what it means.
        self.assertEqual(named - {"id-token-subject"} - rows, set())
