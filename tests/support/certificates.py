"""Certificates and keys for tests, made on the spot."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from pomeriumd.net.pem import Key
from pomeriumd.settings.values import CertificatePair, Secret

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
END = datetime(2046, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
"""A moment at which what is made here is valid; so is today, for programs that look."""


@attrs.frozen(eq=False)
class Issued:
    """A certificate with its key; it can issue others if it is an authority's."""

    certificate: x509.Certificate
    key: Key

    @property
    def pem(self) -> bytes:
        """Return the certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """Return the key."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def pair(self, place: str = "certificates[0]", *chain: Issued) -> CertificatePair:
        """Return both as settings have them."""
        pem = b"".join([self.pem, *(link.pem for link in chain)])
        return CertificatePair(chain=pem, key=Secret(self.key_pem), place=place)


def issue(
    *names: str,
    by: Issued | None = None,
    authority: bool = False,
    begin: datetime = BEGIN,
    end: datetime = END,
    title: str = "test",
    key: Key | None = None,
    uses: Sequence[x509.ObjectIdentifier] = (),
    path_length: int | None = None,
) -> Issued:
    """Return a certificate for names and IP addresses, signed by itself or an authority."""
    key = ec.generate_private_key(ec.SECP256R1()) if key is None else key
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if by is None else by.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=path_length), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if by is not None:
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(by.key.public_key())
        builder = builder.add_extension(issuer, critical=False)
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_name(name) for name in names]), critical=False
        )
    if uses:
        builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
    signer = key if by is None else by.key
    edwards = isinstance(signer, Ed25519PrivateKey)
    return Issued(builder.sign(signer, None if edwards else hashes.SHA256()), key)


@cache
def authority() -> Issued:
    """Return the tests' certificate authority."""
    return issue(authority=True, title="test authority")


@cache
def leaf(*names: str) -> Issued:
    """Return a certificate of the tests' authority, made once."""
    return issue(*names, by=authority(), title=names[0] if names else "nameless")


def days(count: float) -> timedelta:
    """Return so many days."""
    return timedelta(days=count)


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
