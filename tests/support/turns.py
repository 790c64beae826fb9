"""A reactor's thread for tests that talk to grpc: what other threads hand over is done here."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from tests.support.processes import PATIENCE_SECONDS


class Turns:
    """Stands for a reactor: its ``callFromThread``, and turns that the test asks for."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[Callable[[], Any]] = queue.Queue()

    def call_from_thread(self, work: Callable[..., Any], *args: Any) -> None:
        """Have it done in the next turn."""
        self._waiting.put(lambda: work(*args))

    def until(self, enough: Callable[[], object]) -> None:
        """Turn until it is so; fail when it has hung."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not enough():
            self._waiting.get(timeout=max(end - time.monotonic(), 0))()

    def turn(self) -> None:
        """Wait for the next that is handed over, and do it."""
        self._waiting.get(timeout=PATIENCE_SECONDS)()

    def outcome(self, deferred: Deferred[Any]) -> Any:
        """Turn until it has fired, and return its result, or raise its error."""
        got: list[Any] = []
        deferred.addBoth(got.append)
        self.until(lambda: got)
        if isinstance(got[0], Failure):
            got[0].raiseException()
        return got[0]
