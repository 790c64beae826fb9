"""
Programs that run beside us: started together, ended together.

Each has a process group of its own, so that Ctrl-C reaches us alone and we end them in
order; and the kernel ends them when we die without a word.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep

import attrs

STOP_SECONDS = 4.0
"""The proxy may have streams open, and would let them end."""

STEP = 0.05
"""Seconds between two looks."""

LAST_LINES = 15
"""Lines of a child's log that are shown when it ends by itself."""

_PR_SET_PDEATHSIG = 1


class ChildEnded(Exception):
    """A child ended by itself, or did not get ready; the text tells which, and shows its log."""


class Stopped(Exception):
    """A signal asks us to end."""


def die_with_parent(parent: int, libc: ctypes.CDLL) -> None:
    """
    Have the kernel kill this process when its parent dies; for a child, before exec.

    Args:
        parent: process id of who starts us; it may be gone already.
        libc: loaded before the fork.
    """
    # SIGKILL, not SIGTERM: nobody is left to insist.
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


@attrs.frozen
class Program:
    """What to start, and how to tell that it is ready."""

    name: str
    command: Sequence[str]
    log: Path
    ready: Callable[[], bool]
    """Asked again and again; may raise OSError for no."""
    environment: Mapping[str, str]


@attrs.define
class Child:
    """A program that runs."""

    program: Program
    process: subprocess.Popen[bytes]

    def last_lines(self) -> str:
        """Return the end of its log."""
        try:
            with self.program.log.open(errors="backslashreplace") as file:
                lines = deque(file, maxlen=LAST_LINES)
        except OSError:
            return ""
        return "".join(f"    {line.rstrip()}\n" for line in lines)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all of its group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


@attrs.define
class Children:
    """
    All that run.

    Args:
        patience: seconds that all together get to end by themselves.
    """

    _patience: float = STOP_SECONDS
    _running: list[Child] = attrs.Factory(list)

    def start(self, program: Program) -> Child:
        """
        Start one, and return it.

        Raises:
            ChildEnded: there is no such program.
        """
        parent, libc = os.getpid(), ctypes.CDLL(None)
        try:
            with program.log.open("wb") as log:
                process = subprocess.Popen(  # noqa: S603  # commands of our own
                    program.command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=dict(program.environment),
                    start_new_session=True,
                    # Safe before exec: there is one thread, and it only makes system calls.
                    preexec_fn=lambda: die_with_parent(parent, libc),  # noqa: PLW1509
                )
        except OSError as error:
            raise ChildEnded(f"{program.name} cannot be started: {error}") from error
        child = Child(program, process)
        self._running.append(child)
        return child

    def wait_until_ready(self, seconds: float, tell: Callable[[Program], None]) -> None:
        """
        Return when every child is ready; tell of each one as it is.

        Raises:
            ChildEnded: one ended, or is not ready in time.
        """
        ends = monotonic() + seconds
        missing = list(self._running)
        while missing:
            self.check()
            for child in list(missing):
                with contextlib.suppress(OSError):
                    if child.program.ready():
                        missing.remove(child)
                        tell(child.program)
            if missing and monotonic() > ends:
                child = missing[0]
                raise ChildEnded(
                    f"{child.program.name} is not ready after {seconds:.0f} s; the end of its"
                    f" log:\n{child.last_lines()}"
                )
            if missing:
                sleep(STEP)

    def check(self) -> None:
        """
        Return while all run.

        Raises:
            ChildEnded: one does not.
        """
        for child in self._running:
            status = child.process.poll()
            if status is not None:
                how = f"status {status}" if status >= 0 else signal.Signals(-status).name
                raise ChildEnded(
                    f"{child.program.name} ended ({how}); the end of its log,"
                    f" {child.program.log}:\n{child.last_lines()}"
                )

    def watch(self) -> None:
        """
        Never return.

        Raises:
            ChildEnded: one ended by itself.
        """
        while True:
            self.check()
            sleep(4 * STEP)

    def stop(self) -> None:
        """End all, the last started first, and leave nothing running."""
        ends = monotonic() + self._patience
        for child in reversed(self._running):
            child.signal(signal.SIGTERM)
        for child in reversed(self._running):
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.0, ends - monotonic()))
        for child in reversed(self._running):
            # Also where it has ended: what it started may have stayed.
            child.signal(signal.SIGKILL)
            child.process.wait()
        self._running.clear()


def stop_on_signals() -> None:
    """Let SIGINT, SIGTERM and SIGHUP raise Stopped, once; after that they do nothing."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(number: int, _: object) -> None:
        # A second Ctrl-C must not leave half of the children behind.
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(signal.Signals(number).name)

    for number in numbers:
        signal.signal(number, stop)
