"""Tests for pomeriumd.crypto.tokens."""

from __future__ import annotations

from typing import Any

import jwt
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.crypto import base64url
from pomeriumd.crypto.signing import SigningKey
from pomeriumd.crypto.tokens import read, sign
from pomeriumd.errors import BadToken

KEYS = (b"\x07" * 32,)
OTHER = (b"\x08" * 32,)
KIND = "pomerium-session+jwt"
NOW = 1_790_000_000.0
CLAIMS: dict[str, Any] = {
    "iss": "https://auth.example.com",
    "aud": "app.example.com:443",
    "iat": int(NOW),
    "exp": int(NOW) + 600,
}
TOKEN = sign(KEYS, CLAIMS, kind=KIND)


def taken(token: str, *, keys: tuple[bytes, ...] = KEYS, now: float = NOW) -> dict[str, Any]:
    """Read a token as the place it was made for does."""
    return read(
        keys,
        token,
        kind=KIND,
        audience="app.example.com:443",
        issuer="https://auth.example.com",
        now=now,
    )


class ReadTests(SynchronousTestCase):
    """read() takes a token of this kind, for this audience, of this issuer, in its time."""

    def refused(self, token: str, said: str, *, now: float = NOW) -> None:
        """Assert that the token is refused with this text."""
        with self.assertRaises(BadToken) as caught:
            taken(token, now=now)
        self.assertEqual(str(caught.exception), said)

    def test_round_trip(self) -> None:
        """The claims come out as they went in."""
        self.assertEqual(taken(TOKEN), CLAIMS)

    def test_a_jwt_library_reads_it(self) -> None:
        """It is a JWT for everybody who has the key."""
        self.assertEqual(
            jwt.decode(
                TOKEN,
                KEYS[0],
                algorithms=["HS256"],
                audience=CLAIMS["aud"],
                options={"verify_exp": False, "verify_iat": False},
            ),
            CLAIMS,
        )

    @given(st.integers(0, len(TOKEN) * 7 - 1))
    def test_every_flipped_bit_is_refused(self, bit: int) -> None:
        """No bit of the text can change, the unused ones of the last character among them."""
        at, shift = divmod(bit, 7)
        flipped = TOKEN[:at] + chr(ord(TOKEN[at]) ^ (1 << shift)) + TOKEN[at + 1 :]
        with self.assertRaises(BadToken):
            taken(flipped)

    @given(st.integers(0, 62), st.integers(1, 63))
    def test_the_last_character_has_one_spelling(self, start: int, step: int) -> None:
        """Another last character that means the same octets is refused."""
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        last = alphabet[(start + step) % 64]
        if last != TOKEN[-1]:
            with self.assertRaises(BadToken):
                taken(TOKEN[:-1] + last)

    @given(st.text(max_size=60) | st.text("ey.JAQ-_=", max_size=60))
    def test_any_text_is_refused_in_one_way(self, text: str) -> None:
        """A stranger's text gives BadToken and no other error."""
        with self.assertRaises(BadToken):
            taken(text)
        with self.assertRaises(BadToken):
            taken(f"{TOKEN.split('.')[0]}.{text}.{TOKEN.split('.')[2]}")

    def test_algorithms_of_a_strangers_choice(self) -> None:
        """none, another hash, and a signature with the assertion key are all refused."""
        ours = {"typ": KIND}
        forged = [
            jwt.encode(CLAIMS, "", algorithm="none", headers=ours),
            jwt.encode(CLAIMS, KEYS[0] * 2, algorithm="HS512", headers=ours),
            jwt.encode(CLAIMS, KEYS[0] * 2, algorithm="HS384", headers=ours),
            jwt.encode(CLAIMS, KEYS[0], algorithm="HS256", headers={**ours, "kid": "1"}),
            jwt.encode(CLAIMS, KEYS[0], algorithm="HS256", headers={**ours, "crit": ["exp"]}),
            SigningKey.derived(b"\x07" * 32).sign(CLAIMS, headers=ours),
        ]
        for token in forged:
            self.refused(token, "token is of another kind")

    def test_another_kind_is_refused(self) -> None:
        """A token of ours is taken as nothing else than it is."""
        for kind in ("JWT", "at+jwt", "pomerium-session", KIND.upper(), KIND + " "):
            self.refused(sign(KEYS, CLAIMS, kind=kind), "token is of another kind")

    def test_deep_json_in_the_header_is_not_parsed(self) -> None:
        """A header of a stranger's costs no parser anything."""
        deep = base64url.encode(b"[" * 20_000)
        self.refused(f"{deep}.{TOKEN.split('.')[1]}.x", "token is of another kind")

    def test_another_key_is_refused(self) -> None:
        """A token of another installation's does not verify."""
        self.refused(sign(OTHER, CLAIMS, kind=KIND), "token's signature does not verify")

    def test_a_previous_key_verifies(self) -> None:
        """After a rotation tokens from before it are good."""
        self.assertEqual(taken(TOKEN, keys=OTHER + KEYS), CLAIMS)

    def test_issuer_and_audience_are_compared_whole(self) -> None:
        """A list, another port, another case, a prefix: none of them is the audience."""
        for audience in (
            ["app.example.com:443"],
            "app.example.com",
            "app.example.com:8443",
            "App.example.com:443",
            "app.example.com:4430",
            None,
            True,
            1,
        ):
            token = sign(KEYS, {**CLAIMS, "aud": audience}, kind=KIND)
            self.refused(token, "token is for another audience")
        for issuer in ("https://auth.example.com/", "http://auth.example.com", None, 1):
            self.refused(
                sign(KEYS, {**CLAIMS, "iss": issuer}, kind=KIND), "token is of another issuer"
            )

    def test_every_claim_is_required(self) -> None:
        """A token that leaves one out is refused."""
        for name, said in (
            ("iss", "token is of another issuer"),
            ("aud", "token is for another audience"),
            ("iat", "token's iat is no time"),
            ("exp", "token's exp is no time"),
        ):
            less = {key: value for key, value in CLAIMS.items() if key != name}
            self.refused(sign(KEYS, less, kind=KIND), said)

    def test_times_are_whole_seconds_in_sane_years(self) -> None:
        """Infinity, fractions, booleans, texts, before the epoch, after 2200: no times."""
        for value in (1e300, -1, NOW + 0.5, True, "1790000600", None, 2**40, [1], 7_258_118_400):
            self.refused(sign(KEYS, {**CLAIMS, "exp": value}, kind=KIND), "token's exp is no time")

    def test_after_2038(self) -> None:
        """The 32-bit clocks' end is no end."""
        late = sign(KEYS, {**CLAIMS, "iat": 2_200_000_000, "exp": 2_200_000_600}, kind=KIND)
        self.assertEqual(taken(late, now=2_200_000_001.0)["exp"], 2_200_000_600)

    def test_the_end_with_its_leeway(self) -> None:
        """A minute of difference between clocks is forgiven, and not a second more."""
        self.assertEqual(taken(TOKEN, now=NOW + 659), CLAIMS)
        self.refused(TOKEN, "token has expired", now=NOW + 660)

    def test_the_future_with_its_leeway(self) -> None:
        """A clock that runs a minute behind its maker's takes the token."""
        self.assertEqual(taken(TOKEN, now=NOW - 60), CLAIMS)
        self.refused(TOKEN, "token is from the future: the clocks differ", now=NOW - 61)

    def test_is_bounded(self) -> None:
        """A token over the bound is not looked at."""
        self.refused("a" * 32_769, "token is over 32768 characters")

    def test_claims_are_an_object(self) -> None:
        """Another JSON text under our signature is no token."""
        odd = jwt.PyJWS().encode(b"[1]", KEYS[0], algorithm="HS256", headers={"typ": KIND})
        self.refused(odd, "token holds no claims")
