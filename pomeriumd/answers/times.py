"""Moments and spans of time, in words for a page. Knows no clock: ``now`` is given."""

from __future__ import annotations

from datetime import UTC, datetime

import attrs

MINUTE = 60
"""Seconds."""
HOUR = 60 * MINUTE
"""Seconds."""
DAY = 24 * HOUR
"""Seconds."""

LATEST = 253_402_300_799
"""The last second of the year 9999: what a date can say."""


@attrs.frozen
class Moment:
    """A point in time, three ways."""

    iso: str
    """For machines, e.g. ``2026-11-23T04:10:00Z``."""
    text: str
    """For people, e.g. ``23 Nov 2026, 04:10 UTC``."""
    relative: str
    """From now, e.g. ``12 minutes ago`` or ``in 3 hours``."""


def span(seconds: float) -> str:
    """
    Return a length of time in words, e.g. ``13 hours 20 minutes``.

    Rounded down to whole minutes under a day and to whole hours above: what a page
    promises lasts at least that long. Under a minute it is ``less than a minute``.
    """
    whole = int(min(max(seconds, 0), LATEST))
    if whole < MINUTE:
        return "less than a minute"
    if whole < HOUR:
        return _count(whole // MINUTE, "minute")
    if whole < DAY:
        return _two(whole // HOUR, "hour", whole % HOUR // MINUTE, "minute")
    return _two(whole // DAY, "day", whole % DAY // HOUR, "hour")


def moment(when: int, now: float) -> Moment:
    """
    Return a point in time as a page shows it.

    Args:
        when: seconds since the epoch; what lies outside the years 1970 to 9999 is shown
            as the nearer end of them.
        now: seconds since the epoch.
    """
    inside = min(max(when, 0), LATEST)
    date = datetime.fromtimestamp(inside, UTC)
    away = inside - now
    return Moment(
        iso=f"{date:%Y-%m-%dT%H:%M:%SZ}",
        text=f"{date.day} {date:%b %Y, %H:%M} UTC",
        relative=f"in {span(away)}" if away > 0 else f"{span(-away)} ago",
    )


def _count(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    head = _count(large, large_unit)
    return f"{head} {_count(small, small_unit)}" if small else head
