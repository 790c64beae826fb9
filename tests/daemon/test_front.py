"""What all connections share: ids, dates, log entries, and the end."""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.cells import Reading
from tests.support.rig import NOW, Rig, parse, request
from tests.support.settings import route


class FrontCase(SynchronousTestCase):
    """A daemon in memory with a public route."""

    def setUp(self) -> None:
        """Start it."""
        self.rig = Rig(route(allow_public_unauthenticated_access=True))


class EntryTests(FrontCase):
    """Each exchange has one line, and the line is right."""

    def test_an_entry_says_what_happened(self) -> None:
        """Sizes, times, status and decision of an upload are those that were."""
        client = self.rig.connect()
        client.sends(request(b"/up?x=1", method=b"POST", body=b"abc"))
        self.rig.clock.advance(2)
        self.rig.upstreams.last.sends(b"HTTP/1.1 201 Created\r\ncontent-length: 4\r\n\r\ndone")
        (entry,) = self.rig.logged
        self.assertEqual(
            (entry.method, entry.host, entry.path, entry.status, entry.received, entry.sent),
            (b"POST", b"app.example.com", b"/up", 201, 3, 4),
        )
        self.assertEqual((entry.duration_ms, entry.upstream_ms), (2000, 2000))
        self.assertEqual((entry.decision, entry.client), ("public", "203.0.113.9"))

    def test_ids_never_repeat(self) -> None:
        """Every request has an id of its own, the unreadable ones too."""
        for octets in (request(b"/ping"), b"nonsense\r\n\r\n", request(b"/healthz")):
            self.rig.connect().sends(octets)
        ids = [entry.request_id for entry in self.rig.logged]
        self.assertEqual(len(set(ids)), 3)

    def test_what_cannot_be_read_has_a_page(self) -> None:
        """A client that speaks no HTTP gets 400 and its id, and a line in the log."""
        client = self.rig.connect()
        client.sends(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n")
        got = parse(client.got())
        self.assertEqual((got.status, self.rig.logged[0].error), (400, "BadMessage"))
        self.assertIn(self.rig.logged[0].request_id.encode(), got.body)

    def test_the_date_is_that_of_the_second(self) -> None:
        """The Date field follows the clock."""
        self.assertEqual(self.rig.front.date(), b"Mon, 21 Sep 2026 14:13:20 GMT")
        self.rig.clock.advance(1)
        self.assertEqual(self.rig.front.date(), b"Mon, 21 Sep 2026 14:13:21 GMT")
        self.assertEqual(NOW, 1_790_000_000)


class CountTests(FrontCase):
    """Each exchange is counted."""

    def test_each_line_is_counted(self) -> None:
        """What has a line has its count, also what could not be read."""
        for octets in (request(b"/ping"), b"nonsense\r\n\r\n", request(host=b"nowhere")):
            self.rig.connect().sends(octets)
        counted = [
            numbers[0]
            for (family, _), numbers in Reading(self.rig.front.tally.memory)
            if family == "exchange"
        ]
        self.assertEqual(sum(counted), len(self.rig.logged))

    def test_a_swap_holds_no_route_of_before(self) -> None:
        """A generation that serves nobody any more goes, whatever was counted under it."""
        front = self.rig.front
        self.rig.connect().sends(request())
        self.rig.upstreams.last.sends(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        held = len(front.tally._spots)
        front.swap(attrs.evolve(front.built))
        self.assertEqual((held, front.tally._spots), (1, {}))


class DrainTests(FrontCase):
    """How the daemon ends: idle connections now, the others after their answers."""

    def drain(self) -> Deferred[None]:
        """Begin to drain."""
        return Deferred.fromCoroutine(self.rig.front.drain(self.rig.clock, 30))

    def test_nobody_there_is_done_at_once(self) -> None:
        """Without connections there is nothing to wait for."""
        self.successResultOf(self.drain())

    def test_an_answer_under_way_comes_to_its_end(self) -> None:
        """The daemon waits for an exchange, and its answer says that it was the last."""
        client = self.rig.connect()
        client.sends(request())
        draining = self.drain()
        self.assertNoResult(draining)
        self.rig.upstreams.last.sends(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        self.assertEqual(parse(client.got()).field(b"connection"), b"close")
        self.assertTrue(client.closing)
        client.leaves()
        self.successResultOf(draining)

    def test_patience_has_an_end(self) -> None:
        """What has not ended in time is cut, and the log says how many."""
        observer = EventLoggingObserver.createWithCleanup(
            self,  # type: ignore[arg-type]  # of a test it needs addCleanup alone
            globalLogPublisher,
        )
        client = self.rig.connect()
        client.sends(request())
        draining = self.drain()
        self.rig.clock.advance(30)
        self.assertTrue(client.aborted)
        self.successResultOf(draining)
        self.assertEqual([event["count"] for event in observer if "count" in event], [1])
