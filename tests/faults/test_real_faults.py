"""Each fault once, with the real daemon: what a client gets, what the log says, what goes on."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import resource
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.load.daemon import PRIVATE, Daemon, private, public
from tests.support.load.programs import Upstream, until
from tests.support.load.wire import HOST, Reader, Wire, dial, request

pytestmark = pytest.mark.system
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """The application, running."""
    with Upstream() as upstream:
        yield upstream


class Client:
    """One connection to the daemon."""

    def __init__(self, daemon: Daemon) -> None:
        self.wire: Wire = dial(daemon.port, str(daemon.authority))
        self.reader = Reader(self.wire)

    def get(self, target: str, host: str = HOST) -> tuple[int, bytes]:
        """Return status and body."""
        self.wire.sendall(request("GET", target, host=host))
        line, fields = self.reader.head()
        body: list[bytes] = []
        self.reader.body(fields, lambda piece: body.append(bytes(piece)))
        return int(line.split()[1]), b"".join(body)


def asked(daemon: Daemon, target: str, host: str = HOST) -> tuple[int, bytes | None]:
    """
    Ask as a client of Python's library would, on a connection of its own.

    Returns:
        Status and body; None for a body that broke off.
    """
    with dial(daemon.port, str(daemon.authority)) as wire:
        wire.sendall(request("GET", target, "Connection: close", host=host))
        answer = http.client.HTTPResponse(wire)
        answer.begin()
        try:
            return answer.status, answer.read()
        except (http.client.IncompleteRead, OSError):
            return answer.status, None


def why(daemon: Daemon, nth: int = 1) -> str:
    """Return the sentence of the nth line about a request, without the request's id."""
    line: str = json.loads(daemon.process.until('"message":"request ', nth))["message"]
    return line.partition(": ")[2]


class TestUpstream:
    """Upstreams that die, refuse, reset, or say nothing."""

    def test_it_dies_in_its_answer(self, tmp_path: Path, upstream: Upstream) -> None:
        """A client of Python's library sees a broken answer; the log says why; once each."""
        ways = [("counted", "fin"), ("chunked", "fin")]
        ways += [(kind, "reset") for kind in ("counted", "chunked", "close")]
        with Daemon(tmp_path, public(upstream.port)) as daemon:
            daemon.serving()
            for number, (kind, how) in enumerate(ways, 1):
                assert asked(daemon, f"/die?kind={kind}&how={how}") == (200, None), (kind, how)
                said = "connection ended inside the answer; see the application's own log"
                assert why(daemon, number) == said, (kind, how)
            # What broke is not used again, and nothing else is broken.
            assert asked(daemon, "/small") == (200, b"ok")

    def test_it_cannot_be_reached(self, tmp_path: Path, upstream: Upstream) -> None:
        """Refused and reset are 502, and silence is 504; each with its reason and remedy."""
        with contextlib.ExitStack() as stack:
            refusing = socket.socket()
            stack.enter_context(refusing)
            refusing.bind(("127.0.0.1", 0))  # bound, so that nobody else is there; not listening
            closed = refusing.getsockname()[1]
            silent = stack.enter_context(_silent())
            daemon = stack.enter_context(
                Daemon(
                    tmp_path,
                    public(upstream.port),
                    public(closed, "closed.example.test"),
                    public(silent, "silent.example.test"),
                )
            ).serving()
            assert asked(daemon, "/", "closed.example.test")[0] == 502
            assert why(daemon, 1) == (
                f"no connection to 127.0.0.1:{closed}: ConnectionRefusedError: Connection was "
                "refused by other side: 111: Connection refused; does the application run, and "
                "does `to` name its address?"
            )
            assert asked(daemon, "/reset")[0] == 502
            assert why(daemon, 2) == (
                "connection ended before the answer; see the application's own log"
            )
            assert asked(daemon, "/", "silent.example.test")[0] == 504
            assert why(daemon, 3) == (
                f"no connection to 127.0.0.1:{silent} within 10 s; does the host run, and does "
                "no firewall swallow what is sent to it?"
            )


