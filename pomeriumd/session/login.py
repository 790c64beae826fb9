"""
A sign-in as the route host sees it: begun here, finished here, by the same browser.

``begin_login`` sets a cookie at the route host and gives the URL at authenticate to go
to; ``finish_login`` takes the hand-off that comes back. The cookie's secret never leaves
the browser and us; what travels is its digest. So a hand-off that was made for somebody
else's login is refused, and nobody can be signed in as another by following a link.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable

import attrs

from pomeriumd.crypto import base64url
from pomeriumd.crypto.keys import SharedKeys
from pomeriumd.errors import BadToken, LoginFailed
from pomeriumd.http.events import Field
from pomeriumd.http.query import parameters
from pomeriumd.session.cookies import CookieShape, Pair, clear, read, write
from pomeriumd.session.handoff import open_handoff
from pomeriumd.session.pending import PendingLogins
from pomeriumd.session.session import Session
from pomeriumd.session.sign_in import SignInRequest, sign_in_url
from pomeriumd.session.target import target, written
from pomeriumd.session.token import encode

LOGIN_COOKIE_MISSING = (
    "The cookie that was set when this sign-in began did not come back. Either it took more"
    " than an hour, or it was begun in another browser, or this browser keeps no cookies"
    " for this address."
)
"""Why a login cannot be finished, in plain sentences."""


AGAIN = "again"
"""Marks a login that takes the place of one whose cookie did not come back. It travels
with the login, not in a cookie: where cookies are lost, it must not be lost with them."""


class LoginCookieMissing(LoginFailed):
    """
    A hand-off is good, but its login's cookie did not come with it.

    Args:
        redirect: where the browser wanted to go: an absolute URL at this very host.
        again: it is the second time: beginning once more would go round in circles.
    """

    def __init__(self, redirect: str, *, again: bool) -> None:
        super().__init__(
            "login cookie is missing at the route host", "login-cookie", LOGIN_COOKIE_MISSING
        )
        self.redirect = redirect
        self.again = again


SESSION_COOKIE_MISSING = (
    "The sign-in worked several times over, but this browser does not send the session's"
    " cookie back to this address, or sends one that is not valid here. If it accepts cookies,"
    " whoever runs this site should look at cookie_domain, cookie_secure and the hosts' clocks."
)
"""Why somebody who has just signed in has no session."""

ROUNDS = 3
"""Sign-ins that may end shortly after one another before the next is refused."""

_COUNT = re.compile(r"([1-9])\.([0-9]{1,12})")
"""What the cookie holds: how many sign-ins, and the second in which the last one ended. Whether it
still counts is not left to the browser alone."""

ROUND_SECONDS = 20
"""From the end of a sign-in to when the next one no longer belongs to a loop."""


@attrs.frozen(kw_only=True)
class LoginSite:
    """
    What a route host needs for sign-ins; the same for all of them, once a generation.

    Args:
        keys: from ``shared_secret``.
        shape: of the session cookie.
        authenticate: origin of authenticate.
    """

    keys: SharedKeys
    shape: CookieShape
    authenticate: str

    def logins(self, audience: str) -> PendingLogins:
        """Return the logins under way at one route host."""
        return PendingLogins(shape=self.shape, keys=self.keys.route_login, audience=audience)

    @property
    def rounds(self) -> CookieShape:
        """Return the shape of the cookie that counts sign-ins, against redirect loops."""
        return self.shape.host_only("rounds")


@attrs.frozen(kw_only=True)
class Finished:
    """A sign-in that came to its end."""

    session: Session
    redirect: str
    """Where the browser wanted to go: an absolute URL at this very host."""
    fields: tuple[Field, ...]
    """Set-Cookie fields: the session, and the login cleared."""


def begin_login(
    site: LoginSite,
    pairs: Iterable[Pair],
    *,
    origin: str,
    path: bytes,
    query: bytes | None,
    session: Session | None,
    now: float,
    random: Callable[[int], bytes],
    again: bool = False,
) -> tuple[str, list[Field]]:
    """
    Begin a sign-in.

    Args:
        site: the keys and names.
        pairs: the cookies that the browser sent.
        origin: of the route host, from the settings.
        path: canonical, to come back to.
        query: as it came.
        session: the one that is to be renewed, if there is one.
        now: seconds since the epoch.
        random: returns that many unpredictable bytes.
        again: it takes the place of one whose cookie did not come back.

    Returns:
        The URL at authenticate to redirect to, and the Set-Cookie fields.

    Raises:
        LoginFailed: a sign-in has just ended here, several times over, and still there is
            no session: the browser would go round for ever.
    """
    pairs = list(pairs)
    if session is None and in_circle(site, pairs, now):
        raise going_round()
    goal = target(written(origin, path, query))
    secret = base64url.encode(random(32))
    login, fields = site.logins(goal.audience).begin(
        pairs, {"secret": secret, "target": goal.url}, now=now, random=random
    )
    request = SignInRequest(
        redirect=goal.url,
        login=f"{login}.{_digest(secret)}" + (f".{AGAIN}" if again else ""),
        seen=0 if session is None else session.seen,
    )
    return sign_in_url(site.keys.signed_url, site.authenticate, request, now), fields


def in_circle(site: LoginSite, pairs: Iterable[Pair], now: float) -> bool:
    """Return whether sign-ins ended here several times over within seconds."""
    return _rounds(site, pairs, now) >= ROUNDS


def going_round() -> LoginFailed:
    """Return what to say where one more sign-in would come to nothing as well."""
    return LoginFailed(
        f"no good session after {ROUNDS} sign-ins in a row",
        "session-cookie",
        SESSION_COOKIE_MISSING,
    )


def finish_login(
    site: LoginSite, pairs: Iterable[Pair], *, audience: str, query: bytes | None, now: float
) -> Finished:
    """
    Finish a sign-in with the hand-off that authenticate sent along.

    Args:
        site: the keys and names.
        pairs: the cookies that the browser sent.
        audience: ``host:port`` of the route host, from the settings.
        query: as it came.
        now: seconds since the epoch.

    Raises:
        LoginFailed: the hand-off is not for this host, or is too old.
        LoginCookieMissing: its login was not begun by this browser.
        BadMessage: a parameter stands twice, or the query cannot be read.
    """
    pairs = list(pairs)
    sealed = parameters(query).get("pomerium_session_encrypted", "")
    try:
        handoff = open_handoff(site.keys.handoff, sealed, audience=audience, now=now)
    except BadToken as bad:
        raise LoginFailed(
            str(bad), "handoff", "The link that ends a sign-in is good for a minute, once."
        ) from bad
    if handoff.session.issuer != site.authenticate:
        raise LoginFailed(
            "hand-off is of another issuer",
            "handoff",
            "It was made by another sign-in service than the one that is configured.",
        )
    login, _, digest = handoff.login.partition(".")
    digest, _, mark = digest.partition(".")
    logins = site.logins(audience)
    begun = logins.find(pairs, login, now=now)
    if begun is None or not hmac.compare_digest(
        _digest(str(begun.get("secret"))).encode(), digest.encode()
    ):
        raise LoginCookieMissing(handoff.redirect, again=mark == AGAIN)
    session = handoff.session
    age = max(int(session.expires - now), 0)
    fields = write(site.shape, encode(session, site.keys.route_session), max_age=age, pairs=pairs)
    count = f"{min(_rounds(site, pairs, now) + 1, 9)}.{int(now)}"
    fields.append(site.rounds.field(site.rounds.full_name, count, ROUND_SECONDS))
    return Finished(
        session=session,
        redirect=str(begun.get("target")),
        fields=(*fields, *logins.clear(pairs, login)),
    )


def forget(site: LoginSite, pairs: Iterable[Pair], *, audience: str) -> list[Field]:
    """Return the Set-Cookie fields of a sign-out: session and logins of this host cleared."""
    pairs = list(pairs)
    logins = site.logins(audience).clear(pairs)
    return clear(pairs, site.shape) + clear(pairs, site.rounds) + logins


def _rounds(site: LoginSite, pairs: Iterable[Pair], now: float) -> int:
    """Return how many sign-ins have just ended here, as far as the browser says."""
    for value in read(pairs, site.rounds):
        found = _COUNT.fullmatch(value)
        if found is not None and abs(now - int(found[2])) < ROUND_SECONDS:
            return int(found[1])
    return 0


def _digest(secret: str) -> str:
    return base64url.encode(hashlib.sha256(b"pomeriumd login\n" + secret.encode()).digest())
