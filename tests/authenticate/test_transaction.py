"""Tests for pomeriumd.authenticate.transaction."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.authenticate.transaction import Transaction, lost, refusal
from pomeriumd.errors import LoginFailed
from pomeriumd.session.sign_in import SignInRequest

ASKED = SignInRequest(redirect="https://app.example.com/", login="id.hash")
BEGUN = Transaction.begun("https://idp", ASKED, bytes(range(64)))


class TransactionTests(SynchronousTestCase):
    """A transaction is kept whole, and gives the code only of its own sign-in."""

    def refused(self, given: dict[str, str], check: str, issuer: str = "https://idp") -> str:
        """Assert that there is no code, by the named check; return the log's text."""
        with self.assertRaises(LoginFailed) as caught:
            BEGUN.code(given, issuer)
        self.assertEqual(caught.exception.check, check)
        return str(caught.exception)

    def test_is_kept_whole(self) -> None:
        """What the cookie held makes the same transaction."""
        self.assertEqual(Transaction.kept(BEGUN.content()), BEGUN)

    def test_verifier_and_nonce(self) -> None:
        """Both are 256 bits, and not from the same octets; neither is in the repr."""
        self.assertEqual((len(BEGUN.verifier), len(BEGUN.nonce)), (43, 43))
        self.assertNotEqual(BEGUN.verifier, BEGUN.nonce)
        self.assertNotIn(BEGUN.verifier, repr(BEGUN))
        self.assertNotIn(BEGUN.nonce, repr(BEGUN))

    def test_the_code(self) -> None:
        """The code is the parameter, when nothing else speaks against it."""
        self.assertEqual(BEGUN.code({"code": "c", "iss": "x"}, "https://idp"), "c")

    def test_another_provider(self) -> None:
        """A sign-in that began at another provider does not end at this one."""
        self.assertEqual(
            self.refused({"code": "c"}, "issuer-changed", "https://other"),
            "sign-in began at another provider than the one in the settings",
        )

    def test_an_error_beats_a_code(self) -> None:
        """A provider that says both is believed the error."""
        self.assertEqual(
            self.refused({"code": "c", "error": "access_denied"}, "provider-error"),
            "provider answered with error access_denied",
        )

    def test_no_code(self) -> None:
        """Neither code nor error is an answer."""
        for given in ({}, {"code": ""}):
            self.assertEqual(self.refused(given, "code-missing"), "callback without a code")


class RefusalTests(SynchronousTestCase):
    """A provider's no is passed on in words that cannot do harm."""

    def test_the_error_is_named(self) -> None:
        """The user reads the code and what it means."""
        self.assertEqual(
            refusal("access_denied", "").explain,
            "You, or the identity provider's rules, declined this sign-in."
            " Its error is access_denied.",
        )

    def test_the_providers_own_words(self) -> None:
        """They are shown, cut, and without what is not printable; the log has none of them."""
        failed = refusal("invalid_scope", "AADSTS70011:\r\n\x1b[31m scope\u202e " + "x" * 900)
        self.assertIn('It said: "AADSTS70011: [31m scope  xxx', failed.explain)
        self.assertLess(len(failed.explain), 600)
        self.assertEqual(str(failed), "provider answered with error invalid_scope")

    def test_an_error_that_is_no_code(self) -> None:
        """Markup, line ends and the rest of a stranger's ideas are not repeated."""
        for error in ("<b>x</b>", "a\nb", "", "A" * 10, "x" * 65, "é"):
            failed = refusal(error, "")
            self.assertEqual(str(failed), "provider answered with error unreadable")
            self.assertIn("Its error is unreadable.", failed.explain)

    def test_lost(self) -> None:
        """No cookie at all and no cookie of this sign-in are told apart."""
        self.assertEqual(str(lost([])), "callback without any cookie")
        self.assertEqual(str(lost([(b"a", b"b")])), "callback without its state cookie")
