"""
All workers' numbers as one, also those of workers that are no more: pure sums.

A counter never goes back: what a worker has counted is kept when it ends. What is kept and
shown is bounded as in a worker, with the same way out: series beyond a family's bound are
added up as the others. Which have a series is decided once, so that none changes sides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from operator import add

import attrs

from pomeriumd.daemon.cells import Series
from pomeriumd.daemon.series import FAMILIES, Labels

Numbers = dict[Series, tuple[float, ...]]
"""For each series its numbers, as many as its family has cells."""

STEP = 500
"""Series that are read in one step: five milliseconds when all of them are new."""

Worker = Iterable[tuple[Series, tuple[float, ...]]]
"""What one worker has written down; a ``Reading`` is one."""


@attrs.define(eq=False)
class Totals:
    """What has been counted since the daemon's start."""

    _kept: Numbers = attrs.field(factory=dict, init=False)
    _shown: dict[str, set[Labels]] = attrs.field(
        factory=lambda: {name: set() for name in FAMILIES}, init=False
    )

    def ended(self, worker: Worker) -> None:
        """Keep what a worker counted that runs no more: nobody writes there again."""
        for series, numbers in worker:
            if series[0] in FAMILIES and FAMILIES[series[0]].counts:
                self._add(self._kept, series, numbers)

    def merging(self, workers: Iterable[Worker], sums: Numbers) -> Iterator[None]:
        """
        Add up what was kept, and what the workers that run have, in small steps.

        Args:
            workers: those that run when the first step is made.
            sums: empty; whole after the last step.
        """
        running = tuple(workers)
        sums.update(self._kept)
        for count, (series, numbers) in enumerate(chain.from_iterable(running), 1):
            if series[0] in FAMILIES:
                self._add(sums, series, numbers)
            if not count % STEP:
                yield

    def merged(self, workers: Iterable[Worker]) -> Numbers:
        """Return the sums at once."""
        sums: Numbers = {}
        for _ in self.merging(workers, sums):
            pass
        return sums

    def _add(self, sums: Numbers, series: Series, numbers: tuple[float, ...]) -> None:
        name, labels = series
        family = FAMILIES[name]
        if len(numbers) != family.size or len(labels) != len(family.labels):
            return  # of a worker that went wrong
        shown = self._shown[name]
        if labels not in shown and labels != family.others:
            if len(shown) < family.most:
                shown.add(labels)
            else:
                series = name, family.others
        before = sums.get(series)
        sums[series] = numbers if before is None else tuple(map(add, before, numbers))
