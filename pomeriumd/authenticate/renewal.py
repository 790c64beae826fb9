"""
Asking the provider again whether somebody still is who they were.

A provider may give a new refresh token each time and see a theft in a second use of the
old one. Two tabs of one browser do just that: so each token is used once at a time, and
what came of it is remembered for as long as a second tab's redirect may take.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from pomeriumd.authenticate.provider import Provider
from pomeriumd.oidc.grant import Grant, GrantRefused, Unconfirmed
from pomeriumd.session.provider import ProviderSession

REMEMBERED_SECONDS = 60
"""For how long the answer to a refresh token is given again."""

REMEMBERED = 1024
"""Answers that are remembered at most; the oldest go first. They hold tokens: no more
and no longer than needed."""


@attrs.frozen
class Confirmed:
    """What the provider said, and when."""

    grant: Grant
    at: int
    """Seconds since the epoch."""


@attrs.frozen
class _Moved:
    """The token was used and confirmed nobody; another has taken its place."""

    refresh_token: str = attrs.field(repr=False)
    at: int


@attrs.define(kw_only=True, eq=False, repr=False)
class Renewals:
    """
    The renewals under way in this process, and those of the last minute.

    Args:
        provider: is asked.
        now: seconds since the epoch.
    """

    _provider: Provider
    _now: Callable[[], float]
    _waiting: dict[bytes, list[Deferred[Confirmed]]] = attrs.field(factory=dict, init=False)
    _recent: OrderedDict[bytes, Confirmed | _Moved] = attrs.field(factory=OrderedDict, init=False)

    def confirm(self, own: ProviderSession) -> Deferred[Confirmed]:
        """
        Return a Deferred of this caller's own with what the provider says now.

        Raises:
            GrantRefused, LoginFailed: the session must not go on.
            Unconfirmed: nobody can say; ask again later, with the token that it has.
            ProviderError: nobody can say; ask again later.
        """
        if own.refresh_token is None:
            raise GrantRefused("session has no refresh token")
        self._forget_old()
        token = own.refresh_token
        while isinstance(known := self._recent.get(key := _key(own.id, token)), _Moved):
            token = known.refresh_token
        # A session that already holds this answer comes because it has aged; a provider that
        # does not rotate gives the token again, and the same answer would turn it in a circle.
        if known is not None and known.at > own.checked:
            return succeed(known)
        waiter: Deferred[Confirmed] = Deferred(lambda left: self._leave(key, left))
        waiting = self._waiting.get(key)
        if waiting is not None:
            waiting.append(waiter)
            return waiter
        self._waiting[key] = [waiter]
        # Nobody who leaves cancels it: the provider may have used the token up already,
        # and the next request of this browser needs the new one. It ends by the
        # provider's own deadlines.
        run = Deferred.fromCoroutine(self._ask(token, own))
        run.addBoth(self._asked, key, own.id)
        return waiter

    async def _ask(self, refresh_token: str, own: ProviderSession) -> Confirmed:
        grant = await self._provider.refresh(refresh_token=refresh_token, identity=own.identity)
        return Confirmed(grant, int(self._now()))

    def _asked(self, outcome: Confirmed | Failure, key: bytes, session_id: str) -> None:
        waiting = self._waiting.pop(key)
        if isinstance(outcome, Confirmed):
            self._remember(key, outcome)
        elif isinstance(outcome.value, Unconfirmed):
            token = outcome.value.refresh_token
            self._remember(key, _Moved(token, int(self._now())))
            # The way from token to token ends at the newest, whatever the provider gives.
            self._recent.pop(_key(session_id, token), None)
        for waiter in waiting:
            if isinstance(outcome, Failure):
                waiter.errback(outcome)
            else:
                waiter.callback(outcome)

    def _remember(self, key: bytes, what: Confirmed | _Moved) -> None:
        self._recent[key] = what
        self._recent.move_to_end(key)
        if len(self._recent) > REMEMBERED:
            self._recent.popitem(last=False)

    def _leave(self, key: bytes, waiter: Deferred[Confirmed]) -> None:
        waiting = self._waiting.get(key, [])
        if waiter in waiting:
            waiting.remove(waiter)

    def _forget_old(self) -> None:
        """Drop what is older than a minute; in order of age, so this ends at once."""
        now = self._now()
        # What is from the future was kept before the clock was set back.
        while self._recent and not (
            -REMEMBERED_SECONDS <= now - next(iter(self._recent.values())).at < REMEMBERED_SECONDS
        ):
            self._recent.popitem(last=False)


def _key(session_id: str, refresh_token: str) -> bytes:
    """Return what tells one renewal from every other: nothing less than all of it."""
    text = f"{len(session_id)}:{session_id}{refresh_token}"
    return hashlib.sha256(text.encode()).digest()
