"""Certificates and keys from PEM, checked against each other; the texts of what is wrong."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL

Key = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey
"""What certificates on the web are made for."""


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


def read_pair(chain_pem: bytes, key_pem: bytes) -> tuple[list[x509.Certificate], Key]:
    """
    Return a chain and the key to its first certificate.

    Whether the numbers of an RSA key are what they have to be was found when the settings were
    checked, in a process that serves nobody: it takes 40 ms for 2048 bits, 270 ms for 4096.

    Raises:
        ValueError: they cannot be read, or do not belong together; nothing of the key is
            in the text.
    """
    chain = read_certificates(chain_pem)
    try:
        key = load_pem_private_key(key_pem, password=None, unsafe_skip_rsa_key_validation=True)
    except TypeError:
        raise ValueError("the key has a passphrase, want one without") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("the key cannot be read, want PEM") from None
    if not isinstance(key, Key):
        raise ValueError(f"the key is {type(key).__name__}, want RSA, EC or Ed25519")  # noqa: TRY004
    if key.public_key() != chain[0].public_key():
        raise ValueError(f"the key does not belong to the certificate of {title(chain[0])}")
    return chain, key


def names_of(certificate: x509.Certificate) -> list[bytes]:
    """
    Return the DNS names, in lower case; the subject's common name is none any more.

    Raises:
        ValueError: they cannot be read.
    """
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    except ValueError:
        raise ValueError("the certificate's names cannot be read") from None
    found = extension.value.get_values_for_type(x509.DNSName)
    return [name.lower().removesuffix(".").encode("ascii", "replace") for name in found]


def title(certificate: x509.Certificate) -> str:
    """Return what an operator knows it by."""
    names = names_of(certificate)
    return names[0].decode("ascii") if names else certificate.subject.rfc4514_string()


def use(context: SSL.Context, chain: Sequence[x509.Certificate], key: Key) -> None:
    """
    Show this certificate from now on.

    Raises:
        ValueError: OpenSSL finds it too weak, or finds another fault.
    """
    try:
        context.use_certificate(chain[0])
        for certificate in chain[1:]:
            context.add_extra_chain_cert(certificate)
        context.use_privatekey(key)
        context.check_privatekey()
    except SSL.Error as error:
        why = error.args[0][-1][-1] if error.args and error.args[0] else "no reason given"
        raise ValueError(f"OpenSSL refuses the certificate: {why}") from error
