"""
The whole way of a request in memory: a client, the real path, an upstream.

Everything between the two transports is the product's own, built by ``daemon.build`` from
settings; only sockets, time and chance are doubles.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.web.iweb import IAgent, IResponse
from zope.interface import implementer

from pomeriumd.crypto.keys import SharedKeys
from pomeriumd.daemon.access_log import AccessEntry
from pomeriumd.daemon.build import Built, building
from pomeriumd.daemon.front import Front
from pomeriumd.daemon.sweep import Sweep
from pomeriumd.daemon.world import World
from pomeriumd.http.limits import Limits
from pomeriumd.net.deadlines import Deadlines
from pomeriumd.net.server import ServerConnection
from pomeriumd.net.upstreams import Connector, Upstreams
from pomeriumd.pieces import Pieces, finish
from pomeriumd.proxy.path import Edge
from pomeriumd.session.session import Identity, Session
from pomeriumd.session.token import encode
from pomeriumd.settings.model import RouteSettings
from tests.support.serving import MemoryClient
from tests.support.settings import AUTHENTICATE, ISSUER, SHARED, make_settings
from tests.support.upstreams import MemoryUpstreams

NOW = 1_790_000_000
"""A Monday in September 2026."""

ALICE = Identity(issuer=ISSUER, subject="alice", email="alice@example.com", groups=("staff",))
MALLORY = Identity(issuer=ISSUER, subject="mallory", email="mallory@example.org")


@implementer(IAgent)
class NoProvider:
    """A provider that nobody may ask in this test."""

    def request(self, *asked: Any, **more: Any) -> Deferred[IResponse]:
        """Refuse."""
        del more
        return fail(AssertionError(f"the provider was asked: {asked[:2]}"))


@attrs.define(eq=False)
class Chance:
    """Bytes that are different each time and the same in each run."""

    count: int = 0

    def __call__(self, size: int) -> bytes:
        """Return ``size`` of them."""
        self.count += 1
        return hashlib.shake_128(b"%d" % self.count).digest(size)


class Rig:
    """A daemon in memory."""

    def __init__(
        self,
        *routes: RouteSettings,
        agent: IAgent | None = None,
        connector: Connector | None = None,
        clock: Clock | None = None,
        **more: Any,
    ) -> None:
        self.settings = make_settings(*routes, **more)
        self.clock = clock or Clock()
        self.clock.advance(NOW)
        self.set_by = 0.0
        """Seconds by which the time of day was set; timers go by the clock alone."""
        self.upstreams = MemoryUpstreams()
        self.logged: list[AccessEntry] = []
        self.listeners: list[Callable[[AccessEntry], None]] = []
        """Who else is given each entry."""
        self.world = World(
            agent=agent or NoProvider(),
            clock=self.clock,
            now=self.now,
            random=Chance(),
            connector=connector or self.upstreams,
        )
        limits, deadlines = Limits(), Deadlines(self.clock)
        self.pools = Upstreams(
            limits, deadlines, self.clock, self.settings.upstream_max_connections
        )
        self.front = Front(
            built=finish(self._building(limits)),
            edge=Edge(upstreams=self.pools, now=self.now, clock=self.clock.seconds),
            limits=limits,
            deadlines=deadlines,
            record=self._record,
            run_id="rig",
        )

    def _record(self, entry: AccessEntry) -> None:
        self.logged.append(entry)
        for listen in self.listeners:
            listen(entry)

    def sweeps(self) -> None:
        """Have the streams decided again every two seconds from now on."""
        self.told: list[str] = []
        """Sessions that the other processes were told of."""
        self.sweep = Sweep(self.front, self.clock, self.told.append)
        self.sweep.startService()

    def reload(self, *routes: RouteSettings, **more: Any) -> None:
        """Put new settings in force, as a reload does; what is not given is as in any settings."""
        self.settings = make_settings(*routes, **more)
        self.front.swap(finish(self._building(self.front.limits, self.front.built)))
        most = self.settings.upstream_max_connections
        finish(self.pools.keep(self.front.built.endpoints.keys(), most))

    def _building(self, limits: Limits, before: Built | None = None) -> Pieces[Built]:
        secret = self.settings.shared_secret
        assert secret is not None
        return building(self.settings, secret.reveal(), self.world, limits, before)

    def now(self) -> float:
        """Return seconds since the epoch."""
        return float(self.clock.seconds()) + self.set_by

    def connect(self, peer: IAddress | None = None) -> MemoryClient:
        """Open a connection, from this address if it matters."""
        client = MemoryClient(ServerConnection(self.front))
        if peer is not None:
            client.transport.peerAddr = peer
        client.protocol.makeConnection(client.transport)
        return client

    def session(self, identity: Identity = ALICE, **more: Any) -> Session:
        """Return a session at app.example.com that has just begun."""
        now = int(self.now())
        given: dict[str, Any] = {
            "id": "session-1",
            "identity": identity,
            "issuer": AUTHENTICATE.text,
            "audience": "app.example.com:443",
            "auth_time": now,
            "checked": now,
            "recheck": now + 600,
            "seen": now,
            "expires": now + 14 * 3600,
        }
        return Session(**(given | more))

    def token(self, identity: Identity = ALICE, **more: Any) -> str:
        """Return the token of such a session."""
        return encode(self.session(identity, **more), SharedKeys.derived([SHARED]).route_session)

    def cookie(self, identity: Identity = ALICE, **more: Any) -> bytes:
        """Return a Cookie field's value with such a session."""
        return b"__Host-_pomerium=" + self.token(identity, **more).encode("ascii")

    def pass_time(self, seconds: float) -> None:
        """Let time pass, in steps that no tick is skipped by."""
        for _ in range(int(seconds * 2)):
            self.clock.advance(0.5)


NAVIGATION = (
    (b"accept", b"text/html,application/xhtml+xml"),
    (b"sec-fetch-mode", b"navigate"),
    (b"sec-fetch-dest", b"document"),
)


def request(
    target: bytes = b"/",
    *fields: tuple[bytes, bytes],
    method: bytes = b"GET",
    host: bytes = b"app.example.com",
    body: bytes = b"",
) -> bytes:
    """Return a request's bytes."""
    lines = [b"%s %s HTTP/1.1" % (method, target), b"host: " + host]
    lines += [name + b": " + value for name, value in fields]
    if body:
        lines.append(b"content-length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@attrs.frozen
class Got:
    """An answer as a client reads it."""

    status: int
    fields: list[tuple[bytes, bytes]]
    body: bytes

    def field(self, name: bytes) -> bytes:
        """Return the one value of a field, b"" when it is not there."""
        values = self.all(name)
        assert len(values) < 2, f"{name!r} came {len(values)} times"
        return values[0] if values else b""

    def all(self, name: bytes) -> list[bytes]:
        """Return every value of a field."""
        return [value for given, value in self.fields if given.lower() == name]


def parse(octets: bytes) -> Got:
    """Read one whole answer."""
    head, _, body = octets.partition(b"\r\n\r\n")
    line, *fields = head.split(b"\r\n")
    pairs = [tuple(field.split(b": ", 1)) for field in fields]
    return Got(int(line.split(b" ")[1]), pairs, body)  # type: ignore[arg-type]
