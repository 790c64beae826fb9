"""Tests of pomeriumd.acme.challenges and of the answers that FileResponder lays there."""

from __future__ import annotations

import stat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cryptography import x509
from twisted.internet.defer import Deferred, execute
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.acme.challenges import LARGEST, Challenges
from pomeriumd.acme.order import Answer
from pomeriumd.acme.problems import AcmeError
from pomeriumd.acme.responders import HTTP, TLS, FileResponder, record
from tests.support.certificates import NOW

TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
ANSWER = Answer("app.example.com", "app.example.com", TOKEN, f"{TOKEN}.thumbprint")


def aside(work: Any, *arguments: Any) -> Deferred[Any]:
    """Do it now."""
    return execute(work, *arguments)


class ChallengesTests(SynchronousTestCase):
    """Challenges finds what lies there, and nothing else."""

    def setUp(self) -> None:
        """Have an empty directory."""
        self.place = str(Path(self.enterContext(TemporaryDirectory()), "place"))
        self.challenges = Challenges(self.place)

    def responder(self, type_: str) -> FileResponder:
        """Return what lays answers there."""
        return FileResponder(type_, self.place, aside, lambda: NOW, lambda size: b"x" * size)

    def test_http(self) -> None:
        """An answer is there from when it is laid until it is taken away, for its token alone."""
        responder = self.responder(HTTP)
        self.assertIsNone(self.challenges.key_authorization(TOKEN))
        self.successResultOf(responder.start_responding("", [ANSWER], None))
        self.assertEqual(
            self.challenges.key_authorization(TOKEN), ANSWER.key_authorization.encode()
        )
        self.assertIsNone(self.challenges.key_authorization(TOKEN[:-1] + "B"))
        self.successResultOf(responder.stop_responding("", [ANSWER], None))
        self.assertIsNone(self.challenges.key_authorization(TOKEN))

    def test_for_its_owner_alone(self) -> None:
        """Nobody else can read or put one there."""
        self.successResultOf(self.responder(HTTP).start_responding("", [ANSWER], None))
        directory = Path(self.place, "challenges")
        [file] = directory.iterdir()
        self.assertEqual(stat.S_IMODE(directory.stat().st_mode), 0o700)
        self.assertEqual(stat.S_IMODE(file.stat().st_mode), 0o600)

    def test_no_other_file(self) -> None:
        """A path in place of a token or a name leads nowhere."""
        outside = Path(self.place, "secret-of-this-host")
        outside.parent.mkdir()
        outside.write_text("secret")
        Path(self.place, "challenges").mkdir()
        for token in (
            *("../secret-of-this-host", "..", "", "a" * 300, "secret-of-this-host\0", "a b" * 9),
            *(f"/{outside}", "%2e%2e%2fsecret-of-this-host", "x" * 15, "é" * 20),
        ):
            self.assertIsNone(self.challenges.key_authorization(token), token)
            self.assertIsNone(self.challenges.certificate(token.encode()), token)
        self.assertIsNone(self.challenges.certificate(None))
        self.assertIsNone(self.challenges.certificate(b"\xff\xfe"))

    def test_what_was_laid_there_by_another(self) -> None:
        """A link, a directory and a file that is too large are no answers."""
        directory = Path(self.place, "challenges")
        directory.mkdir(parents=True)
        link, folder, large = ("a" * 20, "b" * 20, "c" * 20)
        (directory / f"{link}.token").symlink_to("/etc/hostname")
        (directory / f"{folder}.token").mkdir()
        (directory / f"{large}.token").write_bytes(b"x" * (LARGEST + 1))
        for token in (link, folder, large):
            self.assertIsNone(self.challenges.key_authorization(token))
        (directory / "a.example.com.pem").write_text("no certificate")
        self.assertIsNone(self.challenges.certificate(b"a.example.com"))

    def test_tls_alpn(self) -> None:
        """A certificate for the one host, with the digest in the extension of RFC 8737."""
        self.successResultOf(self.responder(TLS).start_responding("", [ANSWER], None))
        found = self.challenges.certificate(b"APP.example.com")
        assert found is not None
        certificate, key = found
        self.assertEqual(certificate.public_key(), key.public_key())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        self.assertEqual(names.value.get_values_for_type(x509.DNSName), ["app.example.com"])
        identifier = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
        extension = certificate.extensions.get_extension_for_oid(identifier)
        self.assertTrue(extension.critical)
        assert isinstance(extension.value, x509.UnrecognizedExtension)
        self.assertEqual(len(extension.value.value), 34)
        self.assertIsNone(self.challenges.certificate(b"mail.example.com"))

    def test_a_token_that_is_none(self) -> None:
        """An authority cannot have a file made elsewhere."""
        bad = Answer("a.example.com", "a.example.com", "../../x", "../../x.y")
        failed = self.responder(HTTP).start_responding("", [bad], None)
        self.assertEqual(
            str(self.failureResultOf(failed, AcmeError).value), "the authority's token is none"
        )


class RecordTests(SynchronousTestCase):
    """record() is what DNS is to say."""

    def test_a_wildcard(self) -> None:
        """A wildcard is proved at its domain; the value is a digest in base64url."""
        name, value = record(Answer("*.example.com", "example.com", TOKEN, f"{TOKEN}.t"))
        self.assertEqual(name, "_acme-challenge.example.com.")
        self.assertRegex(value, "^[A-Za-z0-9_-]{43}$")
