"""Promises of pomeriumd.settings.chain: what is wrong with a pair is said, the rest serves."""

from __future__ import annotations

from itertools import permutations

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import AuthorityInformationAccessOID
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.settings.chain import examined, read_certificates, read_key, untimely
from pomeriumd.settings.values import Facts
from tests.support.certificates import BEGIN, END, Issued, authority, issue, leaf

ROOT = authority()
UPPER = issue(by=ROOT, authority=True, title="upper")
LOWER = issue(by=UPPER, authority=True, title="lower")
LEAF = issue("a.test", "*.b.test", "10.0.0.1", "::1", by=LOWER, title="a.test")


def facts(*chain: Issued, key: Issued | None = None) -> Facts:
    """Return what is found in a chain with the first one's key."""
    return found(*chain, key=key)[1]


def found(*chain: Issued, key: Issued | None = None) -> tuple[bytes, Facts]:
    """Return the chain as well."""
    return examined(b"".join(one.pem for one in chain), (key or chain[0]).key_pem)


class ChainTests(SynchronousTestCase):
    """A chain is complete and in order, or is put in order, or it is said what is missing."""

    def refused(self, *chain: Issued, key: Issued | None = None) -> str:
        """Return why a chain is refused."""
        with self.assertRaises(ValueError) as caught:
            found(*chain, key=key)
        return str(caught.exception)

    def test_facts(self) -> None:
        """Names and addresses, dates and a title are found; a good chain stays as it is."""
        pem, facts = found(LEAF, LOWER, UPPER)
        self.assertEqual(pem, LEAF.pem + LOWER.pem + UPPER.pem)
        self.assertEqual(facts.names, ("a.test", "*.b.test"))
        self.assertEqual(facts.addresses, ("10.0.0.1", "::1"))
        self.assertEqual((facts.begins, facts.expires), (BEGIN.timestamp(), END.timestamp()))
        self.assertEqual((facts.title, facts.notes), ("a.test", ()))

    def test_any_part_from_the_leaf_on(self) -> None:
        """How far it goes towards the root is not prescribed; the root itself may be there."""
        for length in range(1, 5):
            self.assertEqual(facts(*(LEAF, LOWER, UPPER, ROOT)[:length]).notes, ())

    def test_every_other_order(self) -> None:
        """Whatever the order, the leaf comes first and then whoever signed it, and it is said."""
        right = (LEAF, LOWER, UPPER)
        for order in permutations(right):
            pem, facts = found(*order, key=LEAF)
            self.assertEqual(
                read_certificates(pem), [one.certificate for one in right], [order, facts]
            )
            self.assertEqual(
                facts.notes,
                ()
                if order == right
                else (
                    (
                        "its certificates are not in order, and are shown as: "
                        "a.test, then CN=lower, then CN=upper"
                    ),
                ),
            )

    def test_one_that_is_missing(self) -> None:
        """The one in between that is not there has its name in the text."""
        self.assertEqual(
            self.refused(LEAF, UPPER),
            "the certificate of CN=lower is missing: it signed a.test, and number 2 in it, "
            "CN=upper, did not; want each certificate signed by the next",
        )
        self.assertEqual(
            self.refused(LEAF, LOWER, ROOT),
            "the certificate of CN=upper is missing: it signed CN=lower, and number 3 in it, "
            "CN=test authority, did not; want each certificate signed by the next",
        )

    def test_one_too_many(self) -> None:
        """What stands behind a root and does not belong there is named."""
        other = issue(authority=True, title="other")
        self.assertEqual(
            self.refused(LEAF, LOWER, UPPER, ROOT, other),
            "the chain ends with CN=test authority, and number 5 in it, CN=other, does not belong "
            "to it: take that out",
        )

    def test_the_name_alone_does_not_sign(self) -> None:
        """An authority of the right name and another key is none of the chain."""
        false = issue(by=UPPER, authority=True, title="lower")
        self.assertIn("CN=lower is missing", self.refused(LEAF, false, UPPER))

    def test_certified_by_another_root(self) -> None:
        """The same authority under another root may stand behind; some clients want it."""
        other = issue(authority=True, title="other")
        crossed = issue(by=other, authority=True, title="test authority", key=ROOT.key)
        pem, _ = found(LEAF, LOWER, UPPER, ROOT, crossed)
        self.assertEqual(len(read_certificates(pem)), 5)

    def test_twice(self) -> None:
        """One that is there twice is shown once."""
        pem, _ = found(LEAF, LEAF, LOWER, LOWER)
        self.assertEqual(read_certificates(pem), [LEAF.certificate, LOWER.certificate])

    def test_too_long(self) -> None:
        """A bundle of roots is no chain."""
        many = [issue(title=f"n{number}") for number in range(11)]
        self.assertEqual(self.refused(*many), "want at most 10 certificates in a chain, got 11")

    def test_alone_and_from_the_web(self) -> None:
        """A leaf alone that says where its issuer is to be had lacks that one, probably."""
        place = x509.AccessDescription(
            AuthorityInformationAccessOID.CA_ISSUERS,
            x509.UniformResourceIdentifier("http://ca.test/lower.der"),
        )
        bare = LEAF.certificate
        certificate = (
            x509.CertificateBuilder()
            .subject_name(bare.subject)
            .issuer_name(bare.issuer)
            .public_key(LEAF.key.public_key())
            .serial_number(7)
            .not_valid_before(BEGIN)
            .not_valid_after(END)
            .add_extension(x509.AuthorityInformationAccess([place]), critical=False)
            .sign(LOWER.key, hashes.SHA256())
        )
        one = Issued(certificate, LEAF.key)
        self.assertEqual(
            facts(one).notes,
            (
                (
                    "the certificate of CN=lower, which signed it, is not in the file; browsers "
                    "want it, unless it is a root that they have: append it, from "
                    "'http://ca.test/lower.der'"
                ),
            ),
        )
        self.assertEqual(facts(one, LOWER).notes, ())


