"""Which of the server certificates is shown where no browser asks for a name: at gRPC."""

from __future__ import annotations

from pomeriumd.settings.chain import examined
from pomeriumd.settings.model import Settings
from pomeriumd.settings.values import CertificatePair


def grpc_pair(settings: Settings) -> CertificatePair | None:
    """
    Return the certificate that authorize shows to proxies; None is without TLS.

    It is the first one that covers the host of the first of ``authorize_service_urls``, if they
    are given: a proxy verifies that name. Where they are not, or no certificate covers it, it is
    the first of all.
    """
    if not settings.grpc_tls:
        return None
    pairs = [pair for pair in settings.certificates if not pair.automatic]
    for origin in settings.authorize_service_urls[:1]:
        for pair in pairs:
            if covers(pair, origin.host):
                return pair
    return pairs[0]


def covers(pair: CertificatePair, host: str) -> bool:
    """
    Return whether a certificate is for a host.

    Args:
        pair: its alternative names count only.
        host: canonical, see ``Facts.covers``.
    """
    facts = pair.facts
    if facts is None:
        try:
            facts = examined(pair.chain, pair.key.reveal())[1]
        except ValueError:
            return False
    return facts.covers(host)
