"""The routes of a generation: what takes a request, and the way on from there."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
from twisted.internet.interfaces import IStreamClientEndpoint

from pomeriumd.access.routes import Route
from pomeriumd.daemon.build_clients import Clients
from pomeriumd.net.peer import Peer, TLSPolicy
from pomeriumd.net.upstreams import Connector
from pomeriumd.pieces import Pieces
from pomeriumd.proxy.forward import Way
from pomeriumd.proxy.outbound import Outbound
from pomeriumd.proxy.response_headers import ResponseHeaders
from pomeriumd.settings.model import RouteSettings, Settings

FEW = 16
"""Routes of one piece of the work."""


def peer(route: RouteSettings) -> Peer:
    """Return where a route's connections go, and what is asked of them."""
    if route.to.scheme != "https":
        return Peer(host=route.to.host, port=route.to.port)
    key = route.tls_client_key
    return Peer(
        host=route.to.host,
        port=route.to.port,
        tls=TLSPolicy(
            server_name=route.upstream_name,
            custom_ca=route.tls_custom_ca,
            client_cert=route.tls_client_cert,
            client_key=None if key is None else key.reveal(),
            skip_verify=route.tls_skip_verify,
        ),
    )


@attrs.define(eq=False)
class Ways:
    """What one pass over the routes makes; the mappings are by what their names say."""

    ways: dict[Route, Way] = attrs.Factory(dict)
    """In the order of the file."""
    endpoints: dict[Peer, IStreamClientEndpoint] = attrs.Factory(dict)
    audiences: dict[bytes, str] = attrs.Factory(dict)
    """Canonical host to ``host:port``; of two routes of one host the first says the port."""
    origins: dict[bytes, str] = attrs.Factory(dict)


def building_ways(
    settings: Settings,
    issuer: str | None,
    connector: Connector,
    headers: ResponseHeaders,
    reached: Mapping[Peer, IStreamClientEndpoint],
    clients: Clients | None = None,
) -> Pieces[Ways]:
    """
    Build the ways of all routes that this process serves.

    Args:
        settings: checked already.
        issuer: the provider whose identities count, as for ``compile_policy``.
        connector: makes the endpoints that reach upstreams.
        headers: that answers carry.
        reached: the endpoints there are: what has not changed is taken over.
        clients: says what each route wants of clients' certificates.

    Raises:
        SettingsError: an upstream cannot be reached as the settings say, with its place.
    """
    made = Ways()
    if not settings.runs("proxy"):
        return made
    forever = float("inf")
    for count, route in enumerate(settings.routes):
        if not count % FEW:
            yield
        there = peer(route)
        endpoint = made.endpoints.get(there) or reached.get(there)
        if endpoint is None:
            endpoint = connector(there, route.place)
            if there.tls is not None:
                yield  # a context may have been made for it
        made.endpoints[there] = endpoint
        timeout = settings.default_upstream_timeout if route.timeout is None else route.timeout
        made.ways[Route.of(route, issuer)] = Way(
            outbound=Outbound(
                route,
                headers.pairs(route.from_.host),
                settings.cookie_name,
                headers.drops(route.from_.host),
            ),
            client=None if clients is None else clients.wanted(route, settings.asked_at(route)),
            peer=there,
            endpoint=endpoint,
            timeout=timeout or forever,
            stall=settings.timeout_idle,
        )
        host = route.from_.host.encode("ascii")
        made.audiences.setdefault(host, route.from_.audience)
        made.origins.setdefault(host, route.from_.text)
    return made
