"""Promises of the certificates: which one answers, and what is refused before it serves."""

from __future__ import annotations

import contextlib
import gc
import weakref
from typing import Any

import attrs
from cryptography.hazmat.primitives.asymmetric import dsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from OpenSSL._util import lib
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.errors import SettingsError
from pomeriumd.net import contexts
from pomeriumd.net.contexts import CertificateStore, NoCommonProtocol
from pomeriumd.net.terms import Terms, server_context
from pomeriumd.pieces import finish
from pomeriumd.settings.chain import examined
from pomeriumd.settings.values import CertificatePair, Secret
from tests.support.certificates import BEGIN, END, NOW, authority, issue, leaf


def met(
    store: CertificateStore,
    name: bytes | None = None,
    *,
    version: int = SSL.TLS1_3_VERSION,
    ciphers: bytes | None = None,
    offered: list[bytes] | None = None,
    before: SSL.Connection | None = None,
) -> tuple[SSL.Connection, SSL.Connection]:
    """Return client and server after their handshake in memory."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD) if before is None else before.get_context()
    if before is None:
        context.set_max_proto_version(version)
    if ciphers is not None:
        context.set_cipher_list(ciphers)
    client = SSL.Connection(context, None)
    client.set_connect_state()
    if name is not None:
        client.set_tlsext_host_name(name)
    if offered:
        client.set_alpn_protos(offered)
    session = None if before is None else before.get_session()
    if session is not None:
        client.set_session(session)
    server = SSL.Connection(store.base(), None)
    store.begin(server)
    server.set_accept_state()
    shake(client, server)
    return client, server


def shake(client: SSL.Connection, server: SSL.Connection) -> None:
    """Carry bytes both ways until both are content."""
    waiting = {client, server}
    for _ in range(10):
        for one, other in ((client, server), (server, client)):
            try:
                one.do_handshake()
                waiting.discard(one)
            except SSL.WantReadError:
                pass
            with contextlib.suppress(SSL.WantReadError):
                other.bio_write(one.bio_read(65536))
        if not waiting:
            return
    raise AssertionError("no end to the handshake")


def resumed(first: CertificateStore, second: CertificateStore, version: int) -> bool:
    """Tell whether a session of the first store goes on at the second."""
    client, server = met(first, b"a.test", version=version)
    # In TLS 1.3 the ticket comes behind the handshake.
    server.send(b"x")
    client.bio_write(server.bio_read(65536))
    client.recv(1)
    again, _ = met(second, b"a.test", before=client)
    return bool(lib.SSL_session_reused(again._ssl))


def shown(client: SSL.Connection) -> str:
    """Return the common name of what the server showed."""
    certificate = client.get_peer_certificate(as_cryptography=True)
    assert certificate is not None
    return str(certificate.subject.rfc4514_string())


class ChoiceTests(SynchronousTestCase):
    """The name in the client's hello decides; nothing else does."""

    def setUp(self) -> None:
        """Make a store of four."""
        self.issued = [
            leaf("first.test"),
            leaf("App.Example.test", "other.test"),
            leaf("*.example.test"),
            leaf("other.test", "*.first.test"),
        ]
        self.store = CertificateStore.of([one.pair() for one in self.issued], NOW)

    def test_each_name_has_its_certificate(self) -> None:
        """Exact before wildcard, a wildcard for one label only, else the first."""
        for name, title in [
            (b"first.test", "first.test"),
            (b"app.example.test", "App.Example.test"),
            (b"APP.example.TEST", "App.Example.test"),
            (b"app.example.test.", "App.Example.test"),
            (b"any.example.test", "*.example.test"),
            (b"ANY.Example.Test", "*.example.test"),
            (b"a.b.example.test", "first.test"),
            (b"example.test", "first.test"),
            (b".example.test", "first.test"),
            (b"xexample.test", "first.test"),
            (b"other.test", "App.Example.test"),
            (b"x.first.test", "other.test"),
            (b"*.example.test", "*.example.test"),
            (b"unknown.test", "first.test"),
            (b"\xff\xfe", "first.test"),
            (b".", "first.test"),
            (None, "first.test"),
        ]:
            for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
                client, server = met(self.store, name, version=version)
                self.assertEqual(shown(client), f"CN={title}", name)
                self.assertEqual(server.get_servername(), name)

    def test_names(self) -> None:
        """All names are known, in lower case, wildcards as such."""
        self.assertEqual(
            self.store.names,
            {
                b"first.test",
                b"app.example.test",
                b"other.test",
                b"*.example.test",
                b"*.first.test",
            },
        )

    def test_the_order_of_names_does_not_matter(self) -> None:
        """Each name is given to the first pair that bears it, however often it is asked."""
        other = CertificateStore.of([one.pair() for one in self.issued], NOW)
        for store in (self.store, other, self.store):
            self.assertEqual(shown(met(store, b"other.test")[0]), "CN=App.Example.test")

    @given(st.binary(max_size=255))
    def test_any_name_is_answered(self, name: bytes) -> None:
        """No bytes of a client make the choice fail."""
        store = STORE
        self.assertIn(store.choose(name), tuple(store))
        if b"." not in name:
            self.assertIs(store.choose(name), store.choose(None))

    def test_a_certificate_without_names_is_the_first_only(self) -> None:
        """A common name is no name; such a certificate still answers when it is first."""
        store = CertificateStore.of([issue(title="old.test").pair(), leaf("b.test").pair()], NOW)
        self.assertEqual(store.names, {b"b.test"})
        self.assertEqual(shown(met(store, b"old.test")[0]), "CN=old.test")

    def test_the_chain_is_sent(self) -> None:
        """What leads to the root goes along."""
        middle = issue(by=authority(), authority=True, title="middle")
        end = issue("deep.test", by=middle, title="deep.test")
        store = CertificateStore.of([end.pair("c", middle)], NOW)
        client, _ = met(store, b"deep.test")
        chain = client.get_peer_cert_chain(as_cryptography=True)
        assert chain is not None
        self.assertEqual(chain, [end.certificate, middle.certificate])


