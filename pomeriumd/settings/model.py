"""
All settings of a running pomeriumd, as one frozen value.

Everything here is parsed, checked and complete: durations are seconds, PEM and base64 are
decoded, files are read. An attribute has the name of its key in the file (``from`` is
``from_``), and its annotation carries how it is read and what the manual says.
"""

from __future__ import annotations

from typing import Annotated

import attrs

from pomeriumd.errors import Problem
from pomeriumd.settings.cluster import ClusterSettings
from pomeriumd.settings.kinds import (
    Age,
    Algorithm,
    Attempt,
    Certificates,
    Connections,
    CookieName,
    Directory,
    Domain,
    Flag,
    HostName,
    Interval,
    Issuer,
    KeptFor,
    ListenAddress,
    LogLevel,
    Network,
    NetworkBlock,
    Parameters,
    Path,
    PrivateKey,
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
from pomeriumd.settings.roles import ALL, AUTHORIZE, PROXY, ROLES
from pomeriumd.settings.route import RouteSettings
from pomeriumd.settings.values import Address, CertificatePair, Origin, Secret, UpstreamURL

__all__ = [
    "Address",
    "CertificatePair",
    "ClusterSettings",
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
        Services,
        Doc(
            "Which roles this process runs: `proxy`, `authenticate`, `authorize`, or a list of "
            "them; `all` is the three. [Roles](#roles) says what each needs. A change needs a "
            "restart.",
            default="`all`",
            example="proxy",
        ),
    ] = ROLES
    address: Annotated[
        ListenAddress,
        Doc(
            "Where to listen: `:443` is every address of the machine. For authorize alone it has "
            "`/ping` and `/healthz` only, and moves to port 5443, with a warning, where it would "
            "be that of `grpc_address` and one of the two is not written.",
            default=":443",
            example="127.0.0.1:8443",
        ),
    ] = HTTPS_EVERYWHERE
    workers: Annotated[
        Workers | None,
        Doc(
            "How many processes serve; 1 to 64. They share the listening sockets, and one that "
            "dies is replaced at once: from 2 on, one more process (60 MiB) is kept in reserve. "
            "A change needs a restart.",
            default="one for each core that we may use",
            example="4",
        ),
    ] = None
    insecure_server: Annotated[
        Flag,
        Doc("Listen without TLS; for a load balancer in front that ends TLS."),
    ] = False
    use_proxy_protocol: Annotated[
        Flag,
        Doc(
            "Take the client's address from a PROXY header, version 1 or 2, with which every "
            "connection to `address` has to begin then. Believed from `trusted_proxies`, or from "
            "whoever connects if that is empty. See [load-balancers.md](load-balancers.md)."
        ),
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
            "sessions. Equal on every replica of every role. With `services: all` it may be left "
            "out; one is then made and kept in `state_dir`.",
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
        RootSecret | None,
        Doc(
            "32 random bytes in base64, other than `shared_secret`: seals the cookies of the "
            "authenticate service. Equal on every replica. `head -c32 /dev/urandom | base64` "
            "makes one."
        ),
    ] = None
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

    authorize_service_urls: Annotated[
        tuple[ServiceOrigin, ...],
        Doc(
            "Where a proxy asks for decisions. Each address that one of the names resolves to is a "
            "replica of its own, with its own health; `https://` is gRPC with TLS. "
            "`authorize_service_url` puts one more in front. With proxy and authorize in one "
            "process nobody is asked.",
            example="[https://authorize.internal:5443]",
        ),
    ] = ()
    certificate_authority: Annotated[
        Certificates | None,
        Doc(
            "Certificates to trust, beside the system's, for authorize and nobody else.",
            default="none",
        ),
    ] = None
    override_certificate_name: Annotated[
        HostName | None,
        Doc(
            "The name that authorize's certificate must bear.",
            default="the host of its URL",
            example="authorize.internal",
        ),
    ] = None
    grpc_client_certificate: Annotated[
        Certificates | None,
        Doc("The certificate that a proxy shows to authorize, with its chain."),
    ] = None
    grpc_client_certificate_key: Annotated[
        PrivateKey | None, Doc("The key to `grpc_client_certificate`.")
    ] = None
    grpc_client_timeout: Annotated[
        Wait,
        Doc("How long a proxy waits for a decision in all, then answers 503.", default="10s"),
    ] = 10.0
    grpc_attempt_timeout: Annotated[
        Attempt,
        Doc(
            "How long it waits for one replica, then asks another one; shorter than "
            "`grpc_client_timeout`.",
            default="250ms",
        ),
    ] = 0.25
    grpc_client_dns_roundrobin: Annotated[
        Flag,
        Doc("Ask all replicas in turn. With `false` it is one, as long as that one is healthy."),
    ] = True
    grpc_resolve_interval: Annotated[
        Interval,
        Doc(
            "How often the names of authorize are looked up again; after a failure it is at once.",
            default="30s",
        ),
    ] = 30.0
    decision_max_age: Annotated[
        KeptFor,
        Doc(
            "How long a decision counts while no replica can say that the rules have changed. "
            "0 asks anew for each request.",
            default="1m",
        ),
    ] = 60.0
    grpc_address: Annotated[
        ListenAddress | None,
        Doc(
            "Where authorize listens for proxies. A change of this, or of another setting of that "
            "listener, needs a restart.",
            default="`:443`; `:5443` where authenticate is in the same process; none where a proxy "
            "is",
            example=":5443",
        ),
    ] = None
    grpc_insecure: Annotated[
        Flag,
        Doc(
            "gRPC without TLS: authorize listens so, and proxies may reach it at `http://`. On "
            "loopback it needs no permission. What is said can then be read and changed on the "
            "way."
        ),
    ] = False
    grpc_client_ca: Annotated[
        Certificates | None,
        Doc(
            "Authorize takes only clients that show a certificate which one of these vouches for.",
            default="nobody is asked for one",
        ),
    ] = None
    grpc_server_max_connection_age: Annotated[
        Wait,
        Doc(
            "After so long authorize asks a client to connect anew, so that balancers in front "
            "can spread their load again.",
            default="5m",
        ),
    ] = 300.0
    grpc_server_max_connection_age_grace: Annotated[
        Wait,
        Doc("How much longer calls under way may then take.", default="5m"),
    ] = 300.0

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

    warnings: tuple[Problem, ...] = attrs.field(default=(), eq=False)
    """What was not taken as it stands, and what was done instead; for the log."""

    def runs(self, role: str) -> bool:
        """Return whether this process has a role: one of ``roles.ROLES``."""
        return role in self.services

    @property
    def decides_here(self) -> bool:
        """Return whether the proxy of this process asks the policy itself, and not over gRPC."""
        return self.runs(PROXY) and self.runs(AUTHORIZE)

    @property
    def service(self) -> str:
        """Return the roles in one word, for metrics: ``all``, ``proxy``, ``proxy,authorize``."""
        return ALL if self.services == ROLES else ",".join(self.services)

    @property
    def https(self) -> bool:
        """Return whether there is TLS at ``address``; only authorize may lack certificates."""
        health_only = self.services == (AUTHORIZE,) and not self.certificates
        return not (self.insecure_server or health_only)

    @property
    def grpc_tls(self) -> bool:
        """Return whether there is TLS at ``grpc_address``, if anything listens there."""
        return bool(self.certificates) and not self.grpc_insecure

    @property
    def all_routes(self) -> tuple[RouteSettings, ...]:
        """Return the routes of the process, then those of its clusters."""
        return (*self.routes, *(route for cluster in self.clusters for route in cluster.routes))
