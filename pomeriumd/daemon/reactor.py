"""
The epoll reactor, with an end to each turn, and without a log context for each event.

Transports that ask for it (``net.turn_end``) write when the turn's events are handled.

Twisted calls every ``doRead`` and ``doWrite`` inside a context that old-style log
observers ask for its ``system``. Nothing of ours asks, and making it takes as long as
reading the socket.
"""

from __future__ import annotations

import errno
import sys

from twisted.internet import epollreactor
from twisted.internet.main import installReactor

from pomeriumd.net.turn_end import TurnEnd

EVENTS = 64
"""Events of one turn: what the first of them led to is written when the last is handled, and
the costliest, a TLS handshake, takes half a millisecond. The kernel gives the rest next."""


class Reactor(epollreactor.EPollReactor):
    """Twisted's own in everything but the way to ``doRead`` and ``doWrite``."""

    def __init__(self) -> None:
        self.turn_end = TurnEnd()
        super().__init__()

    def doPoll(self, timeout: float | None) -> None:
        """Wait for events, no longer than so many seconds, and act on them."""
        turn_end, selectables = self.turn_end, self._selectables
        # What timed calls have written.
        if turn_end.waiting:
            turn_end.come()
        try:
            events = self._poller.poll(-1 if timeout is None else timeout, EVENTS)
        except OSError as error:
            if error.errno == errno.EINTR:
                return
            raise
        for descriptor, event in events:
            # One that was closed by the event before it is not there any more.
            selectable = selectables.get(descriptor)
            if selectable is not None:
                self._doReadOrWrite(selectable, descriptor, event)
        if turn_end.waiting:
            turn_end.come()

    doIteration = doPoll


def install() -> None:
    """Make it the reactor of this process, unless twistd was told which one to take."""
    if "twisted.internet.reactor" not in sys.modules:
        installReactor(Reactor())
