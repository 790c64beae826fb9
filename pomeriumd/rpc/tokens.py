"""
The token by which a proxy and authorize know each other.

It is signed with a key that both derive from ``shared_secret`` for this alone, and lives for
seconds: the secret itself never travels, and what a log or a core dump shows of a call is
soon worth nothing. No other token of ours opens a call, and this one opens nothing else.

A refusal says which of four things is wrong, as a stable word, because they have different
remedies, and a clock that is wrong looks like a wrong secret to whoever only hears "no".
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

import attrs

from pomeriumd.crypto import tokens
from pomeriumd.crypto.keys import KeyRing
from pomeriumd.errors import BadToken

KIND = "pomerium-service+jwt"
"""Its ``typ``; no other token of ours has it."""

PROXY = "proxy"
"""Who makes it: its ``iss``."""
AUTHORIZE = "authorize"
"""Whom it is for: its ``aud``."""

REUSE = 20.0
"""Seconds for which one token is used for all calls of a process."""
LIFE = 30
"""Seconds that a token lives: a call that waits as long as it may is still admitted."""

MISSING = "missing"
"""No token came, or something else than one."""
ANOTHER_KIND = "kind"
"""A token came that is none of a service's: of a session, say."""
SECRET = "secret"  # noqa: S105  # a word of ours
"""It was not signed with a key of ours: another ``shared_secret``."""
CLOCK = "clock"
"""It was, and its time is over or has not come: the clocks differ by more than a minute."""

REFUSED_FIELD = "x-pomerium-refused"
"""Trailing metadata of a refusal: one of these four words."""
TIME_FIELD = "x-pomerium-time"
"""Metadata of a refusal, and of what a ``Watch`` begins with: the server's seconds since the
epoch, whole."""

KNOWN = 1024
"""Verified tokens that are remembered: of as many processes in 20 seconds, or of fewer."""

_SCHEME = "bearer "


class Refused(Exception):
    """
    A call that is not admitted.

    Args:
        word: one of the four, for programs.
        text: for people; it never holds a part of the token.
    """

    def __init__(self, word: str, text: str) -> None:
        super().__init__(text)
        self.word = word


@attrs.define(eq=False)
class Bearer:
    """
    Makes the metadata of a process's calls.

    Args:
        keys: of ``Purpose.GRPC``; the first signs.
    """

    _keys: KeyRing = attrs.field(repr=False)
    _made: float = attrs.field(default=float("-inf"), init=False)
    _metadata: tuple[tuple[str, str], ...] = attrs.field(default=(), init=False, repr=False)

    def metadata(self, now: float) -> tuple[tuple[str, str], ...]:
        """Return what a call brings along; ``now`` is in seconds since the epoch."""
        # A clock that was set back makes a new one as well.
        if not 0 <= now - self._made < REUSE:
            self._made = now
            self._metadata = (("authorization", _SCHEME + mint(self._keys, now)),)
        return self._metadata


def mint(keys: KeyRing, now: float) -> str:
    """Return a token that is good from now on, for ``LIFE`` seconds."""
    made = int(now)
    claims = {"iss": PROXY, "aud": AUTHORIZE, "iat": made, "exp": made + LIFE}
    return tokens.sign(keys, claims, kind=KIND)


@attrs.define(eq=False)
class Admission:
    """
    Says whose calls are answered.

    A token is verified when it first comes and then known by its digest: a proxy sends one
    with hundreds of calls. Its times are looked at with every call.

    Args:
        keys: of ``Purpose.GRPC``; any of them may have signed a token.
    """

    _keys: KeyRing = attrs.field(repr=False)
    _known: dict[bytes, tuple[int, int]] = attrs.field(factory=dict, init=False, repr=False)
    """From when and until when; by a digest, so that how long a look-up takes says nothing
    of the token that it would have found."""

    def admit(self, metadata: Iterable[tuple[str, str | bytes]], now: float) -> None:
        """
        Return if the call may be answered.

        Args:
            metadata: of the call, names in lower case as HTTP/2 has them.
            now: seconds since the epoch.

        Raises:
            Refused: see there.
        """
        token = _token(metadata)
        digest = sha256(token.encode("utf-8", "surrogatepass")).digest()
        times = self._known.get(digest)
        if times is None:
            times = _verified(self._keys, token, now)
            if len(self._known) >= KNOWN:
                self._known.clear()
            self._known[digest] = times
        made, end = times
        if made > now + tokens.LEEWAY:
            raise Refused(CLOCK, f"the token is from {made - now:.0f} s ahead: the clocks differ")
        if end + tokens.LEEWAY <= now:
            raise Refused(CLOCK, f"the token is {now - made:.0f} s old: the clocks differ")


def _verified(keys: KeyRing, token: str, now: float) -> tuple[int, int]:
    """Return from when and until when a token of a service is good."""
    if not tokens.of_kind(token, KIND):
        raise Refused(ANOTHER_KIND, "the token is none of a service's")
    try:
        # At any time: one whose time is over is no proof of a wrong secret.
        claims = tokens.read(
            keys,
            token,
            kind=KIND,
            audience=AUTHORIZE,
            issuer=PROXY,
            now=now,
            leeway=float(tokens.LAST_SECOND),
        )
        made, end = tokens.second(claims, "iat"), tokens.second(claims, "exp")
    except BadToken:
        raise Refused(
            SECRET, "the token does not verify: shared_secret is another one here"
        ) from None
    # One that lives for longer than ours do was not made by us, whatever its key.
    if not 0 <= end - made <= LIFE:
        raise Refused(ANOTHER_KIND, "the token is none of a service's")
    return made, end


def _token(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """Return the one bearer token of the call; of two, two readers could take either."""
    given = [value for name, value in metadata if name == "authorization"]
    if len(given) != 1:
        raise Refused(MISSING, f"want one authorization, got {len(given)}")
    (value,) = given
    if not isinstance(value, str) or value[: len(_SCHEME)].lower() != _SCHEME:
        raise Refused(MISSING, "want authorization with a bearer token")
    return value[len(_SCHEME) :]
