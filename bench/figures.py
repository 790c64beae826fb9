"""What the samples come to: medians, ranges, and the ratios that we hold ourselves to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

import attrs

from bench.rounds import Sample


@attrs.frozen(kw_only=True)
class Figure:
    """One rung, over all its rounds."""

    rung: str
    rounds: int
    starved: int
    """How many of the rounds are left out, since strangers had nearly all of the core."""
    microseconds: float
    least: float
    most: float
    rate: float
    p50: float
    p99: float
    others: float
    """Median of what strangers had of the proxy's core."""
    stolen: float
    """Most that the hypervisor took in one round."""
    faults: tuple[str, ...]
    """If there are any, every figure here is void."""


@attrs.frozen(kw_only=True)
class Ratio:
    """What one rung costs against another."""

    of: str
    to: str
    value: float
    """Of their medians."""
    middle: float
    """Median of the ratios round by round, which are of the same minute; ``least`` and
    ``most`` are of these as well."""
    least: float
    most: float
    target: float | None
    """At most so much; None where nothing is promised."""

    @property
    def met(self) -> bool | None:
        """Return whether the target is met; None without one."""
        return None if self.target is None else self.value <= self.target


@attrs.frozen(kw_only=True)
class Delay:
    """How much longer one rung lets wait than another, at the same rate."""

    of: str
    to: str
    value: float
    """Milliseconds between their medians."""
    middle: float
    """Median of the differences round by round; ``least`` and ``most`` are of these as well."""
    least: float
    most: float
    target: float
    """Milliseconds at most."""

    @property
    def met(self) -> bool:
        """Return whether the target is met."""
        return self.value <= self.target


TARGETS: tuple[tuple[str, str, float | None], ...] = (
    ("ours-auth-tls", "envoy-tls", 1.6),
    ("ours-auth-tls", "apache-tls", 0.6),
    ("ours-public-plain", "envoy-plain", 1.2),
    ("ours-many-plain", "ours-auth-plain", 1.1),
    ("ours-many-tls", "ours-auth-tls", 1.1),
    # Two processes on one core get into each other's caches, whoever they are: what it costs
    # that they are workers of one daemon shows beside two that are not.
    ("ours-two-workers-plain", "ours-two-apart-plain", 1.1),
    ("ours-two-workers-tls", "ours-two-apart-tls", 1.1),
    ("ours-two-workers-plain", "ours-auth-plain", None),
    ("ours-two-workers-tls", "ours-auth-tls", None),
    ("ours-two-apart-plain", "ours-auth-plain", None),
    ("ours-two-apart-tls", "ours-auth-tls", None),
    *((f"ours-rpc-kept{more}-plain", "ours-auth-plain", 1.05) for more in ("", "-of-three")),
    *((f"ours-rpc-kept{more}-tls", "ours-auth-tls", 1.05) for more in ("", "-of-three")),
    *((f"ours-rpc-each{more}-plain", "ours-auth-plain", None) for more in ("", "-of-three")),
    *((f"ours-rpc-each{more}-tls", "ours-auth-tls", None) for more in ("", "-of-three")),
)
"""Rung, against which, and the ratio that we promise; None where nothing is promised."""

DELAYS: tuple[tuple[str, str, float], ...] = tuple(
    (f"ours-rpc-each{more}-{side}", f"ours-auth-{side}", 1.5)
    for side in ("plain", "tls")
    for more in ("", "-of-three")
)
"""Rung, against which, and the milliseconds that we promise it adds to the median at most, at
a thousand requests a second."""


def figure(rung: str, samples: Sequence[Sample]) -> Figure:
    """
    Return the figure of a rung.

    With a fault in any round it is void, and so it is when most rounds were starved.
    """
    found = [
        f"round {number}: {fault}"
        for number, sample in enumerate(samples, 1)
        for fault in sample.faults
    ]
    sound = [sample for sample in samples if not sample.starved and not sample.faults]
    starved = sum(sample.starved for sample in samples)
    if 2 * starved > len(samples):
        found.append(f"strangers had the core in {starved} of {len(samples)} rounds")
    # A void figure tells no cost, whatever is left of its samples.
    counted = [] if found else sound
    costs = [sample.microseconds for sample in counted]
    return Figure(
        rung=rung,
        rounds=len(samples),
        starved=starved,
        microseconds=_middle(costs),
        least=min(costs, default=0.0),
        most=max(costs, default=0.0),
        rate=_middle([sample.rate for sample in counted]),
        p50=_middle([sample.p50 for sample in counted]),
        p99=_middle([sample.p99 for sample in counted]),
        others=median(sample.others for sample in samples),
        stolen=max(sample.stolen for sample in samples),
        faults=tuple(found),
    )


def _middle(numbers: Sequence[float]) -> float:
    return median(numbers) if numbers else 0.0


def ratios(samples: Mapping[str, Sequence[Sample]]) -> list[Ratio]:
    """Return every ratio that these rungs give; a void figure gives none."""
    figures = {rung: figure(rung, all_) for rung, all_ in samples.items()}
    sound = {rung: found for rung, found in figures.items() if not found.faults}
    pairs: list[tuple[str, str, float | None]] = [*TARGETS, *_versus(samples)]
    return [
        _ratio(sound[of], sound[to], samples, target)
        for of, to, target in pairs
        if of in sound and to in sound
    ]


def delays(samples: Mapping[str, Sequence[Sample]]) -> list[Delay]:
    """Return every delay that these rungs give; a void figure gives none."""
    figures = {rung: figure(rung, all_) for rung, all_ in samples.items()}
    sound = {rung for rung, found in figures.items() if not found.faults}
    found = []
    for of, to, target in DELAYS:
        if of in sound and to in sound:
            each = [
                one.p50 - other.p50
                for one, other in zip(samples[of], samples[to], strict=True)
                if not one.starved and not other.starved
            ]
            found.append(
                Delay(
                    of=of,
                    to=to,
                    value=figures[of].p50 - figures[to].p50,
                    middle=_middle(each),
                    least=min(each, default=0.0),
                    most=max(each, default=0.0),
                    target=target,
                )
            )
    return found


def _versus(rungs: Mapping[str, object]) -> Iterator[tuple[str, str, None]]:
    for rung in rungs:
        if rung.startswith("vs-"):
            yield rung.replace("vs-", "ours-"), rung, None


def _ratio(
    of: Figure, to: Figure, samples: Mapping[str, Sequence[Sample]], target: float | None
) -> Ratio:
    value = of.microseconds / to.microseconds
    each = [
        one.microseconds / other.microseconds
        for one, other in zip(samples[of.rung], samples[to.rung], strict=True)
        if not one.starved and not other.starved
    ]
    return Ratio(
        of=of.rung,
        to=to.rung,
        value=value,
        middle=_middle(each),
        least=min(each, default=0.0),
        most=max(each, default=0.0),
        target=target,
    )
