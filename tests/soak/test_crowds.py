"""
Clients and upstreams that stall, drip, flood or say half: each is bounded, and ends in time.

A well-behaved client is at work beside every crowd: none of its requests may fail.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.support.load.daemon import MIB, Daemon, public
from tests.support.load.figures import note
from tests.support.load.programs import Probe, Program, Upstream, latency
from tests.support.load.wire import QUIET


@attrs.frozen(kw_only=True)
class Scale:
    """How many, for how long, and how patient the daemon is."""

    stalled: int
    dripping: int
    idle: int
    flooding: int
    half: int
    flood_seconds: float
    stall_seconds: float
    """How long a reader stalls that reads on before ``timeout_write`` is over."""
    sip_seconds: float
    """How long a reader is slow, well over ``timeout_write``."""
    drips: int
    """Bytes that come one a second."""
    quiet: float
    """Seconds of a probe without anything else."""
    times: dict[str, Any]
    """The daemon's settings."""
    peak: int
    """Bytes that the process may hold, whatever comes."""
    each: int
    """Bytes that one idle connection may cost."""


SHORT = Scale(
    stalled=40,
    dripping=40,
    idle=300,
    flooding=4,
    half=40,
    flood_seconds=1.0,
    stall_seconds=1.0,
    sip_seconds=8.0,
    drips=6,
    quiet=0.2,
    times={
        "timeout_read_header": "2s",
        "timeout_read": "3s",
        "timeout_write": "3s",
        "timeout_idle": "4s",
        "default_upstream_timeout": "3s",
    },
    peak=100 * MIB,
    each=100_000,
)
FULL = Scale(
    stalled=200,
    dripping=200,
    idle=5000,
    flooding=8,
    half=200,
    flood_seconds=15.0,
    stall_seconds=100.0,
    sip_seconds=150.0,
    drips=40,
    quiet=5.0,
    times={
        "timeout_read_header": "10s",
        "timeout_read": "30s",
        "timeout_write": "2m",
        "timeout_idle": "2m",
        "default_upstream_timeout": "30s",
    },
    peak=100 * MIB,
    each=100_000,
)
SCALES = [
    pytest.param(SHORT, id="short", marks=pytest.mark.system),
    pytest.param(FULL, id="full", marks=pytest.mark.soak),
]
pytestmark = pytest.mark.parametrize("scale", SCALES)

MANY = 12_000
"""Descriptors for a process with thousands of connections."""


@pytest.fixture
def daemon(tmp_path: Path, upstream: Upstream, quiet: Upstream, scale: Scale) -> Iterator[Daemon]:
    """The daemon, running."""
    with Daemon(
        tmp_path,
        public(upstream.port),
        public(quiet.port, QUIET),
        limits={resource.RLIMIT_NOFILE: (MANY, MANY)},
        **scale.times,
    ) as daemon:
        yield daemon.serving()


@pytest.fixture(autouse=True)
def _descriptors() -> Iterator[None]:
    """Let the crowd have as many descriptors as the daemon."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MANY if before[1] == resource.RLIM_INFINITY else min(MANY, before[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], most), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def came_of(
    daemon: Daemon, scale: Scale, what: str, count: int, seconds: float = 0, size: int = 1
) -> dict[str, Any]:
    """Let a crowd loose, and return what came of it; the others must not notice."""
    before = latency(daemon.port, daemon.authority, scale.quiet)
    open_ = daemon.descriptors()
    given = (daemon.port, daemon.authority, what, count, seconds, size)
    with Probe(daemon.port, daemon.authority) as probe, Program("crowd", *given) as crowd:
        told = crowd.told(patience=900)
        beside = probe.latency()
    note(
        f"{count} x {what}",
        outcomes=" ".join(f"{n}x{how}" for how, n in sorted(told["outcomes"].items())),
        shortest_s=told["shortest_s"],
        longest_s=told["longest_s"],
        peak_MiB=daemon.peak / MIB,
        left_open=daemon.descriptors() - open_,
        quiet_p99_ms=before["p99_ms"],
        p99_ms=beside["p99_ms"],
        max_ms=beside["max_ms"],
    )
    assert beside["failed"] == 0
    assert daemon.peak < scale.peak
    assert daemon.process.runs
    return told


@pytest.mark.parametrize(
    ("what", "outcomes"),
    [
        ("fields", {"431"}),
        ("line", {"431"}),
        ("own-body", {"413"}),
        ("own-counted", {"413"}),
        ("extensions", {"cut"}),
        ("extension", {"cut"}),
        ("trailers", {"cut"}),
        ("pipeline", {"let go", "cut"}),
    ],
)
def test_a_flood(daemon: Daemon, scale: Scale, what: str, outcomes: set[str]) -> None:
    """What has no end is refused at its bound, and the connection ends soon after it."""
    told = came_of(daemon, scale, what, scale.flooding, scale.flood_seconds)
    assert set(told["outcomes"]) <= outcomes, told
    assert told["outcomes"]


def test_handshakes_that_do_not_go_on(daemon: Daemon, scale: Scale) -> None:
    """They are hung up on."""
    told = came_of(daemon, scale, "shakes", scale.dripping)
    assert set(told["outcomes"]) <= {"cut", "closed"}, told


def test_a_head_that_drips(daemon: Daemon, scale: Scale) -> None:
    """The whole head has ``timeout_read_header``, however steadily it comes."""
    told = came_of(daemon, scale, "slow-head", scale.dripping)
    assert told["outcomes"] == {"408": scale.dripping}


def test_a_body_that_drips(daemon: Daemon, scale: Scale) -> None:
    """It goes on as long as it goes on; neither side's patience counts against it."""
    told = came_of(daemon, scale, "slow-body", scale.dripping, 0, scale.drips)
    assert told["outcomes"] == {"200": scale.dripping}


