"""
Signing in: from a route host's question to its answer, by way of the provider if need be.

Nothing is kept in memory between the steps but the renewals of the last minute, which
only save a second question: any replica goes on with what another began.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlencode

import attrs
from twisted.logger import Logger

from pomeriumd.answers.answer import Answer
from pomeriumd.answers.call import Call
from pomeriumd.answers.pages import Pages
from pomeriumd.authenticate.own_sessions import OwnSessions
from pomeriumd.authenticate.provider import Provider
from pomeriumd.authenticate.redirects import redirect
from pomeriumd.authenticate.renewal import Renewals
from pomeriumd.authenticate.site import AuthenticateSite, Goals
from pomeriumd.authenticate.trail import Trail
from pomeriumd.authenticate.transaction import Transaction, lost
from pomeriumd.crypto import base64url
from pomeriumd.crypto.keys import SharedKeys
from pomeriumd.errors import LoginFailed, ProviderError
from pomeriumd.http.cookies import cookies
from pomeriumd.http.events import Field
from pomeriumd.http.query import parameters
from pomeriumd.oidc.grant import GrantRefused, Unconfirmed
from pomeriumd.session.cookies import Pair
from pomeriumd.session.handoff import HANDOFF_SECONDS, Handoff, seal_handoff
from pomeriumd.session.pending import PendingLogins
from pomeriumd.session.provider import ProviderSession
from pomeriumd.session.sign_in import CALLBACK, SignInRequest, read_sign_in
from pomeriumd.session.standing import Standing

_log = Logger()
"""Not a class's: an event holds who logged it, and may be kept for long."""

PUT_OFF_SECONDS = 60
"""When to ask again after the provider was down."""

