"""
Leasing connections to upstreams: an idle one, a new one, or a place in the line.

What is decided is decided by ``net.pool``, which does no I/O; here it is done.
"""

from __future__ import annotations

import math
from typing import Any
from typing import Protocol as Shape

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.error import TimeoutError  # noqa: A004  # its name there
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from pomeriumd.errors import (
    Exhausted,
    PomeriumError,
    UpstreamBusy,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from pomeriumd.http.limits import Limits
from pomeriumd.net.deadlines import Deadlines
from pomeriumd.net.peer import Peer
from pomeriumd.net.pool import Next, Pool
from pomeriumd.net.reasons import exhausted, why
from pomeriumd.net.upstream import UpstreamConnection

CONNECT_SECONDS = 10.0
"""From asking for a connection to having it, TLS and name look-up included."""

LINE = 1024
"""How many exchanges may wait for a connection to one upstream."""

SPARE = 64
"""Idle connections kept for one upstream."""


@attrs.define(eq=False)
class _Opened(Factory):
    limits: Limits
    deadlines: Deadlines
    noisy: bool = False

    def buildProtocol(self, addr: object) -> UpstreamConnection:
        return UpstreamConnection(self.limits, self.deadlines)


Waiting = Deferred[UpstreamConnection]


class Connector(Shape):
    """Gives the endpoint that reaches a peer; made once per generation's peers."""

    def __call__(self, peer: Peer) -> IStreamClientEndpoint:
        """Return the endpoint; its TLS options are built once and kept."""


@attrs.define(eq=False)
class Upstreams:
    """All pools, and the opening of connections for them."""

    _connector: Connector
    _limits: Limits
    _deadlines: Deadlines
    _clock: Any
    _most: int = 256
    _pools: dict[Peer, Pool[UpstreamConnection, Waiting]] = attrs.Factory(dict)

    def lease(self, peer: Peer, *, fresh: bool = False) -> UpstreamConnection | Waiting:
        """
        Return an idle connection, or a Deferred of one that is being opened or waited for.

        Args:
            peer: where to.
            fresh: take none that has carried a request before.

        Raises:
            UpstreamBusy: as many are in use and waited for as may be.
            UpstreamUnreachable: (from the Deferred) it could not be opened.
            UpstreamTimeout: (from the Deferred) none came free in time.
        """
        pool = self._pools.get(peer)
        if pool is None:
            pool = self._pools[peer] = Pool(self._most, LINE, SPARE)
        taken = pool.take_new() if fresh else pool.take()
        if taken is Next.OPEN:
            return self._open(peer, pool)
        if taken is Next.WAIT:
            return self._wait(pool)
        if taken is Next.REFUSE:
            raise UpstreamBusy(f"{self._most} connections in use and {LINE} waiting")
        assert isinstance(taken, UpstreamConnection)  # noqa: S101  # for the type checker
        taken.due = math.inf
        return taken

    def close(self) -> None:
        """Close what lies idle; what is leased closes with its exchange."""
        for pool in tuple(self._pools.values()):
            for connection in tuple(pool.idle):
                connection.close()

    @property
    def idle(self) -> int:
        """How many connections lie idle, over all upstreams."""
        return sum(len(pool.idle) for pool in self._pools.values())

    def _wait(self, pool: Pool[UpstreamConnection, Waiting]) -> Waiting:
        waiting: Waiting = Deferred(pool.leave)
        pool.wait(waiting)

        def late(_: object, seconds: float) -> Failure:
            return Failure(
                UpstreamTimeout(f"no connection came free in {seconds:g} s", UpstreamBusy.remedy)
            )

        return waiting.addTimeout(CONNECT_SECONDS, self._clock, late)

    def _open(self, peer: Peer, pool: Pool[UpstreamConnection, Waiting]) -> Waiting:
        connecting = self._connector(peer).connect(_Opened(self._limits, self._deadlines))

        def opened(connection: UpstreamConnection) -> UpstreamConnection:
            connection.on_free = lambda it, reusable: self._free(pool, it, reusable=reusable)
            connection.on_gone = lambda it: self._gone(peer, pool, it)
            pool.opened(connection)
            return connection

        def not_opened(failure: Failure) -> Failure:
            self._hand_opening(peer, pool, pool.not_opened())
            if failure.check(PomeriumError):
                return failure
            return Failure(_not_opened(peer, failure))

        def late(_: object, __: float) -> Failure:
            return Failure(_too_late(peer))

        connecting.addTimeout(CONNECT_SECONDS, self._clock, late)
        return connecting.addCallbacks(opened, not_opened)

    def _free(
        self, pool: Pool[UpstreamConnection, Waiting], it: UpstreamConnection, *, reusable: bool
    ) -> None:
        if not reusable:
            it.close()
            return
        waiting = pool.give_back(it)
        if waiting is not None:
            self._hand_over(pool, waiting, it)
        elif it in pool.idle[-1:]:
            it.rest()
        else:
            it.close()

    def _hand_over(
        self, pool: Pool[UpstreamConnection, Waiting], waiting: Waiting, it: UpstreamConnection
    ) -> None:
        if waiting.called:
            # It gave up in the meantime: the connection is for the next one.
            self._free(pool, it, reusable=True)
        else:
            it.due = math.inf
            waiting.callback(it)

    def _gone(
        self, peer: Peer, pool: Pool[UpstreamConnection, Waiting], it: UpstreamConnection
    ) -> None:
        self._hand_opening(peer, pool, pool.gone(it))
        # A connection says that it is gone when we close it and again when it has closed: by
        # then another pool may stand here, whose connections are not to be lost sight of.
        if not pool.size and not pool.waiting and self._pools.get(peer) is pool:
            del self._pools[peer]

    def _hand_opening(
        self, peer: Peer, pool: Pool[UpstreamConnection, Waiting], waiting: Waiting | None
    ) -> None:
        """Open one for the next in line."""
        if waiting is None:
            return
        line = waiting

        def failed(failure: Failure) -> None:
            if not line.called:
                line.errback(failure)

        self._open(peer, pool).addCallbacks(lambda it: self._hand_over(pool, line, it), failed)


def _not_opened(peer: Peer, failure: Failure) -> PomeriumError:
    """Say why a connection could not be opened."""
    error: PomeriumError
    if lacking := exhausted(failure):
        error = Exhausted(f"no connection to {peer.host}:{peer.port}: {lacking}")
    elif failure.check(TimeoutError):
        error = _too_late(peer)
    else:
        error = UpstreamUnreachable(f"no connection to {peer.host}:{peer.port}: {why(failure)}")
    error.__cause__ = failure.value
    return error


def _too_late(peer: Peer) -> UpstreamTimeout:
    return UpstreamTimeout(
        f"no connection to {peer.host}:{peer.port} within {CONNECT_SECONDS:g} s",
        "does the host run, and does no firewall swallow what is sent to it?",
    )
