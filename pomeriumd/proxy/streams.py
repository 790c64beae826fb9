"""
Exchanges that last are decided again: WebSockets, event streams, long downloads and uploads.

Whoever has one open was let in by the rules of that moment. It goes on for as long as its
request would be let through if it came now: a route takes it, its session is believed, the
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

Source: design, section 4.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import assert_never

import attrs

from pomeriumd.access import decision as why
from pomeriumd.access.decision import Allow, Deny, SignIn, explain
from pomeriumd.access.routes import Route
from pomeriumd.errors import BadMessage, StreamEnded
from pomeriumd.net.exchange import Exchange
from pomeriumd.proxy.generation import Generation
from pomeriumd.session.known import Known
from pomeriumd.session.session import Session
from pomeriumd.session.standing import Standing, standing

ADMITTED = ("allow", "public")
"""Decisions under which an exchange has been given to its upstream."""


@attrs.frozen
class GoesOn:
    """A stream may go on."""

    route: Route
    """Its route as the generation in force has it."""


def judge(
    exchange: Exchange,
    here: Generation,
    now: float,
    freshest: Mapping[str, Session],
    signed_out: Container[str] = (),
) -> GoesOn | StreamEnded:
    """
    Say whether a stream may go on.

    Args:
        exchange: one that was admitted and is not over.
        here: the generation in force.
        now: seconds since the epoch.
        freshest: by its id, the session that was confirmed last.
        signed_out: ids of sessions that are over whatever they say.

    Raises:
        Exception: the authorizer did not decide; then nobody may go on.
    """
    route = _route(exchange, here)
    if route is None:
        return _ended(why.ROUTE_GONE)
    believed = _believed(exchange, here, now, freshest, signed_out)
    known = believed if isinstance(believed, Known) else None
    decision = here.authorizer.decide(route, known)
    match decision:
        case Allow():
            pass
        case SignIn():
            return _ended(*([believed] if isinstance(believed, str) else decision.reasons))
        case Deny():
            return _ended(*decision.reasons)
        case _:
            # A decision that has to be fetched is no matter for this place, and what is no
            # decision lets nobody go on.
            raise TypeError("want a decision at once")
    if exchange.request.upgrade is not None and not route.settings.allow_websockets:
        return _ended(why.WEBSOCKETS_OFF)
    return GoesOn(route)


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
            return attrs.evolve(known, session=session)
        case Standing.STALE:
            return why.SESSION_UNCONFIRMED
        case Standing.ENDED:
            return why.SESSION_ENDED
        case other_standing:
            assert_never(other_standing)


def _ended(*reasons: str) -> StreamEnded:
    return StreamEnded(" ".join(explain(reasons)), reasons)
