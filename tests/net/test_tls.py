"""
Promises of TLS on the socket, over real loopback connections, one turn at a time.

The client is OpenSSL in memory, so that a test decides which bytes travel when. What a
real socket does not do on command, a scripted stand-in for OpenSSL does.
"""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Iterator
from typing import Any

import attrs
from OpenSSL import SSL
from OpenSSL._util import lib
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.net import tls
from pomeriumd.net.contexts import CertificateStore
from pomeriumd.net.deadlines import Deadlines
from pomeriumd.net.port import HANDSHAKE_SECONDS
from pomeriumd.net.tls import PLAIN_HTTP_ANSWER, RECORD_SIZE, TURN_SIZE, TLSServer
from pomeriumd.net.transport import FLUSH_SECONDS, LINGER_SECONDS
from tests.support.certificates import NOW, leaf
from tests.support.sockets import (
    Listening,
    OneProtocol,
    Source,
    Told,
    ToldOfHalves,
    Turns,
    connected,
    reset,
)

VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}


@attrs.define(eq=False, slots=False)
class ListeningTLS(Listening):
    """What an accepted connection with TLS needs of its port."""

    store: Any = None
    handshake_seconds: float = HANDSHAKE_SECONDS
    failed: int = 0

    def not_shaken(self) -> None:
        """Count."""
        self.failed += 1


class Client:
    """OpenSSL in memory at one end of a real connection."""

    def __init__(
        self,
        wire: socket.socket,
        *,
        version: int = SSL.TLS1_3_VERSION,
        name: bytes | None = b"App.Example.test.",
        offered: tuple[bytes, ...] = (b"h2", b"http/1.1"),
    ) -> None:
        self.wire = wire
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(version)
        self.tls = SSL.Connection(context, None)
        self.tls.set_connect_state()
        if name is not None:
            self.tls.set_tlsext_host_name(name)
        if offered:
            self.tls.set_alpn_protos(list(offered))

    def outgoing(self) -> bytes:
        """Return what OpenSSL wants to send."""
        with contextlib.suppress(SSL.WantReadError):
            return self.tls.bio_read(1_000_000)
        return b""

    def push(self) -> None:
        """Send it."""
        self.wire.sendall(self.outgoing())

    def pull(self) -> bool:
        """Take what has arrived; say whether the connection is still there."""
        self.wire.settimeout(0.01)
        try:
            octets = self.wire.recv(1_000_000)
        except TimeoutError:
            return True
        finally:
            self.wire.settimeout(5)
        if octets:
            self.tls.bio_write(octets)
        return bool(octets)

    def step(self) -> bool:
        """Go on with the handshake; True when it is complete at this end."""
        try:
            self.tls.do_handshake()
        except SSL.WantReadError:
            return False
        return True

    def write(self, octets: bytes) -> None:
        """Send in records."""
        self.tls.sendall(octets)
        self.push()

    def read(self) -> bytes:
        """Return what can be read of what has arrived."""
        pieces: list[bytes] = []
        with contextlib.suppress(SSL.WantReadError, SSL.ZeroReturnError):
            while True:
                pieces.append(self.tls.recv(65536))
        return b"".join(pieces)

    def goodbye(self) -> None:
        """Send a close_notify."""
        self.tls.shutdown()
        self.push()


class Case(SynchronousTestCase):
    """One accepted connection."""

    def accept(self, protocol: Protocol | None = None, *, small: int = 0) -> TLSServer:
        """Accept a connection, and return its server side before the handshake."""
        self.reactor = Turns()
        self.protocol = Told() if protocol is None else protocol
        self.factory = OneProtocol(self.protocol)
        self.listening = ListeningTLS(self.factory, Deadlines(self.reactor), store=STORE)
        server, self.wire, address = connected(small)
        self.addCleanup(self.wire.close)
        self.addCleanup(server.close)
        transport = TLSServer(
            server,
            address,
            self.listening,
            1,
            self.reactor,  # type: ignore[arg-type]  # what it needs of IReactorFDSet
        )
        transport.begin()
        return transport

    def shake(self, **more: Any) -> Client:
        """Complete the handshake from the client's side."""
        client = Client(self.wire, **more)
        for _ in range(8):
            done = client.step()
            client.push()
            self.reactor.turn(0)
            self.reactor.turn(0)
            client.pull()
            if done and self.factory.asked:
                break
        client.read()
        self.assertEqual(len(self.factory.asked), 1)
        return client

    def start(
        self, protocol: Protocol | None = None, *, small: int = 0, **more: Any
    ) -> tuple[TLSServer, Client]:
        """Return both ends after the handshake."""
        transport = self.accept(protocol, small=small)
        return transport, self.shake(**more)

    def told(self) -> Told:
        """Return the protocol as what it is."""
        assert isinstance(self.protocol, Told)
        return self.protocol

    def fetch(self, client: Client, size: int) -> bytes:
        """Read so many bytes at the client while the reactor turns."""
        pieces, got = [], 0
        for _ in range(20_000):
            alive = client.pull()
            piece = client.read()
            pieces.append(piece)
            got += len(piece)
            if got >= size or not alive:
                break
            self.reactor.turn(0)
        return b"".join(pieces)

    def full(self, transport: TLSServer) -> bytes:
        """Write until the socket takes no more, and return all that was written."""
        written = b""
        while not transport._tempDataBuffer:
            piece = bytes([len(written) % 251]) * 10_007
            written += piece
            transport.write(piece)
        return written

    def nothing_left(self) -> None:
        """Neither interest nor timers nor the port's count remain."""
        self.assertEqual((self.reactor.readers, self.reactor.writers), (set(), set()))
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.listening.gone, 1)


