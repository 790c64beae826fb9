"""
Authenticate: every page at the host of ``authenticate_service_url``.

It knows a provider, a clock and chance only as what it was given, and no transport.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import attrs
import orjson
from twisted.logger import Logger

from pomeriumd.answers.answer import Answer
from pomeriumd.answers.call import Call
from pomeriumd.answers.pages import Pages
from pomeriumd.answers.policy import INTERCEPTED, NO_STORE, NOSNIFF
from pomeriumd.authenticate.own_sessions import OwnSessions
from pomeriumd.authenticate.provider import Provider
from pomeriumd.authenticate.redirects import redirect
from pomeriumd.authenticate.renewal import Renewals
from pomeriumd.authenticate.sign_in import SignIns, log_failure
from pomeriumd.authenticate.sign_out import SignOuts
from pomeriumd.authenticate.site import HOME, SIGNED_OUT, AuthenticateSite, Goals
from pomeriumd.authenticate.trail import Trail
from pomeriumd.crypto.keys import OwnKeys, SharedKeys
from pomeriumd.errors import (
    LoginFailed,
    MethodNotAllowed,
    NoRoute,
    PomeriumError,
    Side,
    Unauthenticated,
)
from pomeriumd.http.cookies import cookies
from pomeriumd.session.pending import PendingLogins
from pomeriumd.session.sign_in import SIGN_IN, SIGN_OUT
from pomeriumd.session.standing import Standing

__all__ = ["Authenticate", "AuthenticateSite"]

WELL_KNOWN = "/.well-known/pomerium"

_log = Logger()
"""Not a class's: an event holds who logged it, and may be kept for long."""

Page = Callable[["Authenticate", Call], Awaitable[Answer]]

_GET: tuple[bytes, ...] = (b"GET",)
_READ: tuple[bytes, ...] = (b"GET", b"HEAD")
_FORM: tuple[bytes, ...] = (b"GET", b"HEAD", b"POST")


@attrs.define(kw_only=True, eq=False, repr=False)
class Authenticate:
    """
    Answers requests to authenticate; built once a generation.

    Args:
        site: names, places and limits.
        shared_keys: from ``shared_secret``.
        own_keys: from ``cookie_secret``.
        provider: the identity provider.
        renewals: at that provider; they outlive a generation, as a refresh token's use does.
        pages: what people see.
        now: seconds since the epoch.
        random: returns that many unpredictable bytes.
        origin_known: says whether a route has this scheme, host and port.
        forget: is told the id of each session that is signed out.
    """

    _site: AuthenticateSite
    _shared_keys: SharedKeys
    _own_keys: OwnKeys
    _provider: Provider
    _renewals: Renewals
    _pages: Pages
    _now: Callable[[], float]
    _random: Callable[[int], bytes]
    _origin_known: Callable[[str, str, int], bool]
    _forget: Callable[[str], None]
    _sessions: OwnSessions = attrs.field(init=False)
    _sign_outs: SignOuts = attrs.field(init=False)
    _by_path: Mapping[bytes, tuple[tuple[bytes, ...], Page]] = attrs.field(init=False)
    """None of them knows this object: a generation has to go without the collector's help."""

    def __attrs_post_init__(self) -> None:
        site, own = self._site, self._own_keys
        goals = Goals(self._origin_known)
        logins = PendingLogins(shape=site.shape, keys=own.login, audience=site.audience)
        trail = Trail(site=site, keys=own.login, goals=goals, random=self._random)
        self._sessions = OwnSessions(
            site=site, keys=own.session, issuer=self._provider.issuer, random=self._random
        )
        sign_ins = SignIns(
            site=site,
            keys=self._shared_keys,
            logins=logins,
            trail=trail,
            sessions=self._sessions,
            renewals=self._renewals,
            provider=self._provider,
            pages=self._pages,
            goals=goals,
            now=self._now,
            random=self._random,
        )
        self._sign_outs = sign_outs = SignOuts(
            site=site,
            shared=self._shared_keys,
            own=own,
            logins=logins,
            trail=trail,
            sessions=self._sessions,
            provider=self._provider,
            pages=self._pages,
            goals=goals,
            now=self._now,
            random=self._random,
            forget=self._forget,
        )
        self._by_path = {
            SIGN_IN.encode("ascii"): (_READ, lambda _, call: sign_ins.sign_in(call)),
            # Not HEAD: a code is good once, and a browser never asks so.
            site.callback_path.encode("ascii"): (_GET, lambda _, call: sign_ins.callback(call)),
            SIGN_OUT.encode("ascii"): (_FORM, lambda _, call: sign_outs.sign_out(call)),
            SIGNED_OUT.encode("ascii"): (_READ, lambda _, call: sign_outs.signed_out(call)),
            HOME.encode("ascii"): (_READ, Authenticate._who),
            HOME.rstrip("/").encode("ascii"): (_READ, Authenticate._home),
            WELL_KNOWN.encode("ascii"): (_READ, Authenticate._well_known),
            f"{WELL_KNOWN}/".encode("ascii"): (_READ, Authenticate._well_known),
        }

    async def answer(self, call: Call) -> Answer:
        """Return the answer to a request; a failure of ours or of theirs is a page, too."""
        try:
            if call.request.path not in self._by_path:
                raise NoRoute("no page of authenticate at this path")
            methods, page = self._by_path[call.request.path]
            if call.request.method not in methods:
                raise MethodNotAllowed(
                    "page of authenticate does not take this method",
                    b", ".join(methods).decode("ascii"),
                )
            return await page(self, call)
        except PomeriumError as error:
            self._note(error, call)
            allow = error.allow if isinstance(error, MethodNotAllowed) else None
            return self._pages.error(error, call, allow=allow)

    async def _who(self, call: Call) -> Answer:
        now = self._now()
        own = self._sessions.find(cookies(call.request.fields))
        if own is None or self._sessions.standing(own, now) is Standing.ENDED:
            raise Unauthenticated("no session at authenticate")
        return self._pages.who(
            call,
            self._sessions.at(own, self._site.audience),
            csrf=self._sign_outs.token(own),
            limits=self._site.limits,
            now=now,
        )

    async def _home(self, call: Call) -> Answer:
        return redirect(HOME)

    async def _well_known(self, call: Call) -> Answer:
        body = {
            "issuer": self._site.origin,
            "authentication_callback_endpoint": self._site.redirect_uri,
            "jwks_uri": f"{self._site.origin}{WELL_KNOWN}/jwks.json",
        }
        kind = (b"content-type", b"application/json")
        return Answer(200, (kind, NO_STORE, NOSNIFF, INTERCEPTED), orjson.dumps(body))

    def _note(self, error: PomeriumError, call: Call) -> None:
        """Write the line that whoever is told the request id will look for."""
        if isinstance(error, LoginFailed):
            log_failure(_log, error, call)
        elif error.side is Side.PROVIDER:
            _log.warn("provider: {reason}", reason=str(error), request_id=call.request_id)
        else:
            _log.info(
                "authenticate refused: {reason}", reason=str(error), request_id=call.request_id
            )
