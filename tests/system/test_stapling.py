"""Staples of the running daemon, as openssl sees them, from a responder of openssl's and ours."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import attrs
import pytest
from cryptography.x509 import ocsp

from tests.support.certificates import Issued, authority, issue
from tests.support.daemon import DOMAIN, Daemon
from tests.support.load.programs import until
from tests.support.openssl import Openssl
from tests.support.processes import Running, free_port
from tests.support.stapled import WEEK, Responder, Says, stapled

pytestmark = [pytest.mark.system, pytest.mark.needs("openssl")]

VERSIONS = ("-tls1_2", "-tls1_3")

WORKERS = 2

ROUNDS = 8
"""Handshakes after which all workers have had one, but once in 128 times."""


def now() -> float:
    """Return the time of day: answers are about it."""
    return time.time()  # noqa: TID251  # programs that are no doubles go by it


def openssl_responder(place: Path, port: int, *, good: Issued, revoked: Issued) -> Running:
    """Start OpenSSL's own responder for these."""
    lines = [
        f"V\t460101000000Z\t\t{good.certificate.serial_number:X}\tunknown\t/CN=good",
        f"R\t460101000000Z\t261101000000Z\t{revoked.certificate.serial_number:X}\tunknown\t/CN=r",
    ]
    # Hexadecimal digits in pairs, as `openssl ca` writes them.
    index = place / "index.txt"
    index.write_text("\n".join(_even(line) for line in lines) + "\n")
    (place / "ca.key").touch(mode=0o600)
    (place / "ca.key").write_bytes(authority().key_pem)
    return Running(
        ["openssl", "ocsp", "-index", index, "-port", str(port), "-CA", place / "ca.pem",
         "-rsigner", place / "ca.pem", "-rkey", place / "ca.key", "-nmin", "600"],
    )  # fmt: skip


def _even(line: str) -> str:
    fields = line.split("\t")
    fields[3] = fields[3].rjust(len(fields[3]) + len(fields[3]) % 2, "0")
    return "\t".join(fields)


