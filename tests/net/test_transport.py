"""Promises of the plain sockets, over real loopback connections, one turn at a time."""

from __future__ import annotations

import socket

from twisted.internet import main
from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.net.deadlines import Deadlines
from pomeriumd.net.transport import (
    FLUSH_SECONDS,
    LINGER_SECONDS,
    Accepted,
    PlainClient,
    PlainServer,
    Unqueued,
    plain_address,
)
from tests.support.sockets import (
    Listening,
    OneProtocol,
    Source,
    Told,
    ToldOfHalves,
    Turns,
    connected,
    drained,
    reset,
)


class Case(SynchronousTestCase):
    """One accepted connection."""

    def start(self, protocol: Protocol | None = None, *, small: int = 0) -> PlainServer:
        """Begin a connection and return its server side."""
        self.reactor = Turns()
        self.deadlines = Deadlines(self.reactor)
        self.protocol = Told() if protocol is None else protocol
        self.factory = OneProtocol(self.protocol)
        self.listening = Listening(self.factory, self.deadlines)
        server, self.client, address = connected(small)
        self.addCleanup(self.client.close)
        self.addCleanup(server.close)
        transport = PlainServer(
            server,
            address,
            self.listening,
            1,
            self.reactor,  # type: ignore[arg-type]  # what it needs of IReactorFDSet
        )
        transport.begin()
        return transport

    def told(self) -> Told:
        """Return the protocol as what it is."""
        assert isinstance(self.protocol, Told)
        return self.protocol

    def full(self, transport: Unqueued) -> bytes:
        """Write until the socket takes no more, and return all that was written."""
        written = b""
        while not transport._tempDataBuffer:
            piece = bytes([len(written) % 251]) * 10_007
            written += piece
            transport.write(piece)
        return written


