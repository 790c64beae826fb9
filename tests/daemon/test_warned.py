"""What of the settings was not taken as it stands is told."""

from __future__ import annotations

from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.frames import header
from pomeriumd.daemon.warned import warn_of
from pomeriumd.settings.check import check
from tests.support.memory import framed, memory
from tests.support.settings_files import authorize, minimal, route, tree


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

    def test_who_is_not_verified(self) -> None:
        """All routes with tls_skip_verify are one line, which names ten of them."""
        routes = [
            route(prefix=f"/{number}", to="https://a.internal", tls_skip_verify=True)
            for number in range(12)
        ]
        with capturedLogs() as events:
            warn_of(check(tree(minimal(policy=[route(), *routes[:1]]))))
            warn_of(check(tree(minimal(policy=routes))))
        one, many = (formatEvent(event) for event in events)
        self.assertEqual(
            one,
            "tls_skip_verify: certificates are not verified, so whoever stands between can be the "
            "application, at policy[1] (https://a.internal); set tls_custom_ca instead",
        )
        self.assertEqual(many.count("https://a.internal"), 10)
        self.assertIn(" and 2 more; ", many)
