"""The figures for people, and for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from bench.figures import Delay, Figure, Ratio
from bench.rounds import Sample


def table(figures: Sequence[Figure]) -> str:
    """Return a table of all rungs."""
    width = max(len(figure.rung) for figure in figures)
    head = (
        f"{'rung':<{width}}  {'µs/request':>10}  {'(min .. max)':>16}  {'requests/s':>10}"
        f"  {'p50 ms':>7}  {'p99 ms':>7}  {'others':>6}"
    )
    lines = [head]
    for figure in figures:
        if figure.faults:
            lines.append(f"{figure.rung:<{width}}  void: {'; '.join(figure.faults)}")
            continue
        between = f"({figure.least:.1f} .. {figure.most:.1f})"
        lines.append(
            f"{figure.rung:<{width}}  {figure.microseconds:>10.1f}  {between:>16}"
            f"  {figure.rate:>10,.0f}  {figure.p50:>7.2f}  {figure.p99:>7.2f}"
            f"  {figure.others:>6.1%}"
            + (f"  {figure.starved} of {figure.rounds} rounds left out" if figure.starved else "")
        )
    return "\n".join(lines)


def ratio_lines(ratios: Sequence[Ratio]) -> list[str]:
    """Return a line for each ratio."""
    lines = []
    for ratio in ratios:
        line = (
            f"{ratio.of} / {ratio.to}: {ratio.value:.3f}"
            f"  (round by round {ratio.middle:.3f}: {ratio.least:.3f} .. {ratio.most:.3f})"
        )
        if ratio.target is not None:
            line += f"  want {ratio.target} at most: {'met' if ratio.met else 'MISSED'}"
        lines.append(line)
    return lines


def delay_lines(delays: Sequence[Delay]) -> list[str]:
    """Return a line for each delay."""
    return [
        f"{delay.of} - {delay.to}: p50 {delay.value:+.2f} ms"
        f"  (round by round {delay.middle:+.2f}: {delay.least:+.2f} .. {delay.most:+.2f})"
        f"  want {delay.target:+} ms at most: {'met' if delay.met else 'MISSED'}"
        for delay in delays
    ]


def as_json(
    surroundings: Mapping[str, Any],
    figures: Sequence[Figure],
    ratios: Sequence[Ratio],
    delays: Sequence[Delay],
    samples: Mapping[str, Sequence[Sample]],
) -> str:
    """Return everything, single samples included."""
    rungs = {
        figure.rung: {
            **attrs.asdict(figure),
            "samples": [
                {**attrs.asdict(sample), "microseconds": sample.microseconds}
                for sample in samples[figure.rung]
            ],
        }
        for figure in figures
    }
    told = {
        **surroundings,
        "rungs": rungs,
        "ratios": [{**attrs.asdict(ratio), "met": ratio.met} for ratio in ratios],
        "delays": [{**attrs.asdict(delay), "met": delay.met} for delay in delays],
    }
    return json.dumps(told, indent=1, ensure_ascii=False) + "\n"
