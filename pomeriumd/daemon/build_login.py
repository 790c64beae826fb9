"""What authenticate is in a generation: the identity provider, and the pages of a sign-in."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from pomeriumd.answers.pages import Pages
from pomeriumd.authenticate.renewal import Renewals
from pomeriumd.authenticate.service import Authenticate, AuthenticateSite
from pomeriumd.crypto.keys import OwnKeys, SharedKeys
from pomeriumd.daemon.roots import roots_of
from pomeriumd.daemon.world import World
from pomeriumd.oidc.provider import OIDCProvider
from pomeriumd.session.cookies import CookieShape
from pomeriumd.session.standing import SessionLimits
from pomeriumd.settings.model import Settings
from pomeriumd.settings.roles import needed


@attrs.frozen(kw_only=True, eq=False)
class Login:
    """Authenticate in one generation, and what the next one may take over."""

    settings: Settings = attrs.field(repr=False)
    """That it was built from."""
    provider: OIDCProvider
    renewals: Renewals
    service: Authenticate


def login(
    settings: Settings,
    shared: SharedKeys,
    shape: CookieShape,
    limits: SessionLimits,
    pages: Pages,
    forget: Callable[[str], None],
    world: World,
    before: Login | None,
) -> Login:
    """
    Build authenticate.

    Args:
        settings: checked already, and with that role among its services.
        shared: from ``shared_secret``.
        shape: of the session cookies on route hosts.
        limits: of sessions.
        pages: what people see.
        forget: is told the id of each session that is signed out.
        world: see there.
        before: of the generation that serves now.

    Raises:
        SettingsError: what only building finds.
    """
    provider, renewals = _provider(settings, world, before)
    service = Authenticate(
        site=AuthenticateSite(
            origin=needed(settings.authenticate_service_url, "authenticate_service_url").text,
            callback_path=settings.authenticate_callback_path,
            shape=shape,
            limits=limits,
            groups_named=frozenset(
                group for route in settings.routes for group in route.allowed_groups
            ),
        ),
        shared_keys=shared,
        own_keys=OwnKeys.derived(
            roots_of(
                needed(settings.cookie_secret, "cookie_secret").reveal(),
                settings.cookie_secret_previous,
            )
        ),
        provider=provider,
        renewals=renewals,
        pages=pages,
        now=world.now,
        random=world.random,
        origin_known=_origins(settings),
        forget=forget,
    )
    return Login(settings=settings, provider=provider, renewals=renewals, service=service)


def _origins(settings: Settings) -> Callable[[str, str, int], bool]:
    """
    Return what says whether a browser may be sent to an origin: that of some route.

    Authenticate alone need not know the routes of the proxies that it serves. It then goes by
    their signature: every URL that a sign-in ends at has come under the shared secret.
    """
    if not settings.routes and not settings.runs("proxy"):
        return lambda *_: True
    origins = {(o.scheme, o.host, o.port) for o in (route.from_ for route in settings.routes)}
    return lambda *origin: origin in origins


def _provider(
    settings: Settings, world: World, before: Login | None
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