STORE = CertificateStore.of([leaf("first.test").pair(), leaf("*.example.test").pair()], NOW)


class TermsTests(SynchronousTestCase):
    """On which terms we speak TLS."""

    def test_ciphers(self) -> None:
        """TLS 1.2 takes ECDHE with AEAD, and refuses everything else."""
        for name in (
            b"ECDHE-ECDSA-AES128-GCM-SHA256",
            b"ECDHE-ECDSA-AES256-GCM-SHA384",
            b"ECDHE-ECDSA-CHACHA20-POLY1305",
        ):
            client, _ = met(STORE, version=SSL.TLS1_2_VERSION, ciphers=name)
            self.assertEqual(client.get_cipher_name(), name.decode())
        for name in (b"ECDHE-ECDSA-AES128-SHA", b"ECDHE-ECDSA-AES256-SHA384"):
            with self.assertRaises(SSL.Error):
                met(STORE, version=SSL.TLS1_2_VERSION, ciphers=name)

    def test_versions(self) -> None:
        """TLS 1.2 and 1.3 are spoken, the best that the client can; no older one."""
        for version, name in [(SSL.TLS1_2_VERSION, "TLSv1.2"), (SSL.TLS1_3_VERSION, "TLSv1.3")]:
            self.assertEqual(met(STORE, version=version)[0].get_protocol_version_name(), name)

    def test_forward_secrecy_group(self) -> None:
        """A modern client gets a group that outlives quantum computers, or X25519."""
        group = met(STORE)[0].get_group_name()
        self.assertIn(group, ("X25519MLKEM768", "x25519"))

    def test_an_old_client_is_met_where_it_is(self) -> None:
        """A client that offers HTTP/1.0 alone is spoken to, since the parser takes it."""
        client, _ = met(CertificateStore.of([leaf("a.test").pair()], NOW), offered=[b"http/1.0"])
        self.assertEqual(client.get_alpn_proto_negotiated(), b"http/1.0")

    def test_alpn(self) -> None:
        """Our preference decides; no offer is no protocol; none in common is refused."""
        both = CertificateStore.of([leaf("a.test").pair()], NOW, protocols=(b"h2", b"http/1.1"))
        for store, offered, wanted in [
            (STORE, [b"h2", b"http/1.1"], b"http/1.1"),
            (STORE, [b"http/1.1"], b"http/1.1"),
            (STORE, None, b""),
            (both, [b"http/1.1", b"h2"], b"h2"),
            (both, [b"http/1.1"], b"http/1.1"),
        ]:
            for name in (None, b"x.example.test"):
                client, server = met(store, name, offered=offered)
                self.assertEqual(client.get_alpn_proto_negotiated(), wanted)
                self.assertEqual(server.get_alpn_proto_negotiated(), wanted)
        for name in (None, b"x.example.test"):
            with self.assertRaises(NoCommonProtocol):
                met(STORE, name, offered=[b"h2", b"acme-tls/1"])

    def test_resumption(self) -> None:
        """A TLS 1.2 session resumes within the store, at any of its names."""
        client, _ = met(STORE, b"first.test", version=SSL.TLS1_2_VERSION)
        for name in (b"first.test", b"x.example.test"):
            again, _ = met(STORE, name, before=client)
            self.assertEqual(again.master_key(), client.master_key())

    def test_no_resumption(self) -> None:
        """Terms that forbid it give no session that resumes, in either version."""
        never = finish(
            CertificateStore.building([leaf("a.test").pair()], NOW, Terms(resumes=False))
        )
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            for store, wanted in ((never, False), (STORE, True)):
                self.assertEqual(resumed(store, store, version), wanted, version)

    def test_partial_writes_may_move(self) -> None:
        """The modes that writing on the socket relies on are on, set by pyOpenSSL."""
        wanted = 0x1 | 0x2  # SSL_MODE_ENABLE_PARTIAL_WRITE, ..._ACCEPT_MOVING_WRITE_BUFFER
        fresh = CertificateStore.of([leaf("a.test").pair()], NOW)
        self.assertEqual(fresh.base().set_mode(0) & wanted, wanted)


