"""
Asks each worker every two milliseconds, a program: ``pings PORT CA PID...``.

It notes how long answers take: a worker whose loop is held up answers when it is let go. On a
busy machine it waits for a processor as well; so it is also noted how long the worker ran while
one answer was waited for, which is how long its loop was held up on a machine of its own. The
ends of its windows are as in ``callers``; so is its first word.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import defaultdict
from typing import Any

from tests.support.load import kernel
from tests.support.load.callers import FIRST, figures, say
from tests.support.load.each import Each, status_of
from tests.support.load.wire import HOST, Reader

PACE = 0.002


def _by_worker_and_window() -> dict[int, dict[str, list[float]]]:
    return defaultdict(lambda: defaultdict(list))


class Pings:
    """All of them."""

    def __init__(self) -> None:
        self.window = FIRST
        self.over = threading.Event()
        self.took = _by_worker_and_window()
        self.ran = _by_worker_and_window()
        self.failed = 0

    def run(self, pid: int, reader: Reader) -> None:
        """Ask one worker until the end."""
        try:
            while not self.over.wait(PACE):
                window = self.window
                began, ran = time.perf_counter(), kernel.ran_seconds(pid)
                status = status_of(reader, HOST, "/ping")
                self.took[pid][window].append(time.perf_counter() - began)
                self.ran[pid][window].append(kernel.ran_seconds(pid) - ran)
                self.failed += status != 200
        except Exception:
            self.failed += 1
            raise

    def told(self) -> dict[str, Any]:
        """Return what came of it: of each worker, by window."""
        return {
            "failed": self.failed,
            "workers": [
                {
                    window: {
                        **figures(sorted(took)),
                        "ran_ms": 1000 * max(self.ran[pid][window]),
                    }
                    for window, took in windows.items()
                }
                for pid, windows in self.took.items()
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
