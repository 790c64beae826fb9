"""Exchanges that have ended, for what counts them."""

from __future__ import annotations

from typing import Any

from pomeriumd.access.routes import Route
from pomeriumd.http.events import Request
from pomeriumd.http.notes import Notes
from pomeriumd.net.exchange import Exchange
from tests.support.settings import route


def ended(at: Route | None = None, *, method: bytes = b"GET", **more: Any) -> Exchange:
    """Return an exchange on a route, or on none, with these attributes."""
    request = Request(method, b"app.example.com", None, b"/", None, [], 0, None)
    nowhere: Any = None
    exchange = Exchange(
        request,
        "r1",
        "203.0.113.9",
        True,
        Notes(),
        0.0,
        nowhere,
        nowhere,
        True,
    )
    exchange.route = at
    for name, value in ({"status": 200} | more).items():
        setattr(exchange, name, value)
    return exchange


def compiled(host: str = "app.example.com", **more: Any) -> Route:
    """Return a route for everybody."""
    return Route.of(route(host, allow_public_unauthenticated_access=True, **more))
