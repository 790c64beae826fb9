"""One connection from a client: which exchanges it makes, and every rule of time and flow."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.interfaces import IPushProducer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pomeriumd.answers.answer import Answer
from pomeriumd.errors import BadMessage, ClientGone, RequestTimeout
from pomeriumd.http.events import Response
from pomeriumd.net.exchange import Exchange
from pomeriumd.net.server import ServerConnection, Times
from tests.support.serving import Heard, RecordedServing

GET = b"GET /%d HTTP/1.1\r\nHost: app.example.com\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: app.example.com\r\nContent-Length: 6\r\n\r\n"
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: app.example.com\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class ConnectionCase(SynchronousTestCase):
    """A connection, and what it tells."""

    def setUp(self) -> None:
        """Connect."""
        self.serving = RecordedServing()
        self.client = self.serving.connect()

    def tearDown(self) -> None:
        """No timer may be left once the connection is gone."""
        for connection in tuple(self.serving.open):
            connection.connectionLost()
        self.assertEqual(self.serving.clock_.getDelayedCalls(), [])

    @property
    def paths(self) -> list[bytes]:
        """The paths that were served so far."""
        return [exchange.request.path for exchange in self.serving.served]


class AnswerTests(ConnectionCase):
    """Requests become exchanges, one after the other, and answers go out in order."""

    def test_it_is_a_push_producer(self) -> None:
        """The transport is told the truth about what it is given."""
        verifyObject(IPushProducer, ServerConnection(self.serving))

    def test_a_request_is_served_and_answered(self) -> None:
        """The answer goes out in one piece, with the date, and the connection stays."""
        self.client.sends(GET % 1)
        self.serving.served[0].reply(Answer(200, ((b"x-a", b"b"),), b"hello"))
        self.assertEqual(
            self.client.got(),
            b"HTTP/1.1 200 OK\r\nx-a: b\r\ncontent-length: 5\r\n"
            b"date: Mon, 23 Nov 2026 03:37:43 GMT\r\n\r\nhello",
        )
        self.assertFalse(self.client.closing)

    def test_pipelined_requests_are_served_one_after_the_other(self) -> None:
        """The second waits for the first one's answer, however slow that is."""
        self.client.sends(GET % 1 + GET % 2 + GET % 3)
        self.assertEqual(self.paths, [b"/1"])
        for number in (1, 2, 3):
            self.serving.served[-1].reply(Answer(200, (), b"%d" % number))
        self.assertEqual(self.paths, [b"/1", b"/2", b"/3"])
        self.assertEqual(
            [part[-1:] for part in self.client.got().split(b"HTTP/1.1 ")[1:]], [b"1", b"2", b"3"]
        )

    def test_pipelined_requests_answered_at_once_do_not_nest(self) -> None:
        """Sixteen requests in one segment, each answered at once, are sixteen answers."""
        self.serving.at_once = lambda exchange: exchange.reply(Answer(204))
        self.client.sends(b"".join(GET % n for n in range(16)))
        self.assertEqual(self.client.got().count(b"HTTP/1.1 204 "), 16)

    def test_every_exchange_is_logged_once(self) -> None:
        """An answered exchange has its line, and so has one whose client left."""
        self.client.sends(GET % 1)
        self.serving.served[0].reply(Answer(200))
        self.client.sends(GET % 2)
        self.client.leaves()
        self.assertEqual([exchange.status for exchange in self.serving.logged], [200, 499])

    def test_what_cannot_be_read_is_answered_and_closed(self) -> None:
        """A bad head gives its status, a line in the log, and the end of the connection."""
        self.client.sends(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        self.assertIsInstance(self.serving.refused[0], BadMessage)
        self.assertTrue(self.client.got().startswith(b"HTTP/1.1 400 "))
        self.assertTrue(self.client.closing)
        self.assertEqual(len(self.serving.logged), 1)

    def test_nothing_is_read_after_what_cannot_be_read(self) -> None:
        """A request that follows a bad one is never served."""
        self.client.sends(b"GET / HTTP/1.1\r\n\r\n" + GET % 1, GET % 2)
        self.assertEqual(self.paths, [])

    def test_an_answer_before_the_body_closes(self) -> None:
        """The rest of an unread body must not be taken for the next request."""
        self.client.sends(POST + b"abc")
        self.serving.served[0].reply(Answer(401))
        self.assertIn(b"connection: close", self.client.got())
        self.assertTrue(self.client.closing)

    def test_a_daemon_that_stops_says_so(self) -> None:
        """While the daemon stops, an answer carries Connection: close and the socket ends."""
        self.client.sends(GET % 1)
        self.serving.closing = True
        self.serving.served[0].reply(Answer(200))
        self.assertIn(b"connection: close", self.client.got())
        self.assertTrue(self.client.closing)

    def test_an_idle_connection_retires_at_once(self) -> None:
        """While the daemon stops, a connection without a request ends; one with goes on."""
        busy = self.serving.connect()
        busy.sends(GET % 1)
        for each in (self.client, busy):
            each.protocol.retire()
        self.assertEqual((self.client.closing, busy.closing), (True, False))

    @given(st.lists(st.integers(1, 200), max_size=8))
    def test_however_it_is_cut(self, cuts: list[int]) -> None:
        """The same bytes in any pieces give the same exchanges and the same answers."""
        whole = GET % 1 + POST + b"abcdef" + GET % 2
        serving = RecordedServing()
        bodies: list[Heard] = []

        def listen(exchange: Exchange) -> None:
            bodies.append(Heard())
            exchange.listen(bodies[-1])

        serving.at_once = listen
        client = serving.connect()
        rest = whole
        for cut in cuts:
            piece, rest = rest[:cut], rest[cut:]
            client.sends(*filter(None, [piece]))
            self._answer(serving)
        client.sends(*filter(None, [rest]))
        for _ in range(3):
            self._answer(serving)
        client.leaves()
        self.assertEqual([e.request.path for e in serving.served], [b"/1", b"/", b"/2"])
        body = b"".join(piece for piece in bodies[1].told if isinstance(piece, bytes))
        self.assertEqual(body, b"abcdef")

    def _answer(self, serving: RecordedServing) -> None:
        exchange = serving.served[-1] if serving.served else None
        if exchange is not None and exchange.ended and not exchange.over:
            exchange.reply(Answer(204))


class BodyTests(ConnectionCase):
    """A request's body flows when somebody listens, and no faster than it is taken."""

    def test_nothing_is_read_while_nobody_listens(self) -> None:
        """Reading stops after the head; it goes on, from the first byte, with a listener."""
        self.client.sends(POST + b"abc")
        self.assertFalse(self.client.reading)
        heard = Heard()
        self.serving.served[0].listen(heard)
        self.assertTrue(self.client.reading)
        self.client.sends(b"def")
        self.assertEqual(heard.told, [b"abc", b"def", ("end", ())])

    def test_two_reasons_to_pause_need_two_resumes(self) -> None:
        """Reading goes on only when the last reason to pause is gone."""
        self.client.sends(POST)
        exchange = self.serving.served[0]
        exchange.listen(Heard())
        exchange.pause("one")
        exchange.pause("two")
        exchange.resume("one")
        self.assertFalse(self.client.reading)
        exchange.resume("two")
        self.assertTrue(self.client.reading)

    def test_a_pause_ends_with_its_exchange(self) -> None:
        """What paused one exchange's client never keeps its next request from being read."""
        self.client.sends(POST + b"abcdef")
        exchange = self.serving.served[0]
        exchange.listen(Heard())
        exchange.pause("upstream")
        exchange.reply(Answer(204))
        self.assertTrue(self.client.reading)
        self.client.sends(GET % 1)
        self.assertEqual(self.paths, [b"/", b"/1"])

    def test_a_slow_client_pauses_what_feeds_it(self) -> None:
        """When the socket is full the sink hears it, and again when it has drained."""
        self.client.sends(GET % 1)
        heard = Heard()
        self.serving.served[0].listen(heard)
        self.client.protocol.pauseProducing()
        self.client.protocol.resumeProducing()
        self.assertEqual(heard.told[-2:], ["full", "drained"])

    def test_who_reads_no_answer_gets_no_other(self) -> None:
        """What a client pipelines is not begun while the answers to it would only gather."""
        self.client.sends(GET % 1 + GET % 2 + GET % 3)
        self.client.protocol.pauseProducing()
        self.serving.served[0].reply(Answer(204))
        self.client.sends(GET % 4)
        self.assertEqual(self.paths, [b"/1"])
        self.client.protocol.resumeProducing()
        self.assertEqual(self.paths, [b"/1", b"/2"])
        for exchange in self.serving.served:  # which grows
            if not exchange.over:
                exchange.reply(Answer(204))
        self.assertEqual(self.paths, [b"/1", b"/2", b"/3", b"/4"])

    def test_100_continue_is_sent_when_the_body_is_wanted(self) -> None:
        """A client that waits for our word gets it from the listener, not before."""
        self.client.sends(POST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
        self.assertEqual(self.client.got(), b"")
        self.serving.served[0].listen(Heard())
        self.assertEqual(self.client.got(), b"HTTP/1.1 100 Continue\r\n\r\n")

    def test_a_client_that_leaves_is_told(self) -> None:
        """Whoever is at work for a client that leaves learns it at once."""
        self.client.sends(POST)
        heard = Heard()
        self.serving.served[0].listen(heard)
        self.client.leaves()
        self.assertEqual(heard.told, [ClientGone])

    def test_a_body_that_breaks_off_its_framing_cuts_the_connection(self) -> None:
        """A bad chunk in the middle: who is at work is told, and no answer looks whole."""
        self.client.sends(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
        )
        heard = Heard()
        exchange = self.serving.served[0]
        exchange.listen(heard)
        exchange.respond(Response(200, [], None))
        exchange.flush()
        self.client.sends(b"zz\r\n")
        self.assertEqual(heard.told, [b"abc", BadMessage])
        self.assertTrue(self.client.aborted)


class TunnelTests(ConnectionCase):
    """After 101 both sides are bytes of another protocol."""

    def test_bytes_go_through_as_they_are(self) -> None:
        """What looks like HTTP is not read as HTTP any more; what came ahead is not lost."""
        self.client.sends(UPGRADE + b"ahead")
        exchange = self.serving.served[0]
        heard = Heard()
        exchange.listen(heard)
        self.assertEqual(
            exchange.switch(Response(101, [(b"sec-websocket-accept", b"x")], None)), b"ahead"
        )
        exchange.send(b"\x81\x00")
        exchange.flush()
        self.assertTrue(self.client.got().endswith(b"\r\n\r\n\x81\x00"))
        self.client.sends(GET % 1)
        self.assertEqual(heard.told[-1], GET % 1)
        self.assertEqual(len(self.serving.served), 1)

    def test_the_end_of_a_tunnel_closes(self) -> None:
        """When the tunnel's other side is done, the client's socket closes in peace."""
        self.client.sends(UPGRADE)
        exchange = self.serving.served[0]
        exchange.listen(Heard())
        exchange.switch(Response(101, [], None))
        exchange.finish()
        self.assertTrue(self.client.closing)


class TimeTests(ConnectionCase):
    """Every phase has its bound."""

    def test_a_head_that_never_ends_is_answered_408(self) -> None:
        """Drip by drip, a head must be complete in time."""
        self.client.sends(b"GET / HTTP/1.1\r\n")
        for _ in range(12):
            self.serving.pass_time(1)
            if not self.client.closing:
                self.client.sends(b"X: y\r\n")
        self.assertIsInstance(self.serving.refused[0], RequestTimeout)
        self.assertTrue(self.client.got().startswith(b"HTTP/1.1 408 "))

    def test_a_silent_connection_is_dropped(self) -> None:
        """Who connects and says nothing gets no answer, only the end."""
        self.serving.pass_time(11)
        self.assertTrue(self.client.aborted)
        self.assertEqual(self.client.got(), b"")

    def test_an_idle_connection_is_dropped(self) -> None:
        """Between two requests the idle time counts."""
        self.client.sends(GET % 1)
        self.serving.served[0].reply(Answer(204))
        self.serving.pass_time(299)
        self.assertFalse(self.client.aborted)
        self.serving.pass_time(2)
        self.assertTrue(self.client.aborted)

    def test_who_has_taken_a_large_answer_is_idle_then(self) -> None:
        """A connection that was full behind its last answer is dropped as any idle one."""
        self.client.sends(GET % 1)
        self.client.protocol.pauseProducing()
        self.serving.served[0].reply(Answer(204))
        self.client.protocol.resumeProducing()
        self.serving.pass_time(299)
        self.assertFalse(self.client.aborted)
        self.serving.pass_time(2)
        self.assertTrue(self.client.aborted)

    def test_who_takes_nothing_of_the_last_answer_is_dropped(self) -> None:
        """Behind the end of an exchange the time for taking its answer still counts."""
        self.serving.times = Times(write=60)
        self.client.sends(GET % 1 + GET % 2)
        self.client.protocol.pauseProducing()
        self.serving.served[0].reply(Answer(204))
        self.serving.pass_time(61)
        self.assertTrue(self.client.aborted)
        self.assertEqual(self.paths, [b"/1"])

    def test_a_head_begun_behind_a_request_has_a_heads_time(self) -> None:
        """The first bytes of a head count from when its turn comes, not as an idle time."""
        self.client.sends(GET % 1 + b"GET /2")
        self.serving.served[0].reply(Answer(204))
        self.client.got()
        self.serving.pass_time(11)
        self.assertTrue(self.client.got().startswith(b"HTTP/1.1 408 "))

    def test_a_body_that_stalls_is_dropped(self) -> None:
        """A client that stops in the middle of its body is cut, and its exchange told."""
        self.client.sends(POST + b"a")
        heard = Heard()
        self.serving.served[0].listen(heard)
        self.serving.pass_time(31)
        self.assertEqual(heard.told[-1], RequestTimeout)
        self.assertTrue(self.client.aborted)

    def test_a_body_that_we_do_not_want_cannot_be_late(self) -> None:
        """While reading is paused the client's clock stands still."""
        self.client.sends(POST + b"a")
        exchange = self.serving.served[0]
        exchange.listen(Heard())
        exchange.pause("upstream")
        self.serving.pass_time(60)
        self.assertFalse(self.client.aborted)

    def test_taking_some_of_the_answer_buys_no_time_for_the_body(self) -> None:
        """A client that reads a little and stalls its upload is cut for the upload."""
        self.client.sends(POST + b"a")
        exchange = self.serving.served[0]
        exchange.listen(Heard())
        exchange.respond(Response(200, [], None))
        self.client.protocol.pauseProducing()
        self.client.protocol.resumeProducing()
        self.serving.pass_time(31)
        self.assertTrue(self.client.aborted)

    def test_a_slow_answer_is_not_the_clients_fault(self) -> None:
        """While we work on an answer no deadline of the client runs."""
        self.client.sends(GET % 1)
        self.serving.pass_time(600)
        self.assertFalse(self.client.aborted)

    def test_a_reader_that_stalls_is_dropped(self) -> None:
        """A client that takes nothing of what waits for it is cut in time."""
        self.serving.times = Times(write=60)
        self.client.sends(GET % 1)
        exchange = self.serving.served[0]
        heard = Heard()
        exchange.listen(heard)
        exchange.respond(Response(200, [], None))
        self.client.protocol.pauseProducing()
        self.serving.pass_time(61)
        self.assertTrue(self.client.aborted)
        self.assertEqual(heard.told[-1], RequestTimeout)
