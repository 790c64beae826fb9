"""Choosing a replica: every law that the pure state must keep."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.strategies import DataObject, booleans, data, floats, sampled_from
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.rpc.picker import DOUBTS, LONGEST_PAUSE, Picker, State


def of(*keys: str, in_turn: bool = True) -> Picker[str]:
    """Return a picker whose replicas are all healthy."""
    picker: Picker[str] = Picker(in_turn)
    for key in keys:
        picker.add(key)
        picker.heard(key, State.HEALTHY)
    return picker


class PickTests(SynchronousTestCase):
    """Whom pick() chooses."""

    def test_one_after_the_other(self) -> None:
        """Healthy replicas take turns."""
        picker = of("a", "b", "c")
        self.assertEqual([picker.pick() for _ in range(6)], ["a", "b", "c"] * 2)

    def test_another_one_after_a_failure(self) -> None:
        """A call never goes to the replica that has failed it."""
        picker = of("a", "b")
        self.assertEqual([picker.pick({"a"}) for _ in range(3)], ["b", "b", "b"])

    def test_nobody_is_left(self) -> None:
        """When all have failed a call there is nobody to choose."""
        self.assertIsNone(of("a", "b").pick({"a", "b"}))

    def test_the_first_healthy_one(self) -> None:
        """Without turns the first that is healthy gets all calls."""
        picker = of("a", "b", in_turn=False)
        self.assertEqual([picker.pick(), picker.pick()], ["a", "a"])
        picker.failed("a", 0)
        self.assertEqual([picker.pick(), picker.pick()], ["b", "b"])

    def test_one_that_was_not_heard_yet_is_tried(self) -> None:
        """At the start nobody has been heard: the first call tries all the same."""
        picker: Picker[str] = Picker()
        picker.add("a")
        self.assertEqual(picker.pick(), "a")

    def test_the_ejected_are_tried_when_nobody_else_is_there(self) -> None:
        """A call that could not be made otherwise is made to an ejected replica."""
        picker = of("a", "b")
        picker.failed("a", 0)
        picker.failed("b", 0)
        self.assertEqual({picker.pick(), picker.pick()}, {"a", "b"})

    def test_one_that_says_that_it_does_not_serve_is_left_alone(self) -> None:
        """Not serving is the replica's own word: it could not decide."""
        picker = of("a")
        picker.heard("a", State.UNHEALTHY)
        self.assertIsNone(picker.pick())

    def test_one_that_leaves_gets_nothing_new(self) -> None:
        """A replica that is drained is not chosen, though it is healthy."""
        picker = of("a", "b")
        picker.drain("a")
        self.assertEqual([picker.pick(), picker.pick()], ["b", "b"])

    def test_one_that_comes_back_while_it_leaves_stays(self) -> None:
        """An address that is in the DNS again is chosen again."""
        picker = of("a")
        picker.drain("a")
        picker.add("a")
        self.assertEqual(picker.pick(), "a")


class EjectionTests(SynchronousTestCase):
    """What ejects a replica, and what takes it back."""

    def test_a_frozen_one_is_ejected_at_its_first_late_call(self) -> None:
        """It has answered nothing since the call began."""
        picker = of("a", "b")
        picker.answered("a", 9.9)
        self.assertTrue(picker.late("a", 10.0, 10.25))
        self.assertIs(picker.state("a"), State.EJECTED)

    def test_a_slow_call_ejects_nobody(self) -> None:
        """A replica that answered another call in the meantime is not frozen."""
        picker = of("a", "b")
        picker.answered("a", 10.1)
        self.assertFalse(picker.late("a", 10.0, 10.25))
        self.assertIs(picker.state("a"), State.HEALTHY)

    def test_a_poisoned_question_ejects_nobody(self) -> None:
        """Between the answers that others get, one question may fail for ever."""
        picker = of("a")
        for now in range(3 * DOUBTS):
            self.assertFalse(picker.doubtful("a", now))
            picker.answered("a", now)

    def test_doubts_add_up(self) -> None:
        """A replica that answers nobody is ejected in the end."""
        picker = of("a")
        self.assertEqual(
            [picker.doubtful("a", 0) for _ in range(DOUBTS)], [False] * (DOUBTS - 1) + [True]
        )

    def test_is_asked_when_its_pause_is_over(self) -> None:
        """Not before, and once."""
        picker = of("a")
        picker.failed("a", 10.0)
        self.assertEqual(picker.due(10.9), [])
        self.assertEqual(picker.due(11.0), ["a"])
        self.assertEqual(picker.due(11.0), [])

    def test_each_pause_is_twice_the_last(self) -> None:
        """1, 2, 4 ... 30 s, as long as it does not say that it is well."""
        picker = of("a")
        now, pauses = 0.0, []
        picker.failed("a", now)
        for _ in range(7):
            due = picker.next_due()
            assert due is not None
            pauses.append(due - now)
            now = due
            picker.due(now)
            picker.told("a", now, well=False)
        self.assertEqual(pauses, [1, 2, 4, 8, 16, 30, 30])

    def test_a_good_answer_makes_the_pauses_short_again(self) -> None:
        """What counts is a call that was answered, not health alone."""
        picker = of("a")
        for _ in range(3):
            picker.failed("a", 0.0)
            picker.due(100.0)
            picker.told("a", 100.0, well=True)
        picker.answered("a", 100.0)
        picker.failed("a", 100.0)
        self.assertEqual(picker.next_due(), 101.0)

    def test_is_taken_back_by_its_word(self) -> None:
        """It is healthy again when it says so after its pause."""
        picker = of("a")
        picker.failed("a", 0)
        picker.due(1)
        self.assertTrue(picker.told("a", 1, well=True))
        self.assertIs(picker.state("a"), State.HEALTHY)

    def test_one_that_was_started_anew_need_not_wait(self) -> None:
        """Streams that broke and came back are taken for health, whatever the pause."""
        picker = of("a")
        picker.failed("a", 0)
        picker.heard("a", State.CONNECTING)
        picker.heard("a", State.HEALTHY)
        self.assertIs(picker.state("a"), State.HEALTHY)

    def test_what_a_frozen_one_said_before_does_not_count(self) -> None:
        """Its streams stand as they stood: they take nobody back."""
        picker = of("a")
        picker.failed("a", 0)
        picker.heard("a", State.HEALTHY)
        self.assertIs(picker.state("a"), State.EJECTED)

    def test_nothing_is_learnt_of_one_that_is_gone(self) -> None:
        """What comes late for a replica that was forgotten changes nothing."""
        picker = of("a")
        picker.gone("a")
        picker.heard("a", State.HEALTHY)
        picker.answered("a", 0)
        picker.told("a", 0, well=True)
        picker.drain("a")
        self.assertFalse(picker.failed("a", 0) or picker.late("a", 0, 1) or picker.keys)


