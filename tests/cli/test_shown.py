"""What a person is shown of the status."""

from __future__ import annotations

import re
import textwrap
from datetime import UTC
from pathlib import Path

import attrs
import click
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.cli.shown import age, date, shown, troubles
from pomeriumd.daemon.status import (
    GenerationStatus,
    ListenerStatus,
    ReloadStatus,
    Status,
    UpstreamStatus,
    WorkerStatus,
)

ROOT = Path(__file__).parents[2]
NOW = 1_795_764_842.0
WORKER = WorkerStatus(
    number=1,
    pid=4711,
    state="serving",
    since=NOW - 7_500,
    generation=3,
    connections=120,
    streams=7,
    sessions=42,
    upstream=UpstreamStatus(idle=3, busy=9, opening=1),
)
STATUS = Status(
    version="0.1.0",
    services="all",
    pid=4700,
    started=NOW - 270_000,
    generation=GenerationStatus(digest="0123456789abcdef", number=3, since=NOW - 312, routes=12),
    last_reload=ReloadStatus(at=NOW - 312, outcome="good", changes=("route a is new",)),
    listeners=(ListenerStatus(name="address", address="127.0.0.1:8443", from_="bound"),),
    workers=(WORKER, attrs.evolve(WORKER, number=2, pid=4712, restarts=1)),
    reserve=WorkerStatus(
        number=3, pid=4713, state="reserve", since=NOW - 7_000, generation=3, restarts=1
    ),
    connections=240,
    streams=14,
)


def plain(status: Status) -> str:
    """Return what is shown without its colours."""
    return click.unstyle(shown(status, NOW, UTC))


