"""
The key that signs what upstreams verify: ECDSA on P-256 with SHA-256.

Source: RFC 7518 section 3.4 (ES256), RFC 7517 (JWK), RFC 7638 (thumbprint).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import attrs
import jwt
import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pomeriumd.crypto import base64url
from pomeriumd.crypto.keys import Purpose, derive

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Number of points that the generator of P-256 reaches (SP 800-186 section 3.2.1.3)."""

_SCALAR_SIZE = 48
"""Bytes that are reduced to a scalar: 128 bits more than it has, so that no scalar is
likelier than another by more than 2^-128 (FIPS 186-5 appendix A.2.1)."""


@attrs.frozen(kw_only=True, repr=False, eq=False)
class SigningKey:
    """A private key on P-256 with what the world may know of it."""

    kid: str
    """The public key's thumbprint: the same for every process that holds the key."""
    _private: ec.EllipticCurvePrivateKey
    _public: dict[str, str]

    @classmethod
    def from_pem(cls, pem: bytes) -> SigningKey:
        """
        Return the key in ``pem``.

        Raises:
            ValueError: not one unencrypted private key on P-256 (secp256r1).
        """
        try:
            private = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            # TypeError: the key is encrypted. The cause could quote the key.
            raise ValueError("no private key in PEM that can be read") from None
        curve = (
            private.curve.name if isinstance(private, ec.EllipticCurvePrivateKey) else "no curve"
        )
        if not isinstance(private, ec.EllipticCurvePrivateKey) or curve != ec.SECP256R1.name:
            raise ValueError(f"private key is on {curve}, want P-256 (secp256r1)")
        return cls._of(private)

    @classmethod
    def derived(cls, shared_secret: bytes) -> SigningKey:
        """Return the key that ``shared_secret`` gives: the same on every replica."""
        octets = derive(shared_secret, Purpose.ASSERTION, _SCALAR_SIZE)
        scalar = int.from_bytes(octets, "big") % (P256_ORDER - 1) + 1
        return cls._of(ec.derive_private_key(scalar, ec.SECP256R1()))

    @classmethod
    def _of(cls, private: ec.EllipticCurvePrivateKey) -> SigningKey:
        numbers = private.public_key().public_numbers()
        public = {
            "crv": "P-256",
            "kty": "EC",
            "x": base64url.encode(numbers.x.to_bytes(32, "big")),
            "y": base64url.encode(numbers.y.to_bytes(32, "big")),
        }
        # The required members alone, sorted, without white space: RFC 7638 section 3.
        thumbprint = hashlib.sha256(orjson.dumps(public, option=orjson.OPT_SORT_KEYS))
        return cls(kid=base64url.encode(thumbprint.digest()), private=private, public=public)

    def jwk(self) -> dict[str, str]:
        """Return the public key as a JWK."""
        return {**self._public, "kid": self.kid, "use": "sig", "alg": "ES256"}

    def sign(self, claims: Mapping[str, Any], *, headers: Mapping[str, str] | None = None) -> str:
        """Return a JWT with these claims; ``headers`` go beside ``alg`` and ``kid``."""
        return jwt.encode(
            dict(claims),
            self._private,
            algorithm="ES256",
            headers={"kid": self.kid, **(headers or {})},
        )
