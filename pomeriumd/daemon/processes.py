"""What a process uses, as the system tells (Linux, proc(5))."""

from __future__ import annotations

import os
from pathlib import Path

import attrs

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_PROC = Path("/proc")


@attrs.frozen
class Use:
    """What one process uses; None is what the system does not tell us."""

    cpu_seconds: float | None = None
    resident_bytes: int | None = None
    open_files: int | None = None
    most_files: int | None = None


def use_of(pid: int, proc: Path = _PROC) -> Use:
    """
    Return what a process uses now.

    Never raises: one that has ended, or that belongs to somebody else, has used nothing.
    """
    home = proc / str(pid)
    cpu, resident = _times_and_memory(home)
    return Use(cpu, resident, _open_files(home), _most_files(home))


def _times_and_memory(home: Path) -> tuple[float | None, int | None]:
    try:
        # The name comes second, in brackets, and may have brackets and blanks in it.
        words = (home / "stat").read_bytes().rpartition(b")")[2].split()
        return (int(words[11]) + int(words[12])) / _TICKS, int(words[21]) * _PAGE
    except (OSError, ValueError, IndexError):
        return None, None


def _open_files(home: Path) -> int | None:
    try:
        return len(os.listdir(home / "fd"))  # noqa: PTH208  # a Path for each would be waste
    except OSError:
        return None


def _most_files(home: Path) -> int | None:
    try:
        for line in (home / "limits").read_bytes().splitlines():
            if line.startswith(b"Max open files"):
                return int(line.split()[3])
    except (OSError, ValueError, IndexError):
        pass
    return None
