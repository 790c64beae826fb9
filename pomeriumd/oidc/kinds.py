"""
What is particular about each kind of identity provider, in one table.

Everything else in this package is OpenID Connect as written. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import attrs

Claims = Mapping[str, object]
"""Members of an ID token or of a userinfo answer, by name."""

Verified = Callable[[Claims], bool | None]
"""Whether the claims call their e-mail verified; None when they do not say."""

_COMMON_SCOPES = ("openid", "profile", "email", "offline_access")

TENANT = "{tenantid}"
"""Stands for the tenant's id in the issuer of Microsoft's endpoints for many tenants."""


def _standard(claims: Claims) -> bool | None:
    # JSON true alone: the string "false" is true in many languages, and so was it in
    # many proxies. Source: OpenID Connect Core 1.0 section 5.1.
    return claims["email_verified"] is True if "email_verified" in claims else None


def _cognito(claims: Claims) -> bool | None:
    # Cognito's userinfo writes this boolean as a string.
    if "email_verified" not in claims:
        return None
    return claims["email_verified"] is True or claims["email_verified"] == "true"


def _azure(claims: Claims) -> bool | None:
    # An Entra administrator of any tenant can write any address into `email`, and
    # email_verified is none of Microsoft's claims. Only xms_edov ("e-mail domain owner
    # verified", an optional claim to be switched on) says that the address is theirs.
    # No source or refresh can make up for its absence: unverified, not unsaid.
    edov = claims.get("xms_edov")
    return edov is True or (type(edov) is int and edov == 1)


@attrs.frozen(kw_only=True)
class Kind:
    """One row: defaults and rules of one kind of provider."""

    name: str
    issuer: str | None = None
    """Where there is one for all customers; None means that the settings must say."""
    scopes: tuple[str, ...] = _COMMON_SCOPES
    parameters: tuple[tuple[str, str], ...] = ()
    """More parameters of the authorization request; settings go over them."""
    verified: Verified = _standard
    groups_claim: str = "groups"
    name_claim: str = "name"
    ends_with_slash: bool = False
    """The issuer ends with a slash although people write it without."""
    many_tenants: bool = False
    """Metadata may name a template with TENANT as its issuer."""
    logout_parameter: str = "post_logout_redirect_uri"


KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            Kind(name="oidc"),
            Kind(
                name="google",
                issuer="https://accounts.google.com",
                # Google refuses offline_access, and gives a refresh token only for these
                # two together.
                scopes=("openid", "profile", "email"),
                parameters=(("access_type", "offline"), ("prompt", "select_account consent")),
            ),
            Kind(name="okta", scopes=("openid", "profile", "email", "groups", "offline_access")),
            Kind(
                name="onelogin",
                issuer="https://openid-connect.onelogin.com/oidc",
                scopes=("openid", "profile", "email", "groups", "offline_access"),
            ),
            Kind(name="auth0", ends_with_slash=True),
            Kind(
                name="cognito",
                scopes=("openid", "profile", "email"),
                verified=_cognito,
                groups_claim="cognito:groups",
                logout_parameter="logout_uri",
            ),
            Kind(
                name="gitlab",
                issuer="https://gitlab.com",
                scopes=("openid", "profile", "email"),
            ),
            Kind(name="ping"),
            Kind(
                name="azure",
                issuer="https://login.microsoftonline.com/common/v2.0",
                parameters=(("prompt", "select_account"),),
                verified=_azure,
                many_tenants=True,
            ),
        )
    }
)
"""Every kind that ``idp_provider`` can name."""


def issuer_of(kind: Kind, configured: str | None) -> str | None:
    """
    Return the issuer that the settings mean; None when they name none and must.

    Args:
        kind: of the provider.
        configured: ``idp_provider_url`` as it was written.
    """
    issuer = configured or kind.issuer
    if issuer and kind.ends_with_slash and not issuer.endswith("/"):
        return f"{issuer}/"
    return issuer
