"""The clients: wrk, each with one thread and some connections, and what they counted."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import attrs

from bench.chain import HOST, SYSTEM_PATH, Core, find
from pomeriumd.cli.demo.children import die_with_parent

CONNECTIONS = 32
"""To each process that serves: what one turn of its loop finds to do decides what it costs."""

SCRIPT = Path(__file__).with_name("load.lua")

ERRORS = ("status", "connect", "read", "write", "timeout")
"""As wrk counts them."""

SPARE_SECONDS = 60
"""What wrk may take above the time of its load, to read its requests and to begin."""


@attrs.frozen(kw_only=True)
class Load:
    """What one run of wrk came to."""

    connections: int
    requests: int
    seconds: float
    p50: float
    """Milliseconds, as p99."""
    p99: float
    errors: Mapping[str, int]
    """How often what went wrong; only what did. ``status`` is an answer of 400 and above,
    the others are errors of sockets, ``timeout`` an answer that did not come in time."""


class LoadFailed(Exception):
    """wrk did not run to its end."""


def write(requests: Iterable[bytes], where: Path) -> None:
    """Write requests for the script; none of them may hold a NUL."""
    where.write_bytes(b"\0".join(requests))


def run(
    *,
    ports: Sequence[int],
    secure: bool,
    connections: int,
    seconds: int,
    requests: Path,
    core: Core,
) -> Load:
    """
    Put the load on: one client for each port, all at once.

    Args:
        ports: may name one more than once.
        secure: they are for TLS.
        connections: of each client.
        seconds: of the load.
        requests: a file of them, see ``write``.
        core: where the clients run.

    Raises:
        LoadFailed: wrk says why.
    """
    parent, libc = os.getpid(), ctypes.CDLL(None)
    clients: list[subprocess.Popen[str]] = []
    try:
        for port in ports:
            url = f"https://localhost:{port}/" if secure else f"http://{HOST}:{port}/"
            command = [
                *(find("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "5s"),
                *("-s", str(SCRIPT), url, "--", str(requests)),
            ]
            clients.append(
                subprocess.Popen(  # noqa: S603  # a command of our own
                    core.run(command),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    env={"PATH": SYSTEM_PATH},
                    start_new_session=True,
                    # Safe before exec: there is one thread, and it only makes system calls.
                    preexec_fn=lambda: die_with_parent(parent, libc),  # noqa: PLW1509
                )
            )
        said = [client.communicate(timeout=seconds + SPARE_SECONDS)[0] for client in clients]
    finally:
        for client in clients:
            client.kill()  # nothing happens to one that has ended
            client.wait()
    return together(
        [
            counted(text, client.returncode, connections)
            for client, text in zip(clients, said, strict=True)
        ]
    )


def counted(said: str, status: int, connections: int) -> Load:
    """
    Return what one client has counted.

    Raises:
        LoadFailed: it did not run to its end.
    """
    last = said.rstrip().rpartition("\n")[2]
    if status != 0 or not last.startswith("{"):
        raise LoadFailed(f"wrk ended with {status}:\n{said}")
    counts = json.loads(last)
    return Load(
        connections=connections,
        requests=counts["requests"],
        seconds=counts["microseconds"] / 1e6,
        p50=counts["p50"] / 1e3,
        p99=counts["p99"] / 1e3,
        errors={name: counts[name] for name in ERRORS if counts[name]},
    )


def together(loads: Sequence[Load]) -> Load:
    """Return loads of the same seconds as one; its times are those of who waited longest."""
    errors = sum((Counter(load.errors) for load in loads), Counter[str]())
    return Load(
        connections=sum(load.connections for load in loads),
        requests=sum(load.requests for load in loads),
        seconds=max(load.seconds for load in loads),
        p50=max(load.p50 for load in loads),
        p99=max(load.p99 for load in loads),
        errors=dict(errors),
    )
