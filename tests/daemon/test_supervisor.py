"""Workers that come, go silent, die and catch up; no process is started here."""

from __future__ import annotations

import socket
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.protocols.amp import Command
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.listeners import BOUND, MAIN, Listener
from pomeriumd.daemon.messages import (
    CannotServe,
    Discard,
    Drain,
    Listen,
    Ping,
    Prepare,
    Serve,
    SignedOut,
)
from pomeriumd.daemon.servants import DRAIN_SECONDS, RESTING, SERVING, STARTING
from pomeriumd.daemon.supervisor import (
    LONG_LIFE,
    LONGEST_REST,
    PING_SECONDS,
    PREPARE_SECONDS,
    SILENT,
    SILENT_ROUNDS,
    STOP_SECONDS,
    Ended,
    SignedOutAt,
    Supervisor,
    rest,
)
from pomeriumd.daemon.worker_process import ENDED_WELL
from pomeriumd.settings.values import Address

KILLED = "killed by SIGKILL"


@attrs.define(eq=False)
class FakeWorker:
    """A worker that does what it is told, unless told otherwise."""

    number: int
    pid: int
    ended: Ended
    signed_out: SignedOutAt
    told: list[tuple[type[Command], dict[str, Any]]] = attrs.Factory(list)
    silent: bool = False
    """It answers nothing."""
    refuses: str = ""
    """Why it prepares nothing."""
    prepared: set[int] = attrs.Factory(set)
    serves: int = 0
    accepts: list[str] = attrs.Factory(list)
    gone: bool = False
    killed: bool = False
    open: list[Deferred[Any]] = attrs.Factory(list)

    def call(self, command: type[Command], **arguments: Any) -> Deferred[Any]:
        """Do it."""
        if self.gone:
            return fail(ConnectionDone())
        self.told.append((command, arguments))
        if self.silent:
            self.open.append(Deferred())
            return self.open[-1]
        return self.do(command, **arguments)

    def do(self, command: type[Command], **arguments: Any) -> Deferred[Any]:
        """Do it now."""
        if command is Prepare:
            if self.refuses:
                return fail(CannotServe(self.refuses))
            self.prepared.add(arguments["number"])
        elif command is Serve:
            if arguments["number"] not in self.prepared:
                return fail(CannotServe("not prepared"))
            self.serves = arguments["number"]
        elif command is Discard:
            self.prepared.discard(arguments["number"])
        elif command is Listen:
            self.accepts.append(arguments["name"])
        elif command is Drain:
            self.dies(ENDED_WELL)
        return succeed({})

    def kill(self) -> None:
        """Die."""
        self.killed = True
        self.dies(KILLED)

    def dies(self, how: str = KILLED) -> None:
        """Be gone."""
        if not self.gone:
            self.gone = True
            for waiting in self.open:
                if not waiting.called:
                    waiting.errback(ConnectionDone())
            self.ended(self, how)


class SupervisorCase(SynchronousTestCase):
    """Two workers, started."""

    def setUp(self) -> None:
        """Start them."""
        self.clock = Clock()
        self.made: list[FakeWorker] = []
        self.next: dict[str, Any] = {}
        self.no_process = False
        self.supervisor = Supervisor(
            count=2, start=self.start, clock=self.clock, now=self.clock.seconds
        )
        self.socket = socket.socket()
        self.addCleanup(self.socket.close)
        self.listener = Listener(MAIN, self.socket, BOUND, Address("", 443))

    def start(self, number: int, ended: Ended, signed_out: SignedOutAt) -> FakeWorker:
        """Start one."""
        if self.no_process:
            raise OSError(11, "Resource temporarily unavailable")
        self.made.append(FakeWorker(number, 1000 + len(self.made), ended, signed_out, **self.next))
        return self.made[-1]

    def begin(self) -> Deferred[None]:
        """Begin with generation 1."""
        return self.supervisor.begin(1, 7, {MAIN: self.listener})

    def states(self) -> list[str]:
        """Return the state of each place."""
        return [seat.state for seat in self.supervisor.seats]

    def rounds(self, count: int) -> None:
        """Let so many rounds of questions go by."""
        self.clock.pump([PING_SECONDS] * count)


