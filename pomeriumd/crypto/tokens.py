"""
Signed tokens of ours: JWTs under a key of ours, each of one kind, for one audience.

What a token says about itself is not asked: its first part has to be, to the letter,
the header that a token of this kind has. So there is no algorithm to choose, no key to
name, and no JSON of a stranger's is parsed before the signature has been verified.
What is left of JWS is one HMAC, made here: a library's general way costs eight times as
much, and decodes base64url more kindly than a signature of ours should be.

Source: RFC 7515 (JWS), RFC 7519 (JWT), RFC 8725 sections 3.1, 3.8, 3.9, 3.11.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

from pomeriumd.crypto import base64url
from pomeriumd.crypto.keys import KeyRing
from pomeriumd.errors import BadToken

LEEWAY = 60.0
"""Seconds by which two of our hosts' clocks may differ."""

TOKEN_SIZE = 32_768
"""Longest token that is looked at, in characters."""

LAST_SECOND = 7_258_118_400
"""The first second of the year 2200: no time of ours is at or after it."""


def sign(keys: KeyRing, claims: Mapping[str, object], *, kind: str) -> str:
    """
    Return a token with these claims, signed with the first key.

    Args:
        keys: of 32 bytes each.
        claims: ``iss``, ``aud``, ``iat`` and ``exp`` among them, or nobody will read it.
        kind: what the token is, for its ``typ``; it is accepted as nothing else.
    """
    covered = f"{_header(kind)}.{base64url.encode(orjson.dumps(dict(claims)))}"
    return f"{covered}.{base64url.encode(_signature(keys[0], covered))}"


def read(
    keys: KeyRing,
    token: str,
    *,
    kind: str,
    audience: str,
    issuer: str,
    now: float,
    leeway: float = LEEWAY,
) -> dict[str, Any]:
    """
    Return the claims of a token of ours.

    Args:
        keys: any of them may have signed it.
        token: as it came; nothing is assumed about it.
        kind: the only ``typ`` that is taken.
        audience: the only ``aud`` that is taken.
        issuer: the only ``iss`` that is taken.
        now: seconds since the epoch.
        leeway: seconds by which its maker's clock may differ from ours.

    Raises:
        BadToken: whatever is wrong with it. The text never holds a part of it.
    """
    claims = _verified(keys, token, kind)
    if claims.get("iss") != issuer:
        raise BadToken("token is of another issuer")
    if claims.get("aud") != audience:
        raise BadToken("token is for another audience")
    if second(claims, "iat") > now + leeway:
        raise BadToken("token is from the future: the clocks differ")
    if second(claims, "exp") + leeway <= now:
        raise BadToken("token has expired")
    return claims


def of_kind(token: str, kind: str) -> bool:
    """Say whether a token claims to be of this kind; nothing is verified yet."""
    return token.isascii() and token.startswith(_header(kind) + ".")


def second(claims: Mapping[str, Any], name: str) -> int:
    """
    Return a time among the claims: whole seconds, within sane years.

    Raises:
        BadToken: missing, or no such number (a boolean, a fraction, 1e300).
    """
    value = claims.get(name)
    if type(value) is not int or not 0 <= value < LAST_SECOND:
        raise BadToken(f"token's {name} is no time")
    return value


def _verified(keys: KeyRing, token: str, kind: str) -> dict[str, Any]:
    """Return the claims of a token of this kind whose signature is ours."""
    if len(token) > TOKEN_SIZE:
        raise BadToken(f"token is over {TOKEN_SIZE} characters")
    if not of_kind(token, kind):
        raise BadToken("token is of another kind")
    covered, _, signature = token.rpartition(".")
    given = base64url.decode(signature)
    if not any(hmac.compare_digest(given, _signature(key, covered)) for key in keys):
        raise BadToken("token's signature does not verify")
    claims = orjson.loads(base64url.decode(covered.partition(".")[2]))
    if not isinstance(claims, dict):
        raise BadToken("token holds no claims")
    return claims


def _signature(key: bytes, covered: str) -> bytes:
    return hmac.digest(key, covered.encode("ascii"), "sha256")


@lru_cache(maxsize=16)
def _header(kind: str) -> str:
    """Return the first part of every token of this kind."""
    return base64url.encode(orjson.dumps({"alg": "HS256", "typ": kind}))
