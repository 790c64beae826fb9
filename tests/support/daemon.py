"""The real daemon: twistd, TLS and a settings file, as on an operator's machine."""

from __future__ import annotations

import base64
import json
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from tests.support.certificates import Issued, authority, leaf
from tests.support.processes import Running, free_port
from tests.support.settings import COOKIE, SHARED
from tests.support.visitor import Visitor

DOMAIN = "pomerium.localhost"
"""Browsers take what ends so for this machine, whatever a name server says."""


def command(
    place: Path, certified: Issued, settings: Mapping[str, Any], *options: str
) -> tuple[str, ...]:
    """Write the daemon's files to a place, and return what starts it there."""
    server, key, config = (place / name for name in ("server.pem", "server.key", "config.json"))
    for secret in (key, config):
        secret.touch(mode=0o600)
    server.write_bytes(certified.pem)
    key.write_bytes(certified.key_pem)
    pair = {"cert": str(server), "key": str(key)}
    config.write_text(json.dumps({"certificates": [pair], **settings}))
    program = str(Path(sys.executable).with_name("twistd"))
    return (program, "-n", "--pidfile=", *options, "pomerium", "-c", str(config))


def twistd(
    place: Path, certified: Issued, settings: Mapping[str, Any], *options: str, **process: Any
) -> Running:
    """Start the daemon with its files in a place; twistd's own options stand in front."""
    return Running(command(place, certified, settings, *options), where=place, **process)


@attrs.define(eq=False, kw_only=True)
class Daemon:
    """
    A daemon whose routes ``app`` and ``mail`` lead to one application.

    Args:
        place: an empty directory for its files.
        issuer: of the provider.
        application: its address.
        settings: that go over those that every test wants.
        more: variables for its process.
    """

    place: Path
    issuer: str
    application: str = "http://127.0.0.1:1"
    settings: Mapping[str, Any] = attrs.Factory(dict)
    more: Mapping[str, str] = attrs.Factory(dict)
    port: int = attrs.Factory(free_port)
    process: Running = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Start."""
        self.place.mkdir(parents=True, exist_ok=True)
        self.start()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        settings = {**self._usual(), **self.settings}
        self.process = twistd(self.place, leaf(f"*.{DOMAIN}"), settings, more=self.more)
        self.process.begun("listens on")

    def stop(self) -> None:
        """End it."""
        self.process.stop()

    def reload(self, settings: Mapping[str, Any]) -> None:
        """Put other settings over the usual ones, and wait until they serve."""
        config, draft = self.place / "config.json", self.place / "config.draft"
        certificates = json.loads(config.read_text())["certificates"]
        draft.touch(mode=0o600)
        draft.write_text(json.dumps({"certificates": certificates, **self._usual(), **settings}))
        said = len(self.process.lines)
        draft.replace(config)
        self.process.send(signal.SIGHUP)
        self.process.until("new settings serve", after=said)
        self.settings = settings

    def url(self, host: str, path: str = "/") -> str:
        """Return an address of the daemon."""
        return f"https://{host}.{DOMAIN}:{self.port}{path}"

    def visitor(self) -> Visitor:
        """Return somebody who has never been here."""
        return Visitor(authority().pem)

    def _usual(self) -> dict[str, Any]:
        return {
            "address": f"127.0.0.1:{self.port}",
            "state_dir": str(self.place / "state"),
            "shared_secret": base64.b64encode(SHARED).decode("ascii"),
            "cookie_secret": base64.b64encode(COOKIE).decode("ascii"),
            "authenticate_service_url": self.url("authenticate", "").rstrip("/"),
            "idp_provider": "oidc",
            "idp_provider_url": self.issuer,
            "idp_client_id": "pomerium",
            "idp_client_secret": "the client's secret: 100% & more",
            # Without the prompt the standard lets a provider ignore offline_access (OpenID
            # Connect Core 1.0 section 11), and this one does.
            "idp_request_params": {"prompt": "consent"},
            "policy": [
                {
                    "from": self.url("app", ""),
                    "to": self.application,
                    "allowed_groups": ["staff"],
                },
                {
                    "from": self.url("mail", ""),
                    "to": self.application,
                    "allowed_domains": ["example.com"],
                },
            ],
        }
