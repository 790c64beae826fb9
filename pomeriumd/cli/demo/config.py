"""The demo's settings file: written at each start, with secrets that are made once."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import attrs

from pomeriumd.cli.demo.keep import keep
from pomeriumd.cli.demo.pki import DOMAIN

ALLOWED = "alice@example.com"
"""Whom the policy lets in."""

DENIED = "mallory@example.org"
"""Whom it does not."""

SECRET_SIZE = 32


@attrs.frozen
class Ports:
    """Ports on the loopback interface."""

    proxy: int
    provider: int
    application: int


def host(label: str) -> str:
    """Return a host name of the demo."""
    return f"{label}.{DOMAIN}"


def url(label: str, port: int) -> str:
    """Return the address of a host of the demo, as a browser shows it."""
    return f"https://{host(label)}" + ("" if port == 443 else f":{port}")  # noqa: PLR2004  # https


def issuer(ports: Ports) -> str:
    """Return the provider's address, which is its name as well."""
    return f"http://127.0.0.1:{ports.provider}"


def people() -> list[str]:
    """Return the provider's users, each as JSON."""
    groups = {ALLOWED: ["staff", "demo"], DENIED: ["strangers"]}
    return [
        json.dumps(
            {
                "sub": email,
                "email": email,
                "email_verified": True,
                "name": f"{email.partition('@')[0].title()} Example",
                "groups": groups[email],
            }
        )
        for email in (ALLOWED, DENIED)
    ]


def secrets_in(directory: Path, random: Callable[[int], bytes]) -> tuple[dict[str, str], bool]:
    """
    Return the demo's secrets, in base64, and whether they had to be made.

    They are kept, so that who is signed in stays so over a restart.
    """
    path = directory / "secrets.json"
    names = ("shared_secret", "cookie_secret", "idp_client_secret")
    try:
        found = json.loads(path.read_bytes())
        if all(len(base64.b64decode(found[name], validate=True)) == SECRET_SIZE for name in names):
            return {name: found[name] for name in names}, False
    except (OSError, ValueError, TypeError, KeyError):
        pass
    made = {name: base64.b64encode(random(SECRET_SIZE)).decode("ascii") for name in names}
    keep(path, json.dumps(made).encode("ascii"))
    return made, True


def text(directory: Path, ports: Ports, secrets: dict[str, str]) -> str:
    """Return the settings file; every string in it is JSON's, which is YAML's as well."""
    application = json.dumps(f"http://127.0.0.1:{ports.application}")
    q = json.dumps
    return f"""\
# Written by `pomeriumd demo` at each start. A real one: etc/pomerium/config.yaml.
services: all
address: 127.0.0.1:{ports.proxy}
state_dir: {q(str(directory / "state"))}
certificates:
  - cert: {q(str(directory / "server.pem"))}
    key: {q(str(directory / "server.key"))}

shared_secret: {q(secrets["shared_secret"])}
cookie_secret: {q(secrets["cookie_secret"])}

authenticate_service_url: {q(url("authenticate", ports.proxy))}
idp_provider: oidc
idp_provider_url: {q(issuer(ports))}
idp_client_id: pomeriumd-demo
idp_client_secret: {q(secrets["idp_client_secret"])}

policy:
  - from: {q(url("verify", ports.proxy))}
    to: {application}
    allowed_users: [{q(ALLOWED)}]
    allow_websockets: true

  - from: {q(url("public", ports.proxy))}
    to: {application}
    allow_public_unauthenticated_access: true
    allow_websockets: true
"""
