"""Work in pieces between other people's requests, on the loop that serves them."""

from __future__ import annotations

from typing import TypeVar

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from pomeriumd.pieces import Pieces

T = TypeVar("T")

PIECE_SECONDS = 0.004
"""Of each turn of the loop. A turn full of requests takes about as long, so they go on at half
the speed for a while, and none of them waits longer than for other requests."""


async def in_pieces(work: Pieces[T], clock: IReactorTime) -> T:
    """
    Do all of it, a little in each turn, and return its result.

    Args:
        work: see ``Pieces``.
        clock: tells when this turn's part is over, and gives the next turn.

    Raises:
        Exception: whatever the work raises.
    """
    while True:
        over = clock.seconds() + PIECE_SECONDS
        try:
            next(work)
            while clock.seconds() < over:
                next(work)
        except StopIteration as end:
            result: T = end.value
            return result
        await deferLater(clock, 0)
