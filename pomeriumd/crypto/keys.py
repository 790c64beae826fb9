"""
One key for each purpose, out of the two secrets that an operator keeps.

``shared_secret`` and ``cookie_secret`` are roots and are used for nothing else: a key
that signs URLs cannot open a hand-off, whatever else goes wrong. Derive once for each
generation, never for a request.

Source: RFC 5869 (HKDF).
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

import attrs
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KeyRing = tuple[bytes, ...]
"""Keys of one purpose: the first signs and seals, all verify and open."""

ROOT_SIZE = 32
"""Least size of a root, in bytes: what ``openssl rand 32`` gives."""


class Purpose(enum.Enum):
    """What a key is for; the value is the label that separates it from every other."""

    SIGNED_URL = "signed url"
    ROUTE_SESSION = "route session"
    ROUTE_LOGIN = "route login"
    HANDOFF = "handoff"
    ROUTE_CSRF = "route csrf"
    ASSERTION = "assertion"
    GRPC = "grpc"
    PROVIDER_SESSION = "provider session"
    PROVIDER_LOGIN = "provider login"
    PROVIDER_CSRF = "provider csrf"
    MARK = "mark"


def derive(root: bytes, purpose: Purpose, size: int = 32) -> bytes:
    """
    Return the key of ``size`` bytes that ``root`` gives for ``purpose``.

    Raises:
        ValueError: the root is shorter than ``ROOT_SIZE``.
    """
    if len(root) < ROOT_SIZE:
        raise ValueError(f"secret is {len(root)} bytes, want {ROOT_SIZE} at least")
    info = b"pomeriumd 1 " + purpose.value.encode("ascii")
    return HKDF(algorithm=SHA256(), length=size, salt=None, info=info).derive(root)


def ring(roots: Sequence[bytes], purpose: Purpose) -> KeyRing:
    """
    Return the keys of one purpose.

    Args:
        roots: the secret in force first, then the previous ones that still verify.
        purpose: what the keys are for.
    """
    if not roots:
        raise ValueError("no secret to derive keys from")
    return tuple(derive(root, purpose) for root in roots)


def mark(root: bytes) -> str:
    """Return eight hex digits by which people tell secrets apart without showing them."""
    return derive(root, Purpose.MARK, 4).hex()


@attrs.frozen(kw_only=True, repr=False)
class SharedKeys:
    """What ``shared_secret`` gives: the keys on which authenticate and proxy agree."""

    signed_url: KeyRing
    route_session: KeyRing
    route_login: KeyRing
    handoff: KeyRing
    csrf: KeyRing

    @classmethod
    def derived(cls, roots: Sequence[bytes]) -> SharedKeys:
        """Derive all of them; ``roots`` as for :func:`ring`."""
        return cls(
            signed_url=ring(roots, Purpose.SIGNED_URL),
            route_session=ring(roots, Purpose.ROUTE_SESSION),
            route_login=ring(roots, Purpose.ROUTE_LOGIN),
            handoff=ring(roots, Purpose.HANDOFF),
            csrf=ring(roots, Purpose.ROUTE_CSRF),
        )


@attrs.frozen(kw_only=True, repr=False)
class OwnKeys:
    """What ``cookie_secret`` gives: the keys that authenticate shares with nobody."""

    session: KeyRing
    login: KeyRing
    csrf: KeyRing

    @classmethod
    def derived(cls, roots: Sequence[bytes]) -> OwnKeys:
        """Derive all of them; ``roots`` as for :func:`ring`."""
        return cls(
            session=ring(roots, Purpose.PROVIDER_SESSION),
            login=ring(roots, Purpose.PROVIDER_LOGIN),
            csrf=ring(roots, Purpose.PROVIDER_CSRF),
        )
