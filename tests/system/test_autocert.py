"""Certificates from Pebble, a real ACME server, for daemons that serve all the while."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pebble import HOSTS, Ordering, Pebble
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
