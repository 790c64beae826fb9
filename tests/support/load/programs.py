"""Programs that run beside the test: started, listened to, ended."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from tests.support.processes import PATIENCE_SECONDS, Running

ROOT = Path(__file__).parents[3]


def until(found: Callable[[], Any], patience: float = PATIENCE_SECONDS) -> None:
    """Return as soon as this is true; for what nobody tells us of."""
    pause = threading.Event()
    ends = time.monotonic() + patience
    while not found():
        if time.monotonic() > ends:
            raise AssertionError(f"it did not come about in {patience:g} s")
        pause.wait(0.02)


class Program(Running):
    """One of the programs of this package."""

    def __init__(self, name: str, *arguments: object) -> None:
        words = (sys.executable, "-m", f"tests.support.load.{name}", *map(str, arguments))
        super().__init__(words, where=ROOT, fed=True)

    def told(self, patience: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """Return what it said when it ended."""
        self.wait(patience)
        if not self.lines:
            raise AssertionError(f"{self.command[2]} said nothing")
        told: dict[str, Any] = json.loads(self.lines[-1])
        return told


def told_by(name: str, *arguments: object, patience: float = PATIENCE_SECONDS) -> dict[str, Any]:
    """Run a program to its end, and return what it said."""
    with Program(name, *arguments) as program:
        return program.told(patience)


class Crowd(Program):
    """``callers`` or ``websockets``: at work until it is told to end."""

    opened: dict[str, Any]
    """What it said when all of them were at work."""

    def begun_all(self) -> Self:
        """Wait until all of them are at work."""
        self.opened = json.loads(self.until('"open"'))
        return self

    @property
    def ports(self) -> set[int]:
        """Return the clients' ports; those of connections that stay."""
        return set(self.opened["ports"])

    def result(self) -> dict[str, Any]:
        """End it, and return what came of it."""
        self.release()
        return self.told(patience=180)


class Upstream(Program):
    """The application behind the proxy."""

    def __init__(self, *arguments: Sequence[object]) -> None:
        super().__init__("upstream", *arguments)
        self.port = int(self.until(""))


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
