"""The routes, and what every response carries."""

from __future__ import annotations

from typing import Annotated

import attrs

from pomeriumd.settings.cluster import ClusterSettings
from pomeriumd.settings.kinds import ResponseHeaders
from pomeriumd.settings.reads import Doc
from pomeriumd.settings.route import RouteSettings

RESPONSE_HEADERS = (
    ("X-Frame-Options", "SAMEORIGIN"),
    ("X-Content-Type-Options", "nosniff"),
    # No preload: a site that enters the browsers' lists cannot leave them for months.
    ("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),
)
"""What every response carries unless ``headers`` says otherwise."""


@attrs.frozen(kw_only=True, slots=False)
class Routing:
    """The routes, and what every response carries."""

    routes: Annotated[
        tuple[RouteSettings, ...],
        Doc("The routes, in order. `policy` is the same list under its older name; it goes first."),
    ] = ()
    clusters: Annotated[
        tuple[ClusterSettings, ...],
        Doc(
            "For an authorize without a proxy that serves several clusters of proxies: each one's "
            "sign-in, provider and routes, see below. In place of `authenticate_service_url`, "
            "`idp_provider` and `routes`."
        ),
    ] = ()
    headers: Annotated[
        ResponseHeaders,
        Doc(
            "Header fields that every response carries, in place of the default ones. "
            "`{disable: true}` sends none.",
            example="{X-Frame-Options: DENY}",
        ),
    ] = RESPONSE_HEADERS
