"""One route: which requests it takes, who may use it, and where it leads."""

from __future__ import annotations

from typing import Annotated

import attrs

from pomeriumd.settings.kinds import (
    AsksFor,
    Certificates,
    ClientCertificate,
    Domain,
    Flag,
    HostName,
    Path,
    PrivateKey,
    Regex,
    Renegotiation,
    RequestHeaders,
    RouteOrigin,
    Text,
    Upstream,
    User,
    WaitOrForever,
)
from pomeriumd.settings.reads import Doc


@attrs.frozen(kw_only=True)
class RouteSettings:
    """One entry of ``policy`` (or ``routes``)."""

    place: str
    """Where it stands in the settings: ``policy[3]``."""

    from_: Annotated[
        RouteOrigin,
        Doc(
            "What the browser's address bar says: scheme, host and, where it is not the usual "
            "one, port. A path belongs in `path`, `prefix` or `regex`.",
            example="https://wiki.example.com",
        ),
    ]
    to: Annotated[
        Upstream,
        Doc(
            "Where the application listens. A path here is put in front of the path of each "
            "request.",
            example="http://127.0.0.1:8080",
        ),
    ]
    path: Annotated[Path | None, Doc("Take only this path, exactly.", example="/status")] = None
    prefix: Annotated[
        Path | None,
        Doc(
            "Take this path and all below it. It ends at segment borders: `/a` takes `/a` and "
            "`/a/b`, not `/ab`.",
            example="/wiki",
        ),
    ] = None
    regex: Annotated[
        Regex | None,
        Doc(
            "Take the paths that this expression matches whole. No back-references and nothing "
            "that looks around, as in RE2; nothing that a long path could stall.",
            example="/v[0-9]+/[^/]+",
        ),
    ] = None

    allowed_users: Annotated[
        tuple[User, ...],
        Doc(
            "People who may use it: verified e-mail addresses, or the provider's user ids.",
            example="[ann@example.com]",
        ),
    ] = ()
    allowed_groups: Annotated[
        tuple[Text, ...],
        Doc(
            "Groups whose members may use it, named as the provider's `groups` claim does.",
            example="[admins]",
        ),
    ] = ()
    allowed_domains: Annotated[
        tuple[Domain, ...],
        Doc(
            "Domains of verified e-mail addresses whose owners may use it. Subdomains do not "
            "count.",
            example="[example.com]",
        ),
    ] = ()
    allow_any_authenticated_user: Annotated[
        Flag, Doc("Everybody whom the identity provider signs in may use it.")
    ] = False
    allow_public_unauthenticated_access: Annotated[
        Flag,
        Doc("Everybody may use it, with no sign-in at all. Not together with any `allowed_*`."),
    ] = False

    allow_websockets: Annotated[
        Flag, Doc("Let WebSocket upgrades through; without it they are answered 403.")
    ] = False
    timeout: Annotated[
        WaitOrForever | None,
        Doc(
            "How long the application may take to begin its answer, from the end of the request. "
            "0 waits without end.",
            default="`default_upstream_timeout`",
            example="90s",
        ),
    ] = None
    set_request_headers: Annotated[
        RequestHeaders,
        Doc(
            "Header fields to set on each request to the application, over those of the client. "
            "Values are kept like secrets.",
            example="{X-Site: intranet}",
        ),
    ] = attrs.field(default=(), repr=False)
    preserve_host_header: Annotated[
        Flag, Doc("Hand on the Host that the browser sent, instead of the host of `to`.")
    ] = False
    pass_identity_headers: Annotated[
        Flag,
        Doc(
            "Tell the application who is asking: `x-pomerium-jwt-assertion` and "
            "`x-pomerium-authenticated-user-*`."
        ),
    ] = True

    tls_downstream_client_ca: Annotated[
        Certificates | None,
        Doc(
            "Whose client certificates count here, in place of `ca` of `downstream_mtls`. The "
            "route then wants one."
        ),
    ] = None
    tls_downstream_client_certificate: Annotated[
        AsksFor | None,
        Doc(
            "Whether browsers are asked for a client certificate at this host: `require` is that "
            "nobody gets on without a valid one, `request` that it may be missing, `none` that it "
            "is not asked for. A browser is asked where any route of the host wants one.",
            default="`require` with an own CA, `allowed_client_certificates`, or as `enforcement` "
            "of `downstream_mtls` says; else `none`",
            example="none",
        ),
    ] = None
    allowed_client_certificates: Annotated[
        tuple[ClientCertificate, ...],
        Doc(
            "The only client certificates that get on, besides what else the route asks: SHA-256 "
            "of the certificate in hex, with or without colons, or of its public key in base64.",
            example="[5FF0...E1, 'fGdD...kB8=']",
        ),
    ] = ()

    tls_skip_verify: Annotated[
        Flag,
        Doc(
            "Do not verify the application's certificate at all, neither its issuer nor its name. "
            "Dangerous: whoever stands between can be the application. Each generation of settings "
            "logs a warning."
        ),
    ] = False
    tls_custom_ca: Annotated[
        Certificates | None,
        Doc(
            "Certificates to trust for this application, in place of the system's: of its root, of "
            "an authority below that, or its own. What goes wrong is in "
            "[upstream-tls.md](upstream-tls.md)."
        ),
    ] = None
    tls_client_cert: Annotated[
        Certificates | None, Doc("The certificate that we show to the application, with its chain.")
    ] = None
    tls_client_key: Annotated[PrivateKey | None, Doc("The key to `tls_client_cert`.")] = None
    tls_server_name: Annotated[
        HostName | None,
        Doc(
            "The name that the application's certificate must bear, and that it is asked for "
            "(SNI); of an IP address, that which stands in it as such.",
            default="the host of `to`",
            example="wiki.internal",
        ),
    ] = None
    tls_upstream_server_name: Annotated[
        HostName | None,
        Doc("The newer name of `tls_server_name`.", example="wiki.internal"),
    ] = None
    tls_upstream_allow_renegotiation: Annotated[
        Renegotiation,
        Doc(
            "Taken when it says `false`, which is how it is: an application that wants to "
            "renegotiate TLS 1.2 is refused."
        ),
    ] = False

    @property
    def upstream_name(self) -> str:
        """Return the name that the application's certificate must bear."""
        return self.tls_upstream_server_name or self.tls_server_name or self.to.host

    @property
    def matcher(self) -> str:
        """Return which paths it takes, as the operator wrote it; empty for all paths."""
        for name in ("path", "prefix", "regex"):
            text = getattr(self, name)
            if text is not None:
                return f"{name} {text}"
        return ""

    @property
    def admits(self) -> bool:
        """Return whether anybody at all may use it."""
        return bool(
            self.allowed_users
            or self.allowed_groups
            or self.allowed_domains
            or self.allow_any_authenticated_user
            or self.allow_public_unauthenticated_access
        )
