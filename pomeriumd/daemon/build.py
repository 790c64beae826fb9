"""
From settings to a generation: everything is built here, once, before it serves.

What fails, fails as a problem with its place, and the generation before it serves on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IAgent

from pomeriumd.access.assertion import IdentityHeaders
from pomeriumd.access.authorizer import LocalAuthorizer
from pomeriumd.access.routes import Route, RouteTable
from pomeriumd.answers.pages import Pages
from pomeriumd.authenticate.service import Authenticate, AuthenticateSite
from pomeriumd.crypto.keys import OwnKeys, SharedKeys
from pomeriumd.crypto.signing import SigningKey
from pomeriumd.errors import Problem, SettingsError
from pomeriumd.http.limits import Limits
from pomeriumd.net.peer import Peer, TLSPolicy
from pomeriumd.net.server import Times
from pomeriumd.oidc.provider import OIDCProvider
from pomeriumd.proxy.client_address import TrustedProxies
from pomeriumd.proxy.forward import Way
from pomeriumd.proxy.generation import Generation
from pomeriumd.proxy.logins import Logins
from pomeriumd.proxy.outbound import Outbound
from pomeriumd.proxy.own import OwnPages
from pomeriumd.proxy.sessions import Sessions
from pomeriumd.session.cookies import CookieShape
from pomeriumd.session.login import LoginSite
from pomeriumd.session.standing import SessionLimits
from pomeriumd.settings.model import RouteSettings, Settings


@attrs.frozen(kw_only=True)
class World:
    """What a generation needs from outside, the same for all of them."""

    agent: IAgent
    """Reaches the identity provider."""
    clock: IReactorTime
    now: Callable[[], float]
    """Seconds since the epoch."""
    random: Callable[[int], bytes]
    """Unpredictable bytes."""


def build(settings: Settings, shared_secret: bytes, world: World, limits: Limits) -> Generation:
    """
    Build a generation.

    Args:
        settings: checked already.
        shared_secret: from the settings, or the one that was kept.
        world: see there.
        limits: of the connections that it will serve.

    Raises:
        SettingsError: something that only building finds, with its place.
    """
    shared = SharedKeys.derived([shared_secret])
    shape = CookieShape(
        name=settings.cookie_name,
        domain=settings.cookie_domain,
        secure=settings.cookie_secure,
        http_only=settings.cookie_http_only,
        same_site=settings.cookie_same_site.capitalize(),
    )
    session_limits = SessionLimits(
        expire=settings.cookie_expire,
        idle=settings.session_idle,
        recheck=settings.session_recheck,
        recheck_max=settings.session_recheck_max,
    )
    provider = _provider(settings, world)
    routes = RouteTable(Route.of(route, provider.identity_issuer) for route in settings.routes)
    origins = {r.from_.host.encode("ascii"): r.from_ for r in reversed(settings.routes)}
    authenticate_origin = settings.authenticate_service_url.text
    pages = Pages()
    identity = IdentityHeaders(_signing_key(settings, shared_secret))
    sessions = Sessions(
        keys=shared.route_session,
        issuer=authenticate_origin,
        shape=shape,
        limits=session_limits,
        audiences={host: origin.audience for host, origin in origins.items()},
    )
    logins = Logins(
        site=LoginSite(keys=shared, shape=shape, authenticate=authenticate_origin),
        origins={host: origin.text for host, origin in origins.items()},
        random=world.random,
    )
    authenticate = Authenticate(
        site=AuthenticateSite(
            origin=authenticate_origin,
            callback_path=settings.authenticate_callback_path,
            shape=shape,
            limits=session_limits,
            groups_named=frozenset(g for r in settings.routes for g in r.allowed_groups),
        ),
        shared_keys=shared,
        own_keys=OwnKeys.derived([settings.cookie_secret.reveal()]),
        provider=provider,
        pages=pages,
        now=world.now,
        random=world.random,
        origin_known=routes.origin_known,
    )
    return Generation(
        routes=routes,
        ways=_ways(settings, routes),
        authorizer=LocalAuthorizer(),
        sessions=sessions,
        logins=logins,
        identity=identity,
        pages=pages,
        own=OwnPages(
            logins=logins,
            sessions=sessions,
            identity=identity,
            pages=pages,
            csrf_keys=shared.csrf,
            recheck_minutes=round(settings.session_recheck_max / 60),
            now=world.now,
        ),
        trusted=TrustedProxies(settings.trusted_proxies),
        headers=tuple((n.lower().encode(), v.encode()) for n, v in settings.headers),
        authenticate=authenticate.answer,
        authenticate_host=settings.authenticate_service_url.host.encode("ascii"),
        small_body=limits.small_body,
    )


def times(settings: Settings) -> Times:
    """Return what the settings allow the phases of a connection; 0 is without end."""
    forever = float("inf")
    return Times(
        head=settings.timeout_read_header,
        body=settings.timeout_read or forever,
        write=settings.timeout_write or settings.timeout_idle,
        idle=settings.timeout_idle,
    )


def peer(route: RouteSettings) -> Peer:
    """Return where a route's connections go, and what is asked of them."""
    if route.to.scheme != "https":
        return Peer(host=route.to.host, port=route.to.port)
    key = route.tls_client_key
    return Peer(
        host=route.to.host,
        port=route.to.port,
        tls=TLSPolicy(
            server_name=route.tls_server_name or route.to.host,
            custom_ca=route.tls_custom_ca,
            client_cert=route.tls_client_cert,
            client_key=None if key is None else key.reveal(),
            skip_verify=route.tls_skip_verify,
        ),
    )


def _ways(settings: Settings, routes: RouteTable) -> Mapping[Route, Way]:
    forever = float("inf")
    ways = {}
    for route in routes.routes:
        own = route.settings.timeout
        timeout = settings.default_upstream_timeout if own is None else own
        ways[route] = Way(
            outbound=Outbound(route.settings, settings),
            peer=peer(route.settings),
            timeout=timeout or forever,
            stall=settings.timeout_idle,
        )
    return ways


def _provider(settings: Settings, world: World) -> OIDCProvider:
    return OIDCProvider(
        kind=settings.idp_provider,
        issuer=settings.idp_provider_url,
        client_id=settings.idp_client_id,
        client_secret=settings.idp_client_secret,
        scopes=settings.idp_scopes,
        request_params=settings.idp_request_params,
        algorithms=settings.idp_signing_algorithms,
        agent=world.agent,
        clock=world.clock,
        now=world.now,
        random=world.random,
        state_dir=settings.state_dir,
    )


def _signing_key(settings: Settings, shared_secret: bytes) -> SigningKey:
    if settings.signing_key is None:
        return SigningKey.derived(shared_secret)
    try:
        return SigningKey.from_pem(settings.signing_key.reveal())
    except ValueError as error:
        raise SettingsError([Problem("signing_key", str(error))]) from error
