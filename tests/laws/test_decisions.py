"""
Whatever replicas, their policies and their Watch streams do: no decision is made up or outlived.

Some people ask about some routes; questions are answered, late or not at all; replicas change
their policies and tell so later, are lost and come back; and time passes. A model that keeps
nothing knows of each verdict when it was decided and for how long it held. Every decision that
somebody gets was either decided after they had asked, or is one that still held, by the rules
of ``proxy/decisions.py``, at the moment when they got it.
"""

from __future__ import annotations

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from pomeriumd.access.decision import Allow, Decision
from pomeriumd.access.routes import Route
from pomeriumd.access.verdict import SESSION
from pomeriumd.errors import Undecided
from pomeriumd.proxy.decisions import Decisions
from pomeriumd.session.known import Known
from tests.proxy.test_decisions import known
from tests.support.elsewhere import Asked, Elsewhere
from tests.support.laws import examples
from tests.support.settings import route

ROUTES = tuple(Route.of(route(f"{name}.example.com")) for name in "ab")
EXPIRES = {"alice": 25, "bob": 1000}
"""When their sessions end, in seconds of the clock."""
PEOPLE: tuple[Known | None, ...] = (
    None,
    *(known(name, expires) for name, expires in EXPIRES.items()),
)
REPLICAS = ("one", "two")

which = st.integers(0, 9)
somewhere = st.sampled_from([ROUTES[0], *ROUTES])
somebody = st.sampled_from(PEOPLE)
replicas = st.sampled_from(REPLICAS)
dependencies = st.sampled_from([*[frozenset({SESSION})] * 4, frozenset(), frozenset({"device"})])
times = st.sampled_from([1000.0, 1000.0, 1000.0, 30.0, 5.0, 0.0])


@attrs.frozen(eq=False)
class Given:
    """A verdict as the model knows it: of whom, by whom, when."""

    route: str
    token: str
    replica: str
    generation: str
    depends_on: frozenset[str]
    valid_for: float
    step: int
    """Which step of the world it was decided in; steps have an order where times are equal."""
    at: float


@attrs.frozen(eq=False)
class Waiting:
    """Somebody who waits."""

    route: str
    token: str
    step: int
    waiter: Deferred[Decision]


