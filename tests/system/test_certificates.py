"""
Certificates that come, change, break and go under the real daemon with two workers.

Meanwhile new handshakes are made all the time, and none fails.
"""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import attrs
import pytest
from cryptography import x509

from tests.support.certificates import Issued, authority, days, issue
from tests.support.load import kernel
from tests.support.load.daemon import Daemon, public
from tests.support.load.wire import HOST
from tests.support.processes import PATIENCE_SECONDS, free_port

pytestmark = pytest.mark.system

WORKERS = 2


def both(one: Issued) -> bytes:
    """Return a file with key and certificate."""
    return one.key_pem + one.pem


def until(what: Callable[[], bool]) -> None:
    """Wait for something that must come."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not what():
        assert time.monotonic() < end, "it does not come to pass"
        time.sleep(0.05)


def place(path: Path, content: bytes) -> None:
    """Put a file in place in one step, as a careful program does."""
    beside = path.with_name(f".{path.name}")
    beside.write_bytes(content)
    beside.rename(path)


def handshake(port: int) -> None:
    """Connect, and ask for the health."""
    context = ssl.create_default_context(cadata=authority().pem.decode())
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30) as wire,
        context.wrap_socket(wire, server_hostname=HOST) as tls,
    ):
        tls.sendall(f"GET /ping HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        answer = tls.recv(4096)
        assert answer.startswith(b"HTTP/1.1 200 "), answer


@attrs.define
class Shaking:
    """Makes one handshake after the other, in a thread."""

    port: int
    made: int = 0
    failed: list[str] = attrs.Factory(list)
    over: threading.Event = attrs.Factory(threading.Event)

    def run(self) -> None:
        """Do it until it is over."""
        while not self.over.is_set():
            try:
                handshake(self.port)
            except (OSError, AssertionError, ValueError) as error:
                self.failed.append(repr(error))
            self.made += 1


@attrs.define
class Served:
    """The daemon, and its directory of certificates."""

    daemon: Daemon
    certs: Path
    metrics: int

    def serials(self, name: str = HOST) -> dict[int, int]:
        """Return the number of the certificate that each worker shows for a name."""
        pids = self.daemon.workers()
        found: dict[int, int] = {}
        while len(found) < WORKERS:
            context = ssl.create_default_context(cadata=authority().pem.decode())
            context.check_hostname = False
            with (
                socket.create_connection(("127.0.0.1", self.daemon.port), timeout=30) as wire,
                context.wrap_socket(wire, server_hostname=name) as tls,
            ):
                shown = tls.getpeercert(binary_form=True)
                assert shown is not None
                own = tls.getsockname()[1]
                pid = kernel.owners(self.daemon.port, pids).get(own, 0)
                if pid:
                    found[pid] = x509.load_der_x509_certificate(shown).serial_number
        return found

    def shows(self, one: Issued, name: str = HOST) -> bool:
        """Tell whether all workers show this certificate for a name."""
        return set(self.serials(name).values()) == {one.certificate.serial_number}

    def value(self, metric: str) -> float:
        """Return the value of a series."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics") as got:
            lines = got.read().decode().splitlines()
        (found,) = [line for line in lines if line.startswith(f"{metric} ")]
        return float(found.rpartition(" ")[2])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A daemon whose directory has a certificate for the route's host."""
    tmp_path = tmp_path_factory.mktemp("certificates")
    certs = tmp_path / "certs"
    certs.mkdir()
    place(certs / "app.pem", both(issue(HOST, by=authority(), title=HOST)))
    metrics = free_port()
    daemon = Daemon(
        tmp_path,
        public(1),
        workers=WORKERS,
        certificates_dir=str(certs),
        metrics_address=f"127.0.0.1:{metrics}",
    )
    with daemon.serving():
        yield Served(daemon, certs, metrics)


def test_swapped_under_load(served: Served) -> None:
    """Each renewal serves on all workers, and not one handshake fails over it."""
    shaking = [Shaking(served.daemon.port) for _ in range(2)]
    threads = [threading.Thread(target=each.run) for each in shaking]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            new = issue(HOST, by=authority(), title=HOST)
            place(served.certs / "app.pem", both(new))
            until(lambda new=new: served.shows(new))  # type: ignore[misc]
    finally:
        for each, thread in zip(shaking, threads, strict=True):
            each.over.set()
            thread.join()
    assert [each.failed for each in shaking] == [[], []]
    assert min(each.made for each in shaking) > 10
    assert served.shows(new)


