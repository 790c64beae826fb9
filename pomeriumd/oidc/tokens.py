"""
What an ID token must be before anything in it is believed.

Pure: the token, the keys, what was expected and ``now`` in, the claims or a LoginFailed
out. PyJWT checks the signature alone; the claims are checked here, because what counts is
that each refusal has its word, and that no value is cast before it is in range.

Source: OpenID Connect Core 1.0 section 3.1.3.7, RFC 7515, RFC 7519, RFC 8725.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import attrs
from jwt.api_jws import PyJWS
from jwt.exceptions import InvalidTokenError

from pomeriumd.errors import LoginFailed
from pomeriumd.oidc.document import read_object
from pomeriumd.oidc.keyset import MAX_KID, Key
from pomeriumd.oidc.kinds import TENANT
from pomeriumd.oidc.metadata import fits
from pomeriumd.oidc.refusals import EXPLANATIONS, refusal

LEEWAY = 60
"""Seconds by which the provider's clock and ours may differ."""

MAX_TOKEN = 65_536
"""Characters of a whole token; one with 500 groups has some 30,000."""

MAX_SUBJECT = 255
"""Characters of ``sub``. Source: OpenID Connect Core 1.0 section 2."""

MAX_AUDIENCES = 32
"""Items of ``aud``."""

LATEST: Final = 253_402_300_799
"""The last second of the year 9999: later is no time that anybody means."""

_SEGMENT = "[A-Za-z0-9_-]+"
_COMPACT = re.compile(rf"{_SEGMENT}\.{_SEGMENT}\.{_SEGMENT}")

# Left half of which digest at_hash is. Source: OpenID Connect Core 1.0 section 3.1.3.6;
# for EdDSA with Ed25519 the digest of the signature, SHA-512.
_DIGESTS = MappingProxyType(
    {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512, "DSA": hashlib.sha512}
)


@attrs.frozen
class Head:
    """The two members of a token's header that choose a key."""

    algorithm: str
    kid: str | None


@attrs.frozen(kw_only=True)
class Expected:
    """What a token has to say for this one sign-in or refresh."""

    issuer: str
    """May hold TENANT, for which the token's ``tid`` stands."""
    client_id: str
    nonce: str | None
    """None at a refresh, where no nonce is sent."""
    access_token: str | None = attrs.field(repr=False, default=None)
    """That came with it, for at_hash."""
    skew: float | None = None
    """Seconds that the provider's clock is ahead of ours, measured; only for the text."""


def read_head(token: str, algorithms: Sequence[str]) -> Head:
    """
    Read which key a token asks for, if its algorithm is one of ours.

    Args:
        token: any length.
        algorithms: the allow-list of the settings.

    Raises:
        LoginFailed: ``id-token-format`` or ``id-token-algorithm``.
    """
    if len(token) > MAX_TOKEN or not _COMPACT.fullmatch(token):
        raise refusal("id-token-format", f"id token: no compact JWS of {MAX_TOKEN} characters")
    header = _object(token.split(".", 1)[0], "header")
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise refusal(
            "id-token-algorithm",
            f"id token: alg is {_shown(algorithm)}, want one of {', '.join(algorithms)}",
        )
    # Nothing may be critical that we do not know, and we know no extension (RFC 7515
    # section 4.1.11). A type other than JWT is another token: at+jwt, logout+jwt.
    if "crit" in header or str(header.get("typ", "JWT")).upper() != "JWT":
        raise refusal("id-token-format", "id token: header is not that of an ID token")
    if kid is not None and not (isinstance(kid, str) and 0 < len(kid) <= MAX_KID):
        raise refusal("id-token-format", f"id token: kid is no text of {MAX_KID} characters")
    return Head(algorithm, kid)


def verify(
    token: str, head: Head, keys: Sequence[Key], expected: Expected, now: float
) -> dict[str, Any]:
    """
    Return the claims of an ID token that is what was expected.

    Args:
        token: that read_head() has seen.
        head: of this token, from read_head().
        keys: those that fit ``head``; a signature by any of them counts.
        expected: what it has to say.
        now: seconds since the epoch.

    Raises:
        LoginFailed: one of the ``id-token-...`` checks, or ``clock``.
    """
    claims = _signed(token, head, keys)
    _check_issuer(claims, expected.issuer)
    _check_audience(claims, expected.client_id)
    _check_subject(claims)
    _check_times(claims, now, expected.skew)
    if expected.nonce is not None and not _same(claims.get("nonce"), expected.nonce):
        raise refusal("id-token-nonce", "id token: nonce is not the one that was sent")
    if "at_hash" in claims and expected.access_token is not None:
        _check_access_token(claims["at_hash"], head.algorithm, expected.access_token)
    return claims


def is_subject(value: object) -> bool:
    """Return whether a ``sub`` can name somebody."""
    return isinstance(value, str) and 0 < len(value) <= MAX_SUBJECT and value.isprintable()