@contextlib.contextmanager
def _silent() -> Iterator[int]:
    """Give a port whose packets vanish: its queue of connections is full."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port: int = listening.getsockname()[1]
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(("127.0.0.1", port))
        yield port


class TestDescriptors:
    """A process that may open no more."""

    MOST = 64

    def test_they_run_out(self, tmp_path: Path, upstream: Upstream) -> None:
        """
        Who is there is served as far as that goes; who comes waits; nothing spins.

        And nobody is let through who should not be.
        """
        limits = {resource.RLIMIT_NOFILE: (self.MOST, self.MOST)}
        routes = (
            public(upstream.port),
            private(upstream.port),
            {**public(0, "named.example.test"), "to": f"http://localhost:{upstream.port}"},
        )
        with Daemon(tmp_path, *routes, limits=limits) as daemon, contextlib.ExitStack() as stack:
            daemon.serving()
            assert daemon.process.count(f"at most {self.MOST} files may be open") == 1
            client = Client(daemon)
            stack.enter_context(client.wire)
            crowd = [
                stack.enter_context(socket.create_connection(("127.0.0.1", daemon.port)))
                for _ in range(self.MOST)
            ]
            daemon.process.until(f"{daemon.port} cannot accept: [Errno 24] Too many open files")

            # Pages of ours, and what needs no new connection, go on.
            assert client.get("/ping")[0] == 200
            for number, host in enumerate((HOST, "named.example.test"), 1):
                status, page = client.get("/small", host)
                assert (status, page == b"ok") == (503, False), host
                assert why(daemon, number).endswith(
                    ": Too many open files; raise the limit of open files (LimitNOFILE= in the "
                    "unit), or lower max_connections"
                )
            assert client.get("/secret", PRIVATE)[0] == 401

            # A loop that spins would take all of these two seconds.
            used = daemon.cpu_seconds()
            threading.Event().wait(2.0)
            used = daemon.cpu_seconds() - used
            assert used < 0.25, f"{used} s of 2 s"
            assert daemon.process.count("cannot accept") == 1

            for one in crowd:
                one.close()
            late = Client(daemon)
            stack.enter_context(late.wire)
            assert late.get("/small") == (200, b"ok")
            assert client.get("/small", "named.example.test") == (200, b"ok")
            daemon.process.until(f"{daemon.port} accepts connections again")
            assert late.get("/seen") == (200, b'["/seen", "/small"]')


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes, that is full."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(place)]
    subprocess.run(mount, check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Leave no room, and return the file that takes it."""
    rubbish = disk / "rubbish"
    with rubbish.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return rubbish


@AS_ROOT
@pytest.mark.needs("mount", "umount")
class TestDisk:
    """A disk without room."""

    def lines(self, log: Path) -> list[dict[str, Any]]:
        """Return the log's lines, each of them whole."""
        return [json.loads(line) for line in log.read_bytes().splitlines()]

    def test_the_log_has_no_room(self, tmp_path: Path, upstream: Upstream, disk: Path) -> None:
        """Requests go on; each has its line or is counted; and the log says how many."""
        log, each, batches = disk / "pomerium.log", 500, 10
        options = (f"--logfile={log}",)
        with Daemon(tmp_path, public(upstream.port), options=options) as daemon:
            daemon.answering()
            until(lambda: b"listens on" in log.read_bytes())
            rubbish = fill(disk)
            client = Client(daemon)
            for _ in range(batches):
                client.wire.sendall(request("GET", "/small") * each)
                for _ in range(each):
                    line, fields = client.reader.head()
                    client.reader.body(fields, len)
                    assert b" 200 " in line
            client.wire.close()
            assert daemon.peak < 100 << 20
            rubbish.unlink()
            until(lambda: b"log lines were dropped" in log.read_bytes())
            (told,) = [line for line in self.lines(log) if "dropped" in line]
            assert told["message"] == (
                "log lines were dropped: the log took none; is its disk full, or its reader stuck?"
            )
            daemon.stop()
            kept = [line for line in self.lines(log) if line["message"] == "http-request"]
            assert told["dropped"] > 0
            assert len(kept) + told["dropped"] == each * batches

    def test_the_state_has_no_room(self, tmp_path: Path, upstream: Upstream, disk: Path) -> None:
        """The daemon does not start, says what to do, and leaves nothing half made."""
        state = disk / "state"
        state.mkdir()
        fill(disk)
        with Daemon(
            tmp_path, public(upstream.port), state_dir=str(state), shared_secret=None
        ) as daemon:
            assert daemon.process.wait() != 0
            said = "\n".join(daemon.process.lines)
        assert (
            f"state_dir: no shared_secret can be kept in {str(state)!r}: No space left on device; "
            "make the directory writable and some room in it, name another one, or set "
            "shared_secret"
        ) in said
        assert list(state.iterdir()) == []
