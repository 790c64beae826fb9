"""The pool of replicas, in memory: lines that answer when they are told to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.access.decision import Allow
from pomeriumd.access.verdict import Given, Question, Verdict
from pomeriumd.errors import Undecided
from pomeriumd.rpc.endpoint import Endpoint
from pomeriumd.rpc.failures import NOT_SERVING, Failed, Kind, clock_off
from pomeriumd.rpc.line import Ear, Metadata, Security
from pomeriumd.rpc.pool import AT_ONCE, MOST, TOLD_APART, Counters, Options, Pool
from pomeriumd.settings.values import Origin
from tests.support.logged import Logged

VERDICT = Verdict(decision=Allow(("accept",)), valid_for=60, generation="g1")
QUESTION = Question(route="r")
REFUSED = Failed(Kind.UNREACHABLE, "refuses connections", "does authorize run there?")
BROKEN = Failed(Kind.BROKEN, "answers INTERNAL", "see its own log")


@attrs.define(eq=False)
class Call:
    """A question that was put to a line."""

    seconds: float
    patient: bool
    done: Callable[[Verdict | Failed], None]
    given_up: bool = False


@attrs.define(eq=False)
class Line:
    """A line to a replica, by ``rpc.line.Line``."""

    endpoint: Endpoint
    security: Security
    metadata: Callable[[], Metadata]
    ear: Ear
    calls: list[Call] = attrs.Factory(list)
    probes: list[Callable[[Failed | None], None]] = attrs.Factory(list)
    closed: bool = False

    def check(
        self,
        question: Question,
        seconds: float,
        *,
        patient: bool,
        done: Callable[[Verdict | Failed], None],
    ) -> Callable[[], None]:
        """Take the question down."""
        call = Call(seconds, patient, done)
        self.calls.append(call)

        def give_up() -> None:
            call.given_up = True

        return give_up

    def probe(self, seconds: float, done: Callable[[Failed | None], None]) -> None:
        """Take down that it was asked for."""
        self.probes.append(done)

    def close(self) -> None:
        """Take down that it was closed."""
        assert not self.closed
        self.closed = True

    def is_well(self, generation: str = "g1") -> None:
        """Tell that the replica serves, by which policies."""
        self.ear.serves(serving=True)
        self.ear.decides_by(generation)

    def is_lost(self) -> None:
        """Tell that both streams broke."""
        self.ear.serves(serving=None)
        self.ear.decides_by("")
        self.ear.fails(REFUSED)


class AwaitedTests(SynchronousTestCase):
    """Whoever is about to serve waits until somebody decides, within a bound."""

    def setUp(self) -> None:
        """Have a pool that knows nobody yet."""
        self.clock, self.lines = Clock(), list[Line]()
        self.found: Deferred[Sequence[str]] = Deferred()
        self.pool = Pool(
            dial=self.dial, look_up=lambda _: self.found, clock=self.clock, now=self.clock.seconds
        )
        self.pool.take(
            Options(urls=(Origin("https", "authorize.internal", 443),), keys=(b"k" * 32,))
        )

    def dial(
        self, endpoint: Endpoint, security: Security, metadata: Callable[[], Metadata], ear: Ear
    ) -> Line:
        """Make a line."""
        self.lines.append(Line(endpoint, security, metadata, ear))
        return self.lines[-1]

    def test_until_the_first_is_there(self) -> None:
        """One of them is enough; who waits after that waits no more."""
        waiting = self.pool.awaited(2)
        self.found.callback(["10.0.0.1", "10.0.0.2"])
        self.assertNoResult(waiting)
        self.lines[1].is_well()
        self.successResultOf(waiting)
        self.successResultOf(self.pool.awaited(2))
        self.pool.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nobody_comes(self) -> None:
        """At the end of the time it goes on without, and nothing is left behind."""
        waiting = self.pool.awaited(2)
        self.clock.advance(1.9)
        self.assertNoResult(waiting)
        self.clock.advance(0.1)
        self.successResultOf(waiting)
        self.pool.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_pool_stops_first(self) -> None:
        """Who waits is told so, and does not begin to serve."""
        waiting = self.pool.awaited(2)
        self.pool.stop()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class PoolCase(SynchronousTestCase):
    """A pool whose name server answers ``self.dns``."""

    def setUp(self) -> None:
        """Have three replicas that are well."""
        self.clock = Clock()
        self.dns: list[str] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
        self.dialled: list[Line] = []
        self.changes = 0
        self.logged = Logged(self)
        self.pool = Pool(
            dial=self.dial,
            look_up=self.look_up,
            clock=self.clock,
            now=lambda: 1_000_000 + self.clock.seconds(),
            changed=self.change,
        )
        self.options = Options(
            urls=(Origin("https", "authorize.internal", 443),), keys=(b"k" * 32,)
        )
        self.pool.take(self.options)
        for line in self.dialled:
            line.is_well()

    def look_up(self, name: str) -> Deferred[Sequence[str]]:
        """Answer at once."""
        answer: Deferred[Sequence[str]] = Deferred()
        answer.callback(tuple(self.dns))
        return answer

    def change(self) -> None:
        """Count."""
        self.changes += 1

    def dial(
        self, endpoint: Endpoint, security: Security, metadata: Callable[[], Metadata], ear: Ear
    ) -> Line:
        """Make a line."""
        line = Line(endpoint, security, metadata, ear)
        self.dialled.append(line)
        return line

    def ask(self) -> None:
        """Ask a question, of which the answer does not matter."""
        self.pool.check(QUESTION).addErrback(lambda failure: failure.trap(Undecided))

    def line(self, last: int) -> Line:
        """Return the newest line to 10.0.0.``last``."""
        address = f"10.0.0.{last}"
        return next(it for it in reversed(self.dialled) if it.endpoint.address == address)

    def open(self) -> list[tuple[int, Call]]:
        """Return the calls that nobody has answered or given up."""
        return [
            (int(line.endpoint.address[-1]), call)
            for line in self.dialled
            for call in line.calls
            if not call.given_up
        ]

    def only(self) -> tuple[Line, Call]:
        """Return the one call that is open, and forget it."""
        ((last, call),) = self.open()
        call.given_up = True
        return self.line(last), call

    def state(self, last: int) -> str:
        """Return the state of a replica."""
        return {it.address: it.state for it in self.pool.replicas}[f"10.0.0.{last}:443"]

    def freeze(self) -> None:
        """Let nobody answer for as long as one waits for one."""
        self.clock.advance(0.25)


class TurnTests(PoolCase):
    """More questions than are asked at once wait for their turn."""

    def setUp(self) -> None:
        """Ask so many that one more has to wait."""
        super().setUp()
        for _ in range(AT_ONCE):
            self.ask()

    def answer_one(self) -> None:
        """Answer a call that is open."""
        _, call = self.open()[0]
        call.given_up = True
        call.done(VERDICT)

    def test_one_more_waits(self) -> None:
        """Nobody is asked it until another one is answered."""
        answer = self.pool.check(QUESTION)
        self.assertEqual(len(self.open()), AT_ONCE)
        self.answer_one()
        self.assertEqual(len(self.open()), AT_ONCE)
        for _ in range(AT_ONCE):
            self.answer_one()
        self.successResultOf(answer)
        self.assertEqual(self.open(), [])

    def test_the_youngest_is_asked_first(self) -> None:
        """It has the most time left: who has waited for long would get its answer too late."""
        older, younger = (self.pool.check(attrs.evolve(QUESTION, route=r)) for r in "ab")
        self.answer_one()
        for _, call in self.open():
            call.given_up = True
            call.done(VERDICT)
        self.successResultOf(younger)
        self.assertNoResult(older)

    def test_who_waits_in_vain(self) -> None:
        """It is told so within a second, and what to do."""
        self.dns = ["10.0.0.1"]
        self.clock.advance(30)
        for _ in range(AT_ONCE):
            self.ask()
        self.clock.advance(0.1)
        answer = self.pool.check(QUESTION)
        self.clock.advance(0.6)
        for _ in range(AT_ONCE):
            # Others take each place that becomes free.
            self.ask()
            self.answer_one()
        self.clock.advance(0.2)
        error = self.failureResultOf(answer, Undecided)
        self.assertEqual(
            str(error.value), "more is asked than the authorize service answers in time"
        )
        self.assertEqual(
            error.value.remedy, "more replicas of authorize, or a longer decision_max_age"
        )
        self.assertEqual(self.pool.counters.calls["full"], 1)

    def test_who_waits_while_all_are_frozen(self) -> None:
        """It is told of the replicas, as those that are asked are."""
        answer = self.pool.check(QUESTION)
        self.clock.pump([0.05] * 19)
        error = self.failureResultOf(answer, Undecided)
        self.assertIn("10.0.0.1:443 no answer", str(error.value))

    def test_who_leaves_while_it_waits(self) -> None:
        """Nobody is asked for it any more, and nothing is left of it."""
        answer = self.pool.check(QUESTION)
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        for _ in range(AT_ONCE):
            self.answer_one()
        self.assertEqual((self.open(), self.pool.counters.in_flight), ([], 0))

    def test_all_that_wait_when_nobody_is_left(self) -> None:
        """When the last replica refuses, each of a thousand fails, and none on top of another."""
        self.dns = ["10.0.0.1"]
        self.clock.advance(30)
        answers = [self.pool.check(QUESTION) for _ in range(MOST)]
        while self.open():
            _, call = self.open()[0]
            call.given_up = True
            call.done(BROKEN)
        for answer in answers:
            self.failureResultOf(answer, Undecided)
        self.assertEqual(self.pool.counters.in_flight, 0)

    def test_the_proxy_stops(self) -> None:
        """Who waits is told so, and nobody is asked any more."""
        answer = self.pool.check(QUESTION)
        self.pool.stop()
        self.failureResultOf(answer, Undecided)
        self.assertEqual(self.open(), [])


class CheckTests(PoolCase):
    """What check() gives."""

    def test_the_answer_of_a_replica(self) -> None:
        """The verdict, and who gave it."""
        answer = self.pool.check(QUESTION)
        line, call = self.only()
        call.done(VERDICT)
        self.assertEqual(self.successResultOf(answer), Given(VERDICT, line.endpoint.text))

    def test_leaves_no_timer(self) -> None:
        """A question that was answered leaves nothing behind but the next look-up."""
        self.ask()
        self.only()[1].done(VERDICT)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_goes_round(self) -> None:
        """Three questions go to three replicas."""
        for _ in range(3):
            self.ask()
        self.assertEqual({last for last, _ in self.open()}, {1, 2, 3})

    def test_a_failure_goes_to_another(self) -> None:
        """A replica that fails is not asked again; the caller does not notice."""
        answer = self.pool.check(QUESTION)
        first, call = self.only()
        call.done(REFUSED)
        second, call = self.only()
        self.assertIsNot(first, second)
        call.done(VERDICT)
        self.assertEqual(self.successResultOf(answer).replica, second.endpoint.text)

    def test_a_late_answer_goes_to_another(self) -> None:
        """Who does not answer within the attempt's time is given up."""
        answer = self.pool.check(QUESTION)
        ((first, call),) = self.open()
        self.freeze()
        self.assertTrue(call.given_up)
        self.assertNotIn(first, [last for last, _ in self.open()])
        self.only()[1].done(VERDICT)
        self.assertEqual(self.successResultOf(answer).verdict, VERDICT)

    def test_a_frozen_replica_costs_only_those_who_wait_there(self) -> None:
        """After the first late answer it gets no question any more."""
        self.ask()
        ((frozen, _),) = self.open()
        self.freeze()
        self.only()[1].done(VERDICT)
        for _ in range(20):
            self.ask()
        self.assertNotIn(frozen, [last for last, _ in self.open()])

    def test_all_fail(self) -> None:
        """Nobody decides: the text says what each one did, the remedy is the first's."""
        answer = self.pool.check(QUESTION)
        for _ in range(3):
            self.only()[1].done(BROKEN)
        error = self.failureResultOf(answer, Undecided).value
        self.assertEqual(
            str(error),
            "nobody at authorize_service_url decides: 10.0.0.1:443 answers INTERNAL; "
            "10.0.0.2:443 answers INTERNAL; 10.0.0.3:443 answers INTERNAL",
        )
        self.assertEqual(error.remedy, "see its own log")

    def test_all_are_frozen(self) -> None:
        """Each is tried once, and the answer comes within a second."""
        answer = self.pool.check(QUESTION)
        self.clock.pump([0.05] * 19)
        self.failureResultOf(answer, Undecided)

    def test_many_are_frozen(self) -> None:
        """Twenty frozen replicas keep nobody waiting for more than a second."""
        self.dns = [f"10.0.1.{i}" for i in range(20)]
        self.clock.advance(30)
        answer = self.pool.check(QUESTION)
        self.clock.pump([0.05] * 19)
        self.failureResultOf(answer, Undecided)
        self.assertEqual(self.open(), [])

    def test_the_client_timeout_ends_it_before(self) -> None:
        """A shorter grpc_client_timeout is kept."""
        self.pool.take(attrs.evolve(self.options, timeout=0.4))
        answer = self.pool.check(QUESTION)
        self.clock.pump([0.25, 0.15])
        self.failureResultOf(answer, Undecided)

    def test_a_try_that_was_cut_short_blames_nobody(self) -> None:
        """What the end of the whole cuts off says nothing of the replica."""
        self.pool.take(attrs.evolve(self.options, timeout=0.3))
        self.ask()
        self.clock.pump([0.25, 0.05])
        self.assertEqual(
            sorted(self.state(i) for i in (1, 2, 3)), ["ejected", "healthy", "healthy"]
        )

    def test_the_last_one_gets_all_the_time_that_is_left(self) -> None:
        """Where there is nobody to go on to, a slow answer is better than none."""
        self.dns = ["10.0.0.1"]
        self.clock.advance(30)
        answer = self.pool.check(QUESTION)
        self.clock.advance(0.7)
        self.only()[1].done(VERDICT)
        self.successResultOf(answer)

    def test_a_connection_that_broke_is_tried_once_more(self) -> None:
        """Behind a balancer there is one address: the next connection leads to another."""
        self.dns = ["10.0.0.1"]
        self.clock.advance(30)
        answer = self.pool.check(QUESTION)
        self.only()[1].done(REFUSED)
        _, call = self.only()
        self.assertTrue(call.patient)
        call.done(VERDICT)
        self.assertEqual(self.successResultOf(answer).replica, "10.0.0.1:443")

    def test_once_more_is_once(self) -> None:
        """A service that is down is no reason to ask for ever."""
        self.dns = ["10.0.0.1"]
        self.clock.advance(30)
        answer = self.pool.check(QUESTION)
        self.only()[1].done(REFUSED)
        self.only()[1].done(REFUSED)
        self.failureResultOf(answer, Undecided)

    def test_a_caller_that_leaves(self) -> None:
        """Cancelling gives the call up, and nothing is left of it."""
        answer = self.pool.check(QUESTION)
        ((_, call),) = self.open()
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        self.assertTrue(call.given_up)
        self.assertEqual(self.pool.counters.in_flight, 0)
        self.assertEqual(self.pool.counters.calls, {"cancelled": 1})

    def test_has_a_bound(self) -> None:
        """So many may be in flight; one more is told so at once."""
        for _ in range(MOST):
            self.ask()
        error = self.failureResultOf(self.pool.check(QUESTION), Undecided)
        self.assertEqual(str(error.value), "1000 questions are in flight already")

    def test_without_any_address(self) -> None:
        """A name that does not resolve is an answer at once, with what to do."""
        pool = Pool(dial=self.dial, look_up=self.look_up, clock=self.clock, now=self.clock.seconds)
        self.dns = []
        pool.take(self.options)
        error = self.failureResultOf(pool.check(QUESTION), Undecided)
        self.assertEqual(
            str(error.value),
            "nobody at authorize_service_url decides: authorize.internal does not resolve (no "
            "address); put it into the DNS or /etc/hosts, or correct authorize_service_url",
        )

    def test_counts(self) -> None:
        """Questions by their end, tries by theirs."""
        self.ask()
        self.only()[1].done(BROKEN)
        self.only()[1].done(VERDICT)
        counters = self.pool.counters
        self.assertEqual(counters.calls, {"ok": 1})
        self.assertEqual(
            sorted(outcome for _, outcome in counters.attempts.elements()), ["broken", "ok"]
        )

    def test_counts_are_bounded(self) -> None:
        """Where addresses come and go for years, the later ones are counted together."""
        counters = Counters()
        for number in range(2 * TOLD_APART):
            counters.attempted(f"10.0.0.{number}:5443", "ok")
        self.assertEqual(len(counters.attempts), TOLD_APART + 1)
        self.assertEqual(counters.attempts.total(), 2 * TOLD_APART)


