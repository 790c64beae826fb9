"""Certificates from Pebble, a real ACME server, for daemons that serve all the while."""

from __future__ import annotations

import fcntl
import json
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.faked_time import FakedTime
from tests.support.pebble import HOSTS, Front, Ordering, Pebble, revoke, until
from tests.support.processes import free_port

pytestmark = [pytest.mark.system, pytest.mark.needs("pebble", "pebble-challtestsrv")]


@pytest.fixture
def pebble(tmp_path: Path) -> Iterator[Pebble]:
    """One that looks at a port that nobody has yet."""
    pebble = Pebble(place=tmp_path / "pebble", tls_port=free_port())
    yield pebble
    pebble.stop()


def test_first_issue(tmp_path: Path, pebble: Pebble) -> None:
    """It starts with a certificate of its own, and shows the authority's when that is there."""
    daemon = Ordering(place=tmp_path / "one", settings=pebble.settings, port=pebble.tls_port)
    try:
        with daemon.serving() as wrong:
            daemon.until_trusted(pebble.root())
        assert wrong == []
        daemon.process.until("no certificate yet for")
        certificates = daemon.directory / "certificates"
        [kept] = certificates.glob("*.pem")
        assert (certificates / "index").read_text() == f"{kept.name}\n"
        modes = {path: stat.S_IMODE(path.stat().st_mode) for path in daemon.directory.rglob("*")}
        assert all(mode == (0o700 if path.is_dir() else 0o600) for path, mode in modes.items())
        assert daemon.shows(HOSTS[0]) == daemon.shows(HOSTS[1])
        assert list((daemon.directory / "challenges").iterdir()) == []
        assert json.loads((daemon.directory / "state.json").read_text()) == {"troubles": {}}
    finally:
        daemon.stop()


def test_http_01_at_the_redirect_listener(tmp_path: Path) -> None:
    """The daemon's own listener at port 80 has the answers."""
    http = free_port()
    pebble = Pebble(place=tmp_path / "pebble", tls_port=1, http_port=http)
    more = {"autocert_challenge": "http-01", "http_redirect_addr": f"127.0.0.1:{http}"}
    daemon = Ordering(place=tmp_path / "one", settings={**pebble.settings, **more})
    try:
        daemon.until_trusted(pebble.root())
    finally:
        daemon.stop()
        pebble.stop()


def test_dns_01(tmp_path: Path, pebble: Pebble) -> None:
    """A hook proves a wildcard and its domain, which have one record's name and two values."""
    hook = hook_program(tmp_path, pebble)
    settings = {
        **pebble.settings,
        "autocert_dns_hook": str(hook),
        "autocert_names": ["*.example.com", "example.com"],
    }
    daemon = Ordering(place=tmp_path / "one", settings=settings)
    try:
        daemon.until_trusted(pebble.root(), *HOSTS, "example.com")
        calls = (tmp_path / "calls").read_text().splitlines()
        assert calls == [
            "present _acme-challenge.example.com.",
            "present _acme-challenge.example.com.",
            "cleanup _acme-challenge.example.com.",
            "cleanup _acme-challenge.example.com.",
        ]
    finally:
        daemon.stop()


def test_a_hook_that_fails(tmp_path: Path, pebble: Pebble) -> None:
    """What it says on its standard error is in the log; no setting is in its environment."""
    hook = tmp_path / "hook"
    hook.write_text("#!/bin/sh\nenv >env\necho 'no such zone' >&2\nexit 3\n")
    hook.chmod(0o755)
    settings = {**pebble.settings, "autocert_dns_hook": str(hook)}
    daemon = Ordering(place=tmp_path / "one", settings=settings)
    try:
        line = json.loads(daemon.process.until("no certificate was issued"))
        name = line["message"].split(":")[0].split()[-1]
        why = f"autocert_dns_hook {hook} present _acme-challenge.{name}. ended with status"
        assert f"{why} 3: no such zone; tries again" in line["message"]
        assert line["outcome"] == "hook_failed"
        assert "SHARED_SECRET" not in (tmp_path / "one" / "env").read_text()
        assert daemon.shows(HOSTS[0]).issuer.rfc4514_string() == "CN=pomeriumd: no certificate yet"
    finally:
        daemon.stop()


