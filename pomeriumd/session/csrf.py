"""
Tokens for forms of ours: proof that a page of ours, shown to this session, was used.

Stateless: a token is the digest of the session and of what the form does, under a key of
its own. It holds as long as the session, in every tab and on every replica.

Source: OWASP, HMAC based token pattern.
"""

from __future__ import annotations

import hashlib
import hmac

from pomeriumd.crypto import base64url
from pomeriumd.crypto.keys import KeyRing


def csrf_token(keys: KeyRing, *, session_id: str, audience: str, action: str) -> str:
    """
    Return the token for a form.

    Args:
        keys: the first one makes it.
        session_id: whose form it is.
        audience: ``host:port`` that shows the form and takes it.
        action: what the form does, as a word.
    """
    return base64url.encode(_mac(keys[0], session_id, audience, action))


def csrf_valid(keys: KeyRing, given: str, *, session_id: str, audience: str, action: str) -> bool:
    """Say whether ``given`` is the token of this session, host and action."""
    return any(
        hmac.compare_digest(
            given.encode("utf-8", "surrogatepass"),
            base64url.encode(_mac(key, session_id, audience, action)).encode("ascii"),
        )
        for key in keys
    )


def _mac(key: bytes, *parts: str) -> bytes:
    # Each part with its length in front: no two lists of parts give one text.
    text = b"".join(b"%d:%s" % (len(each), each) for each in (p.encode() for p in parts))
    return hmac.digest(key, b"pomeriumd csrf\n" + text, hashlib.sha256)
