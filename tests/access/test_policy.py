"""Who a compiled policy lets in, whom it refuses, and the reasons it gives."""

from __future__ import annotations

import inspect
from typing import Any

import attrs
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.access.decision import Allow, Decision, Deny, SignIn
from pomeriumd.access.policy import Policy, ascii_lower, compile_policy, email_domain
from pomeriumd.access.verdict import SESSION
from pomeriumd.session.session import Identity
from pomeriumd.settings.model import Origin, RouteSettings, UpstreamURL

ISSUER = "https://id.example.com"


def policy(issuer: str | None = None, **rules: Any) -> Policy:
    """Return the policy of a route with these rules."""
    return compile_policy(
        RouteSettings(
            place="policy[0]",
            from_=Origin("https", "app.example.com", 443),
            to=UpstreamURL("http", "127.0.0.1", 8080),
            **rules,
        ),
        issuer,
    )


def identity(
    email: str | None = "user@example.com",
    *,
    subject: str = "00u1",
    groups: tuple[str, ...] = (),
    issuer: str = ISSUER,
) -> Identity:
    """Return a person."""
    return Identity(issuer=issuer, subject=subject, email=email, groups=groups)


V05_ROWS: list[tuple[str, dict[str, Any], Identity, bool]] = [
    ("domain", {"allowed_domains": ("example.com",)}, identity("user@example.com"), True),
    (
        "domain-begins-more",
        {"allowed_domains": ("example.com",)},
        identity("a@1example.com"),
        False,
    ),
    ("domain-ends", {"allowed_domains": ("example.com",)}, identity("u@example.com2"), False),
    ("group", {"allowed_groups": ("admin",)}, identity(groups=("admin",)), True),
    ("other-group", {"allowed_groups": ("admin",)}, identity(groups=("everyone",)), False),
    ("empty-group", {"allowed_groups": ("admin",)}, identity(groups=("",)), False),
    ("second-group", {"allowed_groups": ("admin",)}, identity(groups=("all", "admin")), True),
    ("group-parts", {"allowed_groups": ("admin",)}, identity(groups=("admins", "sadmin")), False),
    ("e-mail", {"allowed_users": ("user@example.com",)}, identity("user@example.com"), True),
    (
        "other-e-mail",
        {"allowed_users": ("user@example.com",)},
        identity("user2@example.com"),
        False,
    ),
    ("no-rule", {}, identity("user2@example.com"), False),
]
"""The rules of Pomerium v0.5 on identities, in our own cases (shared reference, 3.1)."""

ALL_RULES: dict[str, Any] = {
    "allowed_users": ("user@example.com", "00u7"),
    "allowed_domains": ("example.com",),
    "allowed_groups": ("admin",),
}
OF_NO_USE = [
    "",
    "@",
    "user@",
    "@example.com",
    "user@evil.com@example.com",
    "user@example.com@evil.com",
    "user@@example.com",
    "user@evil-example.com",
    "user@sub.example.com",
    "user@example.com.",
    "user@.example.com",
    "user@example.com\n",
    " user@example.com ",
    "user@example.com\0",
    "user@example.co\u217f",  # small roman numeral thousand: an m only after NFKC
    "user@ex\uff41mple.com",  # full-width a
    "user@\u24d4xample.com",  # circled e
    "user@example\uff0ecom",  # full-width full stop
    "user\uff20example.com",  # full-width @
]
"""Addresses that must meet no rule on user@example.com or example.com."""


