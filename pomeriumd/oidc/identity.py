"""
Whom the provider vouched for: checked claims become an Identity.

Pure. The ID token speaks first and the userinfo answer fills its gaps. An e-mail address
is there only when its source calls it verified by the rule of the provider's kind.

Source: OpenID Connect Core 1.0 sections 5.1, 5.3.2 and 5.7.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

from pomeriumd.oidc.kinds import Claims, Kind
from pomeriumd.oidc.refusals import refusal
from pomeriumd.session.session import Identity

MAX_EMAIL = 254
"""Characters of an address. Source: RFC 5321 section 4.5.3.1.3, erratum 1690."""

MAX_NAME = 256
"""Characters of a person's name; a longer one is no name."""

MAX_GROUPS = 10_000
"""Groups of one person that are looked at. What a session can hold is far less, and
chosen with a view to the policies: see session.groups."""

MAX_GROUP = 256
"""Characters of one group; a longer one is left out."""

_ADDRESS = re.compile(r"([^@]+)@([^@]+)")
# ASCII alone: str.lower() also turns the Kelvin sign into k, and so one domain into
# another.
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def build(kind: Kind, issuer: str, subject: str, sources: Sequence[Claims]) -> Identity:
    """
    Put together who signed in.

    Args:
        kind: of the provider.
        issuer: verified.
        subject: verified.
        sources: claims whose subject is ``subject``, the more trusted first.
    """
    return Identity(
        issuer=issuer,
        subject=subject,
        email=_email(kind, sources),
        name=_name(kind, sources),
        groups=_groups(kind, sources),
    )


def check_userinfo(userinfo: Claims, subject: str) -> None:
    """
    Refuse a userinfo answer about somebody else.

    Raises:
        LoginFailed: ``userinfo-subject``. Source: Core 1.0 section 5.3.2: the answer must
            not be used; with a stolen access token it would be another person's.
    """
    if userinfo.get("sub") != subject:
        raise refusal("userinfo-subject", "userinfo: sub is not that of the ID token")


def is_complete(kind: Kind, claims: Claims) -> bool:
    """Return whether the ID token's ``claims`` say all, so that nobody needs be asked."""
    says_email = "email" in claims and kind.verified(claims) is not None
    return says_email and kind.groups_claim in claims


def gone_silent(kind: Kind, before: Identity, sources: Sequence[Claims]) -> str | None:
    """
    Return which claim a refresh is silent about although the sign-in knew it.

    Some providers put a claim into the first ID token and nowhere else. To keep the old
    value would let a removed person stay; to drop it would lock out a rightful one: only
    a new sign-in tells.
    """
    if before.email and not any("email" in claims for claims in sources):
        return "email"
    if before.groups and not any(kind.groups_claim in claims for claims in sources):
        return kind.groups_claim
    return None


def address(value: object) -> str | None:
    """
    Return an e-mail address with its domain in lower case; None if it is none.

    Exactly one ``@``: of ``attacker@evil.example@example.com`` one reader takes the last
    part for the domain and another the first (O8).
    """
    if not isinstance(value, str) or len(value) > MAX_EMAIL or not _is_plain(value):
        return None
    match = _ADDRESS.fullmatch(value)
    return f"{match[1]}@{match[2].translate(_LOWER)}" if match and " " not in value else None


def _email(kind: Kind, sources: Sequence[Claims]) -> str | None:
    """
    Return the first source's address, if it is verified.

    A later source counts when the ones before have no address, or have the same and do
    not say whether it is verified. One that calls it unverified is the last word.
    """
    found: str | None = None
    for claims in sources:
        if "email" not in claims:
            continue
        email = address(claims["email"])
        if email is None or (found is not None and email != found):
            return None
        verified = kind.verified(claims)
        if verified is not None:
            return email if verified else None
        found = email
    return None


def _name(kind: Kind, sources: Sequence[Claims]) -> str | None:
    for claims in sources:
        name = claims.get(kind.name_claim)
        if isinstance(name, str) and 0 < len(name) <= MAX_NAME and _is_plain(name):
            return name
    return None


def _groups(kind: Kind, sources: Sequence[Claims]) -> tuple[str, ...]:
    for claims in sources:
        if kind.groups_claim in claims:
            return _listed(claims[kind.groups_claim])
    return ()


def _listed(value: object) -> tuple[str, ...]:
    listed = value if isinstance(value, list) else [value]
    return tuple(
        dict.fromkeys(
            group
            for group in listed[:MAX_GROUPS]
            if isinstance(group, str) and 0 < len(group) <= MAX_GROUP and _is_plain(group)
        )
    )


def _is_plain(text: str) -> bool:
    """Return whether ``text`` has no control, format, surrogate or line separator in it."""
    return text.isprintable()
