"""``twistd pomerium`` as a process, as an operator starts it, and what the kernel says of it."""

from __future__ import annotations

import base64
import json
import os
import resource
import secrets
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from pomeriumd.crypto.keys import SharedKeys
from pomeriumd.session.session import Identity, Session
from pomeriumd.session.token import encode
from tests.support.certificates import authority, leaf
from tests.support.daemon import twistd
from tests.support.load import kernel
from tests.support.load.programs import until
from tests.support.load.wire import HOST
from tests.support.processes import free_port

PRIVATE = "private.example.test"
"""A host that nobody is let through to without a session."""

AUTHENTICATE = "https://authenticate.example.test"
PROVIDER = "https://id.example.com"
"""Nobody signs in under load, so nobody asks it."""

MIB = 1 << 20

HOURS_10 = 10 * 3600


def public(port: int, host: str = HOST, **more: Any) -> dict[str, Any]:
    """Return a route that lets everybody through to this port."""
    return {
        "from": f"https://{host}",
        "to": f"http://127.0.0.1:{port}",
        "allow_public_unauthenticated_access": True,
        "allow_websockets": True,
        **more,
    }


def private(port: int, *users: str) -> dict[str, Any]:
    """Return a route for some people; for one if none are named."""
    return {
        "from": f"https://{PRIVATE}",
        "to": f"http://127.0.0.1:{port}",
        "allowed_users": list(users) or ["alice@example.com"],
        "allow_websockets": True,
    }


class Daemon:
    """
    The daemon, with TLS. One process, unless told otherwise.

    Args:
        place: a directory of the test's own.
        routes: as the settings file has them.
        options: twistd's own, in front of ``pomerium``.
        limits: resource limits of the process, soft and hard.
        settings: more of them; None takes one out.
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
        self._shared = secrets.token_bytes(32)
        given: dict[str, Any] = {
            "address": f"127.0.0.1:{self.port}",
            "workers": 1,
            "shared_secret": base64.b64encode(self._shared).decode(),
            "cookie_secret": base64.b64encode(os.urandom(32)).decode(),
            "authenticate_service_url": AUTHENTICATE,
            "idp_provider": "oidc",
            "idp_provider_url": PROVIDER,
            "idp_client_id": "x",
            "idp_client_secret": "y",
            "state_dir": str(place / "state"),
            "routes": list(routes),
            **settings,
        }
        self.settings = {key: value for key, value in given.items() if value is not None}
        self.process = twistd(
            place,
            leaf("*.example.test"),
            self.settings,
            *options,
            prepare=lambda: _prepare(limits or {}),
        )
        self.config = place / "config.json"
        self._pair = json.loads(self.config.read_text())["certificates"]

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

    # Its settings

    def rewrite(self, **settings: Any) -> None:
        """Put other settings in place of those of before, as a careful editor does."""
        self.settings |= settings
        self.put(json.dumps({"certificates": self._pair, **self.settings}))

    def put(self, text: str) -> None:
        """Put this in place of the settings file."""
        beside = self.config.with_suffix(".new")
        beside.touch(mode=0o600)
        beside.write_text(text)
        beside.replace(self.config)

    def hang_up(self) -> None:
        """Tell it that there are new settings."""
        self.process.send(signal.SIGHUP)

    def status(self) -> dict[str, Any]:
        """Return what it says of itself; ``pomeriumd status --json`` asks the same."""
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(60)
            asking.connect(str(self.place / "state" / "control.sock"))
            asking.sendall(b"status\n")
            said = b"".join(iter(lambda: asking.recv(1 << 16), b""))
        told: dict[str, Any] = json.loads(said)
        return told

    def cookie(self, email: str, host: str = PRIVATE) -> str:
        """Return the cookie of somebody who has signed in just now."""
        now = int(time.time())  # noqa: TID251  # the daemon looks at the clock, too
        session = Session(
            id=secrets.token_urlsafe(16),
            identity=Identity(issuer=PROVIDER, subject=email, email=email),
            issuer=AUTHENTICATE,
            audience=f"{host}:443",
            auth_time=now,
            checked=now,
            recheck=now + 600,
            seen=now,
            expires=now + HOURS_10,
        )
        return (
            f"__Host-_pomerium={encode(session, SharedKeys.derived([self._shared]).route_session)}"
        )

    # Its processes

    def workers(self) -> list[int]:
        """Return the processes that serve; by the kernel's word its children, or itself."""
        if self.settings["workers"] == 1:
            return [self.process.pid]
        return [worker["pid"] for worker in self.status()["workers"] if worker["pid"]]

    def owners(self) -> dict[int, int]:
        """Return which worker has each connection, by the client's port."""
        return kernel.owners(self.port, self.workers())

    @property
    def peak(self) -> int:
        """Bytes of memory that it has held at the most."""
        return kernel.memory(self.process.pid, "VmHWM")

    @property
    def resident(self) -> int:
        """Bytes of memory that it holds."""
        return kernel.memory(self.process.pid, "VmRSS")

    def descriptors(self) -> int:
        """Return how many descriptors it has open."""
        return kernel.descriptors(self.process.pid).total()

    def cpu_seconds(self) -> float:
        """Return the processor time that it has used."""
        return kernel.cpu_seconds(self.process.pid)

    def log(self) -> list[dict[str, Any]]:
        """Return what it has logged so far to its standard output."""
        return [json.loads(line) for line in list(self.process.lines) if line.startswith("{")]

    def requests(self, wanted: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """Return those lines of the access log."""
        return [line for line in self.log() if line["message"] == "http-request" and wanted(line)]


def _prepare(limits: dict[int, tuple[int, int]]) -> None:
    # A session of its own: its processes are found by it, and a terminal's signals reach it alone.
    os.setsid()
    for which, both in limits.items():
        resource.setrlimit(which, both)
