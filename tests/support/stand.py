"""
A daemon in memory whose upstreams answer at once; and what a request led to.

What an upstream was asked is read by h11, which shares nothing with our own parsers: if
those were wrong in both directions, it would still see what an upstream sees.
"""

from __future__ import annotations

from typing import Any

import attrs
import h11
from twisted.internet.interfaces import IAddress
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.access_log import AccessEntry
from pomeriumd.session.session import Identity
from pomeriumd.settings.model import RouteSettings, UpstreamURL
from tests.support.rig import Got, Rig, parse, request
from tests.support.settings import route

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

TURNS = 50
"""Requests on one connection after which something must be wrong."""


def named(name: str, **more: Any) -> RouteSettings:
    """Return a route to an upstream of this name, for Alice unless told otherwise."""
    given: dict[str, Any] = {
        "to": UpstreamURL("http", name, 80, ""),
        "allowed_users": ("alice@example.com",),
    }
    return route(**(given | more))


def public(name: str, **more: Any) -> RouteSettings:
    """Return a route for everybody to an upstream of this name."""
    given: dict[str, Any] = {"allowed_users": (), "allow_public_unauthenticated_access": True}
    return named(name, **(given | more))


@attrs.frozen
class Asked:
    """One request as an upstream got it."""

    upstream: str
    octets: bytes
    """Of the whole request, and of whatever stood behind it."""
    method: bytes = b""
    target: bytes = b""
    fields: tuple[tuple[bytes, bytes], ...] = ()
    """Names in lower case."""
    body: bytes = b""
    whole: bool = False
    behind: bytes = b""
    """What another reader would take for the next request."""

    @property
    def path(self) -> bytes:
        """Return the target without its query."""
        return self.target.partition(b"?")[0]

    def all(self, name: bytes) -> list[bytes]:
        """Return every value of a field."""
        return [value for given, value in self.fields if given == name]


def read(upstream: str, octets: bytes) -> Asked:
    """
    Read a request as an upstream does.

    Raises:
        h11.RemoteProtocolError: it is none.
    """
    peer = h11.Connection(h11.SERVER, max_incomplete_event_size=1_000_000)
    peer.receive_data(octets)
    head = peer.next_event()
    if not isinstance(head, h11.Request):
        return Asked(upstream, octets)
    body = []
    whole = False
    while isinstance(event := peer.next_event(), h11.Data | h11.EndOfMessage):
        if isinstance(event, h11.EndOfMessage):
            whole = True
            break
        body.append(bytes(event.data))
    return Asked(
        upstream,
        octets,
        head.method,
        head.target,
        tuple(head.headers),
        b"".join(body),
        whole,
        peer.trailing_data[0] if whole else b"",
    )


@attrs.frozen
class Answered:
    """One answer as a client got it."""

    status: int
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes
    whole: bool
    """Neither cut nor without end."""
    behind: bytes = b""
    """What came after it, if it was whole."""


def answers(octets: bytes, *, ended: bool, method: bytes = b"GET") -> list[Answered]:
    """
    Read answers as a client does that asked with one method again and again.

    Args:
        octets: all that came.
        ended: the connection ended in peace after them.
        method: of each request.

    Raises:
        h11.RemoteProtocolError: they are none.
    """
    found: list[Answered] = []
    while octets:
        found.append(_answer(octets, method, ended=ended))
        if not found[-1].whole:
            break
        octets = found[-1].behind
    return found


def _answer(octets: bytes, method: bytes, *, ended: bool) -> Answered:
    us = h11.Connection(h11.CLIENT, max_incomplete_event_size=1_000_000)
    us.send(h11.Request(method=method, target=b"/", headers=[(b"host", b"a")]))
    us.send(h11.EndOfMessage())
    us.receive_data(octets)
    if ended:
        us.receive_data(b"")
    head: h11.Response | h11.InformationalResponse | None = None
    body = b""
    try:
        while True:
            event = us.next_event()
            if isinstance(event, h11.InformationalResponse | h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            else:
                break
    except h11.RemoteProtocolError:
        if head is None or not ended:
            raise
        event = None  # it ended inside the body
    status, fields = (head.status_code, tuple(head.headers)) if head is not None else (0, ())
    whole = isinstance(event, h11.EndOfMessage)
    return Answered(status, fields, body, whole, us.trailing_data[0] if whole else b"")


@attrs.frozen
class Outcome:
    """What some bytes of a client led to."""

    got: bytes
    """All that the client received."""
    asked: tuple[Asked, ...]
    logged: tuple[AccessEntry, ...]
    ended: bool
    """We closed the connection, or cut it."""

    @property
    def answer(self) -> Got:
        """Return the first answer, with whatever came behind it."""
        return parse(self.got)

    @property
    def status(self) -> int:
        """Return the first answer's status; 0 if there was none."""
        return self.answer.status if self.got else 0

    @property
    def one(self) -> Asked:
        """Return the one request that reached an upstream."""
        (asked,) = self.asked
        return asked


class Stand(Rig):
    """A daemon in memory, one client at a time."""

    def send(self, *pieces: bytes, peer: IAddress | None = None, answer: bytes = OK) -> Outcome:
        """
        Send bytes on a connection of their own, and return what they led to.

        Args:
            pieces: what the client sends, piece by piece.
            peer: the client's address, if it matters.
            answer: what upstreams answer to each whole request.
        """
        client = self.connect(peer)
        self.logged.clear()
        asked: dict[int, bytes] = {}
        done: list[Asked] = []
        for piece in pieces:
            client.sends(piece)
            self._answer(asked, done, answer)
        got = client.got()
        ended = client.closing or client.aborted
        client.leaves()
        opened = self.upstreams.opened
        left = [read(opened[at].peer.host, octets) for at, octets in asked.items()]
        logged = tuple(self.logged)
        for server in opened:
            if server.gone:  # as a real transport would tell, and the pool has to know
                server.closes()
        opened[:] = [server for server in opened if not server.gone]
        return Outcome(got, (*done, *left), logged, ended)

    def _answer(self, asked: dict[int, bytes], done: list[Asked], answer: bytes) -> None:
        """Answer each whole request, which may let the next one through."""
        for _ in range(TURNS):
            moved = False
            for at, server in enumerate(self.upstreams.opened):
                octets = server.got()
                if not octets:
                    continue
                moved = True
                asked[at] = asked.get(at, b"") + octets
                seen = read(server.peer.host, asked[at])
                if seen.whole:
                    done.append(seen)
                    del asked[at]
                    server.sends(answer)
            if not moved:
                return
        raise AssertionError("no end to the requests")


class StandCase(SynchronousTestCase):
    """A family of variants, all sent to one daemon."""

    routes: tuple[RouteSettings, ...] = ()
    stand: Stand

    @classmethod
    def setUpClass(cls) -> None:
        """Start one daemon for all variants: what one leaves behind shows in the next."""
        cls.stand = Stand(*cls.routes)

    def ask(self, target: bytes, *fields: tuple[bytes, bytes], **more: Any) -> Outcome:
        """Send a request without a session."""
        return self.stand.send(request(target, *fields, **more))

    def ask_as(
        self, identity: Identity, target: bytes, *fields: tuple[bytes, bytes], **more: Any
    ) -> Outcome:
        """Send a request with somebody's session."""
        return self.ask(target, (b"cookie", self.stand.cookie(identity)), *fields, **more)
