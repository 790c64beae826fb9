"""Which certificates are ordered from an authority, and how it sees that the names are ours."""

from __future__ import annotations

from typing import Annotated

import attrs

from pomeriumd.settings.kinds import (
    CertificateName,
    Certificates,
    Challenge,
    Directory,
    Flag,
    Issuer,
    MacKey,
    MailAddress,
    Program,
    Word,
)
from pomeriumd.settings.reads import Doc


@attrs.frozen(kw_only=True, slots=False)
class Automatic:
    """Which certificates are ordered from an authority, and how it sees that names are ours."""

    autocert: Annotated[
        Flag,
        Doc(
            "Order certificates from an ACME authority, Let's Encrypt unless told, for the hosts "
            "of all routes and of authenticate that no certificate here covers, and renew them. "
            "Its terms of service are agreed to. See [autocert.md](autocert.md)."
        ),
    ] = False
    autocert_dir: Annotated[
        Directory | None,
        Doc(
            "Where accounts, keys and certificates are kept. Hosts that are balanced share it.",
            default="`autocert` in `state_dir`",
            example="/var/lib/pomerium/autocert",
        ),
    ] = None
    autocert_names: Annotated[
        tuple[CertificateName, ...],
        Doc(
            "Names to order besides; `*.example.com` covers all hosts under it, which are not "
            "ordered one by one then, and needs `dns-01`.",
            example="[www.example.com]",
        ),
    ] = ()
    autocert_use_staging: Annotated[
        Flag,
        Doc("Order from the staging environment of Let's Encrypt; browsers do not trust it."),
    ] = False
    autocert_ca: Annotated[
        Issuer | None,
        Doc(
            "The directory of another ACME authority.",
            default="Let's Encrypt's",
            example="https://acme.example.com/directory",
        ),
    ] = None
    autocert_trusted_ca: Annotated[
        Certificates | None,
        Doc(
            "Whom to trust, in place of the system's authorities, when the ACME authority is asked."
        ),
    ] = None
    autocert_email: Annotated[
        MailAddress | None,
        Doc("Where the authority may write to.", example="ops@example.com"),
    ] = None
    autocert_eab_key_id: Annotated[
        Word | None,
        Doc("For an authority that takes accounts of its customers only: the key id that it gave."),
    ] = None
    autocert_eab_mac_key: Annotated[
        MacKey | None,
        Doc("The key that goes with `autocert_eab_key_id`, in base64url as the authority gave it."),
    ] = None
    autocert_must_staple: Annotated[
        Flag,
        Doc("Order certificates that are good with a stapled OCSP response only."),
    ] = False
    autocert_challenge: Annotated[
        Challenge | None,
        Doc(
            "How the authority sees that a name is ours: `tls-alpn-01` at port 443 of the host, "
            "`http-01` at port 80 (`http_redirect_addr`), `dns-01` by a record that "
            "`autocert_dns_hook` makes.",
            default="`dns-01` where `autocert_dns_hook` is set, else `tls-alpn-01`",
            example="http-01",
        ),
    ] = None
    autocert_dns_hook: Annotated[
        Program | None,
        Doc(
            "A program that makes and removes TXT records, called with `present` or `cleanup`, "
            "the record's name and its value.",
            example="/usr/local/sbin/acme-dns",
        ),
    ] = None

    @property
    def acme_challenge(self) -> str:
        """Return how names are proved."""
        usual = "tls-alpn-01" if self.autocert_dns_hook is None else "dns-01"
        return self.autocert_challenge or usual

    @property
    def acme_directory(self) -> str:
        """Return the URL of the authority's directory."""
        usual = LETS_ENCRYPT_STAGING if self.autocert_use_staging else LETS_ENCRYPT
        return self.autocert_ca or usual


LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
LETS_ENCRYPT_STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"
