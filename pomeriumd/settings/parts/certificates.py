"""Which certificates are shown to browsers, and to proxies."""

from __future__ import annotations

from typing import Annotated

import attrs

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
