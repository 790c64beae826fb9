"""
Settings that change while traffic flows: nobody notices but those whom the change is about.

Clients of ours count every answer, and hold WebSockets open from the first reload to the last.
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.support.load import kernel
from tests.support.load.daemon import MIB, PRIVATE, Daemon, private, public
from tests.support.load.each import Each
from tests.support.load.figures import note
from tests.support.load.programs import ROOT, Crowd, Upstream, until
from tests.support.load.wire import HOST

WORKERS = 2
RESERVE = 1
LOOKS = 100
"""In a row, 20 ms apart, that have to find the same: what a reader had is closed some time after it
has ended, where all processors are busy."""

ALICE, BOB = "alice@example.com", "bob@example.com"

OTHERS = 200
"""Routes that never change: a generation that is never let go shows in the memory."""

GROWTH = 16 * MIB
"""What a process may hold more at the end than when it was warm."""


@attrs.frozen(kw_only=True)
class Scale:
    """How many reloads, under how much traffic."""

    reloads: int
    warm: int
    """Reloads after which the processes are measured for the first time."""
    sockets: int
    keep: int
    """Clients that keep their connections."""
    fresh: int
    """Clients with a new connection for each request."""


SHORT = Scale(reloads=9, warm=3, sockets=20, keep=8, fresh=4)
FULL = Scale(reloads=200, warm=20, sockets=200, keep=16, fresh=8)
SCALES = [
    pytest.param(SHORT, id="short", marks=pytest.mark.system),
    pytest.param(FULL, id="full", marks=pytest.mark.soak),
]
pytestmark = pytest.mark.parametrize("scale", SCALES)


def new(number: int) -> str:
    """Return the host that comes with a reload, and goes with the next."""
    return f"new-{number}.example.test"


def routes(port: int, number: int) -> list[dict[str, Any]]:
    """Return the routes after so many changes."""
    return [
        public(port),
        private(port, ALICE, f"user{number}@example.com"),
        *(public(port, f"other-{at}.example.test") for at in range(OTHERS)),
        public(port, new(number)),
    ]


def _missing_value(given: dict[str, Any]) -> str:
    given["routes"][0].pop("to")
    return json.dumps(given)


def _unknown_key(given: dict[str, Any]) -> str:
    given["routse"] = given.pop("routes")
    return json.dumps(given)


BROKEN: list[Callable[[dict[str, Any]], str]] = [
    lambda given: json.dumps(given)[:-100],
    lambda _: "",
    _missing_value,
    _unknown_key,
    lambda given: json.dumps(given | {"certificates": [{"cert": "/no", "key": "/no"}]}),
    lambda given: json.dumps(given | {"timeout_idle": "a while"}),
]
"""What goes wrong when files are written by people and programs."""


@attrs.define
class Measured:
    """What each process holds; the supervisor comes first."""

    resident: list[int]
    descriptors: list[dict[str, int]]
    """By kind; connections come and go, and are left out."""

    @classmethod
    def of(cls, daemon: Daemon) -> Measured:
        """Measure the processes of a daemon, when none but they run."""
        pids = [daemon.process.pid, *daemon.workers()]
        found: list[list[dict[str, int]]] = []

        def settled() -> bool:
            # A reader ends, and who asked for the status is hung up on, a moment later.
            open_ = [kernel.descriptors(pid) for pid in pids]
            found.append([{k: n for k, n in each.items() if k != "tcp"} for each in open_])
            children = len(kernel.children(daemon.process.pid))
            # One that is being started has its pipes before it is a child.
            same = found[-LOOKS:] == [found[-1]] * LOOKS
            return children == WORKERS + RESERVE and same

        until(lambda: daemon.status()["reserve"]["state"] == "reserve")
        until(settled)
        return cls([kernel.memory(pid, "VmRSS") for pid in pids], found[-1])


@pytest.fixture
def daemon(tmp_path: Path, upstream: Upstream) -> Iterator[Daemon]:
    """The daemon, with its workers."""
    with Daemon(tmp_path, workers=WORKERS, routes=routes(upstream.port, 0)) as daemon:
        yield daemon.serving()


def reloaded(daemon: Daemon, words: str, write: Callable[[], None]) -> float:
    """Write a file, say so, and wait for these words; return the seconds that it took."""
    heard = len(daemon.process.lines)
    write()
    began = time.perf_counter()
    daemon.hang_up()
    daemon.process.until(words, after=heard)
    return time.perf_counter() - began


def taken(daemon: Daemon, each: Each, port: int, number: int) -> float:
    """Let good settings come; return the seconds until they were in force in all workers."""
    before = daemon.status()["generation"]
    took = reloaded(
        daemon, "new settings serve", lambda: daemon.rewrite(routes=routes(port, number))
    )
    now = daemon.status()
    assert now["generation"]["digest"] != before["digest"]
    assert now["generation"]["routes"] == len(daemon.settings["routes"])
    assert {worker["generation"] for worker in now["workers"]} == {now["generation"]["number"]}
    assert set(each.statuses(new(number)).values()) == {200}
    return took


def refused(daemon: Daemon, each: Each, broken: str, serving: int) -> float:
    """Let bad settings come; return the seconds until they were refused, to nobody's harm."""
    before = daemon.status()["generation"]
    took = reloaded(daemon, "the new settings are refused", lambda: daemon.put(broken))
    now = daemon.status()
    assert now["generation"] == before
    assert now["last_reload"]["outcome"] == "refused"
    assert now["last_reload"]["error"]
    assert set(each.statuses(new(serving)).values()) == {200}
    return took


