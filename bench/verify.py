"""Before anything is measured: does each rung do what it is measured for?"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from time import monotonic, sleep
from typing import Any

import attrs
import jwt

from bench.chain import HOST, Ground
from bench.stand import Lane, Stand
from bench.traffic import request
from bench.upstream import PAGE, SEEN, Upstream

LOG_SECONDS = 5.0
"""What a line may take to get into the access log."""


class Wrong(Exception):
    """A rung does not do its work, and its figure would mean nothing."""


@attrs.frozen
class Answer:
    """What came back."""

    status: int
    body: bytes


def every(stand: Stand) -> None:
    """
    Look at every rung.

    Raises:
        Wrong: one of them; the text tells which and how.
    """
    for lane in stand.lanes:
        _look(lane, stand.upstream, stand.ground)


def _look(lane: Lane, upstream: Upstream, ground: Ground) -> None:
    name = lane.rung.name
    logged = lane.chain.logged()
    host, octets = lane.traffic.one("", signed_in=True)
    answer = ask(lane, ground, octets)
    if answer.status != http.client.OK or answer.body != PAGE.encode("ascii"):
        raise Wrong(f"{name}: want the upstream's page, got {answer.status} {answer.body[:200]!r}")
    if lane.chain.log is not None:
        ends = monotonic() + LOG_SECONDS
        while lane.chain.logged() == logged:
            if monotonic() > ends:
                raise Wrong(f"{name}: the access log {lane.chain.log} does not grow")
            sleep(0.05)
    if not lane.traffic.signed_in:
        return
    before = upstream.requests()
    _, octets = lane.traffic.one("", signed_in=False)
    answer = ask(lane, ground, octets)
    if answer.status not in {302, 401, 403} or upstream.requests() != before:
        raise Wrong(f"{name}: without a session want a refusal, got {answer.status}")
    _, octets = lane.traffic.one(SEEN, signed_in=True)
    answer = ask(lane, ground, octets)
    who = answer.body.decode("latin-1").strip()
    if lane.rung.proxy != "apache":
        who = _asserted(who, host, lane, ground)
    if answer.status != http.client.OK or not who.startswith("user0@"):
        raise Wrong(f"{name}: the upstream was told {who!r} of who asks")


def _asserted(assertion: str, host: str, lane: Lane, ground: Ground) -> str:
    """Return whom an assertion names that is signed with the published key, for this host."""
    answer = ask(lane, ground, request(host, "/.well-known/pomerium/jwks.json"))
    (key,) = json.loads(answer.body)["keys"]
    try:
        claims: dict[str, Any] = jwt.decode(
            assertion, jwt.PyJWK(key).key, algorithms=["ES256"], audience=host, issuer=host
        )
    except jwt.InvalidTokenError as error:
        raise Wrong(f"{lane.rung.name}: the upstream got no good assertion: {error}") from error
    return str(claims["email"])


def ask(lane: Lane, ground: Ground, octets: bytes) -> Answer:
    """
    Send a request and return the answer.

    Raises:
        Wrong: over TLS, but not TLS 1.3 or not with the certificate of this run.
    """
    with socket.create_connection((HOST, lane.port), 10) as plain:
        if not lane.rung.secure:
            return _ask(plain, octets)
        trust = ssl.create_default_context(cafile=str(ground.certificate))
        try:
            secured = trust.wrap_socket(plain, server_hostname="localhost")
        except ssl.SSLError as error:
            raise Wrong(f"{lane.rung.name}: no TLS: {error}") from error
        with secured:
            if secured.version() != "TLSv1.3":
                raise Wrong(f"{lane.rung.name}: want TLS 1.3, got {secured.version()}")
            return _ask(secured, octets)


def _ask(connected: socket.socket, octets: bytes) -> Answer:
    connected.sendall(octets)
    response = http.client.HTTPResponse(connected)
    try:
        response.begin()
        return Answer(response.status, response.read())
    finally:
        response.close()
