"""Where a process listens, and whom it believes about who calls."""

from __future__ import annotations

from typing import Annotated

import attrs

from pomeriumd.settings.kinds import (
    Flag,
    ListenAddress,
    NetworkBlock,
    Services,
    Workers,
)
from pomeriumd.settings.reads import Doc
from pomeriumd.settings.roles import ROLES
from pomeriumd.settings.values import Address

HTTPS_EVERYWHERE = Address("", 443)


@attrs.frozen(kw_only=True, slots=False)
class Listening:
    """Where a process listens, and whom it believes about who calls."""

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
