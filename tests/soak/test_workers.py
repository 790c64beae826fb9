"""
Workers that die or freeze, and daemons that end: what is lost is what they held, and no more.

Whose connection it was is the kernel's word; which ones broke is the clients'.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import attrs
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.load import kernel
from tests.support.load.daemon import Daemon, public
from tests.support.load.each import Each
from tests.support.load.figures import note
from tests.support.load.programs import Crowd, Program, Upstream, until
from tests.support.load.wire import HOST, dial
from tests.support.processes import free_port


@attrs.frozen(kw_only=True)
class Scale:
    """How many processes, under how much traffic."""

    workers: int
    sockets: int
    keep: int
    fresh: int
    quiet: int
    """Answers that the clients have before and after the death."""
    slow: int
    """Answers under way when a daemon is told to end."""
    flood: int
    """Seconds of as many requests as there can be."""
    calm: int
    """Seconds that are watched before a death, and after it."""


SCALES = [
    pytest.param(
        Scale(workers=2, sockets=10, keep=10, fresh=4, quiet=2000, slow=20, flood=1, calm=1),
        id="short",
        marks=pytest.mark.system,
    ),
    *(
        pytest.param(
            Scale(
                workers=workers,
                sockets=100,
                keep=24,
                fresh=8,
                quiet=20_000,
                slow=200,
                flood=10,
                calm=10,
            ),
            id=f"full-{workers}",
            marks=pytest.mark.soak,
        )
        for workers in (2, 4)
    ),
]
pytestmark = pytest.mark.parametrize("scale", SCALES)


@pytest.fixture
def daemon(tmp_path: Path, upstream: Upstream, scale: Scale) -> Iterator[Daemon]:
    """The daemon, with its workers."""
    with Daemon(
        tmp_path,
        public(upstream.port),
        workers=scale.workers,
        metrics_address=f"127.0.0.1:{free_port()}",
    ) as daemon:
        yield daemon.serving()


def answered(daemon: Daemon, count: int) -> None:
    """Wait until so many more requests have been answered."""
    heard = len(daemon.process.lines)
    daemon.process.until('"http-request"', count, after=heard, patience=300)


def metrics(daemon: Daemon) -> dict[str, float]:
    """Return the sum of each metric's samples; of requests, of those that were answered well."""
    with urllib.request.urlopen(f"http://{daemon.settings['metrics_address']}/metrics") as said:
        families = list(text_string_to_metric_families(said.read().decode()))
    found: dict[str, float] = defaultdict(float)
    for family in families:
        for sample in family.samples:
            if sample.labels.get("http_status", "200") == "200":
                found[sample.name.removeprefix("pomerium_")] += sample.value
    return found


def answers(daemon: Daemon) -> float:
    """Return how many requests of clients were answered well, as the daemon counts."""
    return metrics(daemon)["http_server_requests_total"]


def seconds_between(first: str, second: str) -> float:
    """Return how long after one line of the log another one was written."""
    began, ended = (datetime.fromisoformat(json.loads(line)["time"]) for line in (first, second))
    return (ended - began).total_seconds()


@attrs.frozen
class Death:
    """What a worker had when it was struck, and how it went on."""

    lost: set[int]
    """The clients' ports of its connections."""
    noticed: float
    """Seconds until the supervisor said that it is gone."""
    back: float
    """Seconds from there until another one served in its place."""


def heaviest(daemon: Daemon) -> int:
    """Return the number of the worker that has most to lose."""
    ((pid, _),) = Counter(daemon.owners().values()).most_common(1)
    return daemon.workers().index(pid)


def reserved(daemon: Daemon) -> None:
    """Wait until there is one in reserve; on a busy machine it has little of the processor."""
    daemon.process.until("the reserve is ready", patience=600)


def held(daemon: Daemon, pid: int) -> int:
    """Return how many connections a worker has."""
    return Counter(daemon.owners().values())[pid]


