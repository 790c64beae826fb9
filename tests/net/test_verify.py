"""Promises of the connections to upstreams: who is believed, and what is shown to them."""

from __future__ import annotations

import contextlib
import weakref
from typing import Any

from OpenSSL import SSL
from OpenSSL._util import lib
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface.verify import verifyObject

from pomeriumd.crypto.tls_faults import CertificateRefused
from pomeriumd.errors import SettingsError
from pomeriumd.net.verify import HTTPSPolicy, Unverified, Verified, client_options
from tests.support.certificates import BEGIN, Issued, authority, days, issue, leaf
from tests.support.sockets import OneProtocol, Told


def serving(server: Issued) -> SSL.Context:
    """Return a context of an upstream."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate(server.certificate)
    context.use_privatekey(server.key)
    context.set_alpn_select_callback(lambda _, offered: offered[0])
    return context


def agreed(there: SSL.Connection) -> bytes:
    """Return the protocol that both chose, empty if the handshake did not get there."""
    try:
        there.recv(1)
    except SSL.WantReadError:
        return there.get_alpn_proto_negotiated()
    except SSL.Error:
        return b""
    return b"data"


class UpstreamTests(SynchronousTestCase):
    """What an upstream's certificate has to be, in the client's own words."""

    def meet(
        self, creator: IOpenSSLClientConnectionCreator, context: SSL.Context
    ) -> tuple[Told, SSL.Connection]:
        """Return our protocol and the other side's connection after their handshake."""
        ours = Told()
        factory = TLSMemoryBIOFactory(
            creator, isClient=True, wrappedFactory=OneProtocol(ours), clock=Clock()
        )
        self.outer = outer = factory.buildProtocol(None)
        self.wire = wire = StringTransport()
        self.refusals: list[str] = []
        # It holds what other tests want to see go.
        self.addCleanup(self.__dict__.pop, "outer", None)
        there = SSL.Connection(context, None)
        there.set_accept_state()
        outer.makeConnection(wire)
        for _ in range(6):
            there.bio_write(wire.value())
            wire.clear()
            try:
                there.do_handshake()
            except SSL.WantReadError:
                pass
            except SSL.Error as error:
                self.refusals.append(str(error))
            with contextlib.suppress(SSL.WantReadError):
                outer.dataReceived(there.bio_read(65536))
            if not wire.value():
                break
        if wire.disconnected or wire.disconnecting:
            outer.connectionLost(Failure(ConnectionLost()))
        return ours, there

    def test_the_name_must_fit(self) -> None:
        """The right name of a trusted authority is taken; wrong names and strangers are not."""
        ca = authority().pem
        for server_name, server, good in [
            ("up.test", leaf("up.test"), True),
            ("b\u00fccher.test", leaf("xn--bcher-kva.test"), True),
            ("any.up.test", leaf("*.up.test"), True),
            ("up.test", leaf("other.test"), False),
            ("a.any.up.test", leaf("*.up.test"), False),
            ("up.test", issue("up.test"), False),
            ("up.test", issue("up.test", by=issue(authority=True)), False),
            ("up.test", issue("up.test", by=authority(), end=BEGIN + days(1)), False),
            ("up.test", issue(by=authority(), title="up.test"), False),
            ("127.0.0.1", leaf("127.0.0.1"), True),
            ("127.0.0.1", leaf("127.0.0.2"), False),
            ("::1", leaf("::1"), True),
            ("::1", leaf("::2"), False),
        ]:
            creator = client_options(server_name=server_name, custom_ca=ca, place="policy[0]")
            verifyObject(IOpenSSLClientConnectionCreator, creator)
            self.assertIsInstance(creator, Verified)
            ours, there = self.meet(creator, serving(server))
            self.assertEqual(ours.lost == [], good, (server_name, server))
            self.assertEqual(agreed(there) == b"http/1.1", good)
            name = None if server_name[0] in ":1" else server_name.encode("idna")
            self.assertEqual(there.get_servername(), name)

    def test_the_system_is_trusted_without_a_ca(self) -> None:
        """Without tls_custom_ca the tests' authority is a stranger."""
        creator = client_options(server_name="up.test", place="policy[0]")
        ours, _ = self.meet(creator, serving(leaf("up.test")))
        self.assertEqual(ours.lost, [CertificateRefused])

    def test_the_authorities_are_read_once(self) -> None:
        """
        Peers that are alike but for the name share one context; others share the authorities.

        It goes with the last of them. The private attribute of pyOpenSSL is pinned by this.
        """
        # An authority of this test: others hold contexts that trust theirs.
        ca, us = issue(authority=True).pem, leaf("us.test")
        one, two = (
            client_options(server_name=name, custom_ca=ca, place="p")
            for name in ("a.test", "b.test")
        )
        other = client_options(
            server_name="a.test",
            custom_ca=ca,
            client_cert=us.pem,
            client_key=us.key_pem,
            place="p",
        )
        assert isinstance(one, Verified)
        assert isinstance(two, Verified)
        assert isinstance(other, Verified)
        self.assertIs(one._options, two._options)
        stores = {
            lib.SSL_CTX_get_cert_store(it._options.getContext()._context) for it in (one, other)
        }
        self.assertEqual(len(stores), 1)
        gone = weakref.ref(one._options)
        del one
        self.assertIsNotNone(gone())
        del two
        self.assertIsNone(gone())

    def test_an_authority_below_the_root_will_do(self) -> None:
        """What tls_custom_ca names is trusted: an intermediate one, or the server's own."""
        middle = issue(by=authority(), authority=True, title="middle")
        below = issue("up.test", by=middle)
        for ca, good in ((middle, True), (below, True), (leaf("up.test"), False)):
            creator = client_options(server_name="up.test", custom_ca=ca.pem, place="policy[0]")
            ours, _ = self.meet(creator, serving(below))
            self.assertEqual(ours.lost == [], good)

    def test_an_alert_goes_out(self) -> None:
        """The other side is told that it is not believed: the alert comes before our goodbye."""
        for server, alert in ((issue("up.test"), "unknown ca"), (leaf("other.test"), "alert")):
            creator = client_options(
                server_name="up.test", custom_ca=authority().pem, place="policy[0]"
            )
            self.meet(creator, serving(server))
            self.assertIn(alert, self.refusals[-1])

    def test_nobody_renegotiates(self) -> None:
        """An upstream that asks for a new handshake in TLS 1.2 gets none."""
        creator = client_options(
            server_name="up.test", custom_ca=authority().pem, place="policy[0]"
        )
        context = serving(leaf("up.test"))
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        _, there = self.meet(creator, context)
        there.renegotiate()
        there.do_handshake()  # which writes the question
        self.outer.dataReceived(there.bio_read(65536))
        there.bio_write(self.wire.value())
        with self.assertRaises(SSL.Error) as caught:
            there.recv(1)
        self.assertIn("no renegotiation", str(caught.exception))

    def test_skip_verify_believes_all(self) -> None:
        """tls_skip_verify takes any certificate, and still asks by name."""
        creator = client_options(server_name="up.test", skip_verify=True, place="policy[3]")
        verifyObject(IOpenSSLClientConnectionCreator, creator)
        self.assertIsInstance(creator, Unverified)
        ours, there = self.meet(creator, serving(issue("stranger.test")))
        self.assertEqual((ours.lost, there.get_servername()), ([], b"up.test"))
        self.assertEqual(agreed(there), b"http/1.1")
        by_address = client_options(server_name="127.0.0.1", skip_verify=True, place="p")
        ours, there = self.meet(by_address, serving(issue("stranger.test")))
        self.assertEqual((ours.lost, there.get_servername()), ([], None))

    def test_what_we_show(self) -> None:
        """tls_client_cert is shown with its chain when the upstream asks."""
        middle = issue(by=authority(), authority=True, title="middle")
        own = issue("us.test", by=middle, title="us")
        for skip_verify in (False, True):
            creator = client_options(
                server_name="up.test",
                custom_ca=authority().pem,
                client_cert=own.pem + middle.pem,
                client_key=own.key_pem,
                skip_verify=skip_verify,
                place="policy[0]",
            )
            context = serving(leaf("up.test"))
            context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
            ours, there = self.meet(creator, context)
            self.assertEqual(ours.lost, [])
            chain = there.get_peer_cert_chain(as_cryptography=True)
            certificate = there.get_peer_certificate(as_cryptography=True)
            self.assertEqual(certificate, own.certificate)
            self.assertIn(middle.certificate, chain or [])

    def test_what_cannot_be_used(self) -> None:
        """Each fault is a problem of the route, under the key that it stands in."""
        us, other = leaf("us.test"), leaf("other.test")
        faults: list[tuple[dict[str, Any], str]] = [
            ({"custom_ca": b"x"}, "tls_custom_ca: the certificate cannot be read, want PEM"),
            ({"client_cert": us.pem}, "tls_client_key: missing, the other one is there"),
            ({"client_key": us.key_pem}, "tls_client_cert: missing, the other one is there"),
            (
                {"client_cert": us.pem, "client_key": other.key_pem},
                "tls_client_cert: the key does not belong to the certificate of us.test",
            ),
        ]
        for more, text in faults:
            for skip_verify in (False, True):
                if skip_verify and "custom_ca" in more:
                    continue
                with self.assertRaises(SettingsError) as caught:
                    client_options(
                        server_name="up.test",
                        place="policy[7]",
                        skip_verify=skip_verify,
                        **more,
                    )
                self.assertEqual(
                    str(caught.exception), f"1 problem in the settings:\n  policy[7].{text}"
                )


class PolicyTests(SynchronousTestCase):
    """Twisted's Agent asks for each host; what it gets checks that host's name."""

    def test_each_host_its_own(self) -> None:
        """A host is verified under its name, and what was made for it is used again."""
        policy = HTTPSPolicy(authority().pem)
        verifyObject(IPolicyForHTTPS, policy)
        one = policy.creatorForNetloc(b"id.test", 443)
        self.assertIsInstance(one, Verified)
        self.assertEqual(getattr(one, "server_name", ""), "id.test")
        self.assertIs(policy.creatorForNetloc(b"id.test", 8443), one)
        self.assertIsNot(policy.creatorForNetloc(b"other.test", 443), one)

    def test_what_is_kept_is_bounded(self) -> None:
        """However many hosts are asked for, few are kept."""
        policy = HTTPSPolicy(authority().pem)
        for number in range(200):
            policy.creatorForNetloc(b"h%d.test" % number, 443)
        self.assertLessEqual(len(policy._made), 64)
