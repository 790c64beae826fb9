"""
Readers of certificates and keys: PEM as it is, or base64 of it as Pomerium has it.

A key is never shown. Whether it fits its certificate is ``chain``'s business.

Source: RFC 7468.
"""

from __future__ import annotations

import re

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding

from pomeriumd.settings.chain import read_key
from pomeriumd.settings.fields import base64_text, kind_of, shown, word
from pomeriumd.settings.reads import Unfit
from pomeriumd.settings.values import Secret

_BEGIN = b"-----BEGIN "

_LIST = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)


def _pem(found: object, what: str) -> bytes:
    if isinstance(found, bytes) and _BEGIN in found:
        return found
    if isinstance(found, str) and _BEGIN.decode() in found:
        return found.encode("utf-8", "replace")
    if not isinstance(found, (bytes, str)):
        raise Unfit(f"want {what} in PEM or base64 of it, got {kind_of(found)}")
    try:
        octets = base64_text(found)
    except Unfit:
        octets = b""
    if _BEGIN not in octets:
        raise Unfit(f"want {what} in PEM or base64 of it, got neither")
    return octets


def certificates(found: object) -> bytes:
    """Return one or more certificates, PEM."""
    pem = _pem(found, "a certificate")
    try:
        x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise Unfit("holds no certificate that can be read") from None
    return pem


def revocation_lists(found: object) -> bytes:
    """Return one or more lists of revoked certificates, PEM; what comes as DER becomes PEM."""
    octets = found if isinstance(found, bytes) and _BEGIN not in found else b""
    try:
        if octets.startswith(b"\x30"):
            return x509.load_der_x509_crl(octets).public_bytes(Encoding.PEM)
        pem = _pem(found, "a revocation list")
        lists = [x509.load_pem_x509_crl(block) for block in _LIST.findall(pem)]
    except ValueError as error:
        if isinstance(error, Unfit):
            raise
        raise Unfit("holds a revocation list that cannot be read") from None
    if not lists:
        raise Unfit("holds no revocation list; want -----BEGIN X509 CRL-----")
    for one in lists:
        _complete(one)
    return pem


def split_lists(pem: bytes) -> list[x509.CertificateRevocationList]:
    """Return the lists that ``revocation_lists`` has read."""
    return [x509.load_pem_x509_crl(block) for block in _LIST.findall(pem)]


def _complete(crl: x509.CertificateRevocationList) -> None:
    """Refuse a list that tells a part only of what its issuer has revoked."""
    for extension in crl.extensions:
        value = extension.value
        part = isinstance(value, x509.DeltaCRLIndicator) or (
            isinstance(value, x509.IssuingDistributionPoint)
            and (
                value.indirect_crl
                or value.only_contains_ca_certs
                or value.only_contains_attribute_certs
                or value.only_some_reasons is not None
            )
        )
        if part or (extension.critical and isinstance(value, x509.UnrecognizedExtension)):
            who = shown(crl.issuer.rfc4514_string())
            raise Unfit(f"the list of {who} is a partial one; want one with all that is revoked")


_HEX = re.compile(r"[0-9a-f]{64}|[0-9a-f]{2}(?::[0-9a-f]{2}){31}")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{43}=")


def certificate_hash(found: object) -> str:
    """
    Return what a certificate, or its key, is known by.

    Returns:
        64 hex digits in lower case, SHA-256 of the certificate; or 44 characters of base64,
        SHA-256 of its public key (SubjectPublicKeyInfo).
    """
    value = word(found)
    if _HEX.fullmatch(value.lower()):
        return value.lower().replace(":", "")
    if _BASE64.fullmatch(value):
        return value
    raise Unfit(
        "want SHA-256 of a certificate as 64 hex digits, or of its public key as 44 characters of"
        f" base64, got {shown(value)}"
    )


def private_key(found: object) -> Secret:
    """Return a private key without a passphrase, PEM."""
    return _key(found)[0]


def signing_key(found: object) -> Secret:
    """Return an EC P-256 private key, PEM."""
    pem, key = _key(found)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Unfit("want an EC P-256 key, got one of another kind")
    if not isinstance(key.curve, ec.SECP256R1):
        raise Unfit(f"want an EC P-256 key, got one on {key.curve.name}")
    return pem


def _key(found: object) -> tuple[Secret, PrivateKeyTypes]:
    pem = _pem(found, "a private key")
    try:
        return Secret(pem), read_key(pem)
    except TypeError:
        raise Unfit("has a passphrase; want a key without one") from None
    except (ValueError, UnsupportedAlgorithm):
        raise Unfit("holds no private key that can be read") from None
