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
from bench.order import Order
from bench.ours import Checkout
from bench.rounds import Sample
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
    "--rate",
    type=click.IntRange(100, 100_000),
    help="Requests a second, and how long they wait; as fast as it goes if left out.",
)
@click.option(
    "--vs",
    "versus",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Another checkout with its own .venv, measured beside this one.",
)
@click.option(
    "--realtime",
    is_flag=True,
    help="Let proxies, client and upstream go before all others on the machine. Needs root.",
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
    names: str,
    count: int,
    seconds: int,
    rate: int | None,
    versus: Path | None,
    out: Path,
    tools: Path,
    *,
    realtime: bool,
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
    order = Order(
        rungs=wanted,
        rounds=count,
        seconds=seconds,
        rate=rate,
        checkouts=checkouts,
        realtime=realtime,
        tools=tools,
        out=out,
    )
    stop_on_signals()
    try:
        _run(order)
    except Stopped:
        sys.exit("\nbench: stopped")
    except (ChildEnded, LoadFailed, LoginFailed, LookupError, verify.Wrong) as error:
        sys.exit(f"\nbench: {error}")


def _run(order: Order) -> None:
    began = present()
    about: dict[str, Any] = {
        "began": began.isoformat(timespec="seconds"),
        "commits": {
            name: surroundings.commit(checkout.root) for name, checkout in order.checkouts.items()
        },
        "rounds": order.rounds,
        "seconds": order.seconds,
        "rate": order.rate,
        "realtime": order.realtime,
        "machine": surroundings.machine(),
        "versions": surroundings.versions(
            rungs.envoy_in(order.tools) if order.has("envoy") else None
        ),
    }
    children = Children()
    # The children end before their directory goes.
    with tempfile.TemporaryDirectory(prefix="pomeriumd-bench-") as place:
        try:
            put_up = stand.put_up(children, Path(place), order, click.echo)
            verify.every(put_up)
            click.echo(
                f"every rung does its work; {len(order.rungs)} rungs, {order.rounds} rounds ..."
            )
            samples = rounds.run(put_up, order, _tell)
        finally:
            children.stop()
    ended = [figures.figure(name, all_) for name, all_ in samples.items()]
    ratios = figures.ratios(samples) if order.rate is None else []
    delays = [] if order.rate is None else figures.delays(samples)
    lines = [*report.ratio_lines(ratios), *report.delay_lines(delays)]
    click.echo("\n".join(["", report.table(ended), "", *lines, ""]))
    text = report.as_json(about, ended, ratios, delays, samples)
    _write(text, order.out, f"{began:%Y-%m-%dT%H%M%S}", order.tools)


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


def _tell(number: int, lane: Lane, sample: Sample) -> None:
    said = "; ".join(sample.faults) or (
        f"{sample.microseconds:7.1f} µs {sample.rate:9,.0f}/s  others {sample.others:.0%}"
        f"{'  left out' if sample.starved else ''}"
    )
    click.echo(f"  round {number + 1}  {lane.rung.name:<18} {said}")
