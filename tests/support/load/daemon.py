"""``twistd pomerium`` as a process, as an operator starts it, and what the kernel says of it."""

from __future__ import annotations

import base64
import json
import os
import resource
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from tests.support.certificates import authority, leaf
from tests.support.daemon import twistd
from tests.support.load.programs import until
from tests.support.load.wire import HOST
from tests.support.processes import free_port

PRIVATE = "private.example.test"
"""A host that nobody is let through to without a session."""

MIB = 1 << 20


def public(port: int, host: str = HOST, **more: Any) -> dict[str, Any]:
    """Return a route that lets everybody through to this port."""
    return {
        "from": f"https://{host}",
        "to": f"http://127.0.0.1:{port}",
        "allow_public_unauthenticated_access": True,
        "allow_websockets": True,
        **more,
    }


def private(port: int) -> dict[str, Any]:
    """Return a route for one person."""
    return {
        "from": f"https://{PRIVATE}",
        "to": f"http://127.0.0.1:{port}",
        "allowed_users": ["alice@example.com"],
    }


class Daemon:
    """
    The daemon, with TLS.

    Args:
        place: a directory of the test's own.
        routes: as the settings file has them.
        options: twistd's own, in front of ``pomerium``.
        limits: resource limits of the process, soft and hard.
        settings: more of them.
    """

    def __init__(
        self,
        place: Path,
        *routes: dict[str, Any],
        options: tuple[str, ...] = (),
        limits: dict[int, tuple[int, int]] | None = None,
        **settings: Any,
    ) -> None:
        self.place = place
        self.authority = place / "ca.pem"
        self.authority.write_bytes(authority().pem)
        self.port = free_port()
        given = {
            "address": f"127.0.0.1:{self.port}",
            "cookie_secret": base64.b64encode(os.urandom(32)).decode(),
            "authenticate_service_url": "https://authenticate.example.test",
            "idp_provider": "oidc",
            "idp_provider_url": "https://id.example.com",
            "idp_client_id": "x",
            "idp_client_secret": "y",
            "state_dir": str(place / "state"),
            "routes": list(routes),
        }
        self.process = twistd(
            place,
            leaf("*.example.test"),
            given | settings,
            *options,
            prepare=lambda: _limit(limits or {}),
        )

    def __enter__(self) -> Self:
        """Give it."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it, with patience."""
        self.stop()

    def stop(self) -> None:
        """End it, and have all that it said."""
        self.process.stop()

    def serving(self) -> Self:
        """Wait until it listens."""
        self.process.until("listens on")
        return self

    def answering(self) -> Self:
        """Wait until somebody accepts at its port: where its log goes elsewhere."""
        until(self._accepts)
        return self

    def _accepts(self) -> bool:
        assert self.process.runs, self.process.lines
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
        except ConnectionRefusedError:
            return False
        return True

    def _status(self, name: str) -> int:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            key, _, value = line.partition(":")
            if key == name:
                return int(value.split()[0]) * 1024
        raise AssertionError(f"no {name} in the process's status")

    @property
    def peak(self) -> int:
        """Bytes of memory that it has held at the most."""
        return self._status("VmHWM")

    @property
    def resident(self) -> int:
        """Bytes of memory that it holds."""
        return self._status("VmRSS")

    def descriptors(self) -> int:
        """Return how many descriptors it has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def cpu_seconds(self) -> float:
        """Return the processor time that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        ticks: int = os.sysconf("SC_CLK_TCK")
        return (int(fields[11]) + int(fields[12])) / ticks

    def log(self) -> list[dict[str, Any]]:
        """Return what it has logged so far to its standard output."""
        return [json.loads(line) for line in list(self.process.lines) if line.startswith("{")]

    def requests(self, wanted: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """Return those lines of the access log."""
        return [line for line in self.log() if line["message"] == "http-request" and wanted(line)]


def _limit(limits: dict[int, tuple[int, int]]) -> None:
    for which, both in limits.items():
        resource.setrlimit(which, both)
