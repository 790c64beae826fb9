"""
Two answers that take their time: the hash of an upload, and a clock that ticks.

Neither keeps what goes through it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Any

import attrs
import orjson
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from pomeriumd.answers.answer import Answer
from pomeriumd.errors import PomeriumError
from pomeriumd.http.events import Field, Response
from pomeriumd.net.exchange import Exchange

TICK = 1.0
"""Seconds between two events of the clock."""

NO_STORE: Field = (b"cache-control", b"no-store")
NOSNIFF: Field = (b"x-content-type-options", b"nosniff")


def json_answer(status: int, body: object) -> Answer:
    """Return an answer of JSON, indented for people who use curl."""
    octets = orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return Answer(status, ((b"content-type", b"application/json"), NO_STORE, NOSNIFF), octets)


@attrs.define(eq=False)
class Upload:
    """
    The sink of an upload: counts, hashes and forgets.

    Each piece is hashed before the next is read, which is all the back-pressure it needs.
    """

    _exchange: Exchange
    _size: int = 0
    _hash: Any = attrs.Factory(hashlib.sha256)

    def data(self, octets: bytes) -> None:
        """Count and hash a piece."""
        self._size += len(octets)
        self._hash.update(octets)

    def end(self, trailers: object) -> None:
        """Say what came."""
        body = {"size": self._size, "sha256": self._hash.hexdigest()}
        self._exchange.reply(json_answer(200, body))

    def lost(self, error: PomeriumError) -> None:
        """Nobody is left to tell."""

    def flush(self) -> None:
        """Nothing is written before the end."""

    def full(self) -> None:
        """Nothing is written before the end."""

    def drained(self) -> None:
        """Nothing is written before the end."""


@attrs.define(eq=False)
class Ticking:
    """
    The clock as server-sent events, one a second, until the client leaves.

    Args:
        ticks: end after so many; None for no end.
        now: seconds since the epoch.
    """

    _exchange: Exchange
    _clock: IReactorTime
    _now: Callable[[], float]
    _ticks: int | None = None
    _count: int = 0
    _full: bool = False
    _next: IDelayedCall | None = None

    def begin(self) -> None:
        """Send the head and the first event."""
        fields = [(b"content-type", b"text/event-stream"), NO_STORE, NOSNIFF]
        self._exchange.listen(self)
        self._exchange.respond(Response(200, fields, None))
        if self._exchange.request.method == b"HEAD":
            self._exchange.finish()
        else:
            self._tick()

    def _tick(self) -> None:
        self._next = None
        # A client that does not read misses ticks; they do not pile up for it.
        if not self._full:
            self._count += 1
            when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._now()))
            self._exchange.send(f"id: {self._count}\ndata: {when}\n\n".encode())
            self._exchange.flush()
        if self._ticks is not None and self._count >= self._ticks:
            self._exchange.finish()
        elif not self._exchange.over:
            self._next = self._clock.callLater(TICK, self._tick)

    def data(self, octets: bytes) -> None:
        """A request for the time needs no body; what comes is thrown away."""

    def end(self, trailers: object) -> None:
        """See ``data``."""

    def lost(self, error: PomeriumError) -> None:
        """The client is gone: no more ticks."""
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def flush(self) -> None:
        """Each tick is written when it is due."""

    def full(self) -> None:
        """The client does not read."""
        self._full = True

    def drained(self) -> None:
        """The client reads again."""
        self._full = False