STORE = CertificateStore.of([leaf("app.example.test").pair()], NOW)


class HandshakeTests(Case):
    """A protocol sees a connection when its handshake is complete, and never before."""

    def test_complete(self) -> None:
        """What the handshake told is on the transport, in either version."""
        for version in VERSIONS.values():
            transport, _ = self.start(version=version)
            self.assertIs(self.told().transport, transport)
            self.assertEqual(transport.server_name, b"app.example.test")
            self.assertEqual(transport.negotiatedProtocol, b"http/1.1")
            self.assertTrue(transport.secure)
            self.assertIsNone(transport.peer_certificate())
            self.assertEqual(self.factory.asked, [transport.getPeer()])
            self.assertEqual(self.reactor.getDelayedCalls(), [])
            self.assertEqual(self.reactor.writers, set())

    def test_a_client_that_says_nothing_of_itself(self) -> None:
        """Without SNI and ALPN both are None."""
        transport, _ = self.start(name=None, offered=())
        self.assertEqual((transport.server_name, transport.negotiatedProtocol), (None, None))

    def test_byte_by_byte(self) -> None:
        """A hello in single bytes is one hello, and the protocol waits for the end."""
        for version in VERSIONS.values():
            self.accept()
            client = Client(self.wire, version=version)
            for _ in range(4):
                if client.step():
                    break
                for octet in client.outgoing():
                    self.assertEqual(self.factory.asked, [])
                    self.wire.sendall(bytes([octet]))
                    self.reactor.turn(0)
                self.reactor.turn(0.1)
                client.pull()
            client.push()
            self.reactor.turn(0.1)
            self.assertEqual(len(self.factory.asked), 1)

    def test_a_request_right_behind_it(self) -> None:
        """What comes in the segment that ends the handshake is read in the same turn."""
        self.accept()
        client = Client(self.wire)
        client.step()
        client.push()
        self.reactor.turn()
        client.pull()
        self.assertTrue(client.step())
        client.write(b"GET / HTTP/1.1")
        self.reactor.turn()
        self.assertEqual(self.told().got, [b"GET / HTTP/1.1"])

    def test_silence_ends(self) -> None:
        """A client that says nothing is left after HANDSHAKE_SECONDS."""
        self.accept()
        self.reactor.pump([0.5] * int(HANDSHAKE_SECONDS * 2 - 1))
        self.assertEqual(self.listening.failed, 0)
        self.reactor.pump([0.5, 0])
        self.assertEqual((self.listening.failed, self.factory.asked), (1, []))
        self.nothing_left()

    def test_a_trickle_ends(self) -> None:
        """Bytes that come one by one do not buy time."""
        self.accept()
        client = Client(self.wire)
        client.step()
        hello = client.outgoing()
        for number in range(int(HANDSHAKE_SECONDS * 2)):
            self.wire.sendall(hello[number : number + 1])
            self.reactor.turn(0)
            self.reactor.advance(0.5)
        self.reactor.turn(0)
        self.assertEqual((self.listening.failed, self.factory.asked), (1, []))
        self.nothing_left()

    def test_a_client_that_leaves(self) -> None:
        """Leaving at any point of the hello is a failed handshake, not an error."""
        for leave in (socket.socket.close, reset):
            for part in (0, 1, 5, 100):
                self.accept()
                client = Client(self.wire)
                client.step()
                self.wire.sendall(client.outgoing()[:part])
                self.reactor.turn(0)
                leave(self.wire)
                self.reactor.turns(2)
                self.assertEqual((self.listening.failed, self.factory.asked), (1, []))
                self.nothing_left()

    def test_garbage(self) -> None:
        """No bytes lead to a protocol or a traceback, or leave an error for others to find."""
        chance = random.Random(7)  # noqa: S311  # the same bytes each time
        client = Client(self.wired())
        client.step()
        hello = client.outgoing()
        for octets in garbage(hello, chance):
            self.accept()
            self.wire.sendall(octets)
            self.wire.shutdown(socket.SHUT_WR)
            self.reactor.turns(3)
            self.assertEqual((self.listening.failed, self.factory.asked), (1, []), octets[:60])
            self.assertEqual(lib.ERR_peek_error(), 0, octets[:60])
            self.reactor.pump([0.5] * 5)
            self.nothing_left()

    def wired(self) -> socket.socket:
        """Return a socket for a client that only makes bytes."""
        wire = socket.socket()
        self.addCleanup(wire.close)
        return wire

    def test_no_common_protocol(self) -> None:
        """A client that offers nothing of ours is refused with an alert that says so."""
        self.accept()
        client = Client(self.wire, offered=(b"h2", b"acme-tls/1"))
        client.step()
        client.push()
        self.reactor.turns(2)
        client.pull()
        with self.assertRaises(SSL.Error) as caught:
            client.step()
        self.assertIn("no application protocol", str(caught.exception))
        self.assertEqual(self.listening.failed, 1)
        self.nothing_left()

    def test_plain_http_is_told_so(self) -> None:
        """A client that speaks HTTP gets a short 400 and nothing of what it sent."""
        for line in (b"GET /secret", b"POST /secret", b"HEAD /secret", b"PUT /secret"):
            self.accept()
            self.wire.sendall(line + b" HTTP/1.1\r\nHost: x\r\n\r\n" + b"x" * 10_000)
            self.reactor.turns(2)
            got = b""
            while piece := self.wire.recv(65536):
                got += piece
            self.assertEqual(got, PLAIN_HTTP_ANSWER)
            self.assertEqual((self.listening.failed, self.factory.asked), (1, []))
            self.wire.close()
            self.reactor.turns(2)
            self.nothing_left()

    def test_no_protocol_no_connection(self) -> None:
        """Where the factory gives none, the connection ends after the handshake."""
        self.accept()
        self.factory.given = None
        client = Client(self.wire)
        with contextlib.suppress(ConnectionResetError):
            for _ in range(3):
                client.step()
                client.push()
                self.reactor.turn(0.05)
                client.pull()
        self.assertEqual(len(self.factory.asked), 1)
        self.nothing_left()

    def test_waits_for_room(self) -> None:
        """A handshake that has to write waits for room alone, and goes on when there is."""
        transport = self.accept()
        script(transport, ["do_handshake", SSL.WantWriteError()], ["do_handshake", None])
        self.wire.sendall(b"x")
        self.reactor.turn()
        self.assertEqual((self.reactor.readers, self.reactor.writers), (set(), {transport}))
        self.reactor.turn()
        self.assertEqual(len(self.factory.asked), 1)
        self.assertEqual((self.reactor.readers, self.reactor.writers), ({transport}, set()))


