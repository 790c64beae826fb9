"""
Decisions that are asked for elsewhere, and kept for as long as they hold.

One question costs several times what a whole request does, so an answer is kept by what it
depends on: the route, the session's token unless everybody is answered alike, and the client's
certificate where the policy asks for it. It lives
until the first of these:

- its ``valid_for`` is over, or its session;
- the replica that gave it says that it goes by other policies now, or is not heard while
  others are;
- no replica at all has been heard for ``max_age`` since it was last known to hold.

What is not to be kept is answered all the same, to those who had asked by the time its
question went out. Whoever came later might be owed another answer, so there is another
question for them, one for all.

Denials and sign-ins are kept like anything else: one who signs in comes with a new token, and
nobody's sign-in depends on the policy alone. No client can make entries: every token in a key
was verified here.

Source: design, section 6.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from pomeriumd.access.authorizer import Remote
from pomeriumd.access.client_certificate import ClientCertificate
from pomeriumd.access.decision import Decision
from pomeriumd.access.routes import Route
from pomeriumd.access.verdict import CLIENT_CERTIFICATE, NO_ATTRIBUTES, SESSION, Given, Question
from pomeriumd.errors import Undecided
from pomeriumd.session.known import Known

KEPT = 10_000
"""Decisions kept by one process, those that were used last: as many as sessions."""

CARRIED = frozenset({SESSION})
"""What every question of ours carries besides the route; attributes come on top. What depends on
more is not kept."""

SHORTEST_PATIENCE = 6.0
"""Seconds that a stream has when no decision may be kept: one look at it may fail, and a second
one cuts it, about as soon as if it were denied."""

TOLD_SECONDS = 60.0
"""Between two lines of the log about requests that nobody decided."""

_Key = str | tuple[str, str] | tuple[str, str, str] | object
"""Of what is kept: the route's id if everybody is answered alike, else with the token, which is
empty for nobody, and with the client's certificate where the policy asks for it. A question that
is shared with nobody has an object of its own."""


@attrs.define(eq=False)
class _Kept:
    """A decision; times are seconds of the clock."""

    decision: Decision
    replica: str
    generation: str
    until: float
    held: float
    """When it was known to hold last."""


@attrs.define(eq=False)
class _Call:
    """One question under way, and who waits for its answer, in the order in which they came."""

    question: Question
    known: Known | None
    began: float = 0.0
    """Seconds of the clock."""
    early: dict[Deferred[Decision], None] = attrs.Factory(dict)
    """Who was there when the question went out."""
    late: dict[Deferred[Decision], None] = attrs.Factory(dict)
    answer: Deferred[Given] | None = None

    def wait(self) -> Deferred[Decision]:
        """Return what one more waits for."""
        waiter: Deferred[Decision] = Deferred(self._left)
        self.late[waiter] = None
        return waiter

    def take(self, *, late: bool) -> list[Deferred[Decision]]:
        """Return who is answered now, and forget them."""
        waiters, self.early = [*self.early], {}
        if late:
            waiters += self.late
            self.late = {}
        return waiters

    def _left(self, waiter: Deferred[Decision]) -> None:
        self.early.pop(waiter, None)
        self.late.pop(waiter, None)
        if self.answer is not None and not (self.early or self.late):
            self.answer.cancel()


@attrs.define(eq=False)
class Counts:
    """What was counted since the process began."""

    hits: int = 0
    misses: int = 0
    undecided: int = 0
    """Who asked, and was told that nobody could decide."""
    told: int = 0
    """How many of those the log has told of."""
    quiet_until: float = float("-inf")
    """Seconds of the clock before which the log is told of no more."""


@attrs.define(eq=False, kw_only=True)
class Memory:
    """
    What one authorize service has decided, with one set of keys; it outlives generations.

    For another service or other keys there is another one, with the same ``counts``.
    """

    kept: OrderedDict[_Key, _Kept] = attrs.field(factory=OrderedDict, repr=False)
    calls: dict[_Key, _Call] = attrs.field(factory=dict, repr=False)
    counts: Counts = attrs.Factory(Counts)


@attrs.define(eq=False, kw_only=True)
class Decisions:
    """
    An ``Authorizer`` that asks elsewhere what it does not know.

    Args:
        remote: whom it asks.
        clock: steady.
        now: seconds since the epoch.
        max_age: seconds that a decision is used while no replica is heard; 0 is to keep none,
            and to ask for each request.
        generation: digest of the policies here, for the log of whoever decides.
        memory: of this service and these keys.
    """

    remote: Remote
    clock: IReactorTime
    now: Callable[[], float]
    max_age: float
    generation: str = ""
    memory: Memory = attrs.field(factory=Memory, repr=False)
    # A step nearer to each request:
    _holds: Callable[[str, str], bool | None] = attrs.field(init=False, repr=False)
    _seconds: Callable[[], float] = attrs.field(init=False, repr=False)
    _kept: OrderedDict[_Key, _Kept] = attrs.field(init=False, repr=False)
    _counts: Counts = attrs.field(init=False, repr=False)
    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self._holds, self._seconds = self.remote.holds, self.clock.seconds
        # What was kept before a reload that forbids it is not looked at any more.
        self._kept = self.memory.kept if self.max_age else OrderedDict()
        self._counts = self.memory.counts

    def decide(
        self, route: Route, known: Known | None, certificate: ClientCertificate | None = None
    ) -> Decision | Deferred[Decision]:
        """
        Decide one request: at once where the answer is known.

        Returns:
            The decision, or a Deferred of it; who cancels that cancels nobody else's. It
            fails with ``Undecided`` when nobody could tell.
        """
        place: _Key = route.id
        key: _Key = (place, "" if known is None else known.signed)
        attributes = NO_ATTRIBUTES
        if route.policy.certificates and certificate is not None:
            attributes = {CLIENT_CERTIFICATE: certificate.attribute}
            key = (*key, certificate.attribute)  # type: ignore[misc]  # a tuple, see above
        kept = self._kept
        entry = kept.get(key)
        if entry is not None:
            place = key
        else:
            entry = kept.get(place)
            if entry is None:
                return self._wait(key, route, known, attributes)
        now, holds = self._seconds(), self._holds(entry.replica, entry.generation)
        if holds:
            entry.held = now
        if now >= entry.until or holds is False or now >= entry.held + self.max_age:
            del kept[place]
            return self._wait(key, route, known, attributes)
        kept.move_to_end(place)
        self._counts.hits += 1
        return entry.decision

    @property
    def heard(self) -> bool:
        """Return whether any replica is heard: then what is kept is known to hold."""
        return self.remote.holds("", "") is not None

    @property
    def patience(self) -> float:
        """Return ``max_age``, or a little when that is 0."""
        return max(self.max_age, SHORTEST_PATIENCE)

    def _wait(
        self, key: _Key, route: Route, known: Known | None, attributes: Mapping[str, str]
    ) -> Deferred[Decision]:
        self._counts.misses += 1
        if not self.max_age:
            key = object()
        call = self.memory.calls.get(key)
        if call is not None:
            return call.wait()
        token = "" if known is None else known.signed
        question = Question(
            route=route.id, token=token, generation=self.generation, attributes=attributes
        )
        call = self.memory.calls[key] = _Call(question, known)
        waiter = call.wait()
        self._ask(key, call)
        return waiter

    def _ask(self, key: _Key, call: _Call) -> None:
        call.early, call.late = call.late, {}
        call.began = self._seconds()
        call.answer = answer = Deferred.fromCoroutine(_checked(self.remote, call.question))
        answer.addCallback(partial(self._answered, key, call))
        answer.addErrback(partial(self._failed, key, call))

    def _answered(self, key: _Key, call: _Call, given: Given) -> None:
        call.answer = None
        kept = self._keep(key, call, given)
        waiters = call.take(late=kept)
        if call.late:
            self._ask(key, call)
        else:
            del self.memory.calls[key]
        for waiter in waiters:
            if not waiter.called:  # what came before it may have made it leave
                waiter.callback(given.verdict.decision)

    def _keep(self, key: _Key, call: _Call, given: Given) -> bool:
        """Keep what was decided if it may be, and say whether that is so."""
        verdict, seconds = given.verdict, given.verdict.valid_for
        if not self.max_age or not verdict.depends_on <= CARRIED | {*call.question.attributes}:
            return False
        now, holds = self._seconds(), self._holds(given.replica, verdict.generation)
        # Its Watch says otherwise already; or not yet, and then the next question will do.
        if holds is False or (holds is None and now >= call.began + self.max_age):
            return False
        if not verdict.depends_on:
            key = call.question.route
        elif SESSION in verdict.depends_on and call.known is not None:
            seconds = min(seconds, call.known.session.expires - self.now())
        # It was decided after the question went out, nobody here knows when: the earliest counts.
        until = call.began + seconds
        if not until > now:  # a NaN is no time
            return False
        self._kept[key] = _Kept(
            verdict.decision, given.replica, verdict.generation, until, call.began
        )
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return True

    def _failed(self, key: _Key, call: _Call, failure: Failure) -> None:
        del self.memory.calls[key]
        call.answer = None
        waiters = call.take(late=True)
        if not waiters:
            return
        if failure.check(CancelledError):
            # By nobody who waits: without an answer their clients would wait for ever.
            failure = Failure(Undecided("the question to authorize was given up"))
        if isinstance(failure.value, Undecided):
            self._counts.undecided += len(waiters)
            self._tell(failure.value)
        for waiter in waiters:
            if not waiter.called:
                waiter.errback(failure)

    def _tell(self, error: Undecided) -> None:
        """Tell the log, once a minute: in an outage this is every request."""
        counts, now = self._counts, self._seconds()
        if now < counts.quiet_until:
            return
        self._log.warn(
            "{count} requests could not be decided since the last such line: {error}",
            count=counts.undecided - counts.told,
            error=f"{error}; {error.remedy}" if error.remedy else str(error),
            kind=type(error).__name__,
        )
        counts.told, counts.quiet_until = counts.undecided, now + TOLD_SECONDS


async def _checked(remote: Remote, question: Question) -> Given:
    return await remote.check(question)
