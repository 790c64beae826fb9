"""Tests for pomeriumd.crypto.urls."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.crypto.urls import check_url, sign_url
from pomeriumd.errors import BadToken

KEYS = (b"\x07" * 32,)
OTHER = (b"\x08" * 32,)
NOW = 1_790_000_000.7
URL = "https://auth.example.com/.pomerium/sign_in?pomerium_redirect_uri=https%3A%2F%2Fapp%2F"
SIGNED = sign_url(KEYS, URL, NOW)


class SignedUrlTests(SynchronousTestCase):
    """check_url() takes what sign_url() made, as it stands, for five minutes."""

    def refused(self, url: str, said: str, *, now: float = NOW) -> None:
        """Assert that the URL is refused with this text."""
        with self.assertRaises(BadToken) as caught:
            check_url(KEYS, url, now)
        self.assertEqual(str(caught.exception), said)

    def test_the_parameters_are_the_known_ones(self) -> None:
        """Issued, expiry and signature stand at the end under Pomerium's names."""
        head, _, signature = SIGNED.rpartition("&pomerium_signature=")
        self.assertEqual(head, f"{URL}&pomerium_issued=1790000000&pomerium_expiry=1790000300")
        self.assertEqual(len(signature), 43)

    def test_a_url_without_a_query(self) -> None:
        """The first parameter follows a question mark."""
        signed = sign_url(KEYS, "https://a/", NOW)
        self.assertTrue(signed.startswith("https://a/?pomerium_issued=1790000000&"))
        check_url(KEYS, signed, NOW)

    @given(st.integers(0, len(SIGNED) * 7 - 1))
    def test_every_flipped_bit_is_refused(self, bit: int) -> None:
        """No bit of the URL can change: host, path, parameters, times, signature."""
        at, shift = divmod(bit, 7)
        flipped = SIGNED[:at] + chr(ord(SIGNED[at]) ^ (1 << shift)) + SIGNED[at + 1 :]
        with self.assertRaises(BadToken):
            check_url(KEYS, flipped, NOW)

    @given(st.text(max_size=20), st.integers(0, len(SIGNED)))
    def test_nothing_can_be_put_in(self, more: str, at: int) -> None:
        """A parameter, a fragment or a letter put in anywhere is refused."""
        if more:
            with self.assertRaises(BadToken):
                check_url(KEYS, SIGNED[:at] + more + SIGNED[at:], NOW)

    def test_holds_for_five_minutes_and_the_leeway(self) -> None:
        """Clocks may differ by a minute, before and after."""
        for now in (NOW - 60, NOW, NOW + 300, NOW + 359):
            check_url(KEYS, SIGNED, now)
        self.refused(SIGNED, "link has expired", now=NOW + 360)
        self.refused(SIGNED, "link is from the future: the clocks differ", now=NOW - 62)

    def test_holds_as_long_as_was_said(self) -> None:
        """The maker may choose a shorter time."""
        signed = sign_url(KEYS, URL, NOW, valid=10)
        check_url(KEYS, signed, NOW + 69)
        self.refused(signed, "link has expired", now=NOW + 70)

    def test_another_key(self) -> None:
        """A previous key verifies; a stranger's does not."""
        check_url(OTHER + KEYS, SIGNED, NOW)
        with self.assertRaises(BadToken) as caught:
            check_url(OTHER, SIGNED, NOW)
        self.assertEqual(str(caught.exception), "link's signature does not verify")

    def test_an_unsigned_url(self) -> None:
        """The signature is not optional, and neither are the times."""
        for url in (
            URL,
            "",
            SIGNED.rpartition("&")[0],
            SIGNED.replace("issued", "isued"),
            SIGNED * 2,
        ):
            with self.assertRaises(BadToken):
                check_url(KEYS, url, NOW)
        self.refused(URL, "link is not signed")

    def test_signs_nothing_twice(self) -> None:
        """A URL that has our parameters already, or a fragment, is not signed."""
        for url in (SIGNED, f"{URL}&pomerium_expiry=9", "https://a/?pomerium_issued=1", f"{URL}#x"):
            with self.assertRaises(ValueError) as caught:
                sign_url(KEYS, url, NOW)
            self.assertEqual(
                str(caught.exception), "URL to sign has a fragment, or is signed already"
            )