class GenerationsTests(SynchronousTestCase):
    """What has not changed lives on in the next store, and so do tickets."""

    def next(
        self, before: CertificateStore, *pairs: CertificatePair, terms: Terms | None = None
    ) -> CertificateStore:
        """Return a store that comes after another one."""
        return finish(CertificateStore.building(pairs, NOW, terms or before.terms, before))

    def test_contexts_are_kept(self) -> None:
        """A pair that is still there keeps its context; another one at its place has its own."""
        one, two = leaf("a.test").pair("1"), leaf("b.test").pair("2")
        first = CertificateStore.of([one, two], NOW)
        contexts = [each.context() for each in first]
        second = self.next(first, leaf("c.test").pair("1"), two)
        self.assertIsNot(second.choose(None).context(), contexts[0])
        self.assertIs(second.choose(b"b.test").context(), contexts[1])
        self.assertEqual(shown(met(second, b"c.test")[0]), "CN=c.test")
        self.assertEqual(shown(met(first, b"a.test")[0]), "CN=a.test")

    def test_tickets_go_on(self) -> None:
        """Also when the very certificate was renewed; but not on other terms, nor for ever."""
        first = CertificateStore.of([leaf("a.test").pair()], NOW)
        second = self.next(first, issue("a.test").pair())
        other = self.next(first, leaf("a.test").pair(), terms=Terms(protocols=(b"http/1.1",)))
        tomorrow = NOW + contexts.TICKET_SECONDS
        late = finish(CertificateStore.building([leaf("a.test").pair()], tomorrow, before=second))
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            self.assertTrue(resumed(first, second, version))
            self.assertFalse(resumed(first, other, version))
            self.assertFalse(resumed(first, late, version))

    def test_made_when_it_is_asked_for(self) -> None:
        """Of many of a kind one is tried, and the others wait for their first client."""
        made: list[SSL.Context] = []

        def counted(*given: Any) -> SSL.Context:
            made.append(server_context(*given))
            return made[-1]

        self.patch(contexts, "server_context", counted)
        store = CertificateStore.of([leaf(f"n{number}.test").pair() for number in range(20)], NOW)
        self.assertEqual(len(made), 2)
        for _ in range(2):
            met(store, b"n7.test")
        self.assertEqual(len(made), 3)

    def test_the_base_shows_nothing(self) -> None:
        """A certificate that OpenSSL refuses after all ends its own handshakes, in the log."""
        store = CertificateStore.of([leaf("a.test").pair()], NOW)
        chosen = store.choose(None)
        broken = attrs.evolve(chosen.pair, key=Secret(leaf("b.test").key_pem))
        chosen.pair, chosen._context = broken, None
        with capturedLogs() as events, self.assertRaises(SSL.Error):
            met(store, b"a.test")
        self.assertEqual(
            {event["why"] for event in events},
            {"the key does not belong to the certificate of a.test"},
        )


NAMES = st.sampled_from(
    [f"{star}{host}" for host in ("a.test", "b.a.test", "test", "c") for star in ("", "*.", "x.")]
)


def naive(pairs: list[list[str]], asked: str) -> int:
    """Return which of them answers, in the manual's words: exact, then wildcard, then the first."""
    wild = "*." + asked.partition(".")[2]
    for wanted in (asked, wild):
        for number, names in enumerate(pairs):
            if wanted in names:
                return number
    return 0


