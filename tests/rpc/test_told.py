"""Tests for pomeriumd.rpc.told."""

from __future__ import annotations

import asyncio

from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.rpc.told import Told


class ToldTests(SynchronousTestCase):
    """Who follows a value hears it, its changes and the end, and holds up nobody."""

    def test_a_slow_one_hears_the_last(self) -> None:
        """What passes while somebody is busy is not kept for them."""
        heard: list[int] = []

        async def run() -> None:
            told = Told(1)
            ready = asyncio.Event()

            async def hear(value: int) -> None:
                heard.append(value)
                await ready.wait()
                if value > 1:
                    told.end()

            following = asyncio.ensure_future(told.follow(hear))
            await asyncio.sleep(0)
            for value in (2, 3, 4):
                told.tell(value)
            ready.set()
            await following

        asyncio.run(run())
        self.assertEqual(heard, [1, 4])

    def test_each_change(self) -> None:
        """Who keeps up hears all of it, and the same value once."""
        heard: list[int] = []

        async def run() -> None:
            told = Told(1)

            async def hear(value: int) -> None:
                heard.append(value)
                if value < 4:
                    told.tell(value + 1)
                    told.tell(value + 1)
                else:
                    told.end()

            await told.follow(hear)

        asyncio.run(run())
        self.assertEqual(heard, [1, 2, 3, 4])

    def test_one_that_leaves(self) -> None:
        """It is not counted any more."""

        async def run() -> int:
            told = Told(1)

            async def hear(_: int) -> None:
                await asyncio.sleep(0)

            following = asyncio.ensure_future(told.follow(hear))
            await asyncio.sleep(0)
            self.assertEqual(told.followers, 1)
            following.cancel()
            await asyncio.wait([following])
            return told.followers

        self.assertEqual(asyncio.run(run()), 0)

    def test_after_the_end(self) -> None:
        """Whoever comes then hears nothing."""

        async def run() -> None:
            told = Told(1)
            told.end()

            async def hear(_: int) -> None:
                raise AssertionError

            await told.follow(hear)

        asyncio.run(run())
