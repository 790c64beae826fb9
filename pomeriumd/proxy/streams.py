"""
Exchanges that last are decided again: WebSockets, event streams, long downloads and uploads.

Whoever has one open was let in by the rules of that moment. It goes on for as long as its
request would be let through if it came now: a route takes it, its client's certificate is what
the route wants (a list of revoked ones may have come since), its session is believed, the
route's policy admits that person, and the route lets WebSockets through if it is one. With
two differences:

- An open stream is use: ``session_idle`` does not end it, whenever its last request was.
- A stream can bring no new cookie. So of its session (the id that one sign-in gives at every
  host) the freshest counts that this process knows: a page view in another tab renews it.

The route has to be the one that took the request then: the same ``from`` and the same
matcher, whatever else of it has changed. Where a request would be another route's now, other
rules are meant for it, and the stream is cut. That ``to`` leads elsewhere cuts no stream:
whoever moves an application wants new requests at the new place, and takes the old one away,
streams and all, when the time has come. The same holds for header fields, timeouts and the
upstream's TLS.

Where decisions are made elsewhere, the answer may have to be waited for, or not be had. A
stream that nobody can decide again goes on for a while by its last decision (``undecided``).

Source: design, section 4.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import assert_never

import attrs

from pomeriumd.access import decision as why
from pomeriumd.access.client_certificate import ClientCertificate
from pomeriumd.access.decision import Allow, Decision, Deny, SignIn, explain
from pomeriumd.access.routes import Route
from pomeriumd.errors import BadMessage, StreamEnded
from pomeriumd.net.exchange import Exchange
from pomeriumd.proxy.client_certificates import refusal
from pomeriumd.proxy.generation import Generation
from pomeriumd.session.known import Known
from pomeriumd.session.session import Session
from pomeriumd.session.standing import Standing, standing

ADMITTED = ("allow", "public")
"""Decisions under which an exchange has been given to its upstream."""


@attrs.frozen
class Claim:
    """What a stream is decided by: an authorizer has to be asked about it."""

    route: Route
    """Its route as the generation in force has it."""
    known: Known | None
    """A session that counts, as one of its host."""
    certificate: ClientCertificate | None = None
    """The one that its connection began with, if it still counts."""
    lost: str = ""
    """Why the session that let it in counts no more; empty if it does, or if there was none.
    Only who lets in everybody lets it go on."""


def claim(
    exchange: Exchange,
    here: Generation,
    now: float,
    freshest: Mapping[str, Session],
    signed_out: Container[str] = (),
) -> Claim | StreamEnded:
    """
    Say what a stream is decided by; or that nobody need be asked, since it has ended.

    Args:
        exchange: one that was admitted and is not over.
        here: the generation in force.
        now: seconds since the epoch.
        freshest: by its id, the session that was confirmed last.
        signed_out: ids of sessions that are over whatever they say.
    """
    route = _route(exchange, here)
    if route is None:
        return _ended(why.ROUTE_GONE)
    certificate, reasons = refusal(here.ways[route].client, exchange.shown, now)
    if reasons:
        return _ended(*reasons)
    believed = _believed(exchange, here, now, freshest, signed_out)
    if isinstance(believed, str):
        return Claim(route, None, certificate, believed)
    return Claim(route, believed, certificate)


def judge(exchange: Exchange, claimed: Claim, decision: Decision) -> StreamEnded | None:
    """
    Say how a stream has ended by what was decided; None lets it go on.

    Raises:
        TypeError: that is no decision; nobody may go on by it.
    """
    match decision:
        case Allow():
            pass
        case SignIn():
            return _ended(*([claimed.lost] if claimed.lost else decision.reasons))
        case Deny():
            return _ended(*decision.reasons)
        case _:
            raise TypeError("what was decided is no decision of ours")
    if exchange.request.upgrade is not None and not claimed.route.settings.allow_websockets:
        return _ended(why.WEBSOCKETS_OFF)
    return None


def undecided(claimed: Claim, since: float, patience: float) -> StreamEnded | None:
    """
    Say how a stream has ended that nobody can decide again for now; None lets it go on.

    An outage of whoever decides must not cut everybody at once, or all come back at once. So
    the last decision counts a while longer; but only for who was let in by what still counts.

    Args:
        claimed: what it would have been decided by.
        since: seconds from when it was decided last until it has been tried again.
        patience: seconds that this may be.
    """
    if not claimed.lost and since <= patience:
        return None
    return _ended(claimed.lost or why.UNDECIDED)


def _route(exchange: Exchange, here: Generation) -> Route | None:
    """Return the present form of the route that took the request; None if it would not now."""
    request, before = exchange.request, exchange.route
    try:
        route = here.routes.find(request.host, request.path)
    except BadMessage:
        return None
    return route if route is not None and before is not None and route.id == before.id else None


def _believed(
    exchange: Exchange,
    here: Generation,
    now: float,
    freshest: Mapping[str, Session],
    signed_out: Container[str],
) -> Known | str | None:
    """Return the session to decide by; or the word for why it is none; None if none was there."""
    known = exchange.known
    if known is None:
        return None
    if known.session.id in signed_out:
        return why.SIGNED_OUT
    again = here.sessions.again(known, exchange.request.host, now)
    session, other = None if again is None else again.session, freshest.get(known.session.id)
    if session is None or (other is not None and other.checked > session.checked):
        session = other
    if session is None:
        return why.SESSION_ENDED
    match standing(session, now, here.sessions.limits, in_use=True):
        case Standing.FRESH | Standing.RECHECK:
            return here.sessions.in_use(again or known, session, exchange.request.host, now)
        case Standing.STALE:
            return why.SESSION_UNCONFIRMED
        case Standing.ENDED:
            return why.SESSION_ENDED
        case other_standing:
            assert_never(other_standing)


def _ended(*reasons: str) -> StreamEnded:
    return StreamEnded(" ".join(explain(reasons)), reasons)