SEEN_SECONDS = 60
"""The cookie is written anew for ``seen`` alone at most this often."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SignIns:
    """
    The two pages of a sign-in at authenticate.

    Args:
        site: names and limits.
        keys: from ``shared_secret``.
        logins: under way at the provider.
        trail: where this browser last wanted to go.
        sessions: of authenticate itself.
        renewals: the provider's confirmations.
        provider: is asked.
        pages: for failures that also have to clear a cookie.
        goals: where a browser may be sent on to.
        now: seconds since the epoch.
        random: returns that many unpredictable bytes.
    """

    site: AuthenticateSite
    keys: SharedKeys
    logins: PendingLogins
    trail: Trail
    sessions: OwnSessions
    renewals: Renewals
    provider: Provider
    pages: Pages
    goals: Goals
    now: Callable[[], float]
    random: Callable[[int], bytes]

    async def sign_in(self, call: Call) -> Answer:
        """
        Answer a route host's question: with a hand-off, or by asking the provider.

        Raises:
            BadToken: the link was not signed by us, or is too old.
            LoginFailed: its target is no route of ours.
            ProviderError: nobody can say who this is.
        """
        now = self.now()
        asked = read_sign_in(self.keys.signed_url, self.site.origin, call.request.query, now)
        self.goals.goal(asked.redirect)
        pairs = cookies(call.request.fields)
        own = self.sessions.find(pairs)
        if own is None:
            return await self._begin(asked, pairs, self.sessions.clear(pairs))
        # The route host says when it saw the person; we see them only now and then.
        there = attrs.evolve(own, seen=max(own.seen, min(asked.seen, int(now))))
        standing = self.sessions.standing(there, now)
        if standing is Standing.FRESH:
            return self._hand_off(asked, own, self._seen(own, pairs, now))
        if standing is Standing.ENDED:
            return await self._begin(asked, pairs, self.sessions.clear(pairs))
        return await self._renew(call, asked, own, pairs, standing)

    async def callback(self, call: Call) -> Answer:
        """
        Take the provider's answer, and hand the session over.

        Raises:
            BadMessage: a parameter stands twice.
            LoginFailed: this browser did not begin the sign-in.
            ProviderError: it does not answer; loading the page again may help.
        """
        given = parameters(call.request.query)
        pairs, state = cookies(call.request.fields), given.get("state", "")
        content = self.logins.find(pairs, state, now=self.now())
        if content is None:
            return self._start_over(call, pairs)
        begun = Transaction.kept(content)
        over = [*self.logins.clear(pairs, state), *self.trail.clear(pairs)]
        try:
            own = await self._exchanged(begun, given)
            return self._hand_off(
                begun.asked, own, [*self.sessions.write(own, pairs, self.now()), *over]
            )
        except LoginFailed as failed:
            log_failure(_log, failed, call)
            page = self.pages.error(failed, call, again=self.goals.known(begun.asked.redirect))
            return attrs.evolve(page, fields=(*page.fields, *over))

    async def _exchanged(self, begun: Transaction, given: dict[str, str]) -> ProviderSession:
        """Return the session of whoever signed in, under a new id."""
        grant = await self.provider.exchange(
            code=begun.code(given, self.provider.issuer),
            verifier=begun.verifier,
            nonce=begun.nonce,
            redirect_uri=self.site.redirect_uri,
            iss=given.get("iss"),
        )
        session_id = base64url.encode(self.random(32))
        return self.sessions.begun(grant, session_id, int(self.now()))

    async def _renew(
        self,
        call: Call,
        asked: SignInRequest,
        own: ProviderSession,
        pairs: list[Pair],
        standing: Standing,
    ) -> Answer:
        """Ask the provider again, without the person noticing if it can be done."""
        try:
            if own.refresh_token is None:
                return await self._begin(asked, pairs, [])
            confirmed = await self.renewals.confirm(own)
            renewed = self.sessions.renewed(own, confirmed.grant, confirmed.at)
        except ProviderError as error:
            kept = self._kept(own, pairs, error)
            if standing is not Standing.RECHECK:
                return self._not_now(call, error, kept)
            _log.warn(
                "renewal put off by {seconds} s: {reason}",
                seconds=PUT_OFF_SECONDS,
                reason=str(error),
                request_id=call.request_id,
            )
            now = self.now()
            put_off = int(now) + PUT_OFF_SECONDS
            return self._hand_off(asked, own, kept or self._seen(own, pairs, now), recheck=put_off)
        except (GrantRefused, LoginFailed) as error:
            _log.info(
                "renewal refused, signing in anew: {reason}",
                reason=str(error),
                request_id=call.request_id,
            )
            return await self._begin_without(call, asked, pairs)
        there = attrs.evolve(renewed, seen=int(self.now()))
        return self._hand_off(asked, there, self.sessions.write(there, pairs, self.now()))

    async def _begin_without(self, call: Call, asked: SignInRequest, pairs: list[Pair]) -> Answer:
        """Send the browser to the provider, without the session that was refused."""
        cleared = self.sessions.clear(pairs)
        try:
            return await self._begin(asked, pairs, cleared)
        except ProviderError as error:
            # Had the browser kept it, the session would go on while the provider is down.
            return self._not_now(call, error, cleared)

    def _not_now(self, call: Call, error: ProviderError, fields: list[Field]) -> Answer:
        """Say that the provider is down, and change the browser's cookies."""
        _log.warn("provider: {reason}", reason=str(error), request_id=call.request_id)
        page = self.pages.error(error, call)
        return attrs.evolve(page, fields=(*page.fields, *fields))

    def _kept(self, own: ProviderSession, pairs: list[Pair], error: ProviderError) -> list[Field]:
        """Return the fields that keep the token with which to try again, if it is new."""
        if not isinstance(error, Unconfirmed) or error.refresh_token == own.refresh_token:
            return []
        now = self.now()
        there = attrs.evolve(own, refresh_token=error.refresh_token, seen=int(now))
        return self.sessions.write(there, pairs, now)

    async def _begin(self, asked: SignInRequest, pairs: list[Pair], fields: list[Field]) -> Answer:
        """Send the browser to the provider."""
        begun = Transaction.begun(self.provider.issuer, asked, self.random(64))
        state, kept = self.logins.begin(pairs, begun.content(), now=self.now(), random=self.random)
        url = await self.provider.authorization_url(
            state=state,
            nonce=begun.nonce,
            verifier=begun.verifier,
            redirect_uri=self.site.redirect_uri,
        )
        return redirect(url, [*kept, *self.trail.leave(pairs, asked.redirect), *fields])

    def _seen(self, own: ProviderSession, pairs: list[Pair], now: float) -> list[Field]:
        """Return the fields that note in our own cookie that the person is here."""
        if now - own.seen < SEEN_SECONDS:
            return []
        return self.sessions.write(attrs.evolve(own, seen=int(now)), pairs, now)

    def _hand_off(
        self,
        asked: SignInRequest,
        own: ProviderSession,
        fields: list[Field],
        *,
        recheck: int | None = None,
    ) -> Answer:
        """Send the browser back to the route host with its session."""
        goal, now = self.goals.goal(asked.redirect), int(self.now())
        session = attrs.evolve(self.sessions.at(own, goal.audience), seen=now)
        if recheck is not None:
            session = attrs.evolve(session, recheck=recheck)
        handoff = Handoff(
            session=session,
            login=asked.login,
            redirect=goal.url,
            expires=now + HANDOFF_SECONDS,
        )
        sealed = seal_handoff(self.keys.handoff, handoff, random=self.random)
        query = urlencode({"pomerium_session_encrypted": sealed})
        return redirect(f"{goal.origin}{CALLBACK}?{query}", fields)

    def _start_over(self, call: Call, pairs: list[Pair]) -> Answer:
        """Begin a sign-in anew whose cookie has been lost, once; then explain."""
        again = self.trail.start_over(pairs, self.now())
        if again is not None:
            return redirect(*again)
        failed = lost(pairs)
        log_failure(_log, failed, call)
        return self.pages.error(failed, call, again=self.trail.target(pairs))


def log_failure(log: Logger, error: LoginFailed, call: Call) -> None:
    """Note a failed sign-in under the word and the id that its page shows."""
    log.info(
        "sign-in failed at {check}: {reason}",
        check=error.check,
        reason=str(error),
        request_id=call.request_id,
    )
