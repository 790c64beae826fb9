"""Hosts: network namespaces, each with one interface on a bridge that all share."""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import attrs

from pomeriumd.cli.demo.children import die_with_parent
from tests.support.processes import PATIENCE_SECONDS, Running

NET = "10.99.5"
"""The first three numbers of every address; nothing outside the namespaces ever sees one."""

NAMED = Path("/run/netns")
OF_NAMESPACES = Path("/etc/netns")
"""``ip netns exec`` puts the files in NAME/ there over those in /etc, for what it starts."""

_CLONE_NEWNET = 0x40000000

_OURS = re.compile(r"rig-(\d+)-")

_CUT = """
table inet cut {
  chain in { type filter hook input priority 0; policy drop; iif lo accept; }
  chain out { type filter hook output priority 0; policy drop; oif lo accept; }
}
"""

_count = itertools.count(1)


def possible() -> bool:
    """Return whether we may make namespaces here."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"rig-{os.getpid()}-may"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False)
    if made.returncode == 0:
        _ip("netns", "del", name)
    return made.returncode == 0


def program(name: str) -> str:
    """Return the path of a program; Debian keeps daemons where a user's path does not lead."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise LookupError(name)
    return found


@attrs.define(eq=False)
class Host:
    """
    One host.

    Attributes:
        namespace: its name, of this test run alone.
        address: of its one interface.
    """

    namespace: str
    address: str
    _ends: ExitStack = attrs.Factory(ExitStack)

    def start(
        self,
        *command: str | Path,
        more: Mapping[str, str] | None = None,
        where: Path | None = None,
        fed: bool = False,
    ) -> Running:
        """Start a program here; it ends with the host, or with us if we die."""
        parent, libc = os.getpid(), ctypes.CDLL(None)
        running = Running(
            self.inside(*command),
            more=more or {},
            where=where,
            fed=fed,
            prepare=lambda: die_with_parent(parent, libc),
        )
        self._ends.callback(_over, running)
        return running

    def inside(self, *command: str | Path) -> list[str | Path]:
        """Return the words that run a command here, as the process that is started."""
        return [program("ip"), "netns", "exec", self.namespace, *command]

    def name_servers(self, *addresses: str) -> None:
        """Have what is started here from now on ask these for names, and wait a second at most."""
        place = OF_NAMESPACES / self.namespace
        place.mkdir(parents=True, exist_ok=True)
        lines = [*(f"nameserver {each}" for each in addresses), "options timeout:1 attempts:2"]
        (place / "resolv.conf").write_text("\n".join(lines) + "\n")

    def cut(self) -> None:
        """Drop every packet from and to this host without a word, from now on."""
        subprocess.run(
            self.inside(program("nft"), "-f", "-"), input=_CUT, text=True, check=True, timeout=60
        )

    def mend(self) -> None:
        """Undo cut()."""
        subprocess.run(
            self.inside(program("nft"), "delete", "table", "inet", "cut"), check=True, timeout=60
        )

    def packets(self) -> int:
        """Return how many have reached this host: the kernel's word for who is asked."""
        (link,) = json.loads(_ip("-n", self.namespace, "-j", "-s", "link", "show", "eth0"))
        count: int = link["stats64"]["rx"]["packets"]
        return count

    def connect(self, address: str, port: int) -> socket.socket:
        """Return a connection from this host."""
        opened: list[socket.socket | OSError] = []

        def dial() -> None:
            # A thread may be in another namespace than its process, and this one ends with it.
            with (NAMED / self.namespace).open() as there:
                assert _libc.setns(there.fileno(), _CLONE_NEWNET) == 0, ctypes.get_errno()
            try:
                opened.append(socket.create_connection((address, port), 10))
            except OSError as error:
                opened.append(error)

        thread = threading.Thread(target=dial)
        thread.start()
        thread.join(PATIENCE_SECONDS)
        (result,) = opened
        if isinstance(result, OSError):
            raise result
        return result

    def close(self) -> None:
        """End what runs here, and take the host away."""
        self._ends.close()
        shutil.rmtree(OF_NAMESPACES / self.namespace, ignore_errors=True)
        _ip("netns", "del", self.namespace)


class Lan:
    """The bridge, and the hosts on it; all of them go when it does."""

    def __init__(self) -> None:
        sweep()
        self._stem = f"rig-{os.getpid()}-{next(_count)}"
        self.hosts: list[Host] = []
        self._middle = f"{self._stem}-middle"
        _ip("netns", "add", self._middle)
        try:
            _ip("-n", self._middle, "link", "add", "bridge", "type", "bridge")
            _ip("-n", self._middle, "link", "set", "bridge", "up")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        """Give it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Take it away."""
        self.close()

    def host(self, name: str, number: int) -> Host:
        """Return a new host; its address is 10.99.5.NUMBER."""
        namespace, port = f"{self._stem}-{name}", f"port{number}"
        host = Host(namespace, f"{NET}.{number}")
        _ip("netns", "add", namespace)
        self.hosts.append(host)
        veth = ("link", "add", port, "netns", self._middle, "type", "veth")
        _ip(*veth, "peer", "name", "eth0", "netns", namespace)
        _ip("-n", self._middle, "link", "set", port, "master", "bridge", "up")
        _ip("-n", namespace, "address", "add", f"{host.address}/24", "dev", "eth0")
        _ip("-n", namespace, "link", "set", "eth0", "up")
        _ip("-n", namespace, "link", "set", "lo", "up")
        return host

    def close(self) -> None:
        """Take all of it away, the youngest first."""
        with ExitStack() as all_of_it:
            all_of_it.callback(_ip, "netns", "del", self._middle)
            for host in self.hosts:
                all_of_it.callback(host.close)


def sweep() -> None:
    """Take away what runs of this rig have left that were killed: their process is no more."""
    places = [*NAMED.glob("rig-*"), *OF_NAMESPACES.glob("rig-*")]
    for name in {place.name for place in places}:
        found = _OURS.match(name)
        if found and not Path("/proc", found[1]).exists():
            shutil.rmtree(OF_NAMESPACES / name, ignore_errors=True)
            if (NAMED / name).exists():
                _ip("netns", "del", name)


_libc = ctypes.CDLL(None, use_errno=True)


def _over(running: Running) -> None:
    # One that was killed by the test has been waited for, or is now.
    running.stop()


def _ip(*words: str) -> str:
    done = subprocess.run(
        [program("ip"), *words], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
    return done.stdout


def addresses(hosts: Sequence[Host]) -> list[str]:
    """Return the address of each."""
    return [host.address for host in hosts]
