"""Tests for the table of provider kinds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.oidc.kinds import KINDS, issuer_of
from pomeriumd.oidc.metadata import OURS, issuer_problem

# Everything that has been seen where a boolean belongs, and is not true.
NOT_TRUE: tuple[object, ...] = (
    False,
    None,
    0,
    1,
    "false",
    "False",
    "TRUE",
    "yes",
    "1",
    "",
    [],
    [True],
    {},
    1.0,
)


class VerifiedTests(SynchronousTestCase):
    """An e-mail counts as verified by its kind's rule, and by nothing that looks like it."""

    def test_json_true_alone_verifies(self) -> None:
        """Every kind but Cognito and Azure takes email_verified true and nothing else (O9)."""
        for name in KINDS.keys() - {"azure", "cognito"}:
            verified = KINDS[name].verified
            self.assertIs(verified({"email_verified": True}), True, name)
            for value in (*NOT_TRUE, "true"):
                self.assertIs(verified({"email_verified": value}), False, (name, value))
            self.assertIsNone(verified({"email": "a@b"}), name)

    def test_cognito_writes_true_as_text(self) -> None:
        """Cognito's "true" verifies, its "false" and all else do not."""
        verified = KINDS["cognito"].verified
        self.assertIs(verified({"email_verified": True}), True)
        self.assertIs(verified({"email_verified": "true"}), True)
        for value in NOT_TRUE:
            self.assertIs(verified({"email_verified": value}), False, value)
        self.assertIsNone(verified({}))

    def test_azure_needs_the_domain_owner_claim(self) -> None:
        """An Entra tenant writes any e-mail it likes; only xms_edov vouches for it."""
        verified = KINDS["azure"].verified
        self.assertIs(verified({"xms_edov": True}), True)
        self.assertIs(verified({"xms_edov": 1}), True)
        self.assertIs(verified({"email_verified": True}), False)
        for value in (False, 0, 2, "1", "true", None, [1], 1.0):
            self.assertIs(verified({"xms_edov": value, "email_verified": True}), False, value)

    @given(st.sampled_from(sorted(KINDS)), st.dictionaries(st.text(), st.text()))
    def test_no_other_claim_verifies(self, name: str, claims: dict[str, str]) -> None:
        """Claims without the one that counts never verify."""
        claims.pop("email_verified", None)
        self.assertIsNot(KINDS[name].verified(claims), True)


class TableTests(SynchronousTestCase):
    """Every row can be signed in with."""

    def test_rows_are_usable(self) -> None:
        """Scopes begin with openid, issuers will do, no row sets a parameter of ours."""
        for name, kind in KINDS.items():
            self.assertEqual(kind.name, name)
            self.assertEqual(kind.scopes[0], "openid")
            self.assertFalse(OURS & dict(kind.parameters).keys())
            if kind.issuer is not None:
                self.assertIsNone(issuer_problem(kind.issuer))

    def test_issuer_comes_from_settings_then_kind(self) -> None:
        """Settings go first; only where there is one for all does the kind know it."""
        self.assertEqual(issuer_of(KINDS["google"], None), "https://accounts.google.com")
        self.assertEqual(issuer_of(KINDS["gitlab"], "https://git.corp"), "https://git.corp")
        for name in ("oidc", "okta", "auth0", "cognito", "ping"):
            self.assertIsNone(issuer_of(KINDS[name], None), name)

    def test_auth0_ends_with_one_slash(self) -> None:
        """The slash of Auth0's issuer is added when it was left out, and no other's."""
        for written in ("https://t.auth0.com", "https://t.auth0.com/"):
            self.assertEqual(issuer_of(KINDS["auth0"], written), "https://t.auth0.com/")
        self.assertEqual(issuer_of(KINDS["oidc"], "https://idp.corp"), "https://idp.corp")
