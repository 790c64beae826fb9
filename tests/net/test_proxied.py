"""Promises of a port that expects PROXY headers: what it takes, from whom, how long it waits."""

from __future__ import annotations

import contextlib
import itertools
import socket
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.protocol import Protocol
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.net.contexts import CertificateStore
from pomeriumd.net.deadlines import Deadlines
from pomeriumd.net.port import Port
from pomeriumd.net.proxied import HIDDEN, NOT_LISTED, QUIET_SECONDS
from pomeriumd.net.tls import TLSServer
from pomeriumd.net.transport import Accepted
from pomeriumd.proxy.client_address import TrustedProxies
from pomeriumd.settings.values import Address
from tests.support.certificates import NOW, leaf
from tests.support.logged import Logged
from tests.support.proxy_headers import (
    LOCAL,
    NOOP,
    PROXY,
    UNSPEC,
    block_of,
    summed,
    version1,
    version2,
)
from tests.support.served import Served
from tests.support.sockets import OneProtocol, Told, Turns, reset

CLIENT = ("203.0.113.9", 56324, "192.0.2.10", 443)
CLIENT6 = ("2001:db8::9", 56324, "2001:db8::10", 443)
ANYBODY = TrustedProxies()
REMEDY = (
    "; with use_proxy_protocol each connection begins with a PROXY header, health checks too, and "
    "comes from a balancer"
)


def only(*networks: str) -> TrustedProxies:
    """Return a list of those who may send headers."""
    found: Sequence[IPv4Network | IPv6Network] = [ip_network(network) for network in networks]
    return TrustedProxies(tuple(found))


class Making(OneProtocol):
    """Gives each connection a protocol of its own, and remembers them."""

    noisy = False

    def __init__(self) -> None:
        super().__init__(None)
        self.made: list[Told] = []

    def buildProtocol(self, addr: Any) -> Protocol:
        """Make one."""
        self.asked.append(addr)
        self.made.append(Told())
        return self.made[-1]


class Case(SynchronousTestCase):
    """A port on a reactor whose turns are called."""

    def listen(self, senders: TrustedProxies | None = ANYBODY, **more: Any) -> Port:
        """Start a port at a free number."""
        self.reactor = Turns()
        self.factory = Making()
        self.port = Port(
            Address("127.0.0.1", 0),
            self.factory,
            self.reactor,
            deadlines=Deadlines(self.reactor),
            senders=senders,
            **more,
        )
        self.port.startListening()
        self.addCleanup(self.stop, self.port, self.reactor)
        return self.port

    def stop(self, port: Port, reactor: Turns) -> None:
        """Stop listening, and close what is connected."""
        port.stopListening()
        reactor.advance(0)
        for one in list(reactor.readers | reactor.writers):
            if isinstance(one, Accepted):
                one.abortConnection()
        reactor.pump([0, 0, 20])

    def connect(self, *octets: bytes) -> socket.socket:
        """Connect a client that says these, and give the port a turn after each."""
        client = socket.create_connection(("127.0.0.1", self.port.getHost().port), timeout=5)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.addCleanup(client.close)
        self.reactor.turn()
        for piece in octets:
            client.sendall(piece)
            self.reactor.turn()
        return client

    def closed(self, client: socket.socket) -> bool:
        """Tell whether the port has hung up, without a word."""
        with contextlib.suppress(ConnectionResetError):
            return client.recv(1) == b""
        return True


