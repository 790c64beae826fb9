"""Who somebody is, and for how long we believe it."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Identity:
    """
    A person, as the identity provider vouched for them.

    ``(issuer, subject)`` is the identity; the e-mail counts only when it is here, and it
    is here only when it was verified and well formed (exactly one ``@``).
    """

    issuer: str
    subject: str
    email: str | None = None
    name: str | None = None
    groups: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """Return what to call this person on a page and in the log."""
        return self.email or self.subject


@attrs.frozen(kw_only=True)
class Session:
    """
    One person's session at one route host.

    All times are whole seconds since the epoch.
    """

    id: str
    """Random; the same at every host that one sign-in reaches."""
    identity: Identity
    issuer: str
    """Origin of the authenticate service that gave it."""
    audience: str
    """``host:port`` of the route host; the port is always written."""
    auth_time: int
    """When the person signed in at the provider."""
    checked: int
    """When the provider last confirmed the person (sign-in or refresh)."""
    recheck: int
    """From when the next navigation renews through authenticate: ``checked`` +
    ``session_recheck``, or a minute ahead while the provider is down."""
    seen: int
    """When a request last used it, to the minute; moved on by the proxy alone."""
    expires: int
    """Absolute end: ``auth_time`` + ``cookie_expire``; nothing moves it."""
