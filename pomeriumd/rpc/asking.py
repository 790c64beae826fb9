"""
One question on its way through the replicas.

It is idempotent, so it goes to another replica as soon as one fails or is late, and never to
the same one twice while there are others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from pomeriumd.access.verdict import Given, Question, Verdict
from pomeriumd.errors import Undecided
from pomeriumd.rpc.failures import Failed, Kind, late
from pomeriumd.rpc.replica import Replica

PATIENCE = 0.8
"""Seconds for all tries of one question together, or one try if that may take longer. Whoever
waits hears that nobody decides within a second, and a busy host takes some of that for itself."""

NAMED = 8
"""Replicas that are named in the text of one error."""


class Replicas(Protocol):
    """Who can be asked, and who wants to know what came of it."""

    def pick(self, tried: Collection[Replica]) -> Replica | None:
        """Choose who is asked; none of those that were tried."""

    def alone(self, replica: Replica, tried: Collection[Replica]) -> bool:
        """Say whether nobody is left to try but this one."""

    def answered(self, replica: Replica) -> None:
        """Learn that a replica answered."""

    def failed(self, replica: Replica, failed: Failed, began: float) -> None:
        """Learn that a replica did not answer what it was asked at ``began``."""

    def ended(self, asking: Asking, replica: Replica | None, how: str) -> None:
        """Learn that a replica is not asked any more; and how the question ended, if it did."""

    def others(self, tried: Collection[Replica]) -> list[tuple[str, str]]:
        """Return why nobody else was asked: texts, and what to do about it."""


def _nothing() -> None:
    """Give nothing up."""


@attrs.define(eq=False)
class Asking:
    """
    One question, and those that were asked it.

    Args:
        replicas: to be asked.
        clock: of the reactor.
        question: that is asked.
        attempt: seconds for which one replica is waited for.
        timeout: seconds for all; 0 or less is no bound but ``PATIENCE``.
    """

    _replicas: Replicas
    _clock: IReactorTime
    _question: Question
    _attempt: float
    _timeout: float
    _deadline: float = attrs.field(default=0.0, init=False)
    _answer: Deferred[Given] = attrs.field(init=False)
    _tried: dict[Replica, Failed] = attrs.field(factory=dict, init=False)
    _asked: Replica | None = attrs.field(default=None, init=False)
    _began: float = attrs.field(default=0.0, init=False)
    _seconds: float = attrs.field(default=0.0, init=False)
    _patient: bool = attrs.field(default=False, init=False)
    begun: bool = attrs.field(default=False, init=False)
    """Somebody has been asked; else it waits for its turn."""
    _timer: IDelayedCall | None = attrs.field(default=None, init=False)
    _give_up: Callable[[], None] = attrs.field(default=_nothing, init=False)

    def begin(self, *, waits: bool) -> Deferred[Given]:
        """Ask the first one; if it has to wait for that, when ``go()`` is called."""
        most = max(PATIENCE, self._attempt)
        if self._timeout > 0:
            most = min(most, self._timeout)
        self._deadline = self._clock.seconds() + most
        self._answer = Deferred(self._cancelled)
        if waits:
            self._timer = self._clock.callLater(most, self._unasked)
        else:
            self.go()
        return self._answer

    def go(self) -> None:
        """Ask the first one now."""
        self.begun = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._ask()

    def fail(self, error: Undecided) -> None:
        """Give up."""
        self._leave("undecided", give_up=True)
        self._answer.errback(error)

    def _unasked(self) -> None:
        self._timer = None
        self._leave("full")
        if self._replicas.others(()):
            error = self._undecided()
        else:
            error = Undecided("more is asked than the authorize service answers in time")
            error.remedy = "more replicas of authorize, or a longer decision_max_age"
        self._answer.errback(error)

    def _ask(self) -> None:
        now = self._clock.seconds()
        replica = self._replicas.pick(self._tried)
        if replica is None and not self._patient:
            replica = self._once_more()
        left = self._deadline - now
        if replica is None or left <= 0:
            self.fail(self._undecided())
            return
        self._asked, self._began = replica, now
        # There is nobody to go on to: a service that is slow under load answers late, and not
        # never. Giving up would add the load of asking again.
        alone = self._patient or self._replicas.alone(replica, self._tried)
        self._seconds = left if alone else min(self._attempt, left)
        replica.calls += 1
        self._timer = self._clock.callLater(self._seconds, self._late)
        self._give_up = replica.line.check(
            self._question, self._seconds, patient=self._patient, done=self._done
        )

    def _once_more(self) -> Replica | None:
        """
        Return one whose connection broke: behind a balancer the next may lead to another.

        Once, and it may take as long as is left: a connection is made anew first.
        """
        self._patient = True
        final = {r for r, failed in self._tried.items() if failed.kind is not Kind.UNREACHABLE}
        return self._replicas.pick(final) if len(final) < len(self._tried) else None

    def _done(self, outcome: Verdict | Failed) -> None:
        replica = self._asked
        assert replica is not None  # noqa: S101  # for the type checker
        if isinstance(outcome, Failed):
            self._go_on(replica, outcome)
            return
        self._replicas.answered(replica)
        self._leave("ok")
        self._answer.callback(Given(outcome, replica.text))

    def _late(self) -> None:
        replica = self._asked
        assert replica is not None  # noqa: S101  # for the type checker
        self._timer = None
        self._give_up()
        self._go_on(replica, late(self._seconds))

    def _go_on(self, replica: Replica, failed: Failed) -> None:
        # A try that was cut short by the end of the whole says nothing of the replica.
        if failed.kind is not Kind.LATE or self._seconds >= self._attempt:
            self._replicas.failed(replica, failed, self._began)
        self._tried[replica] = failed
        self._leave("")
        self._ask()

    def _cancelled(self, _: Any) -> None:
        self._leave("cancelled", give_up=True)

    def _leave(self, how: str, *, give_up: bool = False) -> None:
        """End the try that goes on, if one does; and the call, if it ended somehow."""
        replica, self._asked = self._asked, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if give_up and replica is not None:
            self._give_up()
        self._replicas.ended(self, replica, how)

    def _undecided(self) -> Undecided:
        found = [(f"{it.text} {failed.text}", failed.remedy) for it, failed in self._tried.items()]
        found += self._replicas.others(self._tried)
        more = f"; and {len(found) - NAMED} more" if len(found) > NAMED else ""
        text = "; ".join(text for text, _ in found[:NAMED]) or "no address of it is known yet"
        error = Undecided(f"nobody at authorize_service_url decides: {text}{more}")
        error.remedy = next((remedy for _, remedy in found if remedy), error.remedy)
        return error
