"""Tests for pomeriumd.session.provider."""

from __future__ import annotations

import os

import attrs
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.errors import BadToken
from pomeriumd.session.cookies import VALUE_SIZE
from pomeriumd.session.provider import ProviderSession, open_provider, seal_provider
from pomeriumd.session.session import Identity

KEYS = (b"\x07" * 32,)
AUTH = "auth.example.com:443"
IDP = "https://idp.example.com"
ALICE = ProviderSession(
    id="s",
    identity=Identity(issuer=IDP, subject="alice", groups=("a", "b")),
    auth_time=1_790_000_000,
    checked=1_790_000_000,
    seen=1_790_000_000,
    expires=1_790_050_400,
    refresh_token="refresh-s3cret",
    id_token="id-s3cret",
)


def kept(session: ProviderSession) -> ProviderSession:
    """Return what comes back out of the cookie."""
    sealed = seal_provider(KEYS, session, audience=AUTH, issuer=IDP, random=os.urandom)
    assert len(sealed) <= VALUE_SIZE
    return open_provider(KEYS, sealed, audience=AUTH, issuer=IDP)


class ProviderSessionTests(SynchronousTestCase):
    """Authenticate's own session is kept whole, hidden, and for one provider."""

    def test_round_trip(self) -> None:
        """With tokens and without, it comes back as it was."""
        for session in (ALICE, attrs.evolve(ALICE, refresh_token=None, id_token=None)):
            self.assertEqual(kept(session), session)

    def test_another_place_or_provider(self) -> None:
        """It opens at its authenticate, under its key, while that provider is configured."""
        sealed = seal_provider(KEYS, ALICE, audience=AUTH, issuer=IDP, random=os.urandom)
        for keys, audience, issuer in (
            ((b"\x08" * 32,), AUTH, IDP),
            (KEYS, "auth.example.com:8443", IDP),
            (KEYS, AUTH, "https://other.example.com"),
        ):
            with self.assertRaises(BadToken):
                open_provider(keys, sealed, audience=audience, issuer=issuer)

    def test_tokens_that_do_not_fit_are_left_out(self) -> None:
        """First the hint for the logout goes, then the refresh token; the session stays."""
        big = attrs.evolve(ALICE, id_token="i" * 20_000)
        self.assertEqual(kept(big), attrs.evolve(ALICE, id_token=None))
        both = attrs.evolve(ALICE, id_token="i" * 9_000, refresh_token="r" * 9_000)
        self.assertEqual(kept(both), attrs.evolve(both, id_token=None))
        huge = attrs.evolve(ALICE, refresh_token="r" * 60_000)
        self.assertEqual(kept(huge), attrs.evolve(ALICE, id_token=None, refresh_token=None))

    def test_repr_shows_no_token(self) -> None:
        """The provider's tokens do not reach a log."""
        self.assertNotIn("s3cret", repr(ALICE))
