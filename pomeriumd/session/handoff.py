"""
The hand-off: how authenticate gives a session to a route host through the browser.

Sealed, for one host, for a minute, and for one login that this very browser began there:
a hand-off that somebody else was given opens nothing in another browser.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import orjson

from pomeriumd.crypto.keys import KeyRing
from pomeriumd.crypto.seal import seal, unseal
from pomeriumd.crypto.tokens import second
from pomeriumd.errors import BadToken
from pomeriumd.session.claims import read_session, session_claims, text
from pomeriumd.session.session import Session
from pomeriumd.session.target import TARGET_SIZE

HANDOFF_SECONDS = 60
"""From its making to its end: one redirect."""

LEEWAY = 60
"""Seconds by which two of our hosts' clocks may differ."""


@attrs.frozen(kw_only=True)
class Handoff:
    """A session on its way to a route host."""

    session: Session
    login: str
    """``id.hash`` of the login there that asked for it."""
    redirect: str
    """The URL that the login is to end at."""
    expires: int
    """Seconds since the epoch."""


def seal_handoff(keys: KeyRing, handoff: Handoff, *, random: Callable[[int], bytes]) -> str:
    """Return the hand-off as text for the query of ``/.pomerium/callback/``."""
    plain = orjson.dumps(
        {
            "session": session_claims(handoff.session),
            "login": handoff.login,
            "redirect": handoff.redirect,
            "expires": handoff.expires,
        }
    )
    return seal(keys, plain, context=_context(handoff.session.audience), random=random)


def open_handoff(keys: KeyRing, sealed: str, *, audience: str, now: float) -> Handoff:
    """
    Return a hand-off to this host.

    Whether the login is this browser's is for the caller: compare ``login``.

    Raises:
        BadToken: made elsewhere, for another host, altered, or too old.
    """
    content = orjson.loads(unseal(keys, sealed, context=_context(audience)))
    claims = content.get("session")
    if type(claims) is not dict:
        raise BadToken("hand-off holds no session")
    session = read_session(claims)
    expires = second(content, "expires")
    if session.audience != audience:
        raise BadToken("hand-off is for another host")
    if expires + LEEWAY <= now:
        raise BadToken("hand-off has expired")
    if expires > now + HANDOFF_SECONDS + LEEWAY:
        raise BadToken("hand-off is from the future: the clocks differ")
    return Handoff(
        session=session,
        login=text(content, "login"),
        redirect=text(content, "redirect", size=TARGET_SIZE),
        expires=expires,
    )


def _context(audience: str) -> bytes:
    return f"handoff 1\n{audience}".encode()
