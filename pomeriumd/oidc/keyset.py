"""
The public keys of a provider, read from its JWK Set.

Pure. Only public asymmetric keys for signatures come in; what cannot be used is left
out, so that one strange key does not take the others along. ``jku``, ``x5u`` and ``x5c``
are not looked at, here or in tokens: keys come from the provider's ``jwks_uri`` alone.

Source: RFC 7517, RFC 7518 section 6, RFC 8037 section 2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import InvalidKeyError

from pomeriumd.errors import ProviderError

MAX_KEYS = 64
"""Keys in one set; the largest seen in the wild have about ten."""

MAX_KID = 256
"""Characters of a key's id."""

RSA_BITS: Final = range(2_048, 8_193)
"""RFC 7518 section 3.3 asks for 2048 at least; above 8192 a check costs milliseconds."""

_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES = MappingProxyType({"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"})

ALGORITHMS: Final = frozenset({*_RSA, *_CURVES.values(), "EdDSA"})
"""Signature algorithms that may be configured: asymmetric ones only."""


@attrs.frozen
class Key:
    """One public key, and the algorithms that it may be used with."""

    kid: str | None
    algorithms: tuple[str, ...]
    public: Any
    """A public key of ``cryptography``, of the type that PyJWT takes."""


@attrs.frozen
class KeySet:
    """All usable keys of one provider."""

    keys: tuple[Key, ...] = ()

    def fitting(self, kid: str | None, algorithm: str) -> tuple[Key, ...]:
        """
        Return the keys that a token may have been signed with.

        A token that names no key fits only if there is no choice (OpenID Connect Core
        1.0 section 10.1).
        """
        keys = tuple(key for key in self.keys if algorithm in key.algorithms)
        if kid is None:
            return keys if len(keys) == 1 else ()
        return tuple(key for key in keys if key.kid == kid)


def read_keys(document: Mapping[str, Any]) -> KeySet:
    """
    Read a JWK Set, leaving out what cannot verify a signature for us.

    Raises:
        ProviderError: it is no JWK Set, has more than MAX_KEYS keys, or no usable one.
    """
    listed = document.get("keys")
    if not isinstance(listed, list):
        raise ProviderError("key set: no list of keys")
    if len(listed) > MAX_KEYS:
        raise ProviderError(f"key set: {len(listed)} keys, want {MAX_KEYS} at most")
    keys = tuple(key for key in map(_read, listed) if key is not None)
    if not keys:
        raise ProviderError(f"key set: none of {len(listed)} keys can verify a signature")
    return KeySet(keys)


def _read(jwk: object) -> Key | None:
    if not isinstance(jwk, dict) or not _is_for_signatures(jwk):
        return None
    kid = jwk.get("kid")
    if kid is not None and not (isinstance(kid, str) and 0 < len(kid) <= MAX_KID):
        return None
    read = _READERS.get(jwk["kty"]) if isinstance(jwk.get("kty"), str) else None
    if read is None:
        return None
    try:
        algorithms, public = read(jwk)
    except (InvalidKeyError, KeyError, TypeError, ValueError):
        return None
    if "alg" in jwk:
        algorithms = tuple(name for name in algorithms if name == jwk["alg"])
    return Key(kid, algorithms, public) if algorithms else None


def _is_for_signatures(jwk: Mapping[str, object]) -> bool:
    # "d" is a private part. Who publishes one lets everybody sign: nothing that such a
    # key signed proves anything.
    if "d" in jwk or jwk.get("use", "sig") != "sig":
        return False
    operations = jwk.get("key_ops", ["verify"])
    return isinstance(operations, list) and "verify" in operations


def _rsa(jwk: Mapping[str, Any]) -> tuple[tuple[str, ...], Any]:
    public = RSAAlgorithm.from_jwk({"kty": "RSA", "n": jwk["n"], "e": jwk["e"]})
    if not isinstance(public, RSAPublicKey) or public.key_size not in RSA_BITS:
        raise ValueError("size")
    return _RSA, public


def _ec(jwk: Mapping[str, Any]) -> tuple[tuple[str, ...], Any]:
    algorithm = _CURVES[jwk["crv"]]
    parts = {name: jwk[name] for name in ("crv", "x", "y")}
    return (algorithm,), ECAlgorithm.from_jwk({"kty": "EC", **parts})


def _okp(jwk: Mapping[str, Any]) -> tuple[tuple[str, ...], Any]:
    if jwk["crv"] != "Ed25519":
        raise ValueError("curve")
    return ("EdDSA",), OKPAlgorithm.from_jwk({"kty": "OKP", "crv": "Ed25519", "x": jwk["x"]})


_Reader = Callable[[Mapping[str, Any]], tuple[tuple[str, ...], Any]]
_READERS: Final[Mapping[str, _Reader]] = MappingProxyType({"RSA": _rsa, "EC": _ec, "OKP": _okp})
