"""
Who gets which connection to one upstream: a pure state, no sockets and no clock.

Every connection is in exactly one place: *idle* (alive and free), *busy* (one exchange has
it), or it is being *opened*. Whoever cannot be served at once waits in line. The calls
below are the only transitions; none does any I/O, each says what has to be done next.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import Generic, TypeVar

import attrs

C = TypeVar("C")
W = TypeVar("W")


class Next(enum.Enum):
    """What who asked for a connection has to do, when there was no idle one."""

    OPEN = "open"
    """Open one; it is counted already. Then say ``opened`` or ``not_opened``."""
    WAIT = "wait"
    """Stand in line; a connection that comes free is handed over."""
    REFUSE = "refuse"
    """The line is full."""


@attrs.define(eq=False)
class Pool(Generic[C, W]):
    """
    The connections of one upstream.

    Args:
        most: connections at the most, whatever they do.
        line: how many may wait at the most.
        spare: idle connections kept at the most.
    """

    most: int
    line: int
    spare: int
    idle: list[C] = attrs.Factory(list)
    busy: set[C] = attrs.Factory(set)
    opening: int = 0
    waiting: deque[W] = attrs.Factory(deque)

    @property
    def size(self) -> int:
        """How many connections there are, those being opened with them."""
        return len(self.idle) + len(self.busy) + self.opening

    def take(self) -> C | Next:
        """Lease the idle connection that was used last: the others may go stale and close."""
        if self.idle:
            connection = self.idle.pop()
            self.busy.add(connection)
            return connection
        return self.take_new()

    def take_new(self) -> Next:
        """Ask for a connection that nobody has used before."""
        if self.size < self.most:
            self.opening += 1
            return Next.OPEN
        return Next.WAIT if len(self.waiting) < self.line else Next.REFUSE

    def wait(self, who: W) -> None:
        """Stand in line."""
        self.waiting.append(who)

    def leave(self, who: W) -> None:
        """Leave the line; harmless for one who is not in it."""
        if who in self.waiting:
            self.waiting.remove(who)

    def opened(self, connection: C) -> None:
        """One that was being opened is there, and leased to who opened it."""
        self.opening -= 1
        self.busy.add(connection)

    def not_opened(self) -> W | None:
        """
        Opening failed.

        Returns:
            The one in line who may try to open in its place: counted as opening.
        """
        self.opening -= 1
        return self.next_opener()

    def give_back(self, connection: C) -> W | None:
        """
        Take back a connection that can carry another exchange.

        Returns:
            The one in line to hand it to, in which case it stays leased. The caller closes
            it when it is neither leased nor in ``idle`` afterwards: enough lie idle.
        """
        if connection not in self.busy:
            return None
        if self.size > self.most:  # fewer are allowed than before
            self.busy.discard(connection)
            return None
        if self.waiting:
            return self.waiting.popleft()
        self.busy.discard(connection)
        if len(self.idle) < self.spare:
            self.idle.append(connection)
        return None

    def gone(self, connection: C) -> W | None:
        """
        Forget a connection that has closed.

        Returns:
            The one in line who may open another in its place: counted as opening.
        """
        if connection in self.busy:
            self.busy.discard(connection)
        elif connection in self.idle:
            self.idle.remove(connection)
        else:
            return None
        return self.next_opener()

    def next_opener(self) -> W | None:
        """Return the one in line who may open another, where there is room: counted as opening."""
        if self.waiting and self.size < self.most:
            self.opening += 1
            return self.waiting.popleft()
        return None
