"""
What all connections over plain http share: the front's, but for what they are answered.

It implements ``net.server.Serving``, so that there is one parser and one set of bounds for both
ports. Nobody stays here: every answer says that it is the last of its connection.
"""

from __future__ import annotations

import attrs

from pomeriumd.daemon.front import Front
from pomeriumd.errors import ClientError
from pomeriumd.http.limits import Limits
from pomeriumd.http.request_heads import RequestHeads
from pomeriumd.net.deadlines import Deadlines
from pomeriumd.net.exchange import Exchange
from pomeriumd.net.server import ServerConnection, Times

SHARE = 8
"""One in so many of ``max_connections`` may come over plain http besides: they are short."""


def share_of(most: int) -> int:
    """Return how many connections there may be over plain http, of so many at the main port."""
    return -(-most // SHARE)


@attrs.frozen(eq=False)
class PlainFront:
    """The shared side of all connections over plain http."""

    _front: Front

    @property
    def closing(self) -> bool:
        """Say yes: a browser goes on to another port, and what is kept would wait for nothing."""
        return True

    @property
    def limits(self) -> Limits:
        """Return the bounds."""
        return self._front.limits

    @property
    def heads(self) -> RequestHeads:
        """Return what reads heads."""
        return self._front.heads

    @property
    def times(self) -> Times:
        """Return what the present settings allow each phase."""
        return self._front.times

    @property
    def deadlines(self) -> Deadlines:
        """Return the wheel."""
        return self._front.deadlines

    def serve(self, exchange: Exchange) -> None:
        """Answer under the present generation."""
        self._front.built.plain_http.serve(exchange)

    def unreadable(self, exchange: Exchange, error: ClientError) -> None:
        """Answer what could not be read."""
        self._front.built.plain_http.refuse(exchange, error)

    def ended(self, exchange: Exchange) -> None:
        """Count and log it."""
        self._front.ended(exchange)

    def new_id(self) -> str:
        """Return an id that no other request has."""
        return self._front.new_id()

    def clock(self) -> float:
        """Return seconds, for durations."""
        return self._front.clock()

    def date(self) -> bytes:
        """Return the Date field's value."""
        return self._front.date()

    def opened(self, connection: ServerConnection) -> None:
        """Note a connection: it is drained with the others."""
        self._front.opened(connection)

    def closed(self, connection: ServerConnection) -> None:
        """Forget a connection."""
        self._front.closed(connection)
