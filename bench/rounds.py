"""Rounds over all rungs in turn: what disturbs one minute disturbs no rung alone."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from pathlib import Path
from time import monotonic, sleep

import attrs

from bench import accounting, load
from bench.load import CONNECTIONS, Load
from bench.order import Order
from bench.rungs import EACH, Rung
from bench.stand import Lane, Stand
from bench.traffic import SESSIONS

WARM_SECONDS = 1
"""Before each measured load: connections to the upstream open, sessions become known."""

LONGER = 2
"""How many times as long as it would seem to take a load is that has to get to every session."""

MOST_WARM_SECONDS = 10
"""For that: a proxy so slow is measured as it is."""

FIRST_RATE = 20_000
"""Requests a second that may be sent but once, for the first load; then what it came to."""

LEAST_RATE = 8_000
"""Requests a second that may be sent but once, for every other load, if the one before it
does not ask for more: it may have been starved."""

MORE = 1.5
"""How many more of these than the rate of the load before asks for."""

ENOUGH_SECONDS = 0.2
"""Least processor time that makes a sample: the kernel counts in hundredths of a second."""

COUNTED_SECONDS = 1.5
"""What was asked of authorize is written down each second."""

LINE_SIZE = 100
"""Bytes; every line of an access log is longer."""


@attrs.frozen(kw_only=True)
class Sample:
    """One load on one rung."""

    requests: int
    seconds: float
    processor_seconds: float
    """Of all processes of the proxy."""
    p50: float
    p99: float
    others: float
    """Part of the proxy's core that went to strangers meanwhile, 0 to 1."""
    stolen: float
    """Part of the proxy's core that the hypervisor took away, 0 to 1; in ``others``, too."""
    faults: tuple[str, ...]
    """Why this counts for nothing; empty if it counts."""

    @property
    def microseconds(self) -> float:
        """Return processor time for each request; 0 where none was answered."""
        return self.processor_seconds / self.requests * 1e6 if self.requests else 0.0

    @property
    def starved(self) -> bool:
        """Return whether strangers left the proxy too little to tell what a request costs."""
        return self.processor_seconds < ENOUGH_SECONDS

    @property
    def rate(self) -> float:
        """Return requests a second."""
        return self.requests / self.seconds


def run(
    stand: Stand, order: Order, tell: Callable[[int, Lane, Sample], None]
) -> dict[str, list[Sample]]:
    """
    Measure, and return the samples of each rung in the order of the rounds.

    Args:
        stand: it runs, and has been looked at.
        order: how many rounds, of how many seconds, at which rate.
        tell: called with the number of the round, the lane and its sample.
    """
    samples: dict[str, list[Sample]] = {lane.rung.name: [] for lane in stand.lanes}
    for number in range(order.rounds):
        # To and fro: what grows steadily over a round favours nobody.
        for lane in stand.lanes if number % 2 == 0 else reversed(stand.lanes):
            sample = _measure(stand, lane, order)
            samples[lane.rung.name].append(sample)
            tell(number, lane, sample)
    return samples


def _measure(stand: Stand, lane: Lane, order: Order) -> Sample:
    where = stand.ground.directory / "requests"
    count = FIRST_RATE * WARM_SECONDS
    load.write(lane.traffic.requests(count), where)
    warm = _load(stand, lane, WARM_SECONDS, where, order.rate)
    if warm.requests < SESSIONS:
        # Each load begins with the first of them: only a longer one gets to the last.
        seconds = ceil(WARM_SECONDS * LONGER * SESSIONS / max(1, warm.requests))
        warm = _load(stand, lane, min(seconds, MOST_WARM_SECONDS), where, order.rate)
    if lane.traffic.once:
        rate = max(LEAST_RATE, MORE * warm.requests / warm.seconds)
        count = int(rate * order.seconds) + warm.connections
        load.write(lane.traffic.requests(count), where)
    root, core = lane.child.process.pid, stand.ground.proxy_core.number
    logged, answered = lane.chain.logged(), stand.upstream.requests()
    asked = _asked(lane)
    began, busy, used = monotonic(), accounting.core(core), accounting.used(root)
    done = _load(stand, lane, order.seconds, where, order.rate)
    used = accounting.used(root) - used
    now = accounting.core(core)
    took = monotonic() - began
    answered = stand.upstream.requests() - answered
    return Sample(
        requests=done.requests,
        seconds=done.seconds,
        processor_seconds=used,
        p50=done.p50,
        p99=done.p99,
        others=max(0.0, now.busy - busy.busy - used) / took,
        stolen=(now.stolen - busy.stolen) / took,
        faults=(
            *faults(
                done,
                answered,
                count if lane.traffic.once else None,
                None if lane.chain.log is None else lane.chain.logged() - logged,
                starved=used < ENOUGH_SECONDS,
            ),
            *unasked(done, _asked(lane) - asked, lane.rung),
        ),
    )


def _asked(lane: Lane) -> int:
    """Return how many questions have been sent to authorize until now."""
    if lane.rung.replicas:
        sleep(COUNTED_SECONDS)
    return lane.chain.asked()


def _load(stand: Stand, lane: Lane, seconds: int, where: Path, rate: int | None) -> Load:
    if rate is not None:
        return load.run_at(
            rate,
            port=lane.port,
            authority=stand.ground.certificate if lane.rung.secure else None,
            connections=CONNECTIONS,
            seconds=seconds,
            requests=where,
            core=stand.ground.other_core,
        )
    return load.run(
        ports=lane.clients,
        secure=lane.rung.secure,
        connections=CONNECTIONS,
        seconds=seconds,
        requests=where,
        core=stand.ground.other_core,
    )


def faults(
    done: Load, answered: int, once: int | None, logged: int | None, *, starved: bool
) -> list[str]:
    """
    Return what is wrong with a load, in words; nothing if it counts.

    Args:
        done: what the client saw.
        answered: how many requests the upstream got meanwhile.
        once: how many requests there were, if none may come twice.
        logged: bytes that came into the access log, if there is one.
        starved: strangers had the core, and that an answer did not come in time says nothing.
    """
    found = []
    if done.requests == 0 and not starved:
        found.append("no answer at all")
    found += [
        f"{count} errors: {name}"
        for name, count in done.errors.items()
        if not (starved and name == "timeout")
    ]
    # wrk calls a redirection a success; but an upstream that was not asked gives it away.
    # Each connection may have left one behind when its time was over, in the load before
    # as well, which the proxy then was still about to send.
    if not done.requests <= answered <= done.requests + 2 * done.connections:
        found.append(f"{done.requests} answers, but {answered} of the upstream")
    if once is not None and done.requests > once - done.connections:
        found.append(f"only {once} sessions for {done.requests} requests")
    if logged is not None and logged < done.requests * LINE_SIZE:
        found.append(f"only {logged} bytes of access log for {done.requests} requests")
    return found


def unasked(done: Load, asked: int, rung: Rung) -> list[str]:
    """
    Return what is wrong with how often authorize was asked, in words.

    Args:
        done: what the client saw.
        asked: questions meanwhile.
        rung: that was measured.
    """
    if not rung.replicas:
        return []
    if rung.way.startswith(EACH):
        return [f"only {asked} questions for {done.requests} requests"] * (asked < done.requests)
    # One for each session, in case all of them were forgotten at once.
    return [f"{asked} questions, and decisions are to be kept"] * (asked > SESSIONS)
