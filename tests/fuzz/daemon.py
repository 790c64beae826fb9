"""
The daemon in memory that harnesses send their octets through.

It is built once, for building one takes a hundred times as long as an exchange does; so
what a connection leaves behind is looked for after each.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import attrs
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from pomeriumd.errors import PomeriumError
from tests.support.rig import Chance, Rig


def _names(kind: type[PomeriumError]) -> Iterator[str]:
    """Give the names of all classes below one."""
    for below in kind.__subclasses__():
        yield below.__name__
        yield from _names(below)


OUR_ERRORS = frozenset(_names(PomeriumError))
"""What may stand in the access log as the reason of a failure. The root alone means a bug."""


APART = 1_000_000
"""Where chance begins anew: what was made for the seeds never comes up again."""


@implementer(ILogObserver)
@attrs.define(eq=False)
class Failures:
    """Keeps what was logged as a bug: the daemon answers those with a page and goes on."""

    kept: list[BaseException] = attrs.Factory(list)

    def __call__(self, event: LogEvent) -> None:
        """Keep a failure."""
        failure = event.get("log_failure")
        if failure is not None:
            self.kept.append(failure.value)


@contextmanager
def nothing_of_ours_fails(rig: Rig) -> Iterator[None]:
    """
    Let octets in, and see that what they do is answered by one of our errors at most.

    Chance begins anew, so that a finding does not hang on what came before it.
    """
    failures = Failures()
    chance = rig.world.random
    assert isinstance(chance, Chance)
    chance.count = APART
    rig.logged.clear()
    rig.upstreams.opened.clear()
    globalLogPublisher.addObserver(failures)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(failures)
    for failure in failures.kept:
        raise failure
    for entry in rig.logged:
        assert not entry.error or entry.error in OUR_ERRORS, entry
    assert not rig.front.connections, "a connection is left"
