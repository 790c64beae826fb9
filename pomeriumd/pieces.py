"""
Work in pieces: a generator that yields wherever others may have their turn.

Between two yields it does a bounded amount, so that whoever drives it decides how long
everybody else waits: ``finish`` drives it to its end at once.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")

Pieces = Generator[None, None, T]
"""Work that returns its result at the end; what it yields means nothing."""


def finish(work: Pieces[T]) -> T:
    """Do all of it now, and return its result; raise what it raises."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result
