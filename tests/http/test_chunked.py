"""Tests for pomeriumd.http.chunked: the coding, against llhttp's reading of it."""

from __future__ import annotations

from itertools import pairwise

import httptools
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.errors import BadMessage
from pomeriumd.http.chunked import ChunkedReader, chunk


class Listener:
    """Collects what llhttp reads."""

    def __init__(self) -> None:
        self.body = b""
        self.whole = 0

    def on_body(self, octets: bytes) -> None:
        """Collect a piece of the body."""
        self.body += octets

    def on_message_complete(self) -> None:
        """Count a message."""
        self.whole += 1


def llhttp(octets: bytes) -> bytes | None:
    """Return the body of just one message, as llhttp reads it; None if it is refused."""
    listener = Listener()
    parser = httptools.HttpRequestParser(listener)
    try:
        parser.feed_data(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + octets)
    except httptools.HttpParserError:
        return None
    return listener.body if listener.whole == 1 else None


def read(pieces: list[bytes]) -> tuple[bytes, bytes] | None:
    """Return body and rest; None if it is refused or not whole."""
    reader = ChunkedReader(1000)
    body = b""
    rest = b""
    try:
        for piece in pieces:
            if reader.ended:
                rest += piece
            else:
                body += reader.feed(piece)
    except BadMessage:
        return None
    return (body, reader.rest + rest) if reader.ended else None


pieces_of_coding = st.lists(
    st.sampled_from(
        [
            b"0",
            b"1",
            b"3",
            b"a",
            b"F",
            b"00",
            b"\r\n",
            b"\r",
            b"\n",
            b";x",
            b";x=y",
            b" ",
            b"\t",
            b"abc",
            b"0\r\n\r\n",
            b"3\r\nabc\r\n",
            b"A: b\r\n",
            b":",
            b"\0",
            b"_",
            b"-",
            b"\xff",
        ]
    ),
    max_size=12,
).map(b"".join)


class ReadTests(SynchronousTestCase):
    """ChunkedReader takes the coding, strictly."""

    @settings(max_examples=500)
    @given(pieces_of_coding)
    @example(b"3;x\r\nabc\r\n0\r\nA: b\r\n\r\n")
    def test_what_we_take_llhttp_takes(self, octets: bytes) -> None:
        """F3: whatever passes here, an independent reader reads in the same way."""
        ours = read([octets])
        if ours is not None and not ours[1]:
            self.assertEqual(llhttp(octets), ours[0])

    def test_a_bare_line_feed_in_trailers_ends_it_at_once(self) -> None:
        """Nothing is waited for: a reader that takes it for an end sees the next message there."""
        for trailers in (b"\n", b"A: b\n", b"A: b\n\r\nGET / HTTP/1.1\r\n", b"A: b\r\n\n"):
            with self.assertRaises(BadMessage) as caught:
                ChunkedReader(100).feed(b"0\r\n" + trailers)
            self.assertEqual(str(caught.exception), "trailers have a line that ends in LF alone")

    @given(st.lists(st.binary(max_size=30), max_size=5), st.lists(st.integers(0, 99)))
    def test_any_cutting_gives_the_same(self, chunks: list[bytes], places: list[int]) -> None:
        """Cuts mean nothing, and what is behind the message is kept byte by byte."""
        wire = b"".join(map(chunk, chunks)) + b"0\r\nA: b\r\n\r\nbehind"
        marks = [0, *sorted(place % len(wire) for place in places), len(wire)]
        pieces = [wire[a:b] for a, b in pairwise(marks)]
        self.assertEqual(read(pieces), (b"".join(chunks), b"behind"))

    @given(pieces_of_coding, st.integers(0, 40))
    def test_a_cut_makes_nothing_pass(self, octets: bytes, place: int) -> None:
        """What is refused whole is refused in two pieces, and the other way round."""
        self.assertEqual(read([octets[:place], octets[place:]]), read([octets]))
