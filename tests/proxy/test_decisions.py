"""Decisions from elsewhere: what is kept, for how long, and who waits for what."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.access.authorizer import Authorizer
from pomeriumd.access.client_certificate import facts
from pomeriumd.access.decision import Decision, Deny, SignIn
from pomeriumd.access.routes import Route
from pomeriumd.access.verdict import CLIENT_CERTIFICATE, SESSION
from pomeriumd.errors import Undecided
from pomeriumd.proxy import decisions
from pomeriumd.proxy.decisions import Decisions, Memory
from pomeriumd.session.known import Known
from pomeriumd.session.session import Identity, Session
from tests.support.clients import ann, client
from tests.support.elsewhere import YES, Elsewhere
from tests.support.settings import ISSUER, route

HERE, THERE = Route.of(route("a.example.com")), Route.of(route("b.example.com"))
NO = Deny(("email-unauthorized",))
NOBODY = SignIn(("user-unauthenticated",))
MAX_AGE = 60.0


def known(token: str = "alice", expires: int = 50_000) -> Known:
    """Return a session that a request brought, with such a token."""
    session = Session(
        id=token,
        identity=Identity(issuer=ISSUER, subject=token),
        issuer="https://auth.example.com",
        audience="a.example.com:443",
        auth_time=0,
        checked=0,
        recheck=600,
        seen=0,
        expires=expires,
    )
    return Known(session, ("a.example.com:443", token, True), None)


class DecisionsCase(SynchronousTestCase):
    """A cache in front of replicas in memory."""

    def setUp(self) -> None:
        """Make both."""
        self.clock = Clock()
        self.elsewhere = Elsewhere()
        self.decisions = self.cache()

    def cache(self, **more: Any) -> Decisions:
        """Return a cache."""
        given: dict[str, Any] = {
            "remote": self.elsewhere,
            "clock": self.clock,
            "now": self.clock.seconds,
            "max_age": MAX_AGE,
        }
        return Decisions(**(given | more))

    def ask(
        self, at: Route = HERE, who: Known | None = None, cache: Decisions | None = None
    ) -> Deferred[Decision]:
        """Ask what is not known."""
        found = (cache or self.decisions).decide(at, who)
        assert isinstance(found, Deferred), f"{found} was known"
        return found

    def keep(self, *, at: Route = HERE, who: Known | None = None, **answer: Any) -> Decision:
        """Have a question answered."""
        waiter = self.ask(at, who)
        self.elsewhere.last.gives(**answer)
        return self.successResultOf(waiter)

    def kept(self, at: Route = HERE, who: Known | None = None) -> bool:
        """Say whether the answer is known; if it is not, whoever asks leaves."""
        found = self.decisions.decide(at, who)
        if not isinstance(found, Deferred):
            return True
        found.addErrback(lambda failure: failure.trap(CancelledError))
        found.cancel()
        return False


class KeptTests(DecisionsCase):
    """What is kept, under what."""

    def test_a_hit_is_the_decision_itself(self) -> None:
        """What was answered once is given at once, the same object, and nobody is asked."""
        authorizer: Authorizer = self.decisions
        decision = self.keep(who=known())
        self.assertIs(authorizer.decide(HERE, known()), decision)
        self.assertEqual(len(self.elsewhere.asked), 1)

    def test_the_question(self) -> None:
        """It has the route's id, the token as it was signed last, and our generation."""
        alice = known()
        alice.signed = "alice, seen lately"
        self.ask(who=alice, cache=self.cache(generation="ours"))
        question = self.elsewhere.last.question
        self.assertEqual(
            (question.route, question.token, question.generation, dict(question.attributes)),
            (HERE.id, "alice, seen lately", "ours", {}),
        )

    def test_client_certificates_are_kept_apart(self) -> None:
        """Where the policy asks for it, the question has it, and so has what is kept."""
        listed = Route.of(route("c.example.com", allowed_client_certificates=("ab" * 32,)))
        one, other = (facts(it.certificate) for it in (ann(), client()))
        depends = frozenset({SESSION, CLIENT_CERTIFICATE})
        for which, outcome in ((one, YES), (other, NO), (None, NO)):
            waiter = self.decisions.decide(listed, known(), which)
            assert isinstance(waiter, Deferred)
            given = {} if which is None else {CLIENT_CERTIFICATE: which.attribute}
            self.assertEqual(dict(self.elsewhere.last.question.attributes), given)
            self.elsewhere.last.gives(decision=outcome, depends_on=depends)
            self.assertEqual(self.successResultOf(waiter), outcome)
        self.assertEqual(self.decisions.decide(listed, known(), one), YES)
        self.assertEqual(self.decisions.decide(listed, known(), other), NO)
        # A certificate decides nothing for another one, another session, or for none at all.
        for who, which in ((known("bob"), one), (None, one), (known(), None)):
            self.assertIsInstance(self.decisions.decide(listed, who, which), Deferred)

    def test_a_certificate_nobody_asked_about(self) -> None:
        """A policy here that asks for none sends none; one there that does is not kept."""
        its = facts(ann().certificate)
        waiter = self.decisions.decide(HERE, known(), its)
        assert isinstance(waiter, Deferred)
        self.assertEqual(dict(self.elsewhere.last.question.attributes), {})
        self.elsewhere.last.gives(depends_on=frozenset({SESSION, CLIENT_CERTIFICATE}))
        self.successResultOf(waiter)
        self.assertIsInstance(self.decisions.decide(HERE, known(), its), Deferred)

    def test_routes_and_tokens_are_kept_apart(self) -> None:
        """Another route, another token and nobody are other questions."""
        self.keep(who=known())
        for at, who in ((THERE, known()), (HERE, known("bob")), (HERE, None)):
            self.assertFalse(self.kept(at, who))

    def test_everybody_is_answered_alike(self) -> None:
        """What depends on no session is known for whoever comes, and for no other route."""
        self.keep(who=known(), depends_on=frozenset())
        self.assertTrue(self.kept(HERE, None))
        self.assertTrue(self.kept(HERE, known("bob")))
        self.assertFalse(self.kept(THERE, known()))

    def test_denials_and_sign_ins_too(self) -> None:
        """Whatever was decided is kept; nobody's sign-in as well, for all of its time."""
        self.keep(who=known(), decision=NO)
        self.keep(decision=NOBODY, valid_for=900.0)
        self.clock.advance(899)
        self.assertIs(self.decisions.decide(HERE, known()), NO)
        self.assertIs(self.decisions.decide(HERE, None), NOBODY)

    def test_what_depends_on_more_is_not_kept(self) -> None:
        """A verdict that depends on what no question of ours carries answers one."""
        decision = self.keep(who=known(), depends_on=frozenset({"session", "device"}))
        self.assertIs(decision, YES)
        self.assertFalse(self.kept(who=known()))

    def test_no_time_is_not_kept(self) -> None:
        """0, less, and what is no number: for one request."""
        for seconds in (0.0, -1.0, float("nan"), float("-inf")):
            self.keep(who=known(), valid_for=seconds)
            self.assertFalse(self.kept(who=known()), seconds)

    def test_only_so_many(self) -> None:
        """Of more than the bound those go that were not used for longest."""
        self.patch(decisions, "KEPT", 2)
        self.keep(who=known("a"))
        self.keep(who=known("b"))
        self.assertTrue(self.kept(who=known("a")))
        self.keep(who=known("c"))
        self.assertEqual([self.kept(who=known(name)) for name in "abc"], [True, False, True])

    def test_zero_keeps_none(self) -> None:
        """With max_age 0 each request asks for itself, those at the same time too."""
        self.decisions = self.cache(max_age=0.0)
        waiters = [self.ask(who=known()) for _ in range(2)]
        for asked in self.elsewhere.open:
            asked.gives()
        self.assertEqual([self.successResultOf(waiter) for waiter in waiters], [YES, YES])
        self.assertFalse(self.kept(who=known()))
        self.assertEqual(len(self.elsewhere.asked), 3)


