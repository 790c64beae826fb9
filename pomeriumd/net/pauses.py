"""Why a connection is not read for now: a boolean could not hold two reasons."""

from __future__ import annotations

import attrs

PIPELINED = "pipelined"
"""Enough of the client's next requests wait."""
UNHEARD = "unheard"
"""Nobody listens to the request's body yet."""
UPSTREAM = "upstream"
"""The upstream takes no more of the request's body."""
CLIENT = "client"
"""The client takes no more of the answer."""


@attrs.define(eq=False)
class Pauses:
    """The reasons of one connection."""

    _reasons: set[str] = attrs.Factory(set)

    def add(self, why: str) -> bool:
        """Add a reason; say whether reading has to stop now, because it is the first."""
        first = not self._reasons
        self._reasons.add(why)
        return first

    def drop(self, why: str) -> bool:
        """Drop a reason; say whether reading goes on now, because it was the last."""
        if why not in self._reasons:
            return False
        self._reasons.discard(why)
        return not self._reasons

    def __bool__(self) -> bool:
        """Return whether there is any."""
        return bool(self._reasons)
