"""Tests for what an ID token must be."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.errors import LoginFailed
from pomeriumd.oidc.keyset import read_keys
from pomeriumd.oidc.tokens import Expected, Head, read_head, verify

NOW = 1_800_000_000.5
ISSUER = "https://idp.example.com"
ALGORITHMS = ("RS256", "ES256", "EdDSA", "PS384")

EC_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(65_537, 2_048)
ED_KEY = ed25519.Ed25519PrivateKey.generate()
KEYS = read_keys(
    {
        "keys": [
            {**ECAlgorithm.to_jwk(EC_KEY.public_key(), as_dict=True), "kid": "ec"},
            {**RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True), "kid": "rsa"},
            {**OKPAlgorithm.to_jwk(ED_KEY.public_key(), as_dict=True), "kid": "ed"},
        ]
    }
)


def claims(**changes: Any) -> dict[str, Any]:
    """Return good claims, changed; None takes one out."""
    all_claims = {
        "iss": ISSUER,
        "aud": "client",
        "sub": "alice",
        "iat": 1_800_000_000,
        "exp": 1_800_003_600,
        "nonce": "n-1",
        **changes,
    }
    return {name: value for name, value in all_claims.items() if value is not None}


def signed(
    payload: dict[str, Any],
    *,
    key: Any = EC_KEY,
    alg: str = "ES256",
    kid: str | None = "ec",
    **header: Any,
) -> str:
    """Return a token of ``payload``, signed."""
    return jwt.encode(
        payload, key, algorithm=alg, headers={**({} if kid is None else {"kid": kid}), **header}
    )


def segment(value: object) -> str:
    """Return one segment of a token by hand."""
    octets = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def raw(header: object, payload: object) -> str:
    """Return a properly signed ES256 token whose parts are exactly these octets."""
    signing = f"{segment(header)}.{segment(payload)}"
    signature = ECAlgorithm(ECAlgorithm.SHA256).sign(signing.encode(), EC_KEY)
    return f"{signing}.{segment(signature)}"


def check(token: str, *, now: float = NOW, **changes: Any) -> dict[str, Any]:
    """Run a token through both steps, as the provider does."""
    expected = Expected(**{"issuer": ISSUER, "client_id": "client", "nonce": "n-1", **changes})
    head = read_head(token, ALGORITHMS)
    return verify(token, head, KEYS.fitting(head.kid, head.algorithm), expected, now)


class TokenTests(SynchronousTestCase):
    """A token is believed when every check passes, and refused by the check that failed."""

    def refused(self, token: str, **changes: Any) -> tuple[str, str]:
        """Return check and text of the refusal of ``token``."""
        with self.assertRaises(LoginFailed) as caught:
            check(token, **changes)
        if len(token) > 20:
            self.assertNotIn(token, str(caught.exception))
        self.assertTrue(caught.exception.explain.endswith("."))
        return caught.exception.check, str(caught.exception)

    def test_good_tokens_of_every_algorithm(self) -> None:
        """Each configured algorithm verifies with its own key."""
        for key, alg, kid in (
            (EC_KEY, "ES256", "ec"),
            (EC_KEY, "ES256", None),
            (RSA_KEY, "RS256", "rsa"),
            (RSA_KEY, "PS384", "rsa"),
            (ED_KEY, "EdDSA", "ed"),
        ):
            token = signed(claims(), key=key, alg=alg, kid=kid)
            self.assertEqual(check(token)["sub"], "alice")

    def test_algorithms_come_from_the_settings(self) -> None:
        """No token talks us into none, into a MAC, or into what is not configured (O2)."""
        pem = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        for alg in ("none", "None", "nOnE", "", "HS256", "HS512", "RS512", "ES256K", "es256"):
            head, payload = segment({"alg": alg, "kid": "rsa"}), segment(claims())
            mac = hmac.digest(pem, f"{head}.{payload}".encode(), hashlib.sha256)
            token = f"{head}.{payload}.{segment(mac)}"
            self.assertEqual(
                self.refused(token),
                (
                    "id-token-algorithm",
                    f"id token: alg is {alg!r}, want one of RS256, ES256, EdDSA, PS384",
                ),
            )
        for header in ({}, {"alg": None}, {"alg": ["ES256"]}, {"alg": 1}):
            self.assertEqual(self.refused(raw(header, claims()))[0], "id-token-algorithm")

    def test_another_keys_signature_is_refused(self) -> None:
        """A stranger's key under our kid, and one bit in the signature, are seen."""
        stranger = ec.generate_private_key(ec.SECP256R1())
        text = "id token: ES256 signature is not valid"
        self.assertEqual(self.refused(signed(claims(), key=stranger)), ("id-token-signature", text))
        head, payload, signature = signed(claims()).split(".")
        other = segment(claims(sub="bob"))
        self.assertEqual(self.refused(f"{head}.{other}.{signature}"), ("id-token-signature", text))
        turned = "B" if signature[0] == "A" else "A"
        self.assertEqual(
            self.refused(f"{head}.{payload}.{turned}{signature[1:]}"),
            ("id-token-signature", text),
        )

    def test_keys_in_the_token_are_not_looked_at(self) -> None:
        """A token that brings its own key by value or URL is not helped by it (O18)."""
        stranger = ec.generate_private_key(ec.SECP256R1())
        own = ECAlgorithm.to_jwk(stranger.public_key(), as_dict=True)
        token = signed(
            claims(),
            key=stranger,
            jwk=own,
            jku="https://evil.example/k",
            x5u="https://evil.example",
        )
        self.assertEqual(self.refused(token)[0], "id-token-signature")

    def test_unknown_kid_is_its_own_refusal(self) -> None:
        """A key that is not published is named, and so is one of another algorithm."""
        self.assertEqual(
            self.refused(signed(claims(), kid="new")),
            ("id-token-key", "id token: no ES256 key with kid 'new'"),
        )
        self.assertEqual(
            self.refused(signed(claims(), key=RSA_KEY, alg="RS256", kid="ec")),
            ("id-token-key", "id token: no RS256 key with kid 'ec'"),
        )

    def test_forms_that_two_readers_could_read_differently(self) -> None:
        """Padding, white space, a fourth part, doubled claims: all refused as format."""
        good = signed(claims())
        twice = b'{"sub":"bob","sub":"alice"}'
        for token in (
            "",
            ".",
            "..",
            "a.b",
            f"{good}=",
            f" {good}",
            f"{good}\n",
            f"{good}.x",
            good.replace(".", "..", 1),
            good.rsplit(".", 1)[0] + ".",
            "e30.e30." + "A" * 70_000,
            f"{segment([])}.{segment({})}.AA",
            f"{segment(b'x' * 9)}.{segment({})}.AA",
            raw(b'{"alg":"none","alg":"ES256","kid":"ec"}', claims()),
            raw({"alg": "ES256", "kid": "ec"}, twice),
            raw({"alg": "ES256", "kid": "ec"}, []),
            raw({"alg": "ES256", "kid": "ec"}, b'{"a":' + b"[" * 5_000),
            raw({"alg": "ES256", "kid": "ec"}, b'{"exp": NaN}'),
            raw({"alg": "ES256", "kid": "ec", "crit": ["b64"], "b64": False}, claims()),
            raw({"alg": "ES256", "kid": "ec", "crit": []}, claims()),
            raw({"alg": "ES256", "kid": "ec", "typ": "at+jwt"}, claims()),
            raw({"alg": "ES256", "kid": "ec", "typ": "logout+jwt"}, claims()),
            raw({"alg": "ES256", "kid": ["ec"]}, claims()),
            raw({"alg": "ES256", "kid": "k" * 300}, claims()),
        ):
            self.assertEqual(self.refused(token)[0], "id-token-format", token[:80])

    @given(st.text(alphabet="e30.AB-_=\n é", max_size=40))
    def test_garbage_is_refused(self, token: str) -> None:
        """No other exception comes out, whatever a token is."""
        self.refused(token)

    def test_issuer_is_the_same_text(self) -> None:
        """No slash, case, list or absence passes for the issuer."""
        for iss in (f"{ISSUER}/", ISSUER.upper(), [ISSUER], None, 7, {"a": ISSUER}, ""):
            self.assertEqual(
                self.refused(signed_any(claims(iss=iss))),
                (
                    "id-token-issuer",
                    f"id token: iss is {iss!a}, want 'https://idp.example.com'",
                ),
            )

    def test_a_tenants_issuer_goes_with_its_tid(self) -> None:
        """With a template, iss and tid name the same tenant, and it is an id."""
        template = "https://login.example/{tenantid}/v2.0"
        tenant = "9188040d-6c67-4c5b-b112-36a304b66dad"
        iss = f"https://login.example/{tenant}/v2.0"
        check(signed(claims(iss=iss, tid=tenant)), issuer=template)
        for given_iss, tid in (
            (iss, None),
            (iss, tenant.replace("9", "8")),
            ("https://login.example/common/v2.0", "common"),
            ("https://login.example/a/../b/v2.0", "a/../b"),
            (template, "{tenantid}"),
            ("https://login.example/None/v2.0", None),
        ):
            token = signed(claims(iss=given_iss, tid=tid))
            self.assertEqual(self.refused(token, issuer=template)[0], "id-token-issuer")

    def test_audience_has_this_client(self) -> None:
        """Text or list; with more than one, azp says that it was asked for by us (O6)."""
        for aud, azp in (
            ("client", None),
            ("client", "client"),
            (["client"], None),
            (["client", "other"], "client"),
            (["other", "client"], "client"),
        ):
            check(signed(claims(aud=aud, azp=azp)))
        refused: tuple[tuple[Any, Any], ...] = (
            ("other", None),
            ("client ", None),
            ("Client", None),
            ("client,other", None),
            ([], None),
            (["other"], None),
            (["client", "other"], None),
            (["client", "other"], "other"),
            (["client", 7], "client"),
            (["client", ["client"]], "client"),
            ([["client"]], None),
            ({"client": 1}, None),
            (None, None),
            (7, None),
            (["client"] * 33, "client"),
            ("client", "other"),
            ("client", ["client"]),
            ("client", ""),
        )
        for other, azp_claim in refused:
            token = signed_any(claims(aud=other, azp=azp_claim))
            self.assertEqual(self.refused(token)[0], "id-token-audience", (other, azp_claim))
        self.assertEqual(
            self.refused(signed(claims(azp="other"))),
            ("id-token-audience", "id token: azp is 'other', not this client"),
        )

    def test_subject_names_somebody(self) -> None:
        """Not empty, not endless, no control characters, text."""
        check(signed(claims(sub="x" * 255)))
        for sub in ("", None, 7, ["alice"], "x" * 256, "a\nb", "a\x00", "\ud800", True):
            self.assertEqual(
                self.refused(signed_any(claims(sub=sub))),
                ("id-token-subject", "id token: sub is no text of 1 to 255 characters"),
            )

    def test_nonce_is_the_one_sent(self) -> None:
        """Another, a prefix, none, or no text: all refused (O4)."""
        for nonce in ("n-2", "n-", "n-11", "", None, 1, ["n-1"], "\u0430", "\ud800"):
            self.assertEqual(
                self.refused(signed_any(claims(nonce=nonce))),
                ("id-token-nonce", "id token: nonce is not the one that was sent"),
            )

    def test_a_refresh_needs_no_nonce(self) -> None:
        """None was sent, so none is looked at."""
        check(signed(claims(nonce=None)), nonce=None)
        check(signed(claims(nonce="old")), nonce=None)

    def test_access_token_belongs_to_the_id_token(self) -> None:
        """at_hash is checked when both are there, with the digest of the algorithm."""
        for key, alg, kid, digest in (
            (EC_KEY, "ES256", "ec", hashlib.sha256),
            (RSA_KEY, "PS384", "rsa", hashlib.sha384),
            (ED_KEY, "EdDSA", "ed", hashlib.sha512),
        ):
            octets = digest(b"access").digest()
            at_hash = segment(octets[: len(octets) // 2])
            token = signed(claims(at_hash=at_hash), key=key, alg=alg, kid=kid)
            check(token, access_token="access")
            self.assertEqual(
                self.refused(token, access_token="other"),
                (
                    "id-token-access-token",
                    "id token: at_hash is not that of the access token",
                ),
            )
        for wrong in ("", 7, ["x"], "\ud800"):
            token = signed_any(claims(at_hash=wrong))
            self.assertEqual(self.refused(token, access_token="access")[0], "id-token-access-token")


class TimeTests(SynchronousTestCase):
    """Times are numbers in range, and 60 s of difference are forgiven."""

    def failed(self, token: str, **changes: Any) -> LoginFailed:
        """Return the refusal of ``token``."""
        with self.assertRaises(LoginFailed) as caught:
            check(token, **changes)
        failed: LoginFailed = caught.exception
        return failed

    def test_the_leeway_is_a_minute_both_ways(self) -> None:
        """At 60 s it still works, or just not; half a second decides."""
        second = 1_800_000_000
        check(signed(claims(exp=second - 59)))
        check(signed(claims(iat=second + 60, nbf=second + 60)))
        for changes, text in (
            ({"exp": second - 60}, "id token: expired 60 s ago by our clock, leeway 60 s"),
            (
                {"iat": second + 61, "exp": second + 99},
                "id token: issued 60 s in the future by our clock, leeway 60 s",
            ),
            ({"nbf": second + 500}, "id token: valid only in 500 s by our clock, leeway 60 s"),
        ):
            failed = self.failed(signed(claims(**changes)))
            self.assertEqual((failed.check, str(failed)), ("clock", text))

    def test_a_clock_failure_says_which_way_and_how_far(self) -> None:
        """The measured difference is in the log's text and in the user's sentences."""
        failed = self.failed(signed(claims(exp=1_799_999_600)), skew=-402.3)
        self.assertEqual(
            str(failed),
            "id token: expired 400 s ago by our clock, leeway 60 s; "
            "the provider's clock is 402 s behind ours",
        )
        self.assertEqual(
            failed.explain,
            "The clocks of this service and of the identity provider seem to differ. "
            "Please tell whoever runs this service. "
            "By this service's clock the identity provider's answer ended 7 minutes ago. "
            "The provider's clock is 7 minutes behind this service's.",
        )
        failed = self.failed(signed(claims(iat=1_800_000_100)), skew=100.0)
        self.assertEqual(
            failed.explain,
            "The clocks of this service and of the identity provider seem to differ. "
            "Please tell whoever runs this service. "
            "By this service's clock the identity provider's answer begins only "
            "100 seconds from now. "
            "The provider's clock is 100 seconds ahead of this service's.",
        )

    def test_numbers_that_are_no_times(self) -> None:
        """Huge, negative, boolean, text or missing: refused before any arithmetic (O20)."""
        for value in ("1e300", "1e999", "-1e999", "-1", "true", "false", '"1800003600"',
                      "null", "[]", "{}", "253402300800", "9" * 4_000, "-0.5"):  # fmt: skip
            for name in ("exp", "iat", "nbf"):
                payload = json.dumps({**claims(nbf=1), name: "@"}).replace('"@"', value)
                failed = self.failed(raw({"alg": "ES256", "kid": "ec"}, payload.encode()))
                self.assertEqual(failed.check, "id-token-time", (name, value))
                self.assertTrue(str(failed).startswith(f"id token: {name} is "))
        for name in ("exp", "iat"):
            self.assertEqual(
                str(self.failed(signed(claims(**{name: None})))),
                f"id token: {name} is None, want seconds",
            )

    def test_fractions_and_years_after_2038_are_times(self) -> None:
        """A NumericDate may have a fraction, and 32 bits were never promised."""
        check(signed(claims(exp=1_800_000_000.75, iat=1_799_999_999.5)))
        check(signed(claims(exp=9_999_999_999)))
        check(signed(claims(exp=9_999_999_999, iat=5e9)), now=5_000_000_000.0)

    @given(st.floats(allow_nan=False) | st.integers())
    def test_only_the_interval_counts(self, exp: float) -> None:
        """Whatever exp is, the token is good exactly while now is before it plus leeway."""
        token = (
            raw({"alg": "ES256", "kid": "ec"}, json.dumps(claims(exp=exp)).encode())
            if (abs(exp) != float("inf"))
            else raw({"alg": "ES256", "kid": "ec"}, b'{"exp": 1e999}')
        )
        good = 0 <= exp <= 253_402_300_799 and exp + 60 > NOW
        try:
            check(token)
        except LoginFailed:
            self.assertFalse(good)
        else:
            self.assertTrue(good)


class HeadTests(SynchronousTestCase):
    """read_head() gives what chooses the key."""

    def test_reads_algorithm_and_kid(self) -> None:
        """The kid may be missing; a type is JWT in any case."""
        self.assertEqual(read_head(signed({}, kid=None), ALGORITHMS), Head("ES256", None))
        self.assertEqual(read_head(signed({}, typ="jwt"), ALGORITHMS), Head("ES256", "ec"))


def signed_any(payload: dict[str, Any]) -> str:
    """Return a signed token of claims that PyJWT itself would not write."""
    return raw({"alg": "ES256", "kid": "ec"}, payload)
