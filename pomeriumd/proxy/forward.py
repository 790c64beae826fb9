"""
One request on its way to its upstream, both bodies, and every way in which it can end.

Two sides, crossed: what arrives at one is written to the other, and what a side cannot
take pauses the side that feeds it. Nothing is gathered: what is held at any time is what
the two transports hold, and they say when that is enough.

Sent again is only what cannot have been acted on: a request without a body, of a method
that is safe, on a connection that had been used before and died without one byte of an
answer. Such a connection was closed by the upstream while the request travelled.

Once the head of the answer has gone out there is no other answer: whatever goes wrong
then cuts the connection, so that a client sees a broken answer and never a short one.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint

from pomeriumd.errors import PomeriumError, UpstreamBroken
from pomeriumd.http.events import Field, Response
from pomeriumd.http.fields import FieldLines
from pomeriumd.net.exchange import SWITCHING, Exchange
from pomeriumd.net.pauses import CLIENT, UPSTREAM
from pomeriumd.net.peer import Peer
from pomeriumd.net.upstream import UpstreamConnection
from pomeriumd.net.upstreams import Upstreams
from pomeriumd.proxy.client_certificates import Wanted
from pomeriumd.proxy.outbound import Outbound
from pomeriumd.proxy.running import run

SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS"})
"""Methods that may be sent twice (RFC 9110, 9.2.1)."""


@attrs.frozen(kw_only=True, eq=False)
class Way:
    """How requests of one route go to their upstream."""

    outbound: Outbound
    peer: Peer
    endpoint: IStreamClientEndpoint
    """That reaches the peer."""
    timeout: float
    """Seconds until the head of the answer."""
    client: Wanted | None = None
    """What it wants of the client's certificate."""
    stall: float
    """Seconds between two pieces of the answer, or of a tunnel in either direction."""


class Forward:
    """
    Carries one request to its upstream and the answer back: the sink of both sides.

    Args:
        exchange: the client's side.
        way: where to and how.
        upstreams: give connections.
        target: the request target for the upstream.
        fields: the fields for the upstream, all of them.
        cookie: fields of ours that the answer carries too.
        clock: seconds, for durations.
        fail: answers an exchange with an error.
    """

    _connection: UpstreamConnection | None = None
    _reused = False
    _began = 0.0
    _over = False
    """The client has left, or the answer has ended; what still comes is for nobody."""
    _held_back = False
    """The client is not read because the upstream is slow."""

    def __init__(
        self,
        exchange: Exchange,
        way: Way,
        upstreams: Upstreams,
        target: bytes,
        fields: FieldLines,
        cookie: tuple[Field, ...],
        clock: Callable[[], float],
        fail: Callable[[Exchange, BaseException], None],
    ) -> None:
        self._exchange = exchange
        self._way = way
        self._upstreams = upstreams
        self._target = target
        self._fields = fields
        self._cookie = cookie
        self._clock = clock
        self._fail = fail

    async def send(self, *, fresh: bool = False) -> None:
        """
        Lease a connection and cross the two sides; the rest is told to the methods below.

        Args:
            fresh: take no connection that has carried a request before.

        Raises:
            UpstreamError: no connection was to be had.
        """
        exchange, way, request = self._exchange, self._way, self._exchange.request
        leased = self._upstreams.lease(way.peer, way.endpoint, fresh=fresh)
        connection = await leased if isinstance(leased, Deferred) else leased
        if exchange.over:  # the client left while we waited
            connection.unused()
            return
        self._over = False
        self._connection = connection
        self._reused = connection.served > 0
        self._began = self._clock()
        connection.start(
            self, request.method, self._target, self._fields, request.length, request.upgrade
        )
        connection.expect(way.timeout, way.stall)
        exchange.listen(self)

    # What the client does: net.exchange.Sink. Nothing of it comes before send().

    def data(self, octets: bytes) -> None:
        """Pass a piece of the request's body on."""
        if not self._over:
            self._upstream.send(octets)

    def end(self, trailers: tuple[Field, ...]) -> None:
        """Pass the end of the request on."""
        if not self._over:
            self._upstream.finish(self._way.outbound.trailers(trailers) if trailers else ())

    def lost(self, error: PomeriumError) -> None:
        """The client left: the upstream's work is for nobody."""
        del error  # the exchange has noted it
        if not self._over:
            self._over = True
            self._upstream.cut()

    def flush(self) -> None:
        """Let the upstream have what came."""
        if not self._over:
            self._upstream.flush()

    def full(self) -> None:
        """The client is slow: read no more of the answer."""
        if not self._over:
            self._upstream.pause(CLIENT)

    def drained(self) -> None:
        """The client has caught up."""
        if not self._over:
            self._upstream.resume(CLIENT)

    # What the upstream does: net.upstream.Asker

    def responded(self, response: Response) -> None:
        """Pass the head of the answer on, as far as it may cross."""
        exchange = self._exchange
        exchange.upstream = self._clock() - self._began
        status, fields, length = response
        fields = self._way.outbound.response_fields(fields)
        if self._cookie and not _for_everybody(fields):
            fields += self._cookie
        passed = Response(status, fields, length)
        if status != SWITCHING:
            exchange.respond(passed)
            return
        ahead = exchange.switch(passed)
        if ahead:
            self._upstream.send(ahead)
            self._upstream.flush()

    def answer_data(self, octets: bytes) -> None:
        """Pass a piece of the answer on."""
        self._exchange.send(octets)

    def answer_end(self, trailers: tuple[Field, ...]) -> None:
        """The answer is complete."""
        self._over = True
        self.upstream_drained()
        self._exchange.finish(trailers)

    def answer_lost(self, error: PomeriumError) -> None:
        """The upstream failed: try again, say so, or cut."""
        self._over = True
        self.upstream_drained()
        if self._swallowed(error):
            run(self.send(fresh=True), self._exchange, self._fail)
        else:
            self._fail(self._exchange, error)

    def answer_flush(self) -> None:
        """Let the client have what came."""
        self._exchange.flush()

    def upstream_full(self) -> None:
        """The upstream is slow: read no more of the request."""
        self._held_back = True
        self._exchange.pause(UPSTREAM)

    def upstream_drained(self) -> None:
        """The upstream has caught up, or wants no more."""
        if self._held_back:
            self._held_back = False
            self._exchange.resume(UPSTREAM)

    @property
    def _upstream(self) -> UpstreamConnection:
        assert self._connection is not None  # noqa: S101  # for the type checker
        return self._connection

    def _swallowed(self, error: PomeriumError) -> bool:
        """Tell whether an old connection took the request with it when it closed."""
        request = self._exchange.request
        return (
            self._reused
            and self._upstream.unanswered
            and isinstance(error, UpstreamBroken)
            and request.method in SAFE
            and request.length == 0
            and request.upgrade is None
        )


def _for_everybody(fields: list[Field]) -> bool:
    """
    Say whether a shared cache may keep an answer: a cookie in it would reach strangers.

    Source: RFC 9111 section 5.2.2.
    """
    return any(
        name == b"cache-control" and (b"public" in value.lower() or b"s-maxage" in value.lower())
        for name, value in fields
    )
