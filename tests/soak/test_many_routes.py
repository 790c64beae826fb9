"""Ten thousand routes: a reload builds them beside the traffic, and nobody waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.support.load import kernel
from tests.support.load.daemon import MIB, Daemon, public
from tests.support.load.figures import note
from tests.support.load.programs import Crowd, Upstream

WORKERS = 2


@attrs.frozen
class Scale:
    """How many routes, and how often they are read anew."""

    routes: int
    reloads: int
    quiet: int
    """Answers before the first reload: what a worker's longest stall is without one."""


SCALES = [
    pytest.param(Scale(10_000, 1, 300), id="short", marks=pytest.mark.system),
    pytest.param(Scale(10_000, 5, 3000), id="full", marks=pytest.mark.soak),
]


def route(number: int, port: int) -> dict[str, Any]:
    """Return one of many: every second one is public, every tenth has TLS to its upstream."""
    host = f"r{number}.example.test"
    if not number % 2:
        return public(port, host)
    secured = {"to": "https://127.0.0.1:9443", "tls_server_name": f"r{number}.internal"}
    return {
        "from": f"https://{host}",
        "to": f"http://127.0.0.1:{port}",
        "allowed_users": [f"user{number}.{at}@example.com" for at in range(5)],
        "allowed_groups": [f"group{number % 100}", "staff"],
        **(secured if not number % 5 else {}),
    }


@pytest.fixture
def routes(upstream: Upstream, quiet: Upstream, scale: Scale) -> list[dict[str, Any]]:
    """All of them."""
    many = [route(number, quiet.port) for number in range(scale.routes - 1)]
    return [*many[: scale.routes // 2], public(upstream.port), *many[scale.routes // 2 :]]


@contextmanager
def largest_child(parent: int) -> Iterator[dict[str, int]]:
    """Watch the children of a process that come now; give bytes that one held at the most."""
    known = {child.pid for child in kernel.children(parent)}
    found = {"peak": 0}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            for child in kernel.children(parent):
                if child.pid not in known:
                    try:
                        found["peak"] = max(found["peak"], kernel.memory(child.pid, "VmHWM"))
                    except (OSError, AssertionError):
                        continue  # it has ended meanwhile

    watching = threading.Thread(target=watch)
    watching.start()
    yield found
    over.set()
    watching.join()


@attrs.define
class Used:
    """What workers have used so far, in seconds."""

    cpu: list[float]
    waited: list[float]
    """For a processor."""

    @classmethod
    def by(cls, pids: list[int]) -> Used:
        """Ask the kernel."""
        return cls(
            [kernel.cpu_seconds(pid) for pid in pids], [kernel.waited_seconds(pid) for pid in pids]
        )

    def since(self, before: Used) -> dict[str, str]:
        """Return what was used meanwhile, as a figure for each worker."""
        return {
            "cpu_ms": _ms(self.cpu, before.cpu),
            "waited_for_cpu_ms": _ms(self.waited, before.waited),
        }


def _ms(now: list[float], before: list[float]) -> str:
    pairs = zip(now, before, strict=True)
    return " ".join(f"{1000 * (end - begin):.0f}" for end, begin in pairs)


@pytest.mark.parametrize("scale", SCALES)
def test_reload(tmp_path: Path, scale: Scale, routes: list[dict[str, Any]]) -> None:
    """It serves through it, and nothing fails."""
    began = time.perf_counter()
    with ExitStack() as stack:
        daemon = stack.enter_context(Daemon(tmp_path, workers=WORKERS, routes=routes)).serving()
        started = time.perf_counter() - began
        pids = daemon.workers()
        resident = [kernel.memory(pid, "VmRSS") for pid in (daemon.process.pid, *pids)]
        given = (daemon.port, daemon.authority)
        callers = stack.enter_context(Crowd("callers", *given, "keep", 4, 0.02)).begun_all()
        pings = stack.enter_context(Crowd("pings", *given, *pids)).begun_all()
        windows = ["quiet", *(f"reload-{number + 1}" for number in range(scale.reloads))]
        seconds: list[float] = []
        used: list[dict[str, str]] = []
        peaks: list[int] = []
        for number, window in enumerate(windows):
            heard = len(daemon.process.lines)
            callers.say(window)
            pings.say(window)
            before = Used.by(pids)
            if not number:
                daemon.process.until("/say", scale.quiet, after=heard)
            else:
                routes[number] = public(1, f"changed{number}.example.test")
                daemon.rewrite(routes=routes)
                began = time.perf_counter()
                with largest_child(daemon.process.pid) as child:
                    daemon.hang_up()
                    daemon.process.until("new settings serve", after=heard)
                seconds.append(time.perf_counter() - began)
                peaks.append(child["peak"])
                # What follows a swap is part of it: the old generation goes.
                daemon.process.until("/say", 100, after=len(daemon.process.lines))
            used.append(Used.by(pids).since(before))
        status = daemon.status()
        end = [kernel.memory(pid, "VmRSS") for pid in (daemon.process.pid, *pids)]
        came, pinged = callers.result(), pings.result()
    note(
        f"{scale.routes} routes",
        start_s=started,
        in_force_s=" ".join(f"{each:.1f}" for each in seconds),
        resident_MiB=_in_MiB(resident),
        end_MiB=_in_MiB(end),
        reader_MiB=_in_MiB(peaks),
    )
    for window, more in zip(windows, used, strict=True):
        note(
            f"  {window}: stall of each worker",
            longest_ms=" ".join(f"{each[window]['max_ms']:.1f}" for each in pinged["workers"]),
            p99_ms=" ".join(f"{each[window]['p99_ms']:.1f}" for each in pinged["workers"]),
            ran_ms=" ".join(f"{each[window]['ran_ms']:.1f}" for each in pinged["workers"]),
            callers_p99_ms=came["windows"][window]["p99_ms"],
            **more,
        )
    assert came["failures"] == []
    assert came["answered"] == came["asked"]
    assert pinged["failed"] == 0
    assert status["generation"]["routes"] == scale.routes
    assert status["generation"]["number"] == 1 + scale.reloads
    assert {worker["generation"] for worker in status["workers"]} == {1 + scale.reloads}


def _in_MiB(sizes: list[int]) -> str:
    return " ".join(f"{size / MIB:.0f}" for size in sizes)
