"""run(): a coroutine that never waits makes no Deferred; one that waits is taken over."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.proxy.running import run


class RunTests(SynchronousTestCase):
    """What becomes of the work, and of its failure."""

    def setUp(self) -> None:
        """Collect what happens."""
        self.seen: list[object] = []

    def failed(self, about: None, error: BaseException) -> None:
        """Collect an error."""
        self.seen.append(error)

    async def wait_for(self, *waited: Deferred[str]) -> None:
        """Wait for each in turn."""
        for one in waited:
            self.seen.append(await one)

    def test_work_that_waits_is_resumed_where_it_stood(self) -> None:
        """A coroutine suspended at a Deferred goes on when that fires, and no earlier."""
        first: Deferred[str] = Deferred()
        second: Deferred[str] = Deferred()
        run(self.wait_for(first, second), None, self.failed)
        self.assertEqual(self.seen, [])
        first.callback("first")
        self.assertEqual(self.seen, ["first"])
        second.callback("second")
        self.assertEqual(self.seen, ["first", "second"])

    def test_a_failure_before_the_first_wait_is_told(self) -> None:
        """What is raised at once is told once."""
        error = ValueError("at once")

        async def work() -> None:
            raise error

        run(work(), None, self.failed)
        self.assertEqual(self.seen, [error])

    def test_a_failure_after_a_wait_is_told(self) -> None:
        """What a waited-for Deferred fails with is told once."""
        waited: Deferred[str] = Deferred()
        run(self.wait_for(waited), None, self.failed)
        error = ValueError("later")
        waited.errback(error)
        self.assertEqual(self.seen, [error])

    def test_work_that_is_cancelled_tells_nobody(self) -> None:
        """Whoever cancels knows it already."""
        waited: Deferred[str] = Deferred()
        run(self.wait_for(waited), None, self.failed)
        waited.cancel()
        self.assertEqual(self.seen, [])
