"""
All settings of a running pomeriumd, as one frozen value.

Everything here is parsed, checked and complete: durations are seconds, PEM and base64 are
decoded, files are read. An attribute has the name of its key in the file (``from`` is
``from_``), and its annotation carries how it is read and what the manual says.
"""

from __future__ import annotations

from typing import Annotated

import attrs

from pomeriumd.settings.kinds import (
    Age,
    Algorithm,
    Connections,
    CookieName,
    Directory,
    Domain,
    Flag,
    Issuer,
    ListenAddress,
    LogLevel,
    Network,
    NetworkBlock,
    Parameters,
    Path,
    ProviderKind,
    Recheck,
    ResponseHeaders,
    RootSecret,
    SameSite,
    SecretText,
    ServiceOrigin,
    Services,
    SigningKeyPEM,
    SocketPath,
    Text,
    Wait,
    WaitOrForever,
    Word,
    Workers,
)
from pomeriumd.settings.reads import Doc
from pomeriumd.settings.route import RouteSettings
from pomeriumd.settings.values import Address, CertificatePair, Origin, Secret, UpstreamURL

__all__ = [
    "Address",
    "CertificatePair",
    "Network",
    "Origin",
    "RouteSettings",
    "Secret",
    "Settings",
    "UpstreamURL",
]

HTTPS_EVERYWHERE = Address("", 443)