class ModelTests(SynchronousTestCase):
    """choose() is what a naive search finds."""

    @given(st.lists(st.lists(NAMES, max_size=4), min_size=1, max_size=5), st.lists(NAMES))
    def test_choice(self, named: list[list[str]], asked: list[str]) -> None:
        """Whatever certificates there are, now and before, and whoever is asked for."""
        pairs = [made(number, tuple(names)) for number, names in enumerate(named)]
        former = finish(CertificateStore.building(pairs[::-1], NOW))
        for store in (
            finish(CertificateStore.building(pairs, NOW)),
            finish(CertificateStore.building(pairs, NOW, before=former)),
        ):
            for name in asked:
                wanted = pairs[naive(named, name)]
                self.assertEqual(store.choose(name.encode()).pair.place, wanted.place, name)
                self.assertIs(
                    store.choose(name.upper().encode() + b"."), store.choose(name.encode())
                )


def made(number: int, names: tuple[str, ...]) -> CertificatePair:
    """Return a pair that is said to have these names."""
    pair = KNOWN.pair(f"certificates[{number}]")
    facts = attrs.evolve(examined(pair.chain, pair.key.reveal())[1], names=names)
    return attrs.evolve(pair, facts=facts)


KNOWN = leaf("known.test")


class LifeTests(SynchronousTestCase):
    """A store goes with its generation."""

    def test_it_goes_without_the_collector(self) -> None:
        """Nothing that it made knows it, so it is freed with the last handshake by it."""
        gc.disable()
        self.addCleanup(gc.enable)
        store = CertificateStore.of([leaf("a.test").pair(), leaf("b.test").pair()], NOW)
        gone = weakref.ref(store)
        server = SSL.Connection(store.base(), None)
        store.begin(server)
        del store
        self.assertIsNotNone(gone())
        server.set_app_data(None)
        self.assertIsNone(gone())


class RefusalTests(SynchronousTestCase):
    """What could not serve is a problem with its place, all at once."""

    def problems(self, *pairs: CertificatePair, now: float = NOW) -> str:
        """Return the text that the operator reads."""
        with self.assertRaises(SettingsError) as caught:
            CertificateStore.of(pairs, now)
        return str(caught.exception)

    def test_none(self) -> None:
        """No certificate at all is a problem."""
        self.assertEqual(
            self.problems(),
            "1 problem in the settings:\n  certificates: missing, TLS needs one",
        )

    def test_all_at_once(self) -> None:
        """Each bad pair is told, with its place, in order."""
        good, other = leaf("good.test"), leaf("other.test")
        encrypted = good.key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")
        )
        kind = dsa.generate_private_key(2048).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )

        def pair(number: int, chain: bytes, key: bytes) -> CertificatePair:
            return CertificatePair(chain=chain, key=Secret(key), place=f"certificates[{number}]")

        self.assertEqual(
            self.problems(
                pair(0, b"", good.key_pem),
                pair(1, b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b""),
                pair(2, good.pem, b"secret"),
                pair(3, good.pem, encrypted),
                pair(4, good.pem, other.key_pem),
                pair(5, good.pem, good.key_pem),
                pair(6, good.pem, kind),
                pair(7, other.pem + good.pem, good.key_pem),
            ),
            "7 problems in the settings:\n"
            "  certificates[0]: the certificate cannot be read, want PEM\n"
            "  certificates[1]: the certificate cannot be read, want PEM\n"
            "  certificates[2]: the key cannot be read, want PEM\n"
            "  certificates[3]: the key has a passphrase, want one without\n"
            "  certificates[4]: the key does not belong to the certificate of good.test\n"
            "  certificates[6]: the key is DSAPrivateKey, want RSA, EC or Ed25519\n"
            "  certificates[7]: the key does not belong to the certificate of other.test",
        )

    def test_dates(self) -> None:
        """A certificate whose time is over, or not yet come, is refused; the edge is not."""
        pair = leaf("a.test").pair("certificate")
        begin, end = BEGIN.timestamp(), END.timestamp()
        self.assertEqual(
            self.problems(pair, now=end + 1),
            "1 problem in the settings:\n"
            "  certificate: the certificate of a.test expired on 2046-01-01",
        )
        self.assertEqual(
            self.problems(pair, now=begin - 1),
            "1 problem in the settings:\n"
            "  certificate: the certificate of a.test is valid from 2026-01-01 00:00 UTC on",
        )
        for now in (begin, end):
            self.assertEqual(CertificateStore.of([pair], now).names, {b"a.test"})

    def test_no_secret_in_any_text(self) -> None:
        """Neither the error nor its causes show the key."""
        key = b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0LXNlY3JldA==\n-----END PRIVATE KEY-----\n"
        pair = CertificatePair(chain=leaf("a.test").pem, key=Secret(key), place="certificate")
        with self.assertRaises(SettingsError) as caught:
            CertificateStore.of([pair], NOW)
        error: BaseException | None = caught.exception
        while error is not None:
            self.assertNotIn("c2Vjc", repr(error) + str(error))
            error = error.__cause__
