"""Tests for reading a provider's keys."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.errors import ProviderError
from pomeriumd.oidc.keyset import KeySet, read_keys

RSA = rsa.generate_private_key(65_537, 2_048)
P256 = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()


def jwk(kid: str | None = "k", **more: Any) -> dict[str, Any]:
    """Return a P-256 key as a provider publishes it."""
    key = ECAlgorithm.to_jwk(P256.public_key(), as_dict=True)
    return {**key, **({} if kid is None else {"kid": kid}), **more}


def rsa_jwk(**more: Any) -> dict[str, Any]:
    """Return an RSA key as a provider publishes it."""
    return {**RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True), "kid": "r", **more}


def read(*keys: object) -> KeySet:
    """Read a set of ``keys``, beside one that is always good."""
    return read_keys({"keys": [*keys, jwk("good")]})


class ReadTests(SynchronousTestCase):
    """read_keys() takes public signature keys and leaves the rest out."""

    def test_each_key_has_its_algorithms(self) -> None:
        """The type and curve of a key say what it may verify."""
        okp = {**OKPAlgorithm.to_jwk(ED.public_key(), as_dict=True), "kid": "e"}
        keys = read_keys({"keys": [jwk(), rsa_jwk(), okp, rsa_jwk(alg="RS256", use="sig")]}).keys
        self.assertEqual(
            [key.algorithms for key in keys],
            [
                ("ES256",),
                ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
                ("EdDSA",),
                ("RS256",),
            ],
        )

    def test_unfit_keys_are_left_out(self) -> None:
        """A key that is symmetric, private, for encryption or broken takes no other along."""
        weak = rsa.generate_private_key(65_537, 1_024)  # noqa: S505 - too small is the case
        small = RSAAlgorithm.to_jwk(weak.public_key(), as_dict=True)
        private = ECAlgorithm.to_jwk(P256, as_dict=True)
        cases: tuple[Any, ...] = (
            {"kty": "oct", "k": "c2VjcmV0", "alg": "HS256", "kid": "k"},
            {**private, "kid": "k"},
            small,
            jwk(use="enc"),
            jwk(key_ops=["encrypt"]),
            jwk(key_ops="verify"),
            jwk(alg="HS256"),
            jwk(alg="none"),
            jwk(alg="RS256"),
            jwk(alg=None),
            jwk(alg=["ES256"]),
            jwk(crv="P-384"),
            jwk(crv=["P-256"]),
            jwk(x="AAAA"),
            jwk(x=7),
            jwk(y=None),
            jwk(kid=""),
            jwk(kid="k" * 257),
            {**jwk(), "kid": 7},
            rsa_jwk(n="AA"),
            rsa_jwk(e="AA"),
            rsa_jwk(n=[]),
            rsa_jwk(n="////" * 5_000),
            {"kty": "RSA"},
            {"kty": ["RSA"]},
            {"kty": "OKP", "crv": "Ed448", "x": "AAAA"},
            {"kty": "OKP", "crv": "X25519", "x": "AAAA"},
            {},
            [],
            None,
            "key",
        )
        for unfit in cases:
            self.assertEqual([key.kid for key in read(unfit).keys], ["good"], unfit)

    def test_urls_and_certificates_in_keys_are_not_looked_at(self) -> None:
        """A key with jku, x5u and x5c is the key of its own numbers (O18)."""
        bare, urls = (
            read_keys({"keys": [jwk()]}),
            read_keys(
                {"keys": [jwk(jku="https://evil.example", x5u="https://evil.example", x5c=["AA"])]}
            ),
        )
        self.assertEqual(bare, urls)

    def test_sets_that_are_none_are_refused(self) -> None:
        """No list, too many keys, or none that is usable: each says so."""
        for document, text in (
            ({}, "key set: no list of keys"),
            ({"keys": {}}, "key set: no list of keys"),
            ({"keys": [jwk()] * 65}, "key set: 65 keys, want 64 at most"),
            ({"keys": []}, "key set: none of 0 keys can verify a signature"),
            ({"keys": [{}]}, "key set: none of 1 keys can verify a signature"),
        ):
            with self.assertRaises(ProviderError) as caught:
                read_keys(document)
            self.assertEqual(str(caught.exception), text)

    @given(
        st.dictionaries(
            st.sampled_from(["kty", "crv", "x", "y", "n", "e", "kid", "use", "alg", "key_ops"]),
            st.sampled_from(["RSA", "EC", "OKP", "P-256", "Ed25519", "AQAB", "sig", "é", ""])
            | st.text(max_size=3)
            | st.none()
            | st.integers()
            | st.lists(st.text(max_size=2), max_size=2),
        )
    )
    def test_garbage_is_left_out(self, unfit: dict[str, Any]) -> None:
        """No exception comes out, whatever a key's members are."""
        self.assertEqual(read(unfit).keys[-1].kid, "good")


class FittingTests(SynchronousTestCase):
    """KeySet.fitting() finds the keys of a token's kid and algorithm."""

    def test_kid_and_algorithm_must_both_fit(self) -> None:
        """A known kid does not verify another key's algorithm."""
        keys = read_keys({"keys": [jwk("a"), jwk("b"), rsa_jwk()]})
        self.assertEqual([key.kid for key in keys.fitting("b", "ES256")], ["b"])
        self.assertEqual(keys.fitting("b", "RS256"), ())
        self.assertEqual(keys.fitting("c", "ES256"), ())
        self.assertEqual(keys.fitting("r", "HS256"), ())

    def test_without_a_kid_there_must_be_no_choice(self) -> None:
        """One fitting key is taken; of two, none is guessed."""
        keys = read_keys({"keys": [jwk("a"), jwk(None), rsa_jwk()]})
        self.assertEqual([key.kid for key in keys.fitting(None, "RS256")], ["r"])
        self.assertEqual(keys.fitting(None, "ES256"), ())
