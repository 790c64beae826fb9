"""
Who may use a route: its rules, compiled once, decided in less than a microsecond.

Rules are alternatives: whoever meets one is let in, whoever meets none is not, and a
route without rules admits nobody. A list of client certificates is a condition besides them.
Nothing here knows hosts, paths or sessions.

What is compared, and how:

*E-mail addresses and domains* in ASCII lower case, the local part too. No mail system
in use gives Alice@ and alice@ to two people, providers hand out whatever capitals the
person once typed, and a rule that one capital can dodge is a trap for the one who wrote
it. Never in Unicode's folding: the Kelvin sign is no k.

*Subjects and groups* byte by byte.

An entry of ``allowed_users`` with an ``@`` is an e-mail address and nothing else: some
providers let people choose their subject, and one who chose the director's address has
not thereby verified it. An entry without one is a subject.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from pomeriumd.access import decision as why
from pomeriumd.access.decision import Allow, Decision, Deny, SignIn
from pomeriumd.access.verdict import CLIENT_CERTIFICATE, SESSION
from pomeriumd.session.session import Identity
from pomeriumd.settings.model import RouteSettings

EVERYONE: frozenset[str] = frozenset()
ONE_PERSON = frozenset({SESSION})
ONE_CERTIFICATE = frozenset({CLIENT_CERTIFICATE})

PUBLIC = Allow((why.ACCEPT,))
ANY_USER = Allow((why.USER_OK,))
LISTED_EMAIL = Allow((why.EMAIL_OK,))
LISTED_DOMAIN = Allow((why.DOMAIN_OK,))
LISTED_GROUP = Allow((why.GROUPS_OK,))
NO_CERTIFICATE = Deny((why.CERTIFICATE_REQUIRED,))
OTHER_CERTIFICATE = Deny((why.CERTIFICATE_UNAUTHORIZED,))
NOBODY = SignIn((why.USER_UNAUTHENTICATED,))
# Not a denial: once the operator has changed the provider, every session of the old one
# has to begin again, and its owner can do that.
STRANGER = SignIn((why.ISSUER_UNAUTHORIZED, why.USER_UNAUTHENTICATED))


def ascii_lower(text: str) -> str:
    """Return the text with A to Z in lower case and every other character untouched."""
    if text.isascii():
        return text.lower()
    # str.lower() would make a k of the Kelvin sign (U+212A): bytes.lower() does not.
    return text.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")


def email_domain(email: str) -> str:
    """
    Return the domain of an address, or "" when it has none that could be trusted.

    There is one only behind exactly one ``@`` with something before it: of
    ``a@evil.com@example.com`` different readers take different ends.
    """
    local, _, domain = email.partition("@")
    return ascii_lower(domain) if local and "@" not in domain else ""


@attrs.frozen(kw_only=True)
class Policy:
    """The rules of one route; frozen, and safe to ask from any thread."""

    public: bool = False
    """Everyone is let in, signed in or not."""
    any_user: bool = False
    """Everyone who is signed in is let in."""
    issuer: str | None = None
    """The only provider whose identities count; None to count them all."""
    emails: frozenset[str] = frozenset()
    """In ASCII lower case, each with exactly one ``@``."""
    domains: frozenset[str] = frozenset()
    """In ASCII lower case, none empty, none with an ``@``."""
    subjects: frozenset[str] = frozenset()
    """None empty."""
    groups: frozenset[str] = frozenset()
    """None empty."""
    certificates: frozenset[str] = frozenset()
    """Hashes of the only client certificates that get on, whatever else is met; none for all."""
    _deny: Deny = attrs.field(init=False, repr=False, eq=False)
    _deny_without_email: Deny = attrs.field(init=False, repr=False, eq=False)

    @_deny.default
    def _tried(self) -> Deny:
        tried = (
            (self.emails, why.EMAIL_UNAUTHORIZED),
            (self.subjects, why.USER_UNAUTHORIZED),
            (self.domains, why.DOMAIN_UNAUTHORIZED),
            (self.groups, why.GROUPS_UNAUTHORIZED),
        )
        return Deny(tuple(word for rule, word in tried if rule) or (why.NO_RULE,))

    @_deny_without_email.default
    def _tried_without_email(self) -> Deny:
        asks_for_email = self.emails or self.domains
        return Deny((*self._deny.reasons, *((why.EMAIL_UNVERIFIED,) if asks_for_email else ())))

    @property
    def depends_on(self) -> frozenset[str]:
        """Return what its decisions depend on, as ``Verdict.depends_on`` has it."""
        who = EVERYONE if self.public else ONE_PERSON
        return who | ONE_CERTIFICATE if self.certificates else who

    def decide(self, identity: Identity | None, certificate: str = "") -> Decision:
        """
        Say whether this person may use the route.

        Args:
            identity: who asks, as the provider vouched for them; None for nobody.
            certificate: of the client, as ``CLIENT_CERTIFICATE`` has it; "" for none.

        Returns:
            Allow with the first criterion met (e-mail, domain, groups, subject), Deny
            with all that were tried, or SignIn when nobody who counts here asks.
        """
        # Before anybody is sent to sign in: that would not change it.
        if self.certificates and self.certificates.isdisjoint(certificate.split(" ")):
            return OTHER_CERTIFICATE if certificate else NO_CERTIFICATE
        if self.public:
            return PUBLIC
        if identity is None:
            return NOBODY
        if self.issuer is not None and identity.issuer != self.issuer:
            return STRANGER
        return ANY_USER if self.any_user else self._listed(identity)

    def _listed(self, identity: Identity) -> Decision:
        if identity.email is not None:
            email = ascii_lower(identity.email)
            # The sets hold only well-formed entries, so an address with two @ or
            # without a local part equals none of them.
            if email in self.emails:
                return LISTED_EMAIL
            local, _, domain = email.partition("@")
            if local and domain in self.domains:
                return LISTED_DOMAIN
        if not self.groups.isdisjoint(identity.groups):
            return LISTED_GROUP
        if identity.subject in self.subjects:
            return ANY_USER
        return self._deny_without_email if identity.email is None else self._deny


def compile_policy(route: RouteSettings, issuer: str | None = None) -> Policy:
    """
    Compile the access rules of a route.

    Args:
        route: checked settings. An entry that could never be met by a well-formed
            identity (empty, an address with two ``@``) is left out and so admits nobody.
        issuer: the provider whose identities count; None to count them all.
    """
    return Policy(
        public=route.allow_public_unauthenticated_access,
        any_user=route.allow_any_authenticated_user,
        issuer=issuer,
        emails=frozenset(ascii_lower(user) for user in route.allowed_users if email_domain(user)),
        domains=frozenset(
            ascii_lower(text) for text in _filled(route.allowed_domains) if "@" not in text
        ),
        subjects=frozenset(user for user in _filled(route.allowed_users) if "@" not in user),
        groups=frozenset(_filled(route.allowed_groups)),
        certificates=frozenset(route.allowed_client_certificates),
    )


def _filled(entries: Iterable[str]) -> Iterable[str]:
    """Leave out empty entries: a provider that sends an empty group means none."""
    return (entry for entry in entries if entry)
