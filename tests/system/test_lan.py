"""The rig of several hosts does what the tests that stand on it take for granted."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.lan.hosts import NAMED, OF_NAMESPACES, Lan, possible, sweep
from tests.support.lan.names import Names
from tests.support.processes import Running

pytestmark = [pytest.mark.system, pytest.mark.needs("ip", "nft", "dnsmasq")]

PORT = 8000

LISTEN = """
import socket, sys
listening = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("listens", flush=True)
while True:
    listening.accept()[0].close()
"""


@pytest.fixture
def lan() -> Iterator[Lan]:
    """A network without hosts."""
    if not possible():
        pytest.skip("no network namespaces: needs root")
    with Lan() as lan:
        yield lan


def test_a_host_is_cut_off_and_mended(lan: Lan) -> None:
    """Nothing answers for a host that is cut off, not even a refusal; then it is there again."""
    here, there = lan.host("here", 1), lan.host("there", 2)
    there.start(sys.executable, "-c", LISTEN, there.address, str(PORT)).until("listens")
    here.connect(there.address, PORT).close()
    there.cut()
    with pytest.raises(TimeoutError):
        here.connect(there.address, PORT)
    there.mend()
    here.connect(there.address, PORT).close()


def test_names_lead_to_what_was_said_last(lan: Lan, tmp_path: Path) -> None:
    """The system's resolver on a host asks our name server, and hears what it was told."""
    here = lan.host("here", 1)
    names = Names(lan.host("names", 2), tmp_path)
    here.name_servers(names.address)
    for said in (["10.99.5.31", "10.99.5.32"], ["10.99.5.33"], []):
        names.say("authorize.internal", said)
        found = subprocess.run(
            here.inside("getent", "ahosts", "authorize.internal"),
            capture_output=True,
            text=True,
            check=False,
        )
        assert sorted({line.split()[0] for line in found.stdout.splitlines()}) == said


@pytest.mark.usefixtures("lan")
def test_nothing_is_left() -> None:
    """When a network goes, its programs, namespaces and files have gone."""
    programs: list[Running] = []
    with Lan() as another:
        host = another.host("here", 1)
        host.name_servers("10.99.5.2")
        programs.append(host.start("sleep", "3600"))
        namespace = host.namespace
        assert (NAMED / namespace).exists()
    assert not programs[0].runs
    assert not (NAMED / namespace).exists()
    assert not (OF_NAMESPACES / namespace).exists()


def test_what_a_killed_run_left(lan: Lan) -> None:
    """Namespaces of a process that is no more are taken away, and those of others are not."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    left = f"rig-{gone.pid}-1-here"
    subprocess.run(["ip", "netns", "add", left], check=True)
    ours = lan.host("here", 1).namespace
    sweep()
    assert not (NAMED / left).exists()
    assert (NAMED / ours).exists()