class LifeTests(SupervisorCase):
    """Workers come and go; there are as many as there should be."""

    def test_all_serve_before_it_is_said(self) -> None:
        """The start is over when every worker accepts under the first generation."""
        begun = self.begin()
        self.successResultOf(begun)
        self.assertEqual(self.states(), [SERVING, SERVING])
        self.assertEqual([(w.serves, w.accepts) for w in self.made], [(1, [MAIN])] * 2)

    def test_one_that_is_not_ready_is_waited_for(self) -> None:
        """A worker that still builds is starting, and the start is not over."""
        self.next = {"silent": True}
        begun = self.begin()
        self.assertNoResult(begun)
        self.assertEqual(self.states(), [STARTING, STARTING])

    def test_a_dead_one_is_replaced_at_once(self) -> None:
        """One that had served is followed by the next without a wait, and that one accepts."""
        self.begin()
        self.made[0].dies()
        self.clock.advance(0)
        self.assertEqual(self.states(), [SERVING, SERVING])
        self.assertEqual((self.made[2].number, self.made[2].accepts), (0, [MAIN]))
        self.assertEqual(+self.supervisor.restarts, {KILLED: 1})
        self.assertEqual([seat.restarts for seat in self.supervisor.seats], [1, 0])

    def test_one_that_dies_again_and_again_rests_longer(self) -> None:
        """What dies at its start is tried less and less often, and never given up."""
        self.begin()
        self.next = {"silent": True}
        self.made[0].dies()
        waits = []
        for _ in range(12):
            before = self.clock.seconds()
            while self.states()[0] == RESTING:
                self.clock.advance(0.25)
            waits.append(self.clock.seconds() - before)
            self.made[-1].dies()
        self.assertEqual(waits, sorted(waits))
        self.assertEqual(waits[-1], LONGEST_REST)

    def test_a_long_life_makes_up_for_it(self) -> None:
        """After a minute of service the next one is started at once again."""
        self.begin()
        for _ in range(5):
            self.made[-1].dies()
            self.clock.advance(LONGEST_REST)
        self.rounds(int(LONG_LIFE))
        number = self.made[-1].number
        self.made[-1].dies()
        self.clock.advance(0)
        self.assertEqual(self.states()[number], SERVING)

    def test_a_silent_one_is_replaced(self) -> None:
        """One that answers nothing for so many rounds is killed, and the next one serves."""
        self.begin()
        self.made[0].silent = True
        self.rounds(SILENT_ROUNDS)
        self.assertFalse(self.made[0].killed)
        self.rounds(1)
        self.assertTrue(self.made[0].killed)
        self.clock.advance(0)
        self.assertEqual(self.states(), [SERVING, SERVING])
        self.assertEqual(+self.supervisor.restarts, {SILENT: 1})

    def test_a_supervisor_that_stood_still_kills_nobody(self) -> None:
        """After an hour of its own silence it has asked once, not thousands of times."""
        self.begin()
        self.clock.advance(3600)
        self.assertEqual([worker.killed for worker in self.made], [False, False])
        self.assertEqual([sum(c is Ping for c, _ in worker.told) for worker in self.made], [1, 1])

    def test_an_answer_counts_however_late(self) -> None:
        """One answer makes up for the rounds before it."""
        self.begin()
        worker = self.made[0]
        for _ in range(3):
            worker.silent = True
            self.rounds(SILENT_ROUNDS)
            worker.silent = False
            worker.open.pop().callback({})
            self.rounds(1)
        self.assertFalse(worker.killed)

    def test_a_sign_out_reaches_the_others(self) -> None:
        """What one worker signs out all others hear of, and it is not told back."""
        self.begin()
        self.made[1].signed_out(self.made[1], "id-1")
        heard = [[a for c, a in worker.told if c is SignedOut] for worker in self.made]
        self.assertEqual(heard, [[{"session": "id-1"}], []])

    def test_no_process_to_be_had(self) -> None:
        """A start that the system refuses is tried again."""
        self.no_process = True
        begun = self.begin()
        self.assertEqual(self.states(), [RESTING, RESTING])
        self.no_process = False
        self.clock.advance(rest(1))
        self.successResultOf(begun)


