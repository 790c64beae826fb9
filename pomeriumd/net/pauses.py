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

    reasons: set[str] = attrs.Factory(set)
    """Those that hold now; asked on the way of every request, so without a call."""

    def add(self, why: str) -> bool:
        """Add a reason; say whether reading has to stop now, because it is the first."""
        first = not self.reasons
        self.reasons.add(why)
        return first

    def drop(self, why: str) -> bool:
        """Drop a reason; say whether reading goes on now, because it was the last."""
        if why not in self.reasons:
            return False
        self.reasons.discard(why)
        return not self.reasons
