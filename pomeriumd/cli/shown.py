"""
How the status of the daemon is shown to a person: 80 columns, the worst first.

Pure but for click's colours. Everything that came over the socket is made printable: a
terminal obeys what it is shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo

import click

from pomeriumd.answers.safe import printable
from pomeriumd.daemon.status import ReloadStatus, Status, WorkerStatus

UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))

LONGEST_AGE = 1e10
"""Seconds; three hundred years: what is older has no date, and is shown as a question mark."""

COLORS = {"serving": "green", "reserve": "green", "starting": "yellow", "stopping": "yellow"}
"""Of a worker's state; any other is red."""


def troubles(status: Status) -> list[str]:
    """Return what is not as it should be, though it serves; nothing is good."""
    found = []
    if status.last_reload is not None and status.last_reload.outcome == "refused":
        found.append("the last reload was refused")
    if status.autocert_missing:
        found.append(
            f"autocert: {_count(status.autocert_missing, 'name')} without a certificate yet; "
            "`pomeriumd check` names them, the log says why"
        )
    if not status.workers:
        found.append("there is no worker")
    found += [
        f"worker {worker.number} is {printable(worker.state)}"
        for worker in status.workers
        if worker.state != "serving"
    ]
    return found


def shown(status: Status, now: float, zone: tzinfo | None = None) -> str:
    """
    Return the status for a person.

    Args:
        status: what the daemon told.
        now: seconds since the epoch.
        zone: of the dates; None is this machine's.
    """
    return "\n".join(_lines(status, now, zone))


def _lines(status: Status, now: float, zone: tzinfo | None) -> Iterator[str]:
    wrong = troubles(status)
    yield (
        f"pomeriumd {printable(status.version)} ({printable(status.services)}), "
        f"pid {status.pid}: "
        + (click.style("serving", fg="green") if not wrong else click.style("serving, but", "red"))
    )
    yield from (f"  {click.style(one, fg='red')}" for one in wrong)
    yield f"  up {age(now - status.started)}, since {date(status.started, zone)}"
    generation = status.generation
    yield ""
    yield (
        f"Generation {generation.number}, digest {printable(generation.digest)}: "
        f"{_count(generation.routes, 'route')}, in force for {age(now - generation.since)}"
    )
    if status.last_reload is None:
        yield "No reload yet"
    else:
        yield from reload_lines(status.last_reload, now)
    yield ""
    yield "Listens on"
    for listener in status.listeners:
        made = {"systemd": "from systemd", "bound": "bound at the start"}
        yield (
            f"  {printable(listener.address)}  ({printable(listener.name)}, "
            f"{made.get(listener.from_, printable(listener.from_))})"
        )
    yield ""
    yield from _table(status, now)
    yield ""
    yield (
        f"In all {_count(status.connections, 'connection')} of clients, "
        f"{_count(status.streams, 'stream')}"
    )


def reload_lines(last: ReloadStatus, now: float) -> Iterator[str]:
    """Return how a reload ended: what changed, or all that was wrong."""
    when = f"Last reload, {age(now - last.at)} ago: "
    if last.outcome == "refused":
        yield when + click.style("refused", fg="red") + "; the settings of before serve on"
        yield from (f"  {printable(line)}" for line in last.error.splitlines())
    elif last.outcome == "same":
        yield when + "the settings had not changed"
    else:
        yield when + printable(last.outcome)
        yield from (f"  {printable(line)}" for line in last.changes)


_HEADINGS = (
    *("#", "pid", "state", "since", "restarts", "conns", "streams", "sessions"),
    *("idle", "busy", "wait"),
)
_UPSTREAM = 8
"""The first column that is about upstreams."""


def _table(status: Status, now: float) -> Iterator[str]:
    workers = [*status.workers, *([] if status.reserve is None else [status.reserve])]
    rows = [_row(worker, now) for worker in status.workers]
    if status.reserve is not None:
        rows.append(("-", *_row(status.reserve, now)[1:]))  # it has no seat
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows, strict=True)]
    left = sum(widths[:_UPSTREAM]) + _UPSTREAM
    yield "Workers".ljust(left) + "  upstream"
    yield "  " + _padded(_HEADINGS, widths)
    for row, worker in zip(rows, workers, strict=True):
        color = COLORS.get(worker.state, "red")
        text = _padded(row, widths)
        before = widths[0] + 1 + widths[1] + 1
        state = text[before : before + widths[2]]
        yield f"  {text[:before]}{click.style(state, fg=color)}{text[before + widths[2] :]}"
    for worker in status.workers:
        if worker.state == "serving" and worker.generation != status.generation.number:
            yield f"  worker {worker.number} serves with generation {worker.generation} still"


def _row(worker: WorkerStatus, now: float) -> tuple[str, ...]:
    upstream = worker.upstream
    return (
        str(worker.number),
        str(worker.pid or "-"),
        printable(worker.state)[:12],
        age(now - worker.since),
        *map(str, (worker.restarts, worker.connections, worker.streams, worker.sessions)),
        *map(str, (upstream.idle, upstream.busy, upstream.waiting)),
    )


def _padded(row: tuple[str, ...], widths: list[int]) -> str:
    """Return a row with its numbers to the right, and its one text to the left."""
    return " ".join(
        cell.ljust(width) if index == 2 else cell.rjust(width)  # noqa: PLR2004  # the state
        for index, (cell, width) in enumerate(zip(row, widths, strict=True))
    )


def age(seconds: float) -> str:
    """Return a time that has passed, as a person says it: ``3d4h``, ``5m12s``, ``0s``."""
    if not -LONGEST_AGE < seconds < LONGEST_AGE:
        return "?"
    rest = max(int(seconds), 0)
    for index, (unit, size) in enumerate(UNITS[:-1]):
        if rest >= size:
            below, small = UNITS[index + 1]
            more = rest % size // small
            return f"{rest // size}{unit}" + (f"{more}{below}" if more else "")
    return f"{rest}s"


def date(moment: float, zone: tzinfo | None) -> str:
    """Return a date with its offset: ``2026-11-27 07:14:02 +0000``."""
    if not 0 <= moment < LONGEST_AGE:
        return "?"
    return datetime.fromtimestamp(moment, UTC).astimezone(zone).strftime("%Y-%m-%d %H:%M:%S %z")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
