"""
Authenticate's own session: who somebody is, and what it takes to ask the provider again.

It is the only place where the provider's tokens are kept: in one cookie at authenticate's
host, sealed with a key that no other service has.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import orjson

from pomeriumd.crypto.keys import KeyRing
from pomeriumd.crypto.seal import seal, unseal
from pomeriumd.crypto.tokens import second
from pomeriumd.errors import BadToken
from pomeriumd.session.claims import check_version, identity_claims, read_identity, text
from pomeriumd.session.cookies import VALUE_SIZE
from pomeriumd.session.session import Identity

VERSION = 1
"""Of the content; another number is refused."""

TOKEN_SIZE = VALUE_SIZE
"""Longest token of the provider's, in characters: what does not fit a cookie anyway."""


@attrs.frozen(kw_only=True)
class ProviderSession:
    """One person's session at authenticate. Times are whole seconds since the epoch."""

    id: str
    """Random; every route session of this sign-in has the same."""
    identity: Identity
    auth_time: int
    """When the person signed in at the provider."""
    checked: int
    """When the provider last confirmed the person."""
    seen: int
    """When the person was last known to be there."""
    expires: int
    """Absolute end."""
    refresh_token: str | None = attrs.field(default=None, repr=False)
    id_token: str | None = attrs.field(default=None, repr=False)
    """A hint for the provider's own sign-out; the first thing to go when there is no room."""


def seal_provider(
    keys: KeyRing,
    session: ProviderSession,
    *,
    audience: str,
    issuer: str,
    random: Callable[[int], bytes],
) -> str:
    """
    Return the session as a cookie's value.

    Args:
        keys: of authenticate alone.
        session: what to keep. Tokens that do not fit are left out: first the ID token,
            then the refresh token, without which a renewal goes by way of the provider.
        audience: ``host:port`` of authenticate.
        issuer: the provider in the settings; its sessions open under no other.
        random: returns that many unpredictable bytes.
    """
    for each in (
        session,
        attrs.evolve(session, id_token=None),
        attrs.evolve(session, id_token=None, refresh_token=None),
    ):
        plain = orjson.dumps(_content(each))
        if _sealed_size(plain) <= VALUE_SIZE:
            break
    return seal(keys, plain, context=_context(audience, issuer), random=random)


def open_provider(keys: KeyRing, sealed: str, *, audience: str, issuer: str) -> ProviderSession:
    """
    Return the session in a cookie's value; its times are for the caller to judge.

    Raises:
        BadToken: made elsewhere, altered, or of another version.
    """
    content = orjson.loads(unseal(keys, sealed, context=_context(audience, issuer)))
    check_version(content, VERSION)
    return ProviderSession(
        id=text(content, "sid"),
        identity=read_identity(content),
        auth_time=second(content, "auth_time"),
        checked=second(content, "chk"),
        seen=second(content, "seen"),
        expires=second(content, "exp"),
        refresh_token=_token(content.get("refresh")),
        id_token=_token(content.get("id_token")),
    )


def _content(session: ProviderSession) -> dict[str, object]:
    return {
        "v": VERSION,
        "sid": session.id,
        **identity_claims(session.identity),
        "auth_time": session.auth_time,
        "chk": session.checked,
        "seen": session.seen,
        "exp": session.expires,
        "refresh": session.refresh_token,
        "id_token": session.id_token,
    }


def _token(value: object) -> str | None:
    if value is not None and not (isinstance(value, str) and len(value) <= TOKEN_SIZE):
        raise BadToken("session holds a provider's token that is none")
    return value


def _sealed_size(plain: bytes) -> int:
    """Return the length of the text that sealing these octets gives."""
    octets = 1 + 24 + len(plain) + 16
    return -(-octets * 4 // 3)


def _context(audience: str, issuer: str) -> bytes:
    return f"provider session 1\n{audience}\n{issuer}".encode()
