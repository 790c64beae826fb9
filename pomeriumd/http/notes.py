"""What was worked out of one block of fields, kept for the next request that brings it."""

from __future__ import annotations

from typing import Any, TypeVar

V = TypeVar("V")

MOST = 4
"""Notes of one block: of its session, and of the routes of its host that it is used for. A
host may have hundreds of routes, and each note is about as large as the block."""


class Notes(dict[object, Any]):
    """
    Values that follow from a head's host, port and fields and from nothing else.

    Each is under the key of whoever worked it out: an object that knows itself only, and
    nothing of its owner. A connection that rests keeps the notes of its last request, and
    must not keep the generation that served it.
    """

    def keep(self, key: object, value: V) -> V:
        """Keep a value and return it; the others go if there are too many."""
        if len(self) >= MOST:
            self.clear()
        self[key] = value
        return value

    def __repr__(self) -> str:
        """Say how many there are: there are credentials in them."""
        return f"Notes({len(self)})"
