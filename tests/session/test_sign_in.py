"""Tests for pomeriumd.session.sign_in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.crypto.urls import sign_url
from pomeriumd.errors import BadMessage, BadToken, PomeriumError
from pomeriumd.session.sign_in import (
    SignInRequest,
    read_sign_in,
    read_sign_out,
    sign_in_url,
    sign_out_url,
)

KEYS = (b"\x07" * 32,)
AUTH = "https://auth.example.com"
NOW = 1_790_000_000.0
ASKED = SignInRequest(
    redirect="https://app.example.com/a?b=c&d=%41", login="id.hash", seen=1_789_999_000
)


def query(url: str) -> bytes:
    """Return the query of a URL as it arrives."""
    return url.partition("?")[2].encode()


class SignInTests(SynchronousTestCase):
    """Authenticate reads what a route host wrote, and nothing else."""

    def test_round_trip(self) -> None:
        """The request arrives as it was made, with a session to renew and without."""
        for asked in (ASKED, SignInRequest(redirect="https://app.example.com/", login="x")):
            url = sign_in_url(KEYS, AUTH, asked, NOW)
            self.assertEqual(read_sign_in(KEYS, AUTH, query(url), NOW), asked)

    def test_the_names_are_the_known_ones(self) -> None:
        """The path and the parameters are Pomerium's."""
        url = sign_in_url(KEYS, AUTH, ASKED, NOW)
        self.assertTrue(
            url.startswith(
                "https://auth.example.com/.pomerium/sign_in?pomerium_redirect_uri=https%3A%2F%2Fapp"
            )
        )

    def test_expires_on_the_way(self) -> None:
        """It may arrive for five minutes."""
        url = sign_in_url(KEYS, AUTH, ASKED, NOW)
        with self.assertRaises(BadToken) as caught:
            read_sign_in(KEYS, AUTH, query(url), NOW + 361)
        self.assertEqual(str(caught.exception), "link has expired")

    def test_another_authenticate(self) -> None:
        """A URL for another origin is none for us, whatever the Host field said."""
        url = sign_in_url(KEYS, "https://auth.evil.example", ASKED, NOW)
        with self.assertRaises(BadToken):
            read_sign_in(KEYS, AUTH, query(url), NOW)

    def test_sign_in_is_no_sign_out(self) -> None:
        """The path is signed: one link cannot be used as the other."""
        one = sign_in_url(KEYS, AUTH, ASKED, NOW)
        other = sign_out_url(KEYS, AUTH, session_id="s", redirect="https://a/", now=NOW)
        with self.assertRaises(BadToken):
            read_sign_out(KEYS, AUTH, query(one), NOW)
        with self.assertRaises(BadToken):
            read_sign_in(KEYS, AUTH, query(other), NOW)

    def test_what_a_route_host_would_not_write(self) -> None:
        """A signature does not make a bad parameter good."""
        start = f"{AUTH}/.pomerium/sign_in?pomerium_redirect_uri=https%3A%2F%2Fa%2F"
        for rest, kind in (
            ("", BadToken),
            ("&pomerium_login=", BadToken),
            (f"&pomerium_login={'x' * 129}", BadToken),
            ("&pomerium_login=a&pomerium_login=b", BadMessage),
            ("&pomerium_login=a&pomerium_seen=-1", BadToken),
            ("&pomerium_login=a&pomerium_seen=1e9", BadToken),
            ("&pomerium_login=a&pomerium_seen=" + "9" * 30, BadToken),
            ("&pomerium_login=a&pomerium_seen=%D9%A1", BadToken),
        ):
            url = sign_url(KEYS, start + rest, NOW)
            with self.assertRaises(kind, msg=rest):
                read_sign_in(KEYS, AUTH, query(url), NOW)

    @given(st.none() | st.binary(max_size=100))
    def test_any_query(self, given: bytes | None) -> None:
        """A stranger's query is refused with an error of ours."""
        for read in (read_sign_in, read_sign_out):
            with self.assertRaises(PomeriumError):
                read(KEYS, AUTH, given, NOW)


class SignOutTests(SynchronousTestCase):
    """A signed sign-out ends one session, and is of no use with another."""

    def test_names_the_session_and_does_not_give_it_away(self) -> None:
        """The id is not in the URL; its owner's is recognised, another's is not."""
        url = sign_out_url(KEYS, AUTH, session_id="sEcReT", redirect="https://a/", now=NOW)
        self.assertNotIn("sEcReT", url)
        asked = read_sign_out(KEYS, AUTH, query(url), NOW)
        self.assertTrue(asked.is_of("sEcReT"))
        self.assertFalse(asked.is_of("other"))
        self.assertEqual(asked.redirect, "https://a/")
