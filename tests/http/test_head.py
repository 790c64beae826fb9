"""Tests for pomeriumd.http.head: a head in pieces, and the fields in it."""

from __future__ import annotations

import httptools
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.errors import BadMessage, HeadTooLarge
from pomeriumd.http.head import _NAMES, _NAMES_KEPT, FieldReader, HeadReader

HEAD = b"GET / HTTP/1.1\r\nA: b\r\n\r\n"


def reader(size: int = 100) -> HeadReader:
    """Return a reader of requests."""
    return HeadReader(size, b"GP", BadMessage, HeadTooLarge, blank=True)


class TakeTests(SynchronousTestCase):
    """take() gives a head when its last byte is here."""

    @given(st.integers(0, len(HEAD) - 1), st.integers(0, len(HEAD) - 1), st.binary(max_size=5))
    def test_any_two_cuts(self, one: int, other: int, behind: bytes) -> None:
        """The head is whole and what is behind it untouched, wherever it was cut."""
        first, second = sorted((one, other))
        reads = reader()
        cut = [HEAD[:first], HEAD[first:second], HEAD[second:]]
        taken = [
            reads.take(piece + behind * last) for last, piece in zip((0, 0, 1), cut, strict=True)
        ]
        whole = [found for found in taken if found]
        self.assertEqual(whole, [(HEAD, behind)])
        self.assertFalse(reads.begun)

    def test_the_first_byte_tells(self) -> None:
        """What cannot become a head is refused at once, not at its deadline."""
        for octet in (b"\x16", b"\0", b" ", b"g", b"\n", b"\x80", b"X"):
            with self.assertRaises(BadMessage) as caught:
                reader().take(octet)
            self.assertEqual(str(caught.exception), "head does not begin like one")

    def test_a_bare_lf_tells(self) -> None:
        """So does a line that ends in LF alone, wherever the cut is."""
        for pieces in ([b"GET / HTTP/1.1\n"], [b"GET / HTTP/1.1", b"\n"], [b"G\r", b"\nA\n"]):
            reads = reader()
            with self.assertRaises(BadMessage) as caught:
                for piece in pieces:
                    reads.take(piece)
            self.assertEqual(str(caught.exception), "head has a line that ends in LF alone")


class FieldTests(SynchronousTestCase):
    """read() gives what llhttp read."""

    def test_two_heads_are_no_head(self) -> None:
        """Bytes behind the empty line, or none at all, are refused."""
        reads = FieldReader(httptools.HttpRequestParser, BadMessage)
        self.assertEqual(reads.read(HEAD), [(b"a", b"b")])
        for head in (HEAD[:-2], b"", HEAD[:10]):
            with self.assertRaises(BadMessage) as caught:
                reads.read(head)
            self.assertEqual(str(caught.exception), "head does not end where its empty line is")

    def test_each_reading_is_new(self) -> None:
        """What a refused head left behind is not in the next."""
        reads = FieldReader(httptools.HttpRequestParser, BadMessage)
        with self.assertRaises(BadMessage):
            reads.read(b"GET / HTTP/1.1\r\nC: d\r\nA : b\r\n\r\n")
        first = reads.read(HEAD)
        self.assertEqual([first, reads.read(HEAD)], [[(b"a", b"b")], [(b"a", b"b")]])

    def test_the_memory_of_names_is_bounded(self) -> None:
        """Full, it forgets nothing that it knows, and reads what it does not."""
        reads = FieldReader(httptools.HttpRequestParser, BadMessage)
        for number in range(_NAMES_KEPT + 10):
            reads.read(b"GET / HTTP/1.1\r\nX-%d: a\r\n\r\n" % number)
        self.assertLessEqual(len(_NAMES), _NAMES_KEPT)
        self.assertIn(b"User-Agent", _NAMES)
        self.assertEqual(
            reads.read(b"GET / HTTP/1.1\r\nX-Never-Seen: a\r\n\r\n"), [(b"x-never-seen", b"a")]
        )
