"""
What each worker notices by itself and all of them notice: said once for the whole daemon.

Every worker asks the same replicas of authorize, so each of them sees a replica go and come
back; each connects to the same applications, and builds the same generations. It tells the
supervisor, which has the one log.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable

import attrs
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, formatEvent
from zope.interface import implementer

SHARED = ("pomeriumd.rpc.", "pomeriumd.net.upstreams", "pomeriumd.daemon.build_headers")
"""How the namespaces begin of what all workers notice, or find when they build a generation."""

TEXT_SIZE = 4_096
"""Characters of one line: a value of AMP ends at 65,535 bytes."""

REMEMBERED = 256
"""Lines that are remembered; the one longest unheard goes first."""

_SECONDS = re.compile(r"\d+ s\b")
"""What was measured: two workers never find quite the same."""

Tell = Callable[[str, str, Callable[[], None]], None]
"""Tells the supervisor: level, text, and what to do if it cannot be told."""


@implementer(ILogObserver)
@attrs.define(eq=False)
class Sharing:
    """
    A worker's log: what all workers notice goes to the supervisor, the rest on.

    Args:
        log: takes the rest.
        tell: see there.
    """

    _log: Callable[[LogEvent], None]
    _tell: Tell

    def __call__(self, event: LogEvent) -> None:
        """Write the event, or tell of it."""
        level = event.get("log_level", LogLevel.info)
        shared = str(event.get("log_namespace", "")).startswith(SHARED)
        if not shared or level is LogLevel.debug or "log_failure" in event:
            self._log(event)
            return
        self._tell(level.name, formatEvent(event)[:TEXT_SIZE], lambda: self._log(event))


@attrs.define(eq=False)
class Noticed:
    """
    Says what workers tell, once.

    A line that a worker has not said yet, and another one has, is the same news. One that the
    same worker says again is new: it happened again.
    """

    _said: OrderedDict[str, set[int]] = attrs.field(factory=OrderedDict, init=False)
    """By line: the processes that have told of it since it was logged."""
    _log = Logger()

    def hear(self, process: int, level: str, text: str) -> None:
        """
        Learn what a worker noticed.

        Args:
            process: its pid: a number that no other has had of late.
            level: of the line, as ``LogLevel`` names it.
            text: of the line.
        """
        subject = _SECONDS.sub("", text)
        heard = self._said.setdefault(subject, set())
        self._said.move_to_end(subject)
        new = not heard or process in heard
        if new:
            heard.clear()
        heard.add(process)
        if len(self._said) > REMEMBERED:
            self._said.popitem(last=False)
        if new:
            self._log.emit(LogLevel.levelWithName(level), "{text}", text=text)
