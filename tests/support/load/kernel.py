"""What the kernel says of processes, and of the connections that they hold: proc(5)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs

PROC = Path("/proc")

_ESTABLISHED = "01"
_TICK = 1.0 / os.sysconf("SC_CLK_TCK")


@attrs.frozen
class Process:
    """One line of the table of processes."""

    pid: int
    parent: int
    session: int
    state: str
    """``Z`` has ended, and nobody has asked how."""


def processes() -> list[Process]:
    """Return all there are."""
    found = []
    for entry in PROC.iterdir():
        if entry.name.isdecimal():
            try:
                words = _stat(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
            found.append(Process(int(entry.name), int(words[1]), int(words[3]), words[0]))
    return found


def children(pid: int) -> list[Process]:
    """Return those that it has started, the ended ones with them."""
    return [each for each in processes() if each.parent == pid]


def gone(pid: int) -> bool:
    """Return whether it has ended; one that only waits to be asked how has."""
    try:
        return _stat(pid)[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def stopped(pid: int) -> bool:
    """Return whether it has been frozen."""
    return _stat(pid)[0] == "T"


def cpu_seconds(pid: int) -> float:
    """Return the processor time that it has used."""
    words = _stat(pid)
    return (int(words[11]) + int(words[12])) * _TICK


def ran_seconds(pid: int) -> float:
    """Return how long its first thread has run, to the nanosecond; see proc_pid_schedstat(5)."""
    return int((PROC / str(pid) / "schedstat").read_text().split()[0]) / 1e9


def waited_seconds(pid: int) -> float:
    """Return how long it was ready to run while others had the processor."""
    return int((PROC / str(pid) / "schedstat").read_text().split()[1]) / 1e9


def memory(pid: int, name: str) -> int:
    """Return bytes: ``VmRSS`` is what it holds, ``VmHWM`` what it has held at the most."""
    for line in (PROC / str(pid) / "status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    raise AssertionError(f"no {name} in the status of process {pid}")


def descriptors(pid: int) -> Counter[str]:
    """Return how many it has open of each kind: ``tcp``, ``unix``, ``pipe``, a file's path ..."""
    lines = (PROC / "net" / "unix").read_text().splitlines()[1:]
    unix = {line.split()[6] for line in lines}
    found: Counter[str] = Counter()
    for said in _links(pid):
        kind, _, inode = said.partition(":[")
        if kind == "socket":
            kind = "unix" if inode.rstrip("]") in unix else "tcp"
        found[kind] += 1
    return found


def owners(port: int, pids: Iterable[int]) -> dict[int, int]:
    """
    Return whose the open connections are that came to a port.

    Args:
        port: where the processes listen.
        pids: of the processes.

    Returns:
        The client's port of each connection that one of them has accepted, and which one.
    """
    by_inode = {inode: there for here, there, inode in _tcp(_ESTABLISHED) if here == port}
    found = {}
    for pid in pids:
        for said in _links(pid):
            inode = said.removeprefix("socket:[").rstrip("]")
            if inode in by_inode:
                found[by_inode[inode]] = pid
    return found


def connections(port: int) -> int:
    """Return how many connections to a port are open on its side."""
    return sum(here == port for here, _, _ in _tcp(_ESTABLISHED))


def _stat(pid: int) -> list[str]:
    # The name, which may hold anything, comes before: the first word is the state.
    return (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()


def _links(pid: int) -> Iterator[str]:
    for link in (PROC / str(pid) / "fd").iterdir():
        try:
            yield str(link.readlink())
        except FileNotFoundError:
            continue


def _tcp(*states: str) -> Iterator[tuple[int, int, str]]:
    """Yield our port, theirs and the inode of each TCP socket."""
    for name in ("tcp", "tcp6"):
        for line in (PROC / "net" / name).read_text().splitlines()[1:]:
            words = line.split()
            if not states or words[3] in states:
                here, there = (int(words[at].rpartition(":")[2], 16) for at in (1, 2))
                yield here, there, words[9]