class ReplicaTests(PoolCase):
    """How replicas come, go, fail and are taken back."""

    def eject(self) -> Line:
        """Let the next replica be late."""
        self.ask()
        ((last, _),) = self.open()
        self.freeze()
        self.only()[1].done(VERDICT)
        return self.line(last)

    def test_an_ejected_one_is_asked_for_its_health(self) -> None:
        """After a second, and it is back when it says so."""
        line = self.eject()
        self.clock.advance(1)
        (probe,) = line.probes
        probe(None)
        self.assertEqual(self.state(int(line.endpoint.address[-1])), "healthy")

    def test_one_that_does_not_answer_is_asked_again(self) -> None:
        """After two seconds the second time."""
        line = self.eject()
        self.clock.advance(1)
        line.probes.pop()(REFUSED)
        self.clock.advance(1.9)
        self.assertEqual(line.probes, [])
        self.clock.advance(0.1)
        self.assertEqual(len(line.probes), 1)

    def test_one_that_is_drained_gets_nothing_new(self) -> None:
        """Not serving is heard, and its questions go on."""
        self.ask()
        ((last, call),) = self.open()
        self.line(last).ear.serves(serving=False)
        self.assertFalse(call.given_up)
        for _ in range(6):
            self.ask()
        self.assertEqual([it for it, _ in self.open()].count(last), 1)

    def test_an_address_that_comes(self) -> None:
        """What the DNS has at the next look-up is dialled."""
        self.dns.append("10.0.0.4")
        self.clock.advance(30)
        self.assertEqual(len(self.dialled), 4)

    def test_an_address_that_goes(self) -> None:
        """One that nobody waits for is closed at once."""
        self.dns.remove("10.0.0.2")
        self.clock.advance(30)
        self.assertTrue(self.line(2).closed)
        self.assertEqual(len(self.pool.replicas), 2)

    def test_an_address_that_goes_answers_what_it_was_asked(self) -> None:
        """It is closed when its last call has ended, and not before."""
        self.pool.take(attrs.evolve(self.options, attempt=60.0, timeout=60.0))
        answer = self.pool.check(QUESTION)
        ((last, call),) = self.open()
        self.dns.remove(f"10.0.0.{last}")
        self.clock.advance(30)
        self.assertFalse(self.line(last).closed)
        call.done(VERDICT)
        self.successResultOf(answer)
        self.assertTrue(self.line(last).closed)

    def test_a_failure_looks_the_name_up(self) -> None:
        """A replica that moved is found at once."""
        self.dns = ["10.0.0.9"]
        self.clock.advance(5)
        self.line(1).is_lost()
        self.assertEqual(self.line(9).endpoint.text, "10.0.0.9:443")

    def test_one_address_only(self) -> None:
        """Without round robin the first healthy one gets all questions."""
        self.pool.take(attrs.evolve(self.options, in_turn=False))
        for _ in range(3):
            self.ask()
        self.assertEqual({last for last, _ in self.open()}, {1})

    def test_a_reload_that_changes_nothing_here(self) -> None:
        """Connections live on, whatever else is new."""
        self.pool.take(attrs.evolve(self.options, attempt=0.5, timeout=1.0))
        self.assertEqual((len(self.dialled), any(it.closed for it in self.dialled)), (3, False))

    def test_another_authority(self) -> None:
        """Connections that trust another authority are made anew, and the old ones closed."""
        self.pool.take(attrs.evolve(self.options, security=Security(authorities=b"pem")))
        self.assertEqual([it.closed for it in self.dialled], [True] * 3 + [False] * 3)

    def test_another_secret(self) -> None:
        """A secret that was rotated is in the next token; connections live on."""
        before = self.line(1).metadata()
        self.pool.take(attrs.evolve(self.options, keys=(b"j" * 32, b"k" * 32)))
        self.assertNotEqual(self.line(1).metadata(), before)
        self.assertEqual(len(self.dialled), 3)

    def test_stop(self) -> None:
        """All is closed, what waited hears so, and no timer is left."""
        answer = self.pool.check(QUESTION)
        self.pool.stop()
        self.failureResultOf(answer, Undecided)
        self.assertTrue(all(it.closed for it in self.dialled))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.failureResultOf(self.pool.check(QUESTION), Undecided)

    def test_begins_again(self) -> None:
        """After the end it can be told to begin anew."""
        self.pool.stop()
        self.pool.take(self.options)
        self.assertEqual(len(self.dialled), 6)


