"""Samples come to medians and ratios, and a single fault voids a figure."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from bench.figures import DELAYS, TARGETS, delays, figure, ratios
from bench.report import delay_lines, ratio_lines, table
from bench.rounds import Sample
from bench.rungs import every


def sample(microseconds: float, **more: Any) -> Sample:
    """Return a sample with such a cost."""
    given: dict[str, Any] = {
        "requests": 1_000_000,
        "seconds": 100.0,
        "processor_seconds": microseconds,
        "p50": 1.0,
        "p99": 2.0,
        "others": 0.0,
        "stolen": 0.0,
        "faults": (),
    }
    return Sample(**(given | more))


class FigureTests(SynchronousTestCase):
    """figure() is the middle of the rounds."""

    def test_median(self) -> None:
        """One round that a stranger has disturbed does not move it."""
        found = figure("envoy-tls", [sample(40), sample(42), sample(400)])
        self.assertEqual((found.microseconds, found.least, found.most), (42, 40, 400))

    def test_a_fault_voids_it(self) -> None:
        """A fault in one round is told with its round, and the table gives no figure."""
        samples = [sample(40), sample(41, faults=("2 errors: timeout",))]
        found = figure("envoy-tls", samples)
        self.assertEqual(found.faults, ("round 2: 2 errors: timeout",))
        last = table([found]).splitlines()[-1]
        self.assertEqual(last, "envoy-tls  void: round 2: 2 errors: timeout")

    def test_a_starved_round_is_left_out(self) -> None:
        """Where strangers had the core the cost of a request cannot be told."""
        starved = sample(0, requests=12, processor_seconds=0.01)
        found = figure("envoy-tls", [sample(40), starved, sample(42)])
        self.assertEqual((found.microseconds, found.starved, found.faults), (41, 1, ()))
        self.assertIn("1 of 3 rounds left out", table([found]))

    def test_mostly_starved(self) -> None:
        """What is left of a run in which strangers had the core is no figure."""
        starved = sample(0, requests=12, processor_seconds=0.01)
        found = figure("envoy-tls", [sample(40), starved, starved])
        self.assertEqual(found.faults, ("strangers had the core in 2 of 3 rounds",))

    def test_nothing_answered(self) -> None:
        """A rung that answered nothing has no cost to be divided by."""
        silent = sample(1, requests=0, faults=("no answer at all",))
        found = figure("envoy-tls", [silent])
        self.assertEqual(found.faults, ("round 1: no answer at all",))


class RatioTests(SynchronousTestCase):
    """ratios() holds us to what we promise."""

    def test_targets_are_rungs(self) -> None:
        """Every rung of a target exists; else the target would never be looked at."""
        names = {rung.name for rung in every(versus=False)}
        self.assertEqual({name for of, to, _ in TARGETS for name in (of, to)} - names, set())

    def test_met_and_missed(self) -> None:
        """A ratio at the target meets it, one above does not."""
        for cost, met in ((64, True), (65, False)):
            samples = {"ours-auth-tls": [sample(cost)], "envoy-tls": [sample(40)]}
            (ratio,) = ratios(samples)
            self.assertEqual((ratio.value, ratio.target, ratio.met), (cost / 40, 1.6, met))

    def test_of_medians(self) -> None:
        """The ratio is that of the medians; its middle and range are those of the rounds."""
        samples = {
            "ours-auth-tls": [sample(60), sample(90), sample(80)],
            "envoy-tls": [sample(40), sample(45), sample(80)],
        }
        (ratio,) = ratios(samples)
        self.assertEqual((ratio.value, ratio.middle), (80 / 45, 1.5))
        self.assertEqual((ratio.least, ratio.most), (1.0, 2.0))

    def test_pairs_of_one_round(self) -> None:
        """A round in which one side was starved makes no pair."""
        starved = sample(0, requests=12, processor_seconds=0.01)
        samples = {
            "ours-auth-tls": [sample(60), starved, sample(90)],
            "envoy-tls": [sample(40), sample(10), sample(30)],
        }
        (ratio,) = ratios(samples)
        self.assertEqual((ratio.value, ratio.least, ratio.most), (75 / 30, 1.5, 3.0))

    def test_a_void_figure_gives_none(self) -> None:
        """Neither side of a ratio may be void."""
        void = [sample(40, faults=("2 errors: read",))]
        sound = [sample(40)]
        for ours, envoy in ((void, sound), (sound, void)):
            self.assertEqual(ratios({"ours-auth-tls": ours, "envoy-tls": envoy}), [])

    def test_against_another_checkout(self) -> None:
        """Each rung of ours is compared with the same one of the other checkout."""
        samples = {"ours-auth-tls": [sample(50)], "vs-auth-tls": [sample(100)]}
        self.assertEqual(
            ratio_lines(ratios(samples)),
            ["ours-auth-tls / vs-auth-tls: 0.500  (round by round 0.500: 0.500 .. 0.500)"],
        )


class DelayTests(SynchronousTestCase):
    """delays() holds us to what a decision elsewhere may add to a request's time."""

    def test_delays_are_of_rungs(self) -> None:
        """Every rung of a delay exists; else it would never be looked at."""
        names = {rung.name for rung in every(versus=False)}
        self.assertEqual({name for of, to, _ in DELAYS for name in (of, to)} - names, set())

    def test_met_and_missed(self) -> None:
        """A delay at the target meets it, one above does not."""
        for p50, met in ((2.5, True), (2.75, False)):
            samples = {
                "ours-auth-tls": [sample(50, p50=1.0)],
                "ours-rpc-each-tls": [sample(200, p50=p50)],
            }
            (delay,) = delays(samples)
            self.assertEqual((delay.value, delay.target, delay.met), (p50 - 1, 1.5, met))

    def test_line(self) -> None:
        """The line tells the difference of the medians, and what the rounds differed by."""
        samples = {
            "ours-auth-tls": [sample(50, p50=1.0), sample(50, p50=1.0), sample(50, p50=2.0)],
            "ours-rpc-each-tls": [sample(200, p50=4.0), sample(200, p50=2.0), sample(200, p50=5.0)],
        }
        self.assertEqual(
            "\n".join(delay_lines(delays(samples))),
            "ours-rpc-each-tls - ours-auth-tls: p50 +3.00 ms"
            "  (round by round +3.00: +1.00 .. +3.00)  want +1.5 ms at most: MISSED",
        )

    def test_a_void_figure_gives_none(self) -> None:
        """Neither side of a delay may be void."""
        void, sound = [sample(40, faults=("2 errors: read",))], [sample(40)]
        for one, other in ((void, sound), (sound, void)):
            self.assertEqual(delays({"ours-auth-tls": one, "ours-rpc-each-tls": other}), [])
