"""
The way of a request, in one function to be read from top to bottom.

Every route passes every step: a public route differs in its data (its policy allows all),
not in its path. The route found here is handed on and never looked up again. Every failure
is one of our errors, and one place (``replies``) turns it into an answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

import attrs

from pomeriumd.access.decision import Allow, Deny, SignIn, explain
from pomeriumd.answers.call import Call
from pomeriumd.errors import (
    Denied,
    NoRoute,
    Unauthenticated,
)
from pomeriumd.http.negotiate import is_navigation
from pomeriumd.net.exchange import Exchange, SmallBody
from pomeriumd.net.upstreams import Upstreams
from pomeriumd.proxy.client_certificates import presented
from pomeriumd.proxy.elsewhere import DECIDED, decided_elsewhere
from pomeriumd.proxy.forward import Forward
from pomeriumd.proxy.generation import Generation
from pomeriumd.proxy.outbound import NO_FIELDS
from pomeriumd.proxy.running import run
from pomeriumd.session.standing import Standing


@attrs.frozen(kw_only=True)
class Edge:
    """What the way of a request needs of the world outside."""

    upstreams: Upstreams
    now: Callable[[], float]
    """Seconds since the epoch."""
    clock: Callable[[], float]
    """Seconds, for durations."""


RENEWED = (Standing.RECHECK, Standing.STALE)
"""A page view with a session that stands so goes through authenticate first."""


async def serve(exchange: Exchange, here: Generation, edge: Edge) -> None:
    """
    Answer one request, under one generation.

    Raises:
        PomeriumError: whatever keeps the request from its upstream.
    """
    request, notes = exchange.request, exchange.notes
    came = here.trusted.came(exchange.client, request.fields, secure=exchange.secure)
    exchange.client = came.client

    # Pages of our own. A request for one of them never reaches an upstream.
    if request.host == here.authenticate_host or here.own.takes(request):
        await _own_page(exchange, here)
        return

    # The route, found once. Rules and upstream see this request's path and no other.
    route = here.routes.find(request.host, request.path)
    if route is None:
        raise NoRoute("no route for this host and path")
    exchange.route = route

    # The client's certificate, by the rule of this very route; the name that the connection was
    # opened under chooses nothing.
    way, began, now = here.ways[route], edge.clock(), edge.now()
    certificate = presented(exchange, way.client, now)

    # The session. A cookie or header that does not verify is none.
    known, standing = here.sessions.find(request, now, notes) or (None, None)
    session = known.session if known is not None else None
    exchange.user = session.identity.shown if session is not None else ""
    exchange.known = known

    # Before the decision, since what the provider says now may differ from what it said.
    if standing in RENEWED and not route.policy.public and is_navigation(request):
        renewal = here.logins.renew(request, now, session, must=standing is Standing.STALE)
        if renewal is not None:
            exchange.decision = "recheck"
            here.replies.give(exchange, renewal)
            return
    if standing is Standing.STALE:
        known = session = None

    # The decision, by the policy of this very route.
    decision = here.authorizer.decide(route, known, certificate)
    if not isinstance(decision, DECIDED):
        decision = await decided_elsewhere(exchange, decision, began, edge.clock)
    exchange.decided = edge.clock() - began
    exchange.reasons = decision.reasons
    match decision:
        case Allow():
            exchange.decision = "public" if route.policy.public else "allow"
        case SignIn() if is_navigation(request):
            exchange.decision = "sign-in"
            here.replies.give(exchange, here.logins.begin(request, now, session))
            return
        case SignIn():
            exchange.decision = "sign-in"
            raise Unauthenticated("no session, and no navigation that could get one")
        case Deny():
            exchange.decision = "deny"
            raise Denied("the route's policy says no", explain(decision.reasons))
        case _:
            assert_never(decision)  # what is no decision of ours lets nobody through
    if request.upgrade is not None and not route.settings.allow_websockets:
        exchange.reasons = ("websockets-off",)
        raise Denied("websockets are off for this route", explain(exchange.reasons))

    # The head for the upstream. Forged identity and forwarded fields come off here, for
    # every route and under every spelling, in the same pass that adds ours.
    identity = (
        here.identity.lines(session, route.settings.from_.host, now)
        if session is not None and route.settings.pass_identity_headers
        else NO_FIELDS
    )
    target, fields = way.outbound.head(
        request,
        notes,
        client=came.chain,
        scheme=b"https" if came.https else b"http",
        request_id=exchange.id,
        identity=identity,
        certificate=certificate,
    )

    # The upstream, and both bodies.
    await Forward(
        exchange,
        way,
        edge.upstreams,
        target,
        fields,
        here.sessions.touched(known, now) if known is not None else (),
        edge.clock,
        here.replies.fail,
    ).send()


def begin(exchange: Exchange, here: Generation, edge: Edge) -> None:
    """Serve the exchange, and answer with the error if that fails."""
    run(serve(exchange, here, edge), exchange, here.replies.fail)


async def _own_page(exchange: Exchange, here: Generation) -> None:
    request = exchange.request
    exchange.decision = "own"
    body = b""
    if request.length != 0:
        body = await SmallBody(exchange, here.small_body).read()
    call = Call(request=request, request_id=exchange.id, body=body, client=exchange.client)
    if request.host != here.authenticate_host or here.own.everywhere(request):
        here.replies.give(exchange, here.own.answer(call))
        return
    answer = await here.authenticate(call)
    if not exchange.over:
        here.replies.give(exchange, answer)
