"""Certificates and keys from PEM, checked against each other; the texts of what is wrong."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL

from pomeriumd.settings.chain import Key, names_of, read_certificates, title

__all__ = ["Key", "names_of", "read_certificates", "read_pair", "title", "use"]


def read_pair(chain_pem: bytes, key_pem: bytes) -> tuple[list[x509.Certificate], Key]:
    """
    Return a chain and the key to its first certificate.

    Whether the numbers of an RSA key are what they have to be was found when the settings were
    checked, in a process that serves nobody.

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
