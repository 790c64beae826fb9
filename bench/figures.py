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


TARGETS = (
    ("ours-auth-tls", "envoy-tls", 1.6),
    ("ours-auth-tls", "apache-tls", 0.6),
    ("ours-public-plain", "envoy-plain", 1.2),
)
"""Rung, against which, and the ratio that we promise."""


def figure(rung: str, samples: Sequence[Sample]) -> Figure:
    """Return the figure of a rung; with a fault in any round it is void."""
    faults = [
        f"round {number}: {fault}"
        for number, sample in enumerate(samples, 1)
        for fault in sample.faults
    ]
    costs = [sample.microseconds for sample in samples if sample.requests]
    return Figure(
        rung=rung,
        rounds=len(samples),
        microseconds=median(costs) if costs else 0.0,
        least=min(costs, default=0.0),
        most=max(costs, default=0.0),
        rate=median(sample.rate for sample in samples),
        p50=median(sample.p50 for sample in samples),
        p99=median(sample.p99 for sample in samples),
        others=median(sample.others for sample in samples),
        stolen=max(sample.stolen for sample in samples),
        faults=tuple(faults),
    )


def ratios(samples: Mapping[str, Sequence[Sample]]) -> list[Ratio]:
    """Return every ratio that these rungs give; a void figure gives none."""
    sound = {rung for rung, all_ in samples.items() if not figure(rung, all_).faults}
    pairs: list[tuple[str, str, float | None]] = [*TARGETS, *_versus(samples)]
    return [
        _ratio(of, to, samples, target) for of, to, target in pairs if of in sound and to in sound
    ]


def _versus(rungs: Mapping[str, object]) -> Iterator[tuple[str, str, None]]:
    for rung in rungs:
        if rung.startswith("vs-"):
            yield rung.replace("vs-", "ours-"), rung, None


def _ratio(
    of: str, to: str, samples: Mapping[str, Sequence[Sample]], target: float | None
) -> Ratio:
    above = [sample.microseconds for sample in samples[of]]
    below = [sample.microseconds for sample in samples[to]]
    each = [one / other for one, other in zip(above, below, strict=True)]
    return Ratio(
        of=of,
        to=to,
        value=median(above) / median(below),
        middle=median(each),
        least=min(each),
        most=max(each),
        target=target,
    )
