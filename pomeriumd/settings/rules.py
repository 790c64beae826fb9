"""
What settings must be *together*: rules over values that are each good by themselves.

What depends on the roles of the process is in ``role_rules``, on clusters in ``cluster_rules``.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, combinations

from pomeriumd.errors import Problem
from pomeriumd.settings.addresses import is_loopback
from pomeriumd.settings.draft import Draft, Rule, rule, whole_pair
from pomeriumd.settings.fields import shown, written
from pomeriumd.settings.roles import AUTHORIZE, PROXY

_route_rules: list[Rule] = []
_global_rules: list[Rule] = []

ALLOWED = (
    "allowed_users",
    "allowed_groups",
    "allowed_domains",
    "allow_any_authenticated_user",
)


@rule(_route_rules, "path", "prefix", "regex")
def _one_matcher(draft: Draft) -> Iterator[Problem]:
    given = [name for name in ("path", "prefix", "regex") if draft.given(name)]
    if len(given) > 1:
        yield draft.at(given[1], f"want one of path, prefix and regex, got {' and '.join(given)}")


@rule(_route_rules, "allow_public_unauthenticated_access", *ALLOWED)
def _public_is_public(draft: Draft) -> Iterator[Problem]:
    given = [name for name in ALLOWED if draft.values[name]]
    if given and draft.values["allow_public_unauthenticated_access"]:
        yield draft.at(
            "allow_public_unauthenticated_access",
            f"lets everybody in, and {', '.join(given)} would not count; want one or the other",
        )


TLS = (
    "tls_skip_verify",
    "tls_custom_ca",
    "tls_client_cert",
    "tls_client_key",
    "tls_server_name",
    "tls_upstream_server_name",
)


@rule(_route_rules, "to", *TLS)
def _tls_needs_https(draft: Draft) -> Iterator[Problem]:
    if draft.values["to"].scheme == "http":
        for name in TLS:
            if draft.values[name]:
                yield draft.at(name, "means nothing: the application is reached over http://")


whole_pair(_route_rules, "tls_client_cert", "tls_client_key")


@rule(_route_rules, "tls_server_name", "tls_upstream_server_name")
def _one_server_name(draft: Draft) -> Iterator[Problem]:
    old, new = draft.values["tls_server_name"], draft.values["tls_upstream_server_name"]
    if old is not None and new is not None and old != new:
        yield draft.at(
            "tls_server_name",
            f"is {shown(old)}, and tls_upstream_server_name, its newer name, is {shown(new)}; "
            "want one of them",
        )


@rule(_route_rules, "tls_skip_verify", "tls_custom_ca")
def _verify_or_not(draft: Draft) -> Iterator[Problem]:
    if draft.values["tls_skip_verify"] and draft.values["tls_custom_ca"]:
        yield draft.at(
            "tls_skip_verify", "with it tls_custom_ca is not looked at; want one of them"
        )


ROOTS = ("shared_secret", "cookie_secret", "shared_secret_previous", "cookie_secret_previous")
"""The secrets that keys are derived from; of two that are equal the later one is at fault."""


def same_root(name: str, other: str) -> str:
    """Return what is said of a root that is equal to another one."""
    remedy = "want another one"
    if name == f"{other}_previous":
        remedy = "want the one before it or the one that comes next, or take the line out"
    return f"is the same as {other}; {remedy}"


def _different_secrets(first: str, second: str) -> None:
    # A key of two purposes' roots would open with the one what was sealed with the other.
    @rule(_global_rules, first, second)
    def ask(draft: Draft) -> Iterator[Problem]:
        one, other = draft.values[first], draft.values[second]
        if one is not None and one == other:
            yield draft.at(second, same_root(second, first))


for _pair in combinations(ROOTS, 2):
    _different_secrets(*_pair)


@rule(_global_rules, "cookie_same_site", "cookie_secure")
def _none_needs_secure(draft: Draft) -> Iterator[Problem]:
    if draft.values["cookie_same_site"] == "none" and not draft.values["cookie_secure"]:
        yield draft.at(
            "cookie_same_site", "'none' needs cookie_secure; browsers drop the cookie else"
        )


def _covered(host: str, domain: str) -> bool:
    return host == domain or host.endswith("." + domain)


@rule(_global_rules, "cookie_domain", "authenticate_service_url", "drafts")
def _domain_covers_hosts(draft: Draft) -> Iterator[Problem]:
    domain = draft.values["cookie_domain"]
    if domain is None:
        return
    origins = [draft.values["authenticate_service_url"]]
    origins += [route.values.get("from_") for route in draft.values["drafts"]]
    for host in dict.fromkeys(origin.host for origin in origins if origin is not None):
        if not _covered(host, domain):
            yield draft.at(
                "cookie_domain", f"does not cover {shown(host)}; no session would hold there"
            )


@rule(_global_rules, "authenticate_service_url", "insecure_server", "cluster_drafts")
def _authenticate_is_https(draft: Draft) -> Iterator[Problem]:
    if draft.values["insecure_server"]:
        return
    for part in (draft, *draft.values["cluster_drafts"]):
        origin = part.values.get("authenticate_service_url")
        if origin and origin.scheme == "http" and not is_loopback(origin.host):
            yield part.at("authenticate_service_url", f"want https://, got {shown(origin.text)}")


@rule(_global_rules, "services", "cookie_secure", "authenticate_service_url", "drafts")
def _secure_cookies_travel(draft: Draft) -> Iterator[Problem]:
    # Authorize sees no cookie, and need not be told of them.
    if not draft.values["cookie_secure"] or draft.values["services"] == (AUTHORIZE,):
        return
    text = (
        "with http:// the browser keeps secure cookies back; want https://, or cookie_secure: false"
    )
    for part, key, name in (
        (draft, "authenticate_service_url", "authenticate_service_url"),
        *((route, "from_", "from") for route in draft.values["drafts"]),
    ):
        origin = part.values.get(key)
        if origin and origin.scheme == "http" and not is_loopback(origin.host):
            yield part.at(name, text)


@rule(_global_rules, "authenticate_service_url", "drafts", "cluster_drafts")
def _authenticate_is_ours(draft: Draft) -> Iterator[Problem]:
    # By host and not by origin: cookies do not know ports, so an application on another port
    # of this host would be sent the cookie that renews sessions.
    hosts = {
        origin.host
        for part in (draft, *draft.values["cluster_drafts"])
        if (origin := part.values.get("authenticate_service_url")) is not None
    }
    for route in _every_route(draft):
        origin = route.values.get("from_")
        if origin is not None and origin.host in hosts:
            text = f"{shown(origin.host)} is the host of authenticate_service_url; want another"
            yield route.at("from", text)


def _every_route(draft: Draft) -> Iterator[Draft]:
    """Yield the routes of the process, then those of its clusters."""
    parts = (draft, *draft.values["cluster_drafts"])
    return chain.from_iterable(part.values["drafts"] for part in parts)


MATCHER = ("path", "prefix", "regex")


@rule(_global_rules, "drafts", "cluster_drafts")
def _no_route_twice(draft: Draft) -> Iterator[Problem]:
    seen: dict[object, Draft] = {}
    for route in _every_route(draft):
        if not {"from_", *MATCHER} <= route.values.keys():
            continue
        origin, *matcher = (route.values[name] for name in ("from_", *MATCHER))
        # Without the port: a request is matched by its host, as in Pomerium.
        first = seen.setdefault((origin.host, *matcher), route)
        if first is not route:
            # Of two clusters as well: a proxy asks about a route, and does not say whose it is.
            yield route.at(
                "from", f"takes the same requests as {first.node.path}; this one never gets any"
            )


NEEDS_URL = frozenset({"oidc", "okta", "auth0", "cognito", "ping"})
"""Kinds of provider of which each customer has an issuer of its own."""


@rule(_global_rules, "services", "idp_provider", "idp_provider_url")
def _provider_has_url(draft: Draft) -> Iterator[Problem]:
    if draft.values["services"] != (PROXY,):
        yield from provider_has_url(draft)


def provider_has_url(draft: Draft) -> Iterator[Problem]:
    """Yield a problem if a provider is told by its kind alone, and that says too little."""
    kind = draft.values["idp_provider"]
    if kind in NEEDS_URL and draft.values["idp_provider_url"] is None:
        yield draft.at("idp_provider_url", f"missing; {kind} has no issuer common to all")


@rule(_global_rules, "idp_scopes")
def _openid_asked(draft: Draft) -> Iterator[Problem]:
    scopes = draft.values["idp_scopes"]
    if scopes is not None and "openid" not in scopes:
        yield draft.at("idp_scopes", "lacks openid, without which there is no sign-in")


@rule(_global_rules, "idp_signing_algorithms")
def _some_algorithm(draft: Draft) -> Iterator[Problem]:
    if not draft.values["idp_signing_algorithms"]:
        yield draft.at("idp_signing_algorithms", "want at least one, got an empty list")


OURS = frozenset(
    {
        *("client_id", "client_secret", "code_challenge", "code_challenge_method", "nonce"),
        *("redirect_uri", "request", "request_uri", "response_mode", "response_type"),
        *("scope", "state"),
    }
)
"""Parameters of the authorization request that the sign-in depends on."""


@rule(_global_rules, "idp_request_params")
def _parameters_not_ours(draft: Draft) -> Iterator[Problem]:
    for name, _ in draft.values["idp_request_params"]:
        if name in OURS:
            hint = "; see idp_scopes" if name == "scope" else ""
            node = draft.node.entries["idp_request_params"].entries[name]
            yield node.problem(f"{name} is set by the sign-in itself{hint}")


def _ordered(shorter: str, longer: str) -> None:
    @rule(_global_rules, shorter, longer)
    def ask(draft: Draft) -> Iterator[Problem]:
        small, large = draft.values[shorter], draft.values[longer]
        if small > large:
            key = shorter if draft.given(shorter) else longer
            text = f"want {shorter} ({written(small)}) no longer than {longer} ({written(large)})"
            yield draft.at(key, text)


_ordered("session_recheck", "session_recheck_max")
_ordered("session_recheck_max", "cookie_expire")

ROUTE_RULES = tuple(_route_rules)
GLOBAL_RULES = tuple(_global_rules)
