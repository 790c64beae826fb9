"""A certificate that nobody trusts, for as long as there is no other one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from pomeriumd.settings.values import CertificatePair, Secret

COMMON_NAME = "pomeriumd: no certificate yet"
"""What a browser shows of it."""

MOST_NAMES = 50
"""That it is for; browsers refuse it for its issuer, whatever its names."""


def placeholder(names: Sequence[str], now: float) -> CertificatePair:
    """
    Return a self-signed certificate.

    Args:
        names: of hosts.
        now: seconds since the epoch.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, COMMON_NAME)])
    today = datetime.fromtimestamp(now, UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .serial_number(x509.random_serial_number())
        .public_key(key.public_key())
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=365))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    if names:
        shown = [x509.DNSName(name) for name in names[:MOST_NAMES]]
        made = made.add_extension(x509.SubjectAlternativeName(shown), critical=False)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return CertificatePair(
        chain=made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM),
        key=Secret(pem),
        place="autocert",
        automatic=True,
    )