class WriteTests(Case):
    """A write goes out at once when nothing is queued, in order always."""

    def test_at_once(self) -> None:
        """Bytes are on the wire when write() returns, and nobody waits for room."""
        transport = self.start()
        transport.write(b"hello")
        self.assertEqual(self.client.recv(99), b"hello")
        self.assertEqual(self.reactor.writers, set())

    def test_from_within_data_received(self) -> None:
        """An answer written while the request is being read is out in the same turn."""

        class Echo(Told):
            def dataReceived(self, data: bytes) -> None:
                assert self.transport is not None
                self.transport.write(data)

        self.start(Echo())
        self.client.sendall(b"ping")
        self.reactor.turn()
        self.assertEqual(self.client.recv(99), b"ping")

    def test_sequence_is_one_write(self) -> None:
        """writeSequence() sends its pieces joined."""
        transport = self.start()
        transport.writeSequence([b"a", b"", b"bc"])
        self.assertEqual(self.client.recv(99), b"abc")

    def test_the_backlog_is_what_the_other_side_has_not_taken(self) -> None:
        """What is here and what is in the kernel count, and each byte taken makes it less."""
        transport = self.start(small=4096)
        self.assertEqual(transport.backlog(), 0)
        written = self.full(transport)
        first = transport.backlog()
        self.assertTrue(0 < first <= len(written), first)
        got = drained(self.client, self.reactor, len(written) // 2)
        self.assertLess(transport.backlog(), first)
        got += drained(self.client, self.reactor, len(written) - len(got))
        self.reactor.turns(2)
        self.assertEqual((got == written, transport.backlog()), (True, 0))

    def test_nothing_is_nothing(self) -> None:
        """An empty write neither sends nor queues."""
        transport = self.start()
        transport.write(b"")
        transport.writeSequence([])
        self.assertEqual((transport._tempDataBuffer, self.reactor.writers), ([], set()))

    def test_what_does_not_fit_is_queued_in_order(self) -> None:
        """All bytes arrive once and in order when the socket takes only parts."""
        transport = self.start(small=4096)
        written = b""
        for number in range(300):
            piece = bytes([number % 256]) * (number * 17)
            written += piece
            transport.write(piece)
        self.assertEqual(self.reactor.writers, {transport})
        self.assertEqual(drained(self.client, self.reactor, len(written)), written)
        self.reactor.turns(1)
        self.assertEqual(self.reactor.writers, set())
        transport.write(b"after")
        self.assertEqual(self.client.recv(99), b"after")

    def test_nothing_overtakes_the_queue(self) -> None:
        """A small write behind a queued one waits for its turn."""
        transport = self.start(small=4096)
        written = self.full(transport)
        transport.write(b"last")
        self.assertEqual(drained(self.client, self.reactor, len(written) + 4), written + b"last")

    def test_after_abort_nothing_is_sent(self) -> None:
        """A write after abortConnection() never reaches the wire."""
        transport = self.start()
        transport.abortConnection()
        transport.write(b"secret")
        self.reactor.turns(2)
        self.assertRaises(ConnectionResetError, self.client.recv, 99)
        self.assertEqual(self.told().lost, [ConnectionAborted])

    def test_after_loss_it_is_ignored(self) -> None:
        """A write after the connection is gone changes nothing."""
        transport = self.start()
        self.client.close()
        self.reactor.turns(2)
        transport.write(b"late")
        self.assertEqual(self.told().lost, [ConnectionDone])

    def test_a_dead_socket_is_reported_by_the_reactor(self) -> None:
        """A write into a reset connection raises nothing; the loss comes with a turn."""
        transport = self.start()
        reset(self.client)
        for _ in range(3):
            transport.write(b"x")
        self.assertEqual(self.told().lost, [])
        self.reactor.turns(2)
        self.assertEqual(self.told().lost, [ConnectionLost])

    def test_what_was_said_before_the_reset_is_read(self) -> None:
        """A failed write does not take what the other side said before it left."""
        transport = self.start()
        self.client.sendall(b"early answer")
        self.client.shutdown(socket.SHUT_WR)
        self.client.close()
        for _ in range(3):
            transport.write(b"x" * 1000)
        self.reactor.turns(3)
        self.assertEqual(b"".join(self.told().got), b"early answer")

    def test_tls_cannot_begin_later(self) -> None:
        """startTLS() is refused: writes would pass it by."""
        transport = self.start()
        self.assertRaises(NotImplementedError, transport.startTLS, None)

    def test_a_reset_met_by_a_write_is_not_a_clean_end(self) -> None:
        """Where the write saw the reset, the read that follows does not make it an end."""
        halves = ToldOfHalves()
        transport = self.start(halves)
        reset(self.client)
        transport.write(b"x")
        self.reactor.turns(2)
        self.assertEqual((halves.halves, halves.lost), ([], [ConnectionLost]))


class ProducerTests(Case):
    """A producer is paused while the queue is over bufferSize, and only then."""

    def test_paused_and_resumed(self) -> None:
        """Paused when the queue grows over the bound; resumed once, when it is empty."""
        transport, source = self.start(small=4096), Source()
        transport.registerProducer(source, streaming=True)
        written = self.full(transport)
        queued = transport._tempDataLen
        while queued <= transport.bufferSize:
            self.assertEqual(source.told, [])
            transport.write(b"z" * 9000)
            queued += 9000
            written += b"z" * 9000
        self.assertEqual(source.told, ["pause"])
        self.assertEqual(drained(self.client, self.reactor, len(written)), written)
        self.reactor.turns(1)
        self.assertEqual(source.told, ["pause", "resume"])

    def test_never_paused_while_it_flows(self) -> None:
        """A producer whose writes the socket takes is left alone."""
        transport, source = self.start(), Source()
        transport.registerProducer(source, streaming=True)
        for _ in range(200):
            transport.write(b"x" * 4000)
            self.client.recv(4000, socket.MSG_WAITALL)
        self.assertEqual(source.told, [])

    def test_one_huge_write_pauses(self) -> None:
        """A single write that leaves more than the bound behind pauses the producer."""
        transport, source = self.start(small=4096), Source()
        transport.registerProducer(source, streaming=True)
        transport.write(b"x" * 8_000_000)
        self.assertEqual(source.told, ["pause"])

    def test_registered_on_a_full_queue(self) -> None:
        """A producer that comes when the queue is over the bound is paused at once."""
        transport, source = self.start(small=4096), Source()
        transport.write(b"x" * 8_000_000)
        transport.registerProducer(source, streaming=True)
        self.assertEqual(source.told, ["pause"])

    def test_the_next_does_not_inherit_a_pause(self) -> None:
        """A producer that was never paused is not resumed because its predecessor was."""
        transport, first, second = self.start(small=4096), Source(), Source()
        transport.registerProducer(first, streaming=True)
        transport.write(b"x" * 4_000_000)
        transport.unregisterProducer()
        drained(self.client, self.reactor, 4_000_000)
        self.reactor.turns(1)
        transport.registerProducer(second, streaming=True)
        written = self.full(transport)
        drained(self.client, self.reactor, len(written))
        self.reactor.turns(1)
        self.assertEqual((first.told, second.told), (["pause"], []))

    def test_a_pull_producer_is_asked_until_it_ends(self) -> None:
        """A pull producer gets its next turn each time the queue is empty."""
        transport, pieces = self.start(), [b"one", b"two", b"three"]

        class Pull:
            def resumeProducing(self) -> None:
                if pieces:
                    transport.write(pieces.pop(0))
                else:
                    transport.unregisterProducer()

            def stopProducing(self) -> None:
                pieces.clear()

        transport.registerProducer(Pull(), streaming=False)  # type: ignore[arg-type]  # duck
        self.reactor.turns(6)
        self.assertEqual(self.client.recv(99), b"onetwothree")
        self.assertEqual(self.reactor.writers, set())

    def test_stopped_with_the_connection(self) -> None:
        """A producer is stopped when the connection is lost."""
        transport, source = self.start(), Source()
        transport.registerProducer(source, streaming=True)
        self.client.close()
        self.reactor.turns(2)
        self.assertEqual(source.told, ["stop"])

    def test_a_paused_client_is_not_read(self) -> None:
        """pauseProducing() leaves bytes in the socket, resumeProducing() fetches them."""
        transport = self.start()
        transport.pauseProducing()
        self.client.sendall(b"wait")
        self.reactor.turns(2)
        self.assertEqual(self.told().got, [])
        transport.resumeProducing()
        self.reactor.turn()
        self.assertEqual(self.told().got, [b"wait"])


class CloseTests(Case):
    """Closing loses nothing that was written, and ends in bounded time."""

    def test_our_end_is_seen_at_once(self) -> None:
        """loseConnection() with nothing queued sends the end in the same call."""
        transport = self.start()
        transport.write(b"bye")
        transport.loseConnection()
        self.assertEqual(self.client.recv(99), b"bye")
        self.assertEqual(self.client.recv(99), b"")
        self.assertEqual(self.told().lost, [])

    def test_ends_with_the_client(self) -> None:
        """The connection is gone when the client has closed too, and no timer is left."""
        transport = self.start()
        transport.loseConnection()
        self.client.close()
        self.reactor.turns(2)
        self.assertEqual(self.told().lost, [ConnectionDone])
        self.assertEqual(self.listening.gone, 1)
        self.assertEqual((self.reactor.readers, self.reactor.writers), (set(), set()))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_queued_bytes_go_first(self) -> None:
        """What a partial write left behind arrives before the end does."""
        transport = self.start(small=4096)
        written = self.full(transport)
        transport.loseConnection()
        self.assertEqual(drained(self.client, self.reactor, len(written) + 1), written)
        self.client.close()
        self.reactor.turns(2)
        self.assertEqual(self.told().lost, [ConnectionDone])

    def test_a_client_that_still_sends_gets_the_answer(self) -> None:
        """An answer to an unfinished upload arrives whole; the upload is thrown away."""
        transport = self.start()
        self.client.sendall(b"u" * 100_000)
        self.reactor.turn()
        transport.write(b"413 too large")
        transport.loseConnection()
        got = len(self.told().got)
        for _ in range(20):
            self.client.sendall(b"u" * 50_000)
            self.reactor.turns(2)
        self.assertEqual(self.client.recv(99), b"413 too large")
        self.assertEqual(self.client.recv(99), b"")
        self.client.close()
        self.reactor.turns(60)
        self.assertEqual(len(self.told().got), got)
        self.assertEqual(self.told().lost, [ConnectionDone])

    def test_a_client_that_never_ends(self) -> None:
        """A client that keeps its side open is left after LINGER_SECONDS."""
        transport = self.start()
        transport.loseConnection()
        self.reactor.turns(2)
        self.reactor.pump([0.5] * int(LINGER_SECONDS * 2 - 1))
        self.assertEqual(self.told().lost, [])
        self.reactor.pump([0.5, 0.5])
        self.assertEqual(self.told().lost, [ConnectionDone])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_a_client_that_takes_nothing(self) -> None:
        """What is queued at the close is given up after FLUSH_SECONDS, with a reset."""
        transport = self.start(small=4096)
        self.full(transport)
        transport.loseConnection()
        self.reactor.pump([0.5] * int(FLUSH_SECONDS * 2 - 1))
        self.assertEqual(self.told().lost, [])
        self.reactor.pump([0.5] * 2)
        self.assertEqual(self.told().lost, [ConnectionAborted])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_with_a_producer_it_waits_for_its_end(self) -> None:
        """Closing waits for a producer that is at work, however long; then it is bounded."""
        transport, source = self.start(small=4096), Source()
        transport.registerProducer(source, streaming=True)
        self.full(transport)
        transport.loseConnection()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        transport.unregisterProducer()
        self.reactor.pump([0.5] * int(FLUSH_SECONDS * 2 + 1))
        self.assertEqual(self.told().lost, [ConnectionAborted])

    def test_a_pause_does_not_stop_the_throwing_away(self) -> None:
        """pauseProducing() after the close does not hide the client's end."""
        transport = self.start()
        transport.loseConnection()
        transport.pauseProducing()
        self.client.close()
        self.reactor.turns(2)
        self.assertEqual(self.told().lost, [ConnectionDone])

    def test_twice_is_once(self) -> None:
        """A second loseConnection() changes nothing."""
        transport = self.start()
        transport.loseConnection()
        transport.loseConnection()
        self.client.close()
        self.reactor.turns(2)
        self.assertEqual(self.told().lost, [ConnectionDone])

    def test_abort_while_lingering(self) -> None:
        """abortConnection() ends the wait."""
        transport = self.start()
        transport.loseConnection()
        transport.abortConnection()
        self.reactor.turns(1)
        self.assertEqual(self.told().lost, [ConnectionAborted])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_a_reset_after_our_end_is_no_loss(self) -> None:
        """A client that resets after our end has been said took all there was."""
        transport = self.start()
        transport.loseConnection()
        reset(self.client)
        self.reactor.turns(2)
        self.assertEqual(self.told().lost, [ConnectionDone])

    def test_a_reset_is_told_from_an_end(self) -> None:
        """The client's FIN is ConnectionDone, its reset is ConnectionLost."""
        self.start()
        reset(self.client)
        self.reactor.turns(2)
        self.assertEqual(self.told().lost, [ConnectionLost])


class HalfTests(Case):
    """Each direction can end on its own for a protocol that wants it (tunnels)."""

    def test_their_half(self) -> None:
        """The client's end is told, and answers still go out."""
        halves = ToldOfHalves()
        transport = self.start(halves)
        self.client.shutdown(socket.SHUT_WR)
        self.reactor.turns(2)
        self.assertEqual((halves.halves, halves.lost), (["read"], []))
        transport.write(b"still here")
        self.assertEqual(self.client.recv(99), b"still here")
        transport.loseConnection()
        self.reactor.turns(2)
        self.assertEqual(halves.lost, [ConnectionDone])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_our_half(self) -> None:
        """loseWriteConnection() flushes and ends our direction; reading goes on."""
        halves = ToldOfHalves()
        transport = self.start(halves, small=4096)
        written = self.full(transport)
        transport.loseWriteConnection()
        self.assertEqual(drained(self.client, self.reactor, len(written) + 1), written)
        self.assertEqual(halves.halves, ["write"])
        self.client.sendall(b"more")
        self.reactor.turn()
        self.assertEqual(halves.got, [b"more"])
        transport.write(b"too late")
        self.client.close()
        self.reactor.turns(2)
        self.assertEqual(halves.halves, ["write", "read"])
        transport.loseConnection()
        self.reactor.turns(2)
        self.assertEqual(halves.lost, [ConnectionDone])

    def test_our_half_then_close(self) -> None:
        """Closing after our half ended lingers like any close."""
        halves = ToldOfHalves()
        transport = self.start(halves)
        transport.loseWriteConnection()
        self.reactor.turns(2)
        transport.loseConnection()
        self.client.sendall(b"x" * 1000)
        self.reactor.turns(2)
        self.assertEqual((halves.got, halves.lost), ([], []))
        self.client.close()
        self.reactor.turns(2)
        self.assertEqual(halves.lost, [ConnectionDone])


class BeginTests(Case):
    """A connection begins with its protocol, or not at all."""

    def test_addresses(self) -> None:
        """The factory and getPeer() know the client, getHost() what it reached."""
        transport = self.start()
        peer = IPv4Address("TCP", *self.client.getsockname())
        self.assertEqual((self.factory.asked, transport.getPeer()), ([peer], peer))
        self.assertEqual(transport.getHost(), IPv4Address("TCP", *self.client.getpeername()))
        self.assertFalse(transport.secure)
        self.assertEqual(repr(transport), "<PlainServer of 127.0.0.1>")

    def test_no_protocol_no_connection(self) -> None:
        """Where the factory gives none, the socket is closed and the port told."""
        reactor = Turns()
        listening = Listening(OneProtocol(None), Deadlines(reactor))
        server, client, address = connected()
        self.addCleanup(client.close)
        PlainServer(server, address, listening, 1, reactor).begin()  # type: ignore[arg-type]
        self.assertEqual((listening.gone, reactor.readers), (1, set()))
        self.assertRaises(ConnectionResetError, client.recv, 1)

    def test_lost_once(self) -> None:
        """However often the loss is reported, protocol and port hear of it once."""
        transport = self.start()
        for _ in range(3):
            transport.connectionLost(Failure(main.CONNECTION_LOST))
        self.assertEqual((self.told().lost, self.listening.gone), ([ConnectionLost], 1))

    def test_the_port_is_told_though_the_protocol_fails(self) -> None:
        """A protocol that fails in connectionLost() does not keep its place taken."""

        class Failing(Told):
            def connectionLost(self, reason: Failure = connectionDone) -> None:
                raise ValueError("bug")

        transport = self.start(Failing())
        self.assertRaises(ValueError, transport.connectionLost, Failure(main.CONNECTION_LOST))
        self.assertEqual(self.listening.gone, 1)

    def test_ipv4_on_a_dual_stack_port_is_ipv4(self) -> None:
        """A mapped address becomes the IPv4 address it stands for; no other changes."""
        for given, wanted in [
            (("::ffff:10.0.0.1", 5, 0, 0), ("10.0.0.1", 5)),
            (("::ffff:7f00:1", 5, 0, 0), ("::ffff:7f00:1", 5, 0, 0)),
            (("::1", 5, 0, 0), ("::1", 5, 0, 0)),
            (("fe80::1", 5, 0, 2), ("fe80::1", 5, 0, 2)),
            (("10.0.0.1", 5), ("10.0.0.1", 5)),
        ]:
            self.assertEqual(plain_address(given), wanted)  # type: ignore[arg-type]

    def test_ipv6_is_shown_as_such(self) -> None:
        """An IPv6 client's address keeps its kind."""
        server, client, _ = connected()
        self.addCleanup(client.close)
        self.addCleanup(server.close)
        reactor = Turns()
        listening = Listening(OneProtocol(Told()), Deadlines(reactor))
        transport = PlainServer(
            server,
            ("::1", 5, 0, 0),
            listening,
            1,
            reactor,  # type: ignore[arg-type]  # what it needs of IReactorFDSet
        )
        self.assertEqual(transport.getPeer(), IPv6Address("TCP", "::1", 5, 0, 0))


class PinnedTests(SynchronousTestCase):
    """What of Twisted's inside we stand on: when this fails, read transport.py again."""

    def test_attributes(self) -> None:
        """The private attributes exist with the meaning that transport.py gives them."""
        reactor = Turns()
        fresh = FileDescriptor(reactor)  # type: ignore[arg-type]  # what it needs
        self.assertEqual(
            (fresh.dataBuffer, fresh._tempDataBuffer, fresh._tempDataLen, fresh.offset),
            (b"", [], 0, 0),
        )
        self.assertEqual(
            (fresh.disconnecting, fresh._writeDisconnecting, fresh._writeDisconnected),
            (0, False, False),
        )
        self.assertEqual((fresh.producer, fresh.streamingProducer), (None, False))
        self.assertFalse(Unqueued._aborting)
        for name in ("_maybePauseProducer", "_postLoseConnection", "_closeWriteConnection"):
            self.assertTrue(callable(getattr(fresh, name)), name)
        self.assertEqual(fresh.bufferSize, 65536)

    def test_the_queue_is_what_we_think(self) -> None:
        """Queued bytes stand in _tempDataBuffer, and in dataBuffer once a turn took them."""
        reactor = Turns()

        class Half(FileDescriptor):
            connected = 1

            def writeSomeData(self, data: bytes) -> int:
                return len(data) // 2

        half = Half(reactor)  # type: ignore[arg-type]  # what it needs
        half.write(b"abcd")
        self.assertEqual((half._tempDataBuffer, half._tempDataLen), ([b"abcd"], 4))
        half.doWrite()
        self.assertEqual((half.dataBuffer, half.offset, half._tempDataBuffer), (b"abcd", 2, []))

    def test_accepted_is_the_base_of_both(self) -> None:
        """Both kinds of our own write at once."""
        self.assertTrue(issubclass(Accepted, Unqueued) and issubclass(PlainClient, Unqueued))
