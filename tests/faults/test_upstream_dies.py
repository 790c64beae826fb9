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
REQUEST = "request rig-00000001"
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

    def asked(self, octets: bytes) -> tuple[Rig, MemoryClient]:
        """Return a daemon whose upstream has had this request."""
        rig = Rig(PUBLIC)
        client = rig.connect()
        client.sends(octets)
        return rig, client

    def test_the_answer_is_never_a_short_one(self) -> None:
        """The connection is broken off, and what came before it is no whole answer."""
        count = 0
        for framing, came, clean in deaths():
            rig, client = self.asked(request())
            rig.upstreams.last.sends(came)
            rig.upstreams.last.closes(clean=clean)
            self.assertTrue(client.aborted, (framing, came, clean))
            self.assertFalse(complete(client.got()), (framing, came, clean))
            count += 1
        self.assertGreater(count, 150)

    def test_a_client_that_knows_no_chunks(self) -> None:
        """For HTTP/1.0, whose body ends with the connection, that end is a reset."""
        for framing, came, clean in deaths():
            rig, client = self.asked(b"GET / HTTP/1.0\r\nhost: app.example.com\r\n\r\n")
            rig.upstreams.last.sends(came)
            rig.upstreams.last.closes(clean=clean)
            self.assertTrue(client.aborted, (framing, came, clean))

    def test_the_log_says_why(self) -> None:
        """Once, with the request's id, what happened, and where to look."""
        for framing, came, clean in deaths():
            logged = Logged(self)
            rig, _ = self.asked(request())
            rig.upstreams.last.sends(came)
            rig.upstreams.last.closes(clean=clean)
            self.assertEqual(
                logged.lines(),
                [f"{REQUEST}: connection ended inside the answer; see the application's own log"],
                (framing, came, clean),
            )
            self.assertEqual(
                [(entry.status, entry.error) for entry in rig.logged], [(200, "UpstreamBroken")]
            )

    def test_an_answer_that_stalls(self) -> None:
        """It is given up after ``timeout_idle``; broken, not short; and the log says so."""
        for came in (whole[:-3] for whole in WHOLE.values()):
            logged = Logged(self)
            rig, client = self.asked(request())
            rig.upstreams.last.sends(came)
            rig.pass_time(rig.settings.timeout_idle + 1)
            self.assertTrue(client.aborted)
            self.assertFalse(complete(client.got()))
            self.assertEqual(
                logged.lines(),
                [f"{REQUEST}: the upstream's answer stalled; {STALLED}"],
            )

    def test_before_its_answer(self) -> None:
        """Then there is still an answer to give, and it is ours."""
        for came in (b"", b"H", OK, OK + b"content-length: 5\r\n"):
            logged = Logged(self)
            rig, client = self.asked(request(method=b"PUT"))
            rig.upstreams.last.sends(*([came] if came else []))
            rig.upstreams.last.closes()
            got = client.got()
            self.assertTrue(got.startswith(b"HTTP/1.1 502 "), got)
            self.assertTrue(complete(got))
            (line,) = logged.lines()
            self.assertRegex(line, r"\Arequest rig-00000001: connection ended .*; see the app")

    def test_a_whole_one_is_whole(self) -> None:
        """Nothing above would notice if every answer were cut."""
        for framing, whole in WHOLE.items():
            rig, client = self.asked(request())
            rig.upstreams.last.sends(whole)
            if framing.startswith("until close"):
                rig.upstreams.last.closes()
            got = client.got()
            self.assertTrue(complete(got), framing)
            self.assertFalse(client.aborted, framing)