@pytest.mark.needs("faketime")
def test_renewal(tmp_path: Path) -> None:
    """When a third of its life is left another one is ordered, and serves; no client notices."""
    port = free_port()
    life = {"certificateValidityPeriod": 3600}
    pebble = Pebble(place=tmp_path / "pebble", tls_port=port, more=life)
    # To the daemon, two thirds of a certificate's life are over but for ten seconds.
    time = FakedTime(tmp_path / "time")
    time.add(2390)
    daemon = Ordering(
        place=tmp_path / "one", settings=pebble.settings, port=port, more=time.passing
    )
    try:
        daemon.until_trusted(pebble.root())
        first = daemon.shows(HOSTS[0])
        with daemon.serving() as wrong:
            until(lambda: daemon.shows(HOSTS[0]).serial_number != first.serial_number)
            daemon.until_trusted(pebble.root())
        assert wrong == []
        until(lambda: len(list((daemon.directory / "certificates").glob("*.pem"))) == 1)
    finally:
        daemon.stop()
        pebble.stop()


def test_an_order_that_fails(tmp_path: Path) -> None:
    """A name that the authority does not want holds up no other, and is told in the status."""
    port = free_port()
    pebble = Pebble(
        place=tmp_path / "pebble", tls_port=port, more={"domainBlocklist": ["mail.example.com"]}
    )
    daemon = Ordering(place=tmp_path / "one", settings={**pebble.settings, "workers": 2}, port=port)
    good = [name for name in HOSTS if name != "mail.example.com"]
    try:
        with daemon.serving() as wrong:
            daemon.until_trusted(pebble.root(), *good)
        assert wrong == []
        line = json.loads(daemon.process.until("no certificate was issued for mail.example.com:"))
        assert line["outcome"] == "refused"
        assert "issuance is forbidden" in line["message"] or "rejectedIdentifier" in line["message"]
        assert not daemon.trusted("mail.example.com", pebble.root())
        until(lambda: "1 name without a certificate yet" in said("status", daemon))
        assert "no certificate yet for mail.example.com" in said("check", daemon)
    finally:
        daemon.stop()
        pebble.stop()


def test_a_limit_of_the_authority(tmp_path: Path, pebble: Pebble) -> None:
    """Retry-After is waited for, also after a restart; then the order succeeds."""
    front = Front(tmp_path / "pebble", pebble)
    front.limit = "20"
    settings = {**pebble.settings, "autocert_ca": front.url}
    daemon = Ordering(place=tmp_path / "one", settings=settings, port=pebble.tls_port)
    try:
        line = json.loads(daemon.process.until("no certificate was issued"))
        assert line["outcome"] == "rate_limited"
        assert "too many certificates already (rateLimited)" in line["message"]
        daemon.stop()
        daemon.start()
        state = json.loads((daemon.directory / "state.json").read_text())
        assert {name: one["failures"] for name, one in state["troubles"].items()} == dict.fromkeys(
            HOSTS, 1
        )
        assert front.refused == 1
    finally:
        daemon.stop()
        front.stop()


def test_an_account_that_is_not_known(tmp_path: Path, pebble: Pebble) -> None:
    """Where the authority forgot it, and where its key is another one, an account is made anew."""
    daemon = Ordering(place=tmp_path / "one", settings=pebble.settings, port=pebble.tls_port)
    try:
        daemon.until_trusted(pebble.root())
        pebble.end()
        pebble.start()
        forget(daemon)
        daemon.until_trusted(pebble.root())
        [account] = (daemon.directory / "accounts").iterdir()
        made = ec.generate_private_key(ec.SECP256R1())
        pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        daemon.stop()
        (account / "key.pem").write_bytes(pem)
        (daemon.directory / "certificates" / "index").unlink()
        daemon.start()
        daemon.until_trusted(pebble.root())
        assert daemon.process.count("no certificate was issued") == 0
    finally:
        daemon.stop()


def test_revoked(tmp_path: Path, pebble: Pebble) -> None:
    """A certificate that was revoked is replaced, with another key, once its file is removed."""
    daemon = Ordering(place=tmp_path / "one", settings=pebble.settings, port=pebble.tls_port)
    try:
        daemon.until_trusted(pebble.root())
        first = daemon.shows(HOSTS[0])
        revoke(pebble, daemon)
        assert pebble.issued(first) == "Revoked"
        forget(daemon)
        until(lambda: daemon.shows(HOSTS[0]).serial_number != first.serial_number)
        daemon.until_trusted(pebble.root())
        assert daemon.shows(HOSTS[0]).public_key() != first.public_key()
    finally:
        daemon.stop()


