"""
The one thread in which grpc lives, and the ways in and out.

grpc's own clients for other threads take a thread for each connection and one for each
stream that is read; ``grpc.aio`` needs one for all, with an asyncio loop in it. What is to be
done there, and what has ended there, crosses over in batches: a crowd of calls costs one
wake-up each way.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

Work = Callable[[], object]

END_SECONDS = 2.0
"""For all tasks of the loop to end when it is stopped."""


class Loop:
    """
    An asyncio loop in a thread of its own.

    Args:
        call_from_thread: has the reactor call a function; may be called in any thread.
    """

    def __init__(self, call_from_thread: Callable[..., Any]) -> None:
        self._call_from_thread = call_from_thread
        self._loop = asyncio.new_event_loop()
        self._in: deque[Work] = deque()
        self._out: deque[Work] = deque()
        # Each is set by who fills its queue and taken back by who is about to empty it, in
        # that order: at worst somebody wakes up to an empty queue.
        self._in_woken = self._out_woken = False
        self._stopped = False
        self._ended: Deferred[None] = Deferred()
        self._log = Logger()
        # A daemon thread: a process that must end does not wait for a call to nowhere.
        self._thread = threading.Thread(target=self._run, name="grpc", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Return whether the thread runs."""
        return self._thread.is_alive()

    def do(self, work: Work) -> None:
        """Have something done in the loop; from the reactor's thread. After the end: nothing."""
        if self._stopped:
            return
        self._in.append(work)
        if not self._in_woken:
            self._in_woken = True
            self._loop.call_soon_threadsafe(self._take_in)

    def back(self, work: Work) -> None:
        """Have something done in the reactor's thread; from the loop's. After the end: nothing."""
        self._out.append(work)
        if not self._out_woken:
            self._out_woken = True
            self._call_from_thread(self._take_out)

    def spawn(self, work: Any) -> asyncio.Task[None]:
        """Begin a coroutine; in the loop's thread."""
        return self._loop.create_task(work)

    def stop(self) -> Deferred[None]:
        """
        End all that goes on in the loop, and then its thread.

        Returns:
            Fires when that has happened; what it had to tell is told to nobody.
        """
        if not self._stopped:
            self._stopped = True
            self._loop.call_soon_threadsafe(self._loop.stop)
        return self._ended

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            self._loop.run_until_complete(self._end())
        finally:
            self._loop.close()
            self._call_from_thread(self._over)

    def _over(self) -> None:
        # What was left was for nobody; the thread has nothing more to do but return.
        self._out.clear()
        self._thread.join()
        self._ended.callback(None)

    async def _end(self) -> None:
        self._take_in()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=END_SECONDS)

    def _take_in(self) -> None:
        self._in_woken = False
        while self._in:
            self._guarded(self._in.popleft())

    def _take_out(self) -> None:
        self._out_woken = False
        while self._out and not self._stopped:
            self._guarded(self._out.popleft())

    def _guarded(self, work: Work) -> None:
        try:
            work()
        except Exception:  # noqa: BLE001  # whatever it is
            # One that fails must not take the rest of its batch along.
            self._log.failure("something failed that came from or went to the grpc thread")
