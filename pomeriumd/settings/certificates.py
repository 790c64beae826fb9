"""
Which of the certificates that were found serve.

Each is checked; one that cannot serve is a problem, or is left out, or the one before it serves
on. A certificate that a setting names has to be good. In a directory, which other programs fill,
one bad file must not keep the rest from serving: it is left out and said. Whether a host then has
none is ``coverage``'s business. One that served until now serves on in both cases.

Pure: what time it is, and what served until now, is told.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from pomeriumd.errors import Problem
from pomeriumd.settings.chain import examined, untimely
from pomeriumd.settings.node import Unreadable
from pomeriumd.settings.reads import Unfit
from pomeriumd.settings.values import CertificatePair, Secret

MOST_PAIRS = 10_000
"""Certificates of one set of settings."""

MOST_TOLD = 100
"""Texts of what was left out, and of what is odd: whoever has more mends these first."""


@attrs.frozen
class Entry:
    """A pair that no setting names by itself, as it was found."""

    place: str
    """Where, for whoever has to mend it."""
    chain: bytes | Unreadable = attrs.field(repr=False)
    key: bytes | Unreadable = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class Beside:
    """What is known of certificates beside the tree of settings."""

    now: float | None
    """Seconds since the epoch; None where it is not asked which can serve today, and whom."""
    present: Sequence[CertificatePair] | None = attrs.field(default=None, repr=False)
    """Those in force; None at a start."""
    entries: Sequence[Entry] = attrs.field(default=(), repr=False)
    kept: Sequence[CertificatePair] = attrs.field(default=(), repr=False)
    """Of a snapshot that was taken at the start."""


@attrs.define
class Found:
    """The pairs that serve, in their order, and what is to be said of them."""

    pairs: list[CertificatePair] = attrs.Factory(list)
    left_out: list[Problem] = attrs.Factory(list)
    """Entries that cannot be used, and what is done instead."""
    warnings: list[Problem] = attrs.Factory(list)


class Examiner:
    """
    Examines pairs; one that served until now was examined then.

    Args:
        beside: None where it is not asked whether they can serve today.
    """

    def __init__(self, beside: Beside | None) -> None:
        self._now = None if beside is None else beside.now
        present = () if beside is None else beside.present or ()
        self._by_place = {pair.place: pair for pair in present}
        self._served = {(pair.chain, pair.key.reveal()): pair for pair in present}
        self.found = Found()

    def named(self, pair: CertificatePair) -> None:
        """
        Take a pair that a setting names.

        Raises:
            Unfit: it cannot serve.
        """
        good, why = self._examined(pair.place, pair.chain, pair.key)
        if why:
            # To refuse what serves already would refuse all else that has changed.
            self.found.warnings.append(Problem(good.place, why))
        self._take(good)

    def entry(self, entry: Entry) -> None:
        """Take a pair of a directory, or the one that was there before."""
        try:
            for half in (entry.chain, entry.key):
                if isinstance(half, Unreadable):
                    raise Unfit(half.text)  # noqa: TRY301  # one way out for all faults
            chain, key = entry.chain, entry.key
            assert isinstance(chain, bytes)  # noqa: S101  # seen above, which mypy does not
            assert isinstance(key, bytes)  # noqa: S101  # as above
            good, why = self._examined(entry.place, chain, Secret(key))
        except Unfit as error:
            before = self._by_place.get(entry.place)
            done = "it is left out" if before is None else "the one before it serves on"
            self.found.left_out.append(Problem(entry.place, f"{error}; {done}"))
            if before is not None:
                self.found.pairs.append(before)
            return
        if why:
            self.found.left_out.append(Problem(entry.place, f"{why}; it serves on"))
        self._take(good)

    def _take(self, pair: CertificatePair) -> None:
        self.found.pairs.append(pair)
        if pair.facts is not None:
            self.found.warnings += (Problem(pair.place, note) for note in pair.facts.notes)

    def _examined(self, place: str, chain: bytes, key: Secret) -> tuple[CertificatePair, str]:
        """Return a pair, and why one that serves already could not begin to."""
        known = self._served.get((chain, key.reveal()))
        if known is not None and known.facts is not None:
            why = "" if self._now is None else untimely(known.facts, self._now)
            return attrs.evolve(known, place=place), why
        try:
            ordered, facts = examined(chain, key.reveal())
        except ValueError as error:
            raise Unfit(str(error)) from None
        pair = CertificatePair(chain=ordered, key=key, place=place, facts=facts)
        why = "" if self._now is None else untimely(facts, self._now)
        if why and (ordered, key.reveal()) not in self._served:
            raise Unfit(why)
        return pair, why


def told(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Return these, and not too many of them."""
    if len(problems) <= MOST_TOLD:
        return tuple(problems)
    left = len(problems) - MOST_TOLD + 1
    return (*problems[: MOST_TOLD - 1], Problem("certificates", f"and {left} more like this"))


def of_entries(examiner: Examiner, beside: Beside | None) -> None:
    """Take what no setting names: the directory's in its order, then the snapshot's."""
    if beside is None:
        return
    for entry in beside.entries:
        examiner.entry(entry)
    examiner.found.pairs.extend(beside.kept)
