"""Three replicas in processes of their own, of which one is killed or frozen under load."""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter

import pytest
from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.access.verdict import Given, Question
from pomeriumd.crypto.keys import Purpose, ring
from pomeriumd.rpc.channel import Dialer
from pomeriumd.rpc.line import Security
from pomeriumd.rpc.loop import Loop
from pomeriumd.rpc.pool import Options, Pool
from pomeriumd.settings.values import Origin
from tests.support.processes import Running, free_port
from tests.support.replica import ROOT
from tests.support.turns import Turns

pytestmark = pytest.mark.system

HOSTS = ("127.0.0.11", "127.0.0.12", "127.0.0.13")
CROWD = 12
"""Questions in flight at once."""


def outcomes(pool: Pool) -> Counter[str]:
    """Return what became of asking replicas, all of them together."""
    found: Counter[str] = Counter()
    for (_, outcome), count in pool.counters.attempts.items():
        found[outcome] += count
    return found


class ReplicasTests(SynchronousTestCase):
    """No question fails, whatever becomes of one replica."""

    def setUp(self) -> None:
        """Have three replicas, and a pool that has heard all of them."""
        port = free_port()
        self.running = {host: self.replica(host, port) for host in HOSTS}
        for running in self.running.values():
            running.begun("serving on")
        self.turns, self.clock = Turns(), Clock()
        now = time.time  # noqa: TID251  # other processes have the real time as well
        loop = Loop(self.turns.call_from_thread)
        self.pool = Pool(
            dial=Dialer(loop, now),
            look_up=lambda _: succeed(HOSTS),
            clock=self.clock,
            now=now,
        )
        self.pool.take(
            Options(
                urls=(Origin("https", "authorize.internal", port),),
                keys=ring([ROOT], Purpose.GRPC),
                security=Security(plain=True),
            )
        )
        self.addCleanup(lambda: self.turns.outcome(loop.stop()))
        self.addCleanup(self.pool.stop)
        self.healthy(3)

    def replica(self, host: str, port: int) -> Running:
        """Start a replica."""
        command = [sys.executable, "-m", "tests.support.replica", host, str(port)]
        running = Running(command)
        self.addCleanup(running.stop)
        return running

    def healthy(self, count: int) -> None:
        """Wait until so many are healthy."""
        self.turns.until(lambda: sum(r.state == "healthy" for r in self.pool.replicas) == count)

    def ask(self, rounds: int) -> set[str]:
        """Have crowds of questions answered, all of them; return who did."""
        hosts: set[str] = set()
        for _ in range(rounds):
            crowd = [self.pool.check(Question(route="r1")) for _ in range(CROWD)]
            given: list[Given] = [self.turns.outcome(answer) for answer in crowd]
            hosts |= {it.replica.partition(":")[0] for it in given}
        return hosts

    def test_one_is_killed(self) -> None:
        """The others answer; those in flight there go on to them."""
        self.assertEqual(self.ask(5), set(HOSTS))
        crowd = [self.pool.check(Question(route="r1")) for _ in range(CROWD)]
        self.running[HOSTS[1]].send(signal.SIGKILL)
        for answer in crowd:
            self.turns.outcome(answer)
        self.healthy(2)
        self.assertEqual(self.ask(5), {HOSTS[0], HOSTS[2]})

    def test_one_is_frozen(self) -> None:
        """Those in flight there are late and go on to the others, and no more than those."""
        self.ask(5)
        self.running[HOSTS[1]].send(signal.SIGSTOP)
        self.assertEqual(self.ask(10) - {HOSTS[1]}, {HOSTS[0], HOSTS[2]})
        self.assertLessEqual(outcomes(self.pool)["late"], CROWD)
        self.assertEqual(self.ask(5), {HOSTS[0], HOSTS[2]})
        self.running[HOSTS[1]].send(signal.SIGCONT)
        self.clock.advance(1)
        self.healthy(3)
        self.assertEqual(self.ask(5), set(HOSTS))

    def test_one_is_told_to_stop(self) -> None:
        """It says so before it goes: no question meets a port that is closed."""
        self.running[HOSTS[1]].send(signal.SIGTERM)
        while self.running[HOSTS[1]].runs:
            self.ask(1)
        self.assertEqual(outcomes(self.pool)["unreachable"], 0)
