"""Tests for pomeriumd.http.request_heads: what is remembered is what would be read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.errors import ClientError
from pomeriumd.http.limits import Limits
from pomeriumd.http.request_heads import RequestHeads

LINES = [
    b"GET / HTTP/1.1",
    b"GET / HTTP/1.0",
    b"HEAD /a?b HTTP/1.1",
    b"POST / HTTP/1.1",
    b"GET http://a/ HTTP/1.1",
    b"GET http://b/ HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"GET /%2f HTTP/1.1",
    b"get / HTTP/1.1",
    b"GET / HTTP/2.0",
]
BLOCKS = [
    b"Host: a",
    b"Host: a\r\nHost: a",
    b"Host: a:80\r\nCookie: s=1",
    b"Host: a\r\nConnection: close",
    b"Host: a\r\nContent-Length: 3",
    b"Host: a\r\nTransfer-Encoding: chunked",
    b"Host: a\r\nExpect: 100-continue\r\nContent-Length: 1",
    (
        b"Host: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    ),
    b"Host: a\r\nX: \xff",
    b"X: y",
]
heads = st.tuples(st.sampled_from(LINES), st.sampled_from(BLOCKS))


def read(heads: RequestHeads, line: bytes, block: bytes) -> object:
    """Return what a head says, or the text with which it is refused."""
    try:
        request, judged, http11 = heads.read(b"%b\r\n%b\r\n\r\n" % (line, block))
    except ClientError as error:
        return type(error), str(error)
    return request, judged[:-1], http11


class ReadTests(SynchronousTestCase):
    """read() says the same, whatever it has read before."""

    @given(st.lists(heads, max_size=40))
    def test_memory_changes_nothing(self, many: list[tuple[bytes, bytes]]) -> None:
        """One that has read many heads and one that has read none agree, on refusals too."""
        old = RequestHeads(Limits())
        for line, block in many:
            self.assertEqual(read(old, line, block), read(RequestHeads(Limits()), line, block))

    def test_notes_belong_to_the_fields(self) -> None:
        """The same block has the same notes on any line; another has its own."""
        heads = RequestHeads(Limits())
        _, first, again, other = (
            heads.read(b"%b\r\n%b\r\n\r\n" % head)[1].notes
            for head in (
                (LINES[0], BLOCKS[0]),
                (LINES[0], BLOCKS[0]),
                (LINES[2], BLOCKS[0]),
                (LINES[0], BLOCKS[2]),
            )
        )
        self.assertIs(first, again)
        self.assertIsNot(first, other)

    def test_nothing_is_kept_for_http10(self) -> None:
        """Its fields are judged by other rules: what they meant is no use to HTTP/1.1."""
        heads = RequestHeads(Limits())
        _, one, other = (
            heads.read(b"%b\r\n%b\r\n\r\n" % (LINES[1], BLOCKS[0]))[1].notes for _ in range(3)
        )
        self.assertIsNot(one, other)
