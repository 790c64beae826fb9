"""
How many connections each worker has, on a board that all of them can read.

All wait at one listening socket, and the kernel lets the same one have a new connection again
and again as long as it is idle. Connections that come while nothing happens would all end up
with one worker, and the other cores stay idle when they become busy. So whoever has more than
another leaves new ones to that one, for a moment (see ``net.port``).
"""

from __future__ import annotations

import mmap
import os
import struct

import attrs

PLACES = 64 + 1
"""Workers there may be at the most, as ``workers`` of the settings is bounded, and one in
reserve."""

SLACK = 4
"""Connections by which one may be ahead before it steps back: below, nothing would be won."""

ABSENT = -1

_NUMBER = struct.Struct("=q")
SIZE = PLACES * _NUMBER.size


def memory() -> int:
    """
    Return the descriptor of a board on which nobody is present; the caller closes it.

    Raises:
        OSError: there is no descriptor, or no memory, left.
    """
    descriptor = os.memfd_create("pomeriumd-board", os.MFD_CLOEXEC)
    try:
        os.ftruncate(descriptor, SIZE)
        os.pwrite(descriptor, _NUMBER.pack(ABSENT) * PLACES, 0)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


@attrs.define(eq=False)
class Board:
    """
    One worker's view of it.

    Args:
        descriptor: of the board; it may be closed afterwards.
        own: our place.
    """

    _descriptor: int
    _own: int
    _open: int = attrs.field(default=0, init=False)
    _numbers: memoryview = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._numbers = memoryview(mmap.mmap(self._descriptor, SIZE)).cast("q")

    def joins(self) -> None:
        """We accept from now on."""
        self._numbers[self._own] = self._open

    def comes(self) -> None:
        """One more connection."""
        self._open += 1
        self._numbers[self._own] = self._open

    def goes(self) -> None:
        """One less."""
        self._open -= 1
        if self._numbers[self._own] != ABSENT:
            self._numbers[self._own] = self._open

    def leaves(self) -> None:
        """We accept no more, or are dead."""
        self._numbers[self._own] = ABSENT

    def crowded(self) -> bool:
        """Say whether somebody who accepts has clearly fewer than we."""
        fewer = self._open - SLACK
        return fewer > 0 and any(ABSENT < number < fewer for number in self._numbers)
