"""
Whole lines on their way out of the process, in order and bounded.

A sink takes what it can without waiting: a reader of our standard output that stands
still (a stuck pipe, a full disk) costs lines, never requests.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
import syslog
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import attrs

WAITING = 1 << 20
"""Bytes that may wait for a sink that takes none; later lines are dropped and counted."""

ROTATE = 100_000_000
"""Size in bytes at which a log file of ours is rotated (twistd's own 1 MB holds minutes)."""

KEPT = 10
"""Rotated files kept: a log that nobody looks after ends at about a gigabyte."""

PATIENCE = 1.0
"""Seconds that the last lines may take at shutdown, about."""

_ROUNDS = 16
"""Attempts within that time: a pipe of 64 KiB takes all that waits in as many."""

_ATOMIC = select.PIPE_BUF
"""Bytes that a pipe takes without blocking once poll() calls it writable (POSIX)."""


class Sink(Protocol):
    """Where lines go."""

    def write(self, octets: bytearray) -> int:
        """Take what can be taken without waiting, and return how many bytes that was."""

    def wait(self, seconds: float) -> None:
        """Return when the sink takes more, or when the time is over."""

    def close(self) -> None:
        """Let go of what the sink opened itself."""


class Descriptor:
    """
    A sink for an open descriptor that is not ours alone: standard output.

    The non-blocking flag belongs to the open file, which a shell may share with us: set
    there, it would break the shell's own reads and writes. So a pipe or terminal is
    opened once more for us alone, and a socket (the journal) is told at each send.
    """

    def __init__(self, fd: int) -> None:
        mode = os.fstat(fd).st_mode
        self._fd = fd
        self._own: int | None = None
        self._socket: socket.socket | None = None
        self._plain = stat.S_ISREG(mode)
        if stat.S_ISSOCK(mode):
            self._socket = socket.socket(fileno=os.dup(fd))
        elif not self._plain:
            # Not where the pipe belongs to somebody else (a container's runtime).
            with contextlib.suppress(OSError):
                flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
                self._own = os.open(f"/proc/self/fd/{fd}", flags)
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    def write(self, octets: bytearray) -> int:
        """Take what can be taken without waiting, and return how many bytes that was."""
        if self._socket is not None:
            return self._socket.send(octets, socket.MSG_DONTWAIT)
        if self._own is not None:
            return os.write(self._own, octets)
        if self._plain:
            return os.write(self._fd, octets)
        taken = 0
        while taken < len(octets) and self._poll.poll(0):
            taken += os.write(self._fd, octets[taken : taken + _ATOMIC])
        return taken

    def wait(self, seconds: float) -> None:
        """Return when the sink takes more, or when the time is over."""
        self._poll.poll(seconds * 1000)

    def close(self) -> None:
        """Close what was opened here; the descriptor itself stays open."""
        if self._own is not None:
            os.close(self._own)
        if self._socket is not None:
            self._socket.close()


class LogFile:
    """
    A sink for a file of ours, rotated by size or on demand.

    On demand (SIGUSR1, as with twistd's own log) it looks first whether the file is
    still there under its name: where logrotate has moved it away, a new one is opened.

    Args:
        path: absolute, since twistd changes the working directory.
    """

    def __init__(self, path: Path, *, rotate: int = ROTATE, kept: int = KEPT) -> None:
        self._path = path
        self._rotate = rotate
        self._kept = kept
        self._wanted = False
        self._open()

    def _open(self) -> None:
        # Access lines name people: nobody but the owner and the group reads them.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._fd = os.open(self._path, flags, 0o640)
        self._size = os.fstat(self._fd).st_size

    def turn(self) -> None:
        """Rotate or reopen with the next line; safe in a signal handler."""
        self._wanted = True

    def write(self, octets: bytearray) -> int:
        """Take all of it, or as much as the disk has room for."""
        if self._wanted or self._size >= self._rotate:
            self._wanted = False
            self._begin_anew()
        taken = os.write(self._fd, octets)
        self._size += taken
        return taken

    def _begin_anew(self) -> None:
        before = self._fd
        # Where the directory is not ours any more (after twistd gave up root) the old
        # file goes on; the next attempt comes a whole file later.
        self._size = 0
        with contextlib.suppress(OSError):
            if self._is_in_place():
                for number in range(self._kept - 1, 0, -1):
                    with contextlib.suppress(FileNotFoundError):
                        self._numbered(number).replace(self._numbered(number + 1))
                self._path.replace(self._numbered(1))
            self._open()
            # A daemon's umask is tighter: who may read the log may read the next one, too.
            os.fchmod(self._fd, stat.S_IMODE(os.fstat(before).st_mode))
            os.close(before)

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._fd))
        except FileNotFoundError:
            return False

    def wait(self, seconds: float) -> None:
        """Return at once: waiting does not empty a disk."""

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


class Syslog:
    """A sink for twistd's ``--syslog``: one message a line, facility daemon."""

    def __init__(self, prefix: str) -> None:
        syslog.openlog(prefix, syslog.LOG_PID, syslog.LOG_DAEMON)

    def write(self, octets: bytearray) -> int:
        """Hand over every line."""
        for line in octets.decode("utf-8", "backslashreplace").splitlines():
            syslog.syslog(line)
        return len(octets)

    def wait(self, seconds: float) -> None:
        """Return at once: syslog(3) keeps nobody waiting."""

    def close(self) -> None:
        """Close the connection to the log daemon."""
        syslog.closelog()


@attrs.define
class Lines:
    """
    Lines in order, gathered until flush(); when the sink blocks, counted instead.

    Args:
        sink: where they go.
        tell_dropped: gives the line that tells how many were dropped. It is written
            once, when the sink takes lines again.
    """

    _sink: Sink
    _tell_dropped: Callable[[int], bytes]
    # One buffer, not a list of lines: kept lines cost more memory traffic than copies.
    _waiting: bytearray = attrs.Factory(bytearray)
    _untold: int = 0
    """Lines that were dropped, and of which the log does not tell yet."""
    blocked: bool = False
    """The sink did not take all of the last flush."""
    dropped: int = 0
    """Lines that were dropped since the start."""

    @property
    def size(self) -> int:
        """Return how many bytes wait."""
        return len(self._waiting)

    def add(self, line: bytes) -> int:
        """Put one or more, with their line feeds, behind the others; return the bytes that wait."""
        waiting = self._waiting
        if len(waiting) + len(line) > WAITING:
            count = line.count(b"\n") or 1
            self._untold += count
            self.dropped += count
        else:
            waiting += line
        return len(waiting)

    def flush(self) -> bool:
        """Write what the sink takes now, and tell whether that was all. Never raises."""
        self._write()
        if not self._waiting and self._untold:
            untold, self._untold = self._untold, 0
            self.add(self._tell_dropped(untold))
            self._write()
        self.blocked = bool(self._waiting)
        return not self.blocked

    def _write(self) -> None:
        waiting = self._waiting
        # Disk full, reader gone, reader asleep: lines wait for better days, bounded.
        with contextlib.suppress(OSError):
            while waiting:
                taken = self._sink.write(waiting)
                if not taken:
                    return
                # A line cut here goes on from this byte, so that no line is torn.
                del waiting[:taken]

    def drain(self) -> None:
        """Write the last lines, waiting for a slow sink a bounded time."""
        for _ in range(_ROUNDS):
            if self.flush():
                return
            self._sink.wait(PATIENCE / _ROUNDS)

    def close(self) -> None:
        """Drain, and close the sink; nothing may come after it."""
        self.drain()
        with contextlib.suppress(OSError):
            self._sink.close()
