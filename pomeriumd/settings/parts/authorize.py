"""gRPC between proxy and authorize, on either side."""

from __future__ import annotations

from typing import Annotated

import attrs

from pomeriumd.settings.kinds import (
    Attempt,
    Certificates,
    Flag,
    HostName,
    Interval,
    KeptFor,
    ListenAddress,
    PrivateKey,
    ServiceOrigin,
    Wait,
)
from pomeriumd.settings.reads import Doc


@attrs.frozen(kw_only=True, slots=False)
class Authorizing:
    """gRPC between proxy and authorize, on either side."""

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
