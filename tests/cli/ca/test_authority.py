"""An internal authority and what it issues, as values."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.cli.ca.authority import (
    BACKDATED,
    Made,
    NotIssued,
    authority,
    name,
    permitted,
    role,
)

NOW = 1_790_000_000.7
DAY = 86_400


def new_key() -> ec.EllipticCurvePrivateKey:
    """Return a key."""
    return ec.generate_private_key(ec.SECP256R1())


@cache
def ca(*permits: str) -> Made:
    """Return an authority, made once."""
    found = [permitted(text) for text in permits]
    return authority(found, now=NOW, days=3650, key=new_key(), serial=1)


def issued(*names: str, by: Made | None = None, now: float = NOW, days: int = 90) -> Made:
    """Return a certificate."""
    found = [name(text) for text in names]
    return role(found, by or ca(), now=now, days=days, key=new_key(), serial=2)


def extension(made: Made, oid: Any) -> x509.Extension[Any]:
    """Return an extension."""
    return made.certificate.extensions.get_extension_for_oid(oid)


class AuthorityTests(SynchronousTestCase):
    """The authority's own certificate."""

    def test_nobody_is_below_it(self) -> None:
        """It may sign certificates, and none that signs others; both are critical."""
        basic = extension(ca(), ExtensionOID.BASIC_CONSTRAINTS)
        self.assertEqual((basic.critical, basic.value.ca, basic.value.path_length), (True, True, 0))
        usage = extension(ca(), ExtensionOID.KEY_USAGE)
        self.assertEqual(
            (usage.critical, usage.value.key_cert_sign, usage.value.digital_signature),
            (True, True, False),
        )

    def test_it_is_good_for_its_days(self) -> None:
        """From a little before it was made."""
        made = ca().certificate
        life = made.not_valid_after_utc - made.not_valid_before_utc
        self.assertEqual(life, timedelta(days=3650) + BACKDATED)

    def test_without_permits_there_are_no_constraints(self) -> None:
        """It may vouch for every name then."""
        with self.assertRaises(x509.ExtensionNotFound):
            extension(ca(), ExtensionOID.NAME_CONSTRAINTS)

    def test_a_domain_excludes_addresses(self) -> None:
        """A kind of name that nothing permits is excluded as a whole."""
        found = extension(ca("internal"), ExtensionOID.NAME_CONSTRAINTS)
        self.assertTrue(found.critical)
        self.assertEqual([one.value for one in found.value.permitted_subtrees], ["internal"])
        self.assertEqual(
            [str(one.value) for one in found.value.excluded_subtrees], ["0.0.0.0/0", "::/0"]
        )

    def test_a_network_excludes_names(self) -> None:
        """The other way round."""
        found = extension(ca("10.0.0.0/8"), ExtensionOID.NAME_CONSTRAINTS).value
        self.assertEqual([one.value for one in found.excluded_subtrees], [""])

    def test_both_exclude_nothing(self) -> None:
        """What is permitted of both kinds says it all."""
        found = extension(ca("internal", "10.0.0.0/8"), ExtensionOID.NAME_CONSTRAINTS).value
        self.assertIsNone(found.excluded_subtrees)


class PermitTests(SynchronousTestCase):
    """What may be permitted."""

    def test_domains_and_networks(self) -> None:
        """A dot before a domain means nothing; names are canonical; one address is a network."""
        found = [permitted(text) for text in (".Internal", "bücher.example", "10.1.2.3", "::1")]
        self.assertEqual(
            [str(one.value) for one in found],
            ["internal", "xn--bcher-kva.example", "10.1.2.3/32", "::1/128"],
        )

    def test_what_is_neither(self) -> None:
        """It is shown, with what is wanted."""
        for text in ("a b", "*.internal", "10.0.0.0/33", "10.0.0.1/8", "", "a/b", "x:y"):
            with self.assertRaises(NotIssued) as caught:
                permitted(text)
            self.assertEqual(
                str(caught.exception), f"want a domain or a network to permit, got {text!r}"
            )


class RoleTests(SynchronousTestCase):
    """Certificates for roles."""

    def test_names(self) -> None:
        """Names, wildcards and addresses stand as what they are; the first one is the title."""
        made = issued("Authorize.Internal", "*.example.com", "10.0.0.1", "[::1]")
        names = extension(made, ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
        self.assertEqual(
            names.get_values_for_type(x509.DNSName), ["authorize.internal", "*.example.com"]
        )
        self.assertEqual(
            [str(one) for one in names.get_values_for_type(x509.IPAddress)], ["10.0.0.1", "::1"]
        )
        self.assertEqual(made.certificate.subject.rfc4514_string(), "CN=authorize.internal")

    def test_it_is_server_and_client(self) -> None:
        """A proxy may show it to authorize, too; it signs nothing else."""
        made = issued("a.internal")
        uses = extension(made, ExtensionOID.EXTENDED_KEY_USAGE).value
        self.assertEqual(
            set(uses), {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
        )
        self.assertFalse(extension(made, ExtensionOID.BASIC_CONSTRAINTS).value.ca)
        self.assertFalse(extension(made, ExtensionOID.KEY_USAGE).value.key_cert_sign)

    def test_it_is_the_authoritys(self) -> None:
        """Signature, issuer and key identifiers lead to it, and to no other."""
        made = issued("a.internal")
        made.certificate.verify_directly_issued_by(ca().certificate)
        self.assertEqual(
            extension(made, ExtensionOID.AUTHORITY_KEY_IDENTIFIER).value.key_identifier,
            extension(ca(), ExtensionOID.SUBJECT_KEY_IDENTIFIER).value.digest,
        )
        with self.assertRaises((ValueError, InvalidSignature)):
            made.certificate.verify_directly_issued_by(ca("other").certificate)

    def test_it_ends_with_the_authority(self) -> None:
        """One that would outlive it is cut; of one that has expired there is none."""
        late = NOW + 3600 * DAY
        self.assertEqual(issued("a", now=late).end, ca().end)
        with self.assertRaises(NotIssued) as caught:
            issued("a", now=NOW + 3650 * DAY)
        self.assertIn("the authority expired on 2036-", str(caught.exception))

    def test_what_is_not_permitted(self) -> None:
        """A name that nobody would believe is not issued, and what would be is said."""
        for text in ("example.com", "notinternal", "internal.evil.test", "*.evil.test", "10.0.0.1"):
            with self.assertRaises(NotIssued) as caught:
                issued("a.internal", text, by=ca("internal"))
            self.assertEqual(
                str(caught.exception),
                f"{text}: this authority is believed for internal alone; make one that permits it, "
                "with --permit",
            )

    def test_what_is_permitted(self) -> None:
        """The domain itself, all below it, and addresses of the network."""
        by = ca("internal", "10.0.0.0/8")
        issued("internal", "a.internal", "*.a.internal", "a.b.internal", "10.9.9.9", by=by)

    def test_names_that_are_none(self) -> None:
        """They are shown."""
        for text in ("a b", "*", "a.*", "*.*.x", "*.internal", "300.1.1.1", "", "https://a"):
            with self.assertRaises(NotIssued):
                name(text)

    def test_a_long_name(self) -> None:
        """A title has room for 64 characters; the name itself is whole."""
        long = f"{'a' * 60}.{'b' * 60}.internal"
        made = issued(long)
        (title,) = made.certificate.subject
        self.assertEqual(len(title.value), 64)
        names = extension(made, ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
        self.assertEqual(names.get_values_for_type(x509.DNSName), [long])

    def test_no_key_is_shown(self) -> None:
        """The key stands in no text."""
        self.assertNotIn("key", repr(ca()))