RESPONSE_HEADERS = (
    ("X-Frame-Options", "SAMEORIGIN"),
    ("X-Content-Type-Options", "nosniff"),
    # No preload: a site that enters the browsers' lists cannot leave them for months.
    ("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),
)
"""What every response carries unless ``headers`` says otherwise."""


@attrs.frozen(kw_only=True)
class Settings:
    """One set of settings; the beginning of a generation."""

    services: Annotated[
        Services, Doc("Which services this process runs: `all`. Others are not there yet.")
    ] = "all"
    address: Annotated[
        ListenAddress,
        Doc(
            "Where to listen: `:443` is every address of the machine.",
            default=":443",
            example="127.0.0.1:8443",
        ),
    ] = HTTPS_EVERYWHERE
    workers: Annotated[
        Workers | None,
        Doc(
            "How many processes serve; 1 to 64. They share the listening sockets, and one that "
            "dies is replaced. A change needs a restart.",
            default="one for each core that we may use",
            example="4",
        ),
    ] = None
    insecure_server: Annotated[
        Flag,
        Doc("Listen without TLS; for a load balancer in front that ends TLS."),
    ] = False
    certificates: Annotated[
        tuple[CertificatePair, ...],
        Doc(
            "Server certificates, chosen by the name that the browser asks for; the first one "
            "where none fits. A list of `{cert: FILE, key: FILE}`. `certificate` and "
            "`certificate_key` put one more in front.",
            example="[{cert: /etc/pomerium/tls.crt, key: /etc/pomerium/tls.key}]",
        ),
    ] = ()
    metrics_address: Annotated[
        ListenAddress | None,
        Doc(
            "Where Prometheus may read metrics, over plain http and with no sign-in; metrics.md "
            "lists them.",
            default="none",
            example="127.0.0.1:9902",
        ),
    ] = None
    trusted_proxies: Annotated[
        tuple[NetworkBlock, ...],
        Doc(
            "Addresses of proxies in front of us whose `X-Forwarded-*` fields we believe. "
            "Nobody is believed by default.",
            example="[192.0.2.10/32]",
        ),
    ] = ()

    shared_secret: Annotated[
        RootSecret | None,
        Doc(
            "32 random bytes in base64: the root of all keys between services and of the route "
            "sessions. Equal on every replica. With `services: all` it may be left out; one is "
            "then made and kept in `state_dir`.",
            default="made once",
        ),
    ] = None
    shared_secret_previous: Annotated[
        RootSecret | None,
        Doc(
            "What was made with this secret is still taken, and nothing is made with it any more: "
            "for the time of a rotation. See [secrets.md](secrets.md)."
        ),
    ] = None
    cookie_secret: Annotated[
        RootSecret,
        Doc(
            "32 random bytes in base64, other than `shared_secret`: seals the cookies of the "
            "authenticate service. Equal on every replica. `head -c32 /dev/urandom | base64` "
            "makes one."
        ),
    ]
    cookie_secret_previous: Annotated[
        RootSecret | None, Doc("The same for `cookie_secret` as the one above for `shared_secret`.")
    ] = None
    signing_key: Annotated[
        SigningKeyPEM | None,
        Doc(
            "The P-256 key that signs `x-pomerium-jwt-assertion`, PEM (or base64 of it).",
            default="derived from `shared_secret`",
        ),
    ] = None

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

    authenticate_service_url: Annotated[
        ServiceOrigin,
        Doc(
            "Where browsers reach the sign-in: scheme, host and port, and no more.",
            example="https://authenticate.example.com",
        ),
    ]
    authenticate_callback_path: Annotated[
        Path,
        Doc(
            "Path of the redirect URI to register with the identity provider, under "
            "`authenticate_service_url`."
        ),
    ] = "/oauth2/callback"
    idp_provider: Annotated[
        ProviderKind,
        Recheck,
        Doc(
            "Kind of the identity provider: `oidc`, `google`, `okta`, `onelogin`, `auth0`, "
            "`cognito`, `gitlab`, `ping` or `azure`.",
            example="oidc",
        ),
    ]
    idp_provider_url: Annotated[
        Issuer | None,
        Doc(
            "The provider's issuer. Needed for `oidc`, `okta`, `auth0`, `cognito` and `ping`.",
            default="the kind's own",
            example="https://id.example.com/realms/staff",
        ),
    ] = None
    idp_client_id: Annotated[
        Text, Doc("The id under which the provider knows us.", example="pomerium")
    ]
    idp_client_secret: Annotated[SecretText, Doc("The secret that goes with `idp_client_id`.")]
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

    routes: Annotated[
        tuple[RouteSettings, ...],
        Doc("The routes, in order. `policy` is the same list under its older name; it goes first."),
    ] = ()
    headers: Annotated[
        ResponseHeaders,
        Doc(
            "Header fields that every response carries, in place of the default ones. "
            "`{disable: true}` sends none.",
            example="{X-Frame-Options: DENY}",
        ),
    ] = RESPONSE_HEADERS

    default_upstream_timeout: Annotated[
        WaitOrForever,
        Doc(
            "How long an application may take to begin its answer, from the end of the request, "
            "where its route says nothing. 0 waits without end.",
            default="30s",
        ),
    ] = 30.0
    timeout_read: Annotated[
        WaitOrForever,
        Doc(
            "How long a client may stall while it sends a body. 0 waits without end.", default="30s"
        ),
    ] = 30.0
    timeout_write: Annotated[
        WaitOrForever,
        Doc(
            "How long a client may take in nothing of a response. 0 stands for `timeout_idle`; a "
            "stream that flows is never cut.",
            default="0s",
        ),
    ] = 0.0
    timeout_read_header: Annotated[
        Wait,
        Doc("How long the head of a request may take to arrive.", default="10s"),
    ] = 10.0
    timeout_idle: Annotated[
        Wait,
        Doc(
            "How long a connection may stay open between two requests, and how long an application "
            "may stall while it takes a request or gives an answer.",
            default="5m",
        ),
    ] = 300.0
    max_connections: Annotated[
        Connections,
        Doc(
            "How many connections of clients may be open; one more waits until one has left. "
            "Shared out among the workers, see [Memory](#memory)."
        ),
    ] = 10_000
    upstream_max_connections: Annotated[
        Connections,
        Doc(
            "How many connections one upstream may be given; what is above them waits. Shared out "
            "among the workers."
        ),
    ] = 256

    log_level: Annotated[LogLevel, Doc("`debug`, `info`, `warn` or `error`.")] = "info"
    pomerium_debug: Annotated[Flag, Doc("Write log lines for people instead of JSON.")] = False
    state_dir: Annotated[
        Directory,
        Doc(
            "A directory of our own that outlives a restart.",
            default="`$STATE_DIRECTORY`, else `$XDG_STATE_HOME/pomeriumd`, else "
            "`~/.local/state/pomeriumd`",
            example="/var/lib/pomerium",
        ),
    ]
    control_socket: Annotated[
        SocketPath | None,
        Doc(
            "The unix socket where `pomeriumd status` and `pomeriumd reload` ask; for our user and "
            "root alone. At most 107 bytes.",
            default="`$RUNTIME_DIRECTORY/control.sock`, else `control.sock` in `state_dir`",
            example="/run/pomerium/control.sock",
        ),
    ] = None
    """None where no file was read."""