def garbage(hello: bytes, chance: random.Random) -> Iterator[bytes]:
    """Yield what no client of ours would send."""
    yield b"\x00"
    yield b"\x80\x2e\x01\x00\x02" + bytes(40)
    yield b"\x16\x03\x01\xff\xff" + bytes(70_000)
    yield b"\x15\x03\x01\x00\x02\x02\x28"
    yield b"\x17\x03\x03\x00\x10" + bytes(16)
    yield b"SSH-2.0-OpenSSH_9.2\r\n"
    yield b"CONNECT x:443 HTTP/1.1\r\n\r\n"
    yield b"OPTIONS * HTTP/1.1\r\n\r\n"
    yield b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    yield b"PROXY TCP4 1.2.3.4 1.2.3.4 1 1\r\n" + hello
    yield hello[:-1]
    yield hello[5:]
    yield hello.replace(b"\x16\x03\x01", b"\x16\x03\x00", 1)[:40]
    for _ in range(40):
        yield bytes([0x16]) + chance.randbytes(chance.randrange(1, 300))
        at = chance.randrange(5, 60)
        yield hello[:at] + chance.randbytes(4) + hello[at + 4 : -2]


Step = list[Any]


class Scripted:
    """Does what the test wrote down, where OpenSSL would do what the network brings."""

    def __init__(self, real: SSL.Connection, steps: list[Step]) -> None:
        self.real, self.steps, self.sent = real, steps, list[bytes]()

    def take(self, name: str) -> Any:
        """Return or raise what comes next."""
        want, outcome = self.steps.pop(0)
        assert want == name, (want, name)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def do_handshake(self) -> None:
        """Follow the script."""
        self.take("do_handshake")

    def recv(self, size: int) -> bytes:
        """Follow the script; without one there is nothing."""
        if not self.steps or self.steps[0][0] != "recv":
            raise SSL.WantReadError
        octets: bytes = self.take("recv")
        return octets

    def send(self, octets: Any) -> int:
        """Follow the script, and keep what was given."""
        self.sent.append(bytes(octets))
        taken: int = self.take("send")
        return taken

    def shutdown(self) -> bool:
        """Follow the script."""
        done: bool = self.take("shutdown")
        return done

    def set_app_data(self, data: object) -> None:
        """There is none."""

    def get_servername(self) -> None:
        """None was asked for."""

    def get_alpn_proto_negotiated(self) -> bytes:
        """None was chosen."""
        return b""


