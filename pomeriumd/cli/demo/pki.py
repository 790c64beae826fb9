"""
A certificate authority for the demo, and one certificate from it.

The authority may vouch for ``pomerium.localhost`` and nothing else, in the certificate
itself: trusting it in a browser opens no other site to whoever gets its key.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pomeriumd.cli.demo.keep import keep

DOMAIN = "pomerium.localhost"
"""Browsers take every name under ``localhost`` to this machine (RFC 6761, 6.3)."""

CA_DAYS = 3650
LEAF_DAYS = 397
"""Browsers refuse certificates that are valid for more than 398 days."""

SPARE_DAYS = 30
"""A certificate with less left is made anew."""

_USES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def _only(*uses: str) -> x509.KeyUsage:
    """Return the extension that allows these uses of a key and no other (RFC 5280, 4.2.1.3)."""
    return x509.KeyUsage(**{use: use in uses for use in _USES})


@attrs.frozen
class Made:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = attrs.field(repr=False)

    @property
    def chain(self) -> bytes:
        """Return the certificate as PEM."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """Return the key as PEM."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def authority(now: datetime) -> Made:
    """Return a new certificate authority for the demo's domain alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    # A name of its own each time: a browser that trusts an older one is not confused.
    serial = x509.random_serial_number()
    name = _name(f"pomeriumd demo {serial & 0xFFFFFF:06x}")
    builder = (
        _builder(name, key, now, CA_DAYS)
        .serial_number(serial)
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_only("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(x509.NameConstraints([x509.DNSName(DOMAIN)], None), critical=True)
    )
    return Made(builder.sign(key, hashes.SHA256()), key)


def wildcard(ca: Made, now: datetime) -> Made:
    """Return a new certificate for every name under the demo's domain."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName(f"*.{DOMAIN}"), x509.DNSName(DOMAIN)]
    issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key())
    builder = (
        _builder(_name(f"*.{DOMAIN}"), key, now, LEAF_DAYS)
        .serial_number(x509.random_serial_number())
        .issuer_name(ca.certificate.subject)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_only("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(issuer_key, critical=False)
    )
    return Made(builder.sign(ca.key, hashes.SHA256()), key)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    name: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key.public_key())
        # An hour back: a browser in a virtual machine may have another clock.
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def ensure(directory: Path, now: datetime) -> list[str]:
    """
    See to it that the directory holds a good authority and certificate.

    Files: ``ca.pem``, ``ca.key``, ``server.pem``, ``server.key``; the keys are 0600.

    Returns:
        What had to be made, in words; empty when all was there.
    """
    made = []
    ca = _load(directory, "ca", now)
    if ca is None:
        ca = authority(now)
        _store(directory, "ca", ca)
        made.append("a certificate authority")
    leaf = _load(directory, "server", now)
    if leaf is None or not _signed_by(leaf, ca):
        _store(directory, "server", wildcard(ca, now))
        made.append(f"a certificate for *.{DOMAIN}")
    return made


def _store(directory: Path, stem: str, made: Made) -> None:
    # The key first: a certificate without its key is made again, the reverse is not seen.
    keep(directory / f"{stem}.key", made.key_pem)
    keep(directory / f"{stem}.pem", made.chain, mode=0o644)


def _load(directory: Path, stem: str, now: datetime) -> Made | None:
    """Return what is there, if it is whole and good for a while."""
    try:
        certificate = x509.load_pem_x509_certificate((directory / f"{stem}.pem").read_bytes())
        key = load_pem_private_key((directory / f"{stem}.key").read_bytes(), None)
    except (OSError, ValueError, TypeError):
        return None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        return None
    if certificate.public_key() != key.public_key():
        return None
    ends = certificate.not_valid_after_utc - timedelta(days=SPARE_DAYS)
    if not certificate.not_valid_before_utc <= now <= ends:
        return None
    return Made(certificate, key)


def _signed_by(leaf: Made, ca: Made) -> bool:
    try:
        leaf.certificate.verify_directly_issued_by(ca.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def present() -> datetime:
    """Return the time that certificates are made for."""
    return datetime.now(UTC)  # noqa: TID251  # here the argument comes from
