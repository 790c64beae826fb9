"""
Does the identity assertion verify, and if not, why not?

This is what an application behind the proxy has to do: ES256 and nothing else, a key of
the published set, the right audience and issuer, and a life that is not over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import jwt

from pomeriumd.errors import PomeriumError

LEEWAY = 60.0
"""Seconds by which two clocks may differ."""

LIFE = 600.0
"""Seconds of life at most: one that was issued for longer is not the proxy's."""

TOKEN_SIZE = 16_384
"""Characters of an assertion at most."""

KEYS = 32
"""Keys of a set that are read at most."""

Keys = Mapping[str, jwt.PyJWK]
"""The proxy's public keys, by their id."""


class NoKeys(PomeriumError):
    """The key set cannot be had, or cannot be read."""


class Refused(PomeriumError):
    """The assertion does not verify; the text tells a person why."""


@attrs.frozen
class Verdict:
    """What came of checking one request's assertion."""

    verified: bool
    text: str
    """Why, for a person."""
    claims: Mapping[str, Any] = attrs.Factory(dict)
    """Only what has been verified; empty otherwise."""


def read_keys(document: Mapping[str, Any]) -> dict[str, jwt.PyJWK]:
    """
    Return the usable keys of a JWKS document.

    Raises:
        NoKeys: there is none.
    """
    listed = document.get("keys")
    keys: dict[str, jwt.PyJWK] = {}
    for entry in listed[:KEYS] if isinstance(listed, list) else ():
        # A key for another algorithm must not verify ours, nor must a shared secret.
        if not isinstance(entry, dict) or entry.get("kty") != "EC" or entry.get("crv") != "P-256":
            continue
        if not isinstance(entry.get("kid"), str) or entry.get("alg", "ES256") != "ES256":
            continue
        try:
            keys[entry["kid"]] = jwt.PyJWK(entry, "ES256")
        except jwt.PyJWTError:
            continue
    if not keys:
        raise NoKeys("no key for ES256 in the key set")
    return keys


def key_id(assertion: str) -> str:
    """
    Return the id of the key that signed the assertion, as it says itself.

    Raises:
        Refused: it is no JWT, or not signed as ours are.
    """
    if len(assertion) > TOKEN_SIZE:
        raise Refused(f"the assertion is longer than {TOKEN_SIZE} characters")
    try:
        header = jwt.get_unverified_header(assertion)
    except jwt.PyJWTError:
        raise Refused("the assertion is no JWT") from None
    if header.get("alg") != "ES256":
        raise Refused(f"the assertion is signed with {header.get('alg')!r}, want ES256")
    kid = header.get("kid")
    if not isinstance(kid, str):
        raise Refused("the assertion does not name its key")
    return kid


def verified(assertion: str, keys: Keys, *, audience: str, now: float) -> dict[str, Any]:
    """
    Return the claims of an assertion that verifies.

    Args:
        assertion: the field's value.
        keys: the proxy's.
        audience: our own host name: an assertion for another application is not for us.
        now: seconds since the epoch.

    Raises:
        Refused: it does not verify.
    """
    kid = key_id(assertion)
    if kid not in keys:
        raise Refused(f"signed by a key that is not in the key set: {kid[:64]!r}")
    required = ["iss", "aud", "sub", "iat", "exp"]
    try:
        claims: dict[str, Any] = jwt.decode(
            assertion,
            keys[kid],
            algorithms=["ES256"],
            audience=audience,
            issuer=audience,
            # The clock is ours to read: `now` is an argument.
            options={
                "require": required,
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
    except jwt.InvalidSignatureError:
        raise Refused("the signature does not match the key") from None
    except jwt.InvalidAudienceError:
        raise Refused(f"made for another application, want the audience {audience!r}") from None
    except jwt.InvalidIssuerError:
        raise Refused(f"made by another issuer, want {audience!r}") from None
    except jwt.MissingRequiredClaimError as error:
        raise Refused(f"the claim {error.claim!r} is missing") from None
    except jwt.PyJWTError:
        raise Refused("the assertion cannot be read") from None
    _in_time(claims, now)
    return claims


def _in_time(claims: Mapping[str, Any], now: float) -> None:
    issued, expires = claims["iat"], claims["exp"]
    for name, at in (("iat", issued), ("exp", expires)):
        # A bool is an int in Python, and a float may be infinite.
        if type(at) is not int:
            raise Refused(f"the claim {name!r} is no whole number")
    if now > expires + LEEWAY:
        raise Refused(f"expired {now - expires:.0f} s ago")
    if issued > now + LEEWAY:
        raise Refused(f"issued {issued - now:.0f} s in the future: one of two clocks is wrong")
    if expires - issued > LIFE:
        raise Refused(f"valid for {expires - issued} s, want {LIFE:.0f} s at most")
