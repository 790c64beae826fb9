"""
The route token: a session at one route host, signed, in that host's own cookie.

It is not secret to its owner (it names nothing but the owner) and holds no token of the
provider's. The proxy signs it anew when ``seen`` moves on.
"""

from __future__ import annotations

from pomeriumd.crypto.keys import KeyRing
from pomeriumd.crypto.tokens import read, sign
from pomeriumd.session.claims import read_session, session_claims
from pomeriumd.session.session import Session

KIND = "pomerium-session+jwt"
"""Its ``typ``; no other token of ours has it."""


def encode(session: Session, keys: KeyRing) -> str:
    """Return the token of this session."""
    return sign(keys, {**session_claims(session), "iat": session.seen}, kind=KIND)


def decode(text: str, keys: KeyRing, *, audience: str, issuer: str, now: float) -> Session:
    """
    Return the session that a token of ours describes.

    Args:
        text: as it came; nothing is assumed about it.
        keys: any of them may have signed it.
        audience: ``host:port`` at which it was presented.
        issuer: origin of authenticate.
        now: seconds since the epoch.

    Raises:
        BadToken: whatever is wrong with it, its absolute end over among it. Whether the
            session may still be used is for :func:`pomeriumd.session.standing.standing`.
    """
    return read_session(read(keys, text, kind=KIND, audience=audience, issuer=issuer, now=now))
