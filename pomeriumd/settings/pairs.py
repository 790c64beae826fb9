"""Which of the server certificates is shown where no browser asks for a name: at gRPC."""

from __future__ import annotations

from ipaddress import ip_address

from cryptography import x509

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
        pair: its first certificate is looked at, and of that the alternative names only.
        host: canonical: a name in lower case, or an IP address, IPv6 in brackets or not.

    Source: RFC 9525 section 6.3; a wildcard is the whole of the first label.
    """
    try:
        names = (
            x509.load_pem_x509_certificates(pair.chain)[0]
            .extensions.get_extension_for_class(x509.SubjectAlternativeName)
            .value
        )
    except (x509.ExtensionNotFound, ValueError):
        return False
    host = host.strip("[]")
    try:
        address = ip_address(host)
    except ValueError:
        found = {name.lower().removesuffix(".") for name in names.get_values_for_type(x509.DNSName)}
        return host in found or f"*.{host.partition('.')[2]}" in found
    return address in names.get_values_for_type(x509.IPAddress)
