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
from twisted.logger import capturedLogs
from twisted.protocols.amp import Command
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.follower import PREPARE_SECONDS, SILENT_ROUNDS, Ended, SignedOutAt
from pomeriumd.daemon.listeners import BOUND, MAIN, REDIRECT, Listener
from pomeriumd.daemon.messages import (
    Answer,
    CannotServe,
    Discard,
    Drain,
    Listen,
    Ping,
    Prepare,
    Serve,
    SignedOut,
)
from pomeriumd.daemon.servants import DRAIN_SECONDS, RESERVE, RESTING, SERVING, STARTING
from pomeriumd.daemon.supervisor import (
    ANSWER_SECONDS,
    LEISURE_SECONDS,
    LEISURELY_SECONDS,
    LONG_LIFE,
    LONGEST_REST,
    PING_SECONDS,
    SILENT,
    STOP_SECONDS,
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
    leisurely: bool
    name: str = ""
    told: list[tuple[type[Command], dict[str, Any]]] = attrs.Factory(list)
    silent: bool = False
    """It answers nothing."""
    refuses: str = ""
    """Why it prepares nothing."""
    unable: str = ""
    """Why it answers nobody."""
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
        elif command is Answer and self.unable:
            return fail(CannotServe(self.unable))
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

    def start(self, ended: Ended, signed_out: SignedOutAt, *, leisurely: bool) -> FakeWorker:
        """Start one."""
        if self.no_process:
            raise OSError(11, "Resource temporarily unavailable")
        number = len(self.made)
        given = (number, 1000 + number, ended, signed_out, leisurely)
        self.made.append(FakeWorker(*given, **self.next))
        return self.made[-1]

    def begin(self) -> Deferred[None]:
        """Begin with generation 1."""
        return self.supervisor.begin(1, 7, {MAIN: self.listener})

    def begin_with_reserve(self) -> FakeWorker:
        """Begin, let the one in reserve get ready, and return it."""
        self.begin()
        self.clock.advance(LEISURE_SECONDS)
        return self.made[2]

    def states(self) -> list[str]:
        """Return the state of each seat."""
        return [seat.state for seat in self.supervisor.seats]

    def at_seat(self, number: int) -> FakeWorker:
        """Return who has a seat."""
        (found,) = [w for w in self.made if not w.gone and w.name == f"worker {number}"]
        return found

    def rounds(self, count: int) -> None:
        """Let so many rounds of questions go by."""
        self.clock.pump([PING_SECONDS] * count)


class AnswersTests(SupervisorCase):
    """Proxies elsewhere are answered by one of them."""

    def answering(self) -> list[int]:
        """Return the numbers of those who were told to, each as often as it was."""
        return [w.number for w in self.made for command, _ in w.told if command is Answer]

    def test_the_first_seat_answers(self) -> None:
        """The port has room for one process; who takes that seat takes this over."""
        self.begin_with_reserve()
        self.assertEqual(self.answering(), [0])
        self.made[1].dies()
        self.assertEqual(self.answering(), [0])
        self.clock.advance(LEISURE_SECONDS)
        self.made[0].dies()
        self.clock.advance(0)
        self.assertEqual(self.answering(), [0, self.at_seat(0).number])

    def test_a_port_that_is_taken(self) -> None:
        """The worker serves its users on, and tries again until it can or is gone."""
        self.next = {"unable": "the port is taken"}
        self.begin()
        with capturedLogs() as events:
            self.clock.pump([ANSWER_SECONDS] * 2)
        self.assertEqual([e["why"] for e in events if "why" in e], ["the port is taken"] * 2)
        self.assertEqual((self.answering(), self.states()), ([0] * 3, [SERVING, SERVING]))
        self.made[0].unable = ""
        self.clock.pump([ANSWER_SECONDS] * 3)
        self.assertEqual(self.answering(), [0] * 4)

    def test_the_end_ends_the_tries(self) -> None:
        """A daemon that stops leaves no try behind."""
        self.next = {"unable": "the port is taken"}
        self.begin()
        self.supervisor.stopService()
        self.clock.pump([ANSWER_SECONDS] * 3)
        self.assertEqual(self.answering(), [0])


class SocketTests(SupervisorCase):
    """The socket for plain http, which may come and go."""

    def setUp(self) -> None:
        """Have one, and serve without it."""
        super().setUp()
        self.second = socket.socket()
        self.addCleanup(self.second.close)
        self.redirect = Listener(REDIRECT, self.second, BOUND, Address("", 80))
        self.begin()

    def listen(self) -> None:
        """Have all of them accept from it."""
        self.successResultOf(Deferred.fromCoroutine(self.supervisor.listen(self.redirect)))

    def test_it_comes(self) -> None:
        """Each that serves accepts from both, and so does the one that takes a seat."""
        self.listen()
        self.assertEqual([w.accepts for w in self.made[:2]], [[MAIN, REDIRECT]] * 2)
        self.at_seat(0).dies()
        self.clock.advance(LONGEST_REST)
        self.assertEqual(sorted(self.at_seat(0).accepts), [MAIN, REDIRECT])

    def test_it_goes(self) -> None:
        """Nobody begins with it any more; those who serve are up to date without a word."""
        self.listen()
        self.supervisor.unlisten(REDIRECT)
        self.second.close()
        self.at_seat(0).dies()
        self.clock.advance(LONGEST_REST)
        self.assertEqual(self.at_seat(0).accepts, [MAIN])
        self.successResultOf(Deferred.fromCoroutine(self.supervisor.serve(1, 7)))
        self.assertEqual(self.states(), [SERVING, SERVING])

    def test_it_comes_again(self) -> None:
        """Another one of its name is another one."""
        self.listen()
        self.supervisor.unlisten(REDIRECT)
        self.redirect = Listener(REDIRECT, self.second, BOUND, Address("", 81))
        self.listen()
        self.assertEqual(self.at_seat(1).accepts, [MAIN, REDIRECT, REDIRECT])


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
        self.assertEqual((self.made[2].name, self.made[2].accepts), ("worker 0", [MAIN]))
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
            self.at_seat(0).dies()
            self.clock.advance(LONGEST_REST)
        self.rounds(int(LONG_LIFE))
        self.at_seat(0).dies()
        self.clock.advance(0)
        self.assertEqual(self.states()[0], SERVING)

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
        serving = self.made[:2]
        self.assertEqual([worker.killed for worker in self.made], [False] * 3)
        self.assertEqual([sum(c is Ping for c, _ in worker.told) for worker in serving], [1, 1])

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
        here = [(w.name, w.serves) for w in self.made if not w.gone]
        self.assertEqual(here, [("worker 0", 2), ("worker 1", 2)])

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
        self.assertEqual(self.states(), [SERVING, SERVING])
        self.assertEqual({worker.serves for worker in self.made if not worker.gone}, {2})

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

    @given(
        st.lists(
            st.sampled_from(("die 0", "die 1", "die reserve", "reload", "refuse", "time")),
            max_size=30,
        )
    )
    def test_all_that_serve_serve_the_same(self, events: list[str]) -> None:
        """Whatever happens in which order, whoever serves does so under the one in force."""
        self.setUp()
        self.begin()
        force, last = 1, 1
        for event in events:
            alive = [worker for worker in self.made if not worker.gone]
            if event.startswith("die"):
                for worker in alive:
                    if worker.name in (f"worker {event[-1]}", f"the {event[4:]}"):
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
                    self.assertEqual(worker.accepts, [MAIN] * (worker.name != "the reserve"))


class ReserveTests(SupervisorCase):
    """One that has come as far as the others, and accepts nothing."""

    def seat(self) -> tuple[str, int]:
        """Return the state of its place, and how often it was started again."""
        return self.supervisor.reserve.state, self.supervisor.reserve.restarts

    def test_it_comes_when_all_serve(self) -> None:
        """It is started a while later, leisurely, and takes the generation but no socket."""
        self.begin()
        self.assertEqual(len(self.made), 2)
        self.clock.advance(LEISURE_SECONDS)
        reserve = self.made[2]
        self.assertEqual([w.leisurely for w in self.made], [False, False, True])
        self.assertEqual((reserve.name, reserve.serves, reserve.accepts), ("the reserve", 1, []))
        self.assertEqual(self.seat(), (RESERVE, 0))
        self.assertEqual(self.states(), [SERVING, SERVING])

    def test_it_takes_the_seat_of_one_that_dies(self) -> None:
        """It needs nothing but the socket, and the next one comes later."""
        reserve = self.begin_with_reserve()
        reserve.told.clear()
        self.made[1].dies()
        self.clock.advance(0)
        self.assertEqual([command for command, _ in reserve.told], [Listen])
        self.assertEqual((reserve.name, self.states()), ("worker 1", [SERVING, SERVING]))
        self.assertEqual(self.supervisor.seats[1].pid, reserve.pid)
        self.assertEqual((self.seat(), len(self.made)), ((RESTING, 0), 3))
        self.clock.advance(LEISURE_SECONDS)
        self.assertEqual((self.seat(), self.made[3].name), ((RESERVE, 0), "the reserve"))

    def test_it_takes_the_seat_of_a_silent_one(self) -> None:
        """What is replaced for its silence is no other case."""
        reserve = self.begin_with_reserve()
        self.made[0].silent = True
        self.rounds(SILENT_ROUNDS + 1)
        self.clock.advance(0)
        self.assertEqual((reserve.name, self.states()), ("worker 0", [SERVING, SERVING]))

    def test_two_that_die_at_once(self) -> None:
        """The first is followed by the one in reserve, the second by a new one, as without it."""
        reserve = self.begin_with_reserve()
        self.made[0].dies()
        self.made[1].dies()
        self.clock.advance(0)
        self.assertEqual([self.at_seat(0), self.at_seat(1)], [reserve, self.made[3]])
        self.assertEqual(self.made[3].leisurely, False)
        self.assertEqual(self.states(), [SERVING, SERVING])

    def test_one_that_is_not_ready_is_not_waited_for(self) -> None:
        """Who dies while it starts is followed by a new one."""
        self.begin()
        self.next = {"silent": True}
        self.clock.advance(LEISURE_SECONDS)
        self.next = {}
        self.made[0].dies()
        self.clock.advance(0)
        self.assertEqual((self.at_seat(0), self.states()), (self.made[3], [SERVING, SERVING]))

    def test_one_that_hangs_is_not_trusted(self) -> None:
        """One that owes an answer is given no seat, though nobody has given it up yet."""
        reserve = self.begin_with_reserve()
        reserve.silent = True
        self.rounds(2)
        self.made[0].dies()
        self.clock.advance(0)
        self.assertEqual(self.at_seat(0), self.made[3])
        self.rounds(SILENT_ROUNDS)
        self.assertTrue(reserve.killed)

    def test_its_own_death_is_nobodys(self) -> None:
        """It is followed by the next one, later and later where each dies at its start."""
        self.begin_with_reserve()
        self.next = {"silent": True}
        waits = []
        for _ in range(8):
            self.made[-1].dies()
            self.assertEqual(self.states(), [SERVING, SERVING])
            before = self.clock.seconds()
            while self.seat()[0] == RESTING:
                self.clock.advance(0.25)
            waits.append(self.clock.seconds() - before)
        self.assertEqual((waits[0], waits[-1]), (LEISURE_SECONDS, LONGEST_REST))
        self.assertEqual(waits, sorted(waits))
        self.assertEqual((self.seat()[1], +self.supervisor.restarts), (8, {KILLED: 8}))

    def test_it_has_an_hour_to_start(self) -> None:
        """On a host that is busy all the time it waits for a processor; not for ever."""
        self.begin()
        self.next = {"silent": True}
        self.clock.advance(LEISURE_SECONDS)
        self.supervisor._pings.stop()
        self.clock.advance(LEISURELY_SECONDS - 1)
        self.assertFalse(self.made[2].killed)
        self.clock.advance(1)
        self.assertTrue(self.made[2].killed)

    def test_it_follows_a_reload(self) -> None:
        """It takes every generation with the others, and serves under the last one."""
        reserve = self.begin_with_reserve()
        self.successResultOf(Deferred.fromCoroutine(self.supervisor.prepare(2, 8)))
        self.successResultOf(Deferred.fromCoroutine(self.supervisor.discard(2)))
        self.successResultOf(Deferred.fromCoroutine(self.supervisor.prepare(3, 9)))
        self.successResultOf(Deferred.fromCoroutine(self.supervisor.serve(3, 9)))
        self.assertEqual((reserve.serves, reserve.prepared, reserve.accepts), (3, {1, 3}, []))
        other = Listener(MAIN, self.socket, BOUND, Address("", 444))
        self.successResultOf(Deferred.fromCoroutine(self.supervisor.listen(other)))
        self.assertEqual(reserve.accepts, [])

    def test_what_it_refuses_is_not_refused(self) -> None:
        """One that cannot take new settings where all others can is replaced."""
        reserve = self.begin_with_reserve()
        reserve.refuses = "no memory"
        self.successResultOf(Deferred.fromCoroutine(self.supervisor.prepare(2, 8)))
        self.successResultOf(Deferred.fromCoroutine(self.supervisor.serve(2, 8)))
        self.assertEqual(([w.serves for w in self.made[:2]], reserve.killed), ([2, 2], True))
        self.clock.advance(LEISURE_SECONDS)
        self.assertEqual((self.made[3].serves, self.seat()[0]), (2, RESERVE))

    def test_one_that_is_behind_is_given_no_seat(self) -> None:
        """While it still builds what the others serve, a new worker is as fast."""
        reserve = self.begin_with_reserve()
        reserve.silent = True
        self.supervisor._pings.stop()
        preparing = Deferred.fromCoroutine(self.supervisor.prepare(2, 8))
        self.clock.advance(PREPARE_SECONDS)
        self.successResultOf(preparing)
        serving = Deferred.fromCoroutine(self.supervisor.serve(2, 8))
        self.made[0].dies()
        self.clock.advance(0)
        self.assertEqual((self.at_seat(0), self.at_seat(0).serves), (self.made[3], 2))
        reserve.dies()
        self.successResultOf(serving)

    def test_one_that_takes_a_seat_in_a_reload(self) -> None:
        """A seat taken between the two steps of a reload is no reason to be left behind."""
        reserve = self.begin_with_reserve()
        self.successResultOf(Deferred.fromCoroutine(self.supervisor.prepare(2, 8)))
        reserve.silent = True
        self.made[0].dies()
        self.clock.advance(0)
        self.successResultOf(Deferred.fromCoroutine(self.supervisor.serve(2, 8)))
        self.assertEqual(self.states(), [STARTING, SERVING])
        reserve.silent = False
        (listening,) = [waiting for waiting in reserve.open if not waiting.called]
        reserve.do(Listen, name=MAIN).chainDeferred(listening)
        self.assertEqual((reserve.serves, self.states()), (2, [SERVING, SERVING]))

    def test_it_hears_of_a_sign_out(self) -> None:
        """As all others do."""
        reserve = self.begin_with_reserve()
        self.made[1].signed_out(self.made[1], "id-1")
        self.assertIn((SignedOut, {"session": "id-1"}), reserve.told)


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

    def test_the_reserve_has_nothing_to_drain(self) -> None:
        """It is killed at once, also where it still starts and hears nothing."""
        for silent in (False, True):
            self.setUp()
            self.begin()
            self.next = {"silent": silent}
            self.clock.advance(LEISURE_SECONDS)
            self.successResultOf(self.supervisor.stopService())
            self.assertEqual([w.killed for w in self.made], [False, False, True])
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