class TakingTests(Case):
    """What a good header makes of a connection."""

    def test_the_peer_is_the_client(self) -> None:
        """Protocols are built for the client that the header names, with its address."""
        self.listen()
        self.connect(version1(CLIENT))
        self.connect(version2(CLIENT))
        self.connect(summed(CLIENT6))
        self.reactor.turn(0.02)
        four = IPv4Address("TCP", "203.0.113.9", 56324)
        self.assertEqual(self.factory.asked, [four, four, IPv6Address("TCP", "2001:db8::9", 56324)])
        transport = self.factory.made[0].transport
        assert isinstance(transport, Accepted)
        self.assertEqual(transport.getPeer(), four)
        self.assertEqual((self.port.open, self.port.refused_headers), (3, 0))

    def test_whose_own_connection_it_is(self) -> None:
        """LOCAL and UNKNOWN keep the address of the socket."""
        self.listen()
        for octets in (
            block_of(LOCAL, UNSPEC, b""),
            block_of(PROXY, UNSPEC, b""),
            b"PROXY UNKNOWN\r\n",
        ):
            client = self.connect(octets)
            self.reactor.turn(0.02)
            self.assertEqual(
                self.factory.asked[-1], IPv4Address("TCP", *client.getsockname()), octets
            )

    def test_not_one_byte_more(self) -> None:
        """What follows the header, in the same segment or not, is the protocol's from its first."""
        self.listen()
        for octets in (version1(CLIENT), version2(CLIENT, [(NOOP, b"x" * 99)]), summed(CLIENT6)):
            for following in (b"", b"G", b"GET / HTTP/1.1\r\n", version1(CLIENT6)):
                client = self.connect(octets + following)
                client.sendall(b".")
                self.reactor.turns(3)
                self.assertEqual(b"".join(self.factory.made[-1].got), following + b".")

    def test_split_at_every_byte(self) -> None:
        """A header that comes in two pieces, cut anywhere, is the same header."""
        self.listen()
        for octets in (version1(CLIENT), version2(CLIENT)):
            for at in range(1, len(octets)):
                self.connect(octets[:at], octets[at:] + b"!")
                self.reactor.turn()
                self.assertEqual(self.factory.made[-1].got, [b"!"], at)
                self.assertEqual(self.factory.asked[-1].host, "203.0.113.9")

    @settings(max_examples=20)
    @given(st.lists(st.integers(1, 20), max_size=8), st.sampled_from([version1, version2, summed]))
    def test_split_at_will(self, sizes: list[int], write: Any) -> None:
        """Whatever the pieces are, the header is taken from them and the rest is left."""
        self.listen()
        octets = write(CLIENT6) + b"the rest"
        cuts = list(itertools.accumulate(sizes))
        bounds = [0, *(cut for cut in cuts if cut < len(octets)), len(octets)]
        self.connect(*(octets[a:b] for a, b in itertools.pairwise(bounds)))
        self.reactor.turns(2)
        self.assertEqual(b"".join(self.factory.made[-1].got), b"the rest")
        self.stop(self.port, self.reactor)

    def test_tls_begins_behind_it(self) -> None:
        """A handshake goes through whose hello came with the header, and after it alike."""
        self.listen(store=CertificateStore.of([leaf("app.example.test").pair()], NOW))
        for together in (True, False):
            tls = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
            tls.set_connect_state()
            tls.set_tlsext_host_name(b"app.example.test")
            self.assertRaises(SSL.WantReadError, tls.do_handshake)
            hello = tls.bio_read(65_536)
            octets = version2(CLIENT) + hello if together else version2(CLIENT)
            client = self.connect(octets)
            if not together:
                client.sendall(hello)
            client.settimeout(0.05)
            for _ in range(8):
                self.reactor.turn(0.02)
                with contextlib.suppress(TimeoutError):
                    tls.bio_write(client.recv(65_536))
                with contextlib.suppress(SSL.WantReadError):
                    tls.do_handshake()
                with contextlib.suppress(SSL.WantReadError):
                    client.sendall(tls.bio_read(65_536))
            tls.send(b"hello")
            client.sendall(tls.bio_read(65_536))
            self.reactor.turns(2)
            made = self.factory.made[-1]
            self.assertEqual(made.got, [b"hello"])
            assert isinstance(made.transport, TLSServer)
            self.assertEqual(made.transport.getPeer().host, "203.0.113.9")
            self.assertEqual(made.transport.server_name, b"app.example.test")
        self.assertEqual(self.port.failed_handshakes, 0)

    def test_without_the_setting_a_header_is_bad_bytes(self) -> None:
        """A port that expects none takes it for what its protocol makes of it."""
        self.listen(None)
        client = self.connect(version1(CLIENT))
        self.reactor.turn()
        self.assertEqual(self.factory.made[0].got, [version1(CLIENT)])
        self.assertEqual(self.factory.asked, [IPv4Address("TCP", *client.getsockname())])

    def test_live(self) -> None:
        """Who may send headers, and whether there are any, can change; what has begun goes on."""
        port = self.listen(None)
        early = self.connect(b"early")
        port.senders = ANYBODY
        self.connect(version1(CLIENT) + b"later")
        self.reactor.turn()
        early.sendall(b"!")
        self.reactor.turn()
        self.assertEqual([one.got for one in self.factory.made], [[b"early", b"!"], [b"later"]])


