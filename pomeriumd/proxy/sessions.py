"""
The session that a request brings, verified once and remembered.

A token is verified when it is first seen and then looked up by its raw text until it
ends: no signature is checked on the hot path of a known session. Times are judged on
every request.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping

import attrs

from pomeriumd.crypto.keys import KeyRing
from pomeriumd.errors import BadToken
from pomeriumd.http.cookies import cookies
from pomeriumd.http.events import Field, Request
from pomeriumd.http.notes import Notes
from pomeriumd.pieces import Pieces
from pomeriumd.session.cookies import CookieShape, read, write
from pomeriumd.session.known import Known, Token
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


SOME = 256
"""Remembered sessions looked at in one piece of the work."""


@attrs.define(eq=False, kw_only=True)
class Memory:
    """
    The sessions that one set of keys and one issuer have verified; it outlives generations.

    ``signed_out`` holds the ids of sessions that were signed out here until whoever ends
    their streams has taken them; it is the same for all memories of a process.
    """

    known: OrderedDict[Token, Known] = attrs.field(factory=OrderedDict, repr=False)
    mark: object = attrs.field(factory=object, repr=False)
    signed_out: set[str] = attrs.field(factory=set, repr=False)


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
        memory: of these keys and this issuer.
    """

    keys: KeyRing = attrs.field(repr=False)
    issuer: str
    shape: CookieShape
    limits: SessionLimits
    audiences: Mapping[bytes, str]
    memory: Memory = attrs.field(factory=Memory, repr=False)
    _mark: object = attrs.field(init=False, factory=object, repr=False)
    """What notes are kept under: they outlive this, and must not hold it."""
    _known: OrderedDict[Token, Known] = attrs.field(init=False, repr=False)

    @_known.default
    def _remembered(self) -> OrderedDict[Token, Known]:
        return self.memory.known

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
        tokens = None if notes is None else notes.get(self._mark)
        if tokens is None:
            tokens = tuple(self._tokens(request))
            if notes is not None:
                notes.keep(self._mark, tokens)
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
        audience = self.audiences.get(request.host)
        if audience is None:
            return
        authorization, in_cookies = b"", False
        for name, value in request.fields:
            if name == b"cookie":
                in_cookies = True
            elif name == b"authorization":
                authorization = value
        if in_cookies:
            for token in read(cookies(request.fields), self.shape):
                yield audience, token, True
        if authorization[: len(SCHEME)].lower() == SCHEME:
            yield audience, authorization[len(SCHEME) :].strip().decode("latin-1"), False

    def touched(self, known: Known, now: float) -> tuple[Field, ...]:
        """
        Note that the session is in use.

        Returns:
            The cookie that carries the new time, at most once a minute; else nothing.
        """
        if now - known.session.seen < TOUCH_SECONDS or not known.in_cookie:
            return ()
        known.session = session = attrs.evolve(known.session, seen=int(now))
        known.signed = encode(session, self.keys)
        return tuple(write(self.shape, known.signed, max_age=int(session.expires - now)))

    def in_use(self, known: Known, session: Session, host: bytes, now: float) -> Known:
        """
        Return a session that a stream at this host goes on with, as one that is in use there.

        Whoever decides elsewhere sees its token alone, which has to be one of this host, and
        seen lately: an open stream is use. It is signed anew once a minute at most, and the
        browser never gets it.

        Args:
            known: what the stream came with, or went on with last.
            session: what counts for it now, perhaps of another host.
            host: of a route.
            now: seconds since the epoch.
        """
        if session is known.session and now - session.seen < TOUCH_SECONDS:
            return known
        audience = self.audiences.get(host, session.audience)
        session = attrs.evolve(session, audience=audience, seen=int(now))
        token = audience, encode(session, self.keys), known.in_cookie
        return Known(session, token, self.memory.mark)

    def forget(self, session: Session) -> None:
        """Drop what is remembered of a session that was signed out at its host."""
        for key in [k for k, known in self._known.items() if known.session.id == session.id]:
            if key[0] == session.audience:
                del self._known[key]
        self.memory.signed_out.add(session.id)

    def again(self, known: Known, host: bytes, now: float) -> Known | None:
        """
        Return a session of an earlier generation if it would be taken at this host now.

        Times are not judged, but for its absolute end.
        """
        if self.audiences.get(host) != known.session.audience:
            return None
        if known.mark is self.memory.mark:
            return known
        return self._decoded(known.token, now)

    def freshest(self, ids: Collection[str]) -> Pieces[dict[str, Session]]:
        """
        Return, for each of these ids, the remembered session that was confirmed last.

        It may be of another host: what the provider says of the person is the same there.
        """
        found: dict[str, Session] = {}
        for count, known in enumerate(tuple(self._known.values()) if ids else ()):
            if not count % SOME:
                yield
            session = known.session
            if session.id in ids:
                other = found.get(session.id)
                if other is None or session.checked > other.checked:
                    found[session.id] = session
        return found

    def _verified(self, key: Token, now: float) -> Known | None:
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            return known
        known = self._decoded(key, now)
        if known is None:
            return None
        self._known[key] = known
        if len(self._known) > KNOWN:
            self._known.popitem(last=False)
        return known

    def _decoded(self, token: Token, now: float) -> Known | None:
        audience, text, _ = token
        try:
            session = decode(text, self.keys, audience=audience, issuer=self.issuer, now=now)
        except BadToken:
            return None
        return Known(session, token, self.memory.mark)
