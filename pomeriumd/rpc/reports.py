"""Lines for the log: written from any thread, and about the same thing once a minute."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Protocol

import attrs

AGAIN = 60.0
"""Seconds between two lines about the same."""

SUBJECTS = 256
"""That are remembered, and so the most lines in ``AGAIN``."""


class Report(Protocol):
    """
    Writes one line of the log, as ``Logger.emit`` does.

    It is called on the server's thread; whoever gives it sees to it that the line reaches
    the log's.
    """

    def __call__(self, level: Any, format: str, **fields: object) -> None:  # noqa: A002
        """Write it."""


@attrs.define(eq=False)
class Seldom:
    """Remembers what was said, within its bound."""

    _said: OrderedDict[str, float] = attrs.field(factory=OrderedDict, init=False)
    """When, by what it was about; the oldest first."""

    def due(self, subject: str, now: float) -> bool:
        """
        Say whether to say it now; then it counts as said.

        Args:
            subject: what it is about.
            now: seconds of a clock.

        When more subjects come in a minute than are remembered, the others go unsaid:
        somebody who comes from many places fills no log.
        """
        while self._said:
            oldest, when = next(iter(self._said.items()))
            if 0 <= now - when < AGAIN:
                break
            del self._said[oldest]
        if subject in self._said or len(self._said) >= SUBJECTS:
            return False
        self._said[subject] = now
        return True