class RefusingTests(Case):
    """What is no good is closed, counted, and told of once a minute."""

    def refused(self, octets: bytes, why: str) -> None:
        """Assert that a connection that begins so is closed, for this reason."""
        logged = Logged(self)
        client = self.connect(octets)
        self.reactor.turn(0.02)
        self.assertTrue(self.closed(client), octets)
        self.assertEqual((self.port.open, self.factory.made), (0, []))
        self.assertEqual(self.reactor.readers, {self.port})
        number = self.port.getHost().port
        self.assertEqual(
            logged.lines(), [f"{number} closed a connection from 127.0.0.1: {why}{REMEDY}"]
        )
        self.assertEqual(self.port.refused_headers, 1)

    def test_no_header(self) -> None:
        """TLS and HTTP without a header are none, and the log says what came instead."""
        for octets, why in (
            (b"\x16\x03\x01\x02\0", "it begins with TLS, with no PROXY header before it"),
            (b"GET / HTTP/1.1\r\n", "it begins with plain HTTP, with no PROXY header before it"),
            (b"\0", "it does not begin with a PROXY header"),
        ):
            self.listen()
            self.refused(octets, why)

    def test_a_bad_header(self) -> None:
        """A header that cannot be read is not passed by."""
        for octets, why in (
            (
                version1(CLIENT).replace(b"443", b"0443"),
                "the line of PROXY protocol 1 is not as it has to be",
            ),
            (
                summed(CLIENT)[:-1] + b"\0",
                "the checksum of PROXY protocol 2 is wrong",
            ),
        ):
            self.listen()
            self.refused(octets, why)

    def test_a_stranger(self) -> None:
        """With a list, a header from whoever is not on it is not even read."""
        self.listen(only("192.0.2.0/24", "2001:db8::/32"))
        self.refused(version1(CLIENT), NOT_LISTED)

    def test_a_listed_one(self) -> None:
        """With a list, a header from one on it is believed, and so is a LOCAL one."""
        self.listen(only("127.0.0.0/8"))
        self.connect(version1(CLIENT))
        local = self.connect(block_of(LOCAL, UNSPEC, b""))
        self.reactor.turn(0.02)
        self.assertEqual(
            [address.host for address in self.factory.asked],
            ["203.0.113.9", local.getsockname()[0]],
        )

    def test_a_client_that_a_listed_one_hides(self) -> None:
        """With a list, UNKNOWN is refused: the balancer's address would vouch for the client."""
        for octets in (b"PROXY UNKNOWN\r\n", block_of(PROXY, UNSPEC, b"")):
            self.listen(only("127.0.0.1/32"))
            self.refused(octets, HIDDEN)

    def test_a_part_of_one(self) -> None:
        """A header whose sender leaves in the middle of it is no header."""
        self.listen()
        logged = Logged(self)
        for leave in (socket.socket.close, reset):
            leave(self.connect(version1(CLIENT)[:20]))
            self.reactor.turns(2)
        self.assertEqual((self.port.open, self.port.refused_headers), (0, 2))
        self.assertIn("it ended inside its PROXY header", logged.lines()[0])
        self.assertEqual(self.factory.made, [])

    def test_who_says_nothing(self) -> None:
        """One that connects and leaves is no line in the log: it has looked whether we are here."""
        self.listen()
        logged = Logged(self)
        for leave in (socket.socket.close, reset):
            leave(self.connect())
            self.reactor.turns(2)
        self.assertEqual((self.port.open, self.port.refused_headers), (0, 0))
        self.assertEqual(logged.lines(), [])

    def test_a_line_a_minute(self) -> None:
        """However many there are, a minute has one line; the next one says how many."""
        self.listen()
        logged = Logged(self)
        for _ in range(5):
            self.connect(b"x")
        self.reactor.turns(2)
        self.assertEqual((len(logged.lines()), self.port.refused_headers), (1, 5))
        self.reactor.advance(QUIET_SECONDS)
        self.connect(b"x")
        self.reactor.turns(2)
        self.assertEqual(len(logged.lines()), 2)
        self.assertTrue(logged.lines()[1].endswith(f"{REMEDY} (4 more in the time before)"))


