"""The real daemon with workers and without: starts, deaths, reloads, ends."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import shlex
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.support.load.daemon import public
from tests.support.processes import PATIENCE_SECONDS, Running, free_port

COOKIE_SECRET = base64.b64encode(b"c" * 32).decode("ascii")


def until(what: Callable[[], bool]) -> None:
    """Wait for something that must come; a bound for a machine under load."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not what():
        assert time.monotonic() < end, "it does not come to pass"
        time.sleep(0.02)


def runs(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(pid: int) -> list[int]:
    """Return the children of a process."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def usual(pid: int) -> bool:
    """Tell whether all threads of a process have the usual policy, and none waits for others."""
    threads = [int(name) for name in os.listdir(f"/proc/{pid}/task")]  # noqa: PTH208  # few
    return all(os.sched_getscheduler(thread) == os.SCHED_OTHER for thread in threads)


class DaemonCase(SynchronousTestCase):
    """A daemon without TLS, in a directory of its own."""

    workers = 2
    daemon: Running

    def setUp(self) -> None:
        """Start it."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.place = Path(directory.name)
        self.port = free_port()
        self.config = self.place / "config.json"
        self.write()
        program = str(Path(sys.executable).with_name("twistd"))
        command = (program, "-n", "--pidfile=", "pomerium", "-c", str(self.config))
        self.daemon = self.begin(*command)
        self.addCleanup(self.daemon.stop)
        self.daemon.until("listens on")

    def begin(self, *command: str) -> Running:
        """Start the daemon."""
        return Running(command, where=self.place)

    def write(self, **more: Any) -> None:
        """Write the settings, in one step."""
        settings = {
            "address": f"127.0.0.1:{self.port}",
            "workers": self.workers,
            "insecure_server": True,
            "cookie_secret": COOKIE_SECRET,
            "authenticate_service_url": "https://authenticate.example.test",
            "idp_provider": "oidc",
            "idp_provider_url": "https://id.example.com",
            "idp_client_id": "x",
            "idp_client_secret": "y",
            "state_dir": str(self.place / "state"),
            "routes": [public(9)],
            **more,
        }
        draft = self.place / "draft"
        draft.write_text(json.dumps(settings))
        draft.replace(self.config)

    def command(self, *words: str) -> tuple[int, str]:
        """Run pomeriumd; return its exit status and what it printed."""
        program = str(Path(sys.executable).with_name("pomeriumd"))
        with Running((program, *words, "-c", str(self.config))) as running:
            status = running.wait()
        return status, "\n".join(running.lines)

    def status(self) -> dict[str, Any]:
        """Return what the daemon tells of itself."""
        found: dict[str, Any] = json.loads(self.command("status", "--json")[1])
        return found

    def pids(self) -> list[int]:
        """Return the processes that serve."""
        return [worker["pid"] for worker in self.status()["workers"]]

    def connect(self) -> http.client.HTTPConnection:
        """Open a connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        self.addCleanup(connection.close)
        return connection

    def ping(self, connection: http.client.HTTPConnection | None = None, port: int = 0) -> int:
        """Ask /ping and return the status."""
        own = connection or http.client.HTTPConnection(
            "127.0.0.1", port or self.port, timeout=PATIENCE_SECONDS
        )
        try:
            own.request("GET", "/ping", headers={"host": "app.example.test"})
            answer = own.getresponse()
            answer.read()
            return answer.status
        finally:
            if connection is None:
                own.close()

    def serving(self) -> bool:
        """Tell whether all workers serve."""
        return all(worker["state"] == "serving" for worker in self.status()["workers"])


class WorkersTests(DaemonCase):
    """Two workers and their supervisor."""

    def test_each_serves(self) -> None:
        """Both are children of the supervisor, and both take connections."""
        self.assertLessEqual(set(self.pids()), set(children(self.daemon.pid)))
        self.assertEqual(len(set(self.pids())), 2)
        for _ in range(20):
            self.assertEqual(self.ping(), 200)

    def test_the_supervisor_has_no_grpc(self) -> None:
        """A process that starts others by fork must not have it loaded."""
        self.assertNotIn("grpc", Path(f"/proc/{self.daemon.pid}/maps").read_text())

    def test_a_killed_one_is_replaced(self) -> None:
        """The others' connections live, new ones are served, and another takes its place."""
        connections = [self.connect() for _ in range(16)]
        for connection in connections:
            self.assertEqual(self.ping(connection), 200)
        victim, other = self.pids()
        os.kill(victim, signal.SIGKILL)
        self.daemon.until("worker 0 serves", nth=2)
        self.assertEqual(self.ping(), 200)
        lived = 0
        for connection in connections:
            with contextlib.suppress(OSError, http.client.HTTPException):
                lived += self.ping(connection) == 200
        self.assertGreater(lived, 0)
        workers = self.status()["workers"]
        self.assertNotEqual(workers[0]["pid"], victim)
        self.assertEqual(workers[1]["pid"], other)
        self.assertEqual([worker["restarts"] for worker in workers], [1, 0])

    def test_the_one_in_reserve_takes_the_seat(self) -> None:
        """It has no connection until a worker is killed, and then serves in its place."""
        self.daemon.until("the reserve is ready")
        reserve = self.status()["reserve"]
        self.assertEqual((reserve["state"], reserve["generation"]), ("reserve", 1))
        for _ in range(20):
            self.assertEqual(self.ping(), 200)
        self.assertEqual(self.status()["reserve"]["connections"], 0)
        self.assertEqual(usual(reserve["pid"]), True)
        os.kill(self.pids()[0], signal.SIGKILL)
        self.daemon.until("worker 0 serves", nth=2)
        self.assertEqual(self.pids()[0], reserve["pid"])
        os.kill(self.pids()[1], signal.SIGKILL)
        self.assertEqual(self.ping(), 200)
        self.daemon.until("the reserve is ready", nth=2)
        self.assertEqual(self.status()["reserve"]["generation"], 1)

    def test_one_that_is_told_to_end_drains(self) -> None:
        """SIGTERM to a worker ends it in peace, as a restart of that one alone."""
        os.kill(self.pids()[0], signal.SIGTERM)
        self.daemon.until("worker 0 serves", nth=2)
        self.assertEqual(self.daemon.count("was told to end and is replaced"), 1)
        self.assertEqual(self.ping(), 200)

    def test_without_a_supervisor_nobody_stays(self) -> None:
        """When the supervisor is killed its workers drain and end."""
        pids = self.pids()
        self.daemon.send(signal.SIGKILL)
        until(lambda: not any(runs(pid) for pid in pids))

    def test_the_end_leaves_nobody(self) -> None:
        """SIGTERM ends all of them, without an error in the log."""
        pids = self.pids()
        self.daemon.send(signal.SIGTERM)
        self.daemon.wait()
        self.assertFalse(any(runs(pid) for pid in pids))
        for words in ('"level":"critical"', '"level":"error"', "Traceback"):
            self.assertEqual(self.daemon.count(words), 0, self.daemon.lines)

    def test_one_log(self) -> None:
        """What workers log stands in the supervisor's log, line by line."""
        for _ in range(50):
            self.ping()
        until(lambda: self.daemon.count('"path":"/ping"') == 50)
        for line in self.daemon.lines:
            json.loads(line)


class ReloadTests(DaemonCase):
    """New settings, by each of the ways that lead there."""

    def route(self, host: str) -> int:
        """Return what a host answers: 404 where it has no route, 502 where it has one."""
        connection = self.connect()
        connection.request("GET", "/", headers={"host": host})
        return connection.getresponse().status

    def test_by_signal(self) -> None:
        """SIGHUP takes new settings into force in all workers."""
        self.assertEqual(self.route("new.example.test"), 404)
        self.write(routes=[public(9), public(9, "new.example.test")])
        self.daemon.send(signal.SIGHUP)
        self.daemon.until("new settings serve")
        for _ in range(20):
            self.assertEqual(self.route("new.example.test"), 502)
        found = self.status()
        self.assertEqual({worker["generation"] for worker in found["workers"]}, {2})
        self.assertEqual(found["generation"]["routes"], 2)

    def test_by_itself(self) -> None:
        """A changed file is noticed, without being told."""
        self.write(routes=[public(9), public(9, "new.example.test")])
        self.daemon.until("new settings serve")
        self.assertEqual(self.route("new.example.test"), 502)

    def test_by_command(self) -> None:
        """`pomeriumd reload` says what changed."""
        self.write(routes=[public(9), public(9, "new.example.test")])
        status, said = self.command("reload")
        self.assertEqual(status, 0, said)
        self.assertIn("new.example.test", said)

    def test_a_broken_file(self) -> None:
        """It is refused with its place, and those of before serve on."""
        self.write(routes=[{**public(9), "to": "ftp://x"}])
        status, said = self.command("reload")
        self.assertEqual(status, 1)
        self.assertIn("routes[0].to", said)
        self.assertEqual(self.ping(), 200)
        status, said = self.command("status")
        self.assertEqual(status, 1)
        self.assertIn("routes[0].to", said)

    def test_what_needs_a_restart(self) -> None:
        """A change that no reload can make says so."""
        self.write(workers=3)
        status, said = self.command("reload")
        self.assertEqual(status, 1)
        self.assertIn("workers", said)
        self.assertIn("restart", said)

    def test_another_address(self) -> None:
        """A listener moves; the old address refuses."""
        before, self.port = self.port, free_port()
        self.write()
        self.assertEqual(self.command("reload")[0], 0)
        self.assertEqual(self.ping(), 200)
        with self.assertRaises(ConnectionRefusedError):
            self.ping(port=before)

    def test_a_worker_that_comes_later(self) -> None:
        """One that replaces another begins with the settings in force, not with the first."""
        self.write(routes=[public(9), public(9, "new.example.test")])
        self.assertEqual(self.command("reload")[0], 0)
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        until(self.serving)
        self.assertEqual(self.route("new.example.test"), 502)

    def test_metrics_come_and_go(self) -> None:
        """`metrics_address` needs no restart, and all workers' numbers are in one text."""
        for _ in range(30):
            self.ping()
        address = free_port()
        self.write(metrics_address=f"127.0.0.1:{address}")
        self.assertEqual(self.command("reload")[0], 0)
        connection = http.client.HTTPConnection("127.0.0.1", address, timeout=PATIENCE_SECONDS)
        self.addCleanup(connection.close)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        counted = [
            float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if line.startswith("pomerium_http_server_requests_total")
        ]
        self.assertEqual(sum(counted), 30, text)
        self.write()
        self.assertEqual(self.command("reload")[0], 0)
        with self.assertRaises(ConnectionRefusedError):
            self.ping(port=address)


@pytest.mark.system
class AloneTests(ReloadTests):
    """``workers: 1``: the same with one process."""

    workers = 1

    def test_a_worker_that_comes_later(self) -> None:
        """There is none: the daemon has no child once a reload is over."""
        self.assertEqual(self.command("reload")[0], 0)
        self.assertEqual(children(self.daemon.pid), [])
        self.assertEqual(self.pids(), [self.daemon.pid])


class SystemdTests(DaemonCase):
    """A socket that somebody else has bound, as systemd does."""

    def setUp(self) -> None:
        """Bind it."""
        self.given = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.given.close)
        super().setUp()

    def begin(self, *command: str) -> Running:
        """Start the daemon with the socket as descriptor 3, and what systemd says of it."""
        words = (
            f"exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_FDNAMES=address LISTEN_PID=$$ exec "
            f"{shlex.join(command)}"
        )
        return Running(("sh", "-c", words), where=self.place, stdin=self.given.fileno())

    def test_it_is_served(self) -> None:
        """Both workers accept there, and the settings' address is nobody's."""
        port = self.given.getsockname()[1]
        for _ in range(10):
            self.assertEqual(self.ping(port=port), 200)
        with self.assertRaises(ConnectionRefusedError):
            self.ping()
        self.assertEqual(
            self.status()["listeners"],
            [{"name": "address", "address": f"127.0.0.1:{port}", "from": "systemd"}],
        )
