"""
The clients, and what they counted: wrk, each with one thread and some connections.

wrk asks as fast as it is answered. Where a rate is given it is ``bench.paced`` instead, and
its times run from when a request was due.
"""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from time import sleep
from typing import Any

import attrs

from bench.chain import HOST, SYSTEM_PATH, Core, find
from pomeriumd.cli.demo.children import die_with_parent

CONNECTIONS = 32
"""To each process that serves: what one turn of its loop finds to do decides what it costs."""

ROOT = Path(__file__).parent.parent

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
    clients: list[subprocess.Popen[str]] = []
    try:
        for port in ports:
            url = f"https://localhost:{port}/" if secure else f"http://{HOST}:{port}/"
            command = [
                *(find("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "5s"),
                *("-s", str(SCRIPT), url, "--", str(requests)),
            ]
            clients.append(_started(core.run(command), subprocess.DEVNULL))
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
    counts = _last(said, status)
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


def run_at(
    rate: int,
    *,
    port: int,
    authority: Path | None,
    connections: int,
    seconds: int,
    requests: Path,
    core: Core,
) -> Load:
    """
    Put so many requests a second on.

    Args:
        rate: of all connections together.
        port: of the proxy.
        authority: file with the authority to trust; None for plain HTTP.
        connections: how many.
        seconds: how long, from when each connection has had an answer.
        requests: file of them, see ``write()``.
        core: where the client runs.

    Raises:
        LoadFailed: the client says why.
    """
    order = {
        "address": HOST,
        "port": port,
        "authority": None if authority is None else str(authority),
        "name": "localhost",
        "connections": connections,
        "rate": rate,
        "requests": requests.read_bytes().decode("latin-1").split("\0"),
    }
    client = _started(core.run([sys.executable, "-m", "bench.paced"]), subprocess.PIPE)
    try:
        assert client.stdin is not None  # noqa: S101  # it is a pipe
        assert client.stdout is not None  # noqa: S101  # so is this
        client.stdin.write(json.dumps(order) + "\n")
        client.stdin.flush()
        # What comes instead of its word that all are open is told below.
        sleep(seconds if client.stdout.readline() else 0)
        said = client.communicate(timeout=SPARE_SECONDS)[0]
    finally:
        client.kill()  # nothing happens to one that has ended
        client.wait()
    records = _last(said, client.returncode)["requests"]
    waited = sorted(done - due for due, _, done, _, _ in records)
    errors = Counter("status" if status else "read" for *_, status, _ in records if _bad(status))
    return Load(
        connections=connections,
        requests=len(records) - errors["read"],
        seconds=max(record[2] for record in records) - records[0][1],
        p50=waited[len(waited) // 2] * 1e3,
        p99=waited[len(waited) * 99 // 100] * 1e3,
        errors={name: count for name, count in errors.items() if count},
    )


def _bad(status: int) -> bool:
    """Return whether wrk would count it as an error, too; 0 is no answer."""
    return not 0 < status < http.client.BAD_REQUEST


def _started(command: list[str], fed: int) -> subprocess.Popen[str]:
    parent, libc = os.getpid(), ctypes.CDLL(None)
    return subprocess.Popen(  # noqa: S603  # a command of our own
        command,
        stdin=fed,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env={"PATH": SYSTEM_PATH},
        start_new_session=True,
        # Safe before exec: there is one thread, and it only makes system calls.
        preexec_fn=lambda: die_with_parent(parent, libc),  # noqa: PLW1509
    )


def _last(said: str, status: int) -> dict[str, Any]:
    """
    Return what a client has said in its last line, once it has ended.

    Raises:
        LoadFailed: it did not run to its end.
    """
    last = said.rstrip().rpartition("\n")[2]
    if status != 0 or not last.startswith("{"):
        raise LoadFailed(f"the client ended with {status}:\n{said}")
    told: dict[str, Any] = json.loads(last)
    return told
