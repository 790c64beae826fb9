"""Tests for pomeriumd.crypto.signing."""

from __future__ import annotations

import hashlib
import json

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.crypto import base64url
from pomeriumd.crypto.keys import Purpose, derive
from pomeriumd.crypto.signing import P256_ORDER, SigningKey

ROOT = bytes(range(32))


def pem(private: PrivateKeyTypes, encryption: KeySerializationEncryption | None = None) -> bytes:
    """Return a private key as an operator's file has it."""
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


class DerivedTests(SynchronousTestCase):
    """SigningKey.derived() gives every replica the same key."""

    def test_the_key_is_pinned(self) -> None:
        """The way from secret to key does not change: a pair of hosts is upgraded one by one."""
        self.assertEqual(
            SigningKey.derived(ROOT).kid, "B7HzbFeAP80w3_4bp-h-3TZb29imYLsHjRtVCjJi9DY"
        )

    @settings(max_examples=20)
    @given(st.binary(min_size=32, max_size=32))
    def test_any_secret_gives_a_key(self, root: bytes) -> None:
        """The scalar is always one that the curve has, and is the one that is documented."""
        key = SigningKey.derived(root)
        scalar = int.from_bytes(derive(root, Purpose.ASSERTION, 48), "big") % (P256_ORDER - 1) + 1
        point = ec.derive_private_key(scalar, ec.SECP256R1()).public_key().public_numbers()
        self.assertEqual(key.jwk()["x"], base64url.encode(point.x.to_bytes(32, "big")))
        self.assertEqual(key.kid, SigningKey.derived(root).kid)

    def test_other_secrets_give_other_keys(self) -> None:
        """The key belongs to the installation."""
        self.assertNotEqual(SigningKey.derived(ROOT).kid, SigningKey.derived(b"\x01" * 32).kid)


class SigningKeyTests(SynchronousTestCase):
    """A signing key signs what its JWK verifies."""

    def test_the_jwk_verifies_the_token(self) -> None:
        """An upstream needs the JWK and nothing else."""
        key = SigningKey.derived(ROOT)
        token = key.sign({"sub": "u"}, headers={"typ": "JWT"})
        self.assertEqual(
            jwt.decode(token, jwt.PyJWK(key.jwk()), algorithms=["ES256"]), {"sub": "u"}
        )
        self.assertEqual(
            jwt.get_unverified_header(token), {"alg": "ES256", "kid": key.kid, "typ": "JWT"}
        )

    def test_the_jwk_has_no_private_member(self) -> None:
        """What is published are these members and no other."""
        jwk = SigningKey.derived(ROOT).jwk()
        self.assertEqual(sorted(jwk), ["alg", "crv", "kid", "kty", "use", "x", "y"])
        self.assertEqual((jwk["alg"], jwk["use"], jwk["crv"]), ("ES256", "sig", "P-256"))

    def test_the_kid_is_the_thumbprint(self) -> None:
        """RFC 7638: SHA-256 of the required members, sorted, without white space."""
        jwk = SigningKey.derived(ROOT).jwk()
        text = json.dumps(
            {name: jwk[name] for name in ("crv", "kty", "x", "y")}, separators=(",", ":")
        )
        self.assertEqual(jwk["kid"], base64url.encode(hashlib.sha256(text.encode()).digest()))

    def test_from_pem(self) -> None:
        """A key in a file signs as any other; both PEM forms are read."""
        private = ec.generate_private_key(ec.SECP256R1())
        old = private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        self.assertEqual(SigningKey.from_pem(pem(private)).kid, SigningKey.from_pem(old).kid)

    def test_refuses_what_it_cannot_use(self) -> None:
        """Other curves, other kinds, encrypted keys and rubbish are told apart in words."""
        p256 = ec.generate_private_key(ec.SECP256R1())
        for octets, said in (
            (
                pem(ec.generate_private_key(ec.SECP384R1())),
                "private key is on secp384r1, want P-256 (secp256r1)",
            ),
            (
                pem(ec.generate_private_key(ec.SECP256K1())),
                "private key is on secp256k1, want P-256 (secp256r1)",
            ),
            (
                pem(ed25519.Ed25519PrivateKey.generate()),
                "private key is on no curve, want P-256 (secp256r1)",
            ),
            (
                pem(rsa.generate_private_key(65537, 2048)),
                "private key is on no curve, want P-256 (secp256r1)",
            ),
            (pem(p256, BestAvailableEncryption(b"x")), "no private key in PEM that can be read"),
            (b"rubbish", "no private key in PEM that can be read"),
        ):
            with self.assertRaises(ValueError) as caught:
                SigningKey.from_pem(octets)
            self.assertEqual(str(caught.exception), said)

    def test_repr_shows_no_key(self) -> None:
        """The private key does not reach a log by way of repr."""
        self.assertNotIn("private", repr(SigningKey.derived(ROOT)).lower())
