"""
What a provider says about itself, checked.

Pure. Which URLs we then talk to is decided here (O18): the document comes over verified
TLS from the issuer that the settings name, so its word counts, within limits. An endpoint
is https and on the issuer's own host, or on another fully qualified name: never an
address literal, ``localhost`` or a bare name, which is where a document that somebody
tampered with would point into our own network. Google, Microsoft and Cognito all need
other hosts than their issuer's. No URL ever comes from a token, and no redirect is
followed, so these checks see every URL.

Source: OpenID Connect Discovery 1.0 sections 3 and 4.3, RFC 8414, RFC 9207 section 3.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

import attrs

from pomeriumd.errors import ProviderError
from pomeriumd.oidc.kinds import KINDS, TENANT, Kind, issuer_of

MAX_URL = 2_048
"""Characters of an endpoint's URL."""

MAX_LISTED = 64
"""Items of a list in the document."""

CLIENT_AUTHENTICATION: Final = ("client_secret_basic", "client_secret_post")
"""How we can show a provider who we are."""

OURS: Final = frozenset(
    {
        "client_id",
        "code_challenge",
        "code_challenge_method",
        "nonce",
        "redirect_uri",
        "request",
        "request_uri",
        "response_mode",
        "response_type",
        "scope",
        "state",
    }
)
"""Parameters of the authorization request that settings may not set."""

_VISIBLE = re.compile(r"[!-~]+")
_TENANT_ID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
# The last label begins with a letter: 127.1, 2130706433 and 0x7f.1 are addresses too.
_QUALIFIED = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]*[a-z0-9])?\.)+[a-z](?:[a-z0-9-]*[a-z0-9])?")
_MANY_TENANTS = ("common", "organizations", "consumers")


@attrs.frozen(kw_only=True)
class Metadata:
    """The part of a provider's metadata that we use."""

    issuer: str
    """Holds TENANT where one endpoint serves many tenants."""
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None
    revocation_endpoint: str | None
    end_session_endpoint: str | None
    token_endpoint_auth_methods: tuple[str, ...]
    revocation_endpoint_auth_methods: tuple[str, ...]
    names_itself: bool
    """Its authorization responses carry ``iss`` (RFC 9207)."""

    def is_issuer(self, issuer: str) -> bool:
        """Return whether this provider speaks as ``issuer``."""
        return fits(self.issuer, issuer)


def fits(template: str, issuer: str) -> bool:
    """Return whether ``issuer`` is the one of metadata, or one tenant of its template."""
    before, is_template, after = template.partition(TENANT)
    if not is_template:
        return issuer == template
    tenant = issuer[len(before) : len(issuer) - len(after)]
    return bool(_TENANT_ID.fullmatch(tenant)) and issuer == f"{before}{tenant}{after}"


def discovery_url(issuer: str) -> str:
    """Return where the metadata of ``issuer`` is. Source: Discovery 1.0 section 4."""
    return f"{issuer.rstrip('/')}/.well-known/openid-configuration"


def issuer_problem(issuer: str) -> str | None:
    """Return what is wrong with an issuer of the settings, None when it will do."""
    parts = _split(issuer)
    if parts is None or "{" in issuer:
        return f"want a URL, got {issuer!r}"
    if parts.query or parts.fragment or parts.username is not None:
        return f"want scheme, host and path only, got {issuer!r}"
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname)):
        return None
    return f"want https:// (http:// on a loopback address only), got {issuer!r}"


