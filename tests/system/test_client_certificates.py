"""
Client certificates with other people's clients: curl, openssl, Chromium; and the real daemon.

What counts and what does not is looked at in memory, in all its variants. Here it is looked at
from outside.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12
from playwright.sync_api import expect, sync_playwright

from tests.support.application import Application
from tests.support.certificates import Issued, authority, days, issue
from tests.support.clients import MAIL, SERVERS, between, client, others, people, revoking, upn
from tests.support.daemon import DOMAIN, Daemon
from tests.support.proxy_headers import version1

pytestmark = [pytest.mark.system, pytest.mark.needs("openssl", "curl")]

TODAY = datetime.now(UTC)  # noqa: TID251  # what is made here is for real clocks
GOOD, GONE = client(MAIL), client(MAIL, title="gone")
LOCAL = x509.RFC822Name("ann@example.org")


@attrs.define(eq=False)
class Stand:
    """A daemon with a host for each kind of rule, and clients' files."""

    place: Path
    application: Application
    daemon: Daemon = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        (self.place / "server-ca.pem").write_bytes(authority().pem)
        (self.place / "people.pem").write_bytes(people().pem)
        (self.place / "crl.pem").write_bytes(revoking(GONE))
        self.daemon = Daemon(
            place=self.place / "daemon",
            issuer="http://127.0.0.1:9",
            application=self.application.url,
            settings=self.settings(),
        )

    def settings(self, *, plain: bool = False, **more: Any) -> dict[str, Any]:
        """Return the daemon's settings; ``plain`` is without any client certificates."""
        mtls = {
            "ca_file": str(self.place / "people.pem"),
            "crl_file": str(self.place / "crl.pem"),
            "match_subject_alt_names": [{"email": r"[^@]+@example\.com"}],
            **more,
        }
        hosts: dict[str, dict[str, Any]] = {
            "app": {
                "set_request_headers": {
                    "x-cert": "${pomerium.client_cert_san_email} ${pomerium.client_cert_subject}"
                }
            },
            "own": {"tls_downstream_client_ca": others().pem.decode()},
            "free": {"tls_downstream_client_certificate": "none"},
        }
        if plain:
            hosts = {host: {} for host in hosts}
        routes = [
            {
                "from": f"https://{host}.{DOMAIN}",
                "to": self.application.url,
                "allow_public_unauthenticated_access": True,
                **route,
            }
            for host, route in hosts.items()
        ]
        # One worker, since nothing resumes at another one.
        always = {"workers": 1, "policy": routes}
        return always | ({} if plain else {"downstream_mtls": mtls})

    def files(self, one: Issued, *chain: Issued) -> tuple[str, str]:
        """Write a client's certificate and key, and return the paths."""
        base = self.place / f"{one.certificate.serial_number:x}"
        pem, key = base.with_suffix(".pem"), base.with_suffix(".key")
        pem.write_bytes(b"".join(it.pem for it in (one, *chain)))
        key.write_bytes(one.key_pem)
        return str(pem), str(key)

    def curl(self, host: str, showing: Issued | None = None, *more: Any) -> tuple[int, str]:
        """Return status and body of what curl gets; 0 is no answer at all."""
        chain = [it for it in more if isinstance(it, Issued)]
        words = [it for it in more if isinstance(it, str)]
        name = f"{host}.{DOMAIN}"
        command = [
            *("curl", "--silent", "--max-time", "30", "--write-out", "\n%{http_code}"),
            *("--cacert", str(self.place / "server-ca.pem")),
            *("--resolve", f"{name}:{self.daemon.port}:127.0.0.1", *words),
        ]
        if showing is not None:
            pem, key = self.files(showing, *chain)
            command += ["--cert", pem, "--key", key]
        done = subprocess.run(
            [*command, f"https://{name}:{self.daemon.port}/"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        body, _, status = done.stdout.rpartition("\n")
        return int(status), body

    def openssl(self, name: str, host: str, version: str, *words: str) -> str:
        """Return what s_client says of a handshake for one name and a request for a host."""
        asked = f"GET / HTTP/1.1\r\nHost: {host}.{DOMAIN}\r\nConnection: close\r\n\r\n"
        done = subprocess.run(
            [
                *("openssl", "s_client", "-connect", f"127.0.0.1:{self.daemon.port}"),
                *("-servername", f"{name}.{DOMAIN}", f"-tls{version}", "-ign_eof", *words),
            ],
            input=asked,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=60,
        )
        return done.stdout + done.stderr

    def stop(self) -> None:
        """End all of it."""
        self.daemon.stop()
        self.application.stop()


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """The daemon, running."""
    stand = Stand(tmp_path_factory.mktemp("mtls"), Application())
    yield stand
    stand.stop()


@pytest.fixture(autouse=True)
def usual(stand: Stand) -> Iterator[None]:
    """The settings that all begin with."""
    yield
    if stand.daemon.settings != stand.settings():
        stand.daemon.reload(stand.settings())


CASES: dict[str, tuple[Issued | None, tuple[Issued, ...], str]] = {
    "missing": (None, (), "No certificate was shown"),
    "untrusted": (client(MAIL, by=others()), (), "not issued by anybody who is trusted"),
    "self-signed": (issue(title="self"), (), "not issued by anybody who is trusted"),
    "missing intermediate": (client(MAIL, by=between()), (), "were not sent with it"),
    "too deep": (client(MAIL, by=between()), (between(),), "Too many issuers"),
    "expired": (client(MAIL, end=TODAY - days(1)), (), "It has expired"),
    "not yet valid": (client(MAIL, begin=TODAY + days(1)), (), "It is not valid yet"),
    "revoked": (GONE, (), "It has been revoked"),
    "for servers": (client(MAIL, usages=(SERVERS,)), (), "It is not meant for signing in"),
    "another name": (client(LOCAL), (), "not for a person or device that this page is for"),
    "no name": (client(), (), "not for a person or device that this page is for"),
}


@pytest.mark.parametrize("case", CASES)
def test_curl_is_told_what_is_wrong(stand: Stand, case: str) -> None:
    """Each fault ends in 495 with its own sentence, in both versions of TLS."""
    one, chain, sentence = CASES[case]
    for version in ("1.2", "1.3"):
        status, body = stand.curl("app", one, *chain, "--tls-max", version)
        assert (status, sentence in body) == (495, True), body


def test_a_good_one_arrives(stand: Stand) -> None:
    """Its facts reach the application, and those that the client claims do not."""
    for version in ("1.2", "1.3"):
        forged = ("--header", "X-Cert: forged", "--header", "x_cert: forged")
        status, body = stand.curl("app", GOOD, "--tls-max", version, *forged)
        assert status == 200
        assert json.loads(body)["x-cert"] == "ann@example.com CN=ann"
        assert "forged" not in body


NAMES: dict[str, tuple[x509.GeneralName, x509.GeneralName, str]] = {
    "dns": (x509.DNSName("ann.dev"), x509.DNSName("ann.dev.example"), r"[a-z]+\.dev"),
    "email": (MAIL, LOCAL, r"[^@]+@example\.com"),
    "ip_address": (
        x509.IPAddress(ip_address("192.0.2.7")),
        x509.IPAddress(ip_address("192.0.20.7")),
        r"192\.0\.2\.[0-9]+",
    ),
    "uri": (
        x509.UniformResourceIdentifier("spiffe://a/ann"),
        x509.UniformResourceIdentifier("spiffe://b/ann"),
        "spiffe://a/.*",
    ),
    "user_principal_name": (upn("ann@corp.example"), upn("ann@corp"), r"[^@]+@corp\.example"),
}
"""By kind of name: one that counts, one that does not, and the expression."""


def test_each_kind_of_name(stand: Stand) -> None:
    """A name of any kind lets in whom its own expression matches whole, and nobody else."""
    matches = [{kind: expression} for kind, (_, _, expression) in NAMES.items()]
    stand.daemon.reload(stand.settings(match_subject_alt_names=matches))
    for kind, (good, bad, _) in NAMES.items():
        assert stand.curl("app", client(good))[0] == 200, kind
        assert stand.curl("app", client(bad))[0] == 495, kind


def test_each_host_by_its_own_rule(stand: Stand) -> None:
    """An own authority takes the place of the common one; a host that wants none asks for none."""
    assert stand.curl("own", GOOD)[0] == 495
    assert stand.curl("own", client(MAIL, by=others()))[0] == 200
    assert stand.curl("free")[0] == 200
    for host, asked in (("app", True), ("own", True), ("free", False), ("unknown", False)):
        for version in ("1_2", "1_3"):
            said = stand.openssl(host, host, version)
            assert ("Acceptable client certificate CA names" in said) == asked, said


@pytest.mark.parametrize("version", ["1_2", "1_3"])
def test_names_that_differ(stand: Stand, version: str) -> None:
    """The name in the handshake chooses no weaker rule for a request to another host."""
    pem, key = stand.files(GOOD)
    for name, host, status in (
        ("free", "app", 421),
        ("own", "app", 421),
        ("unknown", "app", 421),
        ("app", "own", 421),
        ("app", "free", 200),
        ("app", "app", 200),
    ):
        said = stand.openssl(name, host, version, "-cert", pem, "-key", key)
        assert f"HTTP/1.1 {status} " in said, (name, host, said)


@pytest.mark.parametrize("version", ["1_2", "1_3"])
def test_a_session_does_not_resume(stand: Stand, version: str) -> None:
    """A session of a host without a rule is none at one with it; without rules it would be."""
    kept = str(stand.place / f"session-{version}")
    for plain in (True, False):
        stand.daemon.reload(stand.settings(plain=plain))
        stand.openssl("free", "free", version, "-sess_out", kept)
        for host, status in (("free", 200), ("app", 200 if plain else 495)):
            said = stand.openssl(host, host, version, "-sess_in", kept)
            assert ("Reused, TLSv1" in said) == plain, said
            assert f"HTTP/1.1 {status} " in said, said
    # Nor does one from before there were rules, even at the host that it is for.
    stand.daemon.reload(stand.settings(plain=True))
    stand.openssl("app", "app", version, "-sess_out", kept)
    stand.daemon.reload(stand.settings())
    said = stand.openssl("app", "app", version, "-sess_in", kept)
    assert "Reused, TLSv1" not in said
    assert "HTTP/1.1 495 " in said


def test_reject_connection(stand: Stand) -> None:
    """Without a certificate that counts there is no answer, under whatever name."""
    settings = stand.settings(enforcement="reject_connection")
    settings["policy"] = settings["policy"][:2]
    stand.daemon.reload(settings)
    pem, key = stand.files(GOOD)
    for version in ("1_2", "1_3"):
        for name in ("app", "free", "authenticate"):
            assert "HTTP/1.1" not in stand.openssl(name, "app", version)
        assert "HTTP/1.1 200" in stand.openssl("app", "app", version, "-cert", pem, "-key", key)
        for one, _, _ in CASES.values():
            if one is not None:
                pem_, key_ = stand.files(one)
                said = stand.openssl("app", "app", version, "-cert", pem_, "-key", key_)
                assert "HTTP/1.1" not in said, said
                assert "alert" in said, said
    assert stand.curl("own", client(MAIL, by=others()))[0] == 200
    assert any(
        "client-certificate-revoked (reject_connection)" in line
        for line in stand.daemon.process.lines
    )


def test_policy(stand: Stand) -> None:
    """With policy only routes that say so want one."""
    stand.daemon.reload(
        stand.settings(enforcement="policy")
        | {
            "policy": [it for it in stand.settings()["policy"] if "set_request_headers" not in it]
            + [
                {
                    "from": f"https://app.{DOMAIN}",
                    "to": stand.application.url,
                    "allow_public_unauthenticated_access": True,
                }
            ]
        }
    )
    assert stand.curl("app")[0] == 200
    assert stand.curl("own")[0] == 495


def test_a_list_that_comes_later(stand: Stand) -> None:
    """A new list counts from the reload on; one that is out of date shuts everybody out, loudly."""
    assert stand.curl("app", GOOD)[0] == 200
    crl = stand.place / "crl.pem"
    before = crl.read_bytes()
    try:
        crl.write_bytes(revoking(GOOD))
        stand.daemon.reload(stand.settings())
        assert "It has been revoked" in stand.curl("app", GOOD)[1]
        crl.write_bytes(revoking(due=TODAY - days(1)))
        stand.daemon.reload(stand.settings())
        assert "the list is out of date" in stand.curl("app", GOOD)[1]
        assert any("client certificates of CN=people" in it for it in stand.daemon.process.lines)
    finally:
        crl.write_bytes(before)
        stand.daemon.reload(stand.settings())


def test_behind_a_proxy_header(stand: Stand, tmp_path: Path) -> None:
    """The handshake that follows a PROXY header asks and is looked at like any other."""
    daemon = Daemon(
        place=tmp_path,
        issuer="http://127.0.0.1:9",
        settings={**stand.settings(), "use_proxy_protocol": True},
    )
    try:
        for one, status in ((None, b"495"), (GOOD, b"200"), (GONE, b"495")):
            context = ssl.create_default_context(cadata=authority().pem.decode())
            if one is not None:
                context.load_cert_chain(*stand.files(one))
            with socket.create_connection(("127.0.0.1", daemon.port), 30) as plain:
                plain.sendall(version1(("192.0.2.7", 4711, "192.0.2.1", 443)))
                with context.wrap_socket(plain, server_hostname=f"app.{DOMAIN}") as wrapped:
                    wrapped.sendall(f"GET / HTTP/1.1\r\nHost: app.{DOMAIN}\r\n\r\n".encode())
                    assert wrapped.recv(4096).split(b" ")[1] == status
    finally:
        daemon.stop()


POLICIES = Path("/etc/chromium/policies/managed")


@pytest.mark.needs("chromium", "certutil", "pk12util")
@pytest.mark.skipif(os.geteuid() != 0, reason="Chromium's policies are root's to write")
def test_chromium(stand: Stand, tmp_path: Path) -> None:
    """A browser shows its certificate where it is asked, is asked nowhere else, and reads why."""
    database = tmp_path / ".pki" / "nssdb"
    database.mkdir(parents=True)
    container = tmp_path / "ann.p12"
    container.write_bytes(
        pkcs12.serialize_key_and_certificates(
            b"ann", GOOD.key, GOOD.certificate, None, BestAvailableEncryption(b"p")
        )
    )
    of = ("-d", f"sql:{database}")
    for command in (
        ["certutil", *of, "-N", "--empty-password"],
        ["certutil", *of, "-A", "-t", "C,,", "-n", "ca", "-i", str(stand.place / "server-ca.pem")],
        ["pk12util", *of, "-i", str(container), "-W", "p", "-K", ""],
    ):
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    there = POLICIES / "pomeriumd-test.json"
    POLICIES.mkdir(parents=True, exist_ok=True)
    patterns = [
        json.dumps({"pattern": stand.daemon.url(host, ""), "filter": {}}) for host in ("app", "own")
    ]
    there.write_text(json.dumps({"AutoSelectCertificateForUrls": patterns}))
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path="/usr/bin/chromium",
                args=["--no-sandbox", "--disable-gpu", "--no-first-run"],
                env={**os.environ, "HOME": str(tmp_path)},
            )
            page = browser.new_page()
            page.goto(stand.daemon.url("free"))
            expect(page.locator("body")).to_contain_text("x-forwarded-for")
            page.goto(stand.daemon.url("app"))
            expect(page.locator("body")).to_contain_text("ann@example.com CN=ann")
            page.goto(stand.daemon.url("own"))
            expect(page.get_by_text("It was not issued by anybody who is trusted")).to_be_visible()
            expect(page.get_by_text("CN=ann")).to_be_visible()
            browser.close()
    finally:
        there.unlink()