def statused(daemon: Daemon) -> dict[str, Any]:
    """Return what the command says."""
    words = ("-m", "pomeriumd.cli", "status", "--json", "-c", str(daemon.config))
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, stdout=subprocess.PIPE, check=False, timeout=60
    )
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_reloads(daemon: Daemon, upstream: Upstream, scale: Scale) -> None:
    """No request fails and no stream is cut; what is good serves, and nothing is left of it."""
    given = (daemon.port, daemon.authority)
    seconds: list[float] = []
    refusals: list[float] = []
    serving = 0
    with ExitStack() as stack:
        keep, fresh, sockets, signed_in = crowds = [
            stack.enter_context(crowd)
            for crowd in (
                Crowd("callers", *given, "keep", scale.keep, 0.02),
                Crowd("callers", *given, "fresh", scale.fresh, 0.05),
                Crowd("websockets", *given, HOST, scale.sockets, 0.5),
                Crowd("websockets", *given, PRIVATE, 4, 0.5, daemon.cookie(ALICE)),
            )
        ]
        for crowd in crowds:
            crowd.begun_all()
        each = stack.enter_context(Each(daemon.port, str(daemon.authority), daemon.workers()))
        began = daemon.workers()
        for number in range(1, scale.reloads + 1):
            if number % 3:
                seconds.append(taken(daemon, each, upstream.port, number))
                assert set(each.statuses(new(serving)).values()) == {404}
                serving = number
            else:
                good = json.loads(daemon.config.read_text())
                broken = BROKEN[number // 3 % len(BROKEN)](good)
                refusals.append(refused(daemon, each, broken, serving))
            if number == scale.warm:
                warm = Measured.of(daemon)
        end = Measured.of(daemon)
        told = statused(daemon)
        callers = [crowd.result() for crowd in (keep, fresh)]
        streams = [crowd.result() for crowd in (sockets, signed_in)]
        # What is left are the connections that asked each worker.
        until(lambda: daemon.status()["connections"] == WORKERS)
        left = daemon.owners()
    note(
        f"{scale.reloads} reloads",
        requests=sum(each["asked"] for each in callers),
        failed=sum(each["failed"] for each in callers),
        messages=sum(each["exchanged"] for each in streams),
        cut=sum(len(each["cuts"]) for each in streams),
        in_force_ms=1000 * statistics.median(seconds),
        at_most_ms=1000 * max(seconds),
        refused_ms=1000 * statistics.median(refusals),
        keep_p99_ms=callers[0]["windows"]["first"]["p99_ms"],
        keep_max_ms=callers[0]["windows"]["first"]["max_ms"],
    )
    note(
        "  supervisor and workers",
        warm_MiB=_in_MiB(warm.resident),
        end_MiB=_in_MiB(end.resident),
        descriptors=" ".join(str(sum(each.values())) for each in end.descriptors),
    )
    assert [each["failures"] for each in callers] == [[], []]
    assert [each["answered"] for each in callers] == [each["asked"] for each in callers]
    assert [each["cuts"] for each in streams] == [[], []]
    assert daemon.workers() == began
    assert len(left) == WORKERS
    assert end.descriptors == warm.descriptors
    for before, after in zip(warm.resident, end.resident, strict=True):
        assert after < before + GROWTH
    assert told["generation"]["number"] == {w["generation"] for w in told["workers"]}.pop()


def _in_MiB(sizes: list[int]) -> str:
    return " ".join(f"{size / MIB:.1f}" for size in sizes)


@pytest.mark.skipif(
    importlib.util.find_spec("pomeriumd.proxy.streams") is None,
    reason="streams are not decided again yet",
)
def test_a_user_removed_from_a_route(daemon: Daemon, upstream: Upstream, scale: Scale) -> None:
    """Their WebSockets are cut; those of others on that route, and on all others, live on."""
    each = scale.sockets // 4
    given = (daemon.port, daemon.authority)
    both = routes(upstream.port, 0)
    both[1] = private(upstream.port, ALICE, BOB)
    reloaded(daemon, "new settings serve", lambda: daemon.rewrite(routes=both))
    with (
        Crowd("websockets", *given, PRIVATE, each, 0.5, daemon.cookie(ALICE)) as alice,
        Crowd("websockets", *given, PRIVATE, each, 0.5, daemon.cookie(BOB)) as bob,
        Crowd("websockets", *given, HOST, each, 0.5) as others,
    ):
        for crowd in (alice, bob, others):
            assert crowd.begun_all().opened["open"] == each
        one = [*both]
        one[1] = private(upstream.port, BOB)
        reloaded(daemon, "new settings serve", lambda: daemon.rewrite(routes=one))
        began = time.perf_counter()
        alice.until('"cut"', each)
        took = time.perf_counter() - began
        came = [crowd.result() for crowd in (alice, bob, others)]
    note(
        f"{each} WebSockets of one removed",
        cut=len(came[0]["cuts"]),
        others_cut=len(came[1]["cuts"]) + len(came[2]["cuts"]),
        last_cut_after_s=took,
    )
    assert {cut["port"] for cut in came[0]["cuts"]} == alice.ports
    assert [came[1]["cuts"], came[2]["cuts"]] == [[], []]
