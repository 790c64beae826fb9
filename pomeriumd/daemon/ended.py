"""
Exchanges that have ended are counted and logged together, when the reactor's turn ends.

One at a time, between the work of two requests, it costs twice as much: the processor has
forgotten by then how it is done. It comes before what waits is written, so that whoever has
an answer has been counted, even if the process is killed in the next moment.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.logger import Logger

from pomeriumd.daemon.access_log import AccessEntry
from pomeriumd.daemon.tally import Tally
from pomeriumd.net.exchange import Exchange
from pomeriumd.net.turn_end import TurnEnd

MOST = 256
"""Exchanges that may wait. One read may bring hundreds of small requests."""


@attrs.define(eq=False)
class Ended:
    """
    Takes each exchange when it is over.

    Args:
        tally: counts it.
        record: takes its line for the access log.
        clock: seconds, as those that it began at.
        now: seconds since the epoch.
        turn_end: of the reactor; None counts and logs at once.
    """

    _tally: Tally
    _record: Callable[[AccessEntry], None]
    _clock: Callable[[], float]
    _now: Callable[[], float]
    _turn_end: TurnEnd | None
    _waiting: list[tuple[Exchange, float]] = attrs.field(factory=list, init=False)
    _log = Logger()

    def add(self, exchange: Exchange) -> None:
        """Take one."""
        waiting = self._waiting
        waiting.append((exchange, self._clock()))
        if self._turn_end is None or len(waiting) >= MOST:
            self.flush()
        elif len(waiting) == 1:
            self._turn_end.add_first(self)

    def flush(self) -> None:
        """Count and log all that wait."""
        waiting, self._waiting = self._waiting, []
        try:
            self._tally.count(waiting)
        except Exception:  # noqa: BLE001  # it must not keep back the lines
            self._log.failure(
                "{count} requests were not counted: a bug of ours", count=len(waiting)
            )
        now, record = self._now(), self._record
        for exchange, at in waiting:
            request, route = exchange.request, exchange.route
            record(
                AccessEntry(
                    now,
                    exchange.id,
                    route.id if route is not None else "",
                    request.host,
                    request.method,
                    request.path,
                    exchange.status,
                    exchange.sent,
                    exchange.received,
                    (at - exchange.began) * 1000,
                    exchange.decided * 1000,
                    exchange.upstream * 1000,
                    exchange.user,
                    exchange.decision,
                    exchange.reasons,
                    exchange.client,
                    exchange.error,
                )
            )
