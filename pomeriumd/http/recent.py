"""
A bounded memory of what was worked out lately.

Two halves: what is new goes into the young one; when that is full, it becomes the old one
and the old one is forgotten. What is found in the old half moves to the young one: what is
in use stays, and finding it there costs one look-up and no book-keeping.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """
    Remembers values that can be worked out again; never None.

    A stranger who fills it with rubbish makes others' values be worked out again, no more.

    Args:
        most: entries at the most.
        size: bytes of all entries together at the most, as ``put`` is told them.
    """

    __slots__ = ("_filled", "_half", "_half_size", "_old", "_young")

    def __init__(self, most: int, size: int) -> None:
        self._half = most // 2
        self._half_size = size // 2
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}
        self._filled = 0
        """Bytes in the young half."""

    def get(self, key: K, size: int) -> V | None:
        """
        Return what is remembered, or None.

        Args:
            key: of the value.
            size: bytes that it takes, as for ``put``.
        """
        found = self._young.get(key)
        if found is None and (found := self._old.get(key)) is not None:
            self.put(key, found, size)
        return found

    def put(self, key: K, value: V, size: int) -> None:
        """Remember a value that takes so many bytes."""
        if len(self._young) >= self._half or self._filled + size > self._half_size:
            self._old, self._young, self._filled = self._young, {}, 0
        if size <= self._half_size:
            self._young[key] = value
            self._filled += size

    def clear(self) -> None:
        """Forget all."""
        self._old, self._young, self._filled = {}, {}, 0

    def __len__(self) -> int:
        """Return how many entries there are; one that is in both halves counts twice."""
        return len(self._young) + len(self._old)
