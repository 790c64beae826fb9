"""
Numbers that another process reads at any time, also of one that is frozen or was killed.

A memory of fixed size holds *cells*, one number each, and a *directory* that says what they
count. Who counts writes a cell in place: nothing is sent, and a process that is killed takes
no number with it. The directory only grows. An entry is written before the size that counts
it, and has a check sum, so that a reader sees whole entries also where the processor puts
stores in another order. What a reader finds is never believed: a process that went wrong
must not take the reader with it.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import zlib
from collections.abc import Iterator

import orjson

SIZE = 8 << 20
"""Bytes of one memory. What is not written to takes none."""

_CELLS_AT = 6 << 20
CELLS = (SIZE - _CELLS_AT) // 8
"""Numbers that fit."""

_USED = 1
"""Word of the memory that holds how many bytes the directory has."""
_DIRECTORY_AT = 64
_MARK = b"pomerium"
_HEAD = struct.Struct("=II")
"""Before each entry: check sum and size of what follows."""

Memory = mmap.mmap
"""What holds the numbers; unmapped when nobody has it any more."""


Series = tuple[str, tuple[str, ...]]
"""What some cells in a row count: a family's name, and labels."""


def private_memory() -> Memory:
    """Return a memory that only this process has."""
    return mmap.mmap(-1, SIZE)


def shared_memory() -> int:
    """
    Return the descriptor of a memory to hand to another process; the caller closes it.

    Raises:
        OSError: there is no descriptor, or no memory, left.
    """
    descriptor = os.memfd_create("pomeriumd", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, SIZE)
        # Cut shorter by the other side, the memory would kill whoever reads it (SIGBUS).
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def mapped(descriptor: int) -> Memory:
    """
    Return the memory behind a descriptor, which may be closed then.

    Raises:
        ValueError: it is smaller than such a memory.
    """
    return mmap.mmap(descriptor, SIZE)


class Cells:
    """
    The side that counts: ``values`` are its numbers, to be written in place.

    Args:
        memory: that nobody has written to before.

    Raises:
        ValueError: somebody has.
    """

    def __init__(self, memory: Memory) -> None:
        if memory[: len(_MARK)] != bytes(len(_MARK)):
            raise ValueError("this memory holds another process's numbers; give each its own")
        memory[: len(_MARK)] = _MARK
        self._memory = memory
        self._words = memoryview(memory)[:_DIRECTORY_AT].cast("q")
        self._end = _DIRECTORY_AT
        self._next = 0
        self.values = memoryview(memory)[_CELLS_AT:].cast("d")

    def add(self, series: Series, size: int) -> int | None:
        """
        Give some cells a meaning.

        Args:
            series: what they count.
            size: how many there are, in a row.

        Returns:
            The first one; None when there is no room for them.
        """
        first = self._next
        octets = orjson.dumps([*series, first, size])
        end = self._end + _HEAD.size + len(octets)
        if end > _CELLS_AT or first + size > CELLS:
            return None
        head = _HEAD.pack(zlib.crc32(octets), len(octets))
        self._memory[self._end : end] = head + octets
        self._words[_USED] = end - _DIRECTORY_AT
        self._end = end
        self._next = first + size
        return first


class Reading:
    """
    The side that reads. Entries are taken apart once, numbers each time.

    Several may go through it at once, each as slowly as it likes.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._words = memoryview(memory)[:_DIRECTORY_AT].cast("q")
        self._values = memoryview(memory)[_CELLS_AT:].cast("d")
        self._at = _DIRECTORY_AT
        # Plain tuples of plain values: the garbage collector does not walk through them.
        self._entries: list[tuple[Series, int, int]] = []

    def __iter__(self) -> Iterator[tuple[Series, tuple[float, ...]]]:
        """Give every series with its numbers as they are when they are given."""
        values, entries = self._values, self._entries
        at = 0
        while at < len(entries) or self._read_on():
            series, first, end = entries[at]
            at += 1
            yield series, tuple(values[first:end])

    def _read_on(self) -> bool:
        """Read one more entry; say whether there was one."""
        end = min(_DIRECTORY_AT + self._words[_USED], _CELLS_AT)
        begin = self._at + _HEAD.size
        if begin > end:
            return False
        check, size = _HEAD.unpack_from(self._memory, self._at)
        octets = self._memory[begin : begin + size]
        if begin + size > end or zlib.crc32(octets) != check:
            return False  # not there yet; or never, and then what was whole is all there is
        entry = _entry(octets)
        if entry is None:
            return False
        self._entries.append(entry)
        self._at = begin + size
        return True


def _entry(octets: bytes) -> tuple[Series, int, int] | None:
    """Return a series, its first cell and the one behind its last; None for nonsense."""
    try:
        name, labels, first, size = orjson.loads(octets)
        series = (str(name), tuple([str(label) for label in labels]))
        first, end = int(first), int(first) + int(size)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
    return (series, first, end) if 0 <= first <= end <= CELLS else None