def script(transport: TLSServer, *steps: Step) -> Scripted:
    """Put a script in OpenSSL's place."""
    scripted = Scripted(transport._tls, list(steps))
    transport._tls = scripted  # type: ignore[assignment]  # as far as it is used
    return scripted


class ConnectionTests(Case):
    """Connection does what pyOpenSSL's own does, whose private parts it uses."""

    def test_a_record_each_way(self) -> None:
        """Bytes and views go out, at most a record comes in, and nothing raises as nothing."""
        transport, client = self.start()
        ours = transport._tls
        self.assertIsInstance(ours, tls.Connection)
        body = random.Random(1).randbytes(RECORD_SIZE + 5)  # noqa: S311  # any bytes
        self.assertEqual(ours.send(body[:RECORD_SIZE]), RECORD_SIZE)
        self.assertEqual(ours.send(memoryview(body)[RECORD_SIZE:]), 5)
        self.assertEqual(self.fetch(client, len(body)), body)
        client.write(body)
        self.assertEqual(len(ours.recv(1_000_000)), RECORD_SIZE)
        self.assertEqual(ours.recv(3), body[RECORD_SIZE : RECORD_SIZE + 3])
        self.assertEqual(ours.recv(99), body[-2:])
        with self.assertRaises(SSL.WantReadError):
            ours.recv(1)

    def test_what_was_read_stays(self) -> None:
        """Two connections share a buffer, and neither sees what the other reads in it."""
        (one, first), (other, second) = self.start(), self.start()
        first.write(b"from the first")
        second.write(b"from the second, longer")
        got = one._tls.recv(99)
        other._tls.recv(99)
        self.assertEqual(got, b"from the first")


