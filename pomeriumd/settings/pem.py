"""
Readers of certificates and keys: PEM as it is, or base64 of it as Pomerium has it.

A key is never shown. Whether it fits its certificate is ``chain``'s business.

Source: RFC 7468.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from pomeriumd.settings.chain import read_key
from pomeriumd.settings.fields import base64_text, kind_of
from pomeriumd.settings.reads import Unfit
from pomeriumd.settings.values import Secret

_BEGIN = b"-----BEGIN "


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