class KeyTests(SynchronousTestCase):
    """A key is one, and the certificate's."""

    def test_numbers_that_do_not_fit(self) -> None:
        """An RSA key that would give wrong signatures is refused, whichever number is wrong."""
        good = rsa.generate_private_key(65537, 2048)
        issued = Issued(issue("a.test", key=good).certificate, good)
        examined(issued.pem, issued.key_pem)
        own = good.private_numbers()
        for name in ("d", "dmp1", "dmq1", "iqmp"):
            numbers = {one: getattr(own, one) for one in ("p", "q", "d", "dmp1", "dmq1", "iqmp")}
            numbers[name] += 2
            bad = rsa.RSAPrivateNumbers(**numbers, public_numbers=own.public_numbers).private_key(
                unsafe_skip_rsa_key_validation=True
            )
            pem = bad.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            self.assertRaises(ValueError, read_key, pem)
            with self.assertRaises(ValueError) as caught:
                examined(issued.pem, pem)
            self.assertEqual(str(caught.exception), "the key cannot be read, want PEM")

    def test_of_another(self) -> None:
        """A key of nobody in the file is said to be that."""
        with self.assertRaises(ValueError) as caught:
            found(LEAF, LOWER, key=leaf("other.test"))
        self.assertEqual(
            str(caught.exception), "the key does not belong to the certificate of a.test"
        )


class CoversTests(SynchronousTestCase):
    """Facts.covers() knows names, wildcards and addresses."""

    def test_hosts(self) -> None:
        """A wildcard is one whole label; an address is no name."""
        found = facts(LEAF)
        for host, wanted in [
            ("a.test", True),
            ("x.b.test", True),
            ("xn--bcher-kva.b.test", True),
            ("*.b.test", True),
            ("b.test", False),
            ("y.x.b.test", False),
            (".b.test", False),
            ("10.0.0.1", True),
            ("[::1]", True),
            ("::1", True),
            ("10.0.0.2", False),
            ("*.a.test", False),
        ]:
            self.assertEqual(found.covers(host), wanted, host)


class TimeTests(SynchronousTestCase):
    """untimely() knows both ends."""

    def test_ends(self) -> None:
        """The edge itself is good."""
        found = facts(LEAF)
        begin, end = BEGIN.timestamp(), END.timestamp()
        self.assertEqual((untimely(found, begin), untimely(found, end)), ("", ""))
        self.assertEqual(
            untimely(found, end + 1), "the certificate of a.test expired on 2046-01-01"
        )
        self.assertEqual(
            untimely(found, begin - 1),
            "the certificate of a.test is valid from 2026-01-01 00:00 UTC on",
        )
