"""Tests for pomeriumd.rpc.tokens."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.crypto.keys import Purpose, ring
from pomeriumd.crypto.tokens import sign
from pomeriumd.rpc.tokens import (
    ANOTHER_KIND,
    AUTHORIZE,
    CLOCK,
    KIND,
    KNOWN,
    LIFE,
    MISSING,
    PROXY,
    REUSE,
    SECRET,
    Admission,
    Bearer,
    Refused,
    mint,
)
from pomeriumd.session import token
from tests.support.laws import examples

ROOT, OTHER = b"\x07" * 32, b"\x08" * 32
KEYS = ring([ROOT], Purpose.GRPC)
NOW = 1_790_000_000.0


def call(text: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata of a call with this token."""
    return (("user-agent", "grpc"), ("authorization", f"bearer {text}"))


class AdmitTests(SynchronousTestCase):
    """Admission lets in what a proxy with our secret sends now, and says what is wrong else."""

    def refused(
        self, metadata: tuple[tuple[str, str | bytes], ...], word: str, text: str, now: float = NOW
    ) -> None:
        """Assert that the call is refused with this word and text."""
        with self.assertRaises(Refused) as caught:
            Admission(KEYS).admit(metadata, now)
        self.assertEqual((caught.exception.word, str(caught.exception)), (word, text))

    def test_a_proxy_of_ours(self) -> None:
        """The token that was made now is taken."""
        Admission(KEYS).admit(call(mint(KEYS, NOW)), NOW)

    def test_a_previous_secret(self) -> None:
        """While secrets rotate, a proxy that has come less far is let in, and one further."""
        both = ring([ROOT, OTHER], Purpose.GRPC)
        for roots in ([OTHER], [ROOT]):
            Admission(both).admit(call(mint(ring(roots, Purpose.GRPC), NOW)), NOW)

    def test_another_secret(self) -> None:
        """Said as what it is."""
        self.refused(
            call(mint(ring([OTHER], Purpose.GRPC), NOW)),
            SECRET,
            "the token does not verify: shared_secret is another one here",
        )

    def test_nothing(self) -> None:
        """A call without a token."""
        self.refused((), MISSING, "want one authorization, got 0")

    def test_two(self) -> None:
        """A call with two, of which one is good: a balancer may have looked at the other."""
        good = call(mint(KEYS, NOW))
        self.refused((*good, *good), MISSING, "want one authorization, got 2")

    def test_another_scheme(self) -> None:
        """A password is no token."""
        self.refused(
            (("authorization", "Basic eDp5"),),
            MISSING,
            "want authorization with a bearer token",
        )

    def test_octets(self) -> None:
        """A value that is no text is no token."""
        self.refused(
            (("authorization", b"bearer x"),), MISSING, "want authorization with a bearer token"
        )

    def test_the_scheme_in_capitals(self) -> None:
        """A scheme has no case (RFC 9110, 11.1)."""
        Admission(KEYS).admit((("authorization", f"BEARER {mint(KEYS, NOW)}"),), NOW)

    def test_tokens_of_other_kinds(self) -> None:
        """Of a session, even under the key of this place: of another kind."""
        claims = {"iss": PROXY, "aud": AUTHORIZE, "iat": int(NOW), "exp": int(NOW) + LIFE}
        for kind in (token.KIND, "JWT"):
            self.refused(
                call(sign(KEYS, claims, kind=kind)),
                ANOTHER_KIND,
                "the token is none of a service's",
            )

    def test_a_service_token_of_another_purpose(self) -> None:
        """The key of sessions does not make one, though it comes of the same secret."""
        keys = ring([ROOT], Purpose.ROUTE_SESSION)
        self.refused(
            call(mint(keys, NOW)),
            SECRET,
            "the token does not verify: shared_secret is another one here",
        )

    def test_a_token_that_lives_long(self) -> None:
        """Nobody of ours makes one that is good for a year."""
        claims = {"iss": PROXY, "aud": AUTHORIZE, "iat": int(NOW), "exp": int(NOW) + 86_400}
        self.refused(
            call(sign(KEYS, claims, kind=KIND)), ANOTHER_KIND, "the token is none of a service's"
        )

    def test_a_token_for_somebody_else(self) -> None:
        """Its audience and its issuer are asked for."""
        for wrong in ({"aud": "authenticate"}, {"iss": "authorize"}):
            claims = {"iss": PROXY, "aud": AUTHORIZE, "iat": int(NOW), "exp": int(NOW) + LIFE}
            with self.assertRaises(Refused):
                Admission(KEYS).admit(call(sign(KEYS, claims | wrong, kind=KIND)), NOW)

    def test_an_old_token(self) -> None:
        """Over: the clocks differ, or somebody kept it; and by how much is said."""
        self.refused(
            call(mint(KEYS, NOW)),
            CLOCK,
            "the token is 90 s old: the clocks differ",
            now=NOW + 90,
        )

    def test_a_token_of_the_future(self) -> None:
        """Not begun: the clocks differ."""
        self.refused(
            call(mint(KEYS, NOW)),
            CLOCK,
            "the token is from 61 s ahead: the clocks differ",
            now=NOW - 61,
        )

    def test_a_known_token_grows_old(self) -> None:
        """One that was let in once is not let in for ever."""
        admission = Admission(KEYS)
        old = call(mint(KEYS, NOW))
        admission.admit(old, NOW)
        with self.assertRaises(Refused) as caught:
            admission.admit(old, NOW + 90)
        self.assertEqual(caught.exception.word, CLOCK)

    def test_many_tokens(self) -> None:
        """What is remembered is bounded."""
        admission = Admission(KEYS)
        for second in range(KNOWN + 10):
            admission.admit(call(mint(KEYS, NOW + second)), NOW + second)
        self.assertLessEqual(len(admission._known), KNOWN)

    @examples(50)
    @given(st.floats(-60, 60), st.floats(0, REUSE - 1))
    def test_clocks_within_a_minute(self, differ: float, later: float) -> None:
        """Clocks that differ by a minute harm nobody, however old the token is in its use."""
        Admission(KEYS).admit(Bearer(KEYS).metadata(NOW), NOW + differ + later)

    @examples(50)
    @given(st.text(max_size=60))
    def test_anything(self, text: str) -> None:
        """Whatever comes is refused, and nothing else is raised."""
        with self.assertRaises(Refused):
            Admission(KEYS).admit(call(text), NOW)


class BearerTests(SynchronousTestCase):
    """A process makes few tokens, and none that is too old."""

    def test_it_is_used_again(self) -> None:
        """No signature for each call."""
        bearer = Bearer(KEYS)
        self.assertIs(bearer.metadata(NOW), bearer.metadata(NOW + REUSE - 0.1))

    def test_a_new_one(self) -> None:
        """After its time there is another."""
        bearer = Bearer(KEYS)
        self.assertNotEqual(bearer.metadata(NOW), bearer.metadata(NOW + REUSE))

    def test_a_clock_that_was_set_back(self) -> None:
        """It makes a new one, or calls would be refused until the time comes again."""
        bearer = Bearer(KEYS)
        bearer.metadata(NOW)
        Admission(KEYS).admit(bearer.metadata(NOW - 3600), NOW - 3600)

    def test_nothing_shows(self) -> None:
        """Neither key nor token is in its repr."""
        bearer = Bearer(KEYS)
        bearer.metadata(NOW)
        self.assertEqual(repr(bearer), "Bearer(_made=1790000000.0)")
