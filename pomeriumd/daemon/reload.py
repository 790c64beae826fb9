"""
New settings under way: read beside the traffic, built by all, then served by all, or refused.

Whatever goes wrong on the way, those of before serve on.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from pomeriumd.daemon.frames import Framed, header
from pomeriumd.daemon.listeners import SERVED, CannotBind, Sockets, drop, wanted
from pomeriumd.daemon.messages import CannotServe
from pomeriumd.daemon.reading import GOOD, REFUSED, SAME, Read, Reading
from pomeriumd.daemon.servants import Servants
from pomeriumd.daemon.warned import LeftOut
from pomeriumd.daemon.watch import Watch


@attrs.frozen(kw_only=True)
class Generation:
    """The settings in force, as far as their keeper knows them."""

    number: int
    digest: str
    content: int = attrs.field(repr=False)
    """Descriptor of them, in memory that nobody writes any more."""
    since: float
    """Seconds since the epoch."""
    routes: int


@attrs.frozen(kw_only=True)
class Outcome:
    """What became of the last reload."""

    at: float
    """Seconds since the epoch, when it ended."""
    outcome: str
    """``good``, ``refused`` or ``same``."""
    error: str = ""
    changes: tuple[str, ...] = ()


@attrs.define(eq=False, kw_only=True)
class Reloading:
    """
    Takes new settings into force.

    Args:
        path: of the settings file.
        reading: reads it, in a process of its own.
        servants: those who serve.
        sockets: the listening ones.
        watch: is told which files the settings were read from.
        now: seconds since the epoch.
    """

    _path: str
    _reading: Reading
    _servants: Servants
    _sockets: Sockets
    _watch: Watch
    _now: Callable[[], float]
    adopt: Callable[[Framed], None] = attrs.field(default=lambda _: None, init=False)
    """Takes over what concerns this process itself; it gets the settings without routes and
    certificates."""
    left_out: LeftOut = attrs.field(factory=LeftOut, init=False)
    """Certificates that cannot be used."""
    generation: Generation = attrs.field(init=False)
    """In force; there is one from ``begin`` on."""
    good_at: float = attrs.field(default=0.0, init=False)
    """When settings were last taken, or found to be those in force: seconds since the epoch."""
    last: Outcome | None = attrs.field(default=None, init=False)
    refusals: int = attrs.field(default=0, init=False)
    """How often new settings were refused."""
    _former: int = attrs.field(default=-1, init=False)
    """Content of the generation before: a worker that starts just now may still be sent it."""
    _number: int = attrs.field(default=1, init=False)
    """The last one given, also to a generation that was refused."""
    _lock: DeferredLock = attrs.field(factory=DeferredLock, init=False)
    _next: list[Deferred[Outcome]] | None = attrs.field(default=None, init=False)
    """Who waits for the reload after the one under way."""
    _log = Logger()

    def begin(self, generation: Generation) -> None:
        """Take the first generation as the one in force."""
        self.generation = generation
        self.good_at = generation.since

    def reload(self) -> Deferred[Outcome]:
        """
        Read the settings and take them into force, if they are good and new.

        Returns:
            A Deferred of what became of it. Whoever asks while a reload is under way waits for
            the one after it, with all others who do: the file may have changed since.
        """
        waiter: Deferred[Outcome] = Deferred()
        if self._next is not None:
            self._next.append(waiter)
            return waiter
        self._next = [waiter]
        self._lock.run(self._run)
        return waiter

    def _run(self) -> Deferred[None]:
        waiting, self._next = self._next or [], None
        return Deferred.fromCoroutine(self._tell(waiting))

    async def _tell(self, waiting: list[Deferred[Outcome]]) -> None:
        try:
            outcome = await self._reload()
        except Exception as error:  # noqa: BLE001  # a reload must never be the last one
            self._log.failure("a reload failed: a bug of ours")
            outcome = self._refused(f"a bug of ours: {type(error).__name__}; see the log", ())
        self.last = outcome
        if outcome.outcome != REFUSED:
            self.good_at = outcome.at
        for waiter in waiting:
            waiter.callback(outcome)

    async def _reload(self) -> Outcome:
        read = await self._reading.read(self._path, self.generation.content)
        self._watch.expect(read.files)
        if read.outcome == SAME:
            self.left_out.take(read.left_out)
            self._log.info("the settings have not changed", generation=self.generation.digest)
            return Outcome(at=self._now(), outcome=SAME)
        if read.outcome == REFUSED:
            return self._refused(read.problems, ())
        try:
            await self._take(read)
        except (CannotServe, CannotBind) as error:
            os.close(read.descriptor)
            return self._refused(str(error), read.changes)
        self._log.info(
            "new settings serve", generation=self.generation.digest, changes=list(read.changes)
        )
        return Outcome(at=self._now(), outcome=GOOD, changes=read.changes)

    async def _take(self, read: Read) -> None:
        """
        Let all of them serve under what was read, or none.

        Raises:
            CannotServe, CannotBind: none does.
        """
        framed = header(read.descriptor)
        settings = framed.settings
        changes = self._sockets.bind_changes(settings)
        self._number += 1
        number = self._number
        try:
            await self._servants.prepare(number, read.descriptor)
        except CannotServe:
            drop(changes)
            await self._servants.discard(number)
            raise
        await self._servants.serve(number, read.descriptor)
        for name in SERVED:
            if name in changes:
                await self._servants.listen(changes[name])
            elif name in self._sockets.by_name and name not in wanted(settings):
                self._servants.unlisten(name)
        self._sockets.take(changes, settings)
        self.adopt(framed)
        self.left_out.take(read.left_out)
        before = self.generation
        self.generation = Generation(
            number=number,
            digest=read.digest,
            content=read.descriptor,
            since=self._now(),
            routes=read.routes,
        )
        if self._former >= 0:
            os.close(self._former)
        self._former = before.content

    def _refused(self, problems: str, changes: tuple[str, ...]) -> Outcome:
        self.refusals += 1
        self._log.error(
            "the new settings are refused, those of before serve on: {problems}",
            problems=problems,
            generation=self.generation.digest,
        )
        return Outcome(at=self._now(), outcome=REFUSED, error=problems, changes=changes)
