"""The requests are a browser's, whole and well formed."""

from __future__ import annotations

import h11
from twisted.trial.unittest import SynchronousTestCase

from bench.traffic import SESSIONS, Anonymous, request


def read(octets: bytes) -> h11.Request:
    """Return the request that these bytes are, and nothing else."""
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(octets)
    head, end = reader.next_event(), reader.next_event()
    assert isinstance(head, h11.Request)
    assert isinstance(end, h11.EndOfMessage)
    assert reader.trailing_data == (b"", False)
    return head


class RequestTests(SynchronousTestCase):
    """request() makes them."""

    def test_a_browsers_fields(self) -> None:
        """Nine fields beside Host; the session stands behind the application's cookies."""
        head = read(request("r7.bench.localhost", "/documents/1", cookie="session=token"))
        fields = dict(head.headers)
        self.assertEqual((head.method, head.target), (b"GET", b"/documents/1"))
        self.assertEqual(fields.pop(b"host"), b"r7.bench.localhost")
        self.assertEqual(len(fields), 9)
        self.assertTrue(fields[b"cookie"].endswith(b"; session=token"))

    def test_no_head_comes_twice(self) -> None:
        """A proxy that remembers the last head it saw gains nothing by it."""
        blocks = {
            octets.partition(b"\r\n")[2] for octets in Anonymous("bench.localhost").requests(1)
        }
        self.assertEqual(len(blocks), SESSIONS)
