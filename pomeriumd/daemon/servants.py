"""Those who serve, as all else in the daemon knows them: this very process, or its workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import attrs
from twisted.internet.defer import Deferred

from pomeriumd.daemon.listeners import Listener

STARTING, SERVING, STOPPING, RESTING = "starting", "serving", "stopping", "resting"
"""States of a place; one rests where a process has died and the next is not started yet."""

RESERVE = "reserve"
"""State of the place for one that could serve at once, where it is taken."""

DRAIN_SECONDS = 30.0
"""How long answers under way may take to end when a process stops."""


@attrs.frozen(kw_only=True)
class Seat:
    """A place for a process that serves, or is in reserve, and the one that has it now."""

    number: int
    process: int
    """Number of the process, under which its ledger page is; -1 while there is none."""
    pid: int
    """0 while there is none."""
    state: str
    since: float
    """When it came to this state: seconds since the epoch."""
    restarts: int
    generation: int
    """Number of the one that it serves under; 0 for none."""


class Servants(Protocol):
    """What can be asked of them; a generation is prepared by all before any serves under it."""

    def begin(self, number: int, content: int, listeners: Mapping[str, Listener]) -> Deferred[None]:
        """
        Serve under the first generation.

        Args:
            number: of the generation.
            content: descriptor of its settings (see ``frames``), which the caller keeps open
                for as long as it is in force.
            listeners: where to accept, by name.

        Returns:
            A Deferred that fires when all of them do.
        """

    async def prepare(self, number: int, content: int) -> None:
        """
        Build a generation beside the one that serves.

        Args:
            number: one that was never used before.
            content: as for ``begin``.

        Raises:
            CannotServe: it cannot be built.
        """

    async def serve(self, number: int, content: int) -> None:
        """Take it into force."""

    async def discard(self, number: int) -> None:
        """Forget it, whether it was built or not."""

    async def listen(self, listener: Listener) -> None:
        """Accept from a socket, in place of the one of the same name."""

    def unlisten(self, name: str) -> None:
        """Let nobody begin with the socket of this name: the settings in force have none."""

    @property
    def seats(self) -> Sequence[Seat]:
        """Return the places of all that serve."""

    @property
    def reserve(self) -> Seat | None:
        """Return the place of one that takes the seat of another that dies; None if none does."""

    @property
    def restarts(self) -> Mapping[str, int]:
        """Return how many were replaced, by the reason."""
