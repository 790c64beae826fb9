"""Thousands of certificates in a directory: what start, memory and handshakes cost with them."""

from __future__ import annotations

import socket
import ssl
import time
from pathlib import Path

import attrs
import pytest

from tests.support.certificates import Issued, authority, issue
from tests.support.load import kernel
from tests.support.load.daemon import Daemon, public
from tests.support.load.figures import note

WORKERS = 2


@attrs.frozen
class Scale:
    """How many certificates, and how many handshakes of each kind."""

    certificates: int
    handshakes: int


FEW = 100
"""Names of the last measurement."""

SCALES = [
    pytest.param(Scale(500, 100), id="short", marks=pytest.mark.system),
    pytest.param(Scale(5000, 1000), id="full", marks=pytest.mark.soak),
]


def host(number: int) -> str:
    """Return the name of one of them."""
    return f"h{number}.many.test"


def made(number: int) -> Issued:
    """Return the certificate of one of them."""
    return issue(host(number), by=authority(), title=host(number))


@attrs.define
class Cost:
    """What handshakes cost the workers."""

    daemon: Daemon
    context: ssl.SSLContext = attrs.Factory(
        lambda: ssl.create_default_context(cadata=authority().pem.decode())
    )

    def of(self, *names: str) -> float:
        """Make a whole handshake for each of these names; return the microseconds of one."""
        pids = self.daemon.workers()
        before = sum(map(kernel.cpu_seconds, pids))
        for name in names:
            with (
                socket.create_connection(("127.0.0.1", self.daemon.port), timeout=60) as wire,
                self.context.wrap_socket(wire, server_hostname=name),
            ):
                pass
        return 1e6 * (sum(map(kernel.cpu_seconds, pids)) - before) / len(names)

    @property
    def memory(self) -> list[int]:
        """Bytes that each worker has."""
        return [kernel.memory(pid, "VmRSS") for pid in self.daemon.workers()]


@pytest.mark.parametrize("scale", SCALES)
def test_many(tmp_path: Path, scale: Scale) -> None:
    """All of them serve, and a renewal of one does."""
    certs, count = tmp_path / "certs", scale.certificates
    certs.mkdir()
    for number in range(count):
        one = made(number)
        (certs / f"h{number:05}.pem").write_bytes(one.key_pem + one.pem)
    starts, bases = {}, {}
    for what, directory in (("one", None), ("many", str(certs))):
        place = tmp_path / what
        place.mkdir()
        began = time.perf_counter()
        with Daemon(
            place, public(1), workers=WORKERS, certificates_dir=directory
        ).serving() as daemon:
            starts[what] = time.perf_counter() - began
            cost = Cost(daemon)
            bases[what] = min(cost.memory)
            if what == "many":
                _measure(cost, scale, certs, starts, bases)


def _measure(
    cost: Cost, scale: Scale, certs: Path, starts: dict[str, float], bases: dict[str, int]
) -> None:
    count, daemon = scale.certificates, cost.daemon
    one = cost.of(*[host(0)] * scale.handshakes)
    before = min(cost.memory)
    first = cost.of(*(host(number) for number in range(count)))
    # A few are asked for until both workers have made the contexts of nearly all of them.
    few = [host(number % FEW) for number in range(scale.handshakes)]
    cost.of(*[host(number) for number in range(FEW)] * 7)
    every = cost.of(*few)
    used = sum(cost.memory) - WORKERS * before
    renewed = made(1)
    heard = len(daemon.process.lines)
    began = time.perf_counter()
    beside = certs / ".new"
    beside.write_bytes(renewed.key_pem + renewed.pem)
    beside.rename(certs / "h00001.pem")
    daemon.process.until("new settings serve", after=heard)
    note(
        f"{count} certificates",
        start_seconds=f"{starts['many']:.1f}, with one {starts['one']:.1f}",
        worker_KiB_each=f"{(bases['many'] - bases['one']) / 1024 / count:.1f}",
        context_KiB_each=f"{used / 1024 / count:.1f}",
        handshake_us=f"one name {one:.0f}, first time {first:.0f}, many names {every:.0f}",
        renewed_seconds=f"{time.perf_counter() - began:.1f}",
    )
    for name in (host(1), host(count - 1)):
        with (
            socket.create_connection(("127.0.0.1", daemon.port), timeout=60) as wire,
            cost.context.wrap_socket(wire, server_hostname=name) as tls,
        ):
            shown = tls.getpeercert()
            assert shown is not None
            assert shown["subjectAltName"] == (("DNS", name),)
    lines = daemon.process.lines
    assert not [line for line in lines if '"level":"error"' in line], lines
