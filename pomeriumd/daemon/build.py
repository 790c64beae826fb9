"""
From settings to a generation: everything is built here, once, before it serves.

What fails, fails as a problem with its place, and the generation before it serves on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
from twisted.internet.interfaces import IStreamClientEndpoint

from pomeriumd.access.assertion import IdentityHeaders
from pomeriumd.access.authorizer import Authorizer, LocalAuthorizer
from pomeriumd.access.routes import RouteTable
from pomeriumd.acme.challenges import Challenges
from pomeriumd.answers.answer import Answer
from pomeriumd.answers.call import Call
from pomeriumd.answers.pages import Pages
from pomeriumd.authorize.policies import Policies
from pomeriumd.crypto.keys import KeyRing, Purpose, SharedKeys, ring
from pomeriumd.crypto.signing import SigningKey
from pomeriumd.daemon.authorize_client import asked
from pomeriumd.daemon.build_clients import Clients, clients_of
from pomeriumd.daemon.build_headers import building_headers
from pomeriumd.daemon.build_login import Login, login
from pomeriumd.daemon.build_policies import building_policies, own_issuer
from pomeriumd.daemon.build_routes import building_ways
from pomeriumd.daemon.placeholder import placeholder
from pomeriumd.daemon.roots import roots_of
from pomeriumd.daemon.world import World
from pomeriumd.errors import NoRoute, Problem, SettingsError
from pomeriumd.http.limits import Limits
from pomeriumd.net.client_certificates import Asks
from pomeriumd.net.contexts import CertificateStore
from pomeriumd.net.peer import Peer
from pomeriumd.net.server import Times
from pomeriumd.net.terms import Terms
from pomeriumd.pieces import Pieces
from pomeriumd.proxy.client_address import TrustedProxies
from pomeriumd.proxy.decisions import Decisions, Memory
from pomeriumd.proxy.generation import Generation
from pomeriumd.proxy.logins import Logins
from pomeriumd.proxy.own import OwnPages
from pomeriumd.proxy.plain_http import PlainHTTP
from pomeriumd.proxy.replies import Replies
from pomeriumd.proxy.sessions import Memory as SessionMemory
from pomeriumd.proxy.sessions import Sessions
from pomeriumd.rpc.pool import Options
from pomeriumd.session.cookies import CookieShape
from pomeriumd.session.login import LoginSite
from pomeriumd.session.standing import SessionLimits
from pomeriumd.settings.automatic import wanted_names
from pomeriumd.settings.model import Settings


@attrs.frozen(kw_only=True, eq=False)
class Built:
    """A generation, and what else a process takes over when it puts one in force."""

    settings: Settings = attrs.field(repr=False)
    """That it was built from: bounds and levels are read there."""
    generation: Generation
    plain_http: PlainHTTP
    """What is answered at ``http_redirect_addr``, if anything listens there."""
    store: CertificateStore | None
    """None is without TLS."""
    clients: Clients = attrs.field(repr=False)
    """What is wanted of clients' certificates."""
    times: Times
    endpoints: Mapping[Peer, IStreamClientEndpoint] = attrs.field(repr=False)
    """Of all its peers."""
    login: Login | None
    """Where authenticate is one of the services."""
    asked: Options | None = attrs.field(repr=False)
    """Who decides elsewhere; None where nobody has to."""
    policies: Policies | None = attrs.field(repr=False)
    """What proxies elsewhere are answered by; None where they cannot ask."""
    grpc_keys: KeyRing = attrs.field(repr=False)
    """By which proxies and authorize know each other."""


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
    roots = roots_of(shared_secret, settings.shared_secret_previous)
    shared = SharedKeys.derived(roots)
    shape = _shape(settings)
    session_limits = _limits(settings)
    yield
    clients = clients_of(settings, world.now, None if before is None else before.clients)
    yield
    store = yield from _store(settings, world, clients.asks, before)
    headers = yield from building_headers(settings, store)
    made = yield from building_ways(
        settings,
        own_issuer(settings),
        world.connector,
        headers,
        {} if before is None else before.endpoints,
        clients,
    )
    routes = yield from RouteTable.building(tuple(made.ways))
    pages = Pages()
    trusted = TrustedProxies(settings.trusted_proxies)
    identity = _identity(settings, roots)
    yield
    authenticate_origin = _authenticate_origin(settings)
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
    signing_in = None
    if settings.runs("authenticate"):
        signing_in = login(
            settings,
            shared,
            shape,
            session_limits,
            pages,
            sessions.memory.signed_out.add,
            world,
            None if before is None else before.login,
        )
        yield
    options = asked(settings, roots)
    policies = yield from building_policies(settings, shared.route_session, session_limits)
    generation = Generation(
        routes=routes,
        ways=made.ways,
        authorizer=authorizer(settings, options, policies, world, before),
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
            trusted=trusted,
            problems=world.problems,
            now=world.now,
        ),
        trusted=trusted,
        replies=Replies(pages=pages, headers=headers, count_tls=world.count_tls),
        authenticate=_no_authenticate if signing_in is None else signing_in.service.answer,
        authenticate_host=None if signing_in is None else _authenticate_host(settings),
        small_body=limits.small_body,
    )
    return Built(
        settings=settings,
        generation=generation,
        plain_http=PlainHTTP.of(
            settings, generation.own, trusted, generation.replies, _challenges(settings)
        ),
        store=store,
        clients=clients,
        times=times(settings),
        endpoints=made.endpoints,
        login=signing_in,
        asked=options,
        policies=policies,
        grpc_keys=ring(roots, Purpose.GRPC),
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


def authorizer(
    settings: Settings,
    options: Options | None,
    policies: Policies | None,
    world: World,
    before: Built | None,
) -> Authorizer:
    """
    Return who decides: each route's own policy, or a service elsewhere.

    What that has decided is remembered for as long as it is the same service.
    """
    if options is None:
        return LocalAuthorizer()
    memory = Memory()
    known = None if before is None else before.generation.authorizer
    if isinstance(known, Decisions) and before is not None and before.asked is not None:
        same = (before.asked.urls, before.asked.keys) == (options.urls, options.keys)
        memory = known.memory if same else Memory(counts=known.memory.counts)
    return Decisions(
        remote=world.authorize,
        clock=world.clock,
        now=world.now,
        max_age=settings.decision_max_age,
        generation="" if policies is None else policies.digest,
        memory=memory,
    )


def _limits(settings: Settings) -> SessionLimits:
    return SessionLimits(
        expire=settings.cookie_expire,
        idle=settings.session_idle,
        recheck=settings.session_recheck,
        recheck_max=settings.session_recheck_max,
    )


def _authenticate_origin(settings: Settings) -> str:
    """Return who issues the sessions here; authorize for clusters alone has one for each."""
    url = settings.authenticate_service_url
    return "" if url is None else url.text


def _authenticate_host(settings: Settings) -> bytes | None:
    url = settings.authenticate_service_url
    return None if url is None else url.host.encode("ascii")


async def _no_authenticate(_: Call) -> Answer:
    """Answer for authenticate where it is none of the services."""
    raise NoRoute("authenticate does not run here")


def _store(
    settings: Settings, world: World, asks: Asks, before: Built | None
) -> Pieces[CertificateStore | None]:
    if not settings.https:
        return None
    pairs = settings.certificates
    if settings.autocert and not pairs:
        pairs = (placeholder(wanted_names(settings), world.now()),)
    served = None if before is None else before.store
    # With other terms no ticket goes on: who was asked for no certificate must not resume where
    # one is wanted.
    terms = Terms(asks=asks, staples=world.staples, validations=_challenges(settings))
    return (yield from CertificateStore.building(pairs, world.now(), terms, before=served))


def _challenges(settings: Settings) -> Challenges | None:
    """Return what proves our hosts to an authority; None if nobody is to look."""
    return Challenges(settings.autocert_place) if settings.autocert else None


def _shape(settings: Settings) -> CookieShape:
    return CookieShape(
        name=settings.cookie_name,
        domain=settings.cookie_domain,
        secure=settings.cookie_secure,
        http_only=settings.cookie_http_only,
        same_site=settings.cookie_same_site.capitalize(),
    )


def _memory(keys: KeyRing, issuer: str, before: Built | None) -> SessionMemory:
    """
    Return where verified sessions are remembered: the present place, while it is right.

    A stream is judged by the freshest of its sessions that this process knows; without a
    memory, a reload would make it judge by the one that the stream began with.
    """
    if before is None:
        return SessionMemory()
    sessions = before.generation.sessions
    if (sessions.keys, sessions.issuer) == (keys, issuer):
        return sessions.memory
    return SessionMemory(signed_out=sessions.memory.signed_out)


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
