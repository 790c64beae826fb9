"""A proxy under measurement: what to start, where it listens, which core it gets."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import attrs

from pomeriumd.cli.demo.children import Program

HOST = "127.0.0.1"

SYSTEM_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
"""Debian keeps daemons where a user's path does not lead."""


@attrs.frozen
class Core:
    """A core, and how its programs share it with strangers."""

    number: int
    realtime: bool = False
    """They go before every program that has no such right (SCHED_FIFO)."""
    asked: bool = False
    """Of those that have it they go first: in life they would have a core of their own."""

    def run(self, command: Sequence[str]) -> list[str]:
        """Return what runs a command there; it keeps its process id."""
        pinned = ["taskset", "-c", str(self.number), *command]
        priority = str(REALTIME + self.asked)
        return ["chrt", "-f", priority, *pinned] if self.realtime else pinned


REALTIME = 10
"""A priority that the kernel's own threads for interrupts are above."""


@attrs.frozen(kw_only=True)
class Ground:
    """What all chains of one run share."""

    directory: Path
    """For configuration, logs and requests; gone when the run is over."""
    proxy_core: Core
    """Whichever proxy is measured runs there, and nothing else of ours."""
    other_core: Core
    """Client, upstream and identity provider run there."""
    certificate: Path
    """PEM, EC P-256, for ``localhost`` and every name under ``bench.localhost``."""
    key: Path
    upstream_port: int


@attrs.frozen(kw_only=True)
class Ports:
    """Where one proxy listens; None for what it does not offer."""

    plain: int | None
    tls: int | None

    def of(self, *, secure: bool) -> int:
        """Return the port for requests over TLS, or for plain ones."""
        port = self.tls if secure else self.plain
        if port is None:
            raise LookupError(f"no port for {'TLS' if secure else 'plain HTTP'}")
        return port

    def all(self) -> list[int]:
        """Return every port there is."""
        return [port for port in (self.plain, self.tls) if port is not None]


_ASKED = re.compile(
    r'^pomerium_grpc_client_requests_total{.*grpc_method="Check".*} (\S+)$', re.MULTILINE
)


@attrs.frozen(kw_only=True)
class Chain:
    """A proxy between client and upstream."""

    program: Program
    ports: Ports
    beside: int | None = None
    """Port of a second daemon that does the same."""
    log: Path | None = None
    """Its access log, where it writes one."""
    asks: Sequence[Program] = ()
    """Services of ours that it asks; none of them counts as the proxy's."""
    metrics_port: int | None = None
    """Where it tells how often it asked."""

    def asked(self) -> int:
        """Return how many questions it has sent to authorize, a second ago."""
        if self.metrics_port is None:
            return 0
        connection = http.client.HTTPConnection(HOST, self.metrics_port, timeout=5)
        try:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode("utf-8")
        finally:
            connection.close()
        return sum(int(float(value)) for value in _ASKED.findall(text))

    def logged(self) -> int:
        """Return how many bytes came into the access log, those rotated away with them."""
        if self.log is None:
            return 0
        files = self.log.parent.glob(f"{self.log.name}*")
        return sum(file.stat().st_size for file in files)


def free_ports(count: int) -> list[int]:
    """Return ports that the kernel gives; all are held until all are known."""
    held = [socket.socket() for _ in range(count)]
    try:
        for each in held:
            each.bind((HOST, 0))
        return [each.getsockname()[1] for each in held]
    finally:
        for each in held:
            each.close()


def program(
    name: str,
    command: Sequence[str],
    *,
    core: Core,
    directory: Path,
    ports: Sequence[int],
    environment: Mapping[str, str] | None = None,
    ready: Callable[[], bool] = lambda: True,
) -> Program:
    """
    Return what starts this command on one core.

    It is ready when it listens everywhere, and says so itself.
    """
    inherited = {key: os.environ[key] for key in ("LANG", "TZ") if key in os.environ}
    return Program(
        name,
        core.run(command),
        directory / f"{name}.out",
        lambda: all(_listens(port) for port in ports) and ready(),
        # Its own home: nothing that somebody keeps in theirs changes a figure.
        {"PATH": SYSTEM_PATH, "HOME": str(directory), **inherited, **(environment or {})},
    )


def find(name: str) -> str:
    """
    Return the path of a program of Debian's.

    Raises:
        LookupError: it is not there.
    """
    found = shutil.which(name, path=SYSTEM_PATH)
    if found is None:
        raise LookupError(name)
    return found


def _listens(port: int) -> bool:
    with socket.create_connection((HOST, port), 1):
        return True
