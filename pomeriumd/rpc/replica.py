"""
What is known of one replica, and the log lines that tell of it.

Each thing that is wrong is one line when it begins, and one when the replica decides again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import attrs
from twisted.logger import Logger

from pomeriumd.rpc.endpoint import Endpoint
from pomeriumd.rpc.failures import NOT_SERVING, Failed, clock_off
from pomeriumd.rpc.line import Line
from pomeriumd.rpc.picker import State

LINES = 8
"""Different problems of one replica that are logged before it decides again."""

_log = Logger()


@attrs.frozen(kw_only=True)
class ReplicaStatus:
    """One replica, for whoever asks how things stand."""

    address: str
    """With the port, as in logs."""
    name: str
    """The host of the URL that led there."""
    state: str
    since: float
    """Seconds since the epoch."""
    generation: str
    """Digest of the policies by which it decides; empty when it is not heard."""
    problem: str
    """What is wrong and what to change; empty when nothing is."""
    in_flight: int


class Watcher(Protocol):
    """Who wants to know what replicas tell."""

    def heard(self, replica: Replica) -> None:
        """Learn that ``replica.tells`` or its generation has changed."""

    def failing(self, replica: Replica) -> None:
        """Learn that a replica cannot be heard: its name may lead elsewhere by now."""


@attrs.define(eq=False)
class Replica:
    """
    One replica; it is the ``Ear`` of its line.

    Args:
        endpoint: where it is.
        watcher: is told what it tells.
        now: gives seconds since the epoch.
    """

    endpoint: Endpoint
    _watcher: Watcher = attrs.field(repr=False)
    _now: Callable[[], float] = attrs.field(repr=False)
    generation: str = attrs.field(default="", init=False)
    calls: int = attrs.field(default=0, init=False)
    """In flight."""
    line: Line = attrs.field(init=False, repr=False)
    state: State = attrs.field(default=State.CONNECTING, init=False)
    failed: Failed | None = attrs.field(default=None, init=False)
    """What is wrong with it now."""
    off: Failed | None = attrs.field(default=None, init=False)
    """What is wrong with its clock, or with ours."""
    _since: float = attrs.field(init=False)
    _serving: bool | None = attrs.field(default=None, init=False)
    _logged: set[str] = attrs.field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        self._since = self._now()

    def follows(self, before: Replica) -> None:
        """Go on telling where a connection to the same address left off."""
        self._logged = set(before._logged)

    # As the ear of its line

    @property
    def tells(self) -> State:
        """Return what its two streams tell together."""
        if self._serving is False:
            return State.UNHEALTHY
        return State.HEALTHY if self._serving and self.generation else State.CONNECTING

    def serves(self, *, serving: bool | None) -> None:
        """Learn whether it serves; None when it is not heard."""
        if serving is not self._serving:
            self._serving = serving
            if serving is False:
                self.is_wrong(NOT_SERVING)
            self._watcher.heard(self)

    def decides_by(self, generation: str) -> None:
        """Learn by which policies it decides."""
        if generation != self.generation:
            self.generation = generation
            self._watcher.heard(self)

    def clock_is(self, ahead: float) -> None:
        """Learn how its clock stands."""
        before, self.off = self.off, clock_off(ahead)
        if self.off is not None and before is None:
            # It may have been said as the reason why a call was refused.
            if self.off.subject not in self._logged:
                self._warn(self.off)
        elif before is not None and self.off is None:
            _log.info("authorize {replica}: its clock agrees with ours again", replica=self.text)

    def fails(self, failed: Failed) -> None:
        """Learn why it is not heard."""
        self.is_wrong(failed)
        self._watcher.failing(self)

    # Telling

    @property
    def text(self) -> str:
        """Return its address, as it stands in logs."""
        return self.endpoint.text

    def is_wrong(self, failed: Failed) -> None:
        """Keep what is wrong with it, and log it if that is new."""
        self.failed = failed
        subject = failed.subject
        if subject in self._logged or len(self._logged) >= LINES:
            return
        self._logged.add(subject)
        if self.off is None or self.off.subject != subject:
            self._warn(failed)

    def is_now(self, state: State) -> None:
        """Keep the state that it is in, and log it if all is well again."""
        if state is self.state:
            return
        self.state, self._since = state, self._now()
        if state is State.HEALTHY:
            self.failed = None
            if self._logged:
                self._logged.clear()
                _log.info("authorize {replica}: decides again", replica=self.text)

    @property
    def problems(self) -> tuple[Failed, ...]:
        """Return what is wrong now."""
        return tuple(failed for failed in (self.failed, self.off) if failed is not None)

    @property
    def status(self) -> ReplicaStatus:
        """Return how it stands."""
        return ReplicaStatus(
            address=self.text,
            name=self.endpoint.name,
            state=self.state.value,
            since=self._since,
            generation=self.generation,
            problem="; ".join(failed.line for failed in self.problems),
            in_flight=self.calls,
        )

    def _warn(self, failed: Failed) -> None:
        _log.warn(
            "authorize {replica} ({name}): {line}",
            replica=self.text,
            name=self.endpoint.name,
            line=failed.line,
        )
