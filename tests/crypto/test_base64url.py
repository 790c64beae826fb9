"""Tests for pomeriumd.crypto.base64url."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.crypto.base64url import decode, encode
from pomeriumd.errors import BadToken


class Base64urlTests(SynchronousTestCase):
    """decode() is the inverse of encode(), and of nothing else."""

    @given(st.binary(max_size=80))
    def test_round_trip(self, octets: bytes) -> None:
        """What was encoded is decoded to the same octets."""
        self.assertEqual(decode(encode(octets)), octets)

    @given(st.text(max_size=12) | st.text("AQgwBCD-_+/=\n ", max_size=8))
    def test_one_text_for_each_octets(self, text: str) -> None:
        """A text that is taken is the one that encode() gives."""
        try:
            octets = decode(text)
        except BadToken:
            return
        self.assertEqual(encode(octets), text)

    def test_refuses_every_other_spelling(self) -> None:
        """Padding, the standard alphabet, white space, set unused bits, odd lengths."""
        for text in ("QQ==", "QQ=", "QR", "QUJ", "+/+/", "QU JD", "QUJD\n", "A", "QUJDé", "!!!!"):
            with self.assertRaises(BadToken, msg=text):
                decode(text)

    def test_names_what_is_wrong(self) -> None:
        """The two refusals say which it was, and nothing of the text."""
        for text, said in (
            ("Q Q", "text is not base64url"),
            ("QR", "text is not canonical base64url"),
        ):
            with self.assertRaises(BadToken) as caught:
                decode(text)
            self.assertEqual(str(caught.exception), said)
