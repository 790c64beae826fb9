"""
The session that a request brings, verified once and remembered.

A token is verified when it is first seen and then looked up by its raw text until it
ends: no signature is checked on the hot path of a known session. Times are judged on
every request.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping

import attrs

from pomeriumd.crypto.keys import KeyRing
from pomeriumd.errors import BadToken
from pomeriumd.http.cookies import cookies
from pomeriumd.http.events import Field, Request
from pomeriumd.http.notes import Notes
from pomeriumd.session.cookies import CookieShape, read, write
from pomeriumd.session.session import Session
from pomeriumd.session.standing import SessionLimits, Standing, standing
from pomeriumd.session.token import decode, encode

KNOWN = 10_000
"""Sessions remembered by one process; about 2 KB each."""

TOUCH_SECONDS = 60
"""``seen`` moves on at most this often."""

BELIEVED = (Standing.FRESH, Standing.RECHECK)
"""A session that stands so lets a request through; any other needs authenticate first."""

SCHEME = b"pomerium "
"""The scheme of an Authorization field that brings a session, in lower case."""


Token = tuple[bytes, str, bool]
"""What may be a session: the host it came to, its text, and whether it came in a cookie."""


@attrs.define(eq=False)
class Known:
    """A session that was verified, and the state that this process keeps with it."""

    session: Session
    in_cookie: bool
    """It came in a cookie, so a new one can be set."""


@attrs.define(eq=False, kw_only=True)
class Sessions:
    """
    Finds and renews the sessions of route hosts.

    Args:
        keys: of the route-session tokens; the first signs.
        issuer: origin of authenticate, which must have issued the token.
        shape: of the session cookie.
        limits: how long a session is believed.
        audiences: canonical host to ``host:port``, for each route host.
    """

    keys: KeyRing = attrs.field(repr=False)
    issuer: str
    shape: CookieShape
    limits: SessionLimits
    audiences: Mapping[bytes, str]
    _known: OrderedDict[Token, Known] = attrs.field(factory=OrderedDict, repr=False)

    def find(
        self, request: Request, now: float, notes: Notes | None = None
    ) -> tuple[Known, Standing] | None:
        """
        Return the session that the request brings, and how it stands.

        Args:
            request: for a route host.
            now: seconds since the epoch.
            notes: of its fields.

        A cookie or header that does not verify, or whose time is over, is no session, and
        does not hide another one that is. A stale one is returned only when there is no
        better: it lets nothing through, but authenticate can renew it.
        """
        stale: tuple[Known, Standing] | None = None
        tokens = None if notes is None else notes.get(self)
        if tokens is None:
            tokens = tuple(self._tokens(request))
            if notes is not None:
                notes.keep(self, tokens)
        for key in tokens:
            known = self._verified(key, now)
            if known is None:
                continue
            stands = standing(known.session, now, self.limits)
            if stands in BELIEVED:
                return known, stands
            if stands is Standing.STALE and stale is None:
                stale = known, stands
        return stale

    @property
    def remembered(self) -> int:
        """Return how many sessions are known without looking at their signature."""
        return len(self._known)

    def _tokens(self, request: Request) -> Iterator[Token]:
        """Give what may be tokens, those of cookies first; nothing is verified yet."""
        host, authorization, in_cookies = request.host, b"", False
        for name, value in request.fields:
            if name == b"cookie":
                in_cookies = True
            elif name == b"authorization":
                authorization = value
        if in_cookies:
            for token in read(cookies(request.fields), self.shape):
                yield host, token, True
        if authorization[: len(SCHEME)].lower() == SCHEME:
            yield host, authorization[len(SCHEME) :].strip().decode("latin-1"), False

    def touched(self, known: Known, now: float) -> tuple[Field, ...]:
        """
        Note that the session is in use.

        Returns:
            The cookie that carries the new time, at most once a minute; else nothing.
        """
        if now - known.session.seen < TOUCH_SECONDS or not known.in_cookie:
            return ()
        known.session = session = attrs.evolve(known.session, seen=int(now))
        return tuple(
            write(self.shape, encode(session, self.keys), max_age=int(session.expires - now))
        )

    def forget(self, host: bytes, session: Session) -> None:
        """Drop what is remembered of a session that was signed out here."""
        for key in [k for k, known in self._known.items() if known.session.id == session.id]:
            if key[0] == host:
                del self._known[key]

    def _verified(self, key: Token, now: float) -> Known | None:
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            return known
        host, token, in_cookie = key
        audience = self.audiences.get(host)
        if audience is None:
            return None
        try:
            session = decode(token, self.keys, audience=audience, issuer=self.issuer, now=now)
        except BadToken:
            return None
        known = self._known[key] = Known(session, in_cookie)
        if len(self._known) > KNOWN:
            self._known.popitem(last=False)
        return known
