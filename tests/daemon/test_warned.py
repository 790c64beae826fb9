"""What of the settings was not taken as it stands is told."""

from __future__ import annotations

from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.frames import header
from pomeriumd.daemon.warned import LeftOut, warn_of
from pomeriumd.settings.check import check
from tests.support.memory import framed, memory
from tests.support.settings_files import authorize, minimal, tree


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

    def test_certificates_come_and_go(self) -> None:
        """Each that cannot be used is told and counted when it becomes such, and its end is."""
        left_out = LeftOut()
        with capturedLogs() as events:
            for texts in (["a: x"], ["a: x", "b: y"], ["a: x", "b: y"], ["b: y"], ["a: x", "b: y"]):
                left_out.take(texts)
        self.assertEqual(
            [(event["log_level"].name, event["problem"]) for event in events],
            [("error", "a: x"), ("error", "b: y"), ("info", "a: x"), ("error", "a: x")],
        )
        self.assertEqual((left_out.failures, left_out.present), (3, {"a: x", "b: y"}))
