"""Whether an identity assertion verifies, and the words for why it does not."""

from __future__ import annotations

from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.cli.verify.assertion import NoKeys, Refused, key_id, read_keys, verified

NOW = 1_800_000_000
HOST = "verify.example.com"
KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())


def jwk(key: ec.EllipticCurvePrivateKey = KEY, **changes: Any) -> dict[str, Any]:
    """Return the public key as a member of a key set."""
    made: dict[str, Any] = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**made, "kid": "k1", "alg": "ES256", "use": "sig", **changes}


KEYS = read_keys({"keys": [jwk()]})


def claims(**changes: Any) -> dict[str, Any]:
    """Return good claims with some things changed; None leaves one out."""
    made = {"iss": HOST, "aud": HOST, "sub": "alice", "iat": NOW, "exp": NOW + 300, **changes}
    return {name: value for name, value in made.items() if value is not None}


def signed(key: Any = KEY, algorithm: str = "ES256", headers: Any = None, **changes: Any) -> str:
    """Return an assertion."""
    given = {"kid": "k1"} if headers is None else headers
    return jwt.encode(claims(**changes), key, algorithm, headers=given)


class VerifiedTests(SynchronousTestCase):
    """verified() gives the claims, or says why not."""

    def why_not(self, assertion: str, now: float = NOW) -> str:
        """Return the words of the refusal."""
        with self.assertRaises(Refused) as caught:
            verified(assertion, KEYS, audience=HOST, now=now)
        return str(caught.exception)

    def test_a_good_one(self) -> None:
        """A good assertion gives its claims."""
        self.assertEqual(
            verified(signed(email="a@b"), KEYS, audience=HOST, now=NOW), claims(email="a@b")
        )

    def test_every_way_to_be_bad(self) -> None:
        """Each fault has words of its own."""
        rsa_key = rsa.generate_private_key(65537, 2048)
        public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        good = signed()
        head, body, _ = good.split(".")
        for assertion, why in (
            ("", "the assertion is no JWT"),
            ("a.b.c", "the assertion is no JWT"),
            ("x" * 20_000, "the assertion is longer than 16384 characters"),
            (signed(None, "none"), "the assertion is signed with 'none', want ES256"),
            (signed(rsa_key, "RS256"), "the assertion is signed with 'RS256', want ES256"),
            # The public key as a shared secret: the old confusion. PyJWT refuses to make
            # one from PEM, so the secret is its digest's length of bytes.
            (signed(public[30:94], "HS256"), "the assertion is signed with 'HS256', want ES256"),
            (signed(headers={}), "the assertion does not name its key"),
            (signed(headers={"kid": "k2"}), "signed by a key that is not in the key set: 'k2'"),
            (signed(OTHER), "the signature does not match the key"),
            (f"{head}.{body}.", "the signature does not match the key"),
            (f"{head}.{body}A.{good.split('.')[2]}", "the signature does not match the key"),
            (
                signed(aud="x"),
                "made for another application, want the audience 'verify.example.com'",
            ),
            (signed(aud=None), "the claim 'aud' is missing"),
            (signed(iss="x"), "made by another issuer, want 'verify.example.com'"),
            (signed(iss=None), "the claim 'iss' is missing"),
            (signed(sub=None), "the claim 'sub' is missing"),
            (signed(exp=None), "the claim 'exp' is missing"),
            (signed(iat=None), "the claim 'iat' is missing"),
            (signed(exp=1e300), "the claim 'exp' is no whole number"),
            (signed(exp=True), "the claim 'exp' is no whole number"),
            (signed(iat="1"), "the claim 'iat' is no whole number"),
            (signed(exp=NOW + 601), "valid for 601 s, want 600 s at most"),
        ):
            self.assertEqual(self.why_not(assertion), why, assertion)

    def test_its_time(self) -> None:
        """Clocks may differ by a minute, and no more."""
        good = signed()
        for now in (NOW - 60, NOW, NOW + 360):
            self.assertEqual(verified(good, KEYS, audience=HOST, now=now)["sub"], "alice")
        self.assertEqual(self.why_not(good, NOW + 361), "expired 61 s ago")
        self.assertEqual(
            self.why_not(good, NOW - 61),
            "issued 61 s in the future: one of two clocks is wrong",
        )


class ReadKeysTests(SynchronousTestCase):
    """read_keys() takes the keys for ES256 and leaves the rest."""

    def test_takes_what_it_can_use(self) -> None:
        """A key for another algorithm, of another kind or without a name is left out."""
        p384 = jwt.algorithms.ECAlgorithm.to_jwk(
            ec.generate_private_key(ec.SECP384R1()).public_key(), as_dict=True
        )
        document = {
            "keys": [
                {"kty": "oct", "kid": "secret", "k": "AAAA"},
                {**p384, "kid": "p384"},
                jwk(kid="es384", alg="ES384"),
                jwk(kid=None),
                jwk(kid="bent", x="AAAA"),
                "what",
                jwk(kid="good"),
            ]
        }
        self.assertEqual(list(read_keys(document)), ["good"])

    def test_none(self) -> None:
        """A set without a usable key is no set."""
        documents: list[dict[str, Any]] = [
            {},
            {"keys": None},
            {"keys": []},
            {"keys": [jwk(alg="RS256")]},
        ]
        for document in documents:
            with self.assertRaises(NoKeys) as caught:
                read_keys(document)
            self.assertEqual(str(caught.exception), "no key for ES256 in the key set")

    def test_key_id(self) -> None:
        """The id is what the assertion says, before anything is verified."""
        self.assertEqual(key_id(signed()), "k1")
