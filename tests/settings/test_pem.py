"""Tests of pomeriumd.settings.pem."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.settings import pem
from pomeriumd.settings.reads import Unfit
from tests.support.settings_files import pair, pem_key


class PEMTests(SynchronousTestCase):
    """PEM is taken in every form it comes in; what is none is refused and not shown."""

    def refuses(self, read: Callable[[object], Any], found: object, text: str) -> None:
        """Assert that a value is refused in exactly these words."""
        with self.assertRaises(Unfit) as caught:
            read(found)
        self.assertEqual(str(caught.exception), text)

    def test_forms(self) -> None:
        """A file, an inline text and base64 say the same."""
        certificate, key = pair()
        for given in (certificate, certificate.decode(), base64.b64encode(certificate).decode()):
            self.assertEqual(pem.certificates(given), certificate)
        for given in (key, key.decode(), base64.b64encode(key)):
            self.assertEqual(pem.private_key(given).reveal(), key)
            self.assertEqual(pem.signing_key(given).reveal(), key)

    def test_no_certificate(self) -> None:
        """What holds no certificate is refused."""
        neither = "want a certificate in PEM or base64 of it, got neither"
        for found in ("hunter2", b"", base64.b64encode(b"hunter2").decode(), b"\xff\x00"):
            self.refuses(pem.certificates, found, neither)
        self.refuses(pem.certificates, 5, "want a certificate in PEM or base64 of it, got a number")
        self.refuses(pem.certificates, pair()[1], "holds no certificate that can be read")
        self.refuses(
            pem.certificates,
            pair()[0].replace(b"MII", b"AII"),
            "holds no certificate that can be read",
        )

    def test_no_key(self) -> None:
        """What holds no key, or one behind a passphrase, is refused."""
        self.refuses(
            pem.private_key, "hunter2", "want a private key in PEM or base64 of it, got neither"
        )
        self.refuses(pem.private_key, pair()[0], "holds no private key that can be read")
        self.refuses(
            pem.private_key, pem_key(passphrase=b"x"), "has a passphrase; want a key without one"
        )

    def test_a_key_whose_numbers_do_not_fit(self) -> None:
        """An RSA key that would give wrong signatures is found here: nobody looks again."""
        good = rsa.generate_private_key(65537, 2048).private_numbers()
        for other in (
            {"d": good.d + 2},
            {"dmp1": good.dmp1 ^ 2},
        ):
            numbers = {
                name: getattr(good, name) for name in ("p", "q", "d", "dmp1", "dmq1", "iqmp")
            }
            bad = rsa.RSAPrivateNumbers(
                **{**numbers, **other}, public_numbers=good.public_numbers
            ).private_key(unsafe_skip_rsa_key_validation=True)
            octets = bad.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            self.refuses(pem.private_key, octets, "holds no private key that can be read")

    def test_signing_key_is_p256(self) -> None:
        """The assertion is ES256, so no other key will do."""
        other = ed25519.Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        self.refuses(pem.signing_key, other, "want an EC P-256 key, got one of another kind")
        self.refuses(
            pem.signing_key, pem_key(ec.SECP384R1()), "want an EC P-256 key, got one on secp384r1"
        )