class HoldsTests(DecisionsCase):
    """For how long it is kept."""

    def test_until_it_is_over(self) -> None:
        """Not a moment longer than ``valid_for``, from when the question went out."""
        waiter = self.ask(who=known())
        self.clock.advance(2)
        self.elsewhere.last.gives(valid_for=10.0)
        self.successResultOf(waiter)
        self.clock.advance(7.9)
        self.assertTrue(self.kept(who=known()))
        self.clock.advance(0.1)
        self.assertFalse(self.kept(who=known()))

    def test_until_the_session_is_over(self) -> None:
        """A verdict that says more than the session has left is kept for that."""
        alice = known(expires=100)
        self.keep(who=alice, valid_for=1000.0)
        self.clock.advance(99)
        self.assertTrue(self.kept(who=alice))
        self.clock.advance(1)
        self.assertFalse(self.kept(who=alice))

    def test_other_policies_at_its_replica(self) -> None:
        """Dead the moment that its replica says another generation; for good."""
        self.keep(who=known())
        self.elsewhere.heard["one"] = "g2"
        self.assertFalse(self.kept(who=known()))
        self.elsewhere.heard["one"] = "g1"
        self.assertFalse(self.kept(who=known()))

    def test_its_replica_is_not_heard(self) -> None:
        """While others are, what it said counts no more."""
        self.elsewhere.heard = {"one": "g1", "two": "g1"}
        self.keep(who=known("a"), replica="one")
        self.keep(who=known("b"), replica="two")
        del self.elsewhere.heard["one"]
        self.assertFalse(self.kept(who=known("a")))
        self.assertTrue(self.kept(who=known("b")))

    def test_nobody_is_heard(self) -> None:
        """It is used for ``max_age`` after it was known to hold last."""
        self.keep(who=known())
        self.clock.advance(600)
        self.assertTrue(self.kept(who=known()))
        self.elsewhere.heard = {}
        self.clock.advance(MAX_AGE - 1)
        self.assertTrue(self.kept(who=known()))
        self.clock.advance(1)
        self.assertFalse(self.kept(who=known()))

    def test_nobody_was_ever_heard(self) -> None:
        """Where no Watch gets through it is used for ``max_age`` after it was asked for."""
        self.elsewhere.heard = {}
        self.keep(who=known())
        self.clock.advance(MAX_AGE - 1)
        self.assertTrue(self.kept(who=known()))
        self.clock.advance(1)
        self.assertFalse(self.kept(who=known()))

    def test_heard_again(self) -> None:
        """Its replica comes back with the same policies: it goes on."""
        self.keep(who=known())
        heard, self.elsewhere.heard = self.elsewhere.heard, {}
        self.clock.advance(MAX_AGE - 1)
        self.elsewhere.heard = heard
        self.assertTrue(self.kept(who=known()))
        self.clock.advance(600)
        self.assertTrue(self.kept(who=known()))

    def test_an_answer_that_is_out_of_date(self) -> None:
        """What does not hold when it arrives is not kept."""
        waiter = self.ask(who=known())
        self.elsewhere.heard["one"] = "g2"
        self.elsewhere.last.gives(generation="g1")
        self.assertIs(self.successResultOf(waiter), YES)
        self.assertFalse(self.kept(who=known()))

    def test_what_streams_go_by(self) -> None:
        """Whether anybody is heard, and the patience: max_age, or six seconds without one."""
        self.assertEqual((self.decisions.heard, self.decisions.patience), (True, MAX_AGE))
        self.elsewhere.heard = {}
        self.assertFalse(self.decisions.heard)
        self.assertEqual(self.cache(max_age=0.0).patience, 6.0)

    def test_a_reload(self) -> None:
        """The next generation knows what this one had answered, and gets what it asks for."""
        self.keep(who=known())
        waiter = self.ask(who=known("bob"))
        after = self.cache(memory=self.decisions.memory)
        self.assertIs(after.decide(HERE, known()), YES)
        second = self.ask(who=known("bob"), cache=after)
        self.elsewhere.last.gives(NO)
        self.assertEqual([self.successResultOf(one) for one in (waiter, second)], [NO, NO])
        self.assertEqual(len(self.elsewhere.asked), 2)

    def test_a_reload_that_forbids_it(self) -> None:
        """What was kept is used no more when max_age becomes 0."""
        self.keep(who=known())
        self.decisions = self.cache(memory=self.decisions.memory, max_age=0.0)
        self.assertFalse(self.kept(who=known()))


