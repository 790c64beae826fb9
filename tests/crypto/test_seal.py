"""Tests for pomeriumd.crypto.seal."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.crypto.seal import SEALED_SIZE, _cipher, seal, unseal
from pomeriumd.errors import BadToken

KEYS = (b"\x07" * 32,)
OTHER = (b"\x08" * 32,)

SEALED = seal(KEYS, b'{"secret":"s3"}', context=b"login", random=os.urandom)


class VectorTests(SynchronousTestCase):
    """The cipher is XAES-256-GCM as it is published."""

    def test_the_published_key_derivation(self) -> None:
        """Both published vectors come out of the cipher, for both halves of the nonce."""
        nonce = b"ABCDEFGHIJKLMNOPQRSTUVWX"
        for key, context, hidden in (
            (b"\x01" * 32, b"", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
            (
                b"\x03" * 32,
                b"c2sp.org/XAES-256-GCM",
                "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d",
            ),
        ):
            cipher = _cipher(key, nonce)
            self.assertEqual(cipher.encrypt(nonce[12:], b"XAES-256-GCM", context).hex(), hidden)


class SealTests(SynchronousTestCase):
    """unseal() opens what seal() made for this place, and nothing else."""

    @given(st.binary(max_size=400), st.binary(max_size=40))
    def test_round_trip(self, plain: bytes, context: bytes) -> None:
        """What was sealed is read again in the same place."""
        sealed = seal(KEYS, plain, context=context, random=os.urandom)
        self.assertEqual(unseal(KEYS, sealed, context=context), plain)

    @given(st.integers(0, len(SEALED) * 6 - 1))
    def test_every_flipped_bit_is_refused(self, bit: int) -> None:
        """No bit of the text can change: not of the version, the nonce, the rest."""
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        at, shift = divmod(bit, 6)
        flipped = alphabet[alphabet.index(SEALED[at]) ^ (1 << shift)]
        with self.assertRaises(BadToken):
            unseal(KEYS, SEALED[:at] + flipped + SEALED[at + 1 :], context=b"login")

    @given(st.integers(0, len(SEALED) - 1))
    def test_a_part_is_refused(self, size: int) -> None:
        """What was cut does not open."""
        with self.assertRaises(BadToken):
            unseal(KEYS, SEALED[:size], context=b"login")

    @given(st.text(max_size=200))
    def test_any_text_is_refused_in_one_way(self, text: str) -> None:
        """A stranger's text gives BadToken and no other error."""
        with self.assertRaises(BadToken):
            unseal(KEYS, text, context=b"login")

    def test_another_context_is_refused(self) -> None:
        """A seal is opened only as what it was made, for whom it was made."""
        with self.assertRaises(BadToken) as caught:
            unseal(KEYS, SEALED, context=b"handoff")
        self.assertEqual(str(caught.exception), "seal does not open")

    def test_another_key_is_refused(self) -> None:
        """A key of another purpose opens nothing."""
        with self.assertRaises(BadToken):
            unseal(OTHER, SEALED, context=b"login")

    def test_a_previous_key_opens(self) -> None:
        """After a rotation what was sealed before it still opens."""
        self.assertEqual(unseal(OTHER + KEYS, SEALED, context=b"login"), b'{"secret":"s3"}')

    def test_the_first_key_seals(self) -> None:
        """A previous key seals nothing any more."""
        sealed = seal(OTHER + KEYS, b"new", context=b"", random=os.urandom)
        self.assertEqual(unseal(OTHER, sealed, context=b""), b"new")

    def test_two_seals_of_one_text_differ(self) -> None:
        """Nobody sees that the same was sealed twice."""
        again = seal(KEYS, b'{"secret":"s3"}', context=b"login", random=os.urandom)
        self.assertNotEqual(again, SEALED)

    def test_is_bounded_both_ways(self) -> None:
        """A text over the bound is neither made nor looked at."""
        with self.assertRaises(ValueError):
            seal(KEYS, bytes(SEALED_SIZE), context=b"", random=os.urandom)
        with self.assertRaises(BadToken) as caught:
            unseal(KEYS, "A" * (SEALED_SIZE + 1), context=b"")
        self.assertEqual(str(caught.exception), "sealed text is over 32768 characters")
