"""Roles of the real daemon by themselves, each a process with no more than its own keys."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import ssl
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs

from tests.support.certificates import Issued, authority, leaf
from tests.support.certified import CLIENT, SECRET
from tests.support.daemon import DOMAIN, twistd
from tests.support.load.wire import Reader
from tests.support.processes import PATIENCE_SECONDS, Running, free_port
from tests.support.settings import COOKIE, SHARED
from tests.support.visitor import Visitor

HERE = "127.0.0.1"
Keys = dict[str, Any]
"""Of a settings file."""


def base64_of(octets: bytes) -> str:
    """Return it as settings have secrets."""
    return base64.b64encode(octets).decode("ascii")


def moment() -> float:
    """Return the present moment, in seconds since the epoch."""
    return time.time()  # noqa: TID251  # to be set beside those of log lines


def moment_of(line: str) -> float:
    """Return when a process wrote this line of its log."""
    when: str = json.loads(line)["time"]
    return datetime.fromisoformat(when).timestamp()


@attrs.define(eq=False, kw_only=True)
class Service:
    """
    One process.

    Args:
        place: a directory for its files.
        keys: all that stands in its file but for ``state_dir`` and ``certificates``.
        shows: its certificate.
        more: variables for its process.
        awaited: whether to wait until it listens.
    """

    place: Path
    keys: Keys
    shows: Issued = attrs.Factory(lambda: leaf(f"*.{DOMAIN}", HERE))
    more: Mapping[str, str] = attrs.Factory(dict)
    awaited: bool = True
    process: Running = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Start."""
        self.place.mkdir(parents=True, exist_ok=True)
        self.start()

    def start(self) -> None:
        """Start it, with what its file is to say now."""
        settings = {"state_dir": str(self.place / "state"), **self.keys}
        self.process = twistd(self.place, self.shows, settings, more=self.more)
        if self.awaited:
            self.process.begun("listens on")

    def stop(self) -> None:
        """End it."""
        self.process.stop()

    def reload(self, **changed: Any) -> None:
        """Have it take these keys instead, and wait until they serve."""
        self.rewrite(**changed)
        said = len(self.process.lines)
        self.process.send(signal.SIGHUP)
        self.process.until("new settings serve", after=said)

    def rewrite(self, **changed: Any) -> None:
        """Have these keys in its file; None takes one out."""
        kept = {**self.keys, **changed}
        self.keys = {name: value for name, value in kept.items() if value is not None}
        config, draft = self.place / "config.json", self.place / "config.draft"
        before = json.loads(config.read_text())
        own = {name: before[name] for name in ("certificates", "state_dir")}
        draft.touch(mode=0o600)
        draft.write_text(json.dumps({**own, **self.keys}))
        draft.replace(config)

    def ask(self, path: str, host: str = HERE, fields: str = "", named: int = 0) -> tuple[int, str]:
        """
        Ask something of its ``address`` from this very host; return status and text.

        Args:
            path: that is asked for.
            host: without a port.
            fields: more of them, as lines.
            named: port beside the host, if it is not the real one.
        """
        at, _, port = self.keys["address"].rpartition(":")
        trust = ssl.create_default_context(cadata=authority().pem.decode("ascii"))
        trust.check_hostname = False
        plain = socket.create_connection((at, port), PATIENCE_SECONDS)
        insecure = bool(self.keys.get("insecure_server"))
        with plain if insecure else trust.wrap_socket(plain, server_hostname=host) as wire:
            head = f"GET {path} HTTP/1.1\r\nHost: {host}:{named or port}\r\n{fields}"
            wire.sendall(f"{head}Accept: text/html\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while piece := wire.recv(65_536):
                answer += piece
        status, _, rest = answer.partition(b"\r\n")
        return int(status.split()[1]), rest.partition(b"\r\n\r\n")[2].decode()

    @property
    def wrong(self) -> list[str]:
        """Return what its health page says is wrong."""
        _, text = self.ask("/healthz?verbose")
        return [line[2:] for line in text.splitlines() if line.startswith("- ")]

    def said(self, words: str) -> list[str]:
        """Return the messages of its log that have these words."""
        lines = [json.loads(line) for line in self.process.lines if line.startswith("{")]
        return [line["message"] for line in lines if words in line["message"]]


@attrs.define(eq=False, kw_only=True)
class Cluster:
    """
    The addresses and keys of one cluster; starts nothing by itself.

    Args:
        place: a directory for the files of its processes.
        issuer: of its provider.
        name: stands in the host names of its routes.
        sign_in: the port of its authenticate.
    """

    place: Path
    issuer: str = ""
    name: str = ""
    port: int = attrs.Factory(free_port)
    """Of its proxy."""
    sign_in: int = attrs.Factory(free_port)
    grpc: int = attrs.Factory(free_port)
    shared: bytes = SHARED

    @property
    def authenticate_url(self) -> str:
        """Where people of this cluster sign in."""
        return f"https://authenticate.{DOMAIN}:{self.sign_in}"

    def url(self, host: str, path: str = "/") -> str:
        """Return an address behind its proxy."""
        return f"https://{self.name}{host}.{DOMAIN}:{self.port}{path}"

    def route(self, host: str, to: str, **rules: Any) -> Keys:
        """Return a route."""
        return {"from": self.url(host, ""), "to": to, **rules}

    @property
    def _common(self) -> Keys:
        return {
            "shared_secret": base64_of(self.shared),
            "authenticate_service_url": self.authenticate_url,
        }

    def proxy(self, *routes: Keys, **more: Any) -> Keys:
        """Return the keys of a proxy, and no other's."""
        return {
            "services": "proxy",
            "address": f"{HERE}:{self.port}",
            "workers": 1,
            **self._common,
            "authorize_service_url": f"https://{HERE}:{self.grpc}",
            "certificate_authority": base64_of(authority().pem),
            "policy": list(routes),
            **more,
        }

    def authenticate(self, **more: Any) -> Keys:
        """Return the keys of an authenticate, and no other's."""
        return {
            "services": "authenticate",
            "address": f"{HERE}:{self.sign_in}",
            "workers": 1,
            **self._common,
            "cookie_secret": base64_of(COOKIE),
            "idp_provider": "oidc",
            "idp_provider_url": self.issuer,
            "idp_client_id": CLIENT,
            "idp_client_secret": SECRET,
            "idp_request_params": {"prompt": "consent"},
            **more,
        }

    def authorize(self, *routes: Keys, **more: Any) -> Keys:
        """Return the keys of an authorize, and no other's."""
        return {
            "services": "authorize",
            "address": f"{HERE}:{free_port()}",
            "grpc_address": f"{HERE}:{self.grpc}",
            **self._common,
            "idp_provider": "oidc",
            "idp_provider_url": self.issuer,
            "policy": list(routes),
            **more,
        }


class Chooser(Visitor):
    """A browser whose names lead where the test says."""

    def __init__(self, at: Mapping[int, str]) -> None:
        super().__init__(authority().pem)
        self.at = dict(at)
        """Addresses, by port."""

    def _connect(self, port: int) -> socket.socket:
        return socket.create_connection((self.at.get(port, HERE), port), PATIENCE_SECONDS)


def websocket(visitor: Visitor, url: str) -> tuple[ssl.SSLSocket, Reader]:
    """Open a WebSocket as somebody's page does; it is open when this returns."""
    scheme, _, rest = url.partition("://")
    assert scheme == "https", url
    authority_of, _, path = rest.partition("/")
    host, _, port = authority_of.partition(":")
    trust = ssl.create_default_context(cadata=authority().pem.decode("ascii"))
    plain = socket.create_connection((HERE, int(port)), PATIENCE_SECONDS)
    wire = trust.wrap_socket(plain, server_hostname=host)
    fields = {
        "Host": authority_of,
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Origin": f"https://{authority_of}",
        "Cookie": "; ".join(
            f"{name}={value}" for (at, name, _), value in visitor.cookies.items() if at == host
        ),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    wire.sendall(f"GET /{path} HTTP/1.1\r\n{lines}\r\n".encode())
    reader = Reader(wire, 1 << 14)
    opening, _ = reader.head()
    assert b" 101 " in opening, opening
    return wire, reader
