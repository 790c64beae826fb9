"""Tests of pomeriumd.net.contexts: what an authority is shown that looks by TLS-ALPN-01."""

from __future__ import annotations

import contextlib

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.net.contexts import VALIDATION, CertificateStore, NoCommonProtocol, Terms
from pomeriumd.net.pem import Key
from tests.support.certificates import NOW, Issued, issue, leaf


class One:
    """Proves one host."""

    def __init__(self, name: bytes, issued: Issued) -> None:
        self._name = name
        self._issued = issued

    def certificate(self, name: bytes | None) -> tuple[object, Key] | None:
        """Return it."""
        return (self._issued.certificate, self._issued.key) if name == self._name else None


class ValidationTests(SynchronousTestCase):
    """acme-tls/1 gets what proves the host, and everybody else what they always get."""

    def setUp(self) -> None:
        """Have a store that proves one host."""
        self.proof = issue("app.example.com", title="proof")
        pairs = [leaf("app.example.com").pair(), leaf("mail.example.com").pair()]
        proofs = One(b"app.example.com", self.proof)
        self.store = CertificateStore.of(pairs, NOW, Terms(validations=proofs))  # type: ignore[arg-type]

    def shake(self, name: bytes, *protocols: bytes) -> SSL.Connection:
        """Return a client whose handshake is complete."""
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        client = SSL.Connection(context, None)
        client.set_connect_state()
        client.set_tlsext_host_name(name)
        if protocols:
            client.set_alpn_protos(list(protocols))
        server = SSL.Connection(self.store.base(), None)
        self.store.begin(server)
        server.set_accept_state()
        ends = (client, server)
        for _ in range(10):
            for one, other in (ends, ends[::-1]):
                with contextlib.suppress(SSL.WantReadError):
                    one.do_handshake()
                with contextlib.suppress(SSL.WantReadError):
                    other.bio_write(one.bio_read(65536))
        return client

    def title(self, client: SSL.Connection) -> str:
        """Return whose certificate a client was shown."""
        found = client.get_peer_certificate(as_cryptography=True)
        assert found is not None
        return found.subject.rfc4514_string()

    def test_the_proof(self) -> None:
        """The authority is shown the proof, and its protocol chosen."""
        client = self.shake(b"app.example.com", VALIDATION)
        self.assertEqual(client.get_alpn_proto_negotiated(), VALIDATION)
        self.assertEqual(self.title(client), "CN=proof")

    def test_everybody_else(self) -> None:
        """A browser at the same host, at the same time, sees nothing of it."""
        for protocols in ((), (b"http/1.1",), (b"h2", b"http/1.1")):
            client = self.shake(b"app.example.com", *protocols)
            self.assertEqual(self.title(client), "CN=app.example.com")

    def test_a_host_that_nobody_proves(self) -> None:
        """Without a proof the handshake fails: RFC 8737 wants no other certificate."""
        for name in (b"mail.example.com", b"nobody.example.com"):
            with self.assertRaises(NoCommonProtocol):
                self.shake(name, VALIDATION)

    def test_no_proofs_at_all(self) -> None:
        """Where nothing is proved acme-tls/1 is no protocol of ours."""
        self.store = CertificateStore.of([leaf("app.example.com").pair()], NOW)
        with self.assertRaises(NoCommonProtocol):
            self.shake(b"app.example.com", VALIDATION)

    def test_an_automatic_one_that_has_expired(self) -> None:
        """It is shown until there is another; nobody is kept from starting by it."""
        pair = leaf("app.example.com").pair()
        far = NOW * 3
        automatic = type(pair)(chain=pair.chain, key=pair.key, place="x", automatic=True)
        CertificateStore.of([automatic], far)
