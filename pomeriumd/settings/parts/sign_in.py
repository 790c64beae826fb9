"""Where people sign in, and with which identity provider."""

from __future__ import annotations

from typing import Annotated

import attrs

from pomeriumd.settings.kinds import (
    Algorithm,
    Issuer,
    Parameters,
    Path,
    ProviderKind,
    SecretText,
    ServiceOrigin,
    Text,
    Word,
)
from pomeriumd.settings.reads import Doc


@attrs.frozen(kw_only=True, slots=False)
class SigningIn:
    """Where people sign in, and with which identity provider."""

    authenticate_service_url: Annotated[
        ServiceOrigin | None,
        Doc(
            "Where browsers reach the sign-in: scheme, host and port, and no more.",
            example="https://authenticate.example.com",
        ),
    ] = None
    authenticate_callback_path: Annotated[
        Path,
        Doc(
            "Path of the redirect URI to register with the identity provider, under "
            "`authenticate_service_url`."
        ),
    ] = "/oauth2/callback"
    idp_provider: Annotated[
        ProviderKind | None,
        Doc(
            "Kind of the identity provider: `oidc`, `google`, `okta`, `onelogin`, `auth0`, "
            "`cognito`, `gitlab`, `ping` or `azure`.",
            example="oidc",
        ),
    ] = None
    idp_provider_url: Annotated[
        Issuer | None,
        Doc(
            "The provider's issuer. Needed for `oidc`, `okta`, `auth0`, `cognito` and `ping`.",
            default="the kind's own",
            example="https://id.example.com/realms/staff",
        ),
    ] = None
    idp_client_id: Annotated[
        Text | None, Doc("The id under which the provider knows us.", example="pomerium")
    ] = None
    idp_client_secret: Annotated[
        SecretText | None, Doc("The secret that goes with `idp_client_id`.")
    ] = None
    idp_scopes: Annotated[
        tuple[Word, ...] | None,
        Doc(
            "Scopes to ask for, in place of the kind's own; `openid` must be among them.",
            default="the kind's own",
            example="[openid, email, profile]",
        ),
    ] = None
    idp_request_params: Annotated[
        Parameters,
        Doc("More parameters for the authorization request.", example="{prompt: select_account}"),
    ] = ()
    idp_signing_algorithms: Annotated[
        tuple[Algorithm, ...],
        Doc(
            "Algorithms that an ID token may be signed with; asymmetric ones only.",
            example="[RS256]",
        ),
    ] = ("RS256", "ES256")
