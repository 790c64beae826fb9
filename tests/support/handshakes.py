"""A TLS port of ours on real loopback sockets, and clients that shake hands badly."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from OpenSSL import SSL
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.net.contexts import CertificateStore
from pomeriumd.net.deadlines import Deadlines
from pomeriumd.net.port import Port
from pomeriumd.settings.values import Address
from tests.support.certificates import NOW, leaf
from tests.support.sockets import Told, Turns


class _Making(ServerFactory):
    noisy = False

    def __init__(self) -> None:
        self.made: list[Told] = []

    def buildProtocol(self, addr: Any) -> Protocol:
        """Make one, which is to say that a handshake is complete."""
        self.made.append(Told())
        return self.made[-1]


def client_hello(name: bytes | None, version: int = SSL.TLS1_3_VERSION) -> bytes:
    """Return the bytes with which a client begins."""
    return _begun(name, version)[1]


def _begun(name: bytes | None, version: int) -> tuple[SSL.Connection, bytes]:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(version)
    client = SSL.Connection(context, None)
    client.set_connect_state()
    if name is not None:
        client.set_tlsext_host_name(name)
    with contextlib.suppress(SSL.WantReadError):
        client.do_handshake()
    return client, client.bio_read(65536)


class Shaking:
    """A port on a reactor whose turns are called, and the clients that came to it."""

    def __init__(self, case: SynchronousTestCase) -> None:
        self.reactor = Turns()
        self._factory = _Making()
        self._clients: list[socket.socket] = []
        self.port = Port(
            Address("127.0.0.1", 0),
            self._factory,
            self.reactor,
            deadlines=Deadlines(self.reactor),
            store=CertificateStore.of([leaf("app.example.test").pair()], NOW),
        )
        self.port.startListening()
        case.addCleanup(self._stop)

    @property
    def made(self) -> list[Told]:
        """Return the protocols of complete handshakes."""
        return self._factory.made

    def hello(self) -> bytes:
        """Return a whole hello."""
        return client_hello(b"app.example.test")

    def starts(self, octets: bytes) -> None:
        """Connect another client that sends these bytes."""
        client = socket.create_connection(("127.0.0.1", self.port.getHost().port), timeout=5)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(octets)
        self._clients.append(client)
        self.reactor.turn(0)

    def turns(self) -> None:
        """Let the port see what has come."""
        self.reactor.turns(4)

    def drip(self, octet: bytes) -> None:
        """Have every client send one byte, and half a second pass."""
        for client in self._clients:
            with contextlib.suppress(OSError):
                client.sendall(octet)
        self.reactor.turn(0)
        self.reactor.advance(0.5)

    def _stop(self) -> None:
        self.port.stopListening()
        self.reactor.advance(0)
        for client in self._clients:
            client.close()
        for one in list(self.reactor.readers | self.reactor.writers):
            one.abortConnection()
        self.reactor.pump([0, 0])
