"""
A server certificate with what leads to its root and its key: read, and checked against each other.

Pure: whoever asks says what time it is. What is found is kept with the pair, so that nobody has
to look a second time: neither a worker that serves it nor the next reload.

Source: RFC 5280; RFC 8446 section 4.4.2 (each certifies the one before it); RFC 9525 section 6.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import AuthorityInformationAccessOID

from pomeriumd.settings.provisional import is_provisional
from pomeriumd.settings.values import Facts

Key = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey
"""What certificates on the web are made for."""

LONGEST_CHAIN = 10
"""Certificates of one chain; authorities' have two to four."""

LONGEST_TITLE = 120
"""Characters of what a certificate is called in a text."""


def read_certificates(pem: bytes) -> list[x509.Certificate]:
    """
    Return the certificates in their order, at least one.

    Raises:
        ValueError: something there is none.
    """
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise ValueError("the certificate cannot be read, want PEM") from None


def read_key(pem: bytes) -> PrivateKeyTypes:
    """
    Return a private key, of whatever kind.

    The numbers of an RSA key are seen to belong together, or it would give wrong signatures.
    Whether its primes are such is not tried: that takes 40 ms for 2048 bits, for each of what may
    be thousands.

    Raises:
        TypeError: it has a passphrase.
        ValueError, UnsupportedAlgorithm: it cannot be read.
    """
    key = load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=True)
    if isinstance(key, RSAPrivateKey) and not _coherent(key):
        raise ValueError("its numbers do not belong together")
    return key


def _coherent(key: RSAPrivateKey) -> bool:
    """Return whether the numbers are those of one key. RFC 8017, 3.2."""
    own = key.private_numbers()
    public, p, q = own.public_numbers, own.p, own.q
    return (
        min(p, q) > 1
        and p * q == public.n
        and public.e * own.d % (p - 1) == 1
        and public.e * own.d % (q - 1) == 1
        and own.dmp1 == own.d % (p - 1)
        and own.dmq1 == own.d % (q - 1)
        and own.iqmp * q % p == 1
    )


def names_of(certificate: x509.Certificate) -> list[bytes]:
    """
    Return the DNS names, in lower case; the subject's common name is none any more.

    Raises:
        ValueError: they cannot be read.
    """
    return _names(certificate)[0]


