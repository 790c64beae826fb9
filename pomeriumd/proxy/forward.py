"""
One request on its way to its upstream: the lease, the relay, and the one second try.

Sent again is only what cannot have been acted on: a request without a body, of a method
that is safe, on a connection that had been used before and died without one byte of an
answer. Such a connection was closed by the upstream while the request travelled.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred

from pomeriumd.errors import PomeriumError, UpstreamBroken
from pomeriumd.http.events import Field
from pomeriumd.net.exchange import Exchange
from pomeriumd.net.peer import Peer
from pomeriumd.net.upstream import UpstreamConnection
from pomeriumd.net.upstreams import Upstreams
from pomeriumd.proxy.outbound import Outbound
from pomeriumd.proxy.relay import Answering, Relay
from pomeriumd.proxy.running import run

SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS"})
"""Methods that may be sent twice (RFC 9110, 9.2.1)."""


@attrs.frozen(kw_only=True, eq=False)
class Way:
    """How requests of one route go to their upstream."""

    outbound: Outbound
    peer: Peer
    timeout: float
    """Seconds until the head of the answer."""
    stall: float
    """Seconds between two pieces of the answer, or of a tunnel in either direction."""


@attrs.define(eq=False, kw_only=True)
class Forward:
    """
    Carries one request to its upstream and the answer back.

    Args:
        exchange: the client's side.
        way: where to and how.
        target: the request target for the upstream.
        fields: the fields for the upstream, all of them.
        cookie: fields of ours that the answer carries too.
        clock: seconds, for durations.
        fail: answers the exchange with an error.
    """

    exchange: Exchange
    way: Way
    upstreams: Upstreams
    target: bytes
    fields: list[Field]
    cookie: tuple[Field, ...]
    clock: Callable[[], float]
    fail: Callable[[BaseException], None]
    _connection: UpstreamConnection | None = attrs.field(init=False, default=None)
    _reused: bool = attrs.field(init=False, default=False)
    _began: float = attrs.field(init=False, default=0.0)

    async def send(self, *, fresh: bool = False) -> None:
        """
        Lease a connection and cross the two sides; what follows is the relay's.

        Raises:
            UpstreamError: no connection was to be had.
        """
        exchange, way, request = self.exchange, self.way, self.exchange.request
        leased = self.upstreams.lease(way.peer, fresh=fresh)
        connection = await leased if isinstance(leased, Deferred) else leased
        if exchange.over:  # the client left while we waited
            connection.unused()
            return
        self._connection = connection
        self._reused = connection.served > 0
        self._began = self.clock()
        relay = Relay(
            exchange=exchange,
            connection=connection,
            fields=self._fields_back,
            trailers=way.outbound.trailers,
            failed=self._failed,
            answered=self._answered,
        )
        connection.start(
            Answering(relay),
            request.method,
            self.target,
            self.fields,
            request.length,
            request.upgrade,
        )
        connection.expect(way.timeout, way.stall)
        exchange.listen(relay)
        if request.length == 0:
            # Said here and not only by the client's connection, which says it once: a
            # second try has to hear it too.
            relay.end(())

    def _answered(self) -> None:
        self.exchange.facts.upstream = self.clock() - self._began

    def _fields_back(self, fields: list[Field]) -> list[Field]:
        back = self.way.outbound.response_fields(fields)
        if self.cookie and not _for_everybody(back):
            back += self.cookie
        return back

    def _failed(self, error: PomeriumError) -> None:
        if self._swallowed(error):
            run(self.send(fresh=True), self.fail)
        else:
            self.fail(error)

    def _swallowed(self, error: PomeriumError) -> bool:
        """Tell whether an old connection took the request with it when it closed."""
        request, connection = self.exchange.request, self._connection
        return (
            self._reused
            and connection is not None
            and connection.unanswered
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
