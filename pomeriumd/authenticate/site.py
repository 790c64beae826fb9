"""What authenticate is set up to be, from the settings."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from pomeriumd.errors import BadToken, LoginFailed
from pomeriumd.session.cookies import CookieShape
from pomeriumd.session.standing import SessionLimits
from pomeriumd.session.target import Target, target

HOME = "/.pomerium/"
"""Where a person sees their session."""

SIGNED_OUT = "/.pomerium/signed_out"
"""Where a sign-out ends; the provider must know it as a redirect URI for logouts."""


@attrs.frozen(kw_only=True)
class AuthenticateSite:
    """
    The names, places and limits of authenticate.

    Args:
        origin: ``scheme://host[:port]`` of ``authenticate_service_url``.
        callback_path: where the provider sends the browser back to.
        shape: of the session cookies on route hosts; ours lie beside it.
        limits: of sessions.
        groups_named: groups that some policy names: they are kept when a person has more
            than a session can hold.
    """

    origin: str
    callback_path: str
    shape: CookieShape
    limits: SessionLimits
    groups_named: frozenset[str] = frozenset()
    audience: str = attrs.field(init=False)
    """``host:port`` of the origin."""

    @audience.default
    def _audience(self) -> str:
        return target(self.origin).audience

    @property
    def redirect_uri(self) -> str:
        """Return the callback as the provider knows it."""
        return self.origin + self.callback_path

    @property
    def recheck_minutes(self) -> int:
        """Return for how long at most another host's session goes on after a sign-out."""
        return round(self.limits.recheck_max / 60)


@attrs.frozen
class Goals:
    """
    Where a browser may be sent on to: our own routes and nowhere else.

    Args:
        origin_known: says whether a route has this scheme, host and port.
    """

    origin_known: Callable[[str, str, int], bool]

    def goal(self, url: str) -> Target:
        """
        Return the URL, taken apart.

        Raises:
            LoginFailed: it is no URL that a browser reads in one way, or no route's.
        """
        try:
            found = target(url)
        except BadToken as bad:
            raise _refused(str(bad)) from bad
        if not self.origin_known(found.scheme, found.host, found.port):
            raise _refused("redirect target is no route of ours")
        return found

    def known(self, url: object) -> str | None:
        """Return the URL if a browser may be sent there, else None."""
        try:
            return self.goal(url).url if isinstance(url, str) else None
        except LoginFailed:
            return None


def _refused(text: str) -> LoginFailed:
    return LoginFailed(
        text,
        "redirect-target",
        "The address that was to be opened does not belong to any application here. It may"
        " have been removed, or its address may have changed, while you were signing in.",
    )
