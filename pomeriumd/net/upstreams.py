"""
Leasing connections to upstreams: an idle one, a new one, or a place in the line.

What is decided is decided by ``net.pool``, which does no I/O; here it is done.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any
from typing import Protocol as Shape

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.error import TimeoutError  # noqa: A004  # its name there
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger
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
from pomeriumd.net.peer import Peer, TLSPolicy
from pomeriumd.net.pool import Next, Pool
from pomeriumd.net.reasons import exhausted, why
from pomeriumd.net.upstream import UpstreamConnection
from pomeriumd.pieces import Pieces

CONNECT_SECONDS = 10.0
"""From asking for a connection to having it, TLS and name look-up included."""

LINE = 1024
"""How many exchanges may wait for a connection to one upstream."""

SPARE = 64
"""Idle connections kept for one upstream."""

FEW = 16
"""Upstreams of one piece of the work that follows a reload."""


@attrs.define(eq=False)
class _Opened(Factory):
    limits: Limits
    deadlines: Deadlines
    tls: TLSPolicy | None
    on_asked: Callable[[], None]
    noisy: bool = False

    def buildProtocol(self, addr: object) -> UpstreamConnection:
        connection = UpstreamConnection(self.limits, self.deadlines, self.tls)
        connection.on_asked = self.on_asked
        return connection


Waiting = Deferred[UpstreamConnection]


class Connector(Shape):
    """Makes the endpoints that reach the peers of a generation."""

    def __call__(self, peer: Peer, place: str) -> IStreamClientEndpoint:
        """
        Return the endpoint that reaches a peer.

        Args:
            peer: where to.
            place: of the route in the settings.

        Raises:
            SettingsError: a certificate or key that cannot be used.
        """


@attrs.define(eq=False)
class _Line:
    """The connections of one upstream, and how more of them are opened."""

    pool: Pool[UpstreamConnection, Waiting]
    endpoint: IStreamClientEndpoint
    """Of whoever asked last: those of equal peers lead to the same place."""


@attrs.define(eq=False)
class Upstreams:
    """
    All pools, and the opening of connections for them.

    A pool outlives generations, as long as its peer is one of theirs. Of a peer that is no
    more, exchanges that began before may still lease; nothing of it lies idle.
    """

    _limits: Limits
    _deadlines: Deadlines
    _clock: Any
    _most: int = 256
    _peers: AbstractSet[Peer] | None = None
    """Those of the generation in force; None before the first was told."""
    _lines: dict[Peer, _Line] = attrs.Factory(dict)
    _asking: set[Peer] = attrs.Factory(set)
    """Those of which it was said that they ask for a client certificate."""
    _log = Logger()

    def lease(
        self, peer: Peer, endpoint: IStreamClientEndpoint, *, fresh: bool = False
    ) -> UpstreamConnection | Waiting:
        """
        Return an idle connection, or a Deferred of one that is being opened or waited for.

        Args:
            peer: where to.
            endpoint: that reaches it.
            fresh: take none that has carried a request before.

        Raises:
            UpstreamBusy: as many are in use and waited for as may be.
            UpstreamUnreachable: (from the Deferred) it could not be opened.
            UpstreamTimeout: (from the Deferred) none came free in time.
        """
        line = self._lines.get(peer)
        if line is None:
            pool: Pool[UpstreamConnection, Waiting] = Pool(self._most, LINE, self._spare(peer))
            line = self._lines[peer] = _Line(pool, endpoint)
        else:
            pool, line.endpoint = line.pool, endpoint
        taken = pool.take_new() if fresh else pool.take()
        if taken is Next.OPEN:
            return self._open(peer, line)
        if taken is Next.WAIT:
            return self._wait(pool)
        if taken is Next.REFUSE:
            raise UpstreamBusy(f"{self._most} connections in use and {LINE} waiting")
        assert isinstance(taken, UpstreamConnection)  # noqa: S101  # for the type checker
        taken.due = math.inf
        return taken

    def close(self) -> None:
        """Close what lies idle; what is leased closes with its exchange."""
        for line in tuple(self._lines.values()):
            for connection in tuple(line.pool.idle):
                connection.close()

    def keep(self, peers: AbstractSet[Peer], most: int) -> Pieces[None]:
        """
        Have these peers and no others from now on, with so many connections each at the most.

        Returns:
            The rest of the work: idle connections of other peers are closed, and whoever
            waits where there is room now gets a connection.
        """
        self._peers, self._most = peers, most
        self._asking &= peers
        return self._settle()

    def _settle(self) -> Pieces[None]:
        for count, (peer, line) in enumerate(tuple(self._lines.items())):
            if not count % FEW:
                yield
            pool = line.pool
            pool.most, pool.spare = self._most, self._spare(peer)
            # The first in ``idle`` have lain there longest.
            too_many = max(len(pool.idle) - pool.spare, pool.size - pool.most, 0)
            for connection in tuple(pool.idle[:too_many]):
                connection.close()
            while (waiting := pool.next_opener()) is not None:
                self._hand_opening(peer, line, waiting)

    def _spare(self, peer: Peer) -> int:
        return SPARE if self._peers is None or peer in self._peers else 0

    @property
    def idle(self) -> int:
        """How many connections lie idle, over all upstreams."""
        return sum(len(line.pool.idle) for line in self._lines.values())

    @property
    def pools(self) -> Mapping[Peer, Pool[UpstreamConnection, Waiting]]:
        """Return the pool of each upstream that has connections; to look at."""
        return {peer: line.pool for peer, line in self._lines.items()}

    def _wait(self, pool: Pool[UpstreamConnection, Waiting]) -> Waiting:
        waiting: Waiting = Deferred(pool.leave)
        pool.wait(waiting)

        def late(_: object, seconds: float) -> Failure:
            return Failure(
                UpstreamTimeout(f"no connection came free in {seconds:g} s", UpstreamBusy.remedy)
            )

        return waiting.addTimeout(CONNECT_SECONDS, self._clock, late)

    def _open(self, peer: Peer, line: _Line) -> Waiting:
        pool = line.pool
        connecting = line.endpoint.connect(
            _Opened(self._limits, self._deadlines, peer.tls, lambda: self._asked(peer))
        )

        def opened(connection: UpstreamConnection) -> UpstreamConnection:
            connection.on_free = lambda it, reusable: self._free(pool, it, reusable=reusable)
            connection.on_gone = lambda it: self._gone(peer, line, it)
            pool.opened(connection)
            return connection

        def not_opened(failure: Failure) -> Failure:
            self._hand_opening(peer, line, pool.not_opened())
            if failure.check(PomeriumError):
                return failure
            return Failure(_not_opened(peer, failure))

        def late(_: object, __: float) -> Failure:
            return Failure(_too_late(peer))

        connecting.addTimeout(CONNECT_SECONDS, self._clock, late)
        return connecting.addCallbacks(opened, not_opened)

    def _asked(self, peer: Peer) -> None:
        # Many servers, nginx among them, take everybody's handshake and answer 400 then.
        if peer not in self._asking:
            self._asking.add(peer)
            self._log.info(
                "{host}:{port} asks for a client certificate, and is shown none; if it answers 400 "
                "or 403, set tls_client_cert and tls_client_key of the routes that lead there",
                host=peer.host,
                port=peer.port,
            )

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

    def _gone(self, peer: Peer, line: _Line, it: UpstreamConnection) -> None:
        pool = line.pool
        self._hand_opening(peer, line, pool.gone(it))
        # A connection says that it is gone when we close it and again when it has closed: by
        # then another pool may stand here, whose connections are not to be lost sight of.
        if not pool.size and not pool.waiting and self._lines.get(peer) is line:
            del self._lines[peer]

    def _hand_opening(self, peer: Peer, line: _Line, waiting: Waiting | None) -> None:
        """Open one for the next in line."""
        if waiting is None:
            return
        first = waiting

        def opened(it: UpstreamConnection) -> None:
            self._hand_over(line.pool, first, it)

        def failed(failure: Failure) -> None:
            if not first.called:
                first.errback(failure)

        self._open(peer, line).addCallbacks(opened, failed)


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
