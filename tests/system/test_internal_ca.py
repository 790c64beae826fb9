"""Certificates of `pomeriumd ca` where they are used: openssl, and gRPC between real roles."""

from __future__ import annotations

import re
import secrets
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from pomeriumd.cli.ca.authority import BACKDATED, Made, authority, name, role
from pomeriumd.cli.ca.files import read_authority
from pomeriumd.crypto.keys import SharedKeys
from pomeriumd.session.session import Identity, Session
from pomeriumd.session.token import encode
from tests.support.application import Application
from tests.support.daemon import DOMAIN
from tests.support.load.programs import until
from tests.support.planes import HERE, Cluster, Service

pytestmark = [pytest.mark.system, pytest.mark.needs("openssl")]

NAME = "authorize.internal"


def pomeriumd(*words: Any) -> str:
    """Run a command that has to succeed, and return what it printed."""
    program = Path(sys.executable).with_name("pomeriumd")
    ran = subprocess.run([program, *map(str, words)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def settings_of(said: str) -> dict[str, Any]:
    """Return the lines for the settings that `ca issue` printed, as one map."""
    found: dict[str, Any] = {}
    for text in re.findall(r"(?m)(?:^    .*\n)+", said)[:3]:
        found |= yaml.safe_load(text)
    return found


def verifies(ca: bytes | Path, leaf: Path, *more: str, untrusted: Path | None = None) -> str:
    """Ask openssl whether a certificate is good; return why not, or nothing."""
    words = ["openssl", "verify", "-x509_strict", "-no-CApath", "-CAfile", str(ca), *more]
    words += ["-untrusted", str(untrusted)] if untrusted else []
    ran = subprocess.run([*words, str(leaf)], capture_output=True, text=True, check=False)
    return "" if ran.returncode == 0 else ran.stdout + ran.stderr


def test_openssl_believes_them(tmp_path: Path) -> None:
    """By name, wildcard and address, as server and client; and for no other name."""
    ca = tmp_path / "ca"
    pomeriumd("ca", "init", ca, "--permit", "internal", "--permit", "10.0.0.0/8")
    pomeriumd("ca", "issue", "-d", ca, NAME, "*.a.internal", "10.0.0.1")
    leaf = ca / f"{NAME}.crt"
    for more in (
        ("-purpose", "sslserver", "-verify_hostname", NAME),
        ("-purpose", "sslserver", "-verify_hostname", "b.a.internal"),
        ("-purpose", "sslserver", "-verify_ip", "10.0.0.1"),
        ("-purpose", "sslclient"),
    ):
        assert verifies(ca / "ca.crt", leaf, *more) == ""
    wrong = ("-verify_hostname", "c.b.a.internal")
    assert "hostname mismatch" in verifies(ca / "ca.crt", leaf, *wrong)
    pomeriumd("ca", "issue", "-d", ca, "10.0.0.2")
    assert verifies(ca / "ca.crt", ca / "10.0.0.2.crt", "-verify_ip", "10.0.0.2") == ""


@attrs.frozen
class Thief:
    """Somebody who has the authority's key, and makes what `ca issue` would not."""

    place: Path
    stolen: Made

    def issue(self, *names: str) -> Path:
        """Issue a certificate for any names."""
        # As if the authority's certificate had no constraints: it is called by its first day.
        begin = (self.stolen.certificate.not_valid_before_utc + BACKDATED).timestamp()
        free = authority([], now=begin, days=9, key=self.stolen.key, serial=7)
        made = role(
            [name(text) for text in names],
            free,
            now=time.time(),  # noqa: TID251  # openssl looks at the clock, too
            days=5,
            key=ec.generate_private_key(ec.SECP256R1()),
            serial=x509.random_serial_number(),
        )
        path = self.place / "stolen.crt"
        path.write_bytes(made.pem)
        return path


@pytest.mark.parametrize(
    ("permit", "good", "bad"),
    [
        ("internal", "b.internal", (("www.example.com",), ("10.0.0.1",), ("a.internal", "x.test"))),
        ("10.0.0.0/8", "10.9.9.9", (("www.example.com",), ("11.0.0.1",), ("10.0.0.1", "x.test"))),
    ],
)
def test_a_stolen_key_opens_nothing_else(
    tmp_path: Path, permit: str, good: str, bad: tuple[tuple[str, ...], ...]
) -> None:
    """What the authority may not vouch for is refused by who verifies, whoever signs it."""
    ca = tmp_path / "ca"
    pomeriumd("ca", "init", ca, "--permit", permit)
    thief = Thief(tmp_path, read_authority(ca))
    for names in bad:
        assert "subtree violation" in verifies(ca / "ca.crt", thief.issue(*names)), names
    assert verifies(ca / "ca.crt", thief.issue(good)) == ""


def test_nobody_is_below_it(tmp_path: Path) -> None:
    """A certificate that one of its certificates signs is refused."""
    ca = tmp_path / "ca"
    pomeriumd("ca", "init", ca)
    pomeriumd("ca", "issue", "-d", ca, "a.internal")
    key = (ca / "a.internal.key").read_bytes()
    (ca / "ca.key").write_bytes(key)
    (ca / "ca.key").chmod(0o600)
    root = (ca / "ca.crt").read_bytes()
    (ca / "ca.crt").write_bytes((ca / "a.internal.crt").read_bytes())
    pomeriumd("ca", "issue", "-d", ca, "b.internal")
    (tmp_path / "root.crt").write_bytes(root)
    found = verifies(tmp_path / "root.crt", ca / "b.internal.crt", untrusted=ca / "a.internal.crt")
    assert "invalid CA certificate" in found, found


@attrs.define(eq=False)
class Pair:
    """A proxy and an authorize with certificates of `pomeriumd ca`."""

    place: Path
    cluster: Cluster
    application: Application
    said: dict[str, Any]
    authorize: Service = attrs.field(init=False)
    proxy: Service = attrs.field(init=False)

    def start(self) -> None:
        """Start both with the lines that were printed; the URL has an address for this machine."""
        route = self.cluster.route("app", self.application.url, allowed_users=["a@example.com"])
        usual = {"idp_provider": "oidc", "idp_provider_url": "https://id.invalid"}
        lines = {key: self.said[key] for key in ("certificates",)}
        self.authorize = Service(
            place=self.place / "authorize",
            keys={**self.cluster.authorize(route), **usual, **lines, "insecure_server": True},
        )
        keys = self.cluster.proxy(route)
        del keys["certificate_authority"]
        keys["authorize_service_url"] = f"https://{HERE}:{self.cluster.grpc}"
        for key in ("certificate_authority_file", "override_certificate_name"):
            keys[key] = self.said[key]
        self.proxy = Service(place=self.place / "proxy", keys=keys)

    def stop(self) -> None:
        """End both."""
        for part in (self.proxy, self.authorize):
            part.stop()

    def page(self) -> int:
        """Ask for the application's page as somebody who may; return the status."""
        now = int(time.time())  # noqa: TID251  # the daemon looks at the clock, too
        session = Session(
            id=secrets.token_urlsafe(16),
            identity=Identity(
                issuer="https://id.invalid", subject="a", email="a@example.com", groups=()
            ),
            issuer=self.cluster.authenticate_url,
            audience=f"app.{DOMAIN}:{self.cluster.port}",
            auth_time=now,
            checked=now,
            recheck=now + 600,
            seen=now,
            expires=now + 3600,
        )
        token = encode(session, SharedKeys.derived([self.cluster.shared]).route_session)
        cookie = f"Cookie: __Host-_pomerium={token}\r\n"
        return self.proxy.ask("/", f"app.{DOMAIN}", cookie)[0]

    def serial(self) -> int:
        """Return the serial number of what authorize shows."""
        trust = ssl.create_default_context(cafile=self.said["certificate_authority_file"])
        trust.check_hostname = False
        trust.set_alpn_protocols(["h2"])
        with (
            socket.create_connection((HERE, self.cluster.grpc), 60) as plain,
            trust.wrap_socket(plain, server_hostname=NAME) as wire,
        ):
            shown = wire.getpeercert(binary_form=True)
        assert shown is not None
        return x509.load_der_x509_certificate(shown).serial_number


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both, with an application behind."""
    place = tmp_path_factory.mktemp("pair")
    pomeriumd("ca", "init", place / "ca", "--permit", "internal")
    said = pomeriumd("ca", "issue", "-d", place / "ca", NAME)
    application = Application()
    pair = Pair(place, Cluster(place=place), application, settings_of(said))
    pair.start()
    yield pair
    pair.stop()
    application.stop()


def test_decisions_go_over_it(pair: Pair) -> None:
    """A proxy with the printed lines believes authorize, and its questions are answered."""
    until(lambda: pair.proxy.wrong == [])
    assert pair.page() == 200


def test_tls_check_agrees(pair: Pair) -> None:
    """`tls check` finds nothing missing at authorize, and says who believes it."""
    config = pair.place / "authorize" / "config.json"
    ca = pair.said["certificate_authority_file"]
    keys = pair.authorize.keys
    pair.authorize.reload(authorize_service_url=f"https://{NAME}:{pair.cluster.grpc}")
    try:
        said = pomeriumd("tls", "check", "-c", config, "--ca", ca)
    finally:
        pair.authorize.reload(authorize_service_url=None)
    assert keys["services"] == "authorize"
    assert NAME in said
    assert f"whoever has {ca}" in said


def test_a_renewal_under_way(pair: Pair) -> None:
    """`ca issue --renew` is taken by itself; the proxy goes on, and sees the new certificate."""
    until(lambda: pair.proxy.wrong == [])
    before = pair.serial()
    said = len(pair.authorize.process.lines)
    pomeriumd("ca", "issue", "--renew", "-d", pair.place / "ca", NAME)
    pair.authorize.process.until("new settings serve", after=said)
    until(lambda: pair.serial() != before)
    assert pair.page() == 200
    assert pair.proxy.wrong == []


def test_without_the_authority_nobody_believes_it(pair: Pair) -> None:
    """Without the printed line the proxy says which is missing, and lets nobody in."""
    authority_file = pair.said["certificate_authority_file"]
    pair.proxy.reload(certificate_authority_file=None)
    try:
        until(lambda: any("certificate_authority" in line for line in pair.proxy.wrong))
        assert pair.page() == 503
    finally:
        pair.proxy.reload(certificate_authority_file=authority_file)
    until(lambda: pair.proxy.wrong == [])
    assert pair.page() == 200
