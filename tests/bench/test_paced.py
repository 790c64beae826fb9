"""The client at a fixed rate: what it sends when, and what it tells of each request."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from bench.paced import PATIENCE, Caller, Crowd, Record

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GOODBYE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


class Loop:
    """As much of an event loop as a caller uses; time passes when it is told."""

    def __init__(self) -> None:
        self.now = 0.0
        self._calls: list[tuple[float, int, Callable[[], None]]] = []

    def time(self) -> float:
        """Return the time."""
        return self.now

    def call_at(self, when: float, call: Callable[[], None]) -> None:
        """Call it then."""
        heapq.heappush(self._calls, (when, len(self._calls), call))

    def until(self, moment: float) -> None:
        """Let time pass."""
        while self._calls and self._calls[0][0] <= moment:
            self.now, _, call = heapq.heappop(self._calls)
            call()
        self.now = moment


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closing = False

    def write(self, octets: bytes) -> None:
        """Keep it."""
        self.written.append(octets)

    def abort(self) -> None:
        """End."""
        self.closing = True

    def is_closing(self) -> bool:
        """Say whether it ends."""
        return self.closing


class Company:
    """The crowd of one caller; its connections come about when the test makes them."""

    interval = 1.0

    def __init__(self) -> None:
        self.loop = Loop()
        self.over = False
        self.records: list[Record] = []
        self.dialled = 0

    def request(self) -> bytes:
        """Return a request."""
        return b"ask"

    def take_down(self, record: Record) -> None:
        """Keep it."""
        self.records.append(record)

    def hold(self, task: asyncio.Future[None]) -> None:
        """Nobody connects here by itself."""
        raise AssertionError(task)


class CallerTests(SynchronousTestCase):
    """One client with a connection, a request due each second."""

    def setUp(self) -> None:
        """Begin, connected."""
        self.company = Company()
        self.caller = Caller(cast("Crowd", self.company), 1.0)
        self.wire = self.connected()
        self.caller.begin()

    def connected(self) -> Wire:
        """Give the caller a connection."""
        wire = Wire()
        self.caller.connection_made(cast("Any", wire))
        return wire

    def test_each_is_sent_when_it_is_due(self) -> None:
        """A request a second, each told with its times."""
        for second in (1.0, 2.0):
            self.company.loop.until(second)
            self.company.loop.until(second + 0.25)
            self.caller.data_received(OK)
        self.assertEqual(self.wire.written, [b"ask", b"ask"])
        self.assertEqual(
            self.company.records, [(1.0, 1.0, 1.25, 200, ""), (2.0, 2.0, 2.25, 200, "")]
        )

    def test_one_that_waits_is_late_and_not_left_out(self) -> None:
        """What was due while an answer was outstanding is sent after it, its time running."""
        self.company.loop.until(3.5)
        self.assertEqual(self.wire.written, [b"ask"])
        self.caller.data_received(OK)
        self.caller.data_received(OK)
        self.caller.data_received(OK)
        self.assertEqual(
            self.company.records,
            [(1.0, 1.0, 3.5, 200, ""), (2.0, 3.5, 3.5, 200, ""), (3.0, 3.5, 3.5, 200, "")],
        )
        self.assertTrue(self.caller.idle)

    def test_an_answer_in_pieces(self) -> None:
        """An answer is over with its last byte, however it is cut."""
        self.company.loop.until(1.0)
        for at in range(len(OK)):
            self.assertEqual(self.company.records, [])
            self.caller.data_received(OK[at : at + 1])
        self.assertEqual([record[3] for record in self.company.records], [200])

    def test_a_broken_connection_is_a_failure(self) -> None:
        """The request that was under way is told with status 0, and why."""
        self.company.loop.until(1.5)
        self.wire.closing = True
        self.caller.connection_lost(ConnectionResetError("reset"))
        self.assertEqual(self.company.records, [(1.0, 1.0, 1.5, 0, "connection lost: reset")])

    def test_an_announced_end_is_none(self) -> None:
        """Who says that it closes, and does between two requests, has failed nobody."""
        self.company.loop.until(1.0)
        self.caller.data_received(GOODBYE)
        self.assertTrue(self.wire.closing)
        self.caller.connection_lost(None)
        self.assertEqual([record[3] for record in self.company.records], [200])

    def test_the_end_of_an_earlier_connection(self) -> None:
        """It breaks nothing on the one that came after it."""
        self.company.loop.until(1.0)
        self.caller.data_received(GOODBYE)
        later = self.connected()
        self.company.loop.until(2.0)
        self.caller.connection_lost(None)
        self.caller.data_received(OK)
        self.assertEqual(later.written, [b"ask"])
        self.assertEqual([record[3] for record in self.company.records], [200, 200])

    def test_an_answer_that_never_comes(self) -> None:
        """After half a minute it counts as a failure."""
        self.company.interval = 1_000.0
        self.company.loop.until(1.0 + PATIENCE)
        self.caller.look()
        self.assertEqual(self.company.records, [])
        self.company.loop.until(1.5 + PATIENCE)
        self.caller.look()
        self.assertEqual([record[3:] for record in self.company.records], [(0, "no answer")])
