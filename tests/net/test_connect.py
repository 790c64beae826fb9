"""TLS towards upstreams leaves nothing behind when a connection has ended."""

from __future__ import annotations

import contextlib
import gc
import weakref
from typing import Any

import attrs
from OpenSSL import SSL
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from pomeriumd.http.limits import Limits
from pomeriumd.net.connect import TLSEndpoint, TLSTransport
from pomeriumd.net.contexts import CertificateStore, client_options
from pomeriumd.net.deadlines import Deadlines
from pomeriumd.net.peer import TLSPolicy
from pomeriumd.net.upstream import UpstreamConnection
from tests.support.certificates import NOW, authority, leaf


@implementer(IStreamClientEndpoint)
@attrs.define(eq=False)
class Wired:
    """An endpoint whose connection ends in this test."""

    made: list[Any] = attrs.Factory(list)

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        """Connect at once."""
        protocol: Any = factory.buildProtocol(None)  # type: ignore[arg-type]
        transport: Any = StringTransport()
        protocol.makeConnection(transport)
        self.made.append(protocol)
        return succeed(protocol)


class CircleTests(SynchronousTestCase):
    """Each way in which a connection may end."""

    def connect(
        self, shown: str = "up.example.test"
    ) -> tuple[UpstreamConnection, Any, SSL.Connection]:
        """Return a connection, its TLS transport, and the other side, which shows this name."""
        clock = Clock()
        options = client_options(
            server_name="up.example.test", place="policy[0]", custom_ca=authority().pem
        )
        wired = Wired()
        policy = TLSPolicy(server_name="up.example.test")
        factory = Factory.forProtocol(
            lambda: UpstreamConnection(Limits(), Deadlines(clock), policy)
        )
        connection = self.successResultOf(TLSEndpoint(wired, options, clock).connect(factory))
        (tls,) = wired.made
        store = CertificateStore.of([leaf(shown).pair()], NOW)
        server = SSL.Connection(store.base(), None)
        store.begin(server)
        server.set_accept_state()
        self.pump(tls, server)
        return connection, tls, server

    def pump(self, tls: Any, server: SSL.Connection) -> None:
        """Carry what each side says to the other, until both are silent."""
        for _ in range(6):
            said = tls.transport.value()
            tls.transport.clear()
            if said:
                server.bio_write(said)
            with contextlib.suppress(SSL.Error):
                server.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                tls.dataReceived(server.bio_read(65_536))

    def test_nothing_waits_for_the_collector(self) -> None:
        """Cut without a goodbye, with one, broken or closed by us: all of it is freed at once."""

        def garbage(tls: Any, _: SSL.Connection) -> None:
            tls.dataReceived(b"\x17\x03\x03\x00\x10" + bytes(16))
            tls.connectionLost(Failure(ConnectionLost()))

        def goodbye(tls: Any, server: SSL.Connection) -> None:
            server.shutdown()
            self.pump(tls, server)
            tls.connectionLost(Failure(ConnectionDone()))

        ends: dict[str, Any] = {
            "cut": lambda tls, _: tls.connectionLost(Failure(ConnectionLost())),
            "garbage": garbage,
            "goodbye": goodbye,
        }
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        for name, end in ends.items():
            connection, tls, server = self.connect()
            self.assertIsInstance(tls, TLSTransport)
            gone = [weakref.ref(each) for each in (connection, tls)]
            end(tls, server)
            del connection, tls, server
            self.assertEqual([ref() for ref in gone], [None, None], name)

    def test_neither_does_one_that_is_not_believed(self) -> None:
        """A handshake that fails leaves nothing behind."""
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        connection, tls, server = self.connect("other.example.test")
        self.assertTrue(tls.transport.disconnecting)
        tls.connectionLost(Failure(ConnectionDone()))
        gone = [weakref.ref(each) for each in (connection, tls)]
        del connection, tls, server
        self.assertEqual([ref() for ref in gone], [None, None])