class ReloadTests(SupervisorCase):
    """A generation in all of them, or in none."""

    def prepare(self, number: int = 2) -> Deferred[None]:
        """Have a generation built."""
        return Deferred.fromCoroutine(self.supervisor.prepare(number, 8))

    def serve(self, number: int = 2) -> Deferred[None]:
        """Have it taken into force."""
        return Deferred.fromCoroutine(self.supervisor.serve(number, 8))

    def test_all_take_it(self) -> None:
        """What all have prepared all serve."""
        self.begin()
        self.successResultOf(self.prepare())
        self.assertEqual([w.serves for w in self.made], [1, 1])
        self.successResultOf(self.serve())
        self.assertEqual([w.serves for w in self.made], [2, 2])

    def test_one_that_cannot_is_a_refusal(self) -> None:
        """One worker's problem keeps the generation from all."""
        self.begin()
        self.made[1].refuses = "policy[3].regex: no"
        failure = self.failureResultOf(self.prepare(), CannotServe)
        self.assertEqual(str(failure.value), "policy[3].regex: no")

    def test_one_that_takes_too_long_is_a_refusal(self) -> None:
        """Nobody waits for ever."""
        self.begin()
        self.made[1].silent = True
        waiting = self.prepare()
        self.supervisor._pings.stop()
        self.clock.advance(PREPARE_SECONDS)
        self.failureResultOf(waiting, CannotServe)

    def test_one_that_dies_meanwhile_comes_back_with_the_new_one(self) -> None:
        """A death is no refusal: the next worker begins with what is in force then."""
        self.begin()
        self.made[1].silent = True
        waiting = self.prepare()
        self.made[1].dies()
        self.successResultOf(waiting)
        self.successResultOf(self.serve())
        self.clock.advance(0)
        self.assertEqual([(w.number, w.serves) for w in self.made if not w.gone], [(0, 2), (1, 2)])

    def test_one_that_starts_meanwhile_catches_up(self) -> None:
        """One that began to serve between the two steps is not left behind, and not killed."""
        self.begin()
        self.next = {"silent": True}
        self.made[1].dies()
        self.clock.advance(0)
        late = self.made[2]
        self.successResultOf(self.prepare())
        late.silent = False
        for (command, arguments), waiting in zip(list(late.told), late.open, strict=True):
            late.do(command, **arguments).chainDeferred(waiting)
        self.assertEqual((late.serves, self.states()), (1, [SERVING, SERVING]))
        self.successResultOf(self.serve())
        self.assertEqual(late.serves, 2)
        self.assertFalse(late.killed)

    def test_nobody_there(self) -> None:
        """Where no worker serves, new settings may be what helps: the next ones begin with them."""
        self.begin()
        self.no_process = True
        for worker in list(self.made):
            worker.dies()
        self.clock.advance(0)
        self.successResultOf(self.prepare())
        self.successResultOf(self.serve())
        self.no_process = False
        self.clock.advance(LONGEST_REST)
        self.assertEqual([worker.serves for worker in self.made if not worker.gone], [2, 2])

    def test_all_of_them_die_of_it(self) -> None:
        """Settings that no worker survives are refused."""
        self.begin()
        for worker in self.made:
            worker.silent = True
        waiting = self.prepare()
        for worker in self.made[:2]:
            worker.dies()
        self.failureResultOf(waiting, CannotServe)

    def test_one_that_starts_while_a_socket_moves(self) -> None:
        """It accepts from the new socket in the end."""
        self.begin()
        self.next = {"silent": True}
        self.made[1].dies()
        self.clock.advance(0)
        late = self.made[2]
        late.silent = False
        other = Listener(MAIN, self.socket, BOUND, Address("", 444))
        self.successResultOf(Deferred.fromCoroutine(self.supervisor.listen(other)))
        for (command, arguments), waiting in zip(list(late.told), late.open, strict=True):
            late.do(command, **arguments).chainDeferred(waiting)
        self.assertEqual(late.accepts, [MAIN])
        self.assertEqual(self.states(), [SERVING, SERVING])

    @given(st.lists(st.sampled_from(("die 0", "die 1", "reload", "refuse", "time")), max_size=30))
    def test_all_that_serve_serve_the_same(self, events: list[str]) -> None:
        """Whatever happens in which order, whoever serves does so under the one in force."""
        self.setUp()
        self.begin()
        force, last = 1, 1
        for event in events:
            alive = [worker for worker in self.made if not worker.gone]
            if event.startswith("die"):
                for worker in alive:
                    if worker.number == int(event[-1]):
                        worker.dies()
            elif event == "time":
                self.clock.advance(LONGEST_REST)
            elif alive:
                last += 1
                alive[0].refuses = "no" if event == "refuse" else ""
                outcome: list[Any] = []
                self.prepare(last).addBoth(outcome.append)
                alive[0].refuses = ""
                if outcome == [None]:
                    force = last
                    self.successResultOf(self.serve(last))
            self.clock.advance(0)
            for worker in self.made:
                if not worker.gone:
                    self.assertEqual(worker.serves, force)


class StopTests(SupervisorCase):
    """The end."""

    def test_all_drain(self) -> None:
        """The service has stopped when every worker has ended, and none is started again."""
        self.begin()
        self.successResultOf(self.supervisor.stopService())
        self.clock.advance(LONGEST_REST)
        self.assertEqual([w.killed for w in self.made], [False, False])
        self.assertEqual(self.states(), [RESTING, RESTING])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_that_does_not_is_killed(self) -> None:
        """The end comes, whatever a worker does."""
        self.begin()
        self.made[0].silent = True
        stopped = self.supervisor.stopService()
        self.clock.advance(DRAIN_SECONDS + STOP_SECONDS - 1)
        self.assertNoResult(stopped)
        self.clock.advance(1)
        self.successResultOf(stopped)
        self.assertEqual([w.killed for w in self.made], [True, False])

    def test_nobody_there(self) -> None:
        """With no worker there is nothing to wait for."""
        self.no_process = True
        self.begin()
        self.successResultOf(self.supervisor.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])
