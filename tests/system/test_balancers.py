"""
Two real replicas behind each balancer of the manual, and one that is a step off.

Browsers come from an address of their own, so that it can be told from the balancer's. Every
request of theirs opens a connection: the balancers send each one to the other replica.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.support.application import Application
from tests.support.balancers import FROM, Balancer
from tests.support.certificates import authority, issue
from tests.support.certified import Certified
from tests.support.daemon import DOMAIN, Daemon
from tests.support.envoy import Envoy
from tests.support.load.programs import until
from tests.support.load.websockets import frame, text_of
from tests.support.load.wire import Reader
from tests.support.processes import PATIENCE_SECONDS, Running, free_port
from tests.support.proxy_headers import version1
from tests.support.site import told
from tests.support.visitor import Page, Visitor

pytestmark = [pytest.mark.system, pytest.mark.needs("node", "npm", "haproxy", "nginx")]

IN_TURN = {"balance leastconn": "balance roundrobin"}

HAPROXY_TCP = Balancer(title="haproxy.cfg: TCP", headers=True, changed=IN_TURN)
HAPROXY_TCP_1 = Balancer(
    title="haproxy.cfg: TCP", headers=True, changed={**IN_TURN, "send-proxy-v2": "send-proxy"}
)
HAPROXY_TCP_SUMMED = Balancer(
    title="haproxy.cfg: TCP",
    headers=True,
    changed={**IN_TURN, "send-proxy-v2": "send-proxy-v2 proxy-v2-options crc32c,unique-id"},
)
NGINX_TCP = Balancer(title="nginx.conf: TCP", headers=True, changed={"    least_conn;\n": ""})
HAPROXY_HTTP = Balancer(title="haproxy.cfg: HTTP", secure=True)
NGINX_HTTP = Balancer(title="nginx.conf: HTTP", secure=True)

ALL: dict[str, Balancer | Envoy] = {
    "haproxy-tcp-2": HAPROXY_TCP,
    "haproxy-tcp-1": HAPROXY_TCP_1,
    "haproxy-tcp-2-summed": HAPROXY_TCP_SUMMED,
    "nginx-tcp": NGINX_TCP,
    "haproxy-http": HAPROXY_HTTP,
    "nginx-http": NGINX_HTTP,
    "envoy-tcp": Envoy(secure=False),
    "envoy-http": Envoy(secure=True),
}


class Caller(Visitor):
    """A browser with an address of its own."""

    def _connect(self, port: int) -> socket.socket:
        return _from(FROM, port)


@attrs.frozen
class Town:
    """What all balancers share."""

    port: int
    """Of the balancer, which is what the addresses say."""
    provider: Certified
    application: Application


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """A provider and an application."""
    port = free_port()
    provider = Certified(
        place=tmp_path_factory.mktemp("provider"),
        back=[f"https://authenticate.{DOMAIN}:{port}/oauth2/callback"],
    )
    application = Application()
    yield Town(port, provider, application)
    provider.stop()
    application.stop()


@attrs.define(eq=False)
class Fronted:
    """Two replicas and a balancer."""

    town: Town
    place: Path
    balancer: Balancer | Envoy
    settings: dict[str, Any] = attrs.Factory(dict)
    replicas: list[Daemon] = attrs.field(factory=list, init=False)
    running: Running = attrs.field(init=False)

    def start(self) -> None:
        """Start all of it."""
        ports = (free_port(), free_port())
        for name, port in zip("ab", ports, strict=True):
            self.replicas.append(self._replica(name, port))
        self.running = self.balancer.start(self.place / "balancer", self.town.port, ports)

    def _replica(self, name: str, port: int) -> Daemon:
        town = self.town
        route = {
            "from": f"https://app.{DOMAIN}:{town.port}",
            "to": town.application.url,
            "allowed_groups": ["staff"],
            "allow_websockets": True,
        }
        return Daemon(
            place=self.place / name,
            issuer=town.provider.name,
            application=town.application.url,
            port=town.port,
            settings={
                "address": f"127.0.0.1:{port}",
                "workers": 1,
                "trusted_proxies": ["127.0.0.1"],
                "use_proxy_protocol": self.balancer.headers,
                "policy": [route],
                **self.settings,
            },
        )

    def stop(self) -> None:
        """End all of it."""
        if hasattr(self, "running"):
            self.running.stop()
        for replica in self.replicas:
            replica.stop()

    def url(self, path: str = "/", host: str = "app") -> str:
        """Return an address of the replicas."""
        return self.replicas[0].url(host, path)

    def signed_in(self) -> tuple[Caller, Page]:
        """Return somebody new who signed in, and the page they came to."""
        visitor = Caller(authority().pem)
        page = visitor.get(self.url())
        return visitor, self.town.provider.sign_in(visitor, page, "alice")

    def line(self, path: str) -> dict[str, Any]:
        """Return the access line of a path, whichever replica wrote it."""
        found: list[str] = []

        def written() -> bool:
            lines = (line for replica in self.replicas for line in list(replica.process.lines))
            found.extend(line for line in lines if f'"path":"{path}"' in line)
            return bool(found)

        until(written)
        line: dict[str, Any] = json.loads(found[0])
        return line

    def counts(self) -> list[int]:
        """Return how many requests of browsers each replica has logged."""
        return [
            replica.process.count('"message":"http-request"') - replica.process.count('"/ping"')
            for replica in self.replicas
        ]


@contextlib.contextmanager
def behind(
    balancer: Balancer | Envoy, town: Town, place: Path, **settings: Any
) -> Iterator[Fronted]:
    """Have all of it behind a balancer, with more settings if there are any."""
    made = Fronted(town, place, balancer, settings)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(params=ALL)
def fronted(request: pytest.FixtureRequest, town: Town, tmp_path: Path) -> Iterator[Fronted]:
    """All of it behind one balancer after the other."""
    with behind(ALL[request.param], town, tmp_path) as made:
        yield made


def test_all_of_it(fronted: Fronted) -> None:
    """
    Somebody signs in across both replicas, and the address is theirs in log and application.

    One test for each balancer, because starting two replicas is most of it.
    """
    visitor, page = fronted.signed_in()
    assert (page.url, page.status) == (fronted.url(), 200), page
    until(lambda: min(fronted.counts()) >= 2)

    # Whatever they say about themselves.
    page = visitor.get(fronted.url("/seen"), x_forwarded_for="198.51.100.1")
    assert page.status == 200
    assert told(page)["x-forwarded-for"].split(", ")[0] == FROM
    assert "198.51.100.1" not in told(page)["x-forwarded-for"]
    assert told(page)["x-forwarded-proto"] == "https"
    assert told(page)["x-forwarded-host"] == f"app.{DOMAIN}:{fronted.town.port}"
    line = fronted.line("/seen")
    assert (line["client"], line["user"]) == (FROM, "alice@example.com"), line

    # A WebSocket, with an address as well.
    with _websocket(fronted, visitor) as wire:
        reader = Reader(wire, 1 << 14)
        opening, _ = reader.head()
        assert b" 101 " in opening, opening
        for text in (b"one", b"two"):
            wire.sendall(frame(text))
            assert text_of(reader) == text
    assert fronted.line("/socket")["client"] == FROM

    # Nothing was refused on the way, health checks included.
    said = [line for one in fronted.replicas for line in one.process.lines]
    assert not [line for line in said if "closed a connection" in line]


def _websocket(fronted: Fronted, visitor: Caller) -> ssl.SSLSocket:
    host = f"app.{DOMAIN}"
    trust = ssl.create_default_context(cadata=authority().pem.decode("ascii"))
    wire = trust.wrap_socket(visitor._connect(fronted.town.port), server_hostname=host)
    fields = {
        "Host": f"{host}:{fronted.town.port}",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Origin": f"https://{host}:{fronted.town.port}",
        "Cookie": visitor._sent(host, "/socket")["cookie"],
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    wire.sendall(f"GET /socket HTTP/1.1\r\n{lines}\r\n".encode())
    return wire


@pytest.mark.parametrize("stops", [0, 1])
@pytest.mark.parametrize("balancer", ["haproxy-tcp-2", "nginx-tcp", "haproxy-http", "nginx-http"])
def test_a_restart_in_the_middle(town: Town, tmp_path: Path, balancer: str, stops: int) -> None:
    """A sign-in that either replica began ends at the other; each then knows who it is."""
    with behind(ALL[balancer], town, tmp_path) as fronted:
        stopped, stays = fronted.replicas[stops], fronted.replicas[1 - stops]
        visitor = Caller(authority().pem)
        page = visitor.get(fronted.url())
        # The application's page led to authenticate: each replica had one of the two steps.
        until(lambda: fronted.counts() == [1, 1])
        stopped.stop()
        page = town.provider.sign_in(visitor, page, "alice")
        assert (page.url, page.status) == (fronted.url(), 200), page
        assert stopped.process.count("/oauth2/callback") == 0
        stays.process.until("/oauth2/callback")

        stopped.start()
        ours = '"path":"/again"'

        def served() -> bool:
            page = visitor.get(fronted.url("/again"), follow=False)
            assert page.status == 200, page
            return stopped.process.count(ours) > 0 and stays.process.count(ours) > 0

        until(served)


def test_an_http_balancer_before_a_tcp_balancer(town: Town, tmp_path: Path) -> None:
    """The PROXY header names the first, which is listed: what it forwards is believed."""
    between = free_port()
    with (
        behind(HAPROXY_TCP, attrs.evolve(town, port=between), tmp_path) as fronted,
        NGINX_HTTP.start(tmp_path / "first", town.port, (between, between)),
    ):
        url = f"https://app.{DOMAIN}:{town.port}/seen"
        page = Caller(authority().pem).get(url, follow=False, x_forwarded_for="198.51.100.1")
        assert page.status == 302
        assert fronted.line("/seen")["client"] == FROM


def test_who_goes_round_the_balancer(town: Town, tmp_path: Path) -> None:
    """A header from an address that is not listed opens nothing; it is counted, and told of."""
    metrics = free_port()
    with behind(HAPROXY_TCP, town, tmp_path) as fronted:
        replica = fronted.replicas[0]
        replica.reload({**replica.settings, "metrics_address": f"127.0.0.1:{metrics}"})
        with _from(FROM, _port(replica)) as wire, contextlib.suppress(ConnectionError):
            wire.sendall(version1(("127.0.0.1", 1, "127.0.0.1", 2)))
            assert wire.recv(1) == b""
        said = replica.process.until("closed a connection")
        assert f"from {FROM}: it comes from an address that trusted_proxies does not list" in said
        counted = "pomerium_proxy_headers_refused_total 1.0"
        until(lambda: counted in _text(metrics))


def test_the_setting_changes_under_way(town: Town, tmp_path: Path) -> None:
    """A reload switches headers off and on for what connects from then on."""
    with behind(HAPROXY_TCP, town, tmp_path) as fronted:
        replica = fronted.replicas[0]
        name = f"app.{DOMAIN}"
        trust = ssl.create_default_context(cadata=authority().pem.decode("ascii"))
        replica.reload({**replica.settings, "use_proxy_protocol": False})
        with trust.wrap_socket(_from(FROM, _port(replica)), server_hostname=name) as wire:
            wire.sendall(f"GET /ping HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
            assert b" 200 " in wire.recv(65_536)
        replica.reload({**replica.settings, "use_proxy_protocol": True})
        with (
            _from("127.0.0.1", _port(replica)) as plain,
            pytest.raises((ssl.SSLError, ConnectionError)),
        ):
            trust.wrap_socket(plain, server_hostname=name)
        assert "it begins with TLS" in replica.process.until("closed a connection")


NO_HEADER = "closed a connection from 127.0.0.1: it begins with TLS, with no PROXY header before it"

STRANGER = issue(authority=True, title="another authority").pem

WRONG: dict[str, tuple[Balancer, dict[str, Any], str]] = {
    # Neither side guesses what the other means.
    "no-headers": (
        attrs.evolve(HAPROXY_TCP, changed={"send-proxy-v2 check check-send-proxy": "check"}),
        {},
        NO_HEADER,
    ),
    "headers-unasked": (HAPROXY_TCP, {"use_proxy_protocol": False}, ""),
    # A replica that anybody could be is given nothing.
    "haproxy-authority": (attrs.evolve(HAPROXY_HTTP, trusts=STRANGER), {}, ""),
    "haproxy-name": (
        attrs.evolve(
            HAPROXY_HTTP,
            changed={
                f"sni str(authenticate.{DOMAIN})": "sni str(x.a)",
                f"check-sni authenticate.{DOMAIN}": "check-sni x.a",
            },
        ),
        {},
        "",
    ),
    "nginx-authority": (attrs.evolve(NGINX_HTTP, trusts=STRANGER), {}, ""),
    "nginx-name": (
        attrs.evolve(
            NGINX_HTTP, changed={f"proxy_ssl_name authenticate.{DOMAIN}": "proxy_ssl_name x.a"}
        ),
        {},
        "",
    ),
}


@pytest.mark.parametrize("which", WRONG)
def test_what_is_set_up_wrongly_lets_nobody_through(town: Town, tmp_path: Path, which: str) -> None:
    """The balancer gives up, no request arrives, and where we can know why our log says it."""
    balancer, settings, words = WRONG[which]
    with behind(balancer, town, tmp_path, **settings) as fronted:
        visitor = Caller(authority().pem)
        try:
            status = visitor.get(fronted.url("/seen"), follow=False).status
        except (OSError, http.client.HTTPException):
            status = 0
        assert status in (0, 502, 503)
        if words:
            fronted.replicas[0].process.until(words)
        if balancer.program == "haproxy":
            fronted.running.until("Server pomerium/a is DOWN")
        else:
            fronted.running.until("upstream SSL certificate")
        assert fronted.counts() == [0, 0]


@pytest.mark.parametrize("balancer", ["haproxy-tcp-2", "haproxy-tcp-1", "haproxy-http"])
def test_health_checks(town: Town, tmp_path: Path, balancer: str) -> None:
    """HAProxy's checks are answered, over TLS with and without a header; a stop is seen."""
    with behind(ALL[balancer], town, tmp_path) as fronted:
        for replica in fronted.replicas:
            line = json.loads(replica.process.until('"path":"/ping"', 2))
            assert (line["status"], line["client"]) == (200, "127.0.0.1")
        assert not fronted.running.count("DOWN")
        fronted.replicas[0].stop()
        fronted.running.until("Server pomerium/a is DOWN")
        fronted.replicas[0].start()
        fronted.running.until("Server pomerium/a is UP")


def _port(replica: Daemon) -> int:
    return int(replica.settings["address"].rpartition(":")[2])


def _from(address: str, port: int) -> socket.socket:
    return socket.create_connection(
        ("127.0.0.1", port), PATIENCE_SECONDS, source_address=(address, 0)
    )


def _text(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    finally:
        connection.close()