class Deciding(RuleBasedStateMachine):
    """People, a cache, replicas."""

    @initialize(max_age=st.sampled_from([10.0, 10.0, 10.0, 0.0]))
    def begin(self, max_age: float) -> None:
        """Two replicas, both heard."""
        self.clock, self.step = Clock(), 0
        self.generations = dict.fromkeys(REPLICAS, "g0")
        self.elsewhere = Elsewhere(heard=dict(self.generations))
        self.max_age = max_age
        self.decisions = Decisions(
            remote=self.elsewhere, clock=self.clock, now=self.clock.seconds, max_age=max_age
        )
        self.given: dict[Decision, Given] = {}
        self.held: dict[tuple[str, str], float] = {}
        self.on_their_way: list[tuple[Asked, dict[str, object]]] = []
        self.waiting: list[Waiting] = []
        self.wrong: list[str] = []
        self.note()

    def note(self) -> None:
        """Remember what holds now."""
        self.step += 1
        for replica, generation in self.elsewhere.heard.items():
            self.held[replica, generation] = self.clock.seconds()

    # Who asks

    @rule(at=somewhere, who=somebody, depends_on=dependencies, valid_for=times)
    def asks_and_is_told(
        self, at: Route, who: Known | None, depends_on: frozenset[str], valid_for: float
    ) -> None:
        """Somebody opens a page, and waits for nobody's sake."""
        before = len(self.elsewhere.asked)
        self.asks(at, who)
        if len(self.elsewhere.asked) > before:
            last = len(self.undecided()) - 1
            self.decides(last, REPLICAS[last % 2], depends_on, valid_for, at_once=True)

    @rule(
        at=somewhere,
        who=somebody,
        depends_on=dependencies,
        valid_for=times,
        meanwhile=st.sampled_from(["", "", "other policies", "lost"]),
    )
    def joins(
        self,
        at: Route,
        who: Known | None,
        depends_on: frozenset[str],
        valid_for: float,
        meanwhile: str,
    ) -> None:
        """Somebody asks when the answer for another one is on its way already."""
        before = len(self.elsewhere.asked)
        self.asks(at, who)
        if len(self.elsewhere.asked) == before:
            return
        last = len(self.undecided()) - 1
        replica = REPLICAS[last % 2]
        self.decides(last, replica, depends_on, valid_for, at_once=False)
        if meanwhile == "lost":
            self.are_lost(REPLICAS)
        elif meanwhile:
            self.changes(replica, f"g{self.step}", at_once=True)
        self.asks(at, who)
        self.arrives(len(self.on_their_way) - 1)

    @rule(at=somewhere, who=somebody)
    def asks(self, at: Route, who: Known | None) -> None:
        """Somebody wants to open a page."""
        self.note()
        if who is not None and self.clock.seconds() >= EXPIRES[who.signed]:
            return  # a session that is over is none: the proxy has judged it before
        token = "" if who is None else who.signed
        found = self.decisions.decide(at, who)
        if not isinstance(found, Deferred):
            assert self.still_holds(found, at.id, token), "a decision that was over"
            return
        waiting = Waiting(at.id, token, self.step, found)
        self.waiting.append(waiting)
        found.addCallbacks(self.got, self.not_got, callbackArgs=(waiting,), errbackArgs=(waiting,))

    def got(self, decision: Decision, waiting: Waiting) -> None:
        """Somebody who waited has a decision."""
        self.waiting.remove(waiting)
        given = self.given[decision]
        fresh = (given.route, given.token) == (waiting.route, waiting.token)
        fresh = fresh and given.step >= waiting.step
        # A Deferred would keep an assertion that fails here to itself.
        if not (fresh or self.still_holds(decision, waiting.route, waiting.token)):
            self.wrong.append("a decision from before the question, and not to be kept")

    def not_got(self, failure: Failure, waiting: Waiting) -> None:
        """Somebody who waited has none."""
        self.waiting.remove(waiting)
        if not (failure.check(Undecided) or waiting in self.leaving):
            self.wrong.append(f"no decision, since {failure.value!r}")

    leaving: tuple[Waiting, ...] = ()

    def still_holds(self, decision: Decision, route_id: str, token: str) -> bool:
        """Say whether it may be used now by somebody who asks this."""
        given, now = self.given[decision], self.clock.seconds()
        source, heard = (given.replica, given.generation), self.elsewhere.heard
        if heard:
            holds = heard.get(given.replica) == given.generation
        else:
            holds = now < max(self.held.get(source, 0.0), given.at) + self.max_age
        for_them = not given.depends_on or given.token == token
        return (
            self.max_age > 0
            and given.route == route_id
            and given.depends_on <= {SESSION}
            and for_them
            and now < given.at + given.valid_for
            and (not (given.depends_on and token) or now < EXPIRES[token])
            and holds
        )

    @precondition(lambda self: self.waiting)
    @rule(number=which)
    def leaves(self, number: int) -> None:
        """Somebody does not want to know any more."""
        self.note()
        waiting = self.waiting[number % len(self.waiting)]
        self.leaving = (waiting,)
        waiting.waiter.cancel()
        self.leaving = ()

    # Who answers

    def undecided(self) -> list[Asked]:
        """Return the questions that nobody has decided yet."""
        decided = {asked for asked, _ in self.on_their_way}
        return [asked for asked in self.elsewhere.open if asked not in decided]

    @precondition(lambda self: self.undecided())
    @rule(
        number=which,
        replica=replicas,
        depends_on=dependencies,
        valid_for=times,
        at_once=st.booleans(),
    )
    def decides(
        self, number: int, replica: str, depends_on: frozenset[str], valid_for: float, at_once: bool
    ) -> None:
        """A replica decides by the policies it has now; the answer may take its time."""
        self.note()
        asked = self.undecided()[number % len(self.undecided())]
        question, generation = asked.question, self.generations[replica]
        decision = Allow((f"verdict-{len(self.given)}",))
        self.given[decision] = Given(
            question.route,
            question.token,
            replica,
            generation,
            depends_on,
            valid_for,
            self.step,
            self.clock.seconds(),
        )
        answer: dict[str, object] = {
            "decision": decision,
            "replica": replica,
            "generation": generation,
            "depends_on": depends_on,
            "valid_for": valid_for,
        }
        self.on_their_way.append((asked, answer))
        if at_once:
            self.arrives(len(self.on_their_way) - 1)

    def arrives(self, place: int) -> None:
        """Let an answer arrive, if somebody still wants it."""
        self.note()
        asked, answer = self.on_their_way.pop(place)
        if asked.open:
            asked.gives(**answer)  # type: ignore[arg-type]

    @precondition(lambda self: self.on_their_way)
    @rule(number=which)
    def arrives_late(self, number: int) -> None:
        """An answer arrives."""
        self.arrives(number % len(self.on_their_way))

    @precondition(lambda self: self.undecided())
    @rule(number=which)
    def fails(self, number: int) -> None:
        """No replica answers a question."""
        self.note()
        self.undecided()[number % len(self.undecided())].answer.errback(Undecided("nobody"))

    # Replicas

    @rule(replica=replicas, generation=st.sampled_from(["g0", "g1"]), at_once=st.booleans())
    def changes(self, replica: str, generation: str, at_once: bool) -> None:
        """A replica goes by other policies; its stream, if it has one, says so now or later."""
        self.note()
        self.generations[replica] = generation
        if at_once and replica in self.elsewhere.heard:
            self.tells(replica)

    @rule(replica=replicas)
    def tells(self, replica: str) -> None:
        """A replica is heard, with what it goes by now."""
        self.note()
        self.elsewhere.heard[replica] = self.generations[replica]
        self.note()

    @rule(lost=st.sampled_from([REPLICAS, REPLICAS[:1], REPLICAS[1:]]))
    def are_lost(self, lost: tuple[str, ...]) -> None:
        """Streams of replicas end."""
        self.note()
        for replica in lost:
            self.elsewhere.heard.pop(replica, None)

    @rule(seconds=st.sampled_from([0.5, 4.0, 9.0]))
    def time_passes(self, seconds: float) -> None:
        """Time passes."""
        self.note()
        self.clock.advance(seconds)
        self.note()

    # What holds always

    @invariant()
    def nobody_is_forgotten(self) -> None:
        """Whoever waits waits for a question that is out; and each question is out once."""
        if not hasattr(self, "waiting"):
            return
        assert not self.wrong, self.wrong
        out = [(asked.question.route, asked.question.token) for asked in self.elsewhere.open]
        wanted = [(waiting.route, waiting.token) for waiting in self.waiting]
        if self.max_age:
            assert sorted(out) == sorted(set(wanted))
        else:
            assert sorted(out) == sorted(wanted)
        assert len(self.decisions.memory.calls) == len(out)


Deciding.TestCase.settings = examples(30, steps=40)
DecidingTests = Deciding.TestCase