class FoldTests(SynchronousTestCase):
    """ascii_lower() and email_domain(): what is compared."""

    def test_says_what_it_depends_on(self) -> None:
        """Whoever asks, a public route's answer is the same; any other depends on who it is."""
        self.assertEqual(policy(allow_public_unauthenticated_access=True).depends_on, frozenset())
        self.assertEqual(policy(allowed_groups=("a",)).depends_on, {SESSION})

    def test_ascii_letters_only(self) -> None:
        """A to Z become small; the Kelvin sign and the dotted I stay what they are."""
        self.assertEqual(ascii_lower("ABC@Example.COM"), "abc@example.com")
        self.assertEqual(ascii_lower("A\u212a\u0130\u00c4"), "a\u212a\u0130\u00c4")

    @given(st.text(st.characters()))
    @example("\ud800A")
    def test_changes_no_other_character(self, text: str) -> None:
        """Every character but A to Z is kept, lone surrogates too."""
        lower = ascii_lower(text)
        self.assertEqual(len(lower), len(text))
        for old, new in zip(text, lower, strict=True):
            self.assertEqual(new, old.lower() if old in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" else old)

    def test_domain_as_in_v05(self) -> None:
        """There is a domain behind exactly one @ with something before it, as in v0.5."""
        rows = {
            "user@pomerium.io": "pomerium.io",
            "user@.io": ".io",
            "": "",
            "@uhoh.com": "",
            "uhoh@": "",
            "a@b@c": "",
            "User@Example.COM": "example.com",
        }
        self.assertEqual({email: email_domain(email) for email in rows}, rows)


class DecideTests(SynchronousTestCase):
    """Policy.decide()."""

    def check(self, rules: dict[str, Any], who: Identity | None, wanted: Decision) -> None:
        """Assert what a policy of these rules answers to this person."""
        self.assertEqual(policy(**rules).decide(who), wanted)

    def test_rows_of_v05(self) -> None:
        """Each identity rule of v0.5 gives what it gave there."""
        for name, rules, who, admitted in V05_ROWS:
            with self.subTest(name):
                self.assertEqual(isinstance(policy(**rules).decide(who), Allow), admitted)

    def test_public(self) -> None:
        """A public route admits everyone, signed in or not, from any provider."""
        public = policy(ISSUER, allow_public_unauthenticated_access=True)
        self.assertTrue(public.public)
        for who in (None, identity(), identity(None, issuer="https://other.example")):
            self.assertEqual(public.decide(who), Allow(("accept",)))

    def test_any_user(self) -> None:
        """Everyone who is signed in is admitted, even without an e-mail address."""
        self.check({"allow_any_authenticated_user": True}, identity(None), Allow(("user-ok",)))

    def test_nobody(self) -> None:
        """Whoever is not signed in is sent to sign in, whatever the rules."""
        for rules in ({}, ALL_RULES, {"allow_any_authenticated_user": True}):
            self.check(rules, None, SignIn(("user-unauthenticated",)))

    def test_reasons_on_allow(self) -> None:
        """The criterion that was met is named: e-mail, then domain, then groups, then subject."""
        self.check(ALL_RULES, identity(groups=("admin",)), Allow(("email-ok",)))
        self.check(ALL_RULES, identity("b@example.com", groups=("admin",)), Allow(("domain-ok",)))
        self.check(ALL_RULES, identity("b@b.example", groups=("admin",)), Allow(("groups-ok",)))
        self.check(ALL_RULES, identity("b@b.example", subject="00u7"), Allow(("user-ok",)))

    def test_reasons_on_deny(self) -> None:
        """All criteria that were tried are named, and no other."""
        who = identity("b@b.example")
        tried = (
            "email-unauthorized",
            "user-unauthorized",
            "domain-unauthorized",
            "groups-unauthorized",
        )
        self.check(ALL_RULES, who, Deny(tried))
        self.check({"allowed_groups": ("a",)}, who, Deny(("groups-unauthorized",)))
        self.check({"allowed_users": ("00u7",)}, who, Deny(("user-unauthorized",)))
        self.check({}, who, Deny(("no-rule",)))

    def test_says_that_the_e_mail_is_missing(self) -> None:
        """Without a verified address the denial says so, where a rule asks for one."""
        for rule, word in (
            ({"allowed_domains": ("example.com",)}, "domain-unauthorized"),
            ({"allowed_users": ("user@example.com",)}, "email-unauthorized"),
        ):
            self.check(rule, identity(None), Deny((word, "email-unverified")))
        self.check({"allowed_groups": ("a",)}, identity(None), Deny(("groups-unauthorized",)))

    def test_entries_in_any_case(self) -> None:
        """A to Z are the same in either case, on both sides of the @ and of the rule."""
        for rule in ("User@Example.COM", "user@example.com"):
            for email in ("user@example.com", "USER@EXAMPLE.COM", "uSeR@eXample.com"):
                self.check({"allowed_users": (rule,)}, identity(email), Allow(("email-ok",)))
        for domain in ("Example.COM", "example.com"):
            who = identity("User@EXAMPLE.com")
            self.check({"allowed_domains": (domain,)}, who, Allow(("domain-ok",)))

    def test_subjects_and_groups_are_exact(self) -> None:
        """Another case of a subject or a group is another subject or group."""
        who = identity(None, subject="ABC", groups=("Admins",))
        self.assertIsInstance(policy(allowed_users=("abc",)).decide(who), Deny)
        self.assertIsInstance(policy(allowed_groups=("admins",)).decide(who), Deny)

    def test_addresses_of_no_use(self) -> None:
        """Malformed, look-alike, sub- and super-domains meet no rule on e-mail or domain."""
        for email in OF_NO_USE:
            with self.subTest(email):
                self.assertIsInstance(policy(**ALL_RULES).decide(identity(email)), Deny)

    def test_an_entry_of_no_use_admits_nobody(self) -> None:
        """A malformed entry matches nobody, not even a person with that very address."""
        for entry in ("", "@", "a@", "@b", "a@b@c"):
            rules = policy(allowed_users=(entry,), allowed_domains=(entry,), allowed_groups=("",))
            for who in (identity(entry, groups=("",)), identity("a@", subject="")):
                with self.subTest(entry):
                    self.assertIsInstance(rules.decide(who), Deny)

    def test_a_subject_is_no_e_mail(self) -> None:
        """A chosen subject that looks like a listed address does not open its door."""
        who = identity(None, subject="user@example.com")
        self.check(
            {"allowed_users": ("user@example.com",)},
            who,
            Deny(("email-unauthorized", "email-unverified")),
        )

    def test_another_provider_does_not_count(self) -> None:
        """An identity of another issuer must sign in again, whatever it claims."""
        stranger = SignIn(("issuer-unauthorized", "user-unauthenticated"))
        for rules in (ALL_RULES, {"allow_any_authenticated_user": True}):
            compiled = policy(ISSUER, **rules)
            self.assertIsInstance(compiled.decide(identity()), Allow)
            for issuer in (ISSUER + "/", ISSUER.upper(), "https://evil.example", ""):
                self.assertEqual(compiled.decide(identity(issuer=issuer)), stranger)

    def test_frozen(self) -> None:
        """Nothing can widen a policy once it is compiled."""
        compiled = policy(**ALL_RULES)
        with self.assertRaises(attrs.exceptions.FrozenInstanceError):
            compiled.public = True  # type: ignore[misc]  # that is what is refused
        for rule in (compiled.emails, compiled.domains, compiled.subjects, compiled.groups):
            self.assertIsInstance(rule, frozenset)

    def test_awaits_nothing(self) -> None:
        """A decision is there at once."""
        self.assertFalse(inspect.isawaitable(policy().decide(None)))


words = st.sampled_from(["a", "A", "b", "c", "admin", "", "\u212a", "a-b"])
emails = st.one_of(
    st.builds("{}@{}".format, words, st.sampled_from(["x.io", "X.io", "y.x.io", "", "a@x.io"])),
    words,
)
rules = st.fixed_dictionaries(
    {
        "allowed_users": st.lists(emails, max_size=3).map(tuple),
        "allowed_domains": st.lists(st.sampled_from(["x.io", "y.x.io", "", "@x.io"])).map(tuple),
        "allowed_groups": st.lists(words, max_size=2).map(tuple),
        "allow_any_authenticated_user": st.booleans(),
    }
)
people = st.builds(
    Identity,
    issuer=st.sampled_from([ISSUER, "https://other.example"]),
    subject=words,
    email=st.none() | emails,
    groups=st.lists(words, max_size=3).map(tuple),
)


def sentence(rules: dict[str, Any], who: Identity) -> bool:
    """Say whether the manual's sentence admits this person; written to be read, not to be fast."""
    fold = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
    parts = (who.email or "").translate(fold).split("@")
    proper = len(parts) == 2 and all(parts)
    users = [user.translate(fold).split("@") for user in rules["allowed_users"] if "@" in user]
    return (
        rules["allow_any_authenticated_user"]
        or (proper and parts in users)
        or (proper and parts[1] in rules["allowed_domains"])
        or any(group in rules["allowed_groups"] for group in who.groups if group)
        or (bool(who.subject) and "@" not in who.subject and who.subject in rules["allowed_users"])
    )


class LawTests(SynchronousTestCase):
    """What holds for every policy and every person."""

    @given(rules, people)
    def test_is_what_the_manual_says(self, rules: dict[str, Any], who: Identity) -> None:
        """Exactly those are admitted whom the manual's sentence admits."""
        self.assertEqual(isinstance(policy(**rules).decide(who), Allow), sentence(rules, who))

    @given(rules, people, emails, words)
    def test_more_entries_deny_nobody(
        self, rules: dict[str, Any], who: Identity, user: str, group: str
    ) -> None:
        """Whoever is admitted stays admitted when a user, domain or group is added."""
        before = policy(ISSUER, **rules).decide(who)
        for key, entry in (
            ("allowed_users", user),
            ("allowed_domains", "x.io"),
            ("allowed_groups", group),
        ):
            after = policy(ISSUER, **{**rules, key: (*rules[key], entry)}).decide(who)
            self.assertFalse(isinstance(before, Allow) and not isinstance(after, Allow))

    @given(people, st.none() | st.just(ISSUER))
    def test_no_entry_admits_nobody(self, who: Identity, issuer: str | None) -> None:
        """Without rules nobody is admitted."""
        self.assertNotIsInstance(policy(issuer).decide(who), Allow)

    @given(rules, people)
    def test_a_stranger_is_never_admitted(self, rules: dict[str, Any], who: Identity) -> None:
        """With an issuer given, an identity of another one is admitted nowhere."""
        decided = policy("https://only.example", **rules).decide(who)
        self.assertIsInstance(decided, SignIn)

    @given(rules, people)
    def test_every_decision_has_reasons(self, rules: dict[str, Any], who: Identity) -> None:
        """No decision is silent."""
        self.assertTrue(policy(**rules).decide(who).reasons)