@attrs.frozen(kw_only=True)
class Stand:
    """A daemon with a certificate of each kind, and what it asks."""

    daemon: Daemon
    openssl: Openssl
    responders: tuple[Callable[[], None], ...]
    """Ends each of them."""
    metrics: int

    def staple(self, name: str, *more: str) -> str:
        """Return what a host staples."""
        return self.openssl.staple(f"{name}.{DOMAIN}", *more)

    def staples(self, name: str) -> set[str]:
        """Return what all workers staple for it."""
        return {self.staple(name) for _ in range(ROUNDS)}

    def is_stapled(self, name: str) -> bool:
        """Return whether all workers staple a good answer for it."""
        return self.staples(name) == {"good"}

    def is_stapled_in_each(self, name: str) -> bool:
        """Return whether a good answer is stapled in each version of TLS."""
        return {self.staple(name, version) for version in VERSIONS} == {"good"}

    def metric(self, name: str) -> float:
        """Return a number of the daemon."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics") as answer:
            text = answer.read().decode("ascii")
        (line,) = (line for line in text.splitlines() if line.startswith(f"pomerium_{name} "))
        return float(line.split()[-1])


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """Start all of it, once."""
    place = tmp_path_factory.mktemp("stapling")
    (place / "ca.pem").write_bytes(authority().pem)
    stranger = issue(authority=True, title="test authority")
    known: dict[int, tuple[Issued, Says]] = {}

    def answer(question: bytes) -> tuple[int, bytes]:
        asked = ocsp.load_der_ocsp_request(question)
        one, says = known[asked.serial_number]
        return 200, says.answer(one.certificate, now())

    ours, theirs, nobody = Responder(answer), free_port(), free_port()
    delegate = stapled(url=None, delegate=True)
    says = {
        "delegated": Says(signer=delegate, shown=(delegate,)),
        "wrong-issuer": Says(signer=stranger),
        "expired": Says(age=WEEK + 60),
        "must": Says(),
    }
    hosts = {name: stapled(f"{name}.{DOMAIN}", url=ours.url, must=name == "must") for name in says}
    known |= {one.certificate.serial_number: (one, says[name]) for name, one in hosts.items()}
    for name in ("good", "revoked"):
        hosts[name] = stapled(f"{name}.{DOMAIN}", url=f"http://127.0.0.1:{theirs}/")
    for name in ("down", "must-down"):
        url = f"http://127.0.0.1:{nobody}/"
        hosts[name] = stapled(f"{name}.{DOMAIN}", url=url, must=name == "must-down")
    hosts["plain"] = issue(f"*.{DOMAIN}", by=authority())
    program = openssl_responder(place, theirs, good=hosts["good"], revoked=hosts["revoked"])
    pairs = []
    for name, one in hosts.items():
        chain, key = place / f"{name}.pem", place / f"{name}.key"
        chain.write_bytes(one.pem + authority().pem)
        key.touch(mode=0o600)
        key.write_bytes(one.key_pem)
        pairs.append({"cert": str(chain), "key": str(key)})
    metrics = free_port()
    program.begun("waiting for OCSP client connections")
    daemon = Daemon(
        place=place / "daemon",
        issuer="http://127.0.0.1:1",
        settings={
            "certificates": pairs,
            "workers": WORKERS,
            "metrics_address": f"127.0.0.1:{metrics}",
        },
    )
    ends = (program.stop, ours.__exit__)
    try:
        yield Stand(
            daemon=daemon,
            openssl=Openssl(place / "ca.pem", daemon.port),
            responders=ends,
            metrics=metrics,
        )
    finally:
        daemon.stop()
        program.stop()


def test_a_good_answer_is_stapled_by_all_workers(stand: Stand) -> None:
    """OpenSSL's own responder, and ours, by the issuer and by one whom it delegated."""
    for name in ("good", "must", "delegated"):
        # Chance chooses the worker, so that one who has read nothing yet may be met late.
        until(partial(stand.is_stapled, name))
        until(partial(stand.is_stapled_in_each, name))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("revoked", "get a new one at once"),
        ("down", "refuses connections"),
        ("wrong-issuer", "neither the certificate's issuer signed the answer nor one it delegated"),
        ("expired", "the answer expired at"),
    ],
)
def test_what_is_not_good_is_not_stapled(stand: Stand, name: str, why: str) -> None:
    """The log says why, and the host is served without."""
    line = stand.daemon.process.until(f"the certificate of {name}.{DOMAIN} ")
    assert why in line
    assert stand.staples(name) == {""}
    assert "Verify return code: 0 (ok)" in stand.openssl.s_client(f"{name}.{DOMAIN}")


def test_must_staple_without_an_answer_is_an_error(stand: Stand) -> None:
    """An error line, a number to alert on, and the host is served: some browsers do not ask."""
    line = stand.daemon.process.until(f"certificate of must-down.{DOMAIN} must be stapled")
    assert '"level":"error"' in line
    assert stand.staple("must-down") == ""
    until(lambda: stand.metric("tls_staples_required") == 1)
    until(lambda: stand.metric("tls_staples") == 3)
    assert stand.metric("tls_staples_missing") == 5


def test_a_certificate_without_responder_has_nothing_to_staple(stand: Stand) -> None:
    """Nor does it bring a line of the log along."""
    assert stand.staple("plain") == ""
    assert not stand.daemon.process.count(f"certificate of *.{DOMAIN}")


def test_the_files_are_ours_alone(stand: Stand) -> None:
    """One for each good answer, and nobody else can read it."""
    directory = stand.daemon.place / "state" / "ocsp"
    files = list(directory.iterdir())
    assert len(files) == 3
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert directory.stat().st_mode & 0o777 == 0o700


def test_after_a_restart_staples_are_there_with_no_responder(stand: Stand) -> None:
    """The first handshakes have them: what is on disk is read before anybody is let in."""
    for end in stand.responders:
        end()
    stand.daemon.stop()
    stand.daemon.start()
    assert {stand.staple(name) for name in ("good", "must", "delegated")} == {"good"}