def test_come_and_gone(served: Served) -> None:
    """A pair that is put there serves its name, and one that is taken out does no longer."""
    new = issue("new.example.test", by=authority(), title="new")
    before = served.serials("new.example.test")
    (served.certs / "new.key").write_bytes(new.key_pem)
    (served.certs / "new.crt").write_bytes(new.pem)
    until(lambda: served.shows(new, "new.example.test"))
    (served.certs / "new.crt").unlink()
    (served.certs / "new.key").unlink()
    until(lambda: served.serials("new.example.test") == before)


def test_renewed_by_certbot(served: Served) -> None:
    """Links under live/ that lead to another generation in archive/ are followed."""
    archive, live = served.certs.parent / "archive", served.certs / "cb.test"
    archive.mkdir()
    live.mkdir()
    for number in (1, 2):
        new = issue("cb.test", by=authority(), title="cb.test")
        for kind, content in (("privkey", new.key_pem), ("fullchain", new.pem)):
            (archive / f"{kind}{number}.pem").write_bytes(content)
            beside = live / f".{kind}"
            beside.symlink_to(archive / f"{kind}{number}.pem")
            beside.rename(live / f"{kind}.pem")
        until(lambda new=new: served.shows(new, "cb.test"))  # type: ignore[misc]
    shutil.rmtree(live)


def test_broken(served: Served) -> None:
    """The old one serves on and others are taken; it is said with its place, and counted."""
    first = issue("b.test", by=authority(), title="b.test")
    place(served.certs / "b.pem", both(first))
    until(lambda: served.shows(first, "b.test"))
    failures = served.value("pomerium_certificate_failures_total")
    heard = len(served.daemon.process.lines)
    other = issue("c.test", by=authority(), title="c.test")
    place(served.certs / "b.pem", both(first)[:-40])
    place(served.certs / "c.pem", both(other))
    until(lambda: served.shows(other, "c.test"))
    assert served.shows(first, "b.test")
    served.daemon.process.until("a certificate cannot be used", after=heard)
    said = [line for line in served.daemon.process.lines[heard:] if "cannot be used" in line]
    assert (
        f"{served.certs}/b.pem: the certificate cannot be read, want PEM; the one before" in said[0]
    )
    until(lambda: served.value("pomerium_certificates_left_out") == 1)
    assert served.value("pomerium_certificate_failures_total") == failures + 1
    # A reload that changes nothing does not say it again.
    served.daemon.hang_up()
    served.daemon.process.until("the settings have not changed", after=heard)
    mended = issue("b.test", by=authority(), title="b.test")
    place(served.certs / "b.pem", both(mended))
    until(lambda: served.shows(mended, "b.test"))
    until(lambda: served.value("pomerium_certificates_left_out") == 0)
    lines = served.daemon.process.lines[heard:]
    assert sum("a certificate cannot be used" in line for line in lines) == 1
    os.unlink(served.certs / "b.pem")  # noqa: PTH108
    os.unlink(served.certs / "c.pem")  # noqa: PTH108


def test_expiry(served: Served) -> None:
    """When a certificate expires is a metric, and that it is soon is said once."""
    now = time.time()  # noqa: TID251  # a certificate of this week
    end = datetime.fromtimestamp(int(now), UTC) + days(5)
    soon = issue("soon.test", by=authority(), end=end, title="soon.test")
    place(served.certs / "soon.pem", both(soon))
    until(lambda: served.shows(soon, "soon.test"))
    labels = f'certificate="soon.test",place="{served.certs}/soon.pem"'
    metric = f"pomerium_certificate_expires_timestamp{{{labels}}}"
    assert served.value(metric) == end.timestamp()
    served.daemon.process.until("the certificate of soon.test expires on")
    lines = [line for line in served.daemon.process.lines if "of soon.test expires" in line]
    assert len(lines) == 1
    assert "in less than 7 days; renew it" in lines[0]
    os.unlink(served.certs / "soon.pem")  # noqa: PTH108


def test_a_directory_that_vanishes(served: Served) -> None:
    """Nothing that serves is given up for it, and all goes on when it is back."""
    heard = len(served.daemon.process.lines)
    before = served.serials()
    away = served.certs.with_name("away")
    served.certs.rename(away)
    served.daemon.process.until("the new settings are refused", after=heard)
    assert served.serials() == before
    new = issue(HOST, by=authority(), title=HOST)
    place(away / "app.pem", both(new))
    away.rename(served.certs)
    until(lambda: served.shows(new))
