"""
Somebody in front of the certified provider who passes everything on, and falsifies one thing.

It answers under the issuer's own name, so what the daemon sees is a provider that lies. It
knows the provider's signing key where a lie needs a good signature.
"""

from __future__ import annotations

import base64
import http.client
import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import attrs
import jwt

from tests.support.certified import KID
from tests.support.processes import PATIENCE_SECONDS

Claims = dict[str, Any]

DISCOVERY = "/.well-known/openid-configuration"


@attrs.frozen
class Told:
    """An answer of the provider, before or after it was falsified."""

    status: int
    fields: tuple[tuple[str, str], ...]
    body: bytes
    held: bool = False
    """It is not sent before the front ends."""
    announced: int | None = None
    """Bytes that Content-Length speaks of, when they are not all sent."""

    def field(self, name: str, value: str) -> Told:
        """Return it with another value in this field."""
        kept = tuple(pair for pair in self.fields if pair[0] != name)
        return attrs.evolve(self, fields=(*kept, (name, value)))

    def json(self, **changes: Any) -> Told:
        """Return it with members changed; None takes one out."""
        both = {**json.loads(self.body), **changes}
        kept = {name: value for name, value in both.items() if value is not None}
        return attrs.evolve(self, body=json.dumps(kept).encode())


Lie = Callable[[Told], Told]


@attrs.define(eq=False)
class LyingFront:
    """The front; it tells the truth until it is given lies, by path."""

    behind: int = 0
    """Port of the provider."""
    lies: dict[str, Lie] = attrs.Factory(dict)
    asked: list[str] = attrs.Factory(list)
    """Paths, in order."""
    _ending: threading.Event = attrs.Factory(threading.Event)
    _server: ThreadingHTTPServer = attrs.field(init=False)
    _thread: threading.Thread = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Listen."""
        self._listen(0)

    @property
    def url(self) -> str:
        """The issuer."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def down(self) -> None:
        """Take no connection any more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def up(self) -> None:
        """Be there again, at the same address."""
        self._listen(self._server.server_port)

    def stop(self) -> None:
        """End."""
        self._ending.set()
        self.down()

    def _listen(self, port: int) -> None:
        front = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                """Pass it on."""
                front.answer(self, b"")

            def do_POST(self) -> None:
                """Pass it on, with its body."""
                front.answer(self, self.rfile.read(int(self.headers["content-length"])))

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # their name
                """Stay silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.05])
        self._thread.start()

    def answer(self, asking: BaseHTTPRequestHandler, body: bytes) -> None:
        """Ask the provider, and tell what it said or a lie."""
        path = urlsplit(asking.path).path
        self.asked.append(path)
        told = self._ask(asking, body)
        lie = next((lie for begin, lie in self.lies.items() if path.startswith(begin)), None)
        if lie is not None:
            told = lie(told)
        if told.held:
            self._ending.wait(PATIENCE_SECONDS)
            return
        asking.send_response(told.status)
        for name, value in told.fields:
            asking.send_header(name, value)
        length = len(told.body) if told.announced is None else told.announced
        asking.send_header("content-length", str(length))
        asking.end_headers()
        try:
            asking.wfile.write(told.body)
        except OSError:
            asking.close_connection = True  # who asked has seen enough

    def _ask(self, asking: BaseHTTPRequestHandler, body: bytes) -> Told:
        connection = http.client.HTTPConnection("127.0.0.1", self.behind, PATIENCE_SECONDS)
        try:
            connection.request(asking.command, asking.path, body, dict(asking.headers))
            got = connection.getresponse()
            whole = got.read()
        finally:
            connection.close()
        ends = ("connection", "content-length", "date", "keep-alive", "transfer-encoding")
        fields = [(n.lower(), v) for n, v in got.getheaders() if n.lower() not in ends]
        return Told(got.status, tuple(fields), whole)


def part(value: Any) -> str:
    """Return one part of a token."""
    octets = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def signed(key: Any, payload: bytes | Claims, algorithm: str = "RS256", **head: Any) -> str:
    """Return a token with these octets or claims, properly signed, whatever its head says."""
    covered = f"{part({'alg': algorithm, 'kid': KID, 'typ': 'JWT', **head})}.{part(payload)}"
    signature = jwt.get_algorithm_by_name(algorithm).sign(covered.encode("ascii"), key)
    return f"{covered}.{part(signature)}"


def claims_of(told: Told) -> Claims:
    """Return what the ID token in a token answer says."""
    payload: str = json.loads(told.body)["id_token"].split(".")[1]
    claims: Claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


def with_token(make: Callable[[Claims], str]) -> Lie:
    """Return the lie that puts another ID token into a token answer."""

    def lie(told: Told) -> Told:
        # A refusal of the provider's has none; it is passed on, and the test will see it.
        return told.json(id_token=make(claims_of(told))) if b"id_token" in told.body else told

    return lie


def with_claims(key: Any, changes: Mapping[str, Any]) -> Lie:
    """Return the lie that changes claims, and signs with the provider's key."""

    def make(claims: Claims) -> str:
        # at_hash stays right: it is of the access token, which nobody touches.
        both = {**claims, **changes}
        return signed(key, {name: value for name, value in both.items() if value is not None})

    return with_token(make)
