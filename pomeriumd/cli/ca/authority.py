"""
A small internal authority, and certificates that it issues.

Pure: keys, serial numbers and the time are arguments. Whoever has the authority's certificate
believes nothing but what it issued itself: there is none below it (path length 0), and where names
are permitted, no other name counts.

Source: RFC 5280 sections 4.2.1.1 to 4.2.1.12.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pomeriumd.settings.addresses import host, name_or_address
from pomeriumd.settings.fields import shown
from pomeriumd.settings.reads import Unfit

CA_DAYS = 3650
ROLE_DAYS = 90

BACKDATED = timedelta(hours=1)
"""That a certificate is good before it was made: a host whose clock is late takes it at once."""

LONGEST_TITLE = 64
"""Characters of a common name; RFC 5280 appendix A.1."""

EVERY_ADDRESS = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))

_NO_USES = dict.fromkeys(
    (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
        *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    ),
    False,
)


class NotIssued(Exception):
    """It cannot be issued so; the text says why, and what to do."""


@attrs.frozen(eq=False)
class Made:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: EllipticCurvePrivateKey = attrs.field(repr=False)

    @property
    def pem(self) -> bytes:
        """Return the certificate, PEM."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """Return the key, PEM, without a passphrase."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def end(self) -> datetime:
        """Return until when it is good."""
        return self.certificate.not_valid_after_utc


def name(text: str) -> x509.DNSName | x509.IPAddress:
    """
    Return a name that a certificate is to be for: a host, ``*.`` and a domain, or an IP address.

    Raises:
        NotIssued: it is none of these.
    """
    wild = "*." if text.startswith("*.") else ""
    try:
        found = wild + (host(text[2:]) if wild else name_or_address(text))
    except Unfit as error:
        raise NotIssued(str(error)) from None
    if wild and "." not in found.removeprefix(wild):
        raise NotIssued(f"{found}: nobody believes a wildcard right below a top-level domain")
    try:
        return x509.IPAddress(ip_address(found))
    except ValueError:
        return x509.DNSName(found)


def permitted(text: str) -> x509.DNSName | x509.IPAddress:
    """
    Return what an authority may vouch for: a domain with all below it, or a network.

    Raises:
        NotIssued: it is neither.
    """
    try:
        return x509.IPAddress(ip_network(text))
    except ValueError:
        pass
    try:
        found = host(text.removeprefix("."))
        ip_network(found)
    except Unfit:
        raise NotIssued(f"want a domain or a network to permit, got {shown(text)}") from None
    except ValueError:
        return x509.DNSName(found)
    raise NotIssued(f"want a domain or a network to permit, got {shown(text)}")


def authority(
    permits: Sequence[x509.GeneralName],
    *,
    now: float,
    days: int,
    key: EllipticCurvePrivateKey,
    serial: int,
) -> Made:
    """
    Return a new authority.

    Args:
        permits: see ``permitted``; none is everything.
        now: seconds since the epoch.
        days: that it is good for.
        key: its own, new.
        serial: random, 20 bytes at the most.
    """
    begin = datetime.fromtimestamp(int(now), UTC)
    title = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, f"pomeriumd internal CA {begin:%Y-%m-%d}")]
    )
    uses = x509.KeyUsage(**{**_NO_USES, "key_cert_sign": True, "crl_sign": True})
    builder = (
        _begun(title, title, key, serial, begin, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(uses, critical=True)
    )
    if permits:
        builder = builder.add_extension(_constraints(permits), critical=True)
    return Made(builder.sign(key, hashes.SHA256()), key)


def _constraints(permits: Sequence[x509.GeneralName]) -> x509.NameConstraints:
    """Permit these alone: of a kind of name that none of them is, every name is excluded."""
    excluded: list[x509.GeneralName] = []
    if not any(isinstance(one, x509.IPAddress) for one in permits):
        excluded += [x509.IPAddress(network) for network in EVERY_ADDRESS]
    if not any(isinstance(one, x509.DNSName) for one in permits):
        excluded.append(x509.DNSName(""))
    return x509.NameConstraints(list(permits), excluded or None)


def role(
    names: Sequence[x509.DNSName | x509.IPAddress],
    by: Made,
    *,
    now: float,
    days: int,
    key: EllipticCurvePrivateKey,
    serial: int,
) -> Made:
    """
    Return a certificate for a host, as server and as client.

    Args:
        names: at least one; it is called by the first.
        by: the authority; it is good no longer than that.
        now: seconds since the epoch.
        days: that it is good for.
        key: its own, new.
        serial: random, 20 bytes at the most.

    Raises:
        NotIssued: the authority may not vouch for one of the names, or is not good any more.
    """
    begin = datetime.fromtimestamp(int(now), UTC)
    if by.end <= begin:
        raise NotIssued(f"the authority expired on {by.end:%Y-%m-%d}; make a new one")
    for one in names:
        if why := _not_permitted(one, by.certificate):
            raise NotIssued(why)
    issuer = by.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    servers = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    uses = x509.KeyUsage(**{**_NO_USES, "digital_signature": True})
    builder = (
        _begun(_title(names[0]), by.certificate.subject, key, serial, begin, days, by.end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(uses, critical=True)
        .add_extension(x509.ExtendedKeyUsage(servers), critical=False)
        .add_extension(x509.SubjectAlternativeName(list(names)), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False
        )
    )
    return Made(builder.sign(by.key, hashes.SHA256()), key)


def _begun(
    subject: x509.Name,
    issuer: x509.Name,
    key: EllipticCurvePrivateKey,
    serial: int,
    begin: datetime,
    days: int,
    latest: datetime | None = None,
) -> x509.CertificateBuilder:
    """Begin a certificate with what all of them have."""
    end = begin + timedelta(days=days)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(begin - BACKDATED)
        .not_valid_after(end if latest is None else min(end, latest))
        .add_extension(identifier, critical=False)
    )


def _title(first: x509.DNSName | x509.IPAddress) -> x509.Name:
    # With a space: where there are no DNS names, a verifier may take a common name for one.
    text = first.value if isinstance(first, x509.DNSName) else f"host at {first.value}"
    if len(text) > LONGEST_TITLE:
        text = f"{text[: LONGEST_TITLE - 4]} ..."
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _not_permitted(one: x509.DNSName | x509.IPAddress, ca: x509.Certificate) -> str:
    """Return why the authority may not vouch for a name; empty if it may."""
    try:
        found = ca.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return ""
    permits = found.permitted_subtrees or []
    if not permits or any(_below(one, two) for two in permits):
        return ""
    only = ", ".join(str(two.value) for two in permits)
    return (
        f"{one.value}: this authority is believed for {only} alone; make one that permits it, "
        "with --permit"
    )


def _below(one: x509.DNSName | x509.IPAddress, permit: x509.GeneralName) -> bool:
    if isinstance(one, x509.DNSName) and isinstance(permit, x509.DNSName):
        below = one.value.removeprefix("*.")
        return below == permit.value or below.endswith(f".{permit.value}")
    if isinstance(one, x509.IPAddress) and isinstance(permit, x509.IPAddress):
        network = permit.value
        return isinstance(network, IPv4Network | IPv6Network) and one.value in network
    return False
