"""A daemon, a certified provider and an application, all of them real, on one clock."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.application import Application
from tests.support.certified import PEOPLE, Certified, signing_key
from tests.support.daemon import DOMAIN, Daemon
from tests.support.faked_time import FakedTime
from tests.support.processes import free_port
from tests.support.visitor import Page, Visitor


@attrs.frozen
class Site:
    """What runs together."""

    daemon: Daemon
    provider: Certified
    application: Application
    time: FakedTime

    def signed_in(self, who: str = "alice", path: str = "/") -> tuple[Visitor, Page]:
        """Return somebody new who signed in at ``app``, and the page they came to."""
        visitor = self.daemon.visitor()
        page = visitor.get(self.daemon.url("app", path))
        return visitor, self.provider.sign_in(visitor, page, who)

    def stop(self) -> None:
        """End all of it."""
        self.daemon.stop()
        self.provider.stop()
        self.application.stop()


def make_site(
    place: Path,
    *,
    lean: bool = False,
    issuer: str | None = None,
    key: rsa.RSAPrivateKey | None = None,
    stepping: bool = False,
    **settings: Any,
) -> Site:
    """
    Start all of it; the daemon is one process, unless told otherwise.

    What a worker remembers of its provider (keys, failures, renewals) is its own, and these
    tests count how often the provider is asked.

    Args:
        place: an empty directory.
        lean: see Certified.
        issuer: of somebody who stands in front of the provider.
        key: of the provider.
        stepping: adding time sets the daemon's clock; otherwise time passes there.
        settings: of the daemon, over the usual.
    """
    port, time = free_port(), FakedTime(place / "time")
    authenticate = f"https://authenticate.{DOMAIN}:{port}"
    provider = Certified(
        place=place,
        back=[f"{authenticate}/oauth2/callback"],
        after=[f"{authenticate}/.pomerium/signed_out"],
        issuer=issuer,
        key=key or signing_key(),
        lean=lean,
        people={who: {**claims} for who, claims in PEOPLE.items()},
        # A clock that is set is the daemon's alone.
        more={} if stepping else time.stepping,
    )
    application = Application()
    try:
        daemon = Daemon(
            place=place / "daemon",
            issuer=provider.name,
            application=application.url,
            port=port,
            settings={"workers": 1, **settings},
            more=time.stepping if stepping else time.passing,
        )
    except BaseException:
        provider.stop()
        application.stop()
        raise
    return Site(daemon, provider, application, time)


def told(page: Page) -> dict[str, str]:
    """Return the header fields that the application was sent."""
    fields: dict[str, str] = json.loads(page.text)
    return fields
