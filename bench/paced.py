"""
A client at a fixed rate, a program: ``python -m bench.paced``.

wrk asks as fast as it is answered; here each request has a moment at which it is due, whatever
became of those before it. One that is due while its connection waits for an answer is sent
late, and its time runs from when it was due: a proxy that stands still for a second is seen by
all who would have asked in that second.

The first line of standard input is an order, as JSON:

===============  ====================================================================
``address``      where to connect, and ``port``
``authority``    file with the authority to trust; null for plain HTTP
``name``         for which the server's certificate has to be good
``connections``  how many; they stay open
``rate``         requests a second, of all of them together
``requests``     whole requests; they are sent in turn
===============  ====================================================================

It says ``{"open": ...}`` when each connection has had an answer. A further line with
``requests`` puts others in their place; the end of standard input is the end: what is due and
was not sent by then, since its connection waited, never is. Then it tells each request that
was sent: when it was due, when it was sent, when its answer was whole (seconds of the machine's
monotonic clock), the status, and what broke if that is 0.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import selectors
import ssl
import sys
import threading
from collections import deque
from typing import Any, cast

PATIENCE = 30.0
"""Seconds after which an answer counts as one that never came."""

LOOK = 1.0
"""Seconds between two looks for those."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection: *close\r\n", re.IGNORECASE)


Record = tuple[float, float, float, int, str]
"""When a request was due, sent and over; its status; what broke."""


class Caller(asyncio.Protocol):
    """One client, with one connection at a time."""

    def __init__(self, crowd: Crowd, first: float) -> None:
        self.crowd = crowd
        self._due = first
        self._late: deque[float] = deque()
        """Moments at which requests were due that are not sent yet."""
        self._asked: tuple[float, float] | None = None
        """When the request that is under way was due, and when it was sent."""
        self._transport: asyncio.Transport | None = None
        self._connecting = False
        self._buffer = bytearray()

    def begin(self) -> None:
        """Ask from now on."""
        self.crowd.loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        if self.crowd.over:
            return
        self._late.append(self._due)
        self._due += self.crowd.interval
        self.crowd.loop.call_at(self._due, self._tick)
        self._next()

    def _next(self) -> None:
        if self._asked is not None or self._connecting or not self._late or self.crowd.over:
            return
        if self._transport is None:
            self._connecting = True
            self.crowd.hold(asyncio.ensure_future(self._connect()))
            return
        self._asked = self._late.popleft(), self.crowd.loop.time()
        self._transport.write(self.crowd.request())

    async def _connect(self) -> None:
        began = self.crowd.loop.time()
        try:
            await asyncio.wait_for(self.crowd.connect(self), PATIENCE)
        except (OSError, TimeoutError) as error:
            while self._late:
                self._told(self._late.popleft(), began, 0, f"not connected: {error}")
        self._connecting = False
        self._next()

    def look(self) -> None:
        """Give the answer up that has not come."""
        if self._asked is not None and self.crowd.loop.time() - self._asked[1] > PATIENCE:
            self._broken("no answer")

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return self._asked is None and not self._connecting

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        self._transport = cast("asyncio.Transport", transport)
        self._buffer.clear()

    def data_received(self, data: bytes) -> None:
        """Take an answer, or a part of one."""
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._buffer[: end + 2])
        length = _LENGTH.search(head)
        if self._asked is None or length is None:
            self._broken(f"not understood: {head[:80]!r}")
            return
        if len(self._buffer) < end + 4 + int(length[1]):
            return
        self._buffer.clear()
        due, sent = self._asked
        self._asked = None
        self._told(due, sent, int(head[9:12]), "")
        if _CLOSES.search(head):
            self._hang_up()
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count what was under way as broken."""
        # The end of a connection that was hung up comes when another may be there already.
        if self._transport is not None and self._transport.is_closing():
            self._broken(f"connection lost: {exc or 'closed'}")

    def _broken(self, why: str) -> None:
        self._hang_up()
        if self._asked is not None:
            due, sent = self._asked
            self._asked = None
            self._told(due, sent, 0, why)
        self._next()

    def _hang_up(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()

    def _told(self, due: float, sent: float, status: int, why: str) -> None:
        self.crowd.take_down((due, sent, self.crowd.loop.time(), status, why))


class Crowd:
    """All of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, order: dict[str, Any]) -> None:
        self.loop = loop
        self.order = order
        self.interval = order["connections"] / order["rate"]
        self.over = False
        self._records: list[Record] = []
        self._begun = asyncio.Event()
        self._context = (
            ssl.create_default_context(cafile=order["authority"]) if order["authority"] else None
        )
        self._held: set[asyncio.Future[None]] = set()
        self.take(order)

    def take(self, order: dict[str, Any]) -> None:
        """Send these requests from now on."""
        whole = [text.encode("latin-1") for text in order["requests"]]
        self.request = itertools.cycle(whole).__next__

    def take_down(self, record: Record) -> None:
        """Keep what became of a request."""
        self._records.append(record)
        if len(self._records) >= self.order["connections"]:
            self._begun.set()

    def hold(self, task: asyncio.Future[None]) -> None:
        """Keep a task until it is done; the loop alone would not."""
        self._held.add(task)
        task.add_done_callback(self._held.discard)

    async def connect(self, caller: Caller) -> None:
        """Give a caller a connection."""
        named = self.order["name"] if self._context else None
        await self.loop.create_connection(
            lambda: caller,
            *(self.order["address"], self.order["port"]),
            ssl=self._context,
            server_hostname=named,
        )

    async def run(self) -> None:
        """Ask until standard input ends."""
        count, now = self.order["connections"], self.loop.time()
        callers = [Caller(self, now + self.interval * n / count) for n in range(count)]
        for caller in callers:
            caller.begin()
        await self._begun.wait()
        _say({"open": count})
        lines = self._lines()
        while True:
            try:
                line = await asyncio.wait_for(lines.get(), LOOK)
            except TimeoutError:
                line = None
            for caller in callers:
                caller.look()
            if line == "":
                break
            if line is not None:
                self.take(json.loads(line))
        self.over = True
        while not all(caller.idle for caller in callers):
            await asyncio.sleep(0.05)
            for caller in callers:
                caller.look()
        _say({"requests": self._records})

    def _lines(self) -> asyncio.Queue[str]:
        lines: asyncio.Queue[str] = asyncio.Queue()

        def read() -> None:
            for line in sys.stdin:
                self.loop.call_soon_threadsafe(lines.put_nowait, line)
            self.loop.call_soon_threadsafe(lines.put_nowait, "")

        threading.Thread(target=read, daemon=True).start()
        return lines


def _say(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)  # noqa: T201  # read by who started us


def main() -> None:
    """Carry the order out."""
    # epoll counts in milliseconds, and would have us late by up to one each time.
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    loop.run_until_complete(Crowd(loop, json.loads(sys.stdin.readline())).run())


if __name__ == "__main__":
    main()
