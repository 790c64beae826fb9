"""Connections to upstreams: leases, what ends them, and what may be used again."""

from __future__ import annotations

import attrs
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pomeriumd.errors import (
    PomeriumError,
    UpstreamBroken,
    UpstreamBusy,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from pomeriumd.http.events import Field, Response
from pomeriumd.http.fields import field_lines
from pomeriumd.http.limits import Limits
from pomeriumd.net import upstreams as module
from pomeriumd.net.deadlines import Deadlines
from pomeriumd.net.peer import Peer, TLSPolicy
from pomeriumd.net.upstream import IDLE_SECONDS, UpstreamConnection
from pomeriumd.net.upstreams import Upstreams
from pomeriumd.pieces import finish
from tests.support.upstreams import MemoryUpstreams

PEER = Peer(host="10.0.0.1", port=8080)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@attrs.define(eq=False)
class HeardAnswer:
    """An ``Asker`` that keeps what it is told, in order."""

    told: list[object] = attrs.Factory(list)
    errors: list[UpstreamError] = attrs.Factory(list)

    def responded(self, response: Response) -> None:
        """Keep the status."""
        self.told.append(response.status)

    def answer_data(self, octets: bytes) -> None:
        """Keep a piece."""
        self.told.append(octets)

    def answer_end(self, trailers: tuple[Field, ...]) -> None:
        """Keep the end."""
        self.told.append(("end", trailers))

    def answer_lost(self, error: PomeriumError) -> None:
        """Keep the kind of the loss, and the loss itself."""
        self.told.append(type(error))
        assert isinstance(error, UpstreamError)
        self.errors.append(error)

    def answer_flush(self) -> None:
        """Nothing is written from here."""

    def upstream_full(self) -> None:
        """Keep it."""
        self.told.append("full")

    def upstream_drained(self) -> None:
        """Keep it."""
        self.told.append("drained")


class UpstreamCase(SynchronousTestCase):
    """A pool over upstreams in memory."""

    def setUp(self) -> None:
        """Allow two connections."""
        self.clock = Clock()
        self.memory = MemoryUpstreams()
        self.deadlines = Deadlines(self.clock)
        self.upstreams = Upstreams(Limits(), self.deadlines, self.clock, 2)

    def tearDown(self) -> None:
        """No timer may be left once all connections are gone."""
        for server in self.memory.opened:
            server.protocol.connectionLost()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def lease(self, peer: Peer = PEER, *, fresh: bool = False) -> UpstreamConnection:
        """Lease a connection that is there at once."""
        leased = self.upstreams.lease(peer, self.memory(peer), fresh=fresh)
        return self.successResultOf(leased) if isinstance(leased, Deferred) else leased

    def get(self, connection: UpstreamConnection) -> HeardAnswer:
        """Send a GET."""
        heard = HeardAnswer()
        connection.start(heard, b"GET", b"/", field_lines([(b"host", b"app")]), 0, None)
        connection.expect(30, 300)
        connection.finish()
        return heard

    def pass_time(self, seconds: float) -> None:
        """Let time pass, in steps that no tick is skipped by."""
        for _ in range(int(seconds * 2)):
            self.clock.advance(0.5)


class LeaseTests(UpstreamCase):
    """Who gets which connection."""

    def test_it_is_a_push_producer(self) -> None:
        """The transport is told the truth about what it is given."""
        verifyObject(IPushProducer, self.lease())

    def test_an_answered_connection_is_used_again(self) -> None:
        """A second request takes the connection of the first."""
        heard = self.get(self.lease())
        self.memory.last.sends(OK)
        self.assertEqual(heard.told, [200, b"ok", ("end", ())])
        self.get(self.lease())
        self.assertEqual(len(self.memory.opened), 1)

    def test_an_upstream_that_does_not_read_is_not_used_again(self) -> None:
        """It answered and left what we sent lying: that is not the next exchange's to wait for."""
        connection = self.lease()
        self.get(connection)
        connection.pauseProducing()
        self.memory.last.sends(OK)
        self.assertTrue(self.memory.last.gone)
        self.assertIsNot(self.lease(), connection)

    def test_an_upstream_that_never_reads_does_not_keep_a_connection(self) -> None:
        """Closed in peace, and what waits is not taken: it is broken off in some seconds."""
        connection = self.lease()
        self.get(connection)
        connection.pauseProducing()
        self.memory.last.sends(OK)
        self.assertFalse(self.memory.last.aborted)
        self.pass_time(6)
        self.assertTrue(self.memory.last.aborted)

    def test_one_that_closes_late_takes_no_others_place(self) -> None:
        """The end of an old connection, the last of its pool, does not lift the new one's bound."""
        old = self.lease()
        old.close()
        self.get(self.lease())
        self.memory.last.sends(OK)
        self.memory.opened[0].closes()
        self.assertEqual(self.upstreams.idle, 1)
        self.lease()
        self.lease()
        waiting = self.upstreams.lease(PEER, self.memory(PEER))
        assert isinstance(waiting, Deferred)
        self.assertEqual(len(self.memory.opened), 3)
        self.pass_time(11)
        self.failureResultOf(waiting, UpstreamTimeout)

    def test_a_busy_connection_is_nobody_elses(self) -> None:
        """While one request is under way, another gets a connection of its own."""
        first, second = self.lease(), self.lease()
        self.assertIsNot(first, second)

    def test_peers_share_only_when_everything_agrees(self) -> None:
        """Another TLS policy to the same address is another pool."""
        variants = [
            PEER,
            attrs.evolve(PEER, port=8081),
            attrs.evolve(PEER, tls=TLSPolicy(server_name="a")),
            attrs.evolve(PEER, tls=TLSPolicy(server_name="b")),
            attrs.evolve(PEER, tls=TLSPolicy(server_name="a", skip_verify=True)),
            attrs.evolve(PEER, tls=TLSPolicy(server_name="a", custom_ca=b"ca")),
            attrs.evolve(PEER, tls=TLSPolicy(server_name="a", client_cert=b"c", client_key=b"k")),
        ]
        for peer in variants:
            self.get(self.lease(peer))
            self.memory.last.sends(OK)
        self.assertEqual([server.peer for server in self.memory.opened], variants)

    def test_a_freed_connection_goes_to_who_waits(self) -> None:
        """When both connections are in use the third lease waits for the first to come free."""
        heard = self.get(self.lease())
        self.lease()
        waiting = self.upstreams.lease(PEER, self.memory(PEER))
        assert isinstance(waiting, Deferred)
        self.assertNoResult(waiting)
        self.memory.opened[0].sends(OK)
        self.assertIs(self.successResultOf(waiting), self.memory.opened[0].protocol)
        self.assertEqual(heard.told[-1], ("end", ()))

    def test_who_waits_too_long_is_told(self) -> None:
        """Waiting has an end, and the connection that comes free later is not lost."""
        self.get(self.lease())
        self.lease()
        waiting = self.upstreams.lease(PEER, self.memory(PEER))
        assert isinstance(waiting, Deferred)
        self.clock.advance(module.CONNECT_SECONDS)
        self.failureResultOf(waiting, UpstreamTimeout)
        self.memory.opened[0].sends(OK)
        self.assertEqual(self.upstreams.idle, 1)

    def test_a_full_line_is_refused_at_once(self) -> None:
        """Beyond the line's bound nobody waits."""
        self.patch(module, "LINE", 0)
        self.lease()
        self.lease()
        with self.assertRaises(UpstreamBusy):
            self.upstreams.lease(PEER, self.memory(PEER))

    def test_a_connection_that_cannot_be_made(self) -> None:
        """The log learns what was tried and why it failed."""
        self.memory.refuse = True
        leased = self.upstreams.lease(PEER, self.memory(PEER))
        assert isinstance(leased, Deferred)
        error = self.failureResultOf(leased, UpstreamUnreachable).value
        self.assertEqual(
            str(error),
            "no connection to 10.0.0.1:8080: ConnectError: "
            "An error occurred while connecting: nobody listens",
        )

    def test_a_connection_that_takes_too_long(self) -> None:
        """Connecting has an end."""
        self.memory.hold = True
        leased = self.upstreams.lease(PEER, self.memory(PEER))
        assert isinstance(leased, Deferred)
        self.clock.advance(module.CONNECT_SECONDS)
        self.failureResultOf(leased, UpstreamTimeout)

    def test_a_connection_nobody_used_goes_back(self) -> None:
        """Whoever leaves while it was opened gives it to the next."""
        connection = self.lease()
        connection.unused()
        self.assertIs(self.lease(), connection)


class CloseTests(UpstreamCase):
    """When the daemon stops."""

    def test_what_lies_idle_is_closed_and_what_is_leased_is_not(self) -> None:
        """Idle connections of every upstream end; an exchange under way keeps its own."""
        for peer in (PEER, attrs.evolve(PEER, port=8081)):
            self.get(self.lease(peer))
            self.memory.last.sends(OK)
        self.get(self.lease(attrs.evolve(PEER, port=8082)))
        self.upstreams.close()
        self.assertEqual([server.gone for server in self.memory.opened], [True, True, False])


class EndTests(UpstreamCase):
    """What ends a connection, and what its exchange is told."""

    def test_an_idle_connection_that_speaks_is_cut(self) -> None:
        """Bytes that nobody asked for never become somebody's answer."""
        self.get(self.lease())
        self.memory.last.sends(OK)
        self.memory.last.sends(OK)
        self.assertTrue(self.memory.last.gone)

    def test_more_than_one_answer_ends_it(self) -> None:
        """Bytes behind the answer: the connection is not used again."""
        heard = self.get(self.lease())
        self.memory.last.sends(OK + OK)
        self.assertEqual(heard.told, [200, b"ok", ("end", ())])
        self.assertEqual(self.upstreams.idle, 0)
        self.assertTrue(self.memory.last.gone)

    def test_a_closed_connection_leaves_the_pool(self) -> None:
        """An idle connection that the upstream closes is not leased again."""
        self.get(self.lease())
        self.memory.last.sends(OK)
        self.memory.last.closes()
        self.get(self.lease())
        self.assertEqual(len(self.memory.opened), 2)

    def test_an_upstream_that_dies_before_it_answers(self) -> None:
        """The exchange is told, by either kind of close."""
        for clean in (True, False):
            heard = self.get(self.lease())
            self.memory.last.closes(clean=clean)
            self.assertEqual(heard.told, [UpstreamBroken], clean)

    def test_a_handshake_that_does_not_end(self) -> None:
        """It is late by the time of the answer, and closed by who hangs up before; both say so."""
        peer = Peer(host="10.0.0.1", port=443, tls=TLSPolicy(server_name="up.test"))
        late, closed = self.get(self.lease(peer)), self.get(self.lease(peer))
        self.memory.last.closes()
        self.pass_time(31)
        self.assertEqual(
            [(type(error), str(error), error.tls) for error in (*late.errors, *closed.errors)],
            [
                (
                    UpstreamTimeout,
                    "TLS with the upstream failed (timeout): does not finish its handshake",
                    "timeout",
                ),
                (
                    UpstreamUnreachable,
                    "TLS with the upstream failed (closed): closes the connection in the handshake",
                    "closed",
                ),
            ],
        )

    def test_who_was_believed_is_not_called_refused(self) -> None:
        """After the handshake, an upstream that closes or is late is no failure of TLS."""
        peer = Peer(host="10.0.0.1", port=443, tls=TLSPolicy(server_name="up.test"))
        closed, late = self.get(self.lease(peer)), self.get(self.lease(peer))
        for server in self.memory.opened:
            server.protocol.handshakeCompleted()
        self.memory.opened[0].closes()
        self.pass_time(31)
        self.assertEqual((closed.told, late.told), ([UpstreamBroken], [UpstreamTimeout]))
        self.assertEqual([error.tls for error in (*closed.errors, *late.errors)], ["", ""])

    def test_tls_that_is_refused_says_why(self) -> None:
        """A certificate that does not verify is told from a connection that broke off."""
        peer = Peer(host="10.0.0.1", port=443, tls=TLSPolicy(server_name="up.test"))
        heard = self.get(self.lease(peer))
        refusal = SSL.Error([("SSL routines", "", "wrong version number")])
        self.memory.last.protocol.connectionLost(Failure(refusal))
        self.assertEqual(heard.told, [UpstreamUnreachable])
        self.assertEqual(
            [str(error) for error in heard.errors],
            ["TLS with the upstream failed (not-tls): does not speak TLS at all"],
        )

    def test_an_upstream_that_dies_in_its_answer(self) -> None:
        """A body that breaks off is never a short body."""
        for clean in (True, False):
            heard = self.get(self.lease())
            self.memory.last.sends(OK[:-1])
            self.memory.last.closes(clean=clean)
            self.assertEqual(heard.told, [200, b"o", UpstreamBroken], clean)

    def test_a_body_that_ends_with_the_connection(self) -> None:
        """It is whole after a clean close, and broken after any other."""
        for clean, last in ((True, ("end", ())), (False, UpstreamBroken)):
            heard = self.get(self.lease())
            self.memory.last.sends(b"HTTP/1.1 200 OK\r\n\r\nall")
            self.memory.last.closes(clean=clean)
            self.assertEqual(heard.told, [200, b"all", last])

    def test_an_answer_that_does_not_begin_in_time(self) -> None:
        """No head within the timeout: cut, and told as a timeout."""
        heard = self.get(self.lease())
        self.pass_time(31)
        self.assertEqual(heard.told, [UpstreamTimeout])
        self.assertTrue(self.memory.last.gone)

    def test_an_answer_that_stalls(self) -> None:
        """Between two pieces the stall time counts, from the last piece on."""
        heard = self.get(self.lease())
        self.memory.last.sends(OK[:-1])
        self.pass_time(299)
        self.assertEqual(heard.told, [200, b"o"])
        self.pass_time(2)
        self.assertEqual(heard.told, [200, b"o", UpstreamTimeout])

    def test_a_paused_answer_cannot_be_late(self) -> None:
        """While the client is slow the upstream's clock stands still."""
        connection = self.lease()
        heard = self.get(connection)
        self.memory.last.sends(OK[:-1])
        connection.pause("client")
        self.pass_time(600)
        self.assertEqual(heard.told, [200, b"o"])

    def test_an_idle_connection_is_closed_in_the_end(self) -> None:
        """Lying idle has an end too."""
        self.get(self.lease())
        self.memory.last.sends(OK)
        self.pass_time(IDLE_SECONDS + 1)
        self.assertTrue(self.memory.last.gone)

    def test_a_connection_on_its_way_out_is_not_leased(self) -> None:
        """Closing takes a while: what is closing, or spoke out of turn, is nobody's any more."""
        for end in ("idle for too long", "spoke out of turn"):
            self.get(self.lease())
            server = self.memory.last
            server.sends(OK)
            if end == "idle for too long":
                self.pass_time(IDLE_SECONDS + 1)
            else:
                server.sends(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
            self.assertTrue(server.gone)
            self.assertEqual(self.upstreams.idle, 0)
            self.assertIsNot(self.lease(), server.protocol, end)
            self.setUp()

    def test_a_cut_connection_is_never_leased_again(self) -> None:
        """A client that left takes its upstream connection with it."""
        connection = self.lease()
        heard = self.get(connection)
        connection.cut()
        self.assertTrue(self.memory.last.gone)
        self.assertEqual(heard.told, [])

    def test_a_key_is_not_shown(self) -> None:
        """The private key of a peer's TLS policy stands in no text."""
        peer = attrs.evolve(PEER, tls=TLSPolicy(server_name="a", client_key=b"hush"))
        self.assertNotIn("hush", repr(peer))


OTHER = attrs.evolve(PEER, port=8081)


class KeepTests(UpstreamCase):
    """What a new generation changes for the connections that are there."""

    def keep(self, *peers: Peer, most: int = 2) -> None:
        """Have these peers, and do all that follows from it."""
        finish(self.upstreams.keep(set(peers), most))

    def test_a_pool_lives_on(self) -> None:
        """An idle connection to a peer that stays is used again."""
        self.get(self.lease())
        self.memory.last.sends(OK)
        self.keep(PEER)
        self.lease()
        self.assertEqual(len(self.memory.opened), 1)

    def test_a_peer_that_is_gone_leaves_nothing_idle(self) -> None:
        """What lies idle is closed, what is leased when it comes free; nothing is kept of it."""
        self.get(self.lease(OTHER))
        self.get(self.lease(OTHER))
        self.memory.opened[0].sends(OK)
        self.keep(PEER)
        self.assertEqual([server.gone for server in self.memory.opened], [True, False])
        self.memory.opened[1].sends(OK)
        self.assertEqual([server.gone for server in self.memory.opened], [True, True])
        for server in self.memory.opened:
            server.closes()
        self.assertEqual(self.upstreams._lines, {})

    def test_who_began_before_gets_there(self) -> None:
        """An exchange of the generation before may lease; its connection serves it alone."""
        self.keep(PEER)
        heard = self.get(self.lease(OTHER))
        self.memory.last.sends(OK)
        self.assertEqual(heard.told[-1], ("end", ()))
        self.assertTrue(self.memory.last.gone)

    def test_a_peer_that_comes_back(self) -> None:
        """Its connections lie idle again."""
        connection = self.lease(OTHER)
        self.keep(PEER)
        self.keep(PEER, OTHER)
        self.get(connection)
        self.memory.last.sends(OK)
        self.assertIs(self.lease(OTHER), connection)

    def test_more_are_allowed(self) -> None:
        """Whoever waits in line where there is room now gets a connection at once."""
        self.lease()
        self.lease()
        waiting = [self.wait() for _ in range(3)]
        self.keep(PEER, most=4)
        self.successResultOf(waiting[0])
        self.successResultOf(waiting[1])
        self.assertNoResult(waiting[2])
        self.assertEqual(len(self.memory.opened), 4)

    def test_fewer_are_allowed(self) -> None:
        """Idle ones close at once, others when they come free, until there are so few."""
        leased = [self.lease() for _ in range(2)]
        waiting = self.wait()
        self.keep(PEER, most=1)
        self.assertNoResult(waiting)
        for connection, server in zip(leased, tuple(self.memory.opened), strict=True):
            self.get(connection)
            server.sends(OK)
        self.assertEqual([server.gone for server in self.memory.opened], [True, False])
        self.successResultOf(waiting)

    def wait(self) -> Deferred[UpstreamConnection]:
        """Stand in line; whoever is left there in the end leaves."""
        asked = self.upstreams.lease(PEER, self.memory(PEER))
        assert isinstance(asked, Deferred)
        line: Deferred[UpstreamConnection] = asked

        def leave() -> None:
            line.addErrback(lambda _: None)
            line.cancel()

        self.addCleanup(leave)
        return line
