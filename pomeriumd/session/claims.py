"""
A session as claims, and claims as a session: strict both ways.

The route token and the hand-off hold the same claims. Whoever made them held our key;
they are checked all the same, because an older or newer version of ours is a stranger.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pomeriumd.crypto.tokens import second
from pomeriumd.errors import BadToken
from pomeriumd.session.session import Identity, Session

VERSION = 1
"""Of these claims; another number is refused."""

TEXT_SIZE = 1024
"""Longest single text, in characters: a subject has 255, an address 254, a URL some more."""

GROUP_COUNT = 512
"""Most groups of one person; their size together is bounded when they are chosen."""


def identity_claims(identity: Identity) -> dict[str, object]:
    """Return who somebody is, as claims."""
    return {
        "idp": identity.issuer,
        "sub": identity.subject,
        "email": identity.email,
        "name": identity.name,
        "groups": list(identity.groups),
    }


def read_identity(claims: Mapping[str, Any]) -> Identity:
    """
    Return who the claims are about.

    Raises:
        BadToken: a claim is missing, of another type, or out of its bounds.
    """
    email = _optional(claims, "email")
    if email is not None and email.count("@") != 1:
        raise BadToken("token's email is no address")
    groups = claims.get("groups")
    if type(groups) is not list or len(groups) > GROUP_COUNT:
        raise BadToken(f"token's groups are no list of {GROUP_COUNT} at most")
    if not all(type(group) is str and 0 < len(group) <= TEXT_SIZE for group in groups):
        raise BadToken("token's groups hold something that is no group")
    return Identity(
        issuer=text(claims, "idp"),
        subject=text(claims, "sub"),
        email=email,
        name=_optional(claims, "name"),
        groups=tuple(groups),
    )


def session_claims(session: Session) -> dict[str, object]:
    """Return a session as claims, ``iat`` left to the caller."""
    return {
        "v": VERSION,
        "iss": session.issuer,
        "aud": session.audience,
        "sid": session.id,
        **identity_claims(session.identity),
        "auth_time": session.auth_time,
        "chk": session.checked,
        "rck": session.recheck,
        "seen": session.seen,
        "exp": session.expires,
    }


def read_session(claims: Mapping[str, Any]) -> Session:
    """
    Return the session that the claims describe.

    Raises:
        BadToken: another version, or a claim that is missing, of another type, or out of
            its bounds.
    """
    check_version(claims, VERSION)
    return Session(
        id=text(claims, "sid"),
        identity=read_identity(claims),
        issuer=text(claims, "iss"),
        audience=text(claims, "aud"),
        auth_time=second(claims, "auth_time"),
        checked=second(claims, "chk"),
        recheck=second(claims, "rck"),
        seen=second(claims, "seen"),
        expires=second(claims, "exp"),
    )


def check_version(claims: Mapping[str, Any], version: int) -> None:
    """Return if the claims are of this version; BadToken if not (``True`` is not 1)."""
    found = claims.get("v")
    if type(found) is not int or found != version:
        raise BadToken("token is of another version")


def text(claims: Mapping[str, Any], name: str, *, size: int = TEXT_SIZE) -> str:
    """Return a claim that has to be a text of 1 to ``size`` characters; BadToken if not."""
    value = claims.get(name)
    if type(value) is not str or not 0 < len(value) <= size:
        raise BadToken(f"token's {name} is no text of 1 to {size} characters")
    return value


def _optional(claims: Mapping[str, Any], name: str) -> str | None:
    if name in claims and claims[name] is None:
        return None
    return text(claims, name)
