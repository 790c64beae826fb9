"""Processes come and go; their numbers, their pages and what they counted do not get mixed up."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ProcessDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.cells import mapped
from pomeriumd.daemon.ledger import Ledger
from pomeriumd.daemon.spawning import Spawning
from pomeriumd.daemon.tally import Tally
from pomeriumd.daemon.worker_process import LEISURELY, MODULE, NUMBERS, WorkerProcess


class FakeReactor:
    """Starts nothing, and remembers what for."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, ...]] = []
        self.tallies: list[Tally] = []
        self.full = False

    def spawnProcess(
        self,
        protocol: WorkerProcess,
        executable: str,
        arguments: tuple[str, ...],
        env: dict[str, str],
        childFDs: dict[int, Any],
    ) -> object:
        """Take part of the new process: it begins to count."""
        del protocol, executable, env
        if self.full:
            raise OSError(11, "Resource temporarily unavailable")
        self.commands.append(arguments)
        self.tallies.append(Tally(mapped(childFDs[NUMBERS])))
        return SimpleNamespace(pid=1000 + len(self.commands))

    def adoptStreamConnection(self, *_: object) -> None:
        """Nobody is at the other end."""


class SpawningTests(SynchronousTestCase):
    """A number is a process's as long as it runs."""

    def setUp(self) -> None:
        """Have none yet."""
        self.reactor, self.ledger = FakeReactor(), Ledger()
        self.ends: list[str] = []
        self.spawning = Spawning(
            options={},
            environment={},
            ledger=self.ledger,
            lines=lambda _: None,
            noticed=lambda *_: None,
            reactor=self.reactor,
        )

    def start(self, *, leisurely: bool = False) -> WorkerProcess:
        """Start one."""
        return self.spawning.start(
            lambda _, how: self.ends.append(how), lambda *_: None, leisurely=leisurely
        )

    def cuts(self) -> float:
        """Return how many cuts all of them have counted."""
        merged = self.ledger.totals.merged(self.ledger.running)
        return sum(numbers[0] for (family, _), numbers in merged.items() if family == "cut")

    @given(st.lists(st.one_of(st.none(), st.integers(0, 9)), max_size=40))
    def test_numbers_and_counts(self, events: list[int | None]) -> None:
        """Numbers stay below the count of processes, and what was counted is never lost."""
        self.setUp()
        running: list[WorkerProcess] = []
        counted = 0
        for event in events:
            if event is None:
                running.append(self.start())
                self.reactor.tallies[-1].count_cut("expired")
                counted += 1
            elif running:
                running.pop(event % len(running)).processEnded(Failure(ProcessDone(0)))
            numbers = Counter(process.number for process in running)
            self.assertLessEqual(max(numbers.values(), default=0), 1)
            self.assertEqual(len(self.ledger.running), len(running))
            self.assertEqual(self.cuts(), counted)
        self.assertEqual(len(self.ends), counted - len(running))
        if running:
            most = max(process.number for process in running)
            self.assertLess(most, counted)
            free = set(range(most)) - {process.number for process in running}
            self.assertEqual(self.start().number, min(free, default=most + 1))

    def test_one_that_cannot_be_started(self) -> None:
        """It leaves no page, and its number is the next one's."""
        self.reactor.full = True
        with self.assertRaises(OSError):
            self.start()
        self.assertEqual(len(self.ledger.running), 0)
        self.reactor.full = False
        self.assertEqual(self.start().number, 0)

    def test_a_leisurely_one_begins_elsewhere(self) -> None:
        """The module that is run decides how a process comes to serve."""
        self.start()
        self.start(leisurely=True)
        self.assertEqual([c[3] for c in self.reactor.commands], [MODULE, LEISURELY])