def test_an_answer_that_drips(daemon: Daemon, scale: Scale) -> None:
    """It goes on as long as it goes on."""
    told = came_of(daemon, scale, "slow-answer", scale.dripping, 0, scale.drips)
    assert told["outcomes"] == {"whole": scale.dripping}


def test_readers_that_stall(daemon: Daemon, scale: Scale) -> None:
    """They are cut after ``timeout_write``, and what waits for them is bounded."""
    told = came_of(daemon, scale, "stall", scale.stalled, 0, 64 * MIB)
    assert told["outcomes"] == {"cut": scale.stalled}


def test_readers_that_stall_for_a_while(daemon: Daemon, scale: Scale) -> None:
    """Who reads on in time gets all of it."""
    told = came_of(daemon, scale, "stall-and-go", scale.stalled // 4, scale.stall_seconds, 8 * MIB)
    assert told["outcomes"] == {"whole": scale.stalled // 4}


def test_readers_that_are_slow(daemon: Daemon, scale: Scale) -> None:
    """An answer that flows is never cut, however slowly it flows."""
    size = int(scale.sip_seconds * 200_000) + 8 * MIB
    told = came_of(daemon, scale, "sip", scale.stalled // 4, scale.sip_seconds, size)
    assert told["outcomes"] == {"whole": scale.stalled // 4}


def test_upstreams_that_stall(daemon: Daemon, scale: Scale) -> None:
    """An upstream that takes nothing of a body is given up, and what waits is bounded."""
    told = came_of(daemon, scale, "deaf", scale.stalled, 0, 64 * MIB)
    assert told["outcomes"] == {"504": scale.stalled}


@pytest.mark.parametrize("what", ["half", "half-body"])
def test_clients_that_end_their_side(daemon: Daemon, scale: Scale, what: str) -> None:
    """A client that has said its last word ends; nothing is left of it."""
    told = came_of(daemon, scale, what, scale.half)
    assert sum(told["outcomes"].values()) == scale.half
    assert "endless" not in told["outcomes"]


def test_upstreams_that_end_their_side(daemon: Daemon, scale: Scale) -> None:
    """The answer is whole, and the connection is given up from our side, too."""
    told = came_of(daemon, scale, "half-upstream", scale.half, 0, 2)
    assert told["outcomes"] == {"whole": scale.half}


def test_idle_connections(daemon: Daemon, scale: Scale) -> None:
    """They cost little, disturb nobody, and end after ``timeout_idle``."""
    before = latency(daemon.port, daemon.authority, scale.quiet)
    small, open_ = daemon.resident, daemon.descriptors()
    given = (daemon.port, daemon.authority, "idle", scale.idle, 0)
    with Program("crowd", *given) as crowd:
        crowd.until('"open"', patience=300)
        large = daemon.resident
        beside = latency(daemon.port, daemon.authority, scale.quiet)
        used = daemon.cpu_seconds()
        told = crowd.told(patience=900)
        used = daemon.cpu_seconds() - used
    each = (large - small) / scale.idle
    note(
        f"{scale.idle} idle connections",
        outcomes=" ".join(f"{n}x{how}" for how, n in sorted(told["outcomes"].items())),
        shortest_s=told["shortest_s"],
        longest_s=told["longest_s"],
        KiB_each=each / 1024,
        resident_MiB=large / MIB,
        cpu_s_until_closed=used,
        left_open=daemon.descriptors() - open_,
        quiet_p99_ms=before["p99_ms"],
        p99_ms=beside["p99_ms"],
        max_ms=beside["max_ms"],
    )
    assert sum(told["outcomes"].values()) == scale.idle
    assert set(told["outcomes"]) <= {"cut", "closed"}
    assert each < scale.each
    assert beside["failed"] == 0
