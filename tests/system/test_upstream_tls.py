"""
TLS towards applications: the daemon with two workers, and nginx with every kind of certificate.

What a user sees is the same neutral page in all cases. What the operator has to change stands in
the log, and the metric counts it by route and reason.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import re
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import attrs
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.balancers import until_it_listens
from tests.support.certificates import authority, issue, leaf
from tests.support.load.programs import until
from tests.support.processes import PATIENCE_SECONDS, Running, free_port
from tests.support.tls_cases import NAME, Case, Nginx, cases, routes

pytestmark = [pytest.mark.system, pytest.mark.needs("nginx", "openssl")]

ALL = cases()

SENTENCE = "The application behind this address cannot be reached."

ALERTS = [
    ("tls1_2", False, "client-certificate-wanted", "set tls_client_cert and tls_client_key"),
    ("tls1_3", False, "client-certificate-wanted", "set tls_client_cert and tls_client_key"),
    ("tls1_2", True, "client-certificate-refused", "is tls_client_cert of an authority that it"),
    ("tls1_3", True, "client-certificate-refused", "is tls_client_cert of an authority that it"),
]
"""What openssl refuses in the handshake itself: version, whether we show one, reason, remedy."""


PRIVATE = {
    "from": "http://private.localhost",
    "to": "http://127.0.0.1:1",
    "allowed_users": ["ann@example.com"],
}


@attrs.frozen(kw_only=True)
class Stage:
    """The daemon between all routes and their applications."""

    port: int
    metrics: int
    daemon: Running
    nginx: Nginx

    def get(self, *hosts: str) -> list[tuple[int, str]]:
        """Return status and body of a request to each host, all on one connection if it may be."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        answers = []
        for host in hosts:
            connection.request("GET", "/", headers={"Host": f"{host}.localhost"})
            answer = connection.getresponse()
            answers.append((answer.status, answer.read().decode()))
        connection.close()
        return answers

    def counted(self, host: str) -> dict[str, float]:
        """Return the failures of a route by reason."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics") as text:
            families = text_string_to_metric_families(text.read().decode())
            return {
                sample.labels["reason"]: sample.value
                for family in families
                for sample in family.samples
                if sample.name == "pomerium_upstream_tls_failures_total"
                and sample.labels["host"] == f"{host}.localhost"
            }

    def line(self, host: str) -> str:
        """Return the line of the log about a request to this host."""
        return self.daemon.until(f"(http://{host}.localhost)")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Start all of it, and end what was started."""
    with contextlib.ExitStack() as ends:
        yield _started(tmp_path_factory.mktemp("tls"), ends)


def _started(place: Path, ends: contextlib.ExitStack) -> Stage:
    """Start the applications, and the daemon before them."""
    port, metrics = free_port(), free_port()
    nginx = Nginx(place / "nginx", ALL)
    ends.enter_context(nginx.process)
    asking = []
    for version, *_ in ALERTS:
        asking.append(_asking(place, version))
        ends.enter_context(asking[-1][1])
    shown, ports = issue("us"), {f"alert-{i}": port for i, (port, _) in enumerate(asking)}
    alerts = [
        Case(
            name=f"alert-{i}",
            route={"tls_client_cert": shown, "tls_client_key": shown} if shows else {},
        )
        for i, (_, shows, *_) in enumerate(ALERTS)
    ]
    settings = {
        "address": f"127.0.0.1:{port}",
        "metrics_address": f"127.0.0.1:{metrics}",
        "workers": 2,
        "insecure_server": True,
        "shared_secret": base64.b64encode(os.urandom(32)).decode(),
        "cookie_secret": base64.b64encode(os.urandom(32)).decode(),
        "cookie_secure": False,
        "authenticate_service_url": "http://authenticate.localhost",
        "idp_provider": "oidc",
        "idp_provider_url": f"https://127.0.0.1:{nginx.ports['ip4']}",
        "idp_client_id": "x",
        "idp_client_secret": "y",
        "state_dir": str(place / "state"),
        "policy": [*routes(ALL, nginx.ports), *routes(alerts, ports), PRIVATE],
    }
    config = place / "config.json"
    config.touch(mode=0o600)
    config.write_text(json.dumps(settings))
    program = Path(sys.executable).with_name("twistd")
    daemon = Running([program, "-n", "--pidfile=", "pomerium", "-c", config], where=place)
    daemon.begun("listens on")
    ends.enter_context(daemon)
    return Stage(port=port, metrics=metrics, daemon=daemon, nginx=nginx)


