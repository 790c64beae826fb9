"""Running a coroutine to its end, at no cost when it never waits."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure


def run(work: Coroutine[Deferred[Any], Any, None], failed: Callable[[BaseException], None]) -> None:
    """
    Run ``work`` at once, as far as it goes; then whenever what it waits for is there.

    Most requests never wait. A Deferred is made only for those that do: a coroutine that
    is suspended at a Deferred asks that Deferred again when it is resumed with None, so it
    can be handed over in the middle (a test pins this).

    Args:
        work: not started yet.
        failed: is told the exception that ends the work, once.
    """
    try:
        work.send(None)
    except StopIteration:
        return
    except Exception as error:  # noqa: BLE001  # whatever it is, the one who asked decides
        failed(error)
        return
    Deferred.fromCoroutine(work).addErrback(_tell, failed)


def _tell(failure: Failure, failed: Callable[[BaseException], None]) -> None:
    if failure.check(CancelledError) is None and failure.value is not None:
        failed(failure.value)
