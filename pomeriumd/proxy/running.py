"""Running a coroutine to its end, at no cost when it never waits."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

X = TypeVar("X")


def run(
    work: Coroutine[Deferred[Any], Any, None],
    about: X,
    failed: Callable[[X, BaseException], None],
) -> None:
    """
    Run ``work`` at once, as far as it goes; then whenever what it waits for is there.

    Most requests never wait. A Deferred is made only for those that do: a coroutine that
    is suspended at a Deferred asks that Deferred again when it is resumed with None, so it
    can be handed over in the middle (a test pins this).

    Args:
        work: not started yet.
        about: what the work is about.
        failed: is told that, and the exception that ends the work, once.
    """
    try:
        work.send(None)
    except StopIteration:
        return
    except Exception as error:  # noqa: BLE001  # whatever it is, the one who asked decides
        failed(about, error)
        return
    Deferred.fromCoroutine(work).addErrback(_tell, about, failed)


def _tell(failure: Failure, about: X, failed: Callable[[X, BaseException], None]) -> None:
    if failure.check(CancelledError) is None and failure.value is not None:
        failed(about, failure.value)
