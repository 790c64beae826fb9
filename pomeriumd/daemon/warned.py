"""
What of settings was not taken as it stands, or is dangerous, in the log of whoever takes them.

The supervisor alone takes them, once a generation, however many workers it has.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs
from twisted.logger import Logger

from pomeriumd.settings.model import Settings

_log = Logger()


def warn_of(settings: Settings) -> None:
    """Log one line for each warning: its place, what was done, and what to write instead."""
    for warning in settings.warnings:
        _log.warn("{warning}", warning=str(warning))


@attrs.define(eq=False)
class LeftOut:
    """
    Certificates that cannot be used, and that no setting names by itself.

    Their files come and go without any setting that changes: so it is said when one of them
    becomes such, and not at each generation.
    """

    present: frozenset[str] = attrs.field(default=frozenset(), init=False)
    """Texts, one for each."""
    failures: int = attrs.field(default=0, init=False)
    """How many there have been since the start."""

    def take(self, texts: Iterable[str]) -> None:
        """Log those that were not there before."""
        found = tuple(dict.fromkeys(texts))
        for text in found:
            if text not in self.present:
                self.failures += 1
                _log.error("a certificate cannot be used: {problem}", problem=text)
        for text in self.present.difference(found):
            _log.info("over is: {problem}", problem=text)
        self.present = frozenset(found)
