"""What a worker looks up each second and writes down for its supervisor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol

import attrs
from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from pomeriumd.daemon.front import Front
from pomeriumd.daemon.lines import Lines
from pomeriumd.daemon.series import OCSP, POOL, Labels
from pomeriumd.daemon.tally import Tally, destination
from pomeriumd.net.peer import Peer
from pomeriumd.net.pool import Pool
from pomeriumd.net.upstream import UpstreamConnection
from pomeriumd.net.upstreams import Upstreams
from pomeriumd.proxy.decisions import Counts, Decisions

_Pool = Pool[UpstreamConnection, Any]

EVERY = 1.0
"""Seconds between two looks."""

POOLS = 250
"""Upstreams looked at in one second: half a millisecond. Where there are more, what is told
of them is some seconds old."""


class Listening(Protocol):
    """What is asked of a listening port; a ``net.port.Port`` is one."""

    open: int
    most: int
    failed_handshakes: int

    @property
    def refused_headers(self) -> int:
        """Return how many connections were closed for their PROXY header."""

    @property
    def paused(self) -> bool:
        """Return whether it takes no new connections for now."""


class Calling(Protocol):
    """What is asked of whoever calls other services."""

    @property
    def calls(self) -> Mapping[Labels, int]:
        """
        Return how many calls have ended since the process began.

        By address of the replica, service, method and status, as gRPC spells them:
        ``("10.0.0.1:443", "pomerium.authorize.v1.Authorize", "Check", "OK")``.
        """


class Answering(Protocol):
    """What is asked of whoever answers proxies elsewhere."""

    @property
    def answered(self) -> Mapping[Labels, int]:
        """Return how many calls have ended, by service, method and gRPC's status."""

    @property
    def refused(self) -> Mapping[Labels, int]:
        """Return how many of them were not admitted, by the reason."""

    @property
    def unknown(self) -> int:
        """Return how many questions were about routes that were not configured here."""

    @property
    def watches(self) -> int:
        """Return how many processes of proxies listen for changes."""


class Asking(Protocol):
    """What is asked of whoever asks OCSP responders."""

    @property
    def standing(self) -> Mapping[str, int]:
        """Return how many certificates have an answer, have none, and lack a required one."""

    @property
    def fetched(self) -> Mapping[str, int]:
        """Return how many questions had each of the outcomes of ``series.OCSP``."""


class Ordering(Protocol):
    """What is asked of whoever orders certificates."""

    missing: int
    """Names for which there is none."""

    @property
    def orders(self) -> Mapping[Labels, int]:
        """Return how many orders have ended, by the outcome."""

    @property
    def seconds_left(self) -> float:
        """Return the seconds until the next renewal; 0 where there is nothing to renew."""


NOTHING_TO_STAPLE = {"staples_good": 0, "staples_missing": 0, "staples_required": 0}


@attrs.define(eq=False, kw_only=True)
class Observing(Service):
    """
    Writes down how one worker stands, each second and once more at its end.

    Args:
        tally: where to; the front's own.
        clock: for the next look.
        front: has the sessions and the decisions of the generation in force.
        port: where clients come in.
        upstreams: the connections to applications.
        lines: the log's.
        streams: says how many exchanges last.
        calling: calls services elsewhere; None where nobody does.
        answering: answers proxies elsewhere; None where nobody does.
        stapling: asks OCSP responders; None where nobody does.
        ordering: orders certificates; None where nobody does.
    """

    _tally: Tally
    _clock: IReactorTime
    _front: Front
    port: Listening
    _upstreams: Upstreams
    _lines: Lines
    _streams: Callable[[], int]
    calling: Calling | None = None
    answering: Answering | None = None
    stapling: Asking | None = None
    ordering: Ordering | None = None
    _next: IDelayedCall | None = attrs.field(default=None, init=False)
    _pools: Iterator[tuple[Peer, _Pool]] | None = attrs.field(default=None, init=False)
    _sums: dict[int, list[int]] = attrs.field(factory=dict, init=False)
    _pooled: dict[str, int] = attrs.field(factory=lambda: _over_all([]), init=False)

    def startService(self) -> None:
        """Look now, and each second."""
        super().startService()
        self._look()

    def stopService(self) -> None:
        """Look once more: what was counted up to now is kept."""
        super().stopService()
        if self._next is not None:
            self._next.cancel()
            self._next = None
        self._write_down()

    def _look(self) -> None:
        self._next = self._clock.callLater(EVERY, self._look)
        self._write_down()
        self._walk()

    def _write_down(self) -> None:
        port = self.port
        kept, asked, counts = self._decisions()
        self._tally.set_now(
            {
                "connections": port.open,
                "connections_limit": port.most,
                "streams": self._streams(),
                "sessions": self._front.generation.sessions.remembered,
                "accept_paused": port.paused,
                "decisions_kept": kept,
                "decisions_asked": asked,
                "watches": 0 if self.answering is None else self.answering.watches,
                **(NOTHING_TO_STAPLE if self.stapling is None else self.stapling.standing),
                "autocert_missing": 0 if self.ordering is None else self.ordering.missing,
                "autocert_seconds": 0 if self.ordering is None else self.ordering.seconds_left,
                **self._pooled,
            }
        )
        fetched = {} if self.stapling is None else self.stapling.fetched
        self._tally.set_since(
            {
                "handshakes_failed": port.failed_handshakes,
                "headers_refused": port.refused_headers,
                "log_lines_dropped": self._lines.dropped,
                "decision_hits": counts.hits,
                "decision_misses": counts.misses,
                "undecided": counts.undecided,
                "unknown_routes": 0 if self.answering is None else self.answering.unknown,
                **{f"ocsp_{outcome}": fetched.get(outcome, 0) for outcome in OCSP},
            }
        )
        if self.calling is not None:
            self._tally.set_calls("grpc_client", self.calling.calls)
        if self.answering is not None:
            self._tally.set_calls("grpc_server", self.answering.answered)
            self._tally.set_calls("grpc_refused", self.answering.refused)
        if self.ordering is not None:
            self._tally.set_calls("autocert", self.ordering.orders)

    def _decisions(self) -> tuple[int, int, Counts]:
        """Return how many are kept and asked for, and what was counted of them."""
        authorizer = self._front.generation.authorizer
        if not isinstance(authorizer, Decisions):
            return 0, 0, Counts()
        memory = authorizer.memory
        return len(memory.kept), len(memory.calls), memory.counts

    def _walk(self) -> None:
        """Look at some more upstreams; after the last one write down what they do."""
        if self._pools is None:
            self._pools = iter(tuple(self._upstreams.pools.items()))
            self._sums = {}
        pools = tuple(islice(self._pools, POOLS))
        for peer, pool in pools:
            series = self._tally.upstream(destination(peer.host, peer.port))
            sums = self._sums.setdefault(series, [0] * len(POOL))
            counts = (len(pool.idle), len(pool.busy), pool.opening, len(pool.waiting))
            for place, count in enumerate(counts):
                sums[place] += count
        if len(pools) < POOLS:
            self._pools = None
            self._tally.set_upstreams(self._sums)
            self._pooled = _over_all(self._sums.values())


def _over_all(pools: Iterable[Sequence[int]]) -> dict[str, int]:
    """Return what connections to all upstreams together do, as NOW names it."""
    sums = (sum(counts) for counts in zip(*pools, strict=True))
    return {f"upstream_{what}": next(sums, 0) for what in POOL}
