"""
A well-behaved client, a program: a request every ten milliseconds on one connection.

It ends when its standard input does, and then says how long the answers took.
"""

from __future__ import annotations

import json
import select
import sys
import time

from tests.support.load.wire import QUIET, Broken, Reader, dial, request

PACE = 0.01

LEAST = 20
"""Requests that it makes in any case: on a busy machine its time may be over before."""


def main(port: str, authority: str) -> None:
    """Ask until standard input ends."""
    took: list[float] = []
    failed = 0
    wire = dial(int(port), authority)
    reader = Reader(wire)
    ask = request("GET", "/small", host=QUIET)
    while not select.select([sys.stdin], [], [], PACE)[0] or len(took) + failed < LEAST:
        began = time.perf_counter()
        try:
            wire.sendall(ask)
            line, fields = reader.head()
            reader.body(fields, len)
        except (OSError, Broken):
            failed += 1
            wire = dial(int(port), authority)
            reader = Reader(wire)
            continue
        took.append(time.perf_counter() - began)
        failed += b" 200 " not in line
    took.sort()
    told = {
        "count": len(took),
        "failed": failed,
        "p50_ms": 1000 * took[len(took) // 2],
        "p99_ms": 1000 * took[len(took) * 99 // 100],
        "max_ms": 1000 * took[-1],
    }
    print(json.dumps(told), flush=True)  # noqa: T201  # read by who started us


if __name__ == "__main__":
    main(*sys.argv[1:])
