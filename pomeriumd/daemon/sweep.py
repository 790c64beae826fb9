"""
Every two seconds: whoever holds a stream open is decided again, and old generations are freed.

Nothing of it is on the way of a request: what lasts is found by a walk over all connections,
in pieces. What is cut is cut within two sweeps, and the walk: less than five seconds after the
generation or the session that denies it.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from pomeriumd.daemon.front import Front
from pomeriumd.daemon.judging import Judging
from pomeriumd.daemon.pieces import in_pieces
from pomeriumd.errors import StreamEnded
from pomeriumd.net.exchange import Exchange
from pomeriumd.pieces import Pieces
from pomeriumd.proxy.streams import ADMITTED

SWEEP_SECONDS = 2.0
"""From the beginning of one sweep to that of the next."""

SOME = 256
"""Connections looked at in one piece of the work."""


@attrs.define(eq=False)
class Sweep(Service):
    """
    Decides streams again and frees what no exchange needs any more.

    ``open`` is how many streams the last sweep left: exchanges with an upstream that were older
    than ``SWEEP_SECONDS``.

    Args:
        front: has the connections.
        clock: for the next sweep.
        tell: is told each session that was signed out here, once.
    """

    _front: Front
    _clock: IReactorTime
    _tell: Callable[[str], object] = lambda _: None
    open: int = 0
    _next: IDelayedCall | None = None
    _work: Deferred[None] | None = None
    _signed_out: frozenset[str] = frozenset()
    """Those that one sweep has gone by already."""
    _elsewhere: set[str] = attrs.Factory(set)
    """Those of them that another process told us of."""
    _first: frozenset[Exchange] = frozenset()
    """Streams that the last sweep had no time to ask about."""
    _log = Logger()

    def startService(self) -> None:
        """Begin."""
        super().startService()
        self._next = self._clock.callLater(SWEEP_SECONDS, self._begin)

    def stopService(self) -> None:
        """End."""
        super().stopService()
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._work is not None:
            self._work.cancel()

    def signed_out(self, session: str) -> None:
        """Take note that another process has signed out a session."""
        self._elsewhere.add(session)
        self._front.generation.sessions.memory.signed_out.add(session)

    def _begin(self) -> None:
        self._next = self._clock.callLater(SWEEP_SECONDS, self._begin)
        if self._work is None:
            self._work = Deferred.fromCoroutine(self._sweep())
            self._work.addErrback(self._failed).addBoth(self._done)

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            self._log.failure("a sweep over the streams failed: a bug of ours", failure=failure)

    def _done(self, _: None) -> None:
        self._work = None

    async def _sweep(self) -> None:
        clock, front = self._clock, self._front
        await in_pieces(front.freeing(), clock)
        streams, ids = await in_pieces(self._streams(), clock)
        here = front.generation
        sessions = here.sessions
        freshest = await in_pieces(sessions.freshest(ids), clock)
        signed_out = frozenset(sessions.memory.signed_out)
        for session in signed_out - self._signed_out - self._elsewhere:
            self._tell(session)
        judging = Judging(
            here=here,
            now=front.edge.now,
            clock=clock,
            every=SWEEP_SECONDS,
            freshest=freshest,
            signed_out=signed_out,
            end=self._end,
        )
        await judging.look(streams)
        self.open, self._first = judging.left, frozenset(judging.unreached)
        # A stream that was too young for this sweep is old enough for the next.
        sessions.memory.signed_out.difference_update(self._signed_out)
        self._signed_out = signed_out
        self._elsewhere &= signed_out | sessions.memory.signed_out

    def _streams(self) -> Pieces[tuple[list[Exchange], set[str]]]:
        """
        Return the exchanges with an upstream that are older than a sweep, and their sessions.

        Those that the last sweep had no time for come first.
        """
        begun = self._front.clock() - SWEEP_SECONDS
        streams: list[Exchange] = []
        ids: set[str] = set()
        for count, connection in enumerate(tuple(self._front.connections), 1):
            exchange = connection.exchange
            if (
                exchange is not None
                and exchange.began <= begun
                and exchange.decision in ADMITTED
                and not exchange.over
            ):
                streams.append(exchange)
                if exchange.known is not None:
                    ids.add(exchange.known.session.id)
            if not count % SOME:
                yield
        if self._first:
            streams.sort(key=lambda stream: stream not in self._first)
        return streams, ids

    def _end(self, stream: Exchange, ended: StreamEnded) -> None:
        self._front.tally.count_cut(ended.reasons[0])
        self._log.info(
            "a stream was cut: {why}",
            why=str(ended),
            reasons=ended.reasons,
            user=stream.user,
            host=stream.request.host.decode("latin-1"),
            path=stream.request.path.decode("latin-1"),
            route=stream.route.id if stream.route is not None else "",
            seconds=round(self._front.clock() - stream.began),
            request_id=stream.id,
        )
        stream.end_now(ended)
