"""A TLS port of ours on real loopback sockets, and clients that shake hands badly."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any

import attrs
from OpenSSL import SSL
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.net.contexts import CertificateStore, NoCommonProtocol
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


@attrs.frozen
class Met:
    """Both ends of a connection in memory, when nothing moves any more."""

    client: SSL.Connection
    server: SSL.Connection
    error: Exception | None
    """What either end broke off with."""

    @property
    def shown(self) -> str | None:
        """Return the common name of what the server showed, None if it showed nothing."""
        certificate = self.client.get_peer_certificate(as_cryptography=True)
        return None if certificate is None else certificate.subject.rfc4514_string()[3:]


def meet(
    store: CertificateStore,
    name: bytes | None,
    *,
    version: int = SSL.TLS1_3_VERSION,
    ciphers: bytes | None = None,
    offered: tuple[bytes, ...] = (),
    reshape: Callable[[bytes], list[bytes]] | None = None,
) -> Met:
    """
    Have a client shake hands with a store's contexts.

    Args:
        store: as the port has it.
        name: to ask for; None asks for none.
        version: the highest that the client speaks.
        ciphers: what it offers in TLS 1.2 and below.
        offered: protocols (ALPN).
        reshape: what becomes of its hello on the way.
    """
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(version)
    if ciphers is not None:
        context.set_cipher_list(ciphers)
    client = SSL.Connection(context, None)
    client.set_connect_state()
    if name is not None:
        client.set_tlsext_host_name(name)
    if offered:
        client.set_alpn_protos(list(offered))
    server = SSL.Connection(store.base(), None)
    store.begin(server)
    server.set_accept_state()
    hello = True
    for _ in range(12):
        for us, them in ((client, server), (server, client)):
            try:
                us.do_handshake()
            except SSL.WantReadError:
                pass
            except (SSL.Error, NoCommonProtocol) as error:
                return Met(client, server, error)
            octets = _waiting(us)
            pieces = reshape(octets) if reshape and hello else [octets]
            hello = False
            for piece in pieces[:-1]:
                # What is here so far is looked at, as it is by a port.
                them.bio_write(piece)
                try:
                    them.do_handshake()
                except SSL.WantReadError:
                    pass
                except (SSL.Error, NoCommonProtocol) as error:
                    return Met(client, server, error)
            if pieces[-1]:
                them.bio_write(pieces[-1])
    return Met(client, server, None)


def _waiting(end: SSL.Connection) -> bytes:
    """Return what one end wants to send."""
    try:
        return end.bio_read(1_000_000)
    except SSL.WantReadError:
        return b""