def test_external_account(tmp_path: Path) -> None:
    """With the key that an authority gave its customer; and whichever worker it comes to."""
    port = free_port()
    key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
    more = {"externalAccountBindingRequired": True, "externalAccountMACKeys": {"kid-1": key}}
    pebble = Pebble(place=tmp_path / "pebble", tls_port=port, more=more)
    given = {
        "autocert_eab_key_id": "kid-1",
        "autocert_eab_mac_key": key,
        "autocert_email": "ops@example.com",
        "autocert_must_staple": True,
        "workers": 3,
    }
    daemon = Ordering(place=tmp_path / "one", settings={**pebble.settings, **given}, port=port)
    try:
        daemon.until_trusted(pebble.root())
    finally:
        daemon.stop()
        pebble.stop()


def test_a_pair_of_hosts(tmp_path: Path) -> None:
    """One of two orders, the other one answers the authority, and both serve what was issued."""
    port = free_port()
    pebble = Pebble(place=tmp_path / "pebble", tls_port=port)
    shared = tmp_path / "shared"
    settings = {**pebble.settings, "autocert_dir": str(shared)}
    # The authority comes to one of them only.
    hosts = [
        Ordering(place=tmp_path / "one", settings=settings, port=port),
        Ordering(place=tmp_path / "two", settings=settings),
    ]
    try:
        with hosts[0].serving() as wrong, hosts[1].serving() as wrong_too:
            for host in hosts:
                host.until_trusted(pebble.root())
        assert wrong + wrong_too == []
        assert hosts[0].shows(HOSTS[0]) == hosts[1].shows(HOSTS[0])
        issued = [host.process.count("a certificate was issued for") for host in hosts]
        assert sorted(issued) == [0, 1]
        # The one that is left goes on alone.
        hosts[1].process.send(signal.SIGKILL)
        first = hosts[0].shows(HOSTS[0]).serial_number
        forget(hosts[0])
        until(lambda: hosts[0].shows(HOSTS[0]).serial_number != first)
        hosts[0].until_trusted(pebble.root())
    finally:
        for host in hosts:
            host.stop()
        pebble.stop()


def test_the_other_host_is_asked(tmp_path: Path) -> None:
    """The authority comes to the host that orders nothing, and that one has the answer."""
    port = free_port()
    pebble = Pebble(place=tmp_path / "pebble", tls_port=port)
    shared, apart = tmp_path / "shared", tmp_path / "apart"
    for name in ("certificates", "challenges"):
        (shared / name).mkdir(parents=True, mode=0o700)
    # All but the lock, which is held as if this one's orders never came to an end.
    apart.mkdir(mode=0o700)
    for name in ("certificates", "challenges"):
        (apart / name).symlink_to(shared / name)
    with (apart / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        settings = {**pebble.settings, "autocert_dir": str(apart)}
        asked = Ordering(place=tmp_path / "one", settings=settings, port=port)
        settings = {**pebble.settings, "autocert_dir": str(shared)}
        other = Ordering(place=tmp_path / "two", settings=settings)
        try:
            for host in (other, asked):
                host.until_trusted(pebble.root())
            assert other.process.count("a certificate was issued for") == 1
            assert asked.process.count("a certificate was issued for") == 0
        finally:
            asked.stop()
            other.stop()
            pebble.stop()


def forget(daemon: Ordering) -> None:
    """Remove what was issued."""
    for path in (daemon.directory / "certificates").glob("*.pem"):
        path.unlink()


def said(command: str, daemon: Ordering) -> str:
    """Return what a command says of a daemon."""
    program = Path(sys.executable).with_name("pomeriumd")
    words = [str(program), command, "-c", str(daemon.config)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def hook_program(place: Path, pebble: Pebble) -> Path:
    """Return a hook that has pebble-challtestsrv set and clear records."""
    hook = place / "hook"
    hook.write_text(
        f"""#!/bin/sh -e
echo "$1 $2" >>{place}/calls
case $1 in
  present) body="{{\\"host\\":\\"$2\\",\\"value\\":\\"$3\\"}}" ; what=set-txt ;;
  cleanup) body="{{\\"host\\":\\"$2\\"}}" ; what=clear-txt ;;
esac
exec curl -sf -d "$body" http://127.0.0.1:{pebble.names}/$what
"""
    )
    hook.chmod(0o755)
    return hook
