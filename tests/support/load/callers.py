"""
Well-behaved clients, a program: ``callers PORT CA KIND COUNT PACE``.

Each of ``COUNT`` clients asks for a word of its own every ``PACE`` seconds, on one connection
for as long as it lasts (``keep``) or on a new one each time (``fresh``), and checks that the
answer is that word. What it did not get is counted: exactly, and with the connection on which
it failed.

It says ``open``, with the clients' ports, when each has had an answer. A line on its standard
input begins a new window, by its name; with a number behind it so many of the clients hang up
then, and connect anew. The end of the input is the end.
"""

from __future__ import annotations

import itertools
import json
import ssl
import sys
import threading
import time
from collections import defaultdict
from typing import Any

from tests.support.load.wire import HOST, Broken, Reader, Wire, connected, request

PATIENCE = 60.0
"""Seconds without a byte after which an answer counts as one that never came."""

TOLD = 200
"""Failures that are told one by one; all of them are counted."""

FIRST = "first"
"""The window before any line has come."""


class Caller:
    """One client, and what came of its requests."""

    def __init__(self, number: int, crowd: Crowd) -> None:
        self.number = number
        self.crowd = crowd
        self.took: dict[str, list[float]] = defaultdict(list)
        """Seconds for each answer, by window."""
        self.asked = 0
        self.failed: list[tuple[int, str]] = []
        """Our port of the connection, and how it failed; port 0 is one that never came about."""
        self.port = 0
        self._reader: Reader | None = None

    def run(self) -> None:
        """Ask until the end."""
        for count in itertools.count():
            window = self.crowd.window
            if self.number in self.crowd.leaving:
                self.crowd.leaving.discard(self.number)
                self.hang_up()
            began = time.perf_counter()
            if self.one(f"{self.number}.{count}"):
                self.took[window].append(time.perf_counter() - began)
            if not count:
                self.crowd.begun.release()
            if self.crowd.over.wait(self.crowd.pace):
                break
        self.hang_up()

    def one(self, word: str) -> bool:
        """Ask once; say whether the answer was the right one."""
        self.asked += 1
        try:
            reader = self._reader or self.dial()
            reader.wire.sendall(request("GET", f"/say?word={word}"))
            line, fields = reader.head()
            pieces: list[bytes] = []
            reader.body(fields, lambda piece: pieces.append(bytes(piece)))
        except (OSError, Broken) as error:
            self.failed.append((self.port, f"{type(error).__name__}: {error}"))
            self.hang_up()
            return False
        said = b"".join(pieces)
        good = line == b"HTTP/1.1 200 OK" and said == word.encode()
        if not good:
            self.failed.append((self.port, f"{line!r} {said[:80]!r}"))
        # A server that is about to end may say so, and nobody has lost anything.
        if not self.crowd.keep or fields.get(b"connection", b"").lower() == b"close":
            self.hang_up()
        return good

    def dial(self) -> Reader:
        """Connect."""
        self.port = 0
        plain = connected(self.crowd.port, PATIENCE)
        self.port = plain.getsockname()[1]
        wire: Wire = self.crowd.context.wrap_socket(plain, server_hostname=HOST)
        self._reader = Reader(wire, 1 << 14)
        return self._reader

    def hang_up(self) -> None:
        """Close the connection, if there is one."""
        if self._reader is not None:
            self._reader.wire.close()
            self._reader = None


class Crowd:
    """All of them."""

    def __init__(self, port: int, authority: str, *, keep: bool, count: int, pace: float) -> None:
        self.port, self.keep, self.pace = port, keep, pace
        # One for all: loading the authority anew would take longer than the handshakes.
        self.context = ssl.create_default_context(cafile=authority)
        self.window = FIRST
        self.leaving: set[int] = set()
        """Numbers of those that are to hang up."""
        self.over = threading.Event()
        self.begun = threading.Semaphore(0)
        self.callers = [Caller(number, self) for number in range(count)]

    def run(self) -> None:
        """Ask until standard input ends."""
        threads = [threading.Thread(target=caller.run) for caller in self.callers]
        for thread in threads:
            thread.start()
        for _ in threads:
            self.begun.acquire()
        say({"open": len(threads), "ports": [caller.port for caller in self.callers]})
        for line in sys.stdin:
            self.window, *count = line.split()
            if count:
                self.leaving.update(range(int(count[0])))
        self.over.set()
        for thread in threads:
            thread.join()

    def told(self) -> dict[str, Any]:
        """Return what came of it."""
        failed = [failure for caller in self.callers for failure in caller.failed]
        # Who lost a connection waited for another one: that is not what the others had.
        others = [caller for caller in self.callers if not caller.failed or not self.keep]
        windows: dict[str, list[float]] = defaultdict(list)
        for caller in others:
            for window, took in caller.took.items():
                windows[window] += took
        answered = sum(len(took) for caller in self.callers for took in caller.took.values())
        return {
            "asked": sum(caller.asked for caller in self.callers),
            "answered": answered,
            "failed": len(failed),
            "failures": failed[:TOLD],
            "windows": {window: figures(sorted(took)) for window, took in windows.items()},
        }


def figures(took: list[float]) -> dict[str, float]:
    """Return what sorted times come to."""
    return {
        "count": len(took),
        "p50_ms": 1000 * took[len(took) // 2],
        "p99_ms": 1000 * took[len(took) * 99 // 100],
        "max_ms": 1000 * took[-1],
    }


def say(what: dict[str, Any]) -> None:
    """Say it to who started us."""
    print(json.dumps(what), flush=True)  # noqa: T201  # see above


def main(port: str, authority: str, kind: str, count: str, pace: str) -> None:
    """Ask until told to end, and say what came of it."""
    crowd = Crowd(int(port), authority, keep=kind == "keep", count=int(count), pace=float(pace))
    crowd.run()
    say(crowd.told())


if __name__ == "__main__":
    main(*sys.argv[1:])