def watched(
    daemon: Daemon, how: signal.Signals, *, clients: int, pace: float, calm: float
) -> dict[str, dict[str, float]]:
    """
    Return how long those had to wait whose worker lived, while another one died.

    They are watched by a program of its own, one connection to each worker that will live. For
    comparison as many clients as lost their connection hang up and come back, and nobody dies.

    Args:
        daemon: at rest.
        how: the worker is struck.
        clients: how many are at work besides.
        pace: see ``callers``.
        calm: seconds before, after, and between.

    Returns:
        By window: ``calm``, ``control`` (a second from when clients came back), ``calm-again``,
        ``death`` (a second from the death), ``after`` (another worker starts then).
    """
    pause = threading.Event()
    with ExitStack() as stack:
        crowd = stack.enter_context(
            Crowd("callers", daemon.port, daemon.authority, "keep", clients, pace)
        ).begun_all()
        number = heaviest(daemon)
        pids = daemon.workers()
        victim = pids.pop(number)
        pings = stack.enter_context(
            Crowd("pings", daemon.port, daemon.authority, *pids)
        ).begun_all()

        def window(name: str, seconds: float, *more: object) -> None:
            crowd.say(" ".join(map(str, (name, *more))))
            pings.say(name)
            pause.wait(seconds)

        window("calm", calm)
        window("control", 1.0, held(daemon, victim))
        window("calm-again", calm)
        heard = len(daemon.process.lines)
        had = held(daemon, victim)
        if how == signal.SIGSTOP:
            window("frozen", 0.0)
            os.kill(victim, how)
            daemon.process.until("has not answered", after=heard)
        else:
            os.kill(victim, how)
        window("death", 1.0)
        window("after", calm)
        daemon.process.until(f"worker {number} serves", after=heard)
        lost, told = crowd.result(), pings.result()
    assert told["failed"] == 0
    assert lost["failed"] == had
    return {
        name: {
            figure: max(worker[name][figure] for worker in told["workers"])
            for figure in ("p50_ms", "p99_ms", "max_ms")
        }
        for name in ("calm", "control", "calm-again", "death", "after")
    }


PACES = {"moderate": 0.02, "full": 0.0}
"""Seconds between two requests of each client; with 0 the processors are never idle."""


@pytest.mark.parametrize("load", PACES)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_the_others_do_not_wait(
    daemon: Daemon, scale: Scale, how: signal.Signals, load: str
) -> None:
    """Nobody else fails; and how long they waited is printed beside what clients cost that come."""
    reserved(daemon)
    figures = watched(daemon, how, clients=scale.keep, pace=PACES[load], calm=scale.calm)
    name = "killed" if how == signal.SIGKILL else "frozen"
    note(
        f"others' p99 in ms, one of {scale.workers} workers {name}, {load} load",
        **{window.replace("-", "_"): found["p99_ms"] for window, found in figures.items()},
        **{f"{window}_max": figures[window]["max_ms"] for window in ("control", "death")},
    )


