"""Each way in which a handshake with an upstream fails, in memory, with OpenSSL at both ends."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import attrs
from cryptography.x509.oid import ExtendedKeyUsageOID
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

from pomeriumd.crypto.tls_faults import Fault
from pomeriumd.errors import PomeriumError, UpstreamError
from pomeriumd.http.events import Field, Response
from pomeriumd.http.fields import field_lines
from pomeriumd.http.limits import Limits
from pomeriumd.net.connect import TLSEndpoint
from pomeriumd.net.deadlines import Deadlines
from pomeriumd.net.peer import TLSPolicy
from pomeriumd.net.upstream import UpstreamConnection
from pomeriumd.net.verify import client_options
from tests.support.certificates import BEGIN, END, Issued, authority, days, issue, leaf

NAME = "up.example.test"
GOOD = TLSPolicy(server_name=NAME, custom_ca=authority().pem)
ALPN = [b"http/1.1"]


@implementer(IStreamClientEndpoint)
@attrs.define(eq=False)
class Wired:
    """An endpoint whose connection ends in this test."""

    made: Any = None
    transport: Any = attrs.Factory(StringTransport)

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        """Connect at once."""
        self.made = factory.buildProtocol(None)  # type: ignore[arg-type]
        self.made.makeConnection(self.transport)
        return succeed(self.made)


@attrs.define(eq=False)
class Lost:
    """An ``Asker`` that keeps how it was lost."""

    errors: list[PomeriumError] = attrs.Factory(list)

    def responded(self, response: Response) -> None:
        """Nothing is answered here."""

    def answer_data(self, octets: bytes) -> None:
        """As above."""

    def answer_end(self, trailers: tuple[Field, ...]) -> None:
        """As above."""

    def answer_lost(self, error: PomeriumError) -> None:
        """Keep it."""
        self.errors.append(error)

    def answer_flush(self) -> None:
        """Nothing is written from here."""

    def upstream_full(self) -> None:
        """As above."""

    def upstream_drained(self) -> None:
        """As above."""


def serving(*chain: Issued, asks: bool = False, believes: bool = True) -> SSL.Context:
    """Return an upstream's context that shows a chain, and may want to see one."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate(chain[0].certificate)
    context.use_privatekey(chain[0].key)
    for link in chain[1:]:
        context.add_extra_chain_cert(link.certificate)
    if asks:
        wants = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT
        context.set_verify(wants, lambda *_: believes)
        context.add_client_ca(authority().certificate)
    return context


def links(count: int) -> Sequence[Issued]:
    """Return a certificate and so many authorities between it and the root."""
    chain = [authority()]
    for number in range(count):
        chain.append(issue(by=chain[-1], authority=True, title=f"link {number}"))
    return (issue(NAME, by=chain[-1]), *reversed(chain[1:]))


