"""The thread of grpc, and the ways in and out."""

from __future__ import annotations

import asyncio
from functools import partial

from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.rpc.loop import Loop
from tests.support.logged import Logged
from tests.support.turns import Turns


class LoopTests(SynchronousTestCase):
    """Loop does things there, and has things done here."""

    def setUp(self) -> None:
        """Have a loop."""
        self.turns = Turns()
        self.loop = Loop(self.turns.call_from_thread)
        self.addCleanup(lambda: self.turns.outcome(self.loop.stop()))
        self.done: list[int] = []

    def test_there_and_back(self) -> None:
        """All that is put in comes out, in its order."""
        for number in range(1000):
            self.loop.do(partial(self.loop.back, partial(self.done.append, number)))
        self.turns.until(lambda: len(self.done) == 1000)
        self.assertEqual(self.done, list(range(1000)))

    def test_comes_back_in_batches(self) -> None:
        """What ends together there costs the reactor one call."""

        def crowd() -> None:
            for number in range(100):
                self.loop.back(partial(self.done.append, number))

        self.loop.do(crowd)
        self.turns.turn()
        self.assertEqual(len(self.done), 100)

    def test_one_that_fails(self) -> None:
        """It is logged, and the rest of its batch is done."""
        logged = Logged(self)

        def fail() -> None:
            raise RuntimeError("a bug")

        def both() -> None:
            self.loop.back(fail)
            self.loop.back(lambda: self.done.append(1))

        self.loop.do(both)
        self.turns.until(lambda: self.done)
        self.assertEqual(len(logged.lines(LogLevel.critical)), 1)
        self.flushLoggedErrors(RuntimeError)

    def test_the_end_of_what_goes_on(self) -> None:
        """Tasks are cancelled, and the thread ends; nothing is told any more."""

        async def for_ever() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                self.loop.back(lambda: self.done.append(1))

        self.loop.do(lambda: self.loop.spawn(for_ever()))
        self.turns.outcome(self.loop.stop())
        self.loop.do(lambda: self.done.append(2))
        self.assertEqual((self.loop.alive, self.done), (False, []))
