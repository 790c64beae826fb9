"""What testssl.sh finds on the running daemon: nothing above LOW but what is listed here."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509 import ocsp

from tests.support.certificates import Issued, authority
from tests.support.daemon import DOMAIN, Daemon
from tests.support.load.figures import note
from tests.support.load.programs import ROOT, until
from tests.support.openssl import Openssl
from tests.support.processes import free_port
from tests.support.stapled import Responder, Says, stapled

pytestmark = [pytest.mark.system, pytest.mark.needs("testssl", "openssl")]

KEPT = ROOT / "build" / "testssl"
"""Where its output is after the test."""

SECTIONS = ("-p", "-s", "-f", "-S", "-h", "-U")
"""Protocols, kinds of ciphers, forward secrecy, server defaults, header fields, vulnerabilities."""

HARMLESS = {"OK", "INFO", "LOW", "DEBUG"}

EXCEPTIONS: dict[str, str] = {
    "sessionresumption_ticket": "WARN, where the machine is so busy that its openssl is ended "
    "before it has asked; test_resumption counts instead",
}
"""What may be worse than LOW, by testssl's id, each with its reason. The tests' own authority
needs none: ``--add-ca`` has it trusted, and the certificate lives as long as public ones."""

FOUND = {
    "SSLv2": "not offered",
    "SSLv3": "not offered",
    "TLS1": "not offered",
    "TLS1_1": "not offered",
    "TLS1_2": "offered",
    "TLS1_3": "offered with final",
    "PFS": "offered",
    "cipherlist_STRONG": "offered",
    "cipherlist_AVERAGE": "not offered",
    "OCSP_stapling": "offered",
    "secure_renego": "supported",
    "secure_client_renego": "not vulnerable",
    "CRIME_TLS": "not vulnerable",
    "heartbleed": "not vulnerable",
    "HSTS_time": "365 days",
}
"""What must stand in it, so that a scan that saw nothing does not pass."""


def scan(port: int, ca: Path) -> list[dict[str, Any]]:
    """Return what it found."""
    KEPT.mkdir(parents=True, exist_ok=True)
    report = KEPT / "report.json"
    report.unlink(missing_ok=True)
    done = subprocess.run(
        ["testssl", "--quiet", "--color", "0", "--warnings", "off", "--ip", "127.0.0.1",
         "--add-ca", str(ca), "--connect-timeout", "60", "--openssl-timeout", "60", *SECTIONS,
         "--jsonfile", str(report), f"https://app.{DOMAIN}:{port}"],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=900, check=False,
    )  # fmt: skip
    (KEPT / "output.txt").write_bytes(done.stdout + done.stderr)
    found: list[dict[str, Any]] = json.loads(report.read_text())
    return found


def test_testssl_finds_nothing_above_low(tmp_path: Path) -> None:
    """Its report is in build/testssl/ afterwards, as text and as JSON."""
    known: dict[int, Issued] = {}
    today = datetime.now(UTC)  # noqa: TID251  # testssl goes by it

    def answer(question: bytes) -> tuple[int, bytes]:
        asked = ocsp.load_der_ocsp_request(question)
        return 200, Says().answer(known[asked.serial_number].certificate, today.timestamp())

    ca, chain, key = tmp_path / "ca.pem", tmp_path / "chain.pem", tmp_path / "key.pem"
    with Responder(answer) as responder:
        # As public ones: testssl minds a long life.
        begin, end = today - timedelta(days=1), today + timedelta(days=89)
        one = stapled(f"*.{DOMAIN}", url=responder.url, begin=begin, end=end)
        known[one.certificate.serial_number] = one
        ca.write_bytes(authority().pem)
        chain.write_bytes(one.pem + authority().pem)
        key.touch(mode=0o600)
        key.write_bytes(one.key_pem)
        port = free_port()
        daemon = Daemon(
            place=tmp_path / "daemon",
            issuer="http://127.0.0.1:1",
            settings={"certificates": [{"cert": str(chain), "key": str(key)}]},
            port=port,
        )
        try:
            until(lambda: Openssl(ca, port).staple(f"app.{DOMAIN}") == "good")
            report = scan(port, ca)
        finally:
            daemon.stop()
    said = {finding["id"]: finding["finding"] for finding in report}
    for name, words in FOUND.items():
        assert words in said.get(name, "no finding"), (name, said.get(name))
    worse = [finding for finding in report if finding["severity"] not in HARMLESS]
    note("testssl", findings=len(report), above_low=len(worse))
    assert [finding for finding in worse if finding["id"] not in EXCEPTIONS] == []