class ReadTests(Case):
    """What arrives is delivered in order, in bounded turns, and the end is told as it was."""

    def test_delivered(self) -> None:
        """A record is delivered in the turn in which it came."""
        for version in VERSIONS.values():
            _, client = self.start(version=version)
            client.write(b"hello")
            self.reactor.turn()
            self.assertEqual(self.told().got, [b"hello"])

    def test_several_records_at_once(self) -> None:
        """Full records that are there are one piece, and nothing is left behind."""
        _, client = self.start()
        body = random.Random(1).randbytes(RECORD_SIZE * 3 + 5)  # noqa: S311  # any bytes
        client.write(body)
        self.reactor.turn()
        self.assertEqual(self.told().got, [body])

    def test_one_turn_is_bounded(self) -> None:
        """A client that sends a lot has its turn, and then the others have theirs."""
        _, client = self.start()
        body = random.Random(1).randbytes(600_000)  # noqa: S311  # any bytes
        client.write(body)
        self.reactor.turn()
        self.assertLessEqual(len(self.told().got[0]), TURN_SIZE)
        self.reactor.turns(20)
        self.assertTrue(all(len(piece) <= TURN_SIZE for piece in self.told().got))
        self.assertEqual(b"".join(self.told().got), body)

    def test_nothing_stays_inside_openssl(self) -> None:
        """Bytes that a read left decrypted in OpenSSL are delivered in the same turn."""
        self.patch(tls, "RECORD_SIZE", 100)
        _, client = self.start()
        client.write(b"x" * 16_000)
        self.reactor.turn()
        self.assertEqual(self.told().got, [b"x" * 16_000])

    def test_a_read_returns_after_a_record_without_data(self) -> None:
        """The mode is off that lets a flood of key updates hold a read, and everybody, up."""
        transport = self.accept()
        mode = lib.SSL_set_mode(transport._tls._ssl, 0)
        self.assertEqual(mode & lib.SSL_MODE_AUTO_RETRY, 0)

    def test_half_a_record_is_waited_for(self) -> None:
        """A record in pieces is delivered when it is whole."""
        _, client = self.start()
        client.tls.send(b"whole")
        record = client.outgoing()
        for octet in record[:-1]:
            self.wire.sendall(bytes([octet]))
            self.reactor.turn(0)
        self.assertEqual(self.told().got, [])
        self.wire.sendall(record[-1:])
        self.reactor.turn()
        self.assertEqual(self.told().got, [b"whole"])

    def test_paused(self) -> None:
        """While the protocol holds, bytes stay in the socket."""
        transport, client = self.start()
        transport.pauseProducing()
        client.write(b"wait")
        self.reactor.turns(2)
        self.assertEqual(self.told().got, [])
        transport.resumeProducing()
        self.reactor.turn()
        self.assertEqual(self.told().got, [b"wait"])

    def test_a_goodbye_is_a_clean_end(self) -> None:
        """close_notify is ConnectionDone, and is answered with ours."""
        for version in VERSIONS.values():
            _, client = self.start(version=version)
            client.goodbye()
            self.reactor.turns(2)
            self.assertEqual(self.told().lost, [ConnectionDone])
            while client.pull():
                pass
            self.assertTrue(client.tls.shutdown())
            self.nothing_left()

    def test_bytes_before_a_goodbye(self) -> None:
        """What was said before the end is delivered before the end."""
        for size in (5, RECORD_SIZE, RECORD_SIZE * 2, TURN_SIZE, TURN_SIZE * 2 + 1):
            _, client = self.start()
            client.tls.sendall(b"x" * size)
            client.goodbye()
            self.reactor.turns(6)
            self.assertEqual(b"".join(self.told().got), b"x" * size)
            self.assertEqual(self.told().lost, [ConnectionDone])

    def test_an_end_without_goodbye_is_a_loss(self) -> None:
        """FIN or reset without close_notify is ConnectionLost: something may be missing."""
        for version in VERSIONS.values():
            for end in (socket.socket.close, reset):
                for size in (0, 5, RECORD_SIZE, RECORD_SIZE * 2):
                    _, client = self.start(version=version)
                    if size:
                        client.write(b"x" * size)
                        self.reactor.turns(1)
                    end(self.wire)
                    self.reactor.turns(3)
                    self.assertEqual(b"".join(self.told().got), b"x" * size)
                    self.assertEqual(self.told().lost, [ConnectionLost])
                    self.nothing_left()
                    self.assertEqual(lib.ERR_peek_error(), 0)

    def test_cut_after_full_records(self) -> None:
        """Bytes and the cut found in one turn are delivered as such, in that order."""
        _, client = self.start()
        client.write(b"x" * RECORD_SIZE * 2)
        self.wire.close()
        self.reactor.turns(3)
        self.assertEqual(b"".join(self.told().got), b"x" * RECORD_SIZE * 2)
        self.assertEqual(self.told().lost, [ConnectionLost])

    def test_cut_inside_a_record(self) -> None:
        """Half a record is nothing, and its end a loss."""
        _, client = self.start()
        client.tls.send(b"half")
        self.wire.sendall(client.outgoing()[:-3])
        self.wire.close()
        self.reactor.turns(2)
        self.assertEqual((self.told().got, self.told().lost), ([], [ConnectionLost]))

    def test_a_forged_record(self) -> None:
        """A record that does not verify ends the connection; nothing of it is delivered."""
        for version in VERSIONS.values():
            _, client = self.start(version=version)
            client.tls.send(b"x" * 100)
            record = bytearray(client.outgoing())
            record[-1] ^= 1
            self.wire.sendall(record)
            self.reactor.turns(2)
            self.assertEqual((self.told().got, self.told().lost), ([], [ConnectionLost]))
            self.assertEqual(lib.ERR_peek_error(), 0)

    def test_an_end_that_the_poll_reports_alone(self) -> None:
        """A hang-up without a read event does not pass for a clean end."""
        transport, _ = self.start()
        self.reactor._finish(transport, ConnectionDone(), reading=True)
        self.assertEqual(self.told().lost, [ConnectionLost])

    def test_protocol_that_aborts(self) -> None:
        """A protocol may abort from within; what was found behind it is not told."""

        class Aborting(Told):
            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                assert isinstance(self.transport, TLSServer)
                self.transport.abortConnection()

        _, client = self.start(Aborting())
        client.write(b"x" * RECORD_SIZE)
        client.goodbye()
        self.reactor.turns(3)
        self.assertEqual(len(self.told().lost), 1)
        self.nothing_left()

    def test_a_read_that_wants_to_write(self) -> None:
        """It waits for room only, spins on nothing, and is taken up when there is room."""
        transport, _ = self.start()
        scripted = script(
            transport,
            ["recv", SSL.WantWriteError()],
            ["recv", SSL.WantWriteError()],
            ["recv", b"data"],
        )
        self.wire.sendall(b"x")
        self.reactor.turn()
        self.assertEqual((self.reactor.readers, self.reactor.writers), (set(), {transport}))
        # Nobody brings the interest back before its time.
        transport.resumeProducing()
        transport.stopWriting()
        self.assertEqual((self.reactor.readers, self.reactor.writers), (set(), {transport}))
        self.reactor.turn()
        self.assertEqual((self.reactor.readers, self.reactor.writers), (set(), {transport}))
        self.reactor.turn()
        self.assertEqual(self.told().got, [b"data"])
        self.assertEqual(scripted.steps, [])
        self.assertEqual((self.reactor.readers, self.reactor.writers), ({transport}, set()))

    def test_a_read_that_wants_to_write_while_held(self) -> None:
        """A protocol that holds meanwhile gets nothing until it wants to."""
        transport, _ = self.start()
        script(transport, ["recv", SSL.WantWriteError()], ["recv", b"data"])
        self.wire.sendall(b"x")
        self.reactor.turn()
        transport.pauseProducing()
        self.reactor.turn()
        self.assertEqual((self.reactor.readers, self.reactor.writers), (set(), set()))
        transport.resumeProducing()
        self.reactor.turn()
        self.assertEqual(self.told().got, [b"data"])


