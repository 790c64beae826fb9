"""
Which replica answers the next call: a pure state, no sockets and no clock.

A replica is heard over two streams of its own, health and policy; it is *healthy* when both
say that it decides. One that failed a call is *ejected* for a while, whatever it says: a
process that is frozen says nothing at all, and its host still takes what is sent to it.
Each pause is twice the last, until a call is answered; at its end the replica is asked for
its health, and the answer takes it back or begins the next pause.

The calls below are the only transitions; none does any I/O. ``now`` is in seconds of a
clock that does not jump.
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from typing import Generic, TypeVar

import attrs

K = TypeVar("K")

FIRST_PAUSE = 1.0
"""Seconds for which a replica is left alone when it is ejected."""

LONGEST_PAUSE = 30.0
"""Seconds between two questions for its health, at most: as soon is it back."""

DOUBTS = 5
"""Failures in a row that eject, where each on its own might be the question's fault."""


class State(enum.Enum):
    """What is known of a replica; the value is its name in logs."""

    CONNECTING = "connecting"
    """Not heard at the moment."""
    HEALTHY = "healthy"
    UNHEALTHY = "not serving"
    """It says itself that it does not decide."""
    EJECTED = "ejected"
    """It failed; left alone until its pause is over and it says that it is well."""
    DRAINING = "draining"
    """No new calls: it is leaving."""


@attrs.define(eq=False)
class _Replica:
    heard: State = State.CONNECTING
    """What its streams tell: connecting, healthy or unhealthy."""
    draining: bool = False
    ejected: bool = False
    asked: bool = False
    """Its health is being asked for."""
    until: float = 0.0
    """When its pause ends."""
    pause: float = FIRST_PAUSE
    """The next one."""
    failures: int = 0
    answered: float = float("-inf")
    """When it last answered a call."""
    turn: int = 0
    """When it was last chosen, counted in choices."""

    @property
    def state(self) -> State:
        if self.draining:
            return State.DRAINING
        return State.EJECTED if self.ejected else self.heard


_HOPE = (State.HEALTHY, State.CONNECTING, State.EJECTED)
"""Who is chosen, the best first: one that was not heard yet, or failed, may answer after all."""


@attrs.define(eq=False)
class Picker(Generic[K]):
    """
    The replicas of one service, by their addresses.

    Args:
        in_turn: choose one after the other; else the first that is healthy, in the order in
            which they were added.
    """

    in_turn: bool = True
    _replicas: dict[K, _Replica] = attrs.Factory(dict)
    _turn: int = 0

    @property
    def keys(self) -> tuple[K, ...]:
        """Return all that are not gone, in the order in which they were added."""
        return tuple(self._replicas)

    def state(self, key: K) -> State | None:
        """Return the state of a replica; None for one that is gone."""
        replica = self._replicas.get(key)
        return None if replica is None else replica.state

    # Who there is

    def add(self, key: K) -> None:
        """Have a replica; one that was draining stays as it is."""
        replica = self._replicas.setdefault(key, _Replica())
        replica.draining = False

    def drain(self, key: K) -> None:
        """Choose a replica no more."""
        if (replica := self._replicas.get(key)) is not None:
            replica.draining = True

    def gone(self, key: K) -> None:
        """Forget a replica."""
        self._replicas.pop(key, None)

    # What is heard

    def heard(self, key: K, state: State) -> None:
        """
        Learn what the streams of a replica tell.

        Args:
            key: of which one.
            state: ``HEALTHY``, ``UNHEALTHY``, or ``CONNECTING`` when a stream is not up. One
                that was not heard and is healthy now is taken back: it was started anew.
        """
        replica = self._replicas.get(key)
        if replica is None:
            return
        if state is State.HEALTHY is not replica.heard:
            replica.ejected = replica.asked = False
        replica.heard = state

    def answered(self, key: K, now: float) -> None:
        """Learn that a replica answered a call: that is the best proof of its health."""
        replica = self._replicas.get(key)
        if replica is not None:
            replica.answered = now
            replica.ejected = replica.asked = False
            replica.failures, replica.pause = 0, FIRST_PAUSE

    def late(self, key: K, began: float, now: float) -> bool:
        """
        Learn that a replica did not answer a call in time.

        A replica that is frozen has answered nothing since the call began, and is ejected at
        once; one that is slow with this call answers others.

        Returns:
            Whether it is ejected by this.
        """
        replica = self._replicas.get(key)
        if replica is not None and replica.answered < began:
            return self.failed(key, now)
        return self.doubtful(key, now)

    def doubtful(self, key: K, now: float) -> bool:
        """
        Learn of a failure that may be the question's own.

        One question must not eject all replicas, one after the other.

        Returns:
            Whether it is ejected by this: too many in a row.
        """
        replica = self._replicas.get(key)
        if replica is None:
            return False
        replica.failures += 1
        return replica.failures >= DOUBTS and self.failed(key, now)

    def failed(self, key: K, now: float) -> bool:
        """
        Learn that a replica cannot answer.

        Returns:
            Whether it is ejected by this, and was not before.
        """
        replica = self._replicas.get(key)
        if replica is None or replica.ejected:
            return False
        self._eject(replica, now)
        return True

    # Taking back

    def due(self, now: float) -> list[K]:
        """Return those whose pause is over, once each: ask them for their health."""
        found = []
        for key, replica in self._replicas.items():
            if replica.ejected and not replica.asked and replica.until <= now:
                replica.asked = True
                found.append(key)
        return found

    def next_due(self) -> float | None:
        """Return when the next pause ends; None when nobody's does."""
        waiting = [r.until for r in self._replicas.values() if r.ejected and not r.asked]
        return min(waiting, default=None)

    def told(self, key: K, now: float, *, well: bool) -> bool:
        """
        Learn what a replica answered that was asked for its health, or that it did not.

        Returns:
            Whether it is taken back by this.
        """
        replica = self._replicas.get(key)
        if replica is None or not replica.asked:
            return False
        if not well:
            self._eject(replica, now)
            return False
        replica.ejected = replica.asked = False
        replica.failures = 0
        return True

    # Choosing

    def pick(self, tried: Collection[K] = ()) -> K | None:
        """
        Choose who answers a call.

        A healthy one whenever there is one; else one that is not heard, else an ejected one.

        Args:
            tried: those that failed this call already; none of them is chosen.

        Returns:
            None when there is nobody left to try.
        """
        best: tuple[K, _Replica] | None = None
        best_rank = (len(_HOPE), 0)
        for key, replica in self._replicas.items():
            state = replica.state
            if key in tried or state not in _HOPE:
                continue
            rank = (_HOPE.index(state), replica.turn if self.in_turn else 0)
            if rank < best_rank:
                best, best_rank = (key, replica), rank
        if best is None:
            return None
        self._turn += 1
        best[1].turn = self._turn
        return best[0]

    def alone(self, key: K, tried: Collection[K] = ()) -> bool:
        """Say whether nobody is left to try but this one."""
        return not any(
            replica.state in _HOPE
            for other, replica in self._replicas.items()
            if other != key and other not in tried
        )

    def _eject(self, replica: _Replica, now: float) -> None:
        replica.ejected, replica.asked = True, False
        replica.until = now + replica.pause
        replica.pause = min(2 * replica.pause, LONGEST_PAUSE)
        replica.failures = 0
