"""What the daemon tells of itself: to ``pomeriumd status``, and to Prometheus."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
from twisted.internet.defer import Deferred

import pomeriumd
from pomeriumd.daemon.expiry import ExpiryLog
from pomeriumd.daemon.exposition import exposition
from pomeriumd.daemon.ledger import Ledger
from pomeriumd.daemon.lines import Lines
from pomeriumd.daemon.listeners import BOUND, GRPC, Sockets
from pomeriumd.daemon.metrics import Facts
from pomeriumd.daemon.processes import use_of
from pomeriumd.daemon.reading import REFUSED
from pomeriumd.daemon.reload import Outcome, Reloading
from pomeriumd.daemon.series import POOL
from pomeriumd.daemon.servants import Seat, Servants
from pomeriumd.daemon.status import (
    GenerationStatus,
    ListenerStatus,
    ReloadStatus,
    Status,
    UpstreamStatus,
    WorkerStatus,
    document,
)
from pomeriumd.settings.values import Address


@attrs.define(eq=False, kw_only=True)
class Report:
    """
    Gathers what is known, when somebody asks.

    Args:
        services: the setting.
        servants: those who serve.
        ledger: their numbers.
        sockets: the listening ones.
        grpc: where proxies elsewhere ask; it is no socket of ours, and never moves.
        reloading: the settings in force, and those that were refused.
        expiry: knows when certificates expire.
        lines: of this process's log.
        started: seconds since the epoch.
    """

    _services: str
    _servants: Servants
    _ledger: Ledger
    _sockets: Sockets
    _grpc: Address | None = None
    _reloading: Reloading
    _expiry: ExpiryLog
    _lines: Lines
    _started: float

    def status(self) -> Mapping[str, Any]:
        """Return the document of :mod:`pomeriumd.daemon.status`."""
        workers = tuple(self._worker(seat) for seat in self._servants.seats)
        reserve = self._servants.reserve
        generation, last = self._reloading.generation, self._reloading.last
        return document(
            Status(
                version=pomeriumd.__version__,
                services=self._services,
                pid=os.getpid(),
                started=self._started,
                generation=GenerationStatus(
                    digest=generation.digest[:16],
                    number=generation.number,
                    since=generation.since,
                    routes=generation.routes,
                ),
                last_reload=None if last is None else ReloadStatus(**_of_reload(last)),
                listeners=tuple(self._listeners()),
                workers=workers,
                reserve=None if reserve is None else self._worker(reserve),
                connections=sum(worker.connections for worker in workers),
                streams=sum(worker.streams for worker in workers),
                autocert_missing=sum(
                    int(self._ledger.present(seat.process)["autocert_missing"])
                    for seat in self._servants.seats
                ),
            )
        )

    def _listeners(self) -> Iterator[ListenerStatus]:
        for name, listener in sorted(self._sockets.by_name.items()):
            yield ListenerStatus(name=name, address=listener.text, from_=listener.source)
        if self._grpc is not None:
            yield ListenerStatus(name=GRPC, address=self._grpc.text, from_=BOUND)

    def reload(self) -> Deferred[Mapping[str, Any]]:
        """Have the settings read again; return what became of it, as in the status."""
        return self._reloading.reload().addCallback(_of_reload)

    def _worker(self, seat: Seat) -> WorkerStatus:
        now = self._ledger.present(seat.process)
        return WorkerStatus(
            **attrs.asdict(seat, filter=lambda field, _: field.name != "process"),
            connections=now["connections"],
            streams=now["streams"],
            sessions=now["sessions"],
            upstream=UpstreamStatus(**{what: now[f"upstream_{what}"] for what in POOL}),
        )

    def metrics(self) -> Iterator[bytes]:
        """Begin a text for Prometheus."""
        return exposition(self._ledger.totals, lambda: self._ledger.running, self._facts)

    def _facts(self) -> Facts:
        """Return what the metrics tell beside what the workers count."""
        generation, last = self._reloading.generation, self._reloading.last
        seats = self._servants.seats
        reserve = self._servants.reserve
        pids = {f"worker-{seat.number}": seat.pid for seat in seats}
        if reserve is not None:
            pids["reserve"] = reserve.pid
        alone = os.getpid() in pids.values()
        if not alone:
            pids["supervisor"] = os.getpid()
        return Facts(
            version=pomeriumd.__version__,
            services=self._services,
            digest=generation.digest[:16],
            since=generation.since,
            routes=generation.routes,
            reload_good=last is None or last.outcome != REFUSED,
            reload_good_at=self._reloading.good_at,
            reload_failures=self._reloading.refusals,
            workers=Counter(seat.state for seat in (*seats, reserve) if seat is not None),
            restarts=self._servants.restarts,
            # Whoever serves by itself has one log, and has written that down already.
            lines_dropped=0 if alone else self._lines.dropped,
            expiries=self._expiry.expiries,
            left_out=len(self._reloading.left_out.present),
            certificate_failures=self._reloading.left_out.failures,
            processes={name: use_of(pid) for name, pid in pids.items() if pid},
        )


def _of_reload(outcome: Outcome) -> Mapping[str, Any]:
    return attrs.asdict(outcome)
