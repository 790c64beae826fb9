"""The demo's certificates: made once, good for the demo's names and no others."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.cli.demo.pki import LEAF_DAYS, authority, ensure, wildcard

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
BOTH = ["a certificate authority", "a certificate for *.pomerium.localhost"]


class EnsureTests(SynchronousTestCase):
    """ensure() makes what is missing, and leaves what is good."""

    def setUp(self) -> None:
        """Find a place."""
        self.place = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def contents(self) -> dict[str, bytes]:
        """Return every file."""
        return {path.name: path.read_bytes() for path in self.place.iterdir()}

    def test_made_once(self) -> None:
        """The second time nothing is made, so that a browser goes on trusting."""
        self.assertEqual(ensure(self.place, NOW), BOTH)
        before = self.contents()
        self.assertEqual(set(before), {"ca.pem", "ca.key", "server.pem", "server.key"})
        self.assertEqual(ensure(self.place, NOW + timedelta(days=1)), [])
        self.assertEqual(self.contents(), before)

    def test_keys_are_for_nobody_else(self) -> None:
        """A key is readable by its owner alone, also one that was not."""
        (self.place / "ca.key").write_bytes(b"old")
        (self.place / "ca.key").chmod(0o644)
        ensure(self.place, NOW)
        for name in ("ca.key", "server.key"):
            self.assertEqual((self.place / name).stat().st_mode & 0o777, 0o600)

    def test_what_is_not_good_is_made_anew(self) -> None:
        """Old, broken, missing or foreign files are replaced; the authority stays if it can."""
        ensure(self.place, NOW)
        self.assertEqual(ensure(self.place, NOW + timedelta(days=LEAF_DAYS - 20)), BOTH[1:])
        for name, octets, made in (
            ("server.key", b"", BOTH[1:]),
            ("server.pem", b"what", BOTH[1:]),
            ("server.key", (self.place / "ca.key").read_bytes(), BOTH[1:]),
            ("ca.key", b"", BOTH),
            ("ca.pem", (self.place / "server.pem").read_bytes(), BOTH),
        ):
            (self.place / name).write_bytes(octets)
            self.assertEqual(ensure(self.place, NOW), made, name)
            self.assertEqual(ensure(self.place, NOW), [])
        (self.place / "server.pem").unlink()
        self.assertEqual(ensure(self.place, NOW), BOTH[1:])


class CertificateTests(SynchronousTestCase):
    """What the certificates are good for."""

    def verify(self, leaf: x509.Certificate, ca: x509.Certificate, name: str) -> None:
        """Verify as a browser does."""
        builder = PolicyBuilder().store(Store([ca])).time(NOW)
        builder.build_server_verifier(x509.DNSName(name)).verify(leaf, [])

    def test_good_for_the_demos_names(self) -> None:
        """Every name of the demo is covered."""
        ca = authority(NOW)
        leaf = wildcard(ca, NOW).certificate
        for label in ("verify.", "authenticate.", "public.", ""):
            self.verify(leaf, ca.certificate, f"{label}pomerium.localhost")

    def test_good_for_no_other_name(self) -> None:
        """Who trusts the demo's authority trusts it for nothing else."""
        ca = authority(NOW)
        leaf = wildcard(ca, NOW).certificate
        for name in ("example.com", "a.b.pomerium.localhost", "localhost"):
            self.assertRaises(VerificationError, self.verify, leaf, ca.certificate, name)
        constraints = ca.certificate.extensions.get_extension_for_class(x509.NameConstraints)
        self.assertTrue(constraints.critical)
        self.assertEqual(constraints.value.permitted_subtrees, [x509.DNSName("pomerium.localhost")])

    def test_not_valid_longer_than_browsers_take(self) -> None:
        """398 days are the limit."""
        leaf = wildcard(authority(NOW), NOW).certificate
        self.assertLess(leaf.not_valid_after_utc - leaf.not_valid_before_utc, timedelta(days=398))

    def test_keys_do_not_show(self) -> None:
        """A key is in no repr."""
        self.assertNotIn("key", repr(authority(NOW)))
