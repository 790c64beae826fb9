"""
Processor time, from the kernel's own accounting in ``/proc``.

A proxy is counted whole: the process that was started, all its threads, all that descend
from it, and those of them that have ended in between and been waited for.

Source: proc(5), ``/proc/PID/stat`` and ``/proc/stat``.
"""

from __future__ import annotations

import os
from pathlib import Path

import attrs

TICK = 1.0 / os.sysconf("SC_CLK_TCK")
"""Seconds that one unit of these counts stands for; the least that can be told apart."""

_PPID, _UTIME, _STIME, _CUTIME, _CSTIME = 1, 11, 12, 13, 14
"""Where these stand after the name of the program, which may hold anything."""

_IDLE, _IOWAIT, _STEAL = 3, 4, 7


def used(root: int) -> float:
    """
    Return the seconds that a process and all below it have used, in user mode and kernel.

    Raises:
        ProcessLookupError: it is gone.
    """
    table = _processes()
    if root not in table:
        raise ProcessLookupError(f"process {root} is gone")
    below: dict[int, list[int]] = {}
    for pid, fields in table.items():
        below.setdefault(fields[0], []).append(pid)
    ticks, waiting = 0, [root]
    while waiting:
        pid = waiting.pop()
        ticks += sum(table[pid][1:])
        waiting += below.get(pid, [])
    return ticks * TICK


def _processes() -> dict[int, tuple[int, ...]]:
    """Return each process's parent and its four times."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = _fields((entry / "stat").read_text(errors="replace"))
            except (FileNotFoundError, ProcessLookupError):
                continue
            found[int(entry.name)] = fields
    return found


def _fields(stat: str) -> tuple[int, ...]:
    rest = stat.rpartition(")")[2].split()
    return tuple(int(rest[place]) for place in (_PPID, _UTIME, _STIME, _CUTIME, _CSTIME))


@attrs.frozen
class Core:
    """What one core has done since it was started, in seconds."""

    busy: float
    stolen: float
    """The hypervisor let another machine run instead; part of ``busy``."""


def core(number: int) -> Core:
    """Return the counts of a core."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *rest = line.split()
        if name == f"cpu{number}":
            # What guests have used, the last two, is in the user's time already.
            counts = [int(each) for each in rest[:8]]
            busy = sum(counts) - counts[_IDLE] - counts[_IOWAIT]
            return Core(busy * TICK, counts[_STEAL] * TICK)
    raise LookupError(f"no core {number}")
