"""Promises of staples in the handshake: the answer of the certificate shown, while it holds."""

from __future__ import annotations

import contextlib

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.net.contexts import CertificateStore, Terms
from pomeriumd.net.staples import Shown, Staples, named
from tests.support.certificates import NOW, Issued, authority, issue, leaf
from tests.support.stapled import Says, stapled

VERSIONS = (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION)


def met(store: CertificateStore, name: bytes, client: SSL.Connection) -> SSL.Connection:
    """Have a client shake hands with a store, and give it back with all that it was sent."""
    client.set_tlsext_host_name(name)
    client.set_connect_state()
    server = SSL.Connection(store.base(), None)
    store.begin(server)
    server.set_accept_state()
    for _ in range(6):
        for one, other in ((client, server), (server, client)):
            with contextlib.suppress(SSL.WantReadError):
                one.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                other.bio_write(one.bio_read(65_536))
    # Tickets of TLS 1.3 come with what is read after the handshake.
    with contextlib.suppress(SSL.WantReadError):
        client.recv(1)
    return client


def only(version: int) -> SSL.Context:
    """Return a client's context for one version."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    return context


class StapleTests(SynchronousTestCase):
    """Clients that ask are shown the answer for the certificate that they are shown."""

    def setUp(self) -> None:
        """Have two hosts with answers, and one whose certificate names no responder."""
        self.now = NOW
        self.staples = Staples(lambda: self.now)
        self.first, self.second = stapled("a.test"), stapled("b.test")
        self.answers = [Says().answer(one.certificate, NOW) for one in (self.first, self.second)]
        for one, der in zip((self.first, self.second), self.answers, strict=True):
            self.put(one, der)
        pairs = [
            one.pair(f"certificates[{number}]", authority())
            for number, one in enumerate([self.first, self.second, leaf("plain.test")])
        ]
        self.store = CertificateStore.of(pairs, NOW, Terms(staples=self.staples))

    def put(self, one: Issued, der: bytes) -> None:
        """Have an answer for a certificate."""
        self.staples.kept[named(one.certificate)] = Shown(der, NOW + 60)

    def shown(self, name: bytes, version: int = SSL.TLS1_3_VERSION) -> bytes:
        """Return what a client that asks is shown."""
        found: list[bytes] = []

        def told(_: SSL.Connection, der: bytes, __: object) -> bool:
            found.append(der)
            return True

        context = only(version)
        context.set_ocsp_client_callback(told)
        client = SSL.Connection(context, None)
        client.request_ocsp()
        met(self.store, name, client)
        return found[0]

    def test_each_host_shows_its_own(self) -> None:
        """The certificate that is chosen by name brings its answer along, in both versions."""
        for version in VERSIONS:
            self.assertEqual(self.shown(b"a.test", version), self.answers[0])
            self.assertEqual(self.shown(b"b.test", version), self.answers[1])

    def test_what_names_no_responder_shows_nothing(self) -> None:
        """It does not show that of the context which the handshake began with."""
        for version in VERSIONS:
            self.assertEqual(self.shown(b"plain.test", version), b"")

    def test_one_that_is_over_is_not_shown(self) -> None:
        """In its last second it is shown, and then no more."""
        self.now = NOW + 59
        self.assertEqual(self.shown(b"a.test"), self.answers[0])
        self.now = NOW + 60
        self.assertEqual(self.shown(b"a.test"), b"")

    def test_a_new_one_is_shown_by_the_contexts_there_are(self) -> None:
        """Nothing is built anew for it."""
        newer = Says(age=0.0).answer(self.first.certificate, NOW)
        self.put(self.first, newer)
        self.assertEqual(self.shown(b"a.test"), newer)

    def test_one_that_is_gone_is_not_shown(self) -> None:
        """A revoked certificate shows no good answer from before."""
        self.staples.kept.clear()
        self.assertEqual(self.shown(b"a.test"), b"")

    def test_two_certificates_of_one_name_are_told_apart(self) -> None:
        """The answer goes with the certificate, and not with the host."""
        self.assertNotEqual(named(stapled("a.test").certificate), named(self.first.certificate))

    def test_hosts_of_a_time_of_trial_are_known(self) -> None:
        """The store says which hosts show a certificate that browsers warn of."""
        pairs = [leaf("good.test").pair(), issue("*.self.test").pair("certificates[1]")]
        store = CertificateStore.of(pairs, NOW)
        self.assertTrue(store.any_provisional)
        self.assertEqual(
            [store.provisional(name) for name in (b"good.test", b"x.self.test", b"other.test")],
            [False, True, False],
        )
        self.assertFalse(self.store.any_provisional)
