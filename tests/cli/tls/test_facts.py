"""What is said of one certificate: dates, keys, chains, who trusts it."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from functools import cache
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID
from OpenSSL import crypto
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.cli.tls.facts import Certificate, KeptIn, Severity, Trust, looked_at
from tests.support.certificates import NOW, Issued, authority, days, issue, leaf

SHA256_RSA, SHA1_RSA = (bytes.fromhex(f"06092a864886f70d0101{last}") for last in ("0b", "05"))
"""The identifiers of two algorithms, DER."""

TODAY = datetime.fromtimestamp(NOW, UTC)
CLOSED = KeptIn("/etc/pomerium/config.yaml", 0o100600, b"address: :443\n")


@cache
def middle() -> Issued:
    """Return an intermediate of the tests' authority."""
    return issue(authority=True, by=authority(), title="middle")


def trust(*roots: Issued, label: str = "system roots", is_system: bool = True) -> Trust:
    """Return somebody who trusts these."""
    store = crypto.X509Store()
    for root in roots or (authority(),):
        store.add_cert(crypto.X509.from_cryptography(root.certificate))
    return Trust(label, store, is_system=is_system)


def look(made: Issued, *chain: Issued, trusts: Any = None, **more: Any) -> Certificate:
    """Look at a certificate with the chain behind it."""
    given = {"files": {}, "settings_file": CLOSED, **more}
    trusts = [trust()] if trusts is None else trusts
    return looked_at(made.pair("certificates[0]", *chain), NOW, trusts, **given)


def texts(found: Certificate) -> list[str]:
    """Return what is missing."""
    return [f"{one.severity.name.lower()}: {one.text}" for one in found.missing]


class DateTests(SynchronousTestCase):
    """From when and until when it is good."""

    def ending(self, left: float, life: float = 365) -> Certificate:
        """Look at one that has so many days left of its life."""
        end = TODAY + days(left)
        return look(issue("a.test", by=authority(), begin=end - days(life), end=end))

    def test_a_good_one(self) -> None:
        """Nothing is said, and the whole days that are left are counted."""
        found = self.ending(90.5)
        self.assertEqual((texts(found), found.days), ([], 90))

    def test_soon(self) -> None:
        """A month before the end it is a warning; with a short life it is a third of that."""
        for left, life, said in ((29.5, 365, 1), (30.5, 365, 0), (2.5, 6, 0), (1.5, 6, 1)):
            self.assertEqual(len(self.ending(left, life).missing), said, (left, life))
        (one,) = self.ending(10).missing
        self.assertEqual(
            (one.severity, one.text),
            (Severity.WARNING, "expires soon, on 2026-11-11: renew it"),
        )

    def test_expired(self) -> None:
        """It is an error with its day; who would trust it is said all the same."""
        found = self.ending(-1.5)
        self.assertEqual(
            (texts(found), found.days, [one.label for one in found.trusts]),
            (["error: expired on 2026-10-30: renew it"], -2, ["system roots"]),
        )

    def test_not_yet(self) -> None:
        """One from the future is an error, and asks for the clock."""
        made = issue("a.test", by=authority(), begin=TODAY + days(1))
        self.assertEqual(
            texts(look(made)),
            ["error: is not good before 2026-11-02 00:00 UTC: is the clock right?"],
        )

    def test_an_expired_intermediate(self) -> None:
        """It is named, and then nobody trusts the leaf."""
        old = issue(authority=True, by=authority(), title="old", end=TODAY - days(1))
        found = look(issue("a.test", by=old), old)
        self.assertEqual(
            texts(found)[0],
            "error: the intermediate old expired on 2026-10-31: get the present one",
        )
        self.assertEqual(found.trusts, ())