def is_loopback(host: str | None) -> bool:
    """Return whether ``host`` can only be this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def read_metadata(
    document: Mapping[str, Any], *, issuer: str, kind: Kind, algorithms: Sequence[str]
) -> Metadata:
    """
    Check a metadata document and keep what we use of it.

    Args:
        document: a stranger's.
        issuer: the one in the settings.
        kind: of the provider.
        algorithms: those that we accept on ID tokens.

    Raises:
        ProviderError: the document is not this issuer's, or is not fit to sign in with.
    """
    stated = document.get("issuer")
    if stated not in _acceptable(issuer, kind):
        raise ProviderError(f"metadata: issuer is {_shown(stated)}, want {issuer!r}")
    signs = document.get("id_token_signing_alg_values_supported")
    if isinstance(signs, list) and not set(algorithms) & {s for s in signs if isinstance(s, str)}:
        raise ProviderError(
            f"metadata: ID tokens are signed by {_shown(signs)}, "
            f"idp_signing_algorithms takes {', '.join(algorithms)}"
        )
    home = urlsplit(issuer)
    authorization_endpoint = _needed(document, "authorization_endpoint", home)
    _check_free(authorization_endpoint)
    methods = _methods(document, "token_endpoint")
    if not set(methods) & set(CLIENT_AUTHENTICATION):
        raise ProviderError(
            f"metadata: client authentication is none of {', '.join(CLIENT_AUTHENTICATION)}"
        )
    return Metadata(
        issuer=str(stated),
        authorization_endpoint=authorization_endpoint,
        token_endpoint=_needed(document, "token_endpoint", home),
        jwks_uri=_needed(document, "jwks_uri", home),
        userinfo_endpoint=_endpoint(document, "userinfo_endpoint", home),
        revocation_endpoint=_endpoint(document, "revocation_endpoint", home),
        end_session_endpoint=_endpoint(document, "end_session_endpoint", home),
        token_endpoint_auth_methods=methods,
        revocation_endpoint_auth_methods=_methods(document, "revocation_endpoint"),
        names_itself=document.get("authorization_response_iss_parameter_supported") is True,
    )


def serves_tenants(issuer: str, kind: Kind) -> bool:
    """Return whether an issuer of the settings stands for many tenants'."""
    _, _, path = urlsplit(issuer).path.partition("/")
    return kind.many_tenants and path.partition("/")[0] in _MANY_TENANTS


def identity_issuer(kind: str, configured: str | None) -> str | None:
    """
    Return the issuer of every Identity from a provider; None where each tenant has its own.

    Args:
        kind: ``idp_provider``.
        configured: ``idp_provider_url``.
    """
    rules = KINDS[kind]
    issuer = issuer_of(rules, configured)
    return None if issuer is None or serves_tenants(issuer, rules) else issuer


def _acceptable(issuer: str, kind: Kind) -> tuple[str, ...]:
    """Return what the document may call itself: exactly the issuer, or its template."""
    if not serves_tenants(issuer, kind):
        return (issuer,)
    parts = urlsplit(issuer)
    segments = parts.path.split("/")
    segments[1] = TENANT
    return (issuer, f"{parts.scheme}://{parts.netloc}{'/'.join(segments)}")


def _check_free(authorization_endpoint: str) -> None:
    """Refuse a place where no sign-in can begin, so that the last good one stands in."""
    query = urlsplit(authorization_endpoint).query
    taken = OURS & {name for name, _ in parse_qsl(query, keep_blank_values=True)}
    if taken:
        raise ProviderError(f"metadata: authorization_endpoint has {min(taken)} in its own URL")


def _needed(document: Mapping[str, Any], name: str, home: SplitResult) -> str:
    url = _endpoint(document, name, home)
    if url is None:
        raise ProviderError(f"metadata: {name} is missing")
    return url


def _endpoint(document: Mapping[str, Any], name: str, home: SplitResult) -> str | None:
    url = document.get(name)
    if url is None:
        return None
    parts = _split(url)
    if parts is None or parts.username is not None or parts.fragment:
        raise ProviderError(f"metadata: {name} is {_shown(url)}, want a URL")
    if parts.scheme != "https" and not (parts.scheme == home.scheme == "http"):
        raise ProviderError(f"metadata: {name} is {_shown(url)}, want https://")
    if not _reachable(str(parts.hostname), home):
        raise ProviderError(
            f"metadata: {name} is {_shown(url)}, want the issuer's host or a full name"
        )
    return str(url)


def _reachable(host: str, home: SplitResult) -> bool:
    if host == home.hostname:
        return True
    if home.scheme == "http":
        return is_loopback(host)
    return bool(_QUALIFIED.fullmatch(host)) and not host.endswith(".localhost")


def _split(url: object) -> SplitResult | None:
    """Return the parts of an absolute URL, None if it is none that two could not misread."""
    if not isinstance(url, str) or len(url) > MAX_URL or not _VISIBLE.fullmatch(url):
        return None
    # A backslash is a slash to a browser and part of a name to others.
    if "\\" in url:
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    return parts if parts.hostname and port != 0 else None


def _methods(document: Mapping[str, Any], endpoint: str) -> tuple[str, ...]:
    listed = document.get(f"{endpoint}_auth_methods_supported")
    if not isinstance(listed, list):
        return ("client_secret_basic",)  # the default of RFC 8414 section 2
    return tuple(method for method in listed[:MAX_LISTED] if isinstance(method, str))


def _shown(found: object) -> str:
    """Return a stranger's value as the operator may read it: one bounded ASCII line."""
    return ascii(found)[:200]
