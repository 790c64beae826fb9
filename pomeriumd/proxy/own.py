"""
The pages of our own on route hosts: who am I, sign in and out, health, keys.

They are ours on every host; an application can never receive a request for them. Each is
judged by its exact path: nothing is decided on a substring of a URL (CVE-2023-33189).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from typing import ClassVar

import attrs

import pomeriumd
from pomeriumd.access.assertion import KEYS_KEPT, IdentityHeaders
from pomeriumd.answers.answer import Answer
from pomeriumd.answers.call import Call
from pomeriumd.answers.pages import CSRF_FIELD, ICON, STYLESHEET, Pages
from pomeriumd.crypto.keys import KeyRing
from pomeriumd.errors import BadToken, MethodNotAllowed, NoRoute, Problem, Unauthenticated
from pomeriumd.http.cookies import cookies
from pomeriumd.http.events import Request
from pomeriumd.http.negotiate import is_navigation
from pomeriumd.http.query import parameters
from pomeriumd.proxy.client_address import TrustedProxies
from pomeriumd.proxy.logins import Logins, redirect
from pomeriumd.proxy.sessions import Sessions
from pomeriumd.session.csrf import csrf_token, csrf_valid
from pomeriumd.session.login import LoginCookieMissing, finish_login, forget
from pomeriumd.session.session import Session
from pomeriumd.session.sign_in import sign_out_url
from pomeriumd.session.target import target

SIGN_OUT_ACTION = "sign out"

EVERYWHERE = frozenset(
    {
        b"/ping",
        b"/healthz",
        b"/robots.txt",
        STYLESHEET.encode("ascii"),
        ICON.encode("ascii"),
        b"/.well-known/pomerium/jwks.json",
    }
)
"""Paths that answer alike on every host, that of authenticate with them."""

OURS = b"/.pomerium/"
"""What begins so is ours on every route host."""

READ = (b"GET", b"HEAD")

RUNNING = f"pomeriumd/{pomeriumd.__version__}\n"

NO_ROBOTS = "User-agent: *\nDisallow: /\n"

Page = Callable[["OwnPages", Call], Answer]


@attrs.frozen(kw_only=True, eq=False)
class OwnPages:
    """
    Answers the paths that are ours.

    Args:
        csrf_keys: of the forms on route hosts.
        recheck_minutes: how long another host may go on after a sign-out.
        trusted: proxies in front, who may know more of our health than a stranger.
        problems: says what is wrong at this moment.
        now: seconds since the epoch.
    """

    logins: Logins
    sessions: Sessions
    identity: IdentityHeaders
    pages: Pages
    csrf_keys: KeyRing = attrs.field(repr=False)
    recheck_minutes: int
    trusted: TrustedProxies
    problems: Callable[[], Sequence[Problem]] = tuple
    now: Callable[[], float]

    def everywhere(self, request: Request) -> bool:
        """Say whether the request is for a page that is the same on every host."""
        return request.path in EVERYWHERE

    def takes(self, request: Request) -> bool:
        """Say whether the request is for us on a route host."""
        path = request.path
        return path.startswith(OURS) or path in self.BY_PATH

    def answer(self, call: Call) -> Answer:
        """
        Return the page.

        Raises:
            ClientError: there is no such page, or not for this request.
        """
        request = call.request
        if request.path not in self.BY_PATH:
            raise NoRoute("no page of ours at this path")
        if not (self.everywhere(request) or request.host in self.logins.origins):
            raise NoRoute("no page of ours at this host")
        methods, page = self.BY_PATH[request.path]
        if request.method not in methods:
            allow = b", ".join(methods).decode("ascii")
            raise MethodNotAllowed("page of ours does not take this method", allow)
        return page(self, call)

    def _health(self, call: Call) -> Answer:
        """
        Say that this process serves; to insiders also what is wrong, and what to change.

        Strangers are not told which hosts there are behind us.
        """
        asked = parameters(call.request.query).get("verbose") is not None
        if not asked or not self._is_insider(call.client):
            return self.pages.plain(200, "OK")
        problems = [f"- {problem}" for problem in self.problems()]
        return self.pages.plain(200, "\n".join(["OK", *(problems or ["nothing is wrong"]), ""]))

    def _is_insider(self, client: str) -> bool:
        try:
            return ip_address(client).is_loopback or self.trusted.trusts(client)
        except ValueError:
            return False

    def _jwks(self, call: Call) -> Answer:
        fields = (
            (b"content-type", b"application/json"),
            (b"cache-control", b"public, max-age=%d" % KEYS_KEPT),
            (b"access-control-allow-origin", b"*"),
        )
        return Answer(200, fields, self.identity.jwks())

    def _session(self, call: Call) -> Session | None:
        """Return the session; a stale one too: its owner may see it, and end it."""
        found = self.sessions.find(call.request, self.now())
        return None if found is None else found[0].session

    def _who(self, call: Call) -> Answer:
        session = self._session(call)
        if session is None:
            if is_navigation(call.request):
                return self.logins.begin(call.request, self.now())
            raise Unauthenticated("no session")
        return self.pages.who(
            call,
            session,
            csrf=self._token(session),
            limits=self.sessions.limits,
            now=self.now(),
        )

    def _sign_in(self, call: Call) -> Answer:
        """Begin a sign-in for a script's window; it ends at the same host, nowhere else."""
        wanted = parameters(call.request.query).get("pomerium_redirect_uri")
        return self._begin_at(call, "" if wanted is None else wanted)

    def _begin_at(self, call: Call, url: str, *, again: bool = False) -> Answer:
        """Begin a sign-in that comes back to a URL, if that is at this very host."""
        path, query = b"/", None
        if url:
            goal = target(url)
            if goal.origin == self.logins.origins[call.request.host]:
                rest, mark, tail = goal.rest.encode("ascii").partition(b"?")
                path, query = rest, tail if mark else None
        return self.logins.begin_for(call.request, path, query, self.now(), again=again)

    def _sign_out(self, call: Call) -> Answer:
        """Show the button on GET; act on POST alone, and only with the session's own token."""
        request, session = call.request, self._session(call)
        if request.method in READ:
            csrf = "" if session is None else self._token(session)
            who = None if session is None else session.identity.shown
            return self.pages.sign_out(
                call, csrf=csrf, who=who, recheck_minutes=self.recheck_minutes
            )
        if session is not None and not self._is_form_of(session, call):
            raise BadToken("sign-out form without the token of its session")
        site, host = self.logins.site, request.host
        audience = self.sessions.audiences[host]
        cleared = tuple(forget(site, cookies(request.fields), audience=audience))
        if session is None:
            page = self.pages.signed_out(
                call,
                recheck_minutes=self.recheck_minutes,
                provider_logout=False,
                home=self.logins.origins[host] + "/",
            )
            return attrs.evolve(page, fields=(*page.fields, *cleared))
        self.sessions.forget(session)
        onward = self.pages.onward(
            call,
            sign_out_url(
                site.keys.signed_url,
                site.authenticate,
                session_id=session.id,
                redirect=self.logins.origins[host] + "/",
                now=self.now(),
            ),
        )
        return attrs.evolve(onward, fields=(*onward.fields, *cleared))

    def _callback(self, call: Call) -> Answer:
        """Finish a sign-in; one whose cookie is missing begins anew, once."""
        request = call.request
        try:
            finished = finish_login(
                self.logins.site,
                cookies(request.fields),
                audience=self.sessions.audiences[request.host],
                query=request.query,
                now=self.now(),
            )
        except LoginCookieMissing as missing:
            if self._session(call) is not None:
                # Another tab was faster, and its login has cleared this one's cookie.
                return redirect(self._at_home(request, missing.redirect))
            if missing.again:
                raise
            return self._begin_at(call, missing.redirect, again=True)
        # It was under our seal; every redirect asks all the same (abuse case R2).
        return redirect(self._at_home(request, finished.redirect), finished.fields)

    def _at_home(self, request: Request, url: str) -> str:
        """Return the URL if it is at this very host, and the host's root otherwise."""
        home = self.logins.origins[request.host]
        return url if target(url).origin == home else f"{home}/"

    def _token(self, session: Session) -> str:
        return csrf_token(
            self.csrf_keys,
            session_id=session.id,
            audience=session.audience,
            action=SIGN_OUT_ACTION,
        )

    def _is_form_of(self, session: Session, call: Call) -> bool:
        given = parameters(call.body).get(CSRF_FIELD, "")
        return csrf_valid(
            self.csrf_keys,
            given,
            session_id=session.id,
            audience=session.audience,
            action=SIGN_OUT_ACTION,
        )

    BY_PATH: ClassVar[Mapping[bytes, tuple[tuple[bytes, ...], Page]]] = {
        b"/ping": (
            READ,
            lambda own, _: own.pages.plain(200, f"pomeriumd/{pomeriumd.__version__}\n"),
        ),
        b"/healthz": (READ, _health),
        b"/robots.txt": (READ, lambda own, _: own.pages.plain(200, NO_ROBOTS)),
        STYLESHEET.encode("ascii"): (READ, lambda own, call: own.pages.stylesheet(call)),
        ICON.encode("ascii"): (READ, lambda own, call: own.pages.icon(call)),
        b"/.well-known/pomerium/jwks.json": (READ, _jwks),
        b"/.pomerium": (READ, lambda *_: redirect("/.pomerium/")),
        b"/.pomerium/": (READ, _who),
        b"/.pomerium/sign_in": (READ, _sign_in),
        b"/.pomerium/sign_out": ((*READ, b"POST"), _sign_out),
        b"/.pomerium/callback/": ((b"GET",), _callback),
    }
    """Every page: its methods, and what answers. The object has none of it, or it would know
    itself and never go without the collector's help."""
