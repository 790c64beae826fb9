"""
A value that many are told of, each at its own pace.

Whoever follows hears the present value at once and each later one while it keeps up; one
who is slow misses what has passed meanwhile and hears the last. So nothing is queued for
anybody, however slow, and nobody waits for another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import attrs

T = TypeVar("T")


@attrs.define(eq=False)
class Told(Generic[T]):
    """
    The value, and who follows it; for the one loop that it is used on.

    Args:
        value: at first.
    """

    value: T
    followers: int = attrs.field(default=0, init=False)
    """How many are being told."""
    _changed: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)
    _ended: bool = attrs.field(default=False, init=False)

    def tell(self, value: T) -> None:
        """Tell all of this value, unless they have heard it."""
        if value != self.value:
            self.value = value
            self._wake()

    def end(self) -> None:
        """Tell nobody any more: whoever follows has come to the end."""
        self._ended = True
        self._wake()

    async def follow(self, hear: Callable[[T], Awaitable[None]], beat: float | None = None) -> None:
        """
        Have somebody told of the present value, and then of each that it changes to.

        Args:
            hear: takes one value, in its own time.
            beat: seconds after which a value is told again when it has not changed.

        Returns:
            When there is nothing more to tell.
        """
        self.followers += 1
        try:
            while not self._ended:
                told = self.value
                await hear(told)
                # It may have changed meanwhile.
                while self.value == told and not self._ended:
                    try:
                        async with asyncio.timeout(beat):
                            await self._changed.wait()
                    except TimeoutError:
                        break
        finally:
            self.followers -= 1

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
