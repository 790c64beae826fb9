"""
An upstream that dies in the middle of its answer.

Whatever its framing and however it goes, the client sees a broken answer and never a short
one, and the log says why.
"""

from __future__ import annotations

from collections.abc import Iterator

import h11
from twisted.trial.unittest import SynchronousTestCase

from tests.support.logged import Logged
from tests.support.rig import Rig, request
from tests.support.serving import MemoryClient
from tests.support.settings import route

PUBLIC = route(allow_public_unauthenticated_access=True)
OK = b"HTTP/1.1 200 OK\r\n"
STALLED = "see what keeps the application, or raise timeout_idle"

WHOLE = {
    "counted": OK + b"content-length: 10\r\n\r\n0123456789",
    "chunked": OK + b"transfer-encoding: chunked\r\n\r\n5\r\n01234\r\n5;x\r\n56789\r\n0\r\n\r\n",
    "chunked, trailers": OK
    + b"transfer-encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\nx-sum: 1\r\n\r\n",
    "until close": OK + b"\r\n0123456789",
    "until close, 1.0": b"HTTP/1.0 200 OK\r\n\r\n0123456789",
}


def deaths() -> Iterator[tuple[str, bytes, bool]]:
    """Yield the framing, what came of the answer, and whether it then ended in peace."""
    for framing, whole in WHOLE.items():
        head = whole.index(b"\r\n\r\n") + 4
        for place in range(head, len(whole)):
            yield framing, whole[:place], False
            if not framing.startswith("until close"):  # where that is how an answer ends
                yield framing, whole[:place], True
        if framing.startswith("until close"):
            yield framing, whole, False


def complete(octets: bytes) -> bool:
    """Say whether a reader of the answer takes it for whole, once the connection ended."""
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(octets)
    try:
        while (event := reader.next_event()) is not h11.NEED_DATA:
            if isinstance(event, h11.EndOfMessage):
                return True
        reader.receive_data(b"")
        return isinstance(reader.next_event(), h11.EndOfMessage)
    except h11.RemoteProtocolError:
        return False


class DeathTests(SynchronousTestCase):
    """Generated: each framing, cut at each byte behind its head, in peace and by a reset."""

    def setUp(self) -> None:
        """Start a daemon."""
        self.rig = Rig(PUBLIC)
        self.logged = Logged(self)

    def asked(self, octets: bytes) -> MemoryClient:
        """Return a client whose request the upstream has had, on connections of its own."""
        client = self.rig.connect()
        client.sends(octets)
        return client

    def said(self) -> str:
        """Return the last line of the log, without the number of the request."""
        line = self.logged.lines()[-1]
        self.assertTrue(line.startswith("request rig-"), line)
        return line.partition(": ")[2]

    def test_the_answer_is_never_a_short_one(self) -> None:
        """The connection is broken off, and what came before it is no whole answer."""
        count = 0
        for framing, came, clean in deaths():
            client = self.asked(request())
            self.rig.upstreams.last.sends(came)
            self.rig.upstreams.last.closes(clean=clean)
            self.assertTrue(client.aborted, (framing, came, clean))
            self.assertFalse(complete(client.got()), (framing, came, clean))
            count += 1
        self.assertGreater(count, 150)

    def test_a_client_that_knows_no_chunks(self) -> None:
        """For HTTP/1.0, whose body ends with the connection, that end is a reset."""
        for framing, came, clean in deaths():
            client = self.asked(b"GET / HTTP/1.0\r\nhost: app.example.com\r\n\r\n")
            self.rig.upstreams.last.sends(came)
            self.rig.upstreams.last.closes(clean=clean)
            self.assertTrue(client.aborted, (framing, came, clean))

    def test_the_log_says_why(self) -> None:
        """Once, with the request's id, what happened, and where to look."""
        for framing, came, clean in deaths():
            self.asked(request())
            self.rig.upstreams.last.sends(came)
            self.rig.upstreams.last.closes(clean=clean)
            said = "connection ended inside the answer; see the application's own log"
            self.assertEqual(self.said(), said, (framing, came, clean))
            entry = self.rig.logged[-1]
            self.assertEqual((entry.status, entry.error), (200, "UpstreamBroken"))
        self.assertEqual(len(self.logged.lines()), len(self.rig.logged))

    def test_an_answer_that_stalls(self) -> None:
        """It is given up after ``timeout_idle``; broken, not short; and the log says so."""
        for came in (whole[:-3] for whole in WHOLE.values()):
            client = self.asked(request())
            self.rig.upstreams.last.sends(came)
            self.rig.pass_time(self.rig.settings.timeout_idle + 1)
            self.assertTrue(client.aborted)
            self.assertFalse(complete(client.got()))
            self.assertEqual(self.said(), f"the upstream's answer stalled; {STALLED}")

    def test_before_its_answer(self) -> None:
        """Then there is still an answer to give, and it is ours."""
        for came in (b"", b"H", OK, OK + b"content-length: 5\r\n"):
            client = self.asked(request(method=b"PUT"))
            self.rig.upstreams.last.sends(*([came] if came else []))
            self.rig.upstreams.last.closes()
            got = client.got()
            self.assertTrue(got.startswith(b"HTTP/1.1 502 "), got)
            self.assertTrue(complete(got))
            self.assertRegex(self.said(), r"\Aconnection ended .*; see the application's own log")

    def test_a_whole_one_is_whole(self) -> None:
        """Nothing above would notice if every answer were cut."""
        for framing, whole in WHOLE.items():
            client = self.asked(request())
            self.rig.upstreams.last.sends(whole)
            if framing.startswith("until close"):
                self.rig.upstreams.last.closes()
            got = client.got()
            self.assertTrue(complete(got), framing)
            self.assertFalse(client.aborted, framing)
