"""All workers as one: the sums are those of a plain count, whatever becomes of workers."""

from __future__ import annotations

from collections import Counter

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.cells import Reading
from pomeriumd.daemon.merge import Totals
from pomeriumd.daemon.series import FAMILIES, NOW
from pomeriumd.daemon.tally import Tally
from tests.support.exchanges import compiled, ended
from tests.support.laws import examples

ROUTES = [compiled(f"app{number}.example.com") for number in range(3)]
NUMBERS = {
    **dict.fromkeys(NOW, 0.0),
    "connections": 2.0,
    "connections_limit": 10.0,
    "sessions": 1.0,
}


class Workers(RuleBasedStateMachine):
    """Workers that count, die and are replaced, beside a plain count of what they did."""

    @initialize()
    def begin(self) -> None:
        """Begin with two."""
        self.totals = Totals()
        self.live: list[tuple[Tally, Reading]] = []
        self.plain: Counter[tuple[str, str]] = Counter()
        self.cuts = 0
        self.before: dict[object, tuple[float, ...]] = {}
        self.start()
        self.start()

    @rule()
    def start(self) -> None:
        """One more."""
        tally = Tally()
        tally.set_now(NUMBERS)
        self.live.append((tally, Reading(tally.memory)))

    @precondition(lambda self: self.live)
    @rule(which=st.integers(0, 99), at=st.sampled_from(ROUTES), status=st.sampled_from([200, 502]))
    def count(self, which: int, at: object, status: int) -> None:
        """An exchange ends in one of them."""
        tally, _ = self.live[which % len(self.live)]
        tally.count([(ended(at, status=status), 0.01)])  # type: ignore[arg-type]
        self.plain[at.id, str(status)] += 1  # type: ignore[attr-defined]

    @precondition(lambda self: self.live)
    @rule(which=st.integers(0, 99))
    def cut(self, which: int) -> None:
        """A stream is cut in one of them."""
        self.live[which % len(self.live)][0].count_cut("denied")
        self.cuts += 1

    @precondition(lambda self: self.live)
    @rule(which=st.integers(0, 99))
    def die(self, which: int) -> None:
        """One is no more."""
        _, reading = self.live.pop(which % len(self.live))
        self.totals.ended(reading)

    @invariant()
    def sums_are_those_of_a_plain_count(self) -> None:
        """Counters are right and never go back; gauges are those of who lives."""
        merged = self.totals.merged(reading for _, reading in self.live)
        counted: Counter[tuple[str, str]] = Counter()
        for (family, labels), numbers in merged.items():
            if family == "exchange" and numbers[0]:
                counted[labels[0], labels[3]] += int(numbers[0])
            if FAMILIES[family].counts:
                earlier = self.before.get((family, labels), numbers)
                assert all(a <= b for a, b in zip(earlier, numbers, strict=True))
        assert counted == self.plain
        assert sum(n[0] for (family, _), n in merged.items() if family == "cut") == self.cuts
        assert merged.get(("now", ()), (0.0,))[0] == 2 * len(self.live)
        for series, numbers in self.before.items():
            assert series in merged or not any(numbers), series
        self.before = {
            series: numbers for series, numbers in merged.items() if FAMILIES[series[0]].counts
        }


TestWorkers = Workers.TestCase
TestWorkers.settings = examples(20, steps=30)


class BoundTests(SynchronousTestCase):
    """Many workers do not multiply what is kept."""

    def test_series_are_bounded_over_all_workers(self) -> None:
        """Routes that differ from worker to worker are the others in the end, and all count."""
        totals = Totals()
        for worker in range(4):
            made = [
                (("route", (f"r{worker}-{number}", "h")), (1.0,) * FAMILIES["route"].size)
                for number in range(FAMILIES["route"].most)
            ]
            totals.ended(made)
        merged = totals.merged([])
        self.assertEqual(len(merged), FAMILIES["route"].most + 1)
        self.assertEqual(merged["route", ("other", "other")][0], 3 * FAMILIES["route"].most)

    def test_what_cannot_be_is_left_out(self) -> None:
        """A worker that tells of families, labels or sizes that there are not is not believed."""
        totals = Totals()
        strange = [
            (("nothing", ()), (1.0,)),
            (("cut", ()), (1.0,)),
            (("cut", ("a", "b")), (1.0,)),
            (("cut", ("a",)), (1.0, 2.0)),
        ]
        totals.ended(strange)
        self.assertEqual(totals.merged([strange]), {})

    def test_a_worker_that_ends_during_the_sum_counts_once(self) -> None:
        """The sum is that of its first step: who ends after it is not added again."""
        tally = Tally()
        for number in range(600):
            tally.count([(ended(compiled(f"app{number}.example.com")), 0.01)])
        totals, reading = Totals(), Reading(tally.memory)
        sums: dict[tuple[str, tuple[str, ...]], tuple[float, ...]] = {}
        steps = totals.merging([reading], sums)
        next(steps)
        totals.ended(reading)
        for _ in steps:
            pass
        counted = sum(numbers[0] for (family, _), numbers in sums.items() if family == "exchange")
        self.assertEqual(counted, 600)