class WaitingTests(Case):
    """The wait is bounded, and costs nothing."""

    def test_it_takes_room_and_ends(self) -> None:
        """Who never sends the whole header counts, and leaves in the handshake's time."""
        self.listen(most=2, handshake_seconds=2.0)
        logged = Logged(self)
        silent, half = self.connect(), self.connect(version2(CLIENT)[:20])
        self.connect()
        self.assertEqual(self.port.open, 2)
        for _ in range(4):
            half.sendall(b"\0")
            self.reactor.turn(0.02)
            self.reactor.advance(0.5)
        self.reactor.advance(0.5)
        self.assertTrue(self.closed(silent))
        self.assertTrue(self.closed(half))
        self.assertEqual(self.port.refused_headers, 2)
        self.assertIn("its PROXY header was not complete within 2 s", logged.lines()[1])
        self.reactor.turns(2)
        self.assertEqual(self.port.open, 1)

    def test_the_handshake_has_no_time_of_its_own(self) -> None:
        """Header and handshake share one deadline: a slow header does not double it."""
        self.listen(store=CertificateStore.of([leaf("a.test").pair()], NOW), handshake_seconds=2.0)
        client = self.connect()
        self.reactor.advance(0.5)
        self.reactor.advance(0.5)
        self.reactor.advance(0.5)
        client.sendall(version1(CLIENT))
        self.reactor.turn()
        self.assertEqual((self.port.open, self.port.refused_headers), (1, 0))
        self.reactor.pump([0.5, 0.5])
        self.assertEqual((self.port.open, self.port.failed_handshakes), (0, 1))

    def test_a_part_does_not_keep_the_reactor_busy(self) -> None:
        """What has come of a header is taken from the socket: nothing is left there to read."""
        self.listen()
        self.connect(version2(CLIENT)[:20])
        (waiting,) = self.reactor.readers - {self.port}
        self.assertRaises(
            BlockingIOError, waiting._socket.recv, 1, socket.MSG_PEEK | socket.MSG_DONTWAIT
        )

    def test_a_port_that_stops(self) -> None:
        """Headers that are awaited when the port stops may still come, or not."""
        self.listen()
        good, bad = self.connect(), self.connect()
        self.port.stopListening()
        self.reactor.advance(0)
        good.sendall(version1(CLIENT) + b"still")
        bad.sendall(b"x")
        self.reactor.turns(4)
        self.assertEqual(self.factory.made[0].got, [b"still"])
        self.assertTrue(self.closed(bad))
        self.assertEqual(self.port.open, 1)


class EpollTests(SynchronousTestCase):
    """The same under the reactor that serves, where the socket's number changes its owner."""

    def test_one_after_the_other(self) -> None:
        """Connections with and without a good header, whose sockets take turns at few numbers."""
        served = Served(Told, senders=ANYBODY)

        def client(number: int) -> list[bytes]:
            ends = []
            for octets in (b"PROXY ", b"x", b"", version1(CLIENT)[:9]) * 5:
                with socket.create_connection(("127.0.0.1", number), timeout=30) as bad:
                    bad.sendall(octets)
                good = socket.create_connection(("127.0.0.1", number), timeout=30)
                good.sendall(version2(CLIENT)[:9])
                good.sendall(version2(CLIENT)[9:] + b"whole")
                good.shutdown(socket.SHUT_WR)
                ends.append(good.recv(1))
                good.close()
            return ends

        self.assertEqual(served.run(client), [b""] * 20)
        self.assertEqual([b"".join(one.got) for one in served.made], [b"whole"] * 20)
        self.assertEqual((served.port.open, served.port.refused_headers), (0, 15))
