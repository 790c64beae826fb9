"""What our code logs while a test runs."""

from __future__ import annotations

from twisted.internet.testing import EventLoggingObserver
from twisted.logger import LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase


class Logged:
    """Keeps it, until the test ends."""

    def __init__(self, case: SynchronousTestCase) -> None:
        self._observer = EventLoggingObserver()
        globalLogPublisher.addObserver(self._observer)
        case.addCleanup(globalLogPublisher.removeObserver, self._observer)

    def lines(self, level: LogLevel = LogLevel.warn) -> list[str]:
        """Return the sentences of ours, from this level on."""
        return [
            formatEvent(event)
            for event in self._observer
            if event.get("log_namespace", "").startswith("pomeriumd.")
            and event["log_level"] >= level
        ]