KEYS = ("a", "b", "c", "d")


class AnyHistory(RuleBasedStateMachine):
    """Whatever happens in whatever order."""

    def __init__(self) -> None:
        super().__init__()
        self.picker: Picker[str] = Picker()
        self.now = 0.0
        self.shares: Counter[str] = Counter()

    def _those(self, *states: State) -> set[str]:
        return {key for key in self.picker.keys if self.picker.state(key) in states}

    def _changed(self) -> None:
        self.shares.clear()

    @rule(key=sampled_from(KEYS))
    def comes(self, key: str) -> None:
        """An address is found."""
        self.picker.add(key)
        self._changed()

    @rule(key=sampled_from(KEYS), forgotten=booleans())
    def goes(self, key: str, *, forgotten: bool) -> None:
        """An address is not found any more."""
        if forgotten:
            self.picker.gone(key)
        else:
            self.picker.drain(key)
        self._changed()

    @rule(
        key=sampled_from(KEYS),
        state=sampled_from((State.HEALTHY, State.HEALTHY, State.UNHEALTHY, State.CONNECTING)),
    )
    def says(self, key: str, state: State) -> None:
        """A replica's streams tell something."""
        self.picker.heard(key, state)
        self._changed()

    @rule(key=sampled_from(KEYS), how=sampled_from(("failed", "late", "doubtful")))
    def fails(self, key: str, how: str) -> None:
        """A call fails at a replica."""
        match how:
            case "failed":
                self.picker.failed(key, self.now)
            case "late":
                self.picker.late(key, self.now - 0.25, self.now)
            case _:
                self.picker.doubtful(key, self.now)
        self._changed()

    @rule(key=sampled_from(KEYS))
    def answers(self, key: str) -> None:
        """A call is answered."""
        self.picker.answered(key, self.now)
        self._changed()

    @rule(seconds=floats(0, 40), well=booleans())
    def time_passes(self, seconds: float, *, well: bool) -> None:
        """Time passes, and those whose pause is over are asked."""
        self.now += seconds
        for key in self.picker.due(self.now):
            self.picker.told(key, self.now, well=well)
        self._changed()

    @precondition(lambda self: self.picker.keys)
    @rule(choose=data())
    def chooses(self, choose: DataObject) -> None:
        """Never an unhealthy one, nor one that failed the call, while a healthy one is there."""
        tried = {key for key in self.picker.keys if choose.draw(booleans())}
        healthy = self._those(State.HEALTHY) - tried
        hope = self._those(State.CONNECTING, State.EJECTED) - tried
        picked = self.picker.pick(tried)
        if healthy:
            assert picked in healthy
        elif hope:
            assert picked in hope
        else:
            assert picked is None
        self._changed()

    @rule(times=sampled_from((1, 2, 7, 16)))
    def chooses_often(self, times: int) -> None:
        """Healthy replicas get as many calls, give or take one."""
        healthy = self._those(State.HEALTHY)
        for _ in range(times):
            picked = self.picker.pick()
            if picked in healthy:
                assert picked is not None
                self.shares[picked] += 1
        if healthy:
            counts = [self.shares[key] for key in healthy]
            assert max(counts) - min(counts) <= 1

    @invariant()
    def takes_all_back(self) -> None:
        """Every ejected replica is asked within the longest pause, and is back if it is well."""
        ejected = self._those(State.EJECTED)
        due = self.picker.next_due()
        assert bool(ejected) <= (due is not None)
        if due is not None:
            assert due <= self.now + LONGEST_PAUSE


class TakenBack(RuleBasedStateMachine):
    """However often replicas failed, those that say that they are well are all taken back."""

    def __init__(self) -> None:
        super().__init__()
        self.picker = of(*KEYS)
        self.now = 0.0

    @rule(key=sampled_from(KEYS))
    def fails(self, key: str) -> None:
        """A call fails at a replica."""
        self.picker.failed(key, self.now)

    @rule(seconds=floats(0, 40))
    def is_not_well(self, seconds: float) -> None:
        """Those that are asked do not answer."""
        self.now += seconds
        for key in self.picker.due(self.now):
            self.picker.told(key, self.now, well=False)

    @rule()
    def is_well_again(self) -> None:
        """After the longest pause all are healthy, and each is chosen."""
        self.now += LONGEST_PAUSE
        for key in self.picker.due(self.now):
            self.picker.told(key, self.now, well=True)
        assert {self.picker.state(key) for key in KEYS} == {State.HEALTHY}
        assert {self.picker.pick() for _ in KEYS} == set(KEYS)


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=100, deadline=None)
TestTakenBack = TakenBack.TestCase
TestTakenBack.settings = settings(max_examples=50, deadline=None)