class HandshakeTests(SynchronousTestCase):
    """One request, sent into each kind of handshake."""

    def sent(self, tls: TLSPolicy) -> tuple[Wired, Lost]:
        """Send a request, whose handshake has begun; return the wire, and who asked."""
        clock, wired, asker = Clock(), Wired(), Lost()
        options = client_options(
            server_name=tls.server_name,
            custom_ca=tls.custom_ca,
            client_cert=tls.client_cert,
            client_key=tls.client_key,
            place="policy[0]",
        )
        deadlines = Deadlines(clock)
        factory = Factory.forProtocol(lambda: UpstreamConnection(Limits(), deadlines, tls))
        connection = self.successResultOf(TLSEndpoint(wired, options, clock).connect(factory))
        connection.start(asker, b"GET", b"/", field_lines([(b"host", b"up")]), 0, None)
        connection.expect(30, 300)
        connection.finish()
        return wired, asker

    def word(self, tls: TLSPolicy, context: SSL.Context) -> str:
        """Return the word of what comes of it; empty if the handshake was good."""
        wired, asker = self.sent(tls)
        there = SSL.Connection(context, None)
        there.set_accept_state()
        for _ in range(6):
            said = wired.transport.value()
            wired.transport.clear()
            if said:
                there.bio_write(said)
            with contextlib.suppress(SSL.Error):
                there.do_handshake()
            with contextlib.suppress(SSL.Error):
                wired.made.dataReceived(there.bio_read(65_536))
        return self.ended(wired, asker, ConnectionDone())

    def ended(self, wired: Wired, asker: Lost, reason: Exception) -> str:
        """Have the connection end; return the word."""
        wired.made.connectionLost(Failure(reason))
        (error,) = asker.errors
        assert isinstance(error, UpstreamError)
        return error.tls

    def test_certificates(self) -> None:
        """Each thing that is wrong with one has its own word; what is right has none."""
        ca, us = authority(), [ExtendedKeyUsageOID.CLIENT_AUTH]
        middle = issue(by=ca, authority=True, title="middle")
        short = issue(by=ca, authority=True, title="short", path_length=0)
        longer = issue(by=short, authority=True, title="longer")
        no_authority = issue(by=ca, title="nobody")
        for chain, fault in [
            ([leaf(NAME)], None),
            ([issue(NAME, by=middle), middle], None),
            ([leaf("*.example.test")], None),
            (links(9), None),
            ([issue(NAME, by=middle)], Fault.UNTRUSTED),
            ([issue(NAME, by=issue(authority=True, title="foreign"))], Fault.UNTRUSTED),
            ([issue(NAME)], Fault.SELF_SIGNED),
            ([issue(NAME, by=ca, end=BEGIN + days(1))], Fault.EXPIRED),
            ([issue(NAME, by=ca, begin=END - days(1))], Fault.NOT_YET),
            ([leaf("other.example.test")], Fault.WRONG_NAME),
            ([leaf("127.0.0.1")], Fault.WRONG_NAME),
            ([issue(by=ca, title=NAME)], Fault.NO_NAME),
            (links(10), Fault.TOO_DEEP),
            ([issue(NAME, by=longer), longer, short], Fault.TOO_DEEP),
            ([issue(NAME, by=ca, uses=us)], Fault.PURPOSE),
            ([issue(NAME, by=no_authority), no_authority], Fault.INVALID),
        ]:
            word = "" if fault is None else fault.value
            self.assertEqual(self.word(GOOD, serving(*chain)), word, chain[0])

    def test_what_we_show(self) -> None:
        """Wanted and not shown, and shown and not believed, in TLS 1.2 and 1.3."""
        us = issue("us", by=authority())
        shows = attrs.evolve(GOOD, client_cert=us.pem, client_key=us.key_pem)
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            for tls, believes, fault in (
                (GOOD, True, Fault.OURS_WANTED),
                (shows, False, Fault.OURS_REFUSED),
                (shows, True, None),
            ):
                context = serving(leaf(NAME), asks=True, believes=believes)
                context.set_max_proto_version(version)
                word = "" if fault is None else fault.value
                self.assertEqual(self.word(tls, context), word, version)

    def test_nothing_in_common(self) -> None:
        """Old versions, other ciphers, and another protocol inside."""
        old = serving(leaf(NAME))
        old.set_max_proto_version(SSL.TLS1_1_VERSION)
        old.set_cipher_list(b"ALL:@SECLEVEL=0")
        few = serving(leaf(NAME))
        few.set_max_proto_version(SSL.TLS1_2_VERSION)
        few.set_cipher_list(b"AES128-SHA")
        self.assertEqual(self.word(GOOD, old), Fault.VERSION.value)
        self.assertEqual(self.word(GOOD, few), Fault.CIPHERS.value)

    def test_no_tls_at_all(self) -> None:
        """Whatever else answers: a web server, a shell, mail, zeros, or a goodbye."""
        for octets in (
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.2p1\r\n",
            b"220 mail.example.test ESMTP\r\n",
            bytes(64),
        ):
            wired, asker = self.sent(GOOD)
            wired.made.dataReceived(octets)
            self.assertEqual(self.ended(wired, asker, ConnectionDone()), Fault.NOT_TLS.value)
        for reason in (ConnectionDone(), ConnectionLost()):
            wired, asker = self.sent(GOOD)
            self.assertEqual(self.ended(wired, asker, reason), Fault.CLOSED.value)
