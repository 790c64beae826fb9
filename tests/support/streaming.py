"""Exchanges that last, at a daemon in memory: one in each phase that an exchange can be in."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from pomeriumd.session.session import Identity
from tests.support.rig import ALICE, Rig, request
from tests.support.serving import MemoryClient
from tests.support.upstreams import MemoryServer

WEBSOCKET = (
    (b"connection", b"Upgrade"),
    (b"upgrade", b"websocket"),
    (b"sec-websocket-version", b"13"),
    (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@attrs.define(eq=False)
class Lasting:
    """A client, and the connection to the upstream that its exchange has."""

    rig: Rig
    client: MemoryClient
    upstream: MemoryServer

    @property
    def cut(self) -> bool:
        """Both sides have been broken off, or neither has."""
        assert self.client.aborted == (self.upstream.gone or self.upstream.aborted)
        return self.client.aborted


@attrs.define(eq=False)
class WebSocket(Lasting):
    """A tunnel."""

    def flows(self) -> bool:
        """Send something each way, and say whether it arrived."""
        if self.cut:
            return False
        self.upstream.got(), self.client.got()
        self.client.sends(b"up")
        self.upstream.sends(b"down")
        return (self.upstream.got(), self.client.got()) == (b"up", b"down")


def asking(rig: Rig, client: MemoryClient, octets: bytes) -> MemoryServer:
    """Send a request, and return the upstream's connection that it came out of."""
    for server in rig.upstreams.opened:
        server.got()
    client.sends(octets)
    (asked,) = [server for server in rig.upstreams.opened if server.transport.value()]
    return asked


Fields = tuple[tuple[bytes, bytes], ...]


def _who(rig: Rig, identity: Identity | None, **more: object) -> Fields:
    if identity is None:
        return ()
    return ((b"cookie", rig.cookie(identity, **more)),)


def websocket(
    rig: Rig, identity: Identity | None = ALICE, target: bytes = b"/ws", **more: object
) -> WebSocket:
    """Open a WebSocket; ``more`` is of its session."""
    client = rig.connect()
    octets = request(target, *_who(rig, identity, **more), *WEBSOCKET)
    upstream = asking(rig, client, octets)
    upstream.sends(SWITCH)
    assert client.got().startswith(b"HTTP/1.1 101"), "no tunnel"
    return WebSocket(rig, client, upstream)


def _waiting(rig: Rig, fields: Fields) -> Lasting:
    """The whole request is at the upstream."""
    client = rig.connect()
    return Lasting(rig, client, asking(rig, client, request(b"/slow", *fields)))


def _uploading(rig: Rig, fields: Fields) -> Lasting:
    """Half of the body is on its way."""
    client = rig.connect()
    head = request(b"/up", *fields, (b"content-length", b"10"), method=b"POST")
    upstream = asking(rig, client, head)
    client.sends(b"12345")
    return Lasting(rig, client, upstream)


def _downloading(rig: Rig, fields: Fields) -> Lasting:
    """Half of the answer is on its way."""
    lasting = _waiting(rig, fields)
    lasting.upstream.sends(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345")
    return lasting


def _events(rig: Rig, fields: Fields) -> Lasting:
    """An answer without an end that is known."""
    lasting = _waiting(rig, fields)
    lasting.upstream.sends(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
        b"transfer-encoding: chunked\r\n\r\n5\r\ndata:\r\n"
    )
    return lasting


def _switching(rig: Rig, fields: Fields) -> Lasting:
    """A WebSocket that the upstream has not agreed to yet."""
    client = rig.connect()
    return Lasting(rig, client, asking(rig, client, request(b"/ws", *fields, *WEBSOCKET)))


def _tunnel(rig: Rig, fields: Fields) -> Lasting:
    """A WebSocket that is open."""
    lasting = _switching(rig, fields)
    lasting.upstream.sends(SWITCH)
    return lasting


PHASES: Mapping[str, Callable[[Rig, Fields], Lasting]] = {
    "waiting": _waiting,
    "uploading": _uploading,
    "downloading": _downloading,
    "events": _events,
    "switching": _switching,
    "tunnel": _tunnel,
}


def lasting(phase: str, rig: Rig, identity: Identity | None = ALICE, **more: object) -> Lasting:
    """Return an exchange in this phase; ``more`` is of its session."""
    return PHASES[phase](rig, _who(rig, identity, **more))