class WaitingTests(DecisionsCase):
    """Who waits for what."""

    def test_one_call_for_all(self) -> None:
        """However many want to know the same, one question goes out, and all have its answer."""
        waiters = [self.ask(who=known()) for _ in range(5)]
        self.assertEqual(len(self.elsewhere.asked), 1)
        self.elsewhere.last.gives(NO)
        self.assertEqual([self.successResultOf(one) for one in waiters], [NO] * 5)

    def test_one_who_leaves_takes_nobody_along(self) -> None:
        """The first may leave, or any other: the call goes on for the rest."""
        first, second, third = (self.ask(who=known()) for _ in range(3))
        first.cancel()
        third.cancel()
        self.failureResultOf(first, CancelledError)
        self.failureResultOf(third, CancelledError)
        self.assertFalse(self.elsewhere.last.cancelled)
        self.elsewhere.last.gives()
        self.assertIs(self.successResultOf(second), YES)

    def test_the_last_one_ends_the_call(self) -> None:
        """When nobody wants to know any more the call is cancelled, and the next asks anew."""
        waiters = [self.ask(who=known()) for _ in range(2)]
        for waiter in waiters:
            waiter.cancel()
            self.failureResultOf(waiter, CancelledError)
        self.assertTrue(self.elsewhere.last.cancelled)
        self.assertEqual(self.decisions.memory.calls, {})
        again = self.ask(who=known())
        self.elsewhere.last.gives()
        self.assertIs(self.successResultOf(again), YES)

    def test_what_may_not_be_kept_is_for_those_before_it(self) -> None:
        """Who came after the question went out has one of his own, with all such others."""
        for answer in (
            {"valid_for": 0.0},
            {"depends_on": frozenset({"device"})},
            {"generation": "g0"},
        ):
            first, *late = (self.ask(who=known()) for _ in range(3))
            self.elsewhere.last.gives(NO, **answer)
            self.assertIs(self.successResultOf(first), NO)
            (asked,) = self.elsewhere.open
            for waiter in late:
                self.assertNoResult(waiter)
            asked.gives(YES, **answer)
            self.assertEqual([self.successResultOf(one) for one in late], [YES, YES])
            self.assertEqual(self.decisions.memory.calls, {})

    def test_leaving_between_two_questions(self) -> None:
        """A late one that leaves in the second round ends it."""
        first, late = self.ask(who=known()), self.ask(who=known())
        self.elsewhere.last.gives(valid_for=0.0)
        self.successResultOf(first)
        late.cancel()
        self.failureResultOf(late, CancelledError)
        self.assertTrue(self.elsewhere.last.cancelled)

    def test_one_answer_makes_another_leave(self) -> None:
        """Whoever is answered may take others along that wait in the same line."""
        first, second = self.ask(who=known()), self.ask(who=known())
        first.addCallback(lambda _: second.cancel())
        self.elsewhere.last.gives()
        self.successResultOf(first)
        self.failureResultOf(second, CancelledError)

    def test_one_answer_brings_the_next_question(self) -> None:
        """Whoever is answered may ask the same at once, and is answered from what is kept."""
        first = self.ask(who=known())
        found: list[object] = []
        first.addCallback(lambda _: found.append(self.decisions.decide(HERE, known())))
        self.elsewhere.last.gives()
        self.assertEqual(found, [YES])

    def test_an_answer_at_once(self) -> None:
        """A remote that need not wait is as good."""
        self.elsewhere.prompt = {"decision": NO}
        self.assertIs(self.successResultOf(self.ask(who=known())), NO)
        self.assertTrue(self.kept(who=known()))


