"""
Waiting with a limit, waiting together, and not asking again too soon.

Knows Deferreds and a clock; knows no provider.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from pomeriumd.errors import ProviderError

T = TypeVar("T")

LONGEST_PAUSE = 60.0
"""Seconds between two tries at a provider that is down, at most (before jitter)."""

SLOW_SECONDS = 1.0
"""A failure that took longer kept a person waiting."""


def within(
    seconds: float, clock: IReactorTime, work: Coroutine[Deferred[Any], Any, T], what: str
) -> Deferred[T]:
    """
    Run ``work``, and cancel it when it has not ended in time.

    Args:
        seconds: for all of it.
        clock: that counts them.
        work: not yet begun.
        what: names the work in the error's text.

    Raises:
        ProviderError: it did not end in time; it has been cancelled.
        CancelledError: the caller cancelled us, not the clock.
    """

    def late(outcome: object, after: float) -> Failure:
        if isinstance(outcome, Failure) and outcome.check(CancelledError):
            return Failure(ProviderError(f"{what}: no answer in {after:g} s"))
        return Failure(ProviderError(f"{what}: answer after {after:g} s, dropped"))

    return Deferred.fromCoroutine(work).addTimeout(seconds, clock, late)


@attrs.define
class SingleFlight(Generic[T]):
    """Share one run among all who ask while it runs; a waiter that leaves harms no other."""

    _start: Callable[[], Coroutine[Deferred[Any], Any, T]]
    _running: Deferred[T] | None = attrs.field(default=None, init=False)
    _waiting: list[Deferred[T]] = attrs.field(factory=list, init=False)

    def get(self) -> Deferred[T]:
        """Return a Deferred of this caller's own; cancelling the last one ends the run."""
        waiter: Deferred[T] = Deferred(self._leave)
        self._waiting.append(waiter)
        if self._running is None:
            # Known before its callback is added: a cached answer fires at once.
            run = self._running = Deferred.fromCoroutine(self._start())
            run.addBoth(self._done)
        return waiter

    def _leave(self, waiter: Deferred[T]) -> None:
        # Gone already when the answer to one waiter makes it cancel another.
        if waiter in self._waiting:
            self._waiting.remove(waiter)
            if not self._waiting and self._running is not None:
                self._running.cancel()

    def _done(self, outcome: T | Failure) -> None:
        self._running, waiting, self._waiting = None, self._waiting, []
        for waiter in waiting:
            if not waiter.called:
                waiter.callback(outcome)


@attrs.define(kw_only=True)
class Backoff:
    """When a provider that failed may be asked again."""

    _clock: IReactorTime
    _random: Callable[[int], bytes]
    _longest: float = LONGEST_PAUSE
    _failures: int = attrs.field(default=0, init=False)
    _until: float = attrs.field(default=0.0, init=False)

    @property
    def left(self) -> float:
        """Seconds to wait still; 0 when it may be asked now."""
        return max(0.0, self._until - self._clock.seconds()) if self._failures else 0.0

    @property
    def failing(self) -> bool:
        """Whether the last try failed."""
        return self._failures > 0

    def failed(self) -> None:
        """Wait twice as long as last time, give or take a quarter."""
        # The jitter keeps the replicas from asking in step, when the provider comes back.
        jitter = 0.75 + int.from_bytes(self._random(2), "big") / 131_072
        pause = min(self._longest, 2.0 ** min(self._failures, 10)) * jitter
        self._failures += 1
        self._until = self._clock.seconds() + pause

    def worked(self) -> None:
        """Forget the failures."""
        self._failures = 0


@attrs.define(kw_only=True)
class Patience:
    """
    Lets one caller at a time wait for a provider that has kept others waiting for nothing.

    A provider that hangs costs whoever asks it the whole deadline. With this, one of many
    finds out, and the others hear at once that it is so.
    """

    _clock: IReactorTime
    _backoff: Backoff
    _waiting: int = attrs.field(default=0, init=False)

    async def ask(self, what: str, question: Callable[[], Coroutine[Deferred[Any], Any, T]]) -> T:
        """
        Return the answer to the question.

        Args:
            what: names it in the error's text.
            question: not begun.

        Raises:
            ProviderError: the question's own; or it is not asked, since it was not answered
                a moment ago.
        """
        if self._backoff.failing and (self._waiting or self._backoff.left):
            raise ProviderError(f"{what}: no answer a moment ago, not asked again so soon")
        began = self._clock.seconds()
        self._waiting += 1
        try:
            answer = await question()
        except ProviderError:
            # One that fails at once keeps nobody waiting.
            if self._clock.seconds() - began >= SLOW_SECONDS:
                self._backoff.failed()
            raise
        finally:
            self._waiting -= 1
        self._backoff.worked()
        return answer
