"""dnsmasq, and what it answers for a name at the moment."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path

from tests.support.lan.hosts import Host, program


class Names:
    """
    A name server at port 53 of a host.

    Args:
        host: where it runs.
        place: a directory of the test's own.
        zone: it answers for names under this one itself, with what it is told or NXDOMAIN.
    """

    def __init__(self, host: Host, place: Path, zone: str = "internal") -> None:
        self.address = host.address
        self._hosts = place / "dnsmasq.hosts"
        self._hosts.touch()
        self._process = host.start(
            *(program("dnsmasq"), "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file"),
            *("--user=root", "--log-facility=-", "--no-resolv", "--no-hosts"),
            *(f"--addn-hosts={self._hosts}", f"--local=/{zone}/", "--local-ttl=0"),
            *("--bind-interfaces", f"--listen-address={host.address}"),
        )
        self._process.until(f"read {self._hosts} ")

    def say(self, name: str, addresses: Sequence[str]) -> None:
        """Answer with these addresses from now on."""
        said = len(self._process.lines)
        draft = self._hosts.with_suffix(".new")
        draft.write_text("".join(f"{address} {name}\n" for address in addresses))
        draft.replace(self._hosts)
        self._process.send(signal.SIGHUP)
        self._process.until(f"read {self._hosts} ", after=said)