class HoldsTests(PoolCase):
    """What holds() says of a decision that somebody has kept."""

    def test_as_long_as_the_replica_says_so(self) -> None:
        """It holds under the generation that its replica tells, and under no other."""
        self.assertIs(self.pool.holds("10.0.0.1:443", "g1"), True)
        self.line(1).ear.decides_by("g2")
        self.assertIs(self.pool.holds("10.0.0.1:443", "g1"), False)
        self.assertIs(self.pool.holds("10.0.0.2:443", "g1"), True)

    def test_of_one_that_is_not_heard(self) -> None:
        """It goes by the others that are: they have the same policies."""
        self.line(1).is_lost()
        self.assertIs(self.pool.holds("10.0.0.1:443", "g1"), True)
        self.assertIs(self.pool.holds("10.0.0.1:443", "g2"), False)

    def test_nobody_is_heard(self) -> None:
        """Then nobody knows."""
        for last in (1, 2, 3):
            self.line(last).is_lost()
        self.assertIsNone(self.pool.holds("10.0.0.1:443", "g1"))

    def test_of_one_that_is_ejected(self) -> None:
        """A frozen replica says what it said before: it counts as not heard."""
        for last in (2, 3):
            self.line(last).ear.decides_by("g2")
        while self.state(1) != "ejected":
            self.ask()
            self.freeze()
            while (calls := self.open()) and (last := calls[0][0]) != 1:
                calls[0][1].given_up = True
                calls[0][1].done(VERDICT)
        self.assertIs(self.pool.holds("10.0.0.1:443", "g1"), False)

    def test_tells_of_each_change(self) -> None:
        """A new generation, and a replica that is lost, are told; a repetition is not."""
        before = self.changes
        self.line(1).ear.decides_by("g1")
        self.assertEqual(self.changes, before)
        self.line(1).ear.decides_by("g2")
        self.line(2).is_lost()
        self.assertEqual(self.changes, before + 2)


