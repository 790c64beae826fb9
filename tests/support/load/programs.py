"""Programs that run beside the test: started, listened to, ended."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[3]

PATIENCE = 60.0
"""Seconds that a program may take to say what it is waited for to say."""


def until(found: Callable[[], Any], patience: float = PATIENCE) -> None:
    """Return as soon as this is true; for what nobody tells us of."""
    pause = threading.Event()
    ends = time.monotonic() + patience
    while not found():
        if time.monotonic() > ends:
            raise AssertionError(f"it did not come about in {patience:g} s")
        pause.wait(0.02)


class Said:
    """The lines that a program says, kept as they come."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.lines: list[str] = []
        self._process = process
        self._ended = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self.lines.append(line.decode(errors="backslashreplace").rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def count(self, words: str) -> int:
        """Return how many lines have these words."""
        with self._news:
            return sum(words in line for line in self.lines)

    def until(self, words: str, times: int = 1, patience: float = PATIENCE) -> str:
        """Return the line that has these words for so many times, once it is there."""

        def found() -> list[str]:
            return [line for line in self.lines if words in line]

        with self._news:
            self._news.wait_for(lambda: self._ended or len(found()) >= times, patience)
            lines = found()
        if len(lines) < times:
            raise AssertionError(
                f"{len(lines)} times {words!r} in:\n" + "\n".join(self.lines[-60:])
            )
        return lines[times - 1]

    def all(self) -> list[str]:
        """Return every line, once the program has ended."""
        self._thread.join(PATIENCE)
        return self.lines


class Program:
    """One of the programs of this package."""

    def __init__(self, name: str, *arguments: object) -> None:
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"tests.support.load.{name}", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        self.said = Said(self.process)

    def __enter__(self) -> Self:
        """Give it."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it, if it has not ended."""
        self.release()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.said.all()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def release(self) -> None:
        """End its standard input: it may come to its end."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def told(self, patience: float = PATIENCE) -> dict[str, Any]:
        """Return what it said when it ended."""
        self.process.wait(patience)
        lines = self.said.all()
        if not lines:
            raise AssertionError(f"{self.name} said nothing")
        told: dict[str, Any] = json.loads(lines[-1])
        return told


def told_by(name: str, *arguments: object, patience: float = PATIENCE) -> dict[str, Any]:
    """Run a program to its end, and return what it said."""
    with Program(name, *arguments) as program:
        return program.told(patience)


class Upstream(Program):
    """The application behind the proxy."""

    def __init__(self, *arguments: Sequence[object]) -> None:
        super().__init__("upstream", *arguments)
        self.port = int(self.said.until(""))


class Probe(Program):
    """A well-behaved client at work; see there."""

    def __init__(self, port: int, authority: Path) -> None:
        super().__init__("probe", port, authority)

    def latency(self) -> dict[str, Any]:
        """End it, and return how long the answers took."""
        self.release()
        return self.told()


def latency(port: int, authority: Path, seconds: float) -> dict[str, Any]:
    """Return how long answers take while a probe of this many seconds asks for them."""
    with Probe(port, authority) as probe:
        threading.Event().wait(seconds)
        return probe.latency()
