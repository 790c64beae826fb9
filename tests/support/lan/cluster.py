"""A proxy, three hosts for authorize, an application and a name server: discrete services."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from pomeriumd.crypto.keys import SharedKeys
from pomeriumd.session.session import Identity, Session
from pomeriumd.session.token import encode
from tests.support.certificates import authority, leaf
from tests.support.lan.asking import Page, ask, samples
from tests.support.lan.balancers import Behind
from tests.support.lan.hosts import NET, Host, Lan, program
from tests.support.lan.load import Steady
from tests.support.lan.names import Names
from tests.support.lan.roles import Role
from tests.support.load.programs import until
from tests.support.processes import Running

APP = "app.example.test"
AUTHENTICATE = "https://authenticate.example.test"
PROVIDER = "https://id.example.com"
"""Nobody signs in here, so nobody asks it."""

AUTHORIZE = "authorize.internal"
GRPC = 5443
METRICS = 9100
PAGE = "what everybody came for"

PEOPLE = tuple(f"user{number}@example.com" for number in range(30))

RESOLVED_SECONDS = 2
"""``grpc_resolve_interval``: no test waits half a minute for a name."""

HOURS_10 = 10 * 3600


def text(secret: bytes) -> str:
    """Return a secret as settings have it."""
    return base64.b64encode(secret).decode("ascii")


def route(*users: str) -> dict[str, Any]:
    """Return the route to the application, for these people."""
    return {"from": f"https://{APP}", "to": f"http://{NET}.10:8080", "allowed_users": list(users)}


class Cluster:
    """
    All of it: nothing decides yet, and the proxy is not there.

    Args:
        place: a directory of the test's own.
        authorize: settings of every authorize.
        proxy: settings of the proxy.
    """

    def __init__(
        self,
        place: Path,
        *,
        authorize: dict[str, Any] | None = None,
        proxy: dict[str, Any] | None = None,
    ) -> None:
        self.place = place
        self.secret = secrets.token_bytes(32)
        self.authority = place / "ca.pem"
        self.authority.write_bytes(authority().pem)
        self.replicas: list[Role] = []
        self._authorize, self._proxy = authorize or {}, proxy or {}
        self._ends = ExitStack()
        with ExitStack() as ends:
            self.lan = ends.enter_context(Lan())
            self.client = self.lan.host("client", 1)
            self.proxy_host = self.lan.host("proxy", 20)
            self.authorize_hosts = [self.lan.host(f"authorize{n}", 30 + n) for n in (1, 2, 3)]
            self.names = Names(self.lan.host("names", 2), place)
            self.proxy_host.name_servers(self.names.address)
            self.upstream = application(self.lan.host("upstream", 10), place)
            self._ends = ends.pop_all()

    def __enter__(self) -> Self:
        """Give it."""
        return self

    def __exit__(self, *_: object) -> None:
        """End all of it."""
        self._ends.close()

    # Its parts

    def replica(self, **settings: Any) -> Role:
        """Start authorize on the next host that has none, and wait until it listens."""
        number = len(self.replicas)
        host = self.authorize_hosts[number]
        given = {
            "services": "authorize",
            "address": f"{host.address}:8080",
            "insecure_server": True,
            "grpc_address": f"{host.address}:{GRPC}",
            "metrics_address": f"{host.address}:{METRICS}",
            "shared_secret": text(self.secret),
            "authenticate_service_url": AUTHENTICATE,
            "idp_provider": "oidc",
            "idp_provider_url": PROVIDER,
            "state_dir": str(self.place / f"authorize{number + 1}" / "state"),
            "routes": [route(*PEOPLE)],
            **self._authorize,
            **settings,
        }
        certified = leaf(AUTHORIZE)
        replica = Role(host, self.place / f"authorize{number + 1}", certified, given)
        self.replicas.append(replica)
        until(lambda: self.listens(replica))
        return replica

    def listens(self, replica: Role) -> bool:
        """Return whether a replica takes connections for gRPC."""
        assert replica.process.runs, replica.process.lines[-20:]
        try:
            self.proxy_host.connect(replica.host.address, GRPC).close()
        except OSError:
            return False
        return True

    def point(self, *replicas: Role) -> None:
        """Have the name of authorize lead to these."""
        self.names.say(AUTHORIZE, [replica.host.address for replica in replicas])

    def balanced(self, balancer: Callable[[Behind], Running]) -> Running:
        """Put a balancer before all replicas, and have the name of authorize lead to it."""
        host = self.lan.host("balancer", 3)
        hosts = [replica.host for replica in self.replicas]
        behind = Behind(host, self.place, GRPC, hosts, leaf(AUTHORIZE), self.authority, AUTHORIZE)
        running = balancer(behind)
        self.names.say(AUTHORIZE, [host.address])
        return running

    def proxy(self, **settings: Any) -> Role:
        """Start the proxy, and wait until somebody who may gets the page."""
        address = self.proxy_host.address
        given = {
            "services": "proxy",
            "address": f"{address}:443",
            "workers": 1,
            "metrics_address": f"{address}:{METRICS}",
            "shared_secret": text(self.secret),
            "authenticate_service_url": AUTHENTICATE,
            "authorize_service_url": f"https://{AUTHORIZE}:{GRPC}",
            "certificate_authority_file": str(self.authority),
            "grpc_resolve_interval": f"{RESOLVED_SECONDS}s",
            "decision_max_age": "0s",
            "state_dir": str(self.place / "proxy" / "state"),
            "routes": [route(*PEOPLE)],
            **self._proxy,
            **settings,
        }
        proxy = Role(self.proxy_host, self.place / "proxy", leaf("*.example.test"), given)
        until(lambda: self._answers(proxy))
        return proxy

    def _answers(self, proxy: Role) -> bool:
        assert proxy.process.runs, proxy.process.lines[-20:]
        try:
            return self.get(PEOPLE[0]).status == 200
        except OSError:
            return False

    # Who uses it

    def cookie(self, email: str, secret: bytes | None = None) -> str:
        """Return the cookie of somebody who has signed in just now."""
        now = int(time.time())  # noqa: TID251  # the daemon looks at the clock, too
        session = Session(
            id=secrets.token_urlsafe(16),
            identity=Identity(issuer=PROVIDER, subject=email, email=email),
            issuer=AUTHENTICATE,
            audience=f"{APP}:443",
            auth_time=now,
            checked=now,
            recheck=now + 600,
            seen=now,
            expires=now + HOURS_10,
        )
        keys = SharedKeys.derived([secret or self.secret]).route_session
        return f"__Host-_pomerium={encode(session, keys)}"

    def request(self, email: str, path: str = "/", secret: bytes | None = None) -> str:
        """Return a request of somebody who has signed in just now."""
        fields = ("Accept: text/html", f"Cookie: {self.cookie(email, secret)}", "", "")
        return "\r\n".join((f"GET {path} HTTP/1.1", f"Host: {APP}", *fields))

    def requests(self, secret: bytes | None = None) -> list[str]:
        """Return a request of each of our people."""
        return [self.request(email, secret=secret) for email in PEOPLE]

    def get(self, email: str) -> Page:
        """Ask for the page once, on a connection of its own."""
        return self.send(self.request(email))

    def send(self, octets: str) -> Page:
        """Send one request to the proxy."""
        return ask(self.client, (self.proxy_host.address, 443), octets, self.authority, APP)

    def load(self, **more: Any) -> Steady:
        """Put the steady load on."""
        where = (self.proxy_host.address, 443)
        return Steady(self.client, where, self.authority, APP, self.requests(), **more)

    def samples(self, role: Role, name: str) -> dict[str, float]:
        """Return the values of a metric of a role, by their labels."""
        return samples(self.client, (role.host.address, METRICS), name)


def application(host: Host, place: Path) -> Running:
    """Start the application: nginx, with one page."""
    where = place / "application"
    where.mkdir()
    temporary = "\n".join(
        f"{kind}_temp_path {where}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (where / "nginx.conf").write_text(
        f"""
daemon off; worker_processes 1; pid {where}/pid; error_log stderr warn; user root;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 1h;
  {temporary}
  server {{ listen {host.address}:8080 backlog=1024; location / {{ return 200 "{PAGE}"; }} }}
}}
"""
    )
    nginx = host.start(program("nginx"), "-e", "stderr", "-p", where, "-c", where / "nginx.conf")
    until(lambda: _listens(host, 8080))
    return nginx


def _listens(host: Host, port: int) -> bool:
    try:
        host.connect(host.address, port).close()
    except OSError:
        return False
    return True


def shares(hosts: Sequence[Host], before: Sequence[int]) -> list[float]:
    """Return which part of the packets since ``before`` each host has had."""
    counts = [host.packets() - was for host, was in zip(hosts, before, strict=True)]
    return [count / max(1, sum(counts)) for count in counts]
