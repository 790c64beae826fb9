"""What of settings was not taken as it stands, in the log of whoever takes them."""

from __future__ import annotations

from twisted.logger import Logger

from pomeriumd.settings.model import Settings

_log = Logger()


def warn_of(settings: Settings) -> None:
    """Log one line for each warning: its place, what was done, and what to write instead."""
    for warning in settings.warnings:
        _log.warn("{warning}", warning=str(warning))
