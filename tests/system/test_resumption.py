"""How many handshakes are short ones, as openssl counts them; the share is printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.certificates import authority
from tests.support.daemon import DOMAIN, Daemon
from tests.support.load.figures import note
from tests.support.openssl import Openssl

pytestmark = [pytest.mark.system, pytest.mark.needs("openssl")]

VERSIONS = {"-tls1_2": "TLSv1.2", "-tls1_3": "TLSv1.3"}

SESSIONS, TIMES = 4, 6
"""Sessions that are begun, and handshakes that go on with each."""


def handshakes(openssl: Openssl, place: Path, version: str) -> list[str]:
    """Return ``New`` or ``Reused`` for each handshake that came with a session."""
    kept, host = str(place / "session.pem"), f"app.{DOMAIN}"
    found = []
    for _ in range(SESSIONS):
        first = openssl.asks(host, version, "-sess_out", kept)
        assert f"New, {VERSIONS[version]}" in first, first
        for _ in range(TIMES):
            said = openssl.asks(host, version, "-sess_in", kept)
            assert "HTTP/1.1 200" in said, said
            assert "Verify return code: 0 (ok)" in said, said
            (line,) = (x for x in said.splitlines() if f", {VERSIONS[version]}, Cipher is" in x)
            found.append(line.split(",")[0])
    return found


@pytest.mark.parametrize("workers", [1, 2])
def test_the_share_of_short_handshakes(tmp_path: Path, workers: int) -> None:
    """With one worker every session resumes; with two, those that find the worker that has it."""
    (tmp_path / "ca.pem").write_bytes(authority().pem)
    daemon = Daemon(
        place=tmp_path / "daemon", issuer="http://127.0.0.1:1", settings={"workers": workers}
    )
    try:
        for version, shown in VERSIONS.items():
            found = handshakes(Openssl(tmp_path / "ca.pem", daemon.port), tmp_path, version)
            share = 100.0 * found.count("Reused") / len(found)
            note(
                f"resumed, {shown}, {workers} worker(s)",
                handshakes=len(found),
                percent=share,
            )
            assert set(found) <= {"New", "Reused"}
            if workers == 1:
                assert share == 100.0
    finally:
        daemon.stop()
