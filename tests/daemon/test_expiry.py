"""Promises of pomeriumd.daemon.expiry: each certificate's end is told, once for each step."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.task import Clock
from twisted.logger import LogEvent, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.expiry import (
    DAY,
    LOOK_SECONDS,
    MOST_NAMED,
    Expiries,
    Expiring,
    ExpiryLog,
    expiries_of,
)
from pomeriumd.daemon.frames import header
from pomeriumd.settings.values import CertificatePair, Secret
from tests.support.certificates import END, issue, leaf
from tests.support.memory import framed, memory
from tests.support.settings import make_settings

END_1 = 100 * DAY


def one(name: str, expires: float = END_1) -> Expiring:
    """Return a certificate."""
    return Expiring(f"certs/{name}.pem", name, expires)


def said(events: Sequence[LogEvent]) -> list[tuple[str, str]]:
    """Return level and subject of what was said."""
    return [
        (event["log_level"].name, f"{event.get('title', event.get('count'))}: {event['when']}")
        for event in events
    ]


class LogTests(SynchronousTestCase):
    """At 30, 14, 7 and 1 days, and at the end."""

    def setUp(self) -> None:
        """Begin on the first day."""
        self.clock = Clock()
        self.log = ExpiryLog(self.clock, self.clock.seconds)
        self.log.startService()
        self.addCleanup(self.log.stopService)

    def pass_days(self, days: int) -> None:
        """Let days pass, looking as often as it does."""
        self.clock.pump([LOOK_SECONDS] * round(days * DAY / LOOK_SECONDS))

    def test_each_step_once(self) -> None:
        """A certificate that nobody renews is told of five times, the last three as errors."""
        with capturedLogs() as events:
            self.log.take(Expiries((one("a.test"),)))
            self.pass_days(120)
        end = "1970-04-11 00:00 UTC"
        self.assertEqual(
            said(events),
            [
                ("warn", f"a.test: expires on {end}, in less than 30 days"),
                ("warn", f"a.test: expires on {end}, in less than 14 days"),
                ("error", f"a.test: expires on {end}, in less than 7 days"),
                ("error", f"a.test: expires on {end}, in less than 1 day"),
                ("error", f"a.test: expired on {end}"),
            ],
        )

    def test_the_last_step_alone(self) -> None:
        """One that is new and near its end is told of once."""
        self.clock.advance(END_1 - 3 * DAY)
        with capturedLogs() as events:
            self.log.take(Expiries((one("a.test"),)))
        ((level, text),) = said(events)
        self.assertEqual((level, text[-19:]), ("error", "in less than 7 days"))

    def test_reloads(self) -> None:
        """Nothing is said again; a renewed one is another, and starts anew."""
        self.clock.advance(END_1 - 3 * DAY)
        with capturedLogs() as events:
            for _ in range(3):
                self.log.take(Expiries((one("a.test"), one("b.test", END_1 + 1))))
            self.log.take(Expiries((one("b.test", END_1 + 1), one("a.test", END_1 * 2))))
            self.pass_days(1)
        self.assertEqual([event["title"] for event in events], ["a.test", "b.test"])

    def test_those_without_a_name(self) -> None:
        """Of very many it is told how many they are."""
        expiries = Expiries((), (END_1, END_1 + 1, END_1 * 2))
        with capturedLogs() as events:
            self.log.take(expiries)
            self.pass_days(75)
            self.log.take(expiries)
        self.assertEqual(said(events), [("warn", "2: expire in less than 30 days")])
        with capturedLogs() as events:
            self.pass_days(26)
        self.assertEqual([text for _, text in said(events)][-1], "2: have expired")


class ExpiriesTests(SynchronousTestCase):
    """Those that expire first have a name."""

    def test_sorted(self) -> None:
        """By the end; what cannot be read is left out."""
        soon = issue("b.test", end=END.replace(year=2030), title="b.test")
        bad = CertificatePair(chain=b"", key=Secret(b""), place="bad")
        found = expiries_of([leaf("a.test").pair("1"), bad, soon.pair("2")])
        self.assertEqual(
            [(each.place, each.title) for each in found.named], [("2", "b.test"), ("1", "a.test")]
        )
        self.assertEqual((found.others, found.count), ((), 2))

    def test_bounded(self) -> None:
        """However many there are."""
        pairs = [leaf("a.test").pair(str(number)) for number in range(MOST_NAMED + 3)]
        found = expiries_of(pairs)
        self.assertEqual((len(found.named), len(found.others)), (MOST_NAMED, 3))
        self.assertEqual(found.others[0], END.timestamp())

    def test_they_travel(self) -> None:
        """Who reads the header of settings has them, and no certificate."""
        settings = make_settings(certificates=(leaf("a.test").pair("1"),))
        found = header(memory(self, framed(settings)))
        self.assertEqual(found.settings.certificates, ())
        self.assertEqual([each.title for each in found.expiries.named], ["a.test"])
