"""
Asks each worker every two milliseconds, a program: ``pings PORT CA PID...``.

It notes how long answers take: a worker whose loop is held up answers when it is let go. The
ends of its windows are as in ``callers``; so is its first word.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import defaultdict
from typing import Any

from tests.support.load.callers import FIRST, figures, say
from tests.support.load.each import Each, status_of
from tests.support.load.wire import HOST, Reader

PACE = 0.002


class Pings:
    """All of them."""

    def __init__(self) -> None:
        self.window = FIRST
        self.over = threading.Event()
        self.took: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self.failed = 0

    def run(self, pid: int, reader: Reader) -> None:
        """Ask one worker until the end."""
        try:
            while not self.over.wait(PACE):
                window = self.window
                began = time.perf_counter()
                status = status_of(reader, HOST, "/ping")
                self.took[pid][window].append(time.perf_counter() - began)
                self.failed += status != 200
        except Exception:
            self.failed += 1
            raise

    def told(self) -> dict[str, Any]:
        """Return what came of it: of each worker, by window."""
        return {
            "failed": self.failed,
            "workers": [
                {window: figures(sorted(each)) for window, each in took.items()}
                for took in self.took.values()
            ],
        }


def main(port: str, authority: str, *pids: str) -> None:
    """Ask until standard input ends."""
    pings = Pings()
    with Each(int(port), authority, [int(pid) for pid in pids]) as each:
        threads = [
            threading.Thread(target=pings.run, args=[pid, reader])
            for pid, reader in each.readers.items()
        ]
        for thread in threads:
            thread.start()
        say({"open": len(threads), "ports": []})
        for line in sys.stdin:
            pings.window = line.strip()
        pings.over.set()
        for thread in threads:
            thread.join()
    say(pings.told())


if __name__ == "__main__":
    main(*sys.argv[1:])