class TellingTests(PoolCase):
    """What the operator reads."""

    def lines(self) -> list[str]:
        """Return what was logged."""
        return self.logged.lines(LogLevel.info)

    def test_one_line_when_it_begins_and_one_when_it_ends(self) -> None:
        """However often the streams are opened in vain."""
        for _ in range(5):
            self.line(1).is_lost()
        self.line(1).is_well()
        self.assertEqual(
            self.lines(),
            [
                f"authorize 10.0.0.1:443 (authorize.internal): {REFUSED.line}",
                "authorize 10.0.0.1:443: decides again",
            ],
        )

    def test_problems(self) -> None:
        """What is wrong now, with its place; nothing when all is well."""
        self.line(1).is_lost()
        self.line(2).ear.serves(serving=False)
        self.assertEqual(
            [str(problem) for problem in self.pool.problems],
            [
                "authorize 10.0.0.1:443: refuses connections; does authorize run there?",
                f"authorize 10.0.0.2:443: {NOT_SERVING.line}",
            ],
        )
        self.line(1).is_well()
        self.line(2).ear.serves(serving=True)
        self.assertEqual(self.pool.problems, ())

    def test_a_clock_that_differs(self) -> None:
        """More than a minute is a problem, though it decides; so says one line."""
        off = clock_off(-75.0)
        assert off is not None
        self.line(1).ear.clock_is(-75.0)
        self.line(1).ear.clock_is(-76.0)
        self.line(1).ear.clock_is(1.0)
        self.assertEqual(
            self.lines(),
            [
                f"authorize 10.0.0.1:443 (authorize.internal): {off.line}",
                "authorize 10.0.0.1:443: its clock agrees with ours again",
            ],
        )

    def test_a_clock_that_refuses(self) -> None:
        """A clock that keeps us out is one line too, from wherever it is heard first."""
        for number, first in enumerate((True, False), 1):
            line, off = self.line(number), clock_off(300.0 + number)
            assert off is not None
            line.is_lost()
            before = len(self.lines())
            if first:
                line.ear.clock_is(300.0)
            line.ear.fails(off)
            line.ear.clock_is(301.0)
            self.assertEqual(len(self.lines()), before + 1)

    def test_a_new_connection_to_the_same_address(self) -> None:
        """What was wrong before new settings is not said again, and is over when it decides."""
        self.line(1).is_lost()
        self.pool.take(attrs.evolve(self.options, security=Security(authorities=b"pem")))
        (line,) = (it for it in self.dialled[3:] if it.endpoint.address == "10.0.0.1")
        line.ear.fails(REFUSED)
        line.is_well()
        self.assertEqual(
            self.lines(),
            [
                f"authorize 10.0.0.1:443 (authorize.internal): {REFUSED.line}",
                "authorize 10.0.0.1:443: decides again",
            ],
        )

    def test_status(self) -> None:
        """Address, state, since when, and by which policies."""
        self.clock.advance(7)
        self.line(1).is_lost()
        status = self.pool.replicas[0]
        self.assertEqual(
            (status.address, status.name, status.state, status.since, status.generation),
            ("10.0.0.1:443", "authorize.internal", "connecting", 1_000_007, ""),
        )
        self.assertEqual(self.pool.replicas[1].generation, "g1")

    def test_ready(self) -> None:
        """Somebody is there, or nobody."""
        self.assertTrue(self.pool.ready)
        for last in (1, 2, 3):
            self.line(last).is_lost()
        self.assertFalse(self.pool.ready)
