"""The numbers of all workers, those that run and those that have ended."""

from __future__ import annotations

import os
from collections.abc import Collection

import attrs

from pomeriumd.daemon.cells import Memory, Reading, mapped, shared_memory
from pomeriumd.daemon.merge import Totals
from pomeriumd.daemon.series import NOW


@attrs.define(eq=False)
class Ledger:
    """
    Reads what the workers write down in memory that each shares with us.

    It is read as it is, whatever its writer does: one that is stopped or that was killed is
    read like any other.
    """

    totals: Totals = attrs.field(factory=Totals, init=False)
    _running: dict[int, Reading] = attrs.field(factory=dict, init=False)
    """By the number of the process."""

    def open(self, number: int) -> int:
        """
        Begin a page for a new worker.

        Returns:
            The descriptor of its memory, to hand to it; the caller closes it.

        Raises:
            OSError: there is no descriptor, or no memory, left.
        """
        descriptor = shared_memory()
        try:
            self.open_own(number, mapped(descriptor))
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def open_own(self, number: int, memory: Memory) -> None:
        """Begin a page with memory that somebody writes to already."""
        self._running[number] = Reading(memory)

    def close(self, number: int) -> None:
        """Keep what a worker has counted that has ended."""
        reading = self._running.pop(number, None)
        if reading is not None:
            self.totals.ended(reading)

    @property
    def running(self) -> Collection[Reading]:
        """Return the pages of those that run."""
        return self._running.values()

    def present(self, number: int) -> dict[str, int]:
        """
        Return a worker's present state: each of ``series.NOW``, 0 before it has written it.

        It stands before all that is counted, so that this takes no longer with many routes.
        """
        for (family, _), values in self._running.get(number, ()):
            if family == "now" and len(values) == len(NOW):
                return {name: int(value) for name, value in zip(NOW, values, strict=True)}
        return dict.fromkeys(NOW, 0)
