"""Which certificates clients have to show, and who asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import attrs

from pomeriumd.settings.kinds import (
    Certificates,
    Depth,
    Enforcement,
    RevocationLists,
    SubjectAltNames,
)
from pomeriumd.settings.reads import Doc

DEFAULT_DENY, POLICY, REJECT = "policy_with_default_deny", "policy", "reject_connection"
"""Values of ``enforcement``."""

REQUIRE, REQUEST, NONE = "require", "request", "none"
"""Values of a route's ``tls_downstream_client_certificate``."""


@attrs.frozen(kw_only=True)
class DownstreamMTLS:
    """The map ``downstream_mtls``."""

    ca: Annotated[
        Certificates | None,
        Doc(
            "Certificates whose owners may issue client certificates. A certificate in it is "
            "trusted as it stands, whether it is a root or an intermediate.",
        ),
    ] = None
    crl: Annotated[
        RevocationLists | None,
        Doc(
            "What has been revoked: one list for each issuer, PEM or DER. Only that of the issuer "
            "of the client's own certificate is looked at. Once a list is past its next update, "
            "every certificate of its issuer is refused.",
        ),
    ] = None
    enforcement: Annotated[
        Enforcement,
        Doc(
            "`policy_with_default_deny`: every route wants a valid certificate, unless it says "
            "otherwise; `policy`: only routes that say so; `reject_connection`: no connection "
            "without one, for whatever name, and no answer either.",
            example="policy",
        ),
    ] = DEFAULT_DENY
    match_subject_alt_names: Annotated[
        tuple[SubjectAltNames, ...],
        Doc(
            "What a certificate must be for, whoever issued it: a list of `dns`, `email`, "
            "`ip_address`, `uri` or `user_principal_name` with an expression that matches the "
            "whole name. One match does.",
            example=r"[{email: '[^@]+@example\.com'}]",
        ),
    ] = ()
    max_verify_depth: Annotated[
        Depth,
        Doc(
            "How many issuers there may be up to one of `ca`: 1 is that it issued the client's "
            "certificate itself. 0 is without a bound.",
        ),
    ] = 1


@attrs.frozen(kw_only=True, slots=False)
class Downstream:
    """Which certificates clients have to show, and who asks for them."""

    downstream_mtls: Annotated[
        DownstreamMTLS | None,
        Doc(
            "Client certificates: a map, see below and "
            "[client-certificates.md](client-certificates.md).",
            example="{ca_file: /etc/pomerium/clients.crt}",
        ),
    ] = None


def asked_of(
    switch: str | None,
    own_ca: bytes | None,
    allowed: Sequence[str],
    mtls: DownstreamMTLS | None,
) -> str:
    """
    Return what a route asks of clients: ``REQUIRE``, ``REQUEST`` or ``NONE``.

    Args:
        switch: its ``tls_downstream_client_certificate``.
        own_ca: its ``tls_downstream_client_ca``.
        allowed: its ``allowed_client_certificates``.
        mtls: for the whole process.
    """
    if switch is not None:
        return switch
    if own_ca is not None or allowed:
        return REQUIRE
    if mtls is None or mtls.ca is None or mtls.enforcement == POLICY:
        return NONE
    return REQUIRE
