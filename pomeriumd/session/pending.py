"""
Logins under way at one host: one sealed cookie for each, its id in its name.

Nothing of a login is kept in memory, so any replica finishes what another began, and two
tabs do not meet in one cookie. There are never more than ``LOGINS`` of them: the oldest
gives way, or a page that polls behind an ended session would fill the browser's jar.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs
import orjson

from pomeriumd.crypto import base64url
from pomeriumd.crypto.keys import KeyRing
from pomeriumd.crypto.seal import seal, unseal
from pomeriumd.errors import BadToken
from pomeriumd.http.events import Field
from pomeriumd.session.cookies import PIECE_SIZE, CookieShape, Pair

LOGINS = 8
"""Logins under way at one host in one browser."""

LOGIN_SECONDS = 3600
"""How long somebody may take to sign in at the provider."""

LEEWAY = 60
"""Seconds by which our clock may run behind the one that began the login."""

_ID = re.compile(r"[0-9a-f]{9}[A-Za-z0-9_-]{22}")
"""When it began (seconds in hex, so that ids sort by age) and 16 random bytes."""


@attrs.frozen(kw_only=True)
class PendingLogins:
    """
    The logins under way at one host.

    Args:
        shape: of the session cookie there; the logins' cookies lie beside it.
        keys: of their seals.
        audience: ``host:port`` of the host; a cookie of one opens at no other.
    """

    shape: CookieShape
    keys: KeyRing = attrs.field(repr=False)
    audience: str

    def begin(
        self,
        pairs: Iterable[Pair],
        content: Mapping[str, object],
        *,
        now: float,
        random: Callable[[int], bytes],
    ) -> tuple[str, list[Field]]:
        """
        Return the id of a new login and the Set-Cookie fields that keep ``content``.

        Raises:
            ValueError: the content is larger than one cookie.
        """
        login = f"{int(now):09x}{base64url.encode(random(16))}"
        sealed = seal(
            self.keys, orjson.dumps(dict(content)), context=self._context(login), random=random
        )
        if len(sealed) > PIECE_SIZE:
            raise ValueError(f"login is {len(sealed)} characters, want {PIECE_SIZE} at most")
        cookie = self._shape(login)
        fields = [cookie.field(cookie.full_name, sealed, LOGIN_SECONDS)]
        old = sorted(self.ids(pairs))
        return login, fields + [self._cleared(each) for each in old[: -(LOGINS - 1)]]

    def find(self, pairs: Iterable[Pair], login: str, *, now: float) -> dict[str, Any] | None:
        """
        Return the content of a login that began here within the hour, else None.

        A cookie that does not open is none.
        """
        if _ID.fullmatch(login) is None:
            return None
        began = int(login[:9], 16)
        if not began - LEEWAY <= now < began + LOGIN_SECONDS:
            return None
        name = self._shape(login).full_name.encode("ascii")
        for given, value in pairs:
            if given != name:
                continue
            try:
                content = orjson.loads(
                    unseal(self.keys, value.decode("latin-1"), context=self._context(login))
                )
            except BadToken:
                continue
            return content if isinstance(content, dict) else None
        return None

    def clear(self, pairs: Iterable[Pair], login: str | None = None) -> list[Field]:
        """Return the fields that clear one login's cookie, or all of them."""
        return [
            self._cleared(each)
            for each in sorted(self.ids(pairs))
            if login is None or each == login
        ]

    def ids(self, pairs: Iterable[Pair]) -> set[str]:
        """Return the ids of the logins whose cookies the browser sent."""
        prefix = self._shape("").full_name.encode("ascii")
        sent = {name[len(prefix) :] for name, _ in pairs if name.startswith(prefix)}
        ids = {each.decode("latin-1") for each in sent}
        return {each for each in ids if _ID.fullmatch(each)}

    def _cleared(self, login: str) -> Field:
        cookie = self._shape(login)
        return cookie.field(cookie.full_name, "", 0)

    def _shape(self, login: str) -> CookieShape:
        return self.shape.host_only(f"login_{login}")

    def _context(self, login: str) -> bytes:
        return f"login 1\n{self.audience}\n{login}".encode()
