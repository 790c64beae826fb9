"""Promises of certificates for a time of trial: which ones they are."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.settings.provisional import is_provisional, is_self_signed
from tests.support.certificates import authority, issue

HOST = "app.example.test"


class ProvisionalTests(SynchronousTestCase):
    """is_provisional() finds what browsers warn of."""

    def test_one_that_vouches_for_itself(self) -> None:
        """Self-signed is for a time of trial."""
        self.assertTrue(is_provisional([issue(HOST).certificate]))

    def test_one_of_an_authority_of_ones_own_is_not(self) -> None:
        """A company's own authority may be trusted by its browsers."""
        chain = [issue(HOST, by=authority()).certificate, authority().certificate]
        self.assertFalse(is_provisional(chain))

    def test_one_that_only_bears_the_name_of_its_issuer(self) -> None:
        """Equal names do not do it: the signature must be its own."""
        one = issue(HOST, by=authority(), title="test authority").certificate
        self.assertEqual(one.issuer, one.subject)
        self.assertFalse(is_self_signed(one))

    def test_staging_authorities_of_lets_encrypt(self) -> None:
        """They say so in their names; the issuer's name is enough, without its certificate."""
        for title in ("(STAGING) Pretend Pear X1", "Fake LE Intermediate X1"):
            staging = issue(authority=True, title=title)
            self.assertTrue(is_provisional([issue(HOST, by=staging).certificate]))
        other = issue(authority=True, title="R11 (not STAGING)")
        self.assertFalse(is_provisional([issue(HOST, by=other).certificate]))
