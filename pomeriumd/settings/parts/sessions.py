"""Cookies, and how long a session is believed."""

from __future__ import annotations

from typing import Annotated

import attrs

from pomeriumd.settings.kinds import (
    Age,
    CookieName,
    Domain,
    Flag,
    Recheck,
    SameSite,
)
from pomeriumd.settings.reads import Doc


@attrs.frozen(kw_only=True, slots=False)
class Sessions:
    """Cookies, and how long a session is believed."""

    cookie_name: Annotated[CookieName, Doc("Name of the session cookie.")] = "_pomerium"
    cookie_domain: Annotated[
        Domain | None,
        Doc(
            "Let the browser send the session cookie to all hosts of this domain. Left out, each "
            "host has a cookie of its own, which is safer.",
            default="none",
            example="example.com",
        ),
    ] = None
    cookie_secure: Annotated[Flag, Doc("Send cookies over https only.")] = True
    cookie_http_only: Annotated[Flag, Doc("Keep cookies away from scripts.")] = True
    cookie_same_site: Annotated[
        SameSite,
        Doc("`lax` or `none`; `none` needs `cookie_secure`, and `strict` would break every login."),
    ] = "lax"
    cookie_expire: Annotated[
        Age, Doc("How long after a sign-in a session ends, whatever happens.", default="14h")
    ] = 14 * 3600.0
    session_recheck: Annotated[
        Recheck,
        Doc(
            "From this age on, the next page view confirms the session with the identity "
            "provider, unseen by the user.",
            default="10m",
        ),
    ] = 600.0
    session_recheck_max: Annotated[
        Age,
        Doc(
            "From this age on nothing is let through before the provider has confirmed the "
            "session.",
            default="60m",
        ),
    ] = 3600.0
    session_idle: Annotated[
        Age, Doc("A session that is not used for so long ends.", default="1h")
    ] = 3600.0
