"""A missing program skips a test on a desk, and fails it in CI."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

TESTS = """
import pytest

@pytest.mark.needs("sh")
def test_here(): pass

@pytest.mark.needs("sh", "no-such-program")
def test_not_here(): pass
"""


class NeedsTests(SynchronousTestCase):
    """The marker ``needs`` decides what a missing program means."""

    def outcome(self, **environment: str) -> str:
        """Run the two tests in a pytest of their own, and return its output."""
        place = Path(self.enterContext(tempfile.TemporaryDirectory()))
        (place / "conftest.py").write_text(Path(__file__).with_name("conftest.py").read_text())
        (place / "test_needs.py").write_text(TESTS)
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", "-rsf", "-p", "no:cacheprovider", str(place)],
            env={"PATH": os.environ["PATH"], **environment},
            cwd=place,
            capture_output=True,
            text=True,
            check=False,
        )
        return ran.stdout

    def test_on_a_desk(self) -> None:
        """The test is skipped, and the summary says what is missing."""
        out = self.outcome()
        self.assertIn("1 passed, 1 skipped", out)
        self.assertIn("not on this machine: no-such-program", out)

    def test_in_ci(self) -> None:
        """The test fails, and says who has to act."""
        out = self.outcome(CI="true")
        self.assertIn("1 passed, 1 error", out)
        self.assertIn("not on this machine: no-such-program; CI has to install it", out)
