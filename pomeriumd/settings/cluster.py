"""One cluster of proxies that shares an authorize with others: whose people, which routes."""

from __future__ import annotations

from typing import Annotated

import attrs

from pomeriumd.settings.kinds import ClusterName, Issuer, ProviderKind, ServiceOrigin
from pomeriumd.settings.reads import Doc
from pomeriumd.settings.route import RouteSettings


@attrs.frozen(kw_only=True)
class ClusterSettings:
    """
    One entry of ``clusters``.

    Its routes let in only people whom its provider vouches for and whose session its
    authenticate service has made: the same e-mail address from another provider is another
    person.
    """

    place: str
    """Where it stands in the settings: ``clusters[1]``."""

    name: Annotated[
        ClusterName,
        Doc("What the log and the metrics call it; each cluster has its own.", example="staff"),
    ]
    authenticate_service_url: Annotated[
        ServiceOrigin,
        Doc(
            "Where people of this cluster sign in, as its proxies have it.",
            example="https://authenticate.example.com",
        ),
    ]
    idp_provider: Annotated[
        ProviderKind,
        Doc("Kind of its identity provider, as its authenticate has it.", example="oidc"),
    ]
    idp_provider_url: Annotated[
        Issuer | None,
        Doc(
            "Its provider's issuer. Needed for `oidc`, `okta`, `auth0`, `cognito` and `ping`.",
            default="the kind's own",
            example="https://id.example.com/realms/staff",
        ),
    ] = None
    routes: Annotated[
        tuple[RouteSettings, ...],
        Doc(
            "Its routes, as its proxies have them. `policy` is the same list under its older "
            "name; it goes first."
        ),
    ] = ()
