"""
Where this browser last wanted to go: for a sign-in whose own cookie has been lost.

``state`` is only an id, so without its cookie nobody could say what the sign-in was for.
The trail is one more cookie, written when a sign-in begins; with it a lost one starts over,
once in ``AGAIN_SECONDS``. A browser that keeps no cookies has no trail either, and gets the
explanation at once: there is no way round in circles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import attrs
import orjson

from pomeriumd.authenticate.site import AuthenticateSite, Goals
from pomeriumd.crypto.keys import KeyRing
from pomeriumd.crypto.seal import seal, unseal
from pomeriumd.errors import BadToken
from pomeriumd.http.events import Field
from pomeriumd.session.cookies import CookieShape, Pair, clear, read

TRAIL_SECONDS = 24 * 3600
"""For how long it is kept: a sign-in page may stay open overnight."""

AGAIN_SECONDS = 600
"""After starting over, a second loss within this time is explained instead."""


@attrs.frozen(kw_only=True)
class Trail:
    """
    Reads and writes it.

    Args:
        site: names.
        keys: from ``cookie_secret``.
        goals: where a browser may be sent.
        random: returns that many unpredictable bytes.
    """

    site: AuthenticateSite
    keys: KeyRing = attrs.field(repr=False)
    goals: Goals
    random: Callable[[int], bytes] = attrs.field(repr=False)

    @property
    def _shape(self) -> CookieShape:
        return self.site.shape.host_only("trail")

    def leave(self, pairs: Iterable[Pair], redirect: str) -> list[Field]:
        """Return the Set-Cookie fields that note where a sign-in is to end."""
        return self._written(redirect, self._read(pairs).get("again", 0))

    def start_over(self, pairs: Iterable[Pair], now: float) -> tuple[str, list[Field]] | None:
        """
        Return where to start over and the fields that note it; None if it cannot be known.

        None also if it was done a short while ago.
        """
        content = self._read(pairs)
        redirect, again = self.goals.known(content.get("redirect")), content.get("again", 0)
        # Further ahead it is of a clock that was set back since, and says nothing.
        if redirect is None or abs(now - again) < AGAIN_SECONDS:
            return None
        return redirect, self._written(redirect, int(now))

    def target(self, pairs: Iterable[Pair]) -> str | None:
        """Return where the last sign-in was to end, if it can be known."""
        return self.goals.known(self._read(pairs).get("redirect"))

    def clear(self, pairs: Iterable[Pair]) -> list[Field]:
        """Return the Set-Cookie fields that clear it."""
        return clear(pairs, self._shape)

    def _read(self, pairs: Iterable[Pair]) -> dict[str, Any]:
        for value in read(pairs, self._shape):
            try:
                plain = unseal(self.keys, value, context=self._context)
            except BadToken:
                continue
            content: dict[str, Any] = orjson.loads(plain)
            return content
        return {}

    def _written(self, redirect: str, again: int) -> list[Field]:
        plain = orjson.dumps({"redirect": redirect, "again": again})
        sealed = seal(self.keys, plain, context=self._context, random=self.random)
        return [self._shape.field(self._shape.full_name, sealed, TRAIL_SECONDS)]

    @property
    def _context(self) -> bytes:
        return f"trail 1\n{self.site.audience}".encode()
