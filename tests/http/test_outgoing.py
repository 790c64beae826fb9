"""Tests for pomeriumd.http.outgoing: a body, the way its head announced it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.errors import UpstreamBroken
from pomeriumd.http.events import Field
from pomeriumd.http.outgoing import CHUNKED, UNTIL_CLOSE, WITHOUT, Counted, Outgoing

TRAILERS: tuple[Field, ...] = ((b"a", b"b"),)


class BodyTests(SynchronousTestCase):
    """Each framing writes pieces and an end."""

    def test_what_is_written(self) -> None:
        """Trailers have a place in the chunked coding alone."""
        bodies: list[Outgoing] = [WITHOUT, UNTIL_CLOSE, CHUNKED, Counted(2, 2, UpstreamBroken)]
        self.assertEqual(
            [body.data(b"xy") + body.end(TRAILERS) for body in bodies],
            [b"", b"xy", b"2\r\nxy\r\n0\r\na: b\r\n\r\n", b"xy"],
        )

    def test_no_trailers(self) -> None:
        """The last chunk is followed by the empty line."""
        self.assertEqual(CHUNKED.end(()), b"0\r\n\r\n")

    def test_counts(self) -> None:
        """Too much is refused with the piece that goes over, too little with the end."""
        body = Counted(2, 2, UpstreamBroken)
        with self.assertRaises(UpstreamBroken) as short:
            body.end(())
        with self.assertRaises(UpstreamBroken) as long:
            body.data(b"xyz")
        self.assertEqual(
            [str(short.exception), str(long.exception)],
            ["body of 2 bytes announced, 0 came", "body of 2 bytes announced, 3 came"],
        )
