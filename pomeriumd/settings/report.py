"""What ``pomeriumd check`` tells of a settings file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pomeriumd.settings.addresses import is_loopback
from pomeriumd.settings.automatic import missing_names
from pomeriumd.settings.fields import written
from pomeriumd.settings.load import load_whole
from pomeriumd.settings.model import RouteSettings, Settings
from pomeriumd.settings.roles import AUTHENTICATE, AUTHORIZE, PROXY, spoken

MOST_NAMED = 10
"""Names of one danger."""

MOST_SHOWN = 50
"""Routes that are listed one by one."""


def report(path: str, environment: Mapping[str, str], now: float) -> tuple[str, int]:
    """
    Return what to print about a settings file, and the exit status.

    Returns:
        All problems, each with its place and what to do, and 1; or one line that all is
        well, the routes, what is dangerous on purpose, and 0.
    """
    loaded = load_whole(path, environment, now)
    settings = loaded.settings
    if settings is None:
        return f"{ascii(path)[1:-1]}: {loaded.error}", 1
    lines = [_headline(path, settings), *_routes(settings)]
    dangers = list(dangers_of(settings))
    if dangers:
        count = len(dangers)
        lines.append(f"{count} danger{'' if count == 1 else 's'}, in case you did not mean it:")
        lines += [f"  {danger}" for danger in dangers]
    return "\n".join(lines), 0


def _headline(path: str, settings: Settings) -> str:
    return f"{ascii(path)[1:-1]}: good; runs {spoken(settings.services)}; " + ", ".join(
        _parts(settings)
    )


def _parts(settings: Settings) -> Iterator[str]:
    """Yield what the roles will do, a few words each."""
    only_health = settings.services == (AUTHORIZE,)
    if not only_health or settings.all_routes:
        yield _counted(len(settings.all_routes), "route")
    if settings.clusters:
        yield _counted(len(settings.clusters), "cluster")
    scheme = "https" if settings.https else "http"
    yield f"{scheme} on {settings.address.text}{' for health only' if only_health else ''}"
    if settings.http_redirect_addr is not None:
        yield f"http on {settings.http_redirect_addr.text} leads to https"
    if settings.grpc_address is not None:
        tls = "gRPC with TLS" if settings.grpc_tls else "gRPC without TLS"
        yield f"{tls} on {settings.grpc_address.text}"
    if settings.runs(PROXY) and not settings.decides_here:
        asked = " and ".join(origin.text for origin in settings.authorize_service_urls)
        yield f"decisions from {asked}"
    origin, provider = settings.authenticate_service_url, settings.idp_provider
    if origin is not None and not settings.clusters:
        kind = f" with {provider}" if provider and settings.services != (PROXY,) else ""
        yield f"sign-in{kind} at {origin.text}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _routes(settings: Settings) -> Iterator[str]:
    routes = settings.all_routes
    for route in routes[:MOST_SHOWN]:
        matcher = f" ({ascii(route.matcher)[1:-1]})" if route.matcher else ""
        yield f"  {route.from_.text}{matcher} -> {route.to.text}: {who(route)}"
    if len(routes) > MOST_SHOWN:
        yield f"  and {len(routes) - MOST_SHOWN} more"


def who(route: RouteSettings) -> str:
    """Return in a few words who may use a route."""
    if route.allow_public_unauthenticated_access:
        return "everybody, without sign-in"
    if route.allow_any_authenticated_user:
        return "everybody who signs in"
    parts = [
        f"{len(names)} {what}{'' if len(names) == 1 else 's'}"
        for names, what in (
            (route.allowed_users, "user"),
            (route.allowed_groups, "group"),
            (route.allowed_domains, "domain"),
        )
        if names
    ]
    return ", ".join(parts) or "nobody"


NO_GROUPS = frozenset({"google"})
"""Kinds of provider that name no groups, in no token and no answer."""


def dangers_of(settings: Settings) -> Iterator[str]:
    """Return what is legal and yet worth a warning; one line each, with no secret in it."""
    yield from map(str, (*settings.warnings, *settings.left_out))
    for provider, routes in _by_provider(settings):
        for route in routes:
            for text in _route_dangers(route, provider):
                yield f"{route.place}: {text}"
    if not settings.all_routes and settings.services != (AUTHENTICATE,):
        yield f"policy: there are no routes; {_without_routes(settings)}"
    yield from _automatic_dangers(settings)
    yield from _listening_dangers(settings)
    yield from _session_dangers(settings)
    if settings.timeout_read == 0:
        yield "timeout_read: 0s, so a client that stalls holds its connection for ever"
    if settings.session_idle > settings.cookie_expire:
        yield (
            f"session_idle: {written(settings.session_idle)} is longer than cookie_expire and "
            "never comes to pass"
        )
    if not settings.headers:
        yield "headers: none, so browsers are not told to stay on https"


def _by_provider(settings: Settings) -> Iterator[tuple[str | None, tuple[RouteSettings, ...]]]:
    """Yield the routes with the kind of provider whose people they are for, where it is known."""
    yield settings.idp_provider, settings.routes
    yield from ((cluster.idp_provider, cluster.routes) for cluster in settings.clusters)


def _without_routes(settings: Settings) -> str:
    if settings.runs(AUTHENTICATE):
        return "only the sign-in is served"
    return "nothing is served" if settings.runs(PROXY) else "every question is answered no"


def _automatic_dangers(settings: Settings) -> Iterator[str]:
    missing = missing_names(settings)
    if missing:
        named = ", ".join(missing[:MOST_NAMED])
        more = f" and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
        shown = "a self-signed one" if not settings.certificates else "one for other hosts"
        yield f"autocert: no certificate yet for {named}{more}; until then {shown} is shown"
    if settings.autocert and settings.autocert_use_staging:
        yield "autocert_use_staging: no browser trusts the certificates of the staging environment"


def _listening_dangers(settings: Settings) -> Iterator[str]:
    if settings.services != (AUTHORIZE,):
        yield from _browsers_dangers(settings)
    grpc = settings.grpc_address
    if grpc is not None and not settings.grpc_tls and not is_loopback(grpc.host):
        yield (
            f"grpc_insecure: whoever can listen in on what reaches {grpc.text} can read and change "
            "decisions"
        )
    if settings.metrics_address is not None and not is_loopback(settings.metrics_address.host):
        yield (
            f"metrics_address: whoever can reach {settings.metrics_address.text} can read the "
            "metrics, the names of all hosts and applications among them; there is no sign-in"
        )


def _browsers_dangers(settings: Settings) -> Iterator[str]:
    if settings.insecure_server and settings.address.host not in ("127.0.0.1", "::1", "localhost"):
        yield (
            "insecure_server: whoever can reach this port can read and change the traffic; only "
            "the load balancer should"
        )
    if settings.use_proxy_protocol:
        if not settings.trusted_proxies and not is_loopback(settings.address.host):
            yield (
                f"use_proxy_protocol: whoever can reach {settings.address.text} can say which "
                "address they come from; only the load balancer should"
            )
    elif settings.insecure_server and not settings.trusted_proxies:
        yield "trusted_proxies: empty, so the log shows the load balancer in place of the client"


def _session_dangers(settings: Settings) -> Iterator[str]:
    if not settings.cookie_secure:
        yield "cookie_secure: false, so sessions travel over plain http too"
    if not settings.cookie_http_only:
        yield "cookie_http_only: false, so scripts of the applications can read sessions"
    if settings.cookie_domain is not None:
        yield (
            f"cookie_domain: every host under {settings.cookie_domain} is sent the session cookie"
        )
    for name in ("shared_secret_previous", "cookie_secret_previous"):
        if getattr(settings, name) is not None:
            yield f"{name}: whoever knows it can forge sessions; take it out after the rotation"


def _route_dangers(route: RouteSettings, provider: str | None) -> Iterator[str]:
    if route.allow_public_unauthenticated_access:
        yield f"public: {route.from_.text} is open to everybody, without sign-in"
    if not route.admits:
        yield f"nobody may use {route.from_.text}: it has no allowed_users, _groups or _domains"
    if route.allowed_groups and provider in NO_GROUPS:
        yield f"allowed_groups: lets nobody in, as {provider} names no groups"
    if route.from_.scheme == "http":
        yield f"from: {route.from_.text} is served without TLS"
