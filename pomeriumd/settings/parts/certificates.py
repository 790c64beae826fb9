"""Which certificates are shown to browsers, and to proxies."""

from __future__ import annotations

from typing import Annotated

import attrs

from pomeriumd.settings.kinds import Directory
from pomeriumd.settings.reads import Doc
from pomeriumd.settings.values import CertificatePair


@attrs.frozen(kw_only=True, slots=False)
class Certified:
    """Which certificates are shown to browsers, and to proxies."""

    certificates: Annotated[
        tuple[CertificatePair, ...],
        Doc(
            "Server certificates, chosen by the name that the browser asks for; the first one "
            "where none fits. A list of `{cert: FILE, key: FILE}`. `certificate` and "
            "`certificate_key` put one more in front.",
            example="[{cert: /etc/pomerium/tls.crt, key: /etc/pomerium/tls.key}]",
        ),
    ] = ()
    certificates_dir: Annotated[
        Directory | None,
        Doc(
            "A directory of more server certificates, behind those above in order of their names: "
            "`NAME.pem` with key and chain, `NAME.crt` with `NAME.key`, or, as certbot has them, "
            "`NAME/fullchain.pem` with `NAME/privkey.pem`. What comes, goes or changes there "
            "serves within seconds; a broken file is left out, or the one before it serves on. See "
            "[certificates.md](certificates.md).",
            default="none",
            example="/etc/letsencrypt/live",
        ),
    ] = None
