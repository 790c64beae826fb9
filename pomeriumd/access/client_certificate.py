"""
What a client's certificate says, once it has been verified.

Facts for policies, and for header fields to applications. Whoever issued the certificate wrote
them: here they become text that cannot break a line, stand for something else, or be as long as
they like.
"""

from __future__ import annotations

import base64
import hashlib
from urllib.parse import quote

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

MOST = 1_024
"""Bytes of one fact in a header field; what is longer is left out whole, since the beginning of a
name is another name."""

NAME_MOST = 1_024
"""Characters of a name that expressions are tried on."""

UPN = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
"""The user principal name of Active Directory, an otherName."""

_UTF8 = 0x0C
_LONG = 0x80

_ONE = " !\"#$&'()*+,/:;<=>?@[\\]^`{|}"
_LISTED = _ONE.replace(",", "")
"""Characters that stand as they are besides letters, digits and ``-._~``; others as %XX."""


@attrs.frozen(kw_only=True)
class ClientCertificate:
    """The facts of one certificate."""

    fingerprint: str
    """SHA-256 of the certificate: 64 hex digits."""
    spki_hash: str
    """SHA-256 of its public key (SubjectPublicKeyInfo), base64."""
    subject: str
    """As RFC 4514 writes it; so is the issuer."""
    issuer: str
    serial: str
    """In hex."""
    names: tuple[tuple[str, str], ...] = ()
    """Kind, as ``match_subject_alt_names`` calls it, and value."""

    @property
    def attribute(self) -> str:
        """Return what policies compare: the two hashes, with a space between."""
        return f"{self.fingerprint} {self.spki_hash}"

    def named(self, kind: str) -> tuple[str, ...]:
        """Return the names of one kind."""
        return tuple(value for its, value in self.names if its == kind)

    def fact(self, name: str) -> bytes:
        """Return what a placeholder stands for: printable ASCII, at most ``MOST`` bytes."""
        kind = _KINDS.get(name)
        if kind is not None:
            text = ",".join(quote(value, safe=_LISTED) for value in self.named(kind))
        else:
            text = quote(getattr(self, name.removeprefix("client_cert_")), safe=_ONE)
        return text.encode("ascii") if len(text) <= MOST else b""


_KINDS = {
    "client_cert_san_dns": "dns",
    "client_cert_san_email": "email",
    "client_cert_san_ip": "ip_address",
    "client_cert_san_uri": "uri",
    "client_cert_san_upn": "user_principal_name",
}


def facts(certificate: x509.Certificate) -> ClientCertificate:
    """
    Return what a certificate says.

    Raises:
        ValueError: it cannot be read.
    """
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    octets = certificate.public_bytes(Encoding.DER)
    return ClientCertificate(
        fingerprint=hashlib.sha256(octets).hexdigest(),
        spki_hash=base64.b64encode(hashlib.sha256(spki).digest()).decode("ascii"),
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        serial=f"{certificate.serial_number:x}",
        names=_names(certificate),
    )


def _names(certificate: x509.Certificate) -> tuple[tuple[str, str], ...]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    found = []
    for name in extension.value:
        match name:
            case x509.DNSName():
                found.append(("dns", name.value))
            case x509.RFC822Name():
                found.append(("email", name.value))
            case x509.IPAddress():
                found.append(("ip_address", str(name.value)))
            case x509.UniformResourceIdentifier():
                found.append(("uri", name.value))
            case x509.OtherName() if name.type_id == UPN:
                found.append(("user_principal_name", _utf8(name.value)))
    return tuple(found)


def _utf8(octets: bytes) -> str:
    """Return what a DER UTF8String of fewer than 64 KiB holds."""
    if len(octets) < 2 or octets[0] != _UTF8:  # noqa: PLR2004 - tag and length
        raise ValueError("the user principal name is no UTF8String")
    size, begin = octets[1], 2
    if size >= _LONG:
        begin += size - _LONG
        size = int.from_bytes(octets[2:begin], "big")
    if begin > 4 or len(octets) != begin + size:  # noqa: PLR2004 - as above
        raise ValueError("the user principal name is cut short")
    return octets[begin:].decode("utf-8")
