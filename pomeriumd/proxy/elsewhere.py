"""Waiting for a decision that is made elsewhere, for no longer than the client does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.internet.defer import Deferred

from pomeriumd.access.decision import Allow, Decision, Deny, SignIn
from pomeriumd.errors import ClientGone
from pomeriumd.net.exchange import Exchange

DECIDED = (Allow, Deny, SignIn)
"""Whatever a decision can be."""


async def decided_elsewhere(
    exchange: Exchange,
    decision: Awaitable[Decision],
    began: float,
    clock: Callable[[], float],
) -> Decision:
    """
    Wait for a decision, and say in the exchange how long that took, whatever comes of it.

    Args:
        exchange: that it is about; the wait is cancelled with it.
        decision: what comes of it is asked for its type, too.
        began: seconds of the clock when the first step was taken.
        clock: seconds.

    Raises:
        Undecided: nobody could tell.
        TypeError: it is no decision of ours: that lets nobody through.
    """
    exchange.waits = waits = Deferred.fromCoroutine(_awaited(decision))
    try:
        found = await waits
    finally:
        exchange.waits = None
        exchange.decided = clock() - began
    if not isinstance(found, DECIDED):
        raise TypeError("what was decided is no decision of ours")
    if exchange.over:
        raise ClientGone("the client left before it was decided")
    return found


async def _awaited(decision: Awaitable[Decision]) -> Decision:
    return await decision