def _names(certificate: x509.Certificate) -> tuple[list[bytes], list[str]]:
    """Return the DNS names, and the IP addresses."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return [], []
    except ValueError:
        raise ValueError("the certificate's names cannot be read") from None
    dns = found.get_values_for_type(x509.DNSName)
    return (
        [name.lower().removesuffix(".").encode("ascii", "replace") for name in dns],
        [str(address) for address in found.get_values_for_type(x509.IPAddress)],
    )


def title(certificate: x509.Certificate) -> str:
    """Return what an operator knows it by."""
    names = names_of(certificate)
    shown = names[0].decode("ascii") if names else certificate.subject.rfc4514_string()
    return ascii(shown[:LONGEST_TITLE])[1:-1]


def examined(chain_pem: bytes, key_pem: bytes) -> tuple[bytes, Facts]:
    """
    Return the chain in the order in which it is shown, PEM, and what was found in it.

    A chain that is complete and only in another order is put in order, and a note says so.

    Raises:
        ValueError: they cannot be read, do not belong together, or something between them is
            missing; nothing of the key is in the text.
    """
    read = read_certificates(chain_pem)
    found = list(dict.fromkeys(read))
    if len(found) > LONGEST_CHAIN:
        raise ValueError(f"want at most {LONGEST_CHAIN} certificates in a chain, got {len(found)}")
    chain = _in_order(found, _own(found, key_pem))
    notes = []
    if chain != found:
        order = ", then ".join(title(one) for one in chain)
        notes.append(f"its certificates are not in order, and are shown as: {order}")
    if chain != read:
        chain_pem = b"".join(one.public_bytes(Encoding.PEM) for one in chain)
    notes += _lacking(chain)
    leaf = chain[0]
    names, addresses = _names(leaf)
    return chain_pem, Facts(
        names=tuple(name.decode("ascii") for name in names),
        addresses=tuple(addresses),
        title=title(leaf),
        begins=leaf.not_valid_before_utc.timestamp(),
        expires=leaf.not_valid_after_utc.timestamp(),
        kind="/".join(_kind(one) for one in chain),
        provisional=is_provisional(chain),
        notes=tuple(notes),
    )


def untimely(facts: Facts, now: float) -> str:
    """Return why a certificate is not valid at this time; empty if it is."""
    if facts.expires < now:
        end = datetime.fromtimestamp(facts.expires, UTC)
        return f"the certificate of {facts.title} expired on {end:%Y-%m-%d}"
    if facts.begins > now:
        begin = datetime.fromtimestamp(facts.begins, UTC)
        return f"the certificate of {facts.title} is valid from {begin:%Y-%m-%d %H:%M} UTC on"
    return ""


def _own(found: Sequence[x509.Certificate], key_pem: bytes) -> x509.Certificate:
    """Return the certificate that the key belongs to."""
    try:
        key = read_key(key_pem)
    except TypeError:
        raise ValueError("the key has a passphrase, want one without") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("the key cannot be read, want PEM") from None
    if not isinstance(key, Key):
        raise ValueError(f"the key is {type(key).__name__}, want RSA, EC or Ed25519")  # noqa: TRY004
    public = key.public_key()
    for one in found:
        try:
            if one.public_key() == public:
                return one
        except (ValueError, UnsupportedAlgorithm):
            continue
    raise ValueError(f"the key does not belong to the certificate of {title(found[0])}")


def _in_order(found: list[x509.Certificate], leaf: x509.Certificate) -> list[x509.Certificate]:
    """
    Return the leaf, then whoever signed it, and so on; cross-signed ones behind.

    Raises:
        ValueError: one is missing between them, or one does not belong there.
    """
    if leaf is found[0] and all(_signed(one, by) for one, by in pairwise(found)):
        return found
    chain, rest = [leaf], [one for one in found if one is not leaf]
    while following := next((one for one in rest if _signed(chain[-1], one)), None):
        chain.append(following)
        rest.remove(following)
    for one in rest:
        # The same authority certified by another one: of use to some clients, harmless to others.
        if not any(_signed(link, one) for link in chain):
            raise ValueError(_gap(found, chain[-1], one))
    return chain + rest


def _gap(found: Sequence[x509.Certificate], last: x509.Certificate, stray: x509.Certificate) -> str:
    if stray is found[0]:
        return f"the key does not belong to the certificate of {title(stray)}"
    place = f"number {found.index(stray) + 1} in it, {title(stray)}"
    if last.issuer == last.subject:
        return (
            f"the chain ends with {title(last)}, and {place}, does not belong to it: take that out"
        )
    issuer = ascii(last.issuer.rfc4514_string()[:LONGEST_TITLE])[1:-1]
    return (
        f"the certificate of {issuer} is missing: it signed {title(last)}, and {place}, did not; "
        "want each certificate signed by the next"
    )


def _signed(one: x509.Certificate, by: x509.Certificate) -> bool:
    """Return whether a certificate was signed by another one, or itself."""
    if one.issuer != by.subject:
        return False
    try:
        one.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _lacking(chain: Sequence[x509.Certificate]) -> list[str]:
    """
    Say what is probably missing behind the last one.

    An authority on the web never signs with its root. Whoever does, as small ones of one's own
    do, hardly ever writes into a certificate where the root is to be had.
    """
    leaf = chain[0]
    if len(chain) > 1 or leaf.issuer == leaf.subject:
        return []
    try:
        access = leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    places = [
        one.access_location.value
        for one in access
        if one.access_method == AuthorityInformationAccessOID.CA_ISSUERS
        and isinstance(one.access_location, x509.UniformResourceIdentifier)
    ]
    if not places:
        return []
    issuer = ascii(leaf.issuer.rfc4514_string()[:LONGEST_TITLE])[1:-1]
    text = (
        f"the certificate of {issuer}, which signed it, is not in the file; browsers want it, "
        f"unless it is a root that they have: append it, from {places[0][:LONGEST_TITLE]!a}"
    )
    return [text]


def _kind(certificate: x509.Certificate) -> str:
    """Return what OpenSSL takes or refuses a certificate for: key, size, signature."""
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return f"unknown {certificate.serial_number}"
    size = key.key_size if isinstance(key, (RSAPublicKey, EllipticCurvePublicKey)) else 0
    curve = key.curve.name if isinstance(key, EllipticCurvePublicKey) else ""
    return (
        f"{type(key).__name__} {size} {curve} {certificate.signature_algorithm_oid.dotted_string}"
    )
