"""
What all connections share: the present generation, their bounds, and the access log.

It implements ``net.server.Serving``: connections ask it for what they need and tell it
what became of their exchanges.
"""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from pomeriumd.daemon.access_log import AccessEntry
from pomeriumd.daemon.build import Built
from pomeriumd.daemon.ended import Ended
from pomeriumd.daemon.retired import Retired
from pomeriumd.daemon.tally import Tally
from pomeriumd.errors import ClientError
from pomeriumd.http.limits import Limits
from pomeriumd.http.request_heads import RequestHeads
from pomeriumd.net.deadlines import Deadlines
from pomeriumd.net.exchange import Exchange
from pomeriumd.net.server import ServerConnection, Times
from pomeriumd.net.turn_end import TurnEnd
from pomeriumd.pieces import Pieces
from pomeriumd.proxy import path
from pomeriumd.proxy.generation import Generation


@attrs.define(eq=False, kw_only=True)
class Front:
    """
    The shared side of all connections from clients.

    Args:
        built: what new exchanges are served under; a reload replaces it.
        edge: the world outside, for the way of a request.
        record: takes each exchange's line for the access log.
        run_id: begins every request id of this process: random, so that ids of two
            processes never meet.
        tally: counts each exchange.
        turn_end: of the reactor, if it has one.
    """

    built: Built
    generation: Generation = attrs.field(init=False)
    """That of ``built``, a step nearer to each request; so is what follows."""
    times: Times = attrs.field(init=False)
    edge: path.Edge
    limits: Limits
    heads: RequestHeads = attrs.field(init=False)
    deadlines: Deadlines
    record: Callable[[AccessEntry], None]
    run_id: str
    tally: Tally = attrs.Factory(Tally)
    turn_end: TurnEnd | None = None
    ended: Callable[[Exchange], None] = attrs.field(init=False)
    """Takes each exchange when it is over."""
    closing: bool = False
    connections: set[ServerConnection] = attrs.Factory(set)
    _ended: Ended = attrs.field(init=False)
    _retired: list[Retired] = attrs.Factory(list)
    _count: int = 0
    _date: bytes = b""
    _date_second: int = -1
    _emptied: Deferred[None] | None = None
    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self.heads = RequestHeads(self.limits)
        edge = self.edge
        self._ended = Ended(self.tally, self.record, edge.clock, edge.now, self.turn_end)
        self.ended = self._ended.add
        self.swap(self.built)

    def swap(self, built: Built) -> None:
        """Serve what begins from now on under this generation; what has begun keeps its own."""
        if built is not self.built:
            self._retired.append(Retired.of(self.generation))
            self.tally.forget_routes()
        self.built, self.generation, self.times = built, built.generation, built.times

    def freeing(self) -> Pieces[None]:
        """Free the generations under which no exchange is served any more."""
        for retired in tuple(self._retired):
            if retired.over:
                yield from retired.freeing()
                self._retired.remove(retired)

    def serve(self, exchange: Exchange) -> None:
        """Answer one request under the present generation."""
        path.begin(exchange, self.generation, self.edge)

    def unreadable(self, exchange: Exchange, error: ClientError) -> None:
        """Answer what could not be read."""
        self.generation.replies.fail(exchange, error)

    def new_id(self) -> str:
        """Return an id that no other request has."""
        self._count += 1
        return f"{self.run_id}-{self._count:08x}"

    def clock(self) -> float:
        """Return seconds, for durations."""
        return self.edge.clock()

    def date(self) -> bytes:
        """Return the Date field's value; made once a second (RFC 9110, 6.6.1)."""
        now = self.edge.now()
        second = int(now)
        if second != self._date_second:
            self._date_second = second
            self._date = formatdate(second, usegmt=True).encode("ascii")
        return self._date

    def opened(self, connection: ServerConnection) -> None:
        """Note a connection."""
        self.connections.add(connection)

    def closed(self, connection: ServerConnection) -> None:
        """Forget a connection."""
        self.connections.discard(connection)
        if self._emptied is not None and not self.connections:
            emptied, self._emptied = self._emptied, None
            emptied.callback(None)

    async def drain(self, clock: IReactorTime, seconds: float) -> None:
        """
        Close idle connections now, the others after their answers, and what is left by force.

        Args:
            clock: tells when the patience is over.
            seconds: the patience.
        """
        self.closing = True
        for connection in tuple(self.connections):
            connection.retire()
        if not self.connections:
            return
        self._emptied = Deferred(lambda _: None)
        self._emptied.addTimeout(seconds, clock, lambda *_: None)
        await self._emptied
        left = tuple(self.connections)
        if left:
            self._log.warn(
                "{count} connections were cut: they did not end within {seconds:g} s",
                count=len(left),
                seconds=seconds,
            )
        for connection in left:
            connection.abort()

    def tell_all(self) -> None:
        """Count and log what has ended up to now; for the shutdown."""
        self._ended.flush()
