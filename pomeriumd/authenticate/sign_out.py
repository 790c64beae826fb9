"""
Signing out: here, at the provider where it can be told, and soon everywhere else.

A person is asked before it happens, unless a route host asked them already: its link is
signed, names the session, and does nothing to a browser that has another one.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.logger import Logger

from pomeriumd.answers.answer import Answer
from pomeriumd.answers.call import Call
from pomeriumd.answers.pages import CSRF_FIELD, Pages
from pomeriumd.authenticate.own_sessions import OwnSessions
from pomeriumd.authenticate.provider import Provider
from pomeriumd.authenticate.redirects import redirect
from pomeriumd.authenticate.site import SIGNED_OUT, AuthenticateSite, Goals
from pomeriumd.authenticate.trail import Trail
from pomeriumd.crypto.keys import OwnKeys, SharedKeys
from pomeriumd.crypto.seal import seal, unseal
from pomeriumd.errors import BadMessage, BadToken, Denied, ProviderError
from pomeriumd.http.cookies import cookies
from pomeriumd.http.events import Field
from pomeriumd.http.negotiate import wants_json
from pomeriumd.http.query import parameters
from pomeriumd.session.cookies import Pair
from pomeriumd.session.csrf import csrf_token, csrf_valid
from pomeriumd.session.pending import PendingLogins
from pomeriumd.session.provider import ProviderSession
from pomeriumd.session.sign_in import SignOutRequest, read_sign_out

_log = Logger()
"""Not a class's: an event holds who logged it, and may be kept for long."""

ACTION = "sign out"
"""What the form does; its token is good for nothing else."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SignOuts:
    """
    The pages of a sign-out.

    Args:
        site: names and limits.
        shared: from ``shared_secret``: route hosts sign with them.
        own: from ``cookie_secret``.
        logins: under way; a sign-out ends them.
        trail: ends with them.
        sessions: of authenticate itself.
        provider: is told.
        pages: what the person sees.
        goals: where the page after it may lead.
        now: seconds since the epoch.
        random: returns that many unpredictable bytes.
        forget: is told the id of each session that is signed out: what it has open ends.
    """

    site: AuthenticateSite
    shared: SharedKeys
    own: OwnKeys
    logins: PendingLogins
    trail: Trail
    sessions: OwnSessions
    provider: Provider
    pages: Pages
    goals: Goals
    now: Callable[[], float]
    random: Callable[[int], bytes]
    forget: Callable[[str], None]

    async def sign_out(self, call: Call) -> Answer:
        """
        Show the button, or act if that was asked for properly.

        Raises:
            Denied: a form without the token of this session.
        """
        pairs = cookies(call.request.fields)
        own = self.sessions.find(pairs)
        if call.request.method == b"POST":
            if own is not None and not self._is_form_of(own, call):
                raise Denied("sign-out form without its token", ("csrf-token",))
            return await self._end(call, pairs, own, None)
        asked = self._asked(call) if call.request.method == b"GET" else None
        if asked is not None and (own is None or asked.is_of(own.id)):
            return await self._end(call, pairs, own, self.goals.known(asked.redirect))
        return self.pages.sign_out(
            call,
            csrf="" if own is None else self.token(own),
            who=None if own is None else own.identity.shown,
            recheck_minutes=self.site.recheck_minutes,
        )

    async def signed_out(self, call: Call) -> Answer:
        """Say what has ended and what goes on; the provider sends people here, too."""
        provider_logout, home = True, ""
        try:
            state = parameters(call.request.query).get("state", "")
            home = unseal(self.own.login, state, context=self._context).decode()
        except (BadToken, BadMessage):
            # Nobody came back from the provider: say no more than is known.
            provider_logout = False
        return self.pages.signed_out(
            call,
            recheck_minutes=self.site.recheck_minutes,
            provider_logout=provider_logout,
            home=self.goals.known(home),
        )

    def token(self, own: ProviderSession) -> str:
        """Return the token for this session's sign-out form."""
        return csrf_token(
            self.own.csrf, session_id=own.id, audience=self.site.audience, action=ACTION
        )

    async def _end(
        self, call: Call, pairs: list[Pair], own: ProviderSession | None, home: str | None
    ) -> Answer:
        """End the session: at the provider first, then in this browser."""
        fields = [
            *self.sessions.clear(pairs),
            *self.logins.clear(pairs),
            *self.trail.clear(pairs),
        ]
        if own is not None:
            self.forget(own.id)
        onward = None if own is None else await self._end_at_provider(own, home)
        if onward is None or wants_json(call.request):
            page = self.pages.signed_out(
                call,
                recheck_minutes=self.site.recheck_minutes,
                provider_logout=False,
                home=home,
            )
            return _with(page, fields)
        if call.request.method == b"POST":
            # A browser would hold a redirect against the form's own policy.
            return _with(self.pages.onward(call, onward), fields)
        return redirect(onward, fields)

    async def _end_at_provider(self, own: ProviderSession, home: str | None) -> str | None:
        """Revoke what we hold, and return where the provider ends its own session."""
        plain = (home or "").encode()
        state = seal(self.own.login, plain, context=self._context, random=self.random)
        try:
            await self.provider.revoke(refresh_token=own.refresh_token, access_token=None)
            return await self.provider.logout_url(
                id_token=own.id_token,
                redirect_uri=self.site.origin + SIGNED_OUT,
                state=state,
            )
        except ProviderError as error:
            # The session here ends whatever the provider does.
            _log.warn("provider not told of a sign-out: {reason}", reason=str(error))
            return None

    def _asked(self, call: Call) -> SignOutRequest | None:
        """Return what a route host asked for; None if it was somebody else, or long ago."""
        if call.request.query is None:
            return None
        try:
            return read_sign_out(
                self.shared.signed_url, self.site.origin, call.request.query, self.now()
            )
        except (BadToken, BadMessage):
            return None

    def _is_form_of(self, own: ProviderSession, call: Call) -> bool:
        given = parameters(call.body).get(CSRF_FIELD, "")
        return csrf_valid(
            self.own.csrf,
            given,
            session_id=own.id,
            audience=self.site.audience,
            action=ACTION,
        )

    @property
    def _context(self) -> bytes:
        return f"signed out 1\n{self.site.audience}".encode()


def _with(page: Answer, fields: list[Field]) -> Answer:
    return attrs.evolve(page, fields=(*page.fields, *fields))
