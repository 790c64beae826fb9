"""Tests for making an identity of claims."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.errors import LoginFailed
from pomeriumd.oidc.identity import (
    MAX_GROUPS,
    address,
    build,
    check_userinfo,
    gone_silent,
    is_complete,
)
from pomeriumd.oidc.kinds import KINDS
from pomeriumd.session.session import Identity

OIDC = KINDS["oidc"]
ANN = {"email": "ann@example.com", "email_verified": True}


def made(*sources: dict[str, Any], kind: str = "oidc") -> Identity:
    """Return the identity of these claims."""
    return build(KINDS[kind], "https://idp", "s1", sources)


class AddressTests(SynchronousTestCase):
    """address() takes what has one reading as local part and domain."""

    def test_domain_is_lower_case(self) -> None:
        """The domain alone: before the @ case may mean something."""
        self.assertEqual(address("Ann.B+c@Example.COM"), "Ann.B+c@example.com")
        self.assertEqual(address("a@b"), "a@b")

    def test_only_ascii_is_lowered(self) -> None:
        """The Kelvin sign does not become a k, nor a dotted capital I an i."""
        self.assertEqual(address("a@\u212aelvin.com"), "a@\u212aelvin.com")
        self.assertEqual(address("a@\u0130.com"), "a@\u0130.com")

    def test_what_is_no_address(self) -> None:
        """Two @, none, an empty side, space, control or format characters (O8)."""
        for value in (
            "attacker@evil.example@example.com",
            '"a@b"@example.com',
            "example.com",
            "@example.com",
            "ann@",
            "@",
            "",
            "ann @example.com",
            " ann@example.com",
            "ann@example.com\n",
            "ann@example.com\r\nX-Admin: 1",
            "ann@exam\x00ple.com",
            "ann@exam\u200bple.com",
            "ann@example.com\u202e",
            "ann\u00a0@example.com",
            "ann\t@example.com",
            "a" * 250 + "@b.de",
            None,
            7,
            True,
            ["ann@example.com"],
            {"email": "ann@example.com"},
        ):
            self.assertIsNone(address(value), value)

    @given(st.text(alphabet="aK@ .\n\u212a", max_size=12))
    def test_an_address_has_one_at_and_stays_itself(self, value: str) -> None:
        """What comes out has two sides, and goes through again unchanged."""
        found = address(value)
        if found is not None:
            local, _, domain = found.partition("@")
            self.assertTrue(local)
            self.assertTrue(domain)
            self.assertEqual(found.count("@"), 1)
            self.assertTrue(value.startswith(f"{local}@"))
            self.assertEqual(address(found), found)


class EmailTests(SynchronousTestCase):
    """An address is in the identity only when its source calls it verified."""

    def test_verified_is_taken(self) -> None:
        """From the ID token, or from userinfo when that alone has one."""
        self.assertEqual(made(ANN).email, "ann@example.com")
        self.assertEqual(made({}, ANN).email, "ann@example.com")

    def test_unverified_is_no_address(self) -> None:
        """False, text and silence are all not true (O9)."""
        for verified in (False, "true", "false", 1, None):
            self.assertIsNone(made({**ANN, "email_verified": verified}).email, verified)
        self.assertIsNone(made({"email": "ann@example.com"}).email)

    def test_userinfo_speaks_only_where_the_id_token_was_silent(self) -> None:
        """The same address may be vouched for later; another, or a no, may not."""
        silent = {"email": "ann@example.com"}
        self.assertEqual(made(silent, ANN).email, "ann@example.com")
        self.assertIsNone(made(silent, {**ANN, "email": "bob@example.com"}).email)
        self.assertIsNone(made({**silent, "email_verified": False}, ANN).email)
        self.assertIsNone(made({"email": "a@b@c"}, ANN).email)
        self.assertIsNone(made({"email": None}, ANN).email)
        self.assertIsNone(made(silent, {"email_verified": True}).email)

    def test_verified_alone_vouches_for_nothing_else(self) -> None:
        """The mark counts for the address beside it."""
        self.assertIsNone(made({"email_verified": True}, {"email": "bob@example.com"}).email)

    def test_azure_never_uses_userinfo(self) -> None:
        """Graph's userinfo has an e-mail without any word of its domain's owner."""
        self.assertIsNone(made({}, ANN, kind="azure").email)
        self.assertEqual(made({**ANN, "xms_edov": 1}, kind="azure").email, "ann@example.com")


class GroupTests(SynchronousTestCase):
    """Groups come from one source, as texts that can stand in a header field."""

    def test_list_or_one_text(self) -> None:
        """A provider with one group may write it bare."""
        self.assertEqual(made({"groups": ["a", "b"]}).groups, ("a", "b"))
        self.assertEqual(made({"groups": "a b"}).groups, ("a b",))
        self.assertEqual(made({"cognito:groups": ["a"]}, kind="cognito").groups, ("a",))

    def test_first_source_that_has_the_claim_counts(self) -> None:
        """An empty list in the ID token is an answer."""
        self.assertEqual(made({}, {"groups": ["b"]}).groups, ("b",))
        self.assertEqual(made({"groups": []}, {"groups": ["b"]}).groups, ())

    def test_what_is_no_group_is_left_out(self) -> None:
        """Other types, empty, too long, or with a line break; a group once only."""
        unfit: tuple[object, ...] = (None, 7, True, {}, {"a": 1}, [[]], "", ["a\nb", "", 7, None])
        for value in (*unfit, ["x" * 257]):
            self.assertEqual(made({"groups": value}).groups, (), value)
        self.assertEqual(made({"groups": ["a", 7, "b", "a"]}).groups, ("a", "b"))

    def test_groups_are_bounded(self) -> None:
        """What is over the bound is not looked at."""
        many = [str(number) for number in range(MAX_GROUPS + 5)]
        self.assertEqual(made({"groups": many}).groups, tuple(many[:MAX_GROUPS]))


class OtherTests(SynchronousTestCase):
    """The rest of the identity, and when to ask for more."""

    def test_issuer_and_subject_are_the_verified_ones(self) -> None:
        """Claims of the same names say nothing here."""
        identity = made({"iss": "https://evil", "sub": "root"})
        self.assertEqual((identity.issuer, identity.subject), ("https://idp", "s1"))

    def test_name_is_one_plain_line(self) -> None:
        """The first that can be shown; it decides nothing."""
        self.assertEqual(made({"name": "Änn B."}).name, "Änn B.")
        self.assertEqual(made({"name": ""}, {"name": "Ann"}).name, "Ann")
        for name in ("", "a\nb", "a\u202eb", "x" * 257, 7, None):
            self.assertIsNone(made({"name": name}).name)

    def test_userinfo_is_about_the_same_person(self) -> None:
        """Another sub, none, or one that only looks the same is refused."""
        check_userinfo({"sub": "s1"}, "s1")
        for sub in ("s2", "S1", "s1 ", None, 1, ["s1"]):
            with self.assertRaises(LoginFailed) as caught:
                check_userinfo({"sub": sub}, "s1")
            self.assertEqual(caught.exception.check, "userinfo-subject")
            self.assertEqual(str(caught.exception), "userinfo: sub is not that of the ID token")

    def test_complete_when_address_and_groups_are_there(self) -> None:
        """Groups may be empty but must be said."""
        for claims, complete in (
            ({**ANN, "groups": []}, True),
            (ANN, False),
            ({"groups": ["a"]}, False),
            ({"email": "ann@example.com", "groups": ["a"]}, False),
            ({**ANN, "email_verified": False, "groups": ["a"]}, True),
            ({}, False),
        ):
            self.assertIs(is_complete(OIDC, claims), complete)
        azure = {"email": "ann@example.com", "groups": ["a"]}
        self.assertIs(is_complete(KINDS["azure"], azure), True)

    def test_silence_is_told_from_a_change(self) -> None:
        """A claim that is gone is silence; one that is now empty or unverified is news."""
        before = made({**ANN, "groups": ["a"]})
        self.assertEqual(gone_silent(OIDC, before, [{"groups": ["a"]}]), "email")
        self.assertEqual(gone_silent(OIDC, before, [ANN]), "groups")
        self.assertIsNone(gone_silent(OIDC, before, [ANN, {"groups": []}]))
        changed = {"email": "ann@example.com", "email_verified": False, "groups": []}
        self.assertIsNone(gone_silent(OIDC, before, [changed]))
        self.assertIsNone(gone_silent(OIDC, made({}), [{}]))
