"""
The authorize service as a proxy sees it: several replicas, of which one answers.

What is decided is decided by ``picker``, and what is looked up by ``names``; here it is put
together with lines, timers and the calls that wait. A question is idempotent, so it goes to
another replica as soon as one fails or is late; when nobody answers, the caller hears so
within a second, and lets nothing through.

Knows Deferreds and a clock; knows no grpc.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection

import attrs
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from pomeriumd.access.verdict import Given, Question
from pomeriumd.crypto.keys import KeyRing
from pomeriumd.errors import Problem, Undecided
from pomeriumd.rpc.asking import Asking
from pomeriumd.rpc.endpoint import Endpoint
from pomeriumd.rpc.failures import Failed, Kind
from pomeriumd.rpc.line import Dial, Metadata, Security
from pomeriumd.rpc.names import LookUp, Names
from pomeriumd.rpc.picker import Picker, State
from pomeriumd.rpc.replica import Replica, ReplicaStatus
from pomeriumd.rpc.tokens import Bearer
from pomeriumd.settings.values import Origin

AT_ONCE = 32
"""Questions that replicas are asked at once; the others wait for their turn. At a thousand a
second there are five. Were there as many as come, then each would be late when there is just a
little more to do than there is processor for, each that is late would be asked again, and soon
nobody would have an answer at all (seen at 1,000 a second where 600 could be answered: 18 were)."""

MOST = 1_000
"""Questions that are asked or wait. With more of them the last would wait in vain."""

OK = "ok"
"""What is counted where a replica answered."""

TOLD_APART = 512
"""Addresses and outcomes that are counted by themselves; where addresses come and go for years,
the later ones share one."""

OTHER = "other"

PROBE_SECONDS = 1.0
"""For the answer of an ejected replica that is asked for its health."""

_EJECTING = frozenset({Kind.UNREACHABLE, Kind.REFUSED, Kind.FOREIGN, Kind.SILENT})


@attrs.frozen(kw_only=True)
class Options:
    """What the settings say of the authorize service."""

    urls: tuple[Origin, ...]
    keys: KeyRing = attrs.field(repr=False)
    """Of ``Purpose.GRPC``: the first makes our tokens."""
    security: Security = attrs.field(factory=Security)
    timeout: float = 10.0
    """Seconds for one question, whatever happens; 0 or less is no bound of its own."""
    attempt: float = 0.25
    """Seconds for which one replica is waited for."""
    in_turn: bool = True
    """All replicas in turn; else the first that is healthy."""
    resolve_interval: float = 30.0
    """Seconds between two look-ups of a name."""


@attrs.define(eq=False)
class Counters:
    """What has happened so far."""

    calls: Counter[str] = attrs.Factory(Counter)
    """Questions by their end: ``ok``, ``undecided``, ``full``, ``cancelled``."""
    attempts: Counter[tuple[str, str]] = attrs.Factory(Counter)
    """What replicas were asked: by address, and ``ok`` or the kind of the failure."""
    ejections: int = 0
    in_flight: int = 0

    def attempted(self, address: str, outcome: str) -> None:
        """Count what became of asking a replica."""
        key = address, outcome
        if key not in self.attempts and len(self.attempts) >= TOLD_APART:
            key = OTHER, outcome
        self.attempts[key] += 1


def _nothing() -> None:
    """Care about no change."""


@attrs.define(eq=False, kw_only=True)
class Pool:
    """
    The replicas of the authorize service; implements ``access.authorizer.Remote``.

    Args:
        dial: makes lines to replicas.
        look_up: gives the addresses of a name.
        clock: of the reactor.
        now: gives seconds since the epoch; called in any thread.
        changed: is called whenever what ``holds()`` says may have changed.
    """

    _dial: Dial
    _look_up: LookUp
    _clock: IReactorTime
    _now: Callable[[], float]
    changed: Callable[[], None] = _nothing
    counters: Counters = attrs.field(factory=Counters, init=False)
    _options: Options | None = attrs.field(default=None, init=False)
    _bearer: Bearer = attrs.field(init=False, repr=False)
    _names: Names = attrs.field(init=False)
    _picker: Picker[Replica] = attrs.field(factory=Picker, init=False)
    _endpoints: tuple[Endpoint, ...] = attrs.field(default=(), init=False)
    _told: dict[str, str] = attrs.field(factory=dict, init=False)
    """Generations of the replicas that are heard, by their addresses."""
    _calls: set[Asking] = attrs.field(factory=set, init=False)
    _waiting: list[Deferred[None]] = attrs.field(factory=list, init=False)
    """For somebody to be there."""
    _asked: int = attrs.field(default=0, init=False)
    """How many of them somebody is asked."""
    _queue: dict[Asking, None] = attrs.field(factory=dict, init=False)
    """Those that wait for their turn, the youngest last."""
    _beginning: bool = attrs.field(default=False, init=False)
    _probing: IDelayedCall | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._names = Names(self._look_up, self._clock, self._found)

    # What the settings say

    def take(self, options: Options) -> None:
        """
        Go by these from now on; the first time, begin.

        What has not changed lives on: connections as long as address and security are the
        same, whatever else is new. Questions in flight go on by what they began with.
        """
        before, self._options = self._options, options
        if before is None or before.keys != options.keys:
            self._bearer = Bearer(options.keys)
        self._picker.in_turn = options.in_turn
        if before is not None and before.security != options.security:
            self._dial_anew()
        self._names.take(options.urls, options.resolve_interval)

    def stop(self) -> None:
        """Hang up everywhere. Questions in flight are not decided any more."""
        self._names.stop()
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.cancel()
        if self._probing is not None:
            self._probing.cancel()
            self._probing = None
        self._queue.clear()
        for call in tuple(self._calls):
            call.fail(Undecided("the proxy stops"))
        for replica in self._picker.keys:
            self._hang_up(replica)
        self._options, self._endpoints = None, ()

    # As Remote

    def check(self, question: Question) -> Deferred[Given]:
        """
        Have one replica answer.

        Returns:
            Cancelling it gives the question up.

        Raises:
            Undecided: (from the Deferred) nobody answered; the text says why, by addresses.
        """
        if self._options is None:
            return fail(Undecided("the proxy does not run"))
        if len(self._calls) >= MOST:
            self.counters.calls["full"] += 1
            return fail(Undecided(f"{MOST} questions are in flight already"))
        asking = Asking(self, self._clock, question, self._options.attempt, self._options.timeout)
        self._calls.add(asking)
        self.counters.in_flight = len(self._calls)
        waits = self._asked >= AT_ONCE
        if waits:
            self._queue[asking] = None
        else:
            self._asked += 1
        return asking.begin(waits=waits)

    def holds(self, replica: str, generation: str) -> bool | None:
        """
        Say whether what a replica decided under a generation still holds.

        It does as long as the replica says that it decides by that generation; one that is
        not heard is believed to go on as others do that are. None when nobody is heard.
        """
        told = self._told
        if not told:
            return None
        now = told.get(replica)
        return generation in told.values() if now is None else generation == now

    # To look at

    @property
    def ready(self) -> bool:
        """Return whether somebody is there to decide."""
        return any(replica.state is State.HEALTHY for replica in self._picker.keys)

    def awaited(self, seconds: float) -> Deferred[None]:
        """
        Wait until somebody is there to decide, and no longer than so many seconds.

        Returns:
            It fires either way, and is cancelled when the pool stops.
        """
        waiting: Deferred[None] = Deferred()
        if self.ready:
            waiting.callback(None)
            return waiting
        self._waiting.append(waiting)
        return waiting.addTimeout(seconds, self._clock, lambda *_: self._waiting.remove(waiting))

    @property
    def replicas(self) -> tuple[ReplicaStatus, ...]:
        """Return how each replica stands."""
        return tuple(replica.status for replica in self._picker.keys)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Return all that is wrong now: where, and what to change."""
        names = [Problem("authorize_service_url", text) for text in self._names.problems.values()]
        return (
            *names,
            *(
                Problem(f"authorize {replica.text}", failed.line)
                for replica in self._picker.keys
                for failed in replica.problems
            ),
        )

    # As the watcher of its replicas

    def heard(self, replica: Replica) -> None:
        """Learn what a replica tells."""
        self._picker.heard(replica, replica.tells)
        self._settle(replica)

    def failing(self, replica: Replica) -> None:
        """Learn that a replica cannot be heard."""
        self._names.failed(replica.endpoint.name)

    # Who there is

    def _found(self, endpoints: tuple[Endpoint, ...]) -> None:
        self._endpoints = endpoints
        there = {replica.endpoint: replica for replica in self._picker.keys}
        for endpoint in endpoints:
            replica = there.pop(endpoint, None)
            if replica is None:
                self._connect(endpoint)
            else:
                self._picker.add(replica)
                self._settle(replica)
        for replica in there.values():
            self._drain(replica)

    def _connect(self, endpoint: Endpoint, before: Replica | None = None) -> None:
        assert self._options is not None  # noqa: S101  # for the type checker
        replica = Replica(endpoint, self, self._now)
        if before is not None:
            replica.follows(before)
        self._picker.add(replica)
        replica.line = self._dial(endpoint, self._options.security, self._metadata, replica)

    def _dial_anew(self) -> None:
        there = {replica.endpoint: replica for replica in self._picker.keys}
        for replica in there.values():
            self._drain(replica)
        for endpoint in self._endpoints:
            self._connect(endpoint, there.get(endpoint))

    def _drain(self, replica: Replica) -> None:
        self._picker.drain(replica)
        self._settle(replica)
        if not replica.calls:
            self._hang_up(replica)

    def _hang_up(self, replica: Replica) -> None:
        self._picker.gone(replica)
        replica.line.close()
        self._listen()

    def _metadata(self) -> Metadata:
        return self._bearer.metadata(self._now())

    # What is learnt

    def _settle(self, replica: Replica) -> None:
        state = self._picker.state(replica)
        if state is not None:
            replica.is_now(state)
            self._listen()
        if state is State.HEALTHY and self._waiting:
            waiting, self._waiting = self._waiting, []
            for one in waiting:
                one.callback(None)

    def _listen(self) -> None:
        """Take down whose generations are heard: an ejected replica says what it said before."""
        told = {
            replica.text: replica.generation
            for replica in self._picker.keys
            if replica.generation and replica.state is not State.EJECTED
        }
        if told != self._told:
            self._told = told
            self.changed()

    # For its questions

    def pick(self, tried: Collection[Replica]) -> Replica | None:
        """Choose who is asked; none of those that were tried."""
        return self._picker.pick(tried)

    def alone(self, replica: Replica, tried: Collection[Replica]) -> bool:
        """Say whether nobody is left to try but this one."""
        return self._picker.alone(replica, tried)

    def answered(self, replica: Replica) -> None:
        """Learn that a replica answered."""
        self.counters.attempted(replica.text, OK)
        self._picker.answered(replica, self._clock.seconds())
        if replica.state is State.EJECTED:
            self._settle(replica)

    def failed(self, replica: Replica, failed: Failed, began: float) -> None:
        """Learn that a replica did not answer what it was asked at ``began``."""
        self.counters.attempted(replica.text, failed.kind.value)
        now = self._clock.seconds()
        if failed.kind is Kind.LATE:
            ejected = self._picker.late(replica, began, now)
        elif failed.kind in _EJECTING:
            ejected = self._picker.failed(replica, now)
        else:
            ejected = self._picker.doubtful(replica, now)
        if ejected:
            self.counters.ejections += 1
            replica.is_wrong(failed)
            self._settle(replica)
            self._names.failed(replica.endpoint.name)
            self._await_probe()

    def ended(self, asking: Asking, replica: Replica | None, how: str) -> None:
        """Learn that a replica is not asked any more; and how the question ended, if it did."""
        if replica is not None:
            replica.calls -= 1
            if not replica.calls and self._picker.state(replica) is State.DRAINING:
                self._hang_up(replica)
        if how:
            self._calls.discard(asking)
            self.counters.calls[how] += 1
            self.counters.in_flight = len(self._calls)
            if asking.begun:
                self._asked -= 1
                self._begin_more()
            else:
                self._queue.pop(asking, None)

    def _begin_more(self) -> None:
        """Ask what has waited, the youngest first: it has the most time left for an answer."""
        # One that fails at once ends up here again: a loop, since a thousand may wait.
        if self._beginning:
            return
        self._beginning = True
        try:
            while self._queue and self._asked < AT_ONCE:
                asking, _ = self._queue.popitem()
                self._asked += 1
                asking.go()
        finally:
            self._beginning = False

    def others(self, tried: Collection[Replica]) -> list[tuple[str, str]]:
        """Return why nobody else was asked: texts, and what to do about it."""
        found = [
            (f"{replica.text} {replica.failed.text}", replica.failed.remedy)
            for replica in self._picker.keys
            if replica not in tried and replica.failed is not None
        ]
        if not found and not tried:
            found = [(text, "") for text in self._names.problems.values()]
        return found

    # Taking back

    def _await_probe(self) -> None:
        due = self._picker.next_due()
        if self._probing is not None:
            self._probing.cancel()
            self._probing = None
        if due is not None:
            left = max(due - self._clock.seconds(), 0)
            self._probing = self._clock.callLater(left, self._probe)

    def _probe(self) -> None:
        self._probing = None
        for replica in self._picker.due(self._clock.seconds()):
            replica.line.probe(PROBE_SECONDS, self._probed(replica))
        self._await_probe()

    def _probed(self, replica: Replica) -> Callable[[Failed | None], None]:
        def done(failed: Failed | None) -> None:
            self._picker.told(replica, self._clock.seconds(), well=failed is None)
            if failed is not None:
                replica.is_wrong(failed)
            self._settle(replica)
            self._await_probe()

        return done
