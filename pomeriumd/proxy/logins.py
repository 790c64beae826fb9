"""Sending a browser to sign in, and taking it back at the route host."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from pomeriumd.access.routes import Route
from pomeriumd.answers.answer import Answer
from pomeriumd.http.cookies import cookies
from pomeriumd.http.events import Field, Request
from pomeriumd.session.login import LoginSite, begin_login, going_round, in_circle
from pomeriumd.session.session import Session
from pomeriumd.session.sign_in import SIGN_IN

NO_STORE: Field = (b"cache-control", b"no-store")

INTERCEPTED: Field = (b"x-pomerium-intercepted-response", b"true")
"""Tells an application's script that this answer is ours, not the application's."""


def redirect(to: str, fields: tuple[Field, ...] = ()) -> Answer:
    """Return a 302 of ours; ``to`` was made or checked by us, never taken from a request."""
    return Answer(302, ((b"location", to.encode("ascii")), NO_STORE, INTERCEPTED, *fields))


@attrs.frozen(kw_only=True)
class Logins:
    """
    Begins sign-ins at route hosts.

    Args:
        site: keys and names for the logins' cookies and URLs.
        origins: canonical route host to its origin (scheme, host and port of ``from``).
        random: returns that many unpredictable bytes.
    """

    site: LoginSite
    origins: Mapping[bytes, str]
    random: Callable[[int], bytes]

    def begin(self, request: Request, now: float, session: Session | None = None) -> Answer:
        """Redirect a navigation to authenticate, and bring it back to where it was going."""
        return self.begin_for(request, request.path, request.query, now, session)

    def renew(
        self, request: Request, now: float, session: Session | None, *, must: bool
    ) -> Answer | None:
        """
        Redirect a navigation to authenticate, whose session is due to be confirmed.

        Args:
            must: without it, the session is not believed any more.

        Returns:
            The redirect, or None: it was confirmed several times over within seconds and is
            due all the same, since a clock is off or the limit shorter than the way round.
            It goes on as it is, as it does for what is no navigation.

        Raises:
            LoginFailed: the same, of one that is not believed.
        """
        if not in_circle(self.site, cookies(request.fields), now):
            return self.begin(request, now, session)
        if must:
            raise going_round()
        return None

    def begin_for(
        self,
        request: Request,
        path: bytes,
        query: bytes | None,
        now: float,
        session: Session | None = None,
        *,
        again: bool = False,
    ) -> Answer:
        """
        Redirect to authenticate, and from there to ``path`` at the host of ``request``.

        Args:
            again: the login before it was lost; a second loss is explained, not repeated.
        """
        url, fields = begin_login(
            self.site,
            cookies(request.fields),
            origin=self.origins[request.host],
            path=path,
            query=query,
            session=session,
            now=now,
            random=self.random,
            again=again,
        )
        return redirect(url, tuple(fields))


def hint(route: Route | None) -> str | None:
    """Return the address that a script may send its window to, to sign in; or None."""
    return None if route is None else route.settings.from_.text + SIGN_IN