class UndecidedTests(DecisionsCase):
    """Nobody could tell."""

    def setUp(self) -> None:
        """Watch the log as well."""
        super().setUp()
        self.log = EventLoggingObserver.createWithCleanup(
            self,  # type: ignore[arg-type]  # of a test it needs addCleanup alone
            globalLogPublisher,
        )

    def lines(self) -> list[tuple[int, str]]:
        """Return the count and the text of each line about it."""
        return [(e["count"], e["error"]) for e in self.log if e.get("kind") == "Undecided"]

    def outage(self, waiters: int = 1, *, text: str = "no replica answers") -> None:
        """Have a question of so many fail."""
        waiting = [self.ask(who=known()) for _ in range(waiters)]
        self.elsewhere.last.answer.errback(Undecided(text))
        for waiter in waiting:
            self.failureResultOf(waiter, Undecided)

    def test_all_who_wait_are_told(self) -> None:
        """Each fails, each is counted, nothing is kept, and the next one asks anew."""
        self.outage(3)
        self.assertEqual(self.decisions.memory.counts.undecided, 3)
        self.assertFalse(self.kept(who=known()))

    def test_the_log_is_told_once_a_minute(self) -> None:
        """An outage is one line a minute, with how many it was and what to do."""
        self.outage()
        self.outage(2, text="still none")
        self.clock.advance(59)
        self.outage()
        self.assertEqual([count for count, _ in self.lines()], [1])
        self.clock.advance(1)
        self.outage()
        self.assertEqual([count for count, _ in self.lines()], [1, 4])
        self.assertEqual(
            self.lines()[0][1],
            "no replica answers; do the hosts of authorize_service_url run, and can this host "
            "reach them?",
        )

    def test_a_reload_does_not_tell_it_again(self) -> None:
        """Nor does another service: what was counted and told goes on."""
        self.outage()
        self.decisions = self.cache(memory=Memory(counts=self.decisions.memory.counts))
        self.outage()
        self.assertEqual(len(self.lines()), 1)
        self.assertEqual(self.decisions.memory.counts.undecided, 2)

    def test_a_call_that_others_give_up(self) -> None:
        """Cancelled by nobody who waits, as when the pool stops: undecided, not forgotten."""
        waiter = self.ask(who=known())
        self.elsewhere.last.answer.cancel()
        self.failureResultOf(waiter, Undecided)

    def test_a_bug_is_no_outage(self) -> None:
        """What is no error of ours comes to those who wait as it is, and nothing is stuck."""

        class Broken(Elsewhere):
            def check(self, *_: object) -> Any:
                raise RuntimeError("bug")

        self.decisions = self.cache(remote=Broken())
        self.failureResultOf(self.ask(who=known()), RuntimeError)
        self.assertEqual(self.decisions.memory.calls, {})
        self.assertEqual(self.decisions.memory.counts.undecided, 0)

    def test_an_answer_that_is_none(self) -> None:
        """What is no verdict lets nobody wait for ever."""
        waiter = self.ask(who=known())
        self.elsewhere.last.answer.callback(None)  # type: ignore[arg-type]
        self.failureResultOf(waiter, AttributeError)
        self.assertEqual(self.decisions.memory.calls, {})

    def test_what_is_counted(self) -> None:
        """Hits, misses (those that wait with others too), and who was told that nobody knows."""
        self.outage(2)
        self.keep(who=known())
        self.decisions.decide(HERE, known())
        counts = self.decisions.memory.counts
        self.assertEqual((counts.hits, counts.misses, counts.undecided), (1, 3, 2))
