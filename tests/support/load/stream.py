"""Bodies of any size that cost next to nothing to make, and that cannot be mixed up unseen."""

from __future__ import annotations

import hashlib
import random
import struct
from collections.abc import Iterator
from functools import cache

BLOCK = 1 << 20


def blocks(size: int) -> Iterator[memoryview]:
    """
    Yield the body of this size, in pieces of a MiB.

    Each piece begins with its number: a piece lost, doubled or moved changes the checksum.
    The next piece takes the place of the last one.
    """
    block = bytearray(random.Random(1).randbytes(BLOCK))  # noqa: S311  # the same each time
    view = memoryview(block)
    for number in range((size + BLOCK - 1) // BLOCK):
        struct.pack_into(">Q", block, 0, number)
        yield view[: min(BLOCK, size - number * BLOCK)]


@cache
def checksum(size: int) -> str:
    """Return the SHA-256 of the body of this size."""
    found = hashlib.sha256()
    for block in blocks(size):
        found.update(block)
    return found.hexdigest()
