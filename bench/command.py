"""The command line of ``make bench``."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from bench import figures, report, rounds, rungs, stand, surroundings, verify
from bench.apache import LoginFailed
from bench.load import LoadFailed
from bench.ours import Checkout
from bench.rounds import Sample
from bench.rungs import Rung
from bench.stand import Lane
from pomeriumd.cli.demo.children import ChildEnded, Children, Stopped, stop_on_signals
from pomeriumd.cli.demo.pki import present

ROOT = Path(__file__).parent.parent

CHART = Path(__file__).with_name("chart.py")


@click.command("bench")
@click.option("--rungs", "names", default="", help="Which, with commas; all if left out.")
@click.option("--rounds", "count", default=5, show_default=True, type=click.IntRange(1, 1000))
@click.option("--seconds", default=5, show_default=True, type=click.IntRange(1, 600))
@click.option(
    "--vs",
    "versus",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Another checkout with its own .venv, measured beside this one.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=ROOT / "bench" / "results",
    help="Where JSON and chart go; bench/results if left out.",
)
@click.option(
    "--tools",
    type=click.Path(file_okay=False, path_type=Path),
    default=ROOT / "build" / "bench",
    help="The environment with Envoy and matplotlib.",
)
def command(
    names: str, count: int, seconds: int, versus: Path | None, out: Path, tools: Path
) -> None:
    """Measure what a request costs, ours and others', in one run."""
    try:
        wanted = rungs.chosen(names, versus=versus is not None)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    packages = rungs.missing(wanted)
    if packages:
        sys.exit(f"bench: programs are missing: apt-get install {' '.join(packages)}")
    checkouts = {"ours": Checkout(ROOT)}
    if versus is not None:
        checkouts["vs"] = Checkout(versus.resolve())
    for checkout in checkouts.values():
        if not checkout.program("twistd").exists():
            sys.exit(f"bench: no twistd in {checkout.root}/.venv: make venv there first")
    children = Children()
    stop_on_signals()
    try:
        _run(children, wanted, checkouts, count, seconds, out, tools)
    except Stopped:
        sys.exit("\nbench: stopped; nothing is written")
    except (ChildEnded, LoadFailed, LoginFailed, LookupError, verify.Wrong) as error:
        sys.exit(f"\nbench: {error}")
    finally:
        children.stop()


def _run(
    children: Children,
    wanted: list[Rung],
    checkouts: dict[str, Checkout],
    count: int,
    seconds: int,
    out: Path,
    tools: Path,
) -> None:
    began = present()
    about: dict[str, Any] = {
        "began": began.isoformat(timespec="seconds"),
        "commits": {name: surroundings.commit(each.root) for name, each in checkouts.items()},
        "rounds": count,
        "seconds": seconds,
        "machine": surroundings.machine(),
        "versions": surroundings.versions(_envoy(wanted, tools)),
    }
    # The children end before their directory goes.
    with tempfile.TemporaryDirectory(prefix="pomeriumd-bench-") as place:
        try:
            put_up = stand.put_up(children, Path(place), wanted, checkouts, tools, click.echo)
            verify.every(put_up)
            click.echo(f"every rung does its work; {len(wanted)} rungs, {count} rounds ...")
            samples = rounds.run(put_up, count, seconds, _tell)
        finally:
            children.stop()
    ended = [figures.figure(name, all_) for name, all_ in samples.items()]
    ratios = figures.ratios(samples)
    click.echo(f"\n{report.table(ended)}\n\n{report.ratio_lines(ratios)}\n")
    _write(report.as_json(about, ended, ratios, samples), out, f"{began:%Y-%m-%dT%H%M%S}", tools)


def _write(text: str, out: Path, stem: str, tools: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    where = out / f"{stem}.json"
    where.write_text(text)
    click.echo(f"wrote {where}")
    python = tools / "bin" / "python"
    if not python.exists():
        click.echo(f"no chart: no {python}; `make bench` installs it", err=True)
        return
    chart = where.with_suffix(".png")
    try:
        subprocess.run([python, CHART, where, chart], check=True, timeout=120)  # noqa: S603
    except subprocess.SubprocessError as error:
        # The figures are told and written: a chart can be drawn of them at any time.
        click.echo(f"no chart: {error}", err=True)
        return
    click.echo(f"wrote {chart}")


def _envoy(wanted: list[Rung], tools: Path) -> Path | None:
    return rungs.envoy_in(tools) if any(rung.proxy == "envoy" for rung in wanted) else None


def _tell(number: int, lane: Lane, sample: Sample) -> None:
    said = "; ".join(sample.faults) or (
        f"{sample.microseconds:7.1f} µs {sample.rate:9,.0f}/s  others {sample.others:.0%}"
        f"{'  left out' if sample.starved else ''}"
    )
    click.echo(f"  round {number + 1}  {lane.rung.name:<18} {said}")
