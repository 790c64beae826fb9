"""Tests of pomeriumd.daemon.warned and unserved: what settings say that is not done so."""

from __future__ import annotations

from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.frames import header
from pomeriumd.daemon.tree import first_of
from pomeriumd.daemon.warned import warn_of
from pomeriumd.errors import SettingsError
from pomeriumd.settings.check import check
from tests.support.memory import framed, memory
from tests.support.settings_files import SHARED_SECRET, authorize, minimal, tree


class WarnedTests(SynchronousTestCase):
    """warn_of() tells the log."""

    def test_what_was_moved(self) -> None:
        """An address that was moved is one warning, also once it came by frames."""
        settings = header(memory(self, framed(check(tree(authorize()))))).settings
        with capturedLogs() as events:
            warn_of(settings)
            warn_of(check(tree(minimal())))
        (event,) = events
        self.assertEqual(event["log_level"], LogLevel.warn)
        self.assertTrue(event["warning"].startswith("address: moved from :443 to :5443"))


class UnservedTests(SynchronousTestCase):
    """The daemon does not start with settings that would not hold."""

    def test_refused(self) -> None:
        """Roles by themselves are refused by name; all of them are not."""
        with self.assertRaises(SettingsError) as caught:
            first_of(check(tree(authorize())), "", {})
        self.assertIn("services: not yet: authorize; want all", str(caught.exception))
        good = check(tree(minimal(shared_secret=SHARED_SECRET)))
        self.assertEqual(first_of(good, "d", {}).settings, good)
