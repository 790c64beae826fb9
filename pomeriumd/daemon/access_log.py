"""
One line for each request, encoded once and written in batches.

This is on the way of every request: a record is a dict literal, one call of orjson and
a list append. No query, no header and no body ever comes here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import attrs
import orjson
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from pomeriumd.daemon.lines import Lines

EVERY = 0.2
"""Seconds that a line waits at most, while the sink takes lines."""

AGAIN = 0.01
"""Seconds after which a sink that was full is tried again. A pipe holds 64 KB, which one process
writes in as much time; what does not go out in time is dropped in the end."""

BATCH = 65_536
"""Bytes that are written at once without waiting for the time to be over."""


_MILLISECONDS = tuple(f".{count:03d}Z" for count in range(1000))
"""The end of a time, ready made."""


class AccessEntry(NamedTuple):
    """What the log tells of one request; times in milliseconds, sizes in bytes."""

    time: float
    """When the request's head was there: seconds since the epoch."""
    request_id: str
    route: str
    """The route's id; "" where none matched."""
    host: bytes
    method: bytes
    path: bytes
    """Canonical, as route and upstream saw it, without the query."""
    status: int
    """As the client saw it; 499 for a client that left before there was one."""
    sent: int
    """Bytes of the body towards the client."""
    received: int
    """Bytes of the body from the client."""
    duration_ms: float
    decision_ms: float
    upstream_ms: float
    """From the first byte to the upstream to its head; 0 where there was none."""
    user: str
    """What the identity is called, see ``Identity.shown``; "" for nobody."""
    decision: str
    """"allow", "deny", "sign-in", "public", "own", "recheck", "redirect", or "" where it did not
    come to one."""
    reasons: tuple[str, ...]
    client: str
    """The client's address."""
    error: str
    """Class name of our error; "" for none."""


class Clock:
    """Seconds since the epoch into RFC 3339 in UTC; the whole seconds are kept."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def text(self, seconds: float) -> str:
        """Return the time with milliseconds, as ``2026-11-23T03:54:44.120Z``."""
        second = int(seconds)
        if second != self._second:
            self._second = second
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return self._text + _MILLISECONDS[int((seconds - second) * 1000)]


def json_line(entry: AccessEntry, when: str) -> bytes:
    """Return the entry as one line of JSON, with its line feed."""
    # Unpacked at once: seventeen look-ups by name would cost half a microsecond.
    (
        _,
        request_id,
        route,
        host,
        method,
        path,
        status,
        sent,
        received,
        duration,
        decision_took,
        upstream_took,
        user,
        decision,
        reasons,
        client,
        error,
    ) = entry
    return orjson.dumps(
        {
            "level": "info",
            "time": when,
            "message": "http-request",
            "request_id": request_id,
            "route": route,
            "host": host.decode("latin-1"),
            "method": method.decode("latin-1"),
            "path": path.decode("latin-1"),
            "status": status,
            "sent": sent,
            "received": received,
            # Whole microseconds, in a third of the time that round() takes.
            "duration_ms": int(duration * 1000) / 1000,
            "decision_ms": int(decision_took * 1000) / 1000,
            "upstream_ms": int(upstream_took * 1000) / 1000,
            "user": user,
            "decision": decision,
            "reasons": reasons,
            "client": client,
            "error": error,
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )


@attrs.define
class AccessLog:
    """
    Takes one entry for each request and sees to it that its line is written soon.

    In a supervisor it takes the lines that workers have made of theirs.

    Args:
        lines: where lines wait; shared with the other events, so that the order holds.
        clock: for the time of the next batch.
        encode: makes a line of an entry and its time; None for a level that wants no
            access lines at all. It may be replaced at any time.
    """

    _lines: Lines
    _clock: IReactorTime
    encode: Callable[[AccessEntry, str], bytes] | None
    _when: Clock = attrs.Factory(Clock)
    _next: IDelayedCall | None = None

    def record(self, entry: AccessEntry) -> None:
        """Log one request. Never raises: what cannot be encoded is left out, and said."""
        encode = self.encode
        if encode is None:
            return
        try:
            line = encode(entry, self._when.text(entry.time))
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            line = orjson.dumps(
                {
                    "level": "error",
                    "message": "an access line could not be encoded",
                    "request_id": ascii(entry.request_id)[:64],
                    "error": type(error).__name__,
                },
                option=orjson.OPT_APPEND_NEWLINE,
            )
        lines = self._lines
        if lines.add(line) >= BATCH and not lines.blocked:
            self._write()
        elif self._next is None:
            self._next = self._clock.callLater(EVERY, self._write)

    def relay(self, lines: bytes) -> None:
        """Write whole lines that another process of ours has made."""
        self._lines.add(lines)
        if not self._lines.blocked:
            self._write()

    def _write(self) -> None:
        if self._next is not None and self._next.active():
            self._next.cancel()
        written = self._lines.flush()
        self._next = None if written else self._clock.callLater(AGAIN, self._write)

    def flush(self) -> None:
        """Write what waits, if need be in a bounded time; for the shutdown."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        self._lines.drain()