class ShownTests(SynchronousTestCase):
    """shown() is one screen."""

    maxDiff = None

    def test_all_of_it(self) -> None:
        """Everything that there is to know, in order."""
        self.assertEqual(
            plain(STATUS),
            """\
pomeriumd 0.1.0 (all), pid 4700: serving
  up 3d3h, since 2026-11-24 04:34:02 +0000

Generation 3, digest 0123456789abcdef: 12 routes, in force for 5m12s
Last reload, 5m12s ago: good
  route a is new

Listens on
  127.0.0.1:8443  (address, bound at the start)

Workers                                                upstream
  #  pid state   since restarts conns streams sessions idle busy wait
  1 4711 serving  2h5m        0   120       7       42    3    9    0
  2 4712 serving  2h5m        1   120       7       42    3    9    0
  - 4713 reserve 1h56m        1     0       0        0    0    0    0

In all 240 connections of clients, 14 streams""",
        )

    def test_the_manual(self) -> None:
        """The screen in docs/operating.md is what is shown."""
        screen = textwrap.indent(plain(STATUS), "    ")
        self.assertIn(f"\n{screen}\n", (ROOT / "docs" / "operating.md").read_text())

    def test_a_refused_reload(self) -> None:
        """It stands at the top, and its error is shown in full where it happened."""
        error = (
            "2 problems in the settings:\n  policy[0].from (line 3): " + "x" * 200 + "\n  to: no"
        )
        status = attrs.evolve(
            STATUS, last_reload=ReloadStatus(at=NOW, outcome="refused", error=error)
        )
        text = plain(status)
        self.assertIn("serving, but\n  the last reload was refused\n", text)
        self.assertIn("Last reload, 0s ago: refused; the settings of before serve on\n", text)
        for line in error.splitlines():
            self.assertIn(f"\n  {line}\n", text)

    def test_a_worker_that_does_not_serve(self) -> None:
        """It is named at the top."""
        resting = WorkerStatus(number=2, state="resting", since=NOW)
        text = plain(attrs.evolve(STATUS, workers=(WORKER, resting)))
        self.assertIn("serving, but\n  worker 2 is resting\n", text)
        self.assertIn("\n  2    - resting    0s ", text)

    def test_names_without_a_certificate(self) -> None:
        """They are counted at the top, and where to look is said."""
        for count, text in ((1, "1 name"), (3, "3 names")):
            status = attrs.evolve(STATUS, autocert_missing=count)
            self.assertEqual(
                troubles(status),
                [
                    (
                        f"autocert: {text} without a certificate yet; `pomeriumd check` names "
                        "them, the log says why"
                    )
                ],
            )

    def test_a_reserve_that_is_not_there(self) -> None:
        """It shows in the table, and is no trouble: all that should serve do."""
        resting = WorkerStatus(number=3, state="resting", since=NOW)
        status = attrs.evolve(STATUS, reserve=resting)
        self.assertIn("\n  -    - resting    0s ", plain(status))
        self.assertEqual(troubles(status), [])

    def test_none_in_reserve(self) -> None:
        """Where a single process serves there is nothing to tell of one."""
        text = plain(attrs.evolve(STATUS, workers=(WORKER,), reserve=None))
        self.assertNotIn("\n  - ", text)

    def test_a_worker_behind(self) -> None:
        """One that has not swapped yet is named under the table."""
        behind = attrs.evolve(WORKER, number=2, generation=2)
        text = plain(attrs.evolve(STATUS, workers=(WORKER, behind)))
        self.assertIn("\n  worker 2 serves with generation 2 still\n", text)

    def test_eighty_columns(self) -> None:
        """A busy host of many workers fits on a terminal."""
        busy = WorkerStatus(
            number=64,
            pid=4_194_304,
            state="starting",
            since=NOW - 99 * 86_400 - 23 * 3_600,
            restarts=999,
            connections=50_000,
            streams=50_000,
            sessions=10_000,
            upstream=UpstreamStatus(idle=9_999, busy=9_999, waiting=9_999),
        )
        text = plain(attrs.evolve(STATUS, workers=(busy,) * 64))
        self.assertLessEqual(max(map(len, text.splitlines())), 80)

    def test_an_empty_status(self) -> None:
        """A document of another version that says nothing is shown all the same."""
        text = plain(Status())
        self.assertIn("serving, but\n  there is no worker\n", text)
        self.assertIn("No reload yet", text)

    @given(st.text(), st.floats(), st.integers())
    def test_no_escapes(self, text: str, moment: float, number: int) -> None:
        """Whatever came over the socket, the terminal is told to do nothing by it."""
        status = Status(
            version=text,
            services=text,
            started=moment,
            generation=GenerationStatus(digest=text, number=number, since=moment),
            last_reload=ReloadStatus(at=moment, outcome=text, error=text, changes=(text,)),
            listeners=(ListenerStatus(name=text, address=text, from_=text),),
            workers=(WorkerStatus(state=text, since=moment),),
        )
        for outcome in (text, "refused"):
            one = attrs.evolve(
                status, last_reload=ReloadStatus(outcome=outcome, error=text, changes=(text,))
            )
            told = re.sub("\x1b\\[(?:0|31|32|33)m", "", shown(one, NOW, UTC))
            self.assertIsNone(re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", told), told)


class TroublesTests(SynchronousTestCase):
    """troubles() decides the exit status."""

    def test_none(self) -> None:
        """All well: also before the first reload, and when one had nothing to do."""
        for last in (None, ReloadStatus(outcome="same"), ReloadStatus(outcome="good")):
            self.assertEqual(troubles(attrs.evolve(STATUS, last_reload=last)), [])

    def test_each_state(self) -> None:
        """Every state but ``serving`` is one, also those that nobody has heard of."""
        for state in ("starting", "stopping", "resting", "", "dreaming"):
            status = attrs.evolve(STATUS, workers=(attrs.evolve(WORKER, state=state),))
            self.assertEqual(troubles(status), [f"worker 1 is {state}"])


class TimesTests(SynchronousTestCase):
    """age() and date() are for people."""

    def test_ages(self) -> None:
        """Two units at the most, and the smaller one only if there is any of it."""
        for seconds, wanted in (
            (-5, "0s"),
            (0, "0s"),
            (59.9, "59s"),
            (60, "1m"),
            (61, "1m1s"),
            (3_600, "1h"),
            (90_000, "1d1h"),
            (86_400 * 400, "400d"),
            (float("nan"), "?"),
            (float("inf"), "?"),
        ):
            self.assertEqual(age(seconds), wanted)

    def test_dates_that_are_none(self) -> None:
        """What is no moment is a question mark."""
        for moment in (-1.0, float("nan"), float("inf"), 1e300):
            self.assertEqual(date(moment, UTC), "?")
