"""The certified provider (npm's oidc-provider) as a process, put where git ignores it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import attrs
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from tests.support.processes import Running, free_port
from tests.support.visitor import Page, Visitor

ROOT = Path(__file__).parent.parent.parent
SOURCE = ROOT / "tests" / "system" / "provider"
BUILT = ROOT / "build" / "provider"

CLIENT, SECRET = "pomerium", "the client's secret: 100% & more"
PEOPLE = {
    "alice": {
        "email": "alice@example.com",
        "email_verified": True,
        "name": "Alice",
        "groups": ["staff", "demo"],
    },
    "mallory": {
        "email": "mallory@example.org",
        "email_verified": True,
        "name": "Mallory",
        "groups": ["strangers"],
    },
}
KID = "of the test"


def installed() -> Path:
    """
    Return the directory that holds the provider; `npm ci` puts it there when its lock changed.

    Without a registry that can be reached the test is skipped, or in CI fails.
    """
    lock = (SOURCE / "package-lock.json").read_bytes()
    stamp, wanted = BUILT / "installed", hashlib.sha256(lock).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        BUILT.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SOURCE / name, BUILT)
        # No package's own program is run.
        ran = subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=BUILT,
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode:
            reason = f"npm ci failed: {ran.stderr}"
            if os.environ.get("CI"):
                pytest.fail(reason, pytrace=False)
            pytest.skip(reason)
        stamp.write_text(wanted)
    # Beside node_modules, since that is where node looks for them.
    shutil.copy(SOURCE / "op.mjs", BUILT)
    return BUILT


def signing_key() -> rsa.RSAPrivateKey:
    """Return a new key for ID tokens."""
    return rsa.generate_private_key(65_537, 2_048)


@attrs.define(eq=False, kw_only=True)
class Certified:
    """
    The provider, with a store that outlives its process.

    Args:
        place: for the store.
        back: addresses that a sign-in may end at.
        after: addresses that a sign-out may end at.
        issuer: what it calls itself; its own address if nobody stands in front of it.
        key: signs ID tokens.
        lean: the ID token says no more than who it is; all else is in userinfo.
        more: variables for its process.
    """

    place: Path
    back: list[str]
    after: list[str] = attrs.Factory(list)
    issuer: str | None = None
    key: rsa.RSAPrivateKey = attrs.Factory(signing_key)
    lean: bool = False
    more: dict[str, str] = attrs.Factory(dict)
    people: dict[str, dict[str, Any]] = attrs.Factory(lambda: {**PEOPLE})
    port: int = attrs.Factory(free_port)
    process: Running = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Start."""
        self.start()

    @property
    def name(self) -> str:
        """The issuer."""
        return self.issuer or f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, with the store of the one before it."""
        private = RSAAlgorithm.to_jwk(self.key, as_dict=True)
        # It would be published as it is, and a key for signing alone verifies nothing.
        jwk = {name: value for name, value in private.items() if name != "key_ops"}
        wanted = {
            "port": self.port,
            "issuer": self.issuer,
            "store": str(self.place / "store.json"),
            "jwks": {"keys": [{**jwk, "kid": KID, "use": "sig", "alg": "RS256"}]},
            "client": {
                "client_id": CLIENT,
                "client_secret": SECRET,
                "redirect_uris": self.back,
                "post_logout_redirect_uris": self.after,
                "grant_types": ["authorization_code", "refresh_token"],
            },
            "people": self.people,
            "lean": self.lean,
        }
        command = ("node", installed() / "op.mjs", json.dumps(wanted))
        self.process = Running(command, {"NODE_NO_WARNINGS": "1", **self.more})
        self.process.begun('"event":"listening"')

    def stop(self) -> None:
        """End it; the store stays."""
        self.process.stop()

    def sign_in(self, visitor: Visitor, page: Page, who: str) -> Page:
        """Fill in the login form, and the form for consent after it."""
        asked = visitor.submit(page, login=who, password="not looked at")
        return visitor.submit(asked)

    def until(self, event: str, since: int = 0) -> None:
        """Wait until this has happened there, since it had said so many lines."""
        self.process.until(f'"event":"{event}"', after=since)

    @property
    def said(self) -> int:
        """Return how many lines it has said."""
        return len(self.process.lines)

    def events(self, since: int = 0) -> list[str]:
        """Return what has happened there, since it had said so many lines."""
        said = [line for line in self.process.lines[since:] if line.startswith("{")]
        return [json.loads(line)["event"] for line in said]
