"""
Two clocks: one that timers count by, and one that tells the time of day.

The second can be set at any moment, by NTP or by hand, and an hour is common: a wrong time
zone in the BIOS, a virtual machine that was frozen. Timers must not notice; what carries a
date (sessions, links, tokens) does, and whoever runs the host is told what follows.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

LOOK_SECONDS = 10.0
"""Between two looks: soon enough for the log to explain what users report."""

STEP_SECONDS = 30.0
"""What counts as set: half of what clocks may differ (``session.standing.LEEWAY``). NTP slews
by 5 ms in LOOK_SECONDS at most."""


def steady(reactor: Any, seconds: Callable[[], float] = time.monotonic) -> None:
    """
    Let a reactor's timers count seconds that nobody can set.

    Twisted counts by the time of day. Set an hour forward, every deadline would have passed
    and every connection be cut; set back, nothing would time out for an hour, and no line
    of the log be written.

    Args:
        reactor: before anything is scheduled: a call that waits has its end in the old
            count.
        seconds: since any moment.

    Raises:
        RuntimeError: something is scheduled already: a mistake of the caller.
    """
    if reactor.getDelayedCalls():
        raise RuntimeError("a reactor's clock cannot be changed under calls that wait")
    # Twisted 26.10 takes the time of every timer from this attribute.
    reactor.seconds = seconds


@attrs.define(eq=False)
class ClockWatch(Service):
    """
    Notices that the time of day was set, and tells what follows.

    Args:
        now: seconds since the epoch.
        clock: steady.
    """

    _now: Callable[[], float]
    _clock: IReactorTime
    _ahead: float = attrs.field(default=0.0, init=False)
    _next: IDelayedCall | None = attrs.field(default=None, init=False)
    _log = Logger()

    def startService(self) -> None:
        """Compare from now on."""
        super().startService()
        self._ahead = self._difference()
        self._next = self._clock.callLater(LOOK_SECONDS, self._look)

    def stopService(self) -> None:
        """Look no more."""
        super().stopService()
        if self._next is not None and self._next.active():
            self._next.cancel()

    def _difference(self) -> float:
        return self._now() - self._clock.seconds()

    def _look(self) -> None:
        self._next = self._clock.callLater(LOOK_SECONDS, self._look)
        before, self._ahead = self._ahead, self._difference()
        step = self._ahead - before
        if step >= STEP_SECONDS:
            self._log.warn(
                "the clock was set forward by {seconds:.0f} s, or this machine slept: sessions are"
                " older by as much, and some people have to sign in again. If the time is wrong"
                " now, set it right (timedatectl, chronyc tracking): sign-ins fail with the"
                " check clock until then",
                seconds=step,
            )
        elif step <= -STEP_SECONDS:
            self._log.warn(
                "the clock was set back by {seconds:.0f} s: sessions from the time between count"
                " as from the future, and those people have to sign in again. If the time is"
                " wrong now, set it right (timedatectl, chronyc tracking): nobody's session holds"
                " and sign-ins fail with the check clock until then",
                seconds=-step,
            )
