"""All three roles in one daemon of two workers, which a proxy elsewhere asks as well."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from pomeriumd.crypto.keys import SharedKeys
from pomeriumd.session.session import Identity, Session
from pomeriumd.session.token import encode
from tests.support.application import Application
from tests.support.certificates import authority
from tests.support.daemon import DOMAIN
from tests.support.load.programs import until
from tests.support.planes import HERE, Cluster, Keys, Service, moment, moment_of
from tests.support.processes import free_port
from tests.support.visitor import Visitor

pytestmark = pytest.mark.system

ISSUER = "https://id.example.com"


@attrs.define(eq=False)
class Both:
    """A daemon with all roles, and a proxy by itself that asks it."""

    main: Cluster
    other: Cluster
    """The same people and rules; other ports."""
    application: str
    daemon: Service = attrs.field(init=False)
    proxy: Service = attrs.field(init=False)

    def policy(self, cluster: Cluster, who: str) -> Keys:
        """Return a route of a cluster."""
        return cluster.route("app", self.application, allowed_users=[who])

    def routes(self, who: str) -> list[Keys]:
        """Return what the daemon has: its own route, and the proxy's."""
        return [self.policy(self.main, who), self.policy(self.other, who)]

    def keys(self, **more: object) -> Keys:
        """Return the keys of all three roles."""
        return {
            **self.main.authenticate(),
            "services": "all",
            "address": f"{HERE}:{self.main.port}",
            "grpc_address": f"{HERE}:{self.main.grpc}",
            "workers": 2,
            "policy": self.routes("alice@example.com"),
            **more,
        }

    def start(self) -> None:
        """Start the daemon, and then the proxy."""
        self.daemon = Service(place=self.main.place / "all", keys=self.keys())
        keys = self.other.proxy(self.policy(self.other, "alice@example.com"))
        self.proxy = Service(place=self.main.place / "proxy", keys=keys)

    def visitor(self) -> Visitor:
        """Return alice, signed in at the proxy."""
        now = int(time.time())  # noqa: TID251  # that of the processes
        host = f"{self.other.name}app.{DOMAIN}"
        session = Session(
            id="of the test",
            identity=Identity(issuer=ISSUER, subject="alice", email="alice@example.com"),
            issuer=self.other.authenticate_url,
            audience=f"{host}:{self.other.port}",
            auth_time=now,
            checked=now,
            recheck=now + 600,
            seen=now,
            expires=now + 3600,
        )
        visitor = Visitor(authority().pem)
        token = encode(session, SharedKeys.derived([self.main.shared]).route_session)
        visitor.cookies[host, "__Host-_pomerium", "/"] = token
        return visitor

    def status(self, visitor: Visitor) -> int:
        """Return what somebody gets at the proxy."""
        return visitor.get(self.other.url("app"), follow=False).status

    @property
    def answering(self) -> int:
        """Return the process that has the gRPC port."""
        # grpc's sockets are of IPv6, whatever the address.
        tables = [Path(f"/proc/net/{name}").read_text() for name in ("tcp", "tcp6")]
        (inode,) = {
            line.split()[9]
            for line in "".join(tables).splitlines()
            if line.split()[1].endswith(f":{self.main.grpc:04X}") and line.split()[3] == "0A"
        }
        children = Path(f"/proc/{self.daemon.process.pid}/task/{self.daemon.process.pid}/children")
        (pid,) = (
            int(pid)
            for pid in children.read_text().split()
            if any(
                os.readlink(link) == f"socket:[{inode}]"  # noqa: PTH115  # a name, not a path
                for link in Path(f"/proc/{pid}/fd").iterdir()
            )
        )
        return pid


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Both]:
    """Both run, and the proxy is answered."""
    main = Cluster(place=tmp_path, issuer=ISSUER, name="main-")
    other = Cluster(place=tmp_path, name="other-", grpc=main.grpc, sign_in=main.sign_in)
    application = Application()
    both = Both(main, other, application.url)
    both.start()
    yield both
    both.proxy.stop()
    both.daemon.stop()
    application.stop()


def test_the_worker_that_answers_dies(both: Both) -> None:
    """Another one takes its place and its port, and the proxy asks that one."""
    # Nothing is remembered: each request asks.
    both.proxy.reload(decision_max_age="0s")
    alice = both.visitor()
    until(lambda: both.status(alice) == 200)
    dead = both.answering
    os.kill(dead, signal.SIGKILL)
    began = moment()
    until(lambda: both.daemon.process.count("is gone: killed by SIGKILL"))
    until(lambda: both.status(alice) == 200)
    print(f"decided again {moment() - began:.3f} s after the death")  # noqa: T201  # a figure
    assert both.answering != dead
    until(lambda: both.proxy.wrong == [])


def test_a_policy_changes(both: Both) -> None:
    """A reload of the daemon reaches the proxy, though it remembers: who is out is out."""
    alice = both.visitor()
    until(lambda: both.status(alice) == 200)
    said = len(both.daemon.process.lines)
    both.daemon.rewrite(policy=both.routes("bob@example.com"))
    both.daemon.process.send(signal.SIGHUP)
    until(lambda: both.status(alice) == 403)
    denied = moment()
    new = moment_of(both.daemon.process.until("new settings serve", after=said))
    print(f"denied {denied - new:.3f} s after the new policy")  # noqa: T201  # a figure


@pytest.mark.parametrize("workers", [1, 2])
def test_the_port_is_taken(tmp_path: Path, workers: int) -> None:
    """It does not start, and says which setting, which address and why."""
    cluster = Cluster(place=tmp_path, issuer=ISSUER, port=free_port())
    both = Both(cluster, attrs.evolve(cluster, name="other-"), "http://127.0.0.1:9")
    with socket.create_server((HERE, cluster.grpc)):
        keys = both.keys(workers=workers)
        started = Service(place=tmp_path / "all", keys=keys, awaited=False)
        assert started.process.wait() != 0
    said = "\n".join(started.process.lines)
    assert f"127.0.0.1:{cluster.grpc}" in said, said
    assert "grpc_address" in said, said
    assert "in use" in said, said
    assert "Traceback" not in said, said
