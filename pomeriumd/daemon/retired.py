"""
Generations that are out of force: what they were made of is given up in pieces.

The last exchange under a generation would free all of it at once, and 10,000 routes take
40 ms. So somebody holds the parts for longer than the whole.
"""

from __future__ import annotations

from weakref import ReferenceType, ref

import attrs

from pomeriumd.pieces import Pieces
from pomeriumd.proxy.generation import Generation

FEW = 64
"""Parts freed in one piece of the work, which takes a third of a millisecond."""


@attrs.define(eq=False)
class Retired:
    """The parts of one generation."""

    _generation: ReferenceType[Generation]
    _parts: list[object]

    @classmethod
    def of(cls, generation: Generation) -> Retired:
        """Take hold of the parts; the generation itself is not held."""
        ways = generation.ways
        parts = [*ways, *ways.values(), *generation.routes.parts()]
        return cls(ref(generation), parts)

    @property
    def over(self) -> bool:
        """Nobody is served under it any more."""
        return self._generation() is None

    def freeing(self) -> Pieces[None]:
        """Free the parts that nothing else holds."""
        while self._parts:
            del self._parts[-FEW:]
            yield