class KeyTests(SynchronousTestCase):
    """Keys and signatures."""

    def test_weak_keys(self) -> None:
        """RSA below 2048 bits is an error, of the leaf and of an intermediate."""
        short = rsa.generate_private_key(65_537, 1024)  # noqa: S505  # what it is about
        found = look(issue("a.test", by=authority(), key=short, title="a.test"))
        self.assertIn(
            "error: weak key: a.test has RSA of 1024 bits, want 2048 or EC P-256", texts(found)
        )

    def test_weak_signatures(self) -> None:
        """SHA-1 is an error; of a root nobody looks at the signature."""
        # cryptography signs with SHA-1 no more; that it says so is all that is looked at.
        root = issue(authority=True, title="old root", key=rsa.generate_private_key(65_537, 2048))
        made = issue("a.test", by=root, title="a.test")
        der = made.certificate.public_bytes(Encoding.DER).replace(SHA256_RSA, SHA1_RSA)
        found = look(Issued(x509.load_der_x509_certificate(der), made.key))
        self.assertIn(
            "error: weak signature: a.test is signed with SHA1; have it issued anew", texts(found)
        )

    def test_another_ones_key(self) -> None:
        """A key that does not fit is an error."""
        found = look(attrs.evolve(leaf("a.test"), key=leaf("b.test").key))
        self.assertEqual(
            texts(found), ["error: the key does not belong to the certificate of a.test"]
        )

    def test_a_key_that_everybody_can_read(self) -> None:
        """Its file is named; for the group alone it is no fault."""
        made = leaf("a.test")
        for mode, said in ((0o644, 1), (0o604, 1), (0o640, 0), (0o600, 0)):
            kept = KeptIn("/tls/a.key", 0o100000 | mode)
            found = look(made, files={made.key_pem.rstrip(): kept})
            self.assertEqual(len(found.missing), said, oct(mode))
        kept = KeptIn("/tls/a.key", 0o100644)
        self.assertEqual(
            texts(look(made, files={made.key_pem.rstrip(): kept})),
            ["error: everybody on this machine can read its key: chmod 600 /tls/a.key"],
        )

    def test_a_key_in_the_settings(self) -> None:
        """The settings file counts if the key stands in it: indented, or as base64."""
        made = leaf("a.test")
        pem = made.key_pem
        indented = b"certificate_key: |\n" + b"".join(
            b"  " + line for line in pem.splitlines(keepends=True)
        )
        encoded = b"certificate_key: " + base64.b64encode(pem) + b"\n"
        for content in (indented, encoded, b"certificate_key: " + base64.encodebytes(pem)):
            file = attrs.evolve(CLOSED, mode=0o100644, content=content)
            self.assertEqual(len(look(made, settings_file=file).missing), 1)
        file = attrs.evolve(CLOSED, mode=0o100644)
        self.assertEqual(texts(look(made, settings_file=file)), [])


class ChainTests(SynchronousTestCase):
    """The way to a root."""

    def test_whole(self) -> None:
        """Leaf and intermediate, in order: nothing is missing, with the root or without."""
        made = issue("a.test", by=middle())
        for chain in ((middle(),), (middle(), authority())):
            self.assertEqual(texts(look(made, *chain)), [])

    def test_an_intermediate_that_is_missing(self) -> None:
        """Without a hint it may be an authority of one's own: a warning with both ways out."""
        self.assertEqual(
            texts(look(issue("a.test", by=middle()))),
            [
                (
                    "warning: its issuer middle is neither in its file nor known here: an "
                    "intermediate is missing, or it is an authority of your own, which --ca FILE "
                    "names"
                )
            ],
        )

    def test_a_public_ones_intermediate(self) -> None:
        """A certificate that says where its issuer's lies is a public one's: an error."""
        plain = issue("a.test", by=middle())
        made = plain.certificate
        builder = x509.CertificateBuilder(
            made.issuer,
            made.subject,
            made.public_key(),
            made.serial_number,
            made.not_valid_before_utc,
            made.not_valid_after_utc,
            list(made.extensions),
        ).add_extension(
            x509.AuthorityInformationAccess(
                [
                    x509.AccessDescription(
                        AuthorityInformationAccessOID.CA_ISSUERS,
                        x509.UniformResourceIdentifier("http://ca.test/middle.crt"),
                    )
                ]
            ),
            critical=False,
        )
        signed = builder.sign(middle().key, hashes.SHA256())
        self.assertEqual(
            texts(look(Issued(signed, plain.key))),
            [
                (
                    "error: an intermediate is missing: put the certificate of middle behind it, "
                    "in the same file"
                )
            ],
        )

    def test_out_of_order(self) -> None:
        """What stands where its issuer should is named."""
        found = look(issue("a.test", by=middle(), title="a.test"), authority(), middle())
        self.assertEqual(
            texts(found)[0],
            "warning: out of order: test authority stands behind a.test and did not issue it; "
            "want middle there",
        )

    def test_self_signed(self) -> None:
        """It is a warning, unless somebody known has it."""
        alone = issue("a.test", authority=True)
        self.assertEqual(
            texts(look(alone)),
            ["warning: self-signed: only who is given this very certificate trusts it"],
        )
        self.assertEqual(texts(look(alone, trusts=[trust(alone)])), [])

    def test_a_root_that_nobody_knows(self) -> None:
        """The option that names it is named."""
        root = issue(authority=True, title="own root")
        self.assertEqual(
            texts(look(issue("a.test", by=root), root)),
            ["warning: nobody known here trusts its root own root; --ca FILE names it"],
        )

    def test_who_trusts_it(self) -> None:
        """Each that does is listed; browsers are those with the system's roots."""
        own = issue(authority=True, title="own root")
        both = [trust(), trust(own, label="whoever has own.crt", is_system=False)]
        public, private = (
            look(leaf("a.test"), trusts=both),
            look(issue("a.test", by=own), trusts=both),
        )
        self.assertEqual(
            [([one.label for one in two.trusts], two.browsers) for two in (public, private)],
            [(["system roots"], True), (["whoever has own.crt"], False)],
        )
