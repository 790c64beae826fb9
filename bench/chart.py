"""
Draws the chart of one run: ``python chart.py RESULT.json CHART.png``.

It stands alone, since it runs in the environment that has matplotlib and nothing of ours.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")
from matplotlib import pyplot as plt

COLOURS = {"ours": "#1f6feb", "vs": "#8db9f5"}
OTHERS = "#9aa4af"


def main(result: Path, chart: Path) -> None:
    """Draw processor time for each request, rung by rung, with the range of the rounds."""
    told: dict[str, Any] = json.loads(result.read_text())
    rungs = [rung for rung in told["rungs"].values() if not rung["faults"]]
    sides = [
        [rung for rung in rungs if rung["rung"].endswith(f"-{side}")] for side in ("plain", "tls")
    ]
    rows = max(map(len, sides))
    figure, axes = plt.subplots(
        1, 2, figsize=(11, 1.4 + 0.36 * rows), sharex=True, layout="constrained"
    )
    for axis, side, title in zip(axes, sides, ("plain HTTP", "TLS 1.3"), strict=True):
        _bars(axis, side, title)
    at = told["commits"]["ours"]
    figure.suptitle(
        "Processor time of the proxy for one request, µs (median; line: least and most of"
        f" {told['rounds']} rounds)\n{told['machine']['processor']}, one core, commit {at}",
        fontsize=10,
    )
    figure.savefig(chart, dpi=110)


def _bars(axis: Any, rungs: list[dict[str, Any]], title: str) -> None:
    names = [rung["rung"].rpartition("-")[0] for rung in rungs]
    middle = [rung["microseconds"] for rung in rungs]
    below = [rung["microseconds"] - rung["least"] for rung in rungs]
    above = [rung["most"] - rung["microseconds"] for rung in rungs]
    colours = [COLOURS.get(name.partition("-")[0], OTHERS) for name in names]
    axis.barh(names, middle, color=colours, xerr=[below, above], error_kw={"ecolor": "#57606a"})
    for row, (value, more) in enumerate(zip(middle, above, strict=True)):
        axis.annotate(
            f"{value:.0f}", (value + more, row), (4, 0), textcoords="offset points", va="center"
        )
    axis.invert_yaxis()
    axis.set_title(title, fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
