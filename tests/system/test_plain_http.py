"""Plain http at real daemons, with workers and without: curl, HAProxy, reloads, lost rights."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.balancers import (
    FROM,
    _command,
    configuration,
    missing,
    put_right,
    until_it_listens,
)
from tests.support.certificates import leaf
from tests.support.daemon import DOMAIN, Daemon, command
from tests.support.load.programs import until
from tests.support.planes import base64_of
from tests.support.processes import PATIENCE_SECONDS, Running, free_port
from tests.support.settings import SHARED

pytestmark = [pytest.mark.system, pytest.mark.needs("curl")]

APP = f"app.{DOMAIN}"


def curl(port: int, path: str = "/", *words: str, host: str = APP) -> tuple[int, str]:
    """Ask for a path; return the status and where it leads."""
    ran = subprocess.run(
        (
            *("curl", "--silent", "--show-error", "--max-time", str(PATIENCE_SECONDS)),
            *("--output", os.devnull, "--write-out", "%{http_code} %header{location}"),
            *("--path-as-is", "--header", f"Host: {host}", *words),
            f"http://127.0.0.1:{port}{path}",
        ),
        capture_output=True,
        text=True,
        check=True,
    )
    status, _, location = ran.stdout.partition(" ")
    return int(status), location


@pytest.fixture(scope="module", params=[2, 1], ids=["workers", "alone"])
def daemon(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Daemon]:
    """A daemon with two workers, or in one process: TLS at one port and plain http at another."""
    settings = {"workers": request.param, "http_redirect_addr": f"127.0.0.1:{free_port()}"}
    daemon = Daemon(
        place=tmp_path_factory.mktemp("daemon"), issuer="https://id.invalid", settings=settings
    )
    yield daemon
    daemon.stop()


def plain_of(daemon: Daemon) -> int:
    """Return the port of plain http."""
    return int(str(daemon.settings["http_redirect_addr"]).rpartition(":")[2])


def status_of(daemon: Daemon) -> dict[str, Any]:
    """Return what the daemon tells of itself."""
    program = str(Path(str(daemon.process.command[0])).with_name("pomeriumd"))
    words = (program, "status", "--json", "-c", str(daemon.place / "config.json"))
    ran = subprocess.run(words, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def listeners_of(daemon: Daemon) -> dict[str, str]:
    """Return where it listens, by name."""
    return {one["name"]: one["address"] for one in status_of(daemon)["listeners"]}


def test_browsers_are_led_to_https(daemon: Daemon) -> None:
    """Path and query stay, the port is that of the route, others get 404; by both workers."""
    port = plain_of(daemon)
    said = len(daemon.process.lines)
    for _ in range(20):
        assert curl(port, "/a/b?c=d&e") == (301, daemon.url("app", "/a/b?c=d&e"))
    assert curl(port, "/", host=f"authenticate.{DOMAIN}:80") == (301, daemon.url("authenticate"))
    assert curl(port, "/x", "--data", "y=z") == (308, daemon.url("app", "/x"))
    assert curl(port, "/", "--head") == (301, daemon.url("app"))
    assert curl(port, "/", host="elsewhere.test") == (404, "")
    assert curl(port, "/ping", host="127.0.0.1") == (200, "")
    assert listeners_of(daemon)["http_redirect_addr"] == f"127.0.0.1:{port}"
    lines = [line for line in daemon.process.lines[said:] if '"path":"/a/b"' in line]
    processes = {json.loads(line)["request_id"].partition("-")[0] for line in lines}
    assert len(lines) == 20
    print(f"{len(processes)} of {daemon.settings['workers']} answered")  # noqa: T201  # a figure


def test_both_workers_answer(daemon: Daemon) -> None:
    """With all but one of them frozen that one takes what comes."""
    workers = status_of(daemon)["workers"]
    for one in workers:
        frozen = [worker["pid"] for worker in workers if worker is not one]
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        try:
            assert curl(plain_of(daemon))[0] == 301
        finally:
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)


def test_it_moves_comes_and_goes(daemon: Daemon) -> None:
    """A reload moves it, closes it and opens it again; what cannot be had is refused."""
    usual, moved = dict(daemon.settings), free_port()
    before = plain_of(daemon)
    daemon.reload({**usual, "http_redirect_addr": f"127.0.0.1:{moved}"})
    try:
        assert curl(moved)[0] == 301
        assert refused(before)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            config = json.loads((daemon.place / "config.json").read_text())
            config["http_redirect_addr"] = f"127.0.0.1:{taken.getsockname()[1]}"
            said = len(daemon.process.lines)
            (daemon.place / "config.json").write_text(json.dumps(config))
            daemon.process.send(signal.SIGHUP)
            line = daemon.process.until("the new settings are refused", after=said)
        assert "http_redirect_addr: cannot listen on 127.0.0.1:" in line
        assert curl(moved)[0] == 301
        daemon.reload({"workers": usual["workers"]})
        until(lambda: refused(moved))
        assert "http_redirect_addr" not in listeners_of(daemon)
    finally:
        daemon.reload(usual)
    assert curl(before)[0] == 301


def refused(port: int) -> bool:
    """Tell whether nobody accepts there."""
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.needs("haproxy")
def test_behind_haproxy(daemon: Daemon, tmp_path: Path) -> None:
    """The manual's file leads through it, and the log has the client's own address."""
    usual, port = dict(daemon.settings), free_port()
    plain = plain_of(daemon)
    daemon.reload({**usual, "use_proxy_protocol": True, "trusted_proxies": ["127.0.0.1"]})
    file = tmp_path / "haproxy.cfg"
    file.write_text(
        put_right(
            configuration("haproxy.cfg: plain http"),
            {
                "bind :80": f"bind 127.0.0.1:{port}",
                "192.0.2.21:80": f"127.0.0.1:{plain}",
                "192.0.2.22:80": f"127.0.0.1:{plain}",
                "authenticate.example.com": f"authenticate.{DOMAIN}",
            },
        )
    )
    try:
        with Running(_command("haproxy", file), where=tmp_path) as haproxy:
            until_it_listens(haproxy, port)
            found = curl(port, "/through?x", "--interface", FROM)
            assert found == (301, daemon.url("app", "/through?x"))
            line = json.loads(daemon.process.until('"path":"/through"'))
            assert (line["client"], line["status"], line["decision"]) == (FROM, 301, "redirect")
        # Without a header nobody is answered, and the line says why.
        ran = subprocess.run(
            ("curl", "--silent", "--max-time", "20", f"http://127.0.0.1:{plain}/"), check=False
        )
        assert ran.returncode != 0
        assert "closed a connection" in daemon.process.until("closed a connection")
    finally:
        daemon.reload(usual)


def low_port() -> int:
    """Return a port that only who has the rights may bind, and nobody has."""
    for port in range(1023, 600, -1):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no port below 1024 is free")


def test_low_ports_are_bound_with_the_rights_of_the_start() -> None:
    """As somebody else the daemon serves there; a reload to another one says: restart."""
    if os.geteuid() != 0:
        missing("only root has rights to give up")
    nobody = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory() as directory:  # pytest's own are for root alone
        place, first = Path(directory), low_port()
        settings = {
            "address": f"127.0.0.1:{free_port()}",
            "http_redirect_addr": f"127.0.0.1:{first}",
            "workers": 2,
            "state_dir": str(place / "state"),
            "services": "proxy",
            "shared_secret": base64_of(SHARED),
            "authenticate_service_url": f"https://authenticate.{DOMAIN}",
            "authorize_service_url": "https://127.0.0.1:1",
            "policy": [{"from": f"https://{APP}", "to": "http://127.0.0.1:1"}],
        }
        words = command(place, leaf(f"*.{DOMAIN}"), settings, "--uid=nobody", "--gid=nogroup")
        for path in (place, *place.iterdir()):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        with Running(words, where=place) as daemon:
            daemon.begun("listens on")
            assert curl(first) == (301, f"https://{APP}/")
            config = place / "config.json"
            config.write_text(
                config.read_text().replace(f"127.0.0.1:{first}", f"127.0.0.1:{low_port()}")
            )
            daemon.send(signal.SIGHUP)
            line = daemon.until("the new settings are refused")
            assert "http_redirect_addr: cannot listen on" in line
            assert "ports below 1024 need a restart" in line
            assert curl(first) == (301, f"https://{APP}/")
