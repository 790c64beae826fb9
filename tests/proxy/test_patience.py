"""Whose turn it is, and how long it may take: clients and upstreams that are slow or full."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.rig import Rig, parse, request
from tests.support.serving import MemoryClient
from tests.support.settings import route

PUBLIC = route(allow_public_unauthenticated_access=True)
PUT = b"PUT / HTTP/1.1\r\nhost: app.example.com\r\n"
CHUNKED = PUT + b"transfer-encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
LARGE = b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n" + b"x" * 60_000

TIMEOUT, STALL, BODY, WRITE = 20, 60, 30, 40
"""Seconds: of the route, of an upstream that stalls, of a body, of a reader that stalls."""


class Case(SynchronousTestCase):
    """A daemon in memory, and one connection to it."""

    def setUp(self) -> None:
        """Connect."""
        self.rig = Rig(
            PUBLIC,
            default_upstream_timeout=float(TIMEOUT),
            timeout_idle=float(STALL),
            timeout_read=float(BODY),
            timeout_write=float(WRITE),
        )
        self.client = self.rig.connect()

    def drip(self, client: MemoryClient, seconds: int, piece: bytes = b"1\r\nx\r\n") -> None:
        """Send a piece each second."""
        for _ in range(seconds):
            self.rig.pass_time(1)
            client.sends(piece)

    def took(self, seconds: float) -> None:
        """Let time pass, with what a tick is late by."""
        self.rig.pass_time(seconds + 1)

    @property
    def errors(self) -> list[tuple[int, str]]:
        """Return how the exchanges ended, as the access log has it."""
        return [(entry.status, entry.error) for entry in self.rig.logged]


class UploadTests(Case):
    """How long a body takes is the client's affair; what follows is the upstream's."""

    def test_a_slow_body_is_not_the_upstreams_fault(self) -> None:
        """A body that takes longer than the route's timeout is carried to its end."""
        self.client.sends(CHUNKED)
        self.drip(self.client, 3 * TIMEOUT)
        self.client.sends(b"0\r\n\r\n")
        self.rig.upstreams.last.sends(OK)
        self.assertEqual(parse(self.client.got()).status, 200)

    def test_the_timeout_runs_from_the_end_of_the_request(self) -> None:
        """Then it is for the upstream to answer, and it has the route's timeout."""
        self.client.sends(CHUNKED)
        self.drip(self.client, 2 * TIMEOUT)
        self.client.sends(b"0\r\n\r\n")
        self.rig.pass_time(TIMEOUT - 1)
        self.assertEqual(self.client.got(), b"")
        self.took(1)
        self.assertEqual(parse(self.client.got()).status, 504)

    def test_a_request_without_a_body_has_the_timeout_at_once(self) -> None:
        """There is nothing to wait for but the upstream."""
        self.client.sends(request())
        self.took(TIMEOUT)
        self.assertEqual(parse(self.client.got()).status, 504)

    def test_an_upstream_that_takes_nothing(self) -> None:
        """A body that waits for the upstream is given up after the time for a stall."""
        self.client.sends(CHUNKED, b"1\r\nx\r\n")
        upstream = self.rig.upstreams.last.protocol
        upstream.pauseProducing()
        self.assertFalse(self.client.reading)
        self.rig.pass_time(STALL - 1)
        self.assertEqual(self.client.got(), b"")
        self.took(1)
        self.assertEqual(parse(self.client.got()).status, 504)

    def test_an_upstream_that_takes_again(self) -> None:
        """It is not blamed for a stall that is over."""
        self.client.sends(CHUNKED, b"1\r\nx\r\n")
        upstream = self.rig.upstreams.last.protocol
        upstream.pauseProducing()
        self.rig.pass_time(STALL - 5)
        upstream.resumeProducing()
        self.assertTrue(self.client.reading)
        self.drip(self.client, STALL)
        self.assertEqual((self.client.got(), self.errors), (b"", []))

    def test_an_answer_that_began_early(self) -> None:
        """An upload that flows behind the head of its answer is no stalled answer."""
        self.client.sends(CHUNKED)
        self.rig.upstreams.last.sends(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no")
        self.drip(self.client, 2 * STALL)
        self.client.sends(b"0\r\n\r\n")
        self.rig.upstreams.last.sends(b"k")
        self.assertEqual(parse(self.client.got()).body, b"ok")
        self.assertEqual(self.errors, [(200, "")])

    def test_an_early_answer_that_stalls(self) -> None:
        """When neither direction moves any more, it ends."""
        self.client.sends(CHUNKED)
        self.rig.upstreams.last.sends(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no")
        self.client.sends(b"0\r\n\r\n")
        self.took(STALL)
        self.assertTrue(self.client.aborted)
        self.assertEqual(self.errors, [(200, "UpstreamTimeout")])


class ReaderTests(Case):
    """What a client does not take is bounded, whatever else it does."""

    def answered(self) -> int:
        """Let the upstream answer everything that it was asked; return how often that was."""
        count = 0
        while (asked := self.rig.upstreams.last.got()) != b"":
            count += asked.count(b"GET ")
            self.rig.upstreams.last.sends(LARGE)
        return count

    def test_no_answer_is_begun_that_nobody_takes(self) -> None:
        """A client that asks on and reads nothing has one answer wait, and no more."""
        self.stalled()
        self.rig.upstreams.last.got()
        for _ in range(5000):
            self.client.sends(request(b"/again"))
        self.assertEqual(self.answered(), 0)
        self.assertFalse(self.client.reading)
        self.assertLess(len(self.client.got()), 61_000)

    def test_pages_of_ours_are_no_exception(self) -> None:
        """A page of ours is small, and a thousand of them are not."""
        self.client.protocol.pauseProducing()
        self.client.sends(request(b"/ping") * 1000)
        self.assertEqual(self.client.got().count(b"HTTP/1.1 200 "), 1)

    def test_it_goes_on_when_they_are_taken(self) -> None:
        """The requests that waited are answered in their order, none lost."""
        self.client.sends(request())
        self.client.protocol.pauseProducing()
        self.rig.upstreams.last.sends(LARGE)
        self.client.sends(request(b"/ping"), request(b"/robots.txt"), request(b"/ping"))
        self.client.got()
        self.client.protocol.resumeProducing()
        got = self.client.got()
        self.assertEqual(got.count(b"HTTP/1.1 200 "), 3)
        self.assertIn(b"User-agent", got.split(b"HTTP/1.1 200 ")[2])
        self.assertTrue(self.client.reading)

    def stalled(self) -> None:
        """Answer one request of a client that takes nothing."""
        self.client.sends(request())
        # As a transport does it: while it is given what is too much.
        self.client.protocol.pauseProducing()
        self.rig.upstreams.last.sends(LARGE)

    def test_a_reader_that_stalls_is_cut(self) -> None:
        """Between two requests, too: what waits for it cannot wait for ever."""
        self.stalled()
        self.rig.pass_time(WRITE - 1)
        self.assertFalse(self.client.aborted)
        self.took(1)
        self.assertTrue(self.client.aborted)

    def test_a_reader_that_is_slow_is_not(self) -> None:
        """As long as something is taken in its time, however little, the answer goes on."""
        self.client.transport.waiting = 1000
        self.stalled()
        for _ in range(5):
            self.rig.pass_time(WRITE - 5)
            self.client.transport.waiting -= 1
            self.rig.pass_time(6)
            self.assertFalse(self.client.aborted)
        self.took(WRITE)
        self.assertTrue(self.client.aborted)

    def test_more_requests_buy_no_time(self) -> None:
        """The next requests that it sends, however many, do not stop its clock."""
        self.stalled()
        self.client.sends(request(b"/again") * 3000)
        self.took(WRITE)
        self.assertTrue(self.client.aborted)

    def test_a_body_buys_no_time(self) -> None:
        """Nor do pieces of a body whose answer began early, nor its end."""
        for last in (b"1\r\nx\r\n", b"0\r\n\r\n"):
            client = self.rig.connect()
            client.sends(CHUNKED)
            self.rig.upstreams.last.sends(LARGE[:-1])
            client.protocol.pauseProducing()
            self.drip(client, WRITE - 2)
            client.sends(last)
            self.took(2)
            self.assertTrue(client.aborted, last)

    def test_who_reads_on_has_the_time_of_an_idle_connection(self) -> None:
        """The clock of the reader that stalled is gone."""
        self.stalled()
        self.rig.pass_time(WRITE - 2)
        self.client.protocol.resumeProducing()
        self.rig.pass_time(STALL - 2)
        self.assertFalse(self.client.closing or self.client.aborted)
        self.client.got()
        self.client.sends(request(b"/ping"))
        self.assertEqual(parse(self.client.got()).status, 200)
