"""
A bounded memory of what was worked out lately, and more than once.

Two halves: what is new goes into the young one; when that is full, it becomes the old one
and the old one is forgotten. What is found in the old half moves to the young one: what is
in use stays, and finding it there costs one look-up and no book-keeping.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

OFFERS = 4
"""Keys noted as offered for each entry that a half may have; some 60 bytes each."""


class Recent(Generic[K, V]):
    """
    Remembers values that can be worked out again, and come out the same; never None.

    A key's first offer is only noted: what comes once takes no room and pushes nothing out,
    whoever sends it and however much of it. (Of two keys with one hash, the second is kept
    at once, which hurts nobody.)

    Args:
        most: entries at the most.
        size: bytes of all entries together at the most, as ``put`` is told them.
    """

    __slots__ = ("_filled", "_half", "_half_size", "_offered", "_old", "_young")

    def __init__(self, most: int, size: int) -> None:
        self._half = most // 2
        self._half_size = size // 2
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}
        self._filled = 0
        """Bytes in the young half."""
        self._offered: set[int] = set()

    def get(self, key: K, size: int) -> V | None:
        """
        Return what is remembered, or None.

        Args:
            key: of the value.
            size: bytes that it takes, as for ``put``.
        """
        found = self._young.get(key)
        if found is None and (found := self._old.get(key)) is not None:
            self._keep(key, found, size)
        return found

    def put(self, key: K, value: V, size: int) -> None:
        """Offer a value that takes so many bytes; from the second time on it is remembered."""
        offered = hash(key)
        if offered in self._offered:
            self._keep(key, value, size)
        else:
            if len(self._offered) >= self._half * OFFERS:
                self._offered.clear()
            self._offered.add(offered)

    def _keep(self, key: K, value: V, size: int) -> None:
        if len(self._young) >= self._half or self._filled + size > self._half_size:
            self._old, self._young, self._filled = self._young, {}, 0
        if size <= self._half_size:
            self._young[key] = value
            self._filled += size

    def __len__(self) -> int:
        """Return how many entries there are; one that is in both halves counts twice."""
        return len(self._young) + len(self._old)