class WriteTests(Case):
    """A write goes out at once, in order, and OpenSSL always gets the bytes it kept."""

    def test_at_once(self) -> None:
        """Bytes are on the wire when write() returns, and nobody waits for room."""
        for version in VERSIONS.values():
            transport, client = self.start(version=version)
            transport.write(b"hello")
            transport.writeSequence([b", ", b"world"])
            self.assertEqual(self.fetch(client, 12), b"hello, world")
            self.assertEqual(self.reactor.writers, set())

    def test_nothing_is_nothing(self) -> None:
        """An empty write sends no record."""
        transport, _ = self.start()
        script(transport)
        transport.write(b"")
        self.assertEqual(self.reactor.writers, set())

    def test_all_of_it_in_order(self) -> None:
        """Megabytes of odd pieces through a small socket arrive once and in order."""
        chance = random.Random(3)  # noqa: S311  # any bytes
        for version in VERSIONS.values():
            transport, client = self.start(small=4096, version=version)
            pieces = [chance.randbytes(chance.choice([1, 99, 5000, 40_000])) for _ in range(90)]
            for piece in pieces:
                transport.write(piece)
                if chance.random() < 0.3:
                    self.reactor.turn(0)
            body = b"".join(pieces)
            self.assertEqual(self.fetch(client, len(body)), body)
            self.reactor.turns(1)
            self.assertEqual(self.reactor.writers, set())
            transport.write(b"after")
            self.assertEqual(self.fetch(client, 5), b"after")

    def test_the_kept_record_comes_first_again(self) -> None:
        """After WantWrite the next attempt begins with the same bytes, more may follow."""
        transport, _ = self.start()
        scripted = script(
            transport,
            ["send", 7],
            ["send", SSL.WantWriteError()],
            ["send", 3],
            ["send", SSL.WantWriteError()],
            ["send", 20],
        )
        transport.write(b"0123456")
        transport.write(b"789abc")
        transport.write(b"more")
        self.reactor.turn()
        self.reactor.turn()
        transport.write(b"and more")
        self.reactor.turn()
        self.assertEqual(
            scripted.sent,
            [b"0123456", b"789abc", b"789abcmore", b"abcmore", b"abcmoreand more"],
        )

    def test_a_long_write_in_records(self) -> None:
        """A long write goes record by record, as far as there is room, and resumes there."""
        transport, _ = self.start()
        scripted = script(
            transport, ["send", RECORD_SIZE], ["send", SSL.WantWriteError()], ["send", 5]
        )
        body = bytes(RECORD_SIZE) + b"12345"
        transport.write(body)
        self.assertEqual((transport._tempDataLen, self.reactor.writers), (5, {transport}))
        self.reactor.turn()
        self.assertEqual([len(piece) for piece in scripted.sent], [RECORD_SIZE, 5, 5])
        self.assertEqual(self.reactor.writers, set())

    def test_a_turn_of_writing_is_bounded(self) -> None:
        """One connection writes so much in a turn, whatever is queued."""
        transport, _ = self.start()
        scripted = script(
            transport, ["send", SSL.WantWriteError()], *[["send", RECORD_SIZE] for _ in range(99)]
        )
        transport.write(bytes(1_000_000))
        self.reactor.turn()
        self.assertEqual(len(scripted.sent), 1 + transport.SEND_LIMIT // RECORD_SIZE)

    def test_producer(self) -> None:
        """A producer is paused over the bound and resumed when all is gone."""
        transport, client = self.start(small=4096)
        source = Source()
        transport.registerProducer(source, streaming=True)
        written = self.full(transport)
        while not source.told:
            transport.write(b"z" * 9000)
            written += b"z" * 9000
        self.assertEqual(source.told, ["pause"])
        self.assertEqual(self.fetch(client, len(written)), written)
        self.reactor.turns(1)
        self.assertEqual(source.told, ["pause", "resume"])

    def test_a_dead_socket_is_reported_by_the_reactor(self) -> None:
        """A write into a reset connection raises nothing; the loss comes with a turn."""
        transport, _ = self.start()
        reset(self.wire)
        for _ in range(3):
            transport.write(b"x")
        self.assertEqual(self.told().lost, [])
        self.reactor.turns(2)
        self.assertEqual(self.told().lost, [ConnectionLost])
        self.assertEqual(lib.ERR_peek_error(), 0)

    def test_abort_says_no_goodbye(self) -> None:
        """abortConnection() cuts: the client cannot take what it has for the whole."""
        transport, client = self.start()
        transport.write(b"half of it")
        transport.abortConnection()
        transport.write(b"not this")
        self.reactor.turns(2)
        with contextlib.suppress(ConnectionResetError):
            while client.pull():
                pass
        self.assertEqual(client.tls.get_shutdown() & SSL.RECEIVED_SHUTDOWN, 0)
        self.assertEqual(self.told().lost, [ConnectionAborted])
        self.nothing_left()

    def test_a_write_that_wants_to_read(self) -> None:
        """It waits for input only, even while the protocol holds, and is taken up then."""
        transport, _ = self.start()
        scripted = script(transport, ["send", SSL.WantReadError()], ["send", 4])
        transport.pauseProducing()
        transport.write(b"data")
        self.assertEqual((self.reactor.readers, self.reactor.writers), ({transport}, set()))
        transport.write(b"")
        transport.pauseProducing()
        transport.startWriting()
        self.assertEqual((self.reactor.readers, self.reactor.writers), ({transport}, set()))
        self.wire.sendall(b"x")
        self.reactor.turn()
        self.reactor.turn()
        self.assertEqual(scripted.sent, [b"data", b"data"])
        self.assertEqual((self.reactor.readers, self.reactor.writers), (set(), set()))
        transport.resumeProducing()
        self.assertEqual(self.reactor.readers, {transport})

    def test_certificate_after_the_end(self) -> None:
        """Who asks for the client's certificate after the end gets None."""
        transport, _ = self.start()
        reset(self.wire)
        self.reactor.turns(2)
        self.assertIsNone(transport.peer_certificate())


class CloseTests(Case):
    """Closing says goodbye, loses nothing, and ends in bounded time."""

    def test_goodbye_then_end(self) -> None:
        """The client gets all bytes, our close_notify, and the end; in either version."""
        for version in VERSIONS.values():
            transport, client = self.start(version=version)
            transport.write(b"bye")
            transport.loseConnection()
            self.assertEqual(self.fetch(client, 99), b"bye")
            self.assertTrue(client.tls.get_shutdown() & SSL.RECEIVED_SHUTDOWN)
            self.assertEqual(self.told().lost, [])
            client.goodbye()
            self.wire.close()
            self.reactor.turns(2)
            self.assertEqual(self.told().lost, [ConnectionDone])
            self.nothing_left()

    def test_queued_bytes_go_first(self) -> None:
        """What a partial write left behind arrives before the goodbye does."""
        transport, client = self.start(small=4096)
        written = self.full(transport)
        transport.loseConnection()
        self.assertEqual(self.fetch(client, len(written) + 1), written)
        self.assertTrue(client.tls.get_shutdown() & SSL.RECEIVED_SHUTDOWN)
        self.wire.close()
        self.reactor.turns(2)
        self.assertEqual(self.told().lost, [ConnectionDone])
        self.nothing_left()

    def test_a_client_that_still_sends_gets_the_answer(self) -> None:
        """An answer to an unfinished upload arrives whole; the upload is thrown away."""
        transport, client = self.start()
        client.write(b"u" * 100_000)
        self.reactor.turn()
        got = len(self.told().got)
        transport.write(b"413 too large")
        transport.loseConnection()
        for _ in range(20):
            client.write(b"u" * 50_000)
            self.reactor.turns(2)
        self.assertEqual(self.fetch(client, 99), b"413 too large")
        self.wire.close()
        self.reactor.turns(40)
        self.assertEqual((len(self.told().got), self.told().lost), (got, [ConnectionDone]))

    def test_a_client_that_never_ends(self) -> None:
        """A client that keeps its side open is left after LINGER_SECONDS."""
        transport, _ = self.start()
        transport.loseConnection()
        self.reactor.pump([0.5] * int(LINGER_SECONDS * 2 - 1))
        self.assertEqual(self.told().lost, [])
        self.reactor.pump([0.5] * 2)
        self.assertEqual(self.told().lost, [ConnectionDone])
        self.nothing_left()

    def test_a_client_that_takes_nothing(self) -> None:
        """What is queued at the close is given up after FLUSH_SECONDS, without goodbye."""
        transport, _ = self.start(small=4096)
        self.full(transport)
        transport.loseConnection()
        self.reactor.pump([0.5] * int(FLUSH_SECONDS * 2 + 1))
        self.assertEqual(self.told().lost, [ConnectionAborted])
        self.nothing_left()

    def test_no_room_for_the_goodbye(self) -> None:
        """A goodbye that finds no room waits for it, reads nothing meanwhile, and is bounded."""
        transport, _ = self.start()
        scripted = script(transport, ["shutdown", SSL.WantWriteError()], ["shutdown", False])
        transport.loseConnection()
        self.wire.sendall(b"x")
        self.assertEqual((self.reactor.readers, self.reactor.writers), (set(), {transport}))
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
        self.reactor.turn()
        self.assertEqual((scripted.steps, self.told().got), ([], []))
        self.wire.close()
        self.reactor.turns(3)
        self.assertEqual(self.told().lost, [ConnectionDone])
        self.nothing_left()

    def test_never_room_for_the_goodbye(self) -> None:
        """Where there never is room, the connection is cut after FLUSH_SECONDS."""
        transport, _ = self.start()
        script(transport, ["shutdown", SSL.WantWriteError()])
        transport.loseConnection()
        self.reactor.pump([0.5] * int(FLUSH_SECONDS * 2 + 1))
        self.assertEqual(self.told().lost, [ConnectionAborted])
        self.nothing_left()

    def test_goodbye_behind_the_last_bytes(self) -> None:
        """The client's end found together with its last request does not stop the answer."""

        class Answering(Told):
            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                assert isinstance(self.transport, TLSServer)
                self.transport.write(b"a" * 4_000_000)
                self.transport.loseConnection()

        transport, client = self.start(Answering(), small=4096)
        client.tls.sendall(b"x" * RECORD_SIZE)
        client.goodbye()
        self.reactor.turn()
        self.assertTrue(transport._their_goodbye)
        self.assertEqual(len(self.fetch(client, 4_000_000)), 4_000_000)
        self.reactor.turns(3)
        self.assertEqual(self.told().lost, [ConnectionDone])
        self.nothing_left()

    def test_their_half(self) -> None:
        """After the client's goodbye a protocol that wants to can still answer."""
        halves = ToldOfHalves()
        transport, client = self.start(halves)
        client.goodbye()
        self.reactor.turns(2)
        self.assertEqual((halves.halves, halves.lost), (["read"], []))
        transport.write(b"still here")
        self.assertEqual(self.fetch(client, 10), b"still here")
        transport.loseConnection()
        self.reactor.turns(2)
        self.assertEqual(halves.lost, [ConnectionDone])
        self.nothing_left()

    def test_our_half(self) -> None:
        """loseWriteConnection() says goodbye after what is queued; reading goes on."""
        halves = ToldOfHalves()
        transport, client = self.start(halves, small=4096)
        written = self.full(transport)
        transport.loseWriteConnection()
        self.assertEqual(self.fetch(client, len(written) + 1), written)
        self.assertEqual(halves.halves, ["write"])
        client.write(b"more")
        self.reactor.turn()
        self.assertEqual(halves.got, [b"more"])
        client.goodbye()
        self.reactor.turns(2)
        self.assertEqual(halves.halves, ["write", "read"])
        transport.loseConnection()
        self.reactor.turns(2)
        self.assertEqual(halves.lost, [ConnectionDone])
        self.nothing_left()

    def test_our_half_waits_for_room(self) -> None:
        """A half goodbye that finds no room is said when there is, once."""
        halves = ToldOfHalves()
        transport, _ = self.start(halves)
        script(transport, ["shutdown", SSL.WantWriteError()], ["shutdown", False])
        transport.loseWriteConnection()
        self.reactor.turn()
        self.assertEqual((halves.halves, self.reactor.writers), ([], {transport}))
        self.reactor.turn()
        self.assertEqual((halves.halves, self.reactor.writers), (["write"], set()))
