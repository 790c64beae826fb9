"""
When certificates expire: for the metrics, and a line in the log when the day comes near.

Whoever keeps the settings in force says it, once for all workers. It knows the certificates that
expire first by name, and of the others only when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.task import LoopingCall
from twisted.logger import Logger, LogLevel

from pomeriumd.settings.chain import examined
from pomeriumd.settings.values import CertificatePair, Facts

MOST_NAMED = 100
"""Certificates that are told of by name: a series of the metrics for each."""

DAY = 86_400.0
"""Seconds."""

DAYS = (30, 14, 7, 1, 0)
"""Days left at which it is said; with 0 it has expired."""

GRAVE = 7
"""Days from which on it is an error: whoever renews has failed for weeks."""

LOOK_SECONDS = 900.0
"""Between two looks at the clock."""


@attrs.frozen
class Expiring:
    """A certificate of the settings in force."""

    place: str
    """Where it stands."""
    title: str
    """What an operator knows it by."""
    expires: float
    """Seconds since the epoch."""


@attrs.frozen
class Expiries:
    """When the certificates of the settings in force expire."""

    named: tuple[Expiring, ...] = ()
    """The first ones, in this order; at most MOST_NAMED."""
    others: tuple[float, ...] = attrs.field(default=(), repr=False)
    """The others, likewise: seconds since the epoch."""

    @property
    def count(self) -> int:
        """Return how many certificates there are."""
        return len(self.named) + len(self.others)


def expiries_of(pairs: Sequence[CertificatePair]) -> Expiries:
    """Return when these certificates expire; of one that cannot be read nothing is said."""
    found = sorted(
        (facts.expires, pair.place, facts.title) for pair in pairs for facts in _facts(pair)
    )
    return Expiries(
        tuple(Expiring(place, title, expires) for expires, place, title in found[:MOST_NAMED]),
        tuple(expires for expires, _, _ in found[MOST_NAMED:]),
    )


def _facts(pair: CertificatePair) -> Iterator[Facts]:
    if pair.facts is not None:
        yield pair.facts
        return
    try:
        yield examined(pair.chain, pair.key.reveal())[1]
    except ValueError:
        return


class ExpiryLog(Service):
    """
    Says of each certificate once that 30, 14, 7 and 1 days are left, and that it has expired.

    Args:
        clock: for waiting.
        now: seconds since the epoch.
    """

    _log = Logger()

    def __init__(self, clock: Any, now: Callable[[], float]) -> None:
        self._now = now
        self.expiries = Expiries()
        """In force."""
        self._said: dict[Expiring, int] = {}
        """By certificate: the fewest days left that were told."""
        self._others_said: int | None = None
        self._looks = LoopingCall(self._look)
        self._looks.clock = clock

    def take(self, expiries: Expiries) -> None:
        """Watch these from now on."""
        self.expiries = expiries
        self._said = {one: days for one, days in self._said.items() if one in expiries.named}
        self._others_said = None if not expiries.others else self._others_said
        self._look()

    def startService(self) -> None:
        """Begin to look."""
        super().startService()
        self._looks.start(LOOK_SECONDS, now=False)

    def stopService(self) -> None:
        """Look no more."""
        super().stopService()
        if self._looks.running:
            self._looks.stop()

    def _look(self) -> None:
        now = self._now()
        for one in self.expiries.named:
            left = _step(one.expires, now)
            if left is None:
                break
            if left < self._said.get(one, DAYS[0] + 1):
                self._said[one] = left
                self._say(one, left)
        self._look_at_others(now)

    def _say(self, one: Expiring, left: int) -> None:
        end = f"{datetime.fromtimestamp(one.expires, UTC):%Y-%m-%d %H:%M} UTC"
        level = LogLevel.error if left <= GRAVE else LogLevel.warn
        when = f"expires on {end}, in less than {left} day{'' if left == 1 else 's'}"
        self._log.emit(
            level,
            "the certificate of {title} {when}; renew it ({place})",
            title=one.title,
            place=one.place,
            when=when if left else f"expired on {end}",
        )

    def _look_at_others(self, now: float) -> None:
        others = self.expiries.others
        left = _step(others[0], now) if others else None
        if left is None or left >= (
            DAYS[0] + 1 if self._others_said is None else self._others_said
        ):
            return
        self._others_said = left
        count = sum(1 for expires in others if _step(expires, now) == left)
        self._log.emit(
            LogLevel.error if left <= GRAVE else LogLevel.warn,
            "{count} more certificates {when}",
            count=count,
            when=f"expire in less than {left} days" if left else "have expired",
        )


def _step(expires: float, now: float) -> int | None:
    """Return the fewest of DAYS that are left; None for more than all of them."""
    left = (expires - now) / DAY
    return min((days for days in DAYS if left < days), default=None)