def _asking(place: Path, version: str) -> tuple[int, Running]:
    """Start openssl, which refuses who shows no certificate of the tests' authority."""
    port, pair, ca = free_port(), place / "asking.pem", place / "ca.pem"
    pair.touch(mode=0o600)
    pair.write_bytes(leaf(NAME).pem + leaf(NAME).key_pem)
    ca.write_bytes(authority().pem)
    words = f"openssl s_server -accept 127.0.0.1:{port} -cert {pair} -key {pair} -CAfile {ca}"
    more = f" -Verify 3 -verify_return_error -www -{version}"
    running = Running((words + more).split())
    until_it_listens(running, port)
    return port, running


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_each_kind_of_certificate(stage: Stage, case: Case) -> None:
    """What is right gets through; what is not is told apart in log and metric, with a remedy."""
    [(status, body)] = stage.get(case.name)
    assert status == case.status, body
    if not case.reason:
        assert stage.counted(case.name) == {}
        return
    line = stage.line(case.name)
    place = f"policy[{ALL.index(case)}]"
    assert f"TLS with the upstream failed ({case.reason}): " in line
    assert case.log in line
    assert f"in {place} (http://{case.name}.localhost): " in line
    assert case.remedy in line
    assert stage.counted(case.name) == {case.reason: 1}


@pytest.mark.parametrize("number", range(len(ALERTS)))
def test_an_application_that_refuses_us(stage: Stage, number: int) -> None:
    """No certificate of ours, or one of a stranger, is told apart in TLS 1.2 and 1.3."""
    _, _, reason, remedy = ALERTS[number]
    [(status, _)] = stage.get(f"alert-{number}")
    line = stage.line(f"alert-{number}")
    assert (status, f"({reason})" in line, remedy in line) == (502, True, True), line
    assert stage.counted(f"alert-{number}") == {reason: 1}


def test_the_page_says_nothing_of_it(stage: Stage) -> None:
    """Whatever is wrong, the user reads the same words, but for the request's id."""
    failing = [case.name for case in ALL if case.reason]
    bodies = [body for _, body in stage.get(*failing)]
    assert all(SENTENCE in body for body in bodies)
    same = {re.sub(r"[0-9a-f]{12}-[0-9a-f]{8}", "ID", body) for body in bodies}
    assert len({re.sub(r"[\w-]+\.localhost", "HOST", body) for body in same}) == 1
    for word in ("certificate", "tls", "127.0.0.1", NAME, "policy["):
        assert not any(word in body.lower() for body in bodies), word


def test_what_we_show_arrives(stage: Stage) -> None:
    """The application knows us by tls_client_cert."""
    [(_, body)] = stage.get("asked-and-shown")
    assert body.endswith("CN=test"), body


def test_connections_are_kept(stage: Stage) -> None:
    """Thirty requests on one connection of a client are one handshake with the application."""
    bodies = {body for _, body in stage.get(*["good"] * 30)}
    assert len(bodies) == 1


def test_who_is_not_verified_is_warned_of_once(stage: Stage) -> None:
    """One line a generation, for all workers and routes."""
    stage.get(*["skipped"] * 4)
    assert stage.daemon.count("tls_skip_verify: certificates are not verified") == 1
    assert f"({_to(stage, 'skipped')})" in stage.daemon.until("tls_skip_verify: ")


def test_who_asks_for_a_certificate_is_told_of_once(stage: Stage) -> None:
    """Who answers 400 and breaks nothing off is told of in the log, once for all workers."""
    for _ in range(8):
        stage.get("asked-nothing-shown")
    asks = f"{_to(stage, 'asked-nothing-shown').removeprefix('https://')} asks for a client"
    until(lambda: stage.daemon.count(asks) > 0)
    assert stage.daemon.count(asks) == 1


def test_the_application_is_told_why(stage: Stage) -> None:
    """An alert goes out, so that the application's own log says what we do not believe."""
    stage.get("untrusted")
    stage.nginx.process.until("alert unknown ca")


def test_the_provider_has_the_same_reasons(stage: Stage) -> None:
    """A sign-in at a provider whose authority is not in the system's store says which one it is."""
    connection = http.client.HTTPConnection("127.0.0.1", stage.port, timeout=PATIENCE_SECONDS)
    target, host = "/", "private.localhost"
    page = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    for _ in range(3):
        connection.request("GET", target, headers={"Host": host, **page})
        answer = connection.getresponse()
        answer.read()
        if answer.status != http.HTTPStatus.FOUND:
            break
        to = urlsplit(answer.getheader("Location", ""))
        target, host = f"{to.path}?{to.query}", to.netloc
    connection.close()
    assert answer.status == http.HTTPStatus.SERVICE_UNAVAILABLE
    line = stage.daemon.until("TLS failed (untrusted-issuer): ")
    assert '\\"test authority\\"' in line
    assert "put the authority that issued it into the store of this host" in line


def _to(stage: Stage, name: str) -> str:
    return f"https://127.0.0.1:{stage.nginx.ports[name]}"
