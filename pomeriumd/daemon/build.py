"""
From settings to a generation: everything is built here, once, before it serves.

What fails, fails as a problem with its place, and the generation before it serves on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.web.iweb import IAgent

from pomeriumd.access.assertion import IdentityHeaders
from pomeriumd.access.authorizer import LocalAuthorizer
from pomeriumd.access.routes import Route, RouteTable
from pomeriumd.answers.pages import Pages
from pomeriumd.authenticate.renewal import Renewals
from pomeriumd.authenticate.service import Authenticate, AuthenticateSite
from pomeriumd.crypto.keys import KeyRing, OwnKeys, SharedKeys
from pomeriumd.crypto.signing import SigningKey
from pomeriumd.errors import Problem, SettingsError
from pomeriumd.http.limits import Limits
from pomeriumd.net.contexts import CertificateStore
from pomeriumd.net.peer import Peer, TLSPolicy
from pomeriumd.net.server import Times
from pomeriumd.net.upstreams import Connector
from pomeriumd.oidc.provider import OIDCProvider
from pomeriumd.pieces import Pieces
from pomeriumd.proxy.client_address import TrustedProxies
from pomeriumd.proxy.forward import Way
from pomeriumd.proxy.generation import Generation
from pomeriumd.proxy.logins import Logins
from pomeriumd.proxy.outbound import Outbound
from pomeriumd.proxy.own import OwnPages
from pomeriumd.proxy.replies import Replies
from pomeriumd.proxy.sessions import Memory, Sessions
from pomeriumd.session.cookies import CookieShape
from pomeriumd.session.login import LoginSite
from pomeriumd.session.standing import SessionLimits
from pomeriumd.settings.model import RouteSettings, Secret, Settings
from pomeriumd.settings.roles import needed

FEW = 16
"""Routes of one piece of the work."""


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
    connector: Connector
    """Makes the endpoints that reach upstreams."""


@attrs.frozen(kw_only=True, eq=False)
class Built:
    """A generation, and what else a process takes over when it puts one in force."""

    settings: Settings = attrs.field(repr=False)
    """That it was built from: bounds and levels are read there."""
    generation: Generation
    store: CertificateStore | None
    """None is without TLS."""
    times: Times
    endpoints: Mapping[Peer, IStreamClientEndpoint] = attrs.field(repr=False)
    """Of all its peers."""
    provider: OIDCProvider
    renewals: Renewals


def building(
    settings: Settings,
    shared_secret: bytes,
    world: World,
    limits: Limits,
    before: Built | None = None,
) -> Pieces[Built]:
    """
    Build a generation, in pieces of about a millisecond.

    Args:
        settings: checked already.
        shared_secret: the one in force: from the settings, or the one that was kept.
        world: see there.
        limits: of the connections that it will serve.
        before: what serves now: what has not changed is taken over from it.

    Raises:
        SettingsError: something that only building finds, with its place.
    """
    roots = _roots(shared_secret, settings.shared_secret_previous)
    shared = SharedKeys.derived(roots)
    cookie_secret = needed(settings.cookie_secret, "cookie_secret")
    own_keys = OwnKeys.derived(_roots(cookie_secret.reveal(), settings.cookie_secret_previous))
    sign_in = needed(settings.authenticate_service_url, "authenticate_service_url")
    shape = _shape(settings)
    session_limits = SessionLimits(
        expire=settings.cookie_expire,
        idle=settings.session_idle,
        recheck=settings.session_recheck,
        recheck_max=settings.session_recheck_max,
    )
    provider, renewals = _provider(settings, world, before)
    yield
    store = yield from _store(settings, world.now(), before)
    made = yield from _routes(settings, provider.identity_issuer, world, before)
    routes = yield from RouteTable.building(tuple(made.ways))
    authenticate_origin = sign_in.text
    pages = Pages()
    identity = _identity(settings, roots)
    yield
    sessions = Sessions(
        keys=shared.route_session,
        issuer=authenticate_origin,
        shape=shape,
        limits=session_limits,
        audiences=made.audiences,
        memory=_memory(shared.route_session, authenticate_origin, before),
    )
    logins = Logins(
        site=LoginSite(keys=shared, shape=shape, authenticate=authenticate_origin),
        origins=made.origins,
        random=world.random,
    )
    authenticate = Authenticate(
        site=AuthenticateSite(
            origin=authenticate_origin,
            callback_path=settings.authenticate_callback_path,
            shape=shape,
            limits=session_limits,
            groups_named=frozenset(made.groups),
        ),
        shared_keys=shared,
        own_keys=own_keys,
        provider=provider,
        renewals=renewals,
        pages=pages,
        now=world.now,
        random=world.random,
        origin_known=routes.origin_known,
        forget=sessions.memory.signed_out.add,
    )
    generation = Generation(
        routes=routes,
        ways=made.ways,
        authorizer=LocalAuthorizer(),
        sessions=sessions,
        logins=logins,
        identity=identity,
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
        replies=Replies(
            pages=pages,
            headers=tuple((n.lower().encode(), v.encode()) for n, v in settings.headers),
        ),
        authenticate=authenticate.answer,
        authenticate_host=sign_in.host.encode("ascii"),
        small_body=limits.small_body,
    )
    return Built(
        settings=settings,
        generation=generation,
        store=store,
        times=times(settings),
        endpoints=made.endpoints,
        provider=provider,
        renewals=renewals,
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


@attrs.define(eq=False)
class _Made:
    """What one pass over the routes makes; the mappings are by what their names say."""

    ways: dict[Route, Way] = attrs.Factory(dict)
    """In the order of the file."""
    endpoints: dict[Peer, IStreamClientEndpoint] = attrs.Factory(dict)
    audiences: dict[bytes, str] = attrs.Factory(dict)
    """Canonical host to ``host:port``; of two routes of one host the first says the port."""
    origins: dict[bytes, str] = attrs.Factory(dict)
    groups: set[str] = attrs.Factory(set)


def _routes(
    settings: Settings, issuer: str | None, world: World, before: Built | None
) -> Pieces[_Made]:
    made = _Made()
    reached: Mapping[Peer, IStreamClientEndpoint] = {} if before is None else before.endpoints
    forever = float("inf")
    for count, route in enumerate(settings.routes):
        if not count % FEW:
            yield
        there = peer(route)
        endpoint = made.endpoints.get(there) or reached.get(there)
        if endpoint is None:
            endpoint = world.connector(there, route.place)
            if there.tls is not None:
                yield  # a context may have been made for it
        made.endpoints[there] = endpoint
        timeout = settings.default_upstream_timeout if route.timeout is None else route.timeout
        made.ways[Route.of(route, issuer)] = Way(
            outbound=Outbound(route, settings.headers, settings.cookie_name),
            peer=there,
            endpoint=endpoint,
            timeout=timeout or forever,
            stall=settings.timeout_idle,
        )
        host = route.from_.host.encode("ascii")
        made.audiences.setdefault(host, route.from_.audience)
        made.origins.setdefault(host, route.from_.text)
        made.groups.update(route.allowed_groups)
    return made


def _store(settings: Settings, now: float, before: Built | None) -> Pieces[CertificateStore | None]:
    if settings.insecure_server:
        return None
    if (
        before is not None
        and before.store is not None
        and before.settings.certificates == settings.certificates
    ):
        # Its tickets go on, too: nobody's next handshake is a whole one for a reload.
        return before.store
    return (yield from CertificateStore.building(settings.certificates, now))


def _shape(settings: Settings) -> CookieShape:
    return CookieShape(
        name=settings.cookie_name,
        domain=settings.cookie_domain,
        secure=settings.cookie_secure,
        http_only=settings.cookie_http_only,
        same_site=settings.cookie_same_site.capitalize(),
    )


def _memory(keys: KeyRing, issuer: str, before: Built | None) -> Memory:
    """
    Return where verified sessions are remembered: the present place, while it is right.

    A stream is judged by the freshest of its sessions that this process knows; without a
    memory, a reload would make it judge by the one that the stream began with.
    """
    if before is None:
        return Memory()
    sessions = before.generation.sessions
    if (sessions.keys, sessions.issuer) == (keys, issuer):
        return sessions.memory
    return Memory(signed_out=sessions.memory.signed_out)


def _provider(
    settings: Settings, world: World, before: Built | None
) -> tuple[OIDCProvider, Renewals]:
    """
    Return the provider and the renewals there; those of before where that is the same one.

    What it is known to say lives on with them, so that a reload while it is down harms
    nobody, and a refresh token that is on its way is not used a second time.
    """
    if before is not None and _of_provider(before.settings) == _of_provider(settings):
        return before.provider, before.renewals
    provider = OIDCProvider(
        kind=needed(settings.idp_provider, "idp_provider"),
        issuer=settings.idp_provider_url,
        client_id=needed(settings.idp_client_id, "idp_client_id"),
        client_secret=needed(settings.idp_client_secret, "idp_client_secret"),
        scopes=settings.idp_scopes,
        request_params=settings.idp_request_params,
        algorithms=settings.idp_signing_algorithms,
        agent=world.agent,
        clock=world.clock,
        now=world.now,
        random=world.random,
        state_dir=settings.state_dir,
    )
    return provider, Renewals(provider=provider, now=world.now)


def _of_provider(settings: Settings) -> tuple[object, ...]:
    return (
        settings.idp_provider,
        settings.idp_provider_url,
        settings.idp_client_id,
        settings.idp_client_secret,
        settings.idp_scopes,
        settings.idp_request_params,
        settings.idp_signing_algorithms,
        settings.state_dir,
    )


def _roots(present: bytes, previous: Secret | None) -> tuple[bytes, ...]:
    """Return the secret that signs and seals, then the one that only verifies and opens."""
    return (present,) if previous is None else (present, previous.reveal())


def _identity(settings: Settings, roots: Sequence[bytes]) -> IdentityHeaders:
    """
    Return what signs assertions.

    The key of a previous secret is published too: applications verify what a replica that
    has come less far in a rotation signs, or one that has come further.
    """
    if settings.signing_key is None:
        present, *previous = (SigningKey.derived(root) for root in roots)
        return IdentityHeaders(present, tuple(key.jwk() for key in previous))
    try:
        return IdentityHeaders(SigningKey.from_pem(settings.signing_key.reveal()))
    except ValueError as error:
        raise SettingsError([Problem("signing_key", str(error))]) from error
