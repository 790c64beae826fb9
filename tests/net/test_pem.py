"""Promises of what is read from PEM."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.net.pem import names_of, read_certificates, read_pair, title, use
from tests.support.certificates import authority, issue, leaf


class PemTests(SynchronousTestCase):
    """A chain keeps its order; names are what the certificate bears as such."""

    def test_chain(self) -> None:
        """All certificates are read, in order, whatever text stands between them."""
        one, two = leaf("a.test"), authority()
        read = read_certificates(b"subject=/CN=a\n" + one.pem + b"\n\n" + two.pem)
        self.assertEqual(read, [one.certificate, two.certificate])

    def test_pair(self) -> None:
        """A pair is read with the key of its first certificate."""
        one, two = leaf("a.test"), authority()
        chain, key = read_pair(one.pem + two.pem, one.key_pem)
        self.assertEqual(chain, [one.certificate, two.certificate])
        self.assertEqual(key.public_key(), one.key.public_key())

    def test_names(self) -> None:
        """DNS names in lower case; neither addresses nor the common name are among them."""
        certificate = issue("A.Test", "*.b.TEST", "127.0.0.1", title="c.test").certificate
        self.assertEqual(names_of(certificate), [b"a.test", b"*.b.test"])
        self.assertEqual(title(certificate), "a.test")
        nameless = issue(title="c.test").certificate
        self.assertEqual((names_of(nameless), title(nameless)), ([], "CN=c.test"))

    def test_kinds_of_keys(self) -> None:
        """RSA, EC and Ed25519 keys are read, in any of the usual forms."""
        for key in (
            rsa.generate_private_key(65537, 2048),
            ec.generate_private_key(ec.SECP384R1()),
            ed25519.Ed25519PrivateKey.generate(),
        ):
            issued = issue("a.test", key=key)
            forms = [PrivateFormat.PKCS8]
            if not isinstance(key, ed25519.Ed25519PrivateKey):
                forms.append(PrivateFormat.TraditionalOpenSSL)
            for form in forms:
                pem = key.private_bytes(Encoding.PEM, form, NoEncryption())
                _, read = read_pair(issued.pem, pem)
                self.assertEqual(read.public_key(), key.public_key())

    def test_what_openssl_refuses(self) -> None:
        """A key that OpenSSL finds too small is refused with its words."""
        weak = rsa.generate_private_key(65537, 1024)  # noqa: S505  # that is the point
        chain, key = read_pair(*weak_pem(weak))
        with self.assertRaises(ValueError) as caught:
            use(SSL.Context(SSL.TLS_SERVER_METHOD), chain, key)
        self.assertEqual(str(caught.exception), "OpenSSL refuses the certificate: ee key too small")


def weak_pem(key: rsa.RSAPrivateKey) -> tuple[bytes, bytes]:
    """Return the PEM of both."""
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return issue("a.test", key=key).pem, pem
