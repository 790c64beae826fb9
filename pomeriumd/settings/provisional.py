"""
Certificates for a time of trial: self-signed ones, and those of Let's Encrypt's staging.

A browser that was once told to insist on TLS (HSTS) lets nobody click past its warning any
more. Where the certificate is one that it warns of, that locks everybody out, for a year.

Source: RFC 6797, 8.4 and 11.3; https://letsencrypt.org/docs/staging-environment/.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import NameOID

STAGING = ("(STAGING) ", "Fake LE ")
"""How the names of Let's Encrypt's staging authorities begin."""


def is_provisional(chain: Sequence[x509.Certificate]) -> bool:
    """Return whether a chain is for a time of trial; it has at least one certificate."""
    return is_self_signed(chain[0]) or any(map(_is_staging, chain))


def is_self_signed(certificate: x509.Certificate) -> bool:
    """Return whether a certificate vouches for itself."""
    if certificate.issuer != certificate.subject:
        return False
    try:
        certificate.verify_directly_issued_by(certificate)
    except (InvalidSignature, TypeError, UnsupportedAlgorithm, ValueError):
        return False
    return True


def _is_staging(certificate: x509.Certificate) -> bool:
    return any(
        str(attribute.value).startswith(STAGING)
        for attribute in certificate.issuer
        if attribute.oid in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME)
    )
