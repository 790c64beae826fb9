"""Tests for pomeriumd.daemon.noticed."""

from __future__ import annotations

from twisted.logger import LogEvent, Logger, LogLevel
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.noticed import REMEMBERED, Noticed, Sharing
from tests.support.logged import Logged


class NoticedTests(SynchronousTestCase):
    """One log for what several workers see."""

    def setUp(self) -> None:
        """Nothing was said."""
        self.noticed = Noticed()
        self.logged, self.read = Logged(self), 0

    def said(self) -> list[str]:
        """Return what stands in the log since the last time."""
        lines = self.logged.lines(LogLevel.info)[self.read :]
        self.read += len(lines)
        return lines

    def test_all_of_them_see_it(self) -> None:
        """What every worker tells is one line, of the level that it was told with."""
        for process in (11, 12, 13):
            self.noticed.hear(process, "warn", "authorize 10.0.0.1:443: refuses connections")
        self.noticed.hear(11, "info", "decides again")
        self.assertEqual(len(self.logged.lines(LogLevel.warn)), 1)
        self.assertEqual(
            self.said(), ["authorize 10.0.0.1:443: refuses connections", "decides again"]
        )

    def test_it_happens_again(self) -> None:
        """A worker that tells it a second time has seen it a second time; whoever is first."""
        for process in (11, 12, 12, 11):
            self.noticed.hear(process, "info", "decides again")
        self.assertEqual(self.said(), ["decides again"] * 2)

    def test_one_that_comes_later(self) -> None:
        """A worker that is new and sees what the others have seen has no news."""
        for process in (11, 12, 99):
            self.noticed.hear(process, "warn", "down")
        self.assertEqual(self.said(), ["down"])

    def test_what_was_measured(self) -> None:
        """A clock that one finds 299 s ahead and the other 300 s is one clock."""
        for process, seconds in ((11, 299), (12, 300)):
            self.noticed.hear(process, "warn", f"its clock is {seconds} s ahead of ours")
        self.assertEqual(self.said(), ["its clock is 299 s ahead of ours"])

    def test_bounded(self) -> None:
        """What was said longest ago is forgotten, and would be said again."""
        for number in range(REMEMBERED + 1):
            self.noticed.hear(11, "warn", f"line {number}")
        self.said()
        self.noticed.hear(12, "warn", f"line {REMEMBERED}")
        self.noticed.hear(12, "warn", "line 0")
        self.assertEqual(self.said(), ["line 0"])


class SharingTests(SynchronousTestCase):
    """What a worker does with its own log."""

    def setUp(self) -> None:
        """Have a worker's log, and a supervisor that hears."""
        self.kept: list[LogEvent] = []
        self.told: list[tuple[str, str]] = []
        self.hears = True
        self.sharing = Sharing(self.kept.append, self.tell)

    def tell(self, level: str, text: str, otherwise: object) -> None:
        """Be the line to the supervisor."""
        if self.hears:
            self.told.append((level, text))
        else:
            assert callable(otherwise)
            otherwise()

    def log(self, namespace: str) -> None:
        """Write a line."""
        Logger(namespace, observer=self.sharing).warn("{what} is down", what="it")

    def test_what_all_of_them_notice(self) -> None:
        """It is told, and not written twice."""
        for namespace in ("pomeriumd.rpc.replica", "pomeriumd.daemon.build_headers"):
            self.log(namespace)
        self.assertEqual((self.told, self.kept), ([("warn", "it is down")] * 2, []))

    def test_what_is_its_own(self) -> None:
        """It stays in its own log."""
        self.log("pomeriumd.daemon.serving")
        self.assertEqual((self.told, len(self.kept)), ([], 1))

    def test_nobody_hears(self) -> None:
        """A worker whose supervisor is gone writes it itself."""
        self.hears = False
        self.log("pomeriumd.rpc.replica")
        self.assertEqual(len(self.kept), 1)
