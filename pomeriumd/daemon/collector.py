"""
What the garbage collector has no business with: generations.

Looking through a generation with 10,000 routes stops everybody for 50 to 120 ms, and building
one makes it look several times. There is nothing to find in one: a generation goes by reference
counts (a test holds it to that), and so do connections and exchanges.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


def leave_alone() -> None:
    """Let the collector look at nothing any more that is there now; it costs nothing."""
    gc.freeze()


@contextmanager
def left_alone() -> Iterator[None]:
    """
    Let the collector look at nothing that is made meanwhile.

    What else happens in that time, a second or so, is not looked at either: of a cycle that
    is garbage by then, the memory is lost. Serving makes none but one: pyOpenSSL's helper for
    the verification of an upstream's certificate, some 3 KB for each connection over TLS.
    """
    if not gc.isenabled():
        yield
        return
    gc.collect(1)  # the young ones: a few milliseconds, and that much less can be lost
    gc.disable()
    try:
        yield
        leave_alone()
    finally:
        gc.enable()