def _signed(token: str, head: Head, keys: Sequence[Key]) -> dict[str, Any]:
    if not keys:
        raise refusal(
            "id-token-key", f"id token: no {head.algorithm} key with kid {_shown(head.kid)}"
        )
    verifier = PyJWS(algorithms=[head.algorithm])
    for key in keys:
        try:
            verifier.decode(token, key.public, algorithms=[head.algorithm])
        except InvalidTokenError:
            continue
        # The bytes that the signature covers, read by our reader: PyJWT's takes the last
        # of two claims with one name.
        return _object(token.split(".")[1], "claims")
    raise refusal("id-token-signature", f"id token: {head.algorithm} signature is not valid")


def _object(segment: str, what: str) -> dict[str, Any]:
    try:
        return read_object(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except ValueError as error:
        raise refusal("id-token-format", f"id token: {what}: {error}") from None


def _check_issuer(claims: Mapping[str, Any], issuer: str) -> None:
    given = claims.get("iss")
    # Which of a provider's tenants may sign in is for the policy to say, by the issuer
    # in the identity; here the token has to be of one tenant throughout.
    wanted = issuer.replace(TENANT, str(claims.get("tid")))
    if given != wanted or not fits(issuer, wanted):
        raise refusal("id-token-issuer", f"id token: iss is {_shown(given)}, want {issuer!r}")


def _check_audience(claims: Mapping[str, Any], client_id: str) -> None:
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if len(audiences) > MAX_AUDIENCES or client_id not in audiences:
        raise refusal("id-token-audience", f"id token: aud is {_shown(audience)}, not this client")
    if not all(isinstance(one, str) for one in audiences):
        raise refusal("id-token-audience", f"id token: aud is {_shown(audience)}, want texts")
    # With several audiences any of them could play the token to us; azp says who asked.
    if (len(audiences) > 1 or "azp" in claims) and claims.get("azp") != client_id:
        raise refusal(
            "id-token-audience", f"id token: azp is {_shown(claims.get('azp'))}, not this client"
        )


def _check_subject(claims: Mapping[str, Any]) -> None:
    if not is_subject(claims.get("sub")):
        raise refusal(
            "id-token-subject", f"id token: sub is no text of 1 to {MAX_SUBJECT} characters"
        )


def _check_times(claims: Mapping[str, Any], now: float, skew: float | None) -> None:
    expires, issued = _time(claims, "exp"), _time(claims, "iat")
    begins = _time(claims, "nbf") if "nbf" in claims else issued
    if now >= expires + LEEWAY:
        raise _clock(f"id token: expired {now - expires:.0f} s ago", now - expires, skew)
    if issued > now + LEEWAY:
        raise _clock(f"id token: issued {issued - now:.0f} s in the future", now - issued, skew)
    if begins > now + LEEWAY:
        raise _clock(f"id token: valid only in {begins - now:.0f} s", now - begins, skew)


def _time(claims: Mapping[str, Any], name: str) -> int | float:
    value: Any = claims.get(name)
    # True is an int in Python; 1e300 and a thousand digits are JSON numbers too.
    # Neither is cast: they are compared as they came, and NaN is in no range.
    if type(value) not in (int, float) or not 0 <= value <= LATEST:
        raise refusal("id-token-time", f"id token: {name} is {_shown(value)}, want seconds")
    seconds: int | float = value
    return seconds


def _clock(what: str, ours_ahead: float, skew: float | None) -> LoginFailed:
    """Build the refusal for a time that is off, with all that helps to find the clock."""
    text = f"{what} by our clock, leeway {LEEWAY} s"
    explain = (
        f"{EXPLANATIONS['clock']} By this service's clock the identity provider's answer "
        f"{'ended' if ours_ahead > 0 else 'begins only'} {_duration(ours_ahead)} "
        f"{'ago' if ours_ahead > 0 else 'from now'}."
    )
    if skew is not None:
        side = "ahead of" if skew > 0 else "behind"
        text += f"; the provider's clock is {abs(skew):.0f} s {side} ours"
        explain += f" The provider's clock is {_duration(skew)} {side} this service's."
    return LoginFailed(text, "clock", explain)


def _duration(seconds: float) -> str:
    seconds = abs(seconds)
    if seconds < 120:  # noqa: PLR2004 - two minutes: below, seconds read better
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes"


def _check_access_token(given: object, algorithm: str, access_token: str) -> None:
    digest = _DIGESTS[algorithm[-3:]](access_token.encode()).digest()
    half = base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()
    if not _same(given, half):
        raise refusal("id-token-access-token", "id token: at_hash is not that of the access token")


def _same(given: object, wanted: str) -> bool:
    # JSON can bring lone surrogates, which plain UTF-8 cannot write.
    return isinstance(given, str) and hmac.compare_digest(
        given.encode("utf-8", "surrogatepass"), wanted.encode()
    )


def _shown(found: object) -> str:
    """Return a stranger's value as the log may show it: one bounded ASCII line."""
    return ascii(found)[:200]