def struck(daemon: Daemon, number: int, how: signal.Signals) -> Death:
    """Strike a worker, and wait until there is another one in its place."""
    victim = daemon.workers()[number]
    # Frozen first in any case: what it holds then is what it will have lost.
    os.kill(victim, signal.SIGSTOP)
    until(lambda: kernel.stopped(victim))
    lost = {port for port, pid in daemon.owners().items() if pid == victim}
    heard = len(daemon.process.lines)
    began = time.perf_counter()
    os.kill(victim, how)
    gone = daemon.process.until(f"worker {number} is gone", after=heard)
    noticed = time.perf_counter() - began
    back = daemon.process.until(f"worker {number} serves", after=heard)
    assert victim not in daemon.workers()
    return Death(lost, noticed, seconds_between(gone, back))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_a_worker_that_dies(daemon: Daemon, scale: Scale, how: signal.Signals) -> None:
    """Its own connections are lost, each of them once; nobody else notices."""
    reserved(daemon)
    given = (daemon.port, daemon.authority)
    with ExitStack() as stack:
        keep, fresh, sockets = crowds = [
            stack.enter_context(Crowd(*words)).begun_all()
            for words in (
                ("callers", *given, "keep", scale.keep, 0.01),
                ("callers", *given, "fresh", scale.fresh, 0.04),
                ("websockets", *given, HOST, scale.sockets, 0.5),
            )
        ]
        for window in ("before", "death", "after"):
            for crowd in (keep, fresh):
                crowd.say(window)
            if window == "death":
                death = struck(daemon, heaviest(daemon), how)
            else:
                answered(daemon, scale.quiet)
        came = [crowd.result() for crowd in crowds]
        counted = answers(daemon)
        broken = [
            {port for port, _ in came[0]["failures"]},
            {port for port, _ in came[1]["failures"]},
            {cut["port"] for cut in came[2]["cuts"]},
        ]
        with Each(daemon.port, str(daemon.authority), daemon.workers()) as each:
            assert set(each.statuses(HOST).values()) == {200}
    name = "killed" if how == signal.SIGKILL else "frozen"
    windows = came[0]["windows"]
    note(
        f"one of {scale.workers} workers {name}",
        held=len(death.lost),
        requests=came[0]["asked"] + came[1]["asked"],
        failed=came[0]["failed"] + came[1]["failed"],
        cut=len(came[2]["cuts"]),
        noticed_s=death.noticed,
        back_after_s=death.back,
        **{
            f"{window}_{figure}": windows[window][figure]
            for figure in ("p99_ms", "max_ms")
            for window in ("before", "death", "after")
        },
    )
    assert broken[0] == death.lost & keep.ports
    assert came[0]["failed"] == len(broken[0])
    # One whose answer had come, and that was not closed yet, has lost nothing.
    assert broken[1] <= death.lost
    assert came[1]["failed"] == len(broken[1])
    assert broken[2] == death.lost & sockets.ports
    # Whoever lost a connection does not know whether the answer was on its way.
    got = came[0]["answered"] + came[1]["answered"]
    assert got <= counted <= got + came[0]["failed"] + came[1]["failed"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_counters_add_up(daemon: Daemon, scale: Scale, how: signal.Signals) -> None:
    """What the clients had is what is counted, to the last answer, whoever gave it."""
    had = 0
    for number in range(2):
        with Crowd("callers", daemon.port, daemon.authority, "keep", scale.keep, 0.005) as crowd:
            crowd.begun_all()
            answered(daemon, scale.quiet)
            came = crowd.result()
        assert came["failures"] == []
        had += came["answered"]
        until(lambda: answers(daemon) >= had)  # noqa: B023  # called in this round
        assert answers(daemon) == had
        struck(daemon, number, how)
        assert answers(daemon) == had
    assert metrics(daemon)["worker_restarts_total"] == 2


@pytest.mark.needs("wrk")
def test_every_answer_is_in_the_log(tmp_path: Path, upstream: Upstream, scale: Scale) -> None:
    """However fast they come, the supervisor writes a line for each that the workers gave."""
    log = tmp_path / "log.jsonl"
    routes = [public(upstream.port)]
    with Daemon(tmp_path, *routes, options=(f"--logfile={log}",), workers=scale.workers) as daemon:
        daemon.answering()
        url = f"https://127.0.0.1:{daemon.port}/ping"
        words = ("wrk", "-t1", "-c32", f"-d{scale.flood}s", "-H", f"Host: {HOST}", url)
        said = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout
    (had,) = re.findall(r"(\d+) requests in", said)
    files = tmp_path.glob("log.jsonl*")
    lines = [line for file in files for line in file.read_text().splitlines()]
    written = sum('"path":"/ping"' in line for line in lines)
    note(f"lines of {scale.workers} workers", answers=int(had), lines=written)
    assert not any("log lines were dropped" in line for line in lines)
    # Each connection may have had one on its way when the time was over.
    assert int(had) <= written <= int(had) + 32


def drips(daemon: Daemon, upstream: Upstream, count: int, stack: ExitStack) -> Program:
    """Have so many answers under way, of a byte each second."""
    before = kernel.connections(upstream.port)
    crowd = stack.enter_context(
        Program("crowd", daemon.port, daemon.authority, "slow-answer", count, 0, 4)
    )
    until(lambda: kernel.connections(upstream.port) >= before + count)
    return crowd


def left_of(daemon: Daemon, *, ended: bool) -> list[kernel.Process]:
    """Return what still runs of a daemon; also what has ended and was never asked how."""
    return [
        each
        for each in kernel.processes()
        if each.session == daemon.process.pid and (ended or each.state != "Z")
    ]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=["told", "ctrl-c"])
def test_an_orderly_end(
    daemon: Daemon, upstream: Upstream, scale: Scale, how: signal.Signals
) -> None:
    """Answers under way come whole, and no process is left."""
    with ExitStack() as stack:
        crowd = drips(daemon, upstream, scale.slow, stack)
        idle = stack.enter_context(Each(daemon.port, str(daemon.authority), daemon.workers()))
        began = time.perf_counter()
        if how == signal.SIGINT:
            os.killpg(daemon.process.pid, how)  # as a terminal does: to all of them
        else:
            daemon.process.send(how)
        status = daemon.process.wait()
        took = time.perf_counter() - began
        told = crowd.told()
        assert len(idle.readers) == scale.workers
    note(f"{how.name}, {scale.workers} workers", status=status, took_s=took, **told)
    assert told["outcomes"] == {"whole": scale.slow}
    # twistd ends by the signal that it was told by, when all is done; systemd calls that clean.
    assert status in {0, -how}
    assert left_of(daemon, ended=True) == []
    assert [line for line in daemon.log() if line["level"] not in {"info", "warn"}] == []
    assert not any("Traceback" in line for line in daemon.process.lines)


def test_a_supervisor_that_is_killed(daemon: Daemon, upstream: Upstream, scale: Scale) -> None:
    """Its workers end what is under way, and then themselves."""
    workers = daemon.workers()
    with ExitStack() as stack:
        crowd = drips(daemon, upstream, scale.slow, stack)
        began = time.perf_counter()
        os.kill(daemon.process.pid, signal.SIGKILL)
        until(lambda: all(kernel.gone(pid) for pid in workers))
        took = time.perf_counter() - began
        told = crowd.told()
    note(f"supervisor of {scale.workers} killed", workers_gone_after_s=took, **told)
    assert told["outcomes"] == {"whole": scale.slow}
    assert left_of(daemon, ended=False) == []
    with pytest.raises(ConnectionRefusedError):
        dial(daemon.port, None)
