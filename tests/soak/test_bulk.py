"""Bodies much larger than the process: intact, and never held."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tests.support.load.daemon import MIB, Daemon, public
from tests.support.load.figures import note
from tests.support.load.programs import Probe, Upstream, latency, told_by
from tests.support.load.stream import checksum
from tests.support.load.wire import QUIET

MOST = 100 * MIB
"""What the process may hold at any time."""


@attrs.frozen
class Scale:
    """How much, and for how long."""

    size: int
    quiet: float
    """Seconds of a probe without anything else."""


SCALES = [
    pytest.param(Scale(48 * MIB, 0.2), id="short", marks=pytest.mark.system),
    pytest.param(Scale(5_000_000_000, 5.0), id="full", marks=pytest.mark.soak),
]
WAYS = [("up", "counted"), ("up", "chunked"), ("down", "counted"), ("down", "chunked")]


@pytest.fixture
def daemon(tmp_path: Path, upstream: Upstream, quiet: Upstream) -> Iterator[Daemon]:
    """The daemon, running."""
    with Daemon(tmp_path, public(upstream.port), public(quiet.port, QUIET)) as daemon:
        yield daemon.serving()


def moved(daemon: Daemon, scale: Scale, what: str, kind: str) -> dict[str, object]:
    """Move a body, and return what came on the other side."""
    before = latency(daemon.port, daemon.authority, scale.quiet)
    used = daemon.cpu_seconds()
    with Probe(daemon.port, daemon.authority) as probe:
        told = told_by("bulk", daemon.port, daemon.authority, what, kind, scale.size, patience=900)
        beside = probe.latency()
    seconds = told.pop("seconds")
    total = scale.size * (2 if what == "both" else 1)
    note(
        f"bulk {what} {kind}",
        GB=total / 1e9,
        MB_per_s=total / 1e6 / seconds,
        daemon_cpu_s=daemon.cpu_seconds() - used,
        peak_MiB=daemon.peak / MIB,
        quiet_p99_ms=before["p99_ms"],
        p99_ms=beside["p99_ms"],
        max_ms=beside["max_ms"],
    )
    assert beside["failed"] == 0
    return told


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("what", "kind"), WAYS)
def test_a_body_larger_than_the_process(daemon: Daemon, scale: Scale, what: str, kind: str) -> None:
    """It arrives to the last byte, and the process stays small."""
    told = moved(daemon, scale, what, kind)
    assert told == {"size": scale.size, "sha256": checksum(scale.size)}
    assert daemon.peak < MOST


@pytest.mark.parametrize("scale", SCALES)
def test_both_ways_at_once_over_one_websocket(daemon: Daemon, scale: Scale) -> None:
    """Both streams arrive to the last byte, and the process stays small."""
    told = moved(daemon, scale, "both", "websocket")
    whole = {"size": scale.size, "sha256": checksum(scale.size)}
    assert told == {**whole, "there": whole}
    assert daemon.peak < MOST
