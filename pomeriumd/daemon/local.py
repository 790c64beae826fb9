"""``workers: 1``: this very process serves, and has no child."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from pomeriumd.daemon.listeners import CannotBind, Listener
from pomeriumd.daemon.servants import SERVING, STOPPING, Seat
from pomeriumd.daemon.serving import Serving


@attrs.define(eq=False)
class Local(Service):
    """A daemon of one process; its ``servants.Servants``."""

    _serving: Serving
    _now: Callable[[], float]
    """Seconds since the epoch."""
    _since: float = 0.0
    _generation: int = 0
    _log = Logger()

    def privilegedStartService(self) -> None:
        """
        Bind what grpc binds by itself.

        Raises:
            SystemExit: it cannot be had; the text says what to do.
        """
        super().privilegedStartService()
        try:
            self._serving.bind()
        except CannotBind as error:
            self._log.critical("{problem}", problem=str(error))
            sys.exit(f"pomeriumd: {error}")

    def begin(self, number: int, content: int, listeners: Mapping[str, Listener]) -> Deferred[None]:
        """Accept from these sockets; the first generation is in force already."""
        del content
        self._serving.begin()
        self._serving.answer()
        self._since, self._generation = self._now(), number
        return Deferred.fromCoroutine(self._accept_all(listeners))

    async def _accept_all(self, listeners: Mapping[str, Listener]) -> None:
        await self._serving.ready()
        for listener in listeners.values():
            self._accept(listener)

    @property
    def seats(self) -> Sequence[Seat]:
        """Return the one place."""
        return (
            Seat(
                number=0,
                process=0,
                pid=os.getpid(),
                state=SERVING if self.running else STOPPING,
                since=self._since,
                restarts=0,
                generation=self._generation,
            ),
        )

    @property
    def reserve(self) -> None:
        """Return nothing: there is no process but this one."""

    @property
    def restarts(self) -> Mapping[str, int]:
        """Return nothing: who would restart us is not among us."""
        return {}

    async def prepare(self, number: int, content: int) -> None:
        """
        Build a generation beside the one that serves.

        Raises:
            CannotServe: it cannot be built.
        """
        await self._serving.prepare(number, content)

    async def serve(self, number: int, content: int) -> None:
        """Take it into force."""
        del content  # kept by who asks: here nobody needs it a second time
        self._serving.serve(number)
        self._generation = number

    async def discard(self, number: int) -> None:
        """Forget it."""
        self._serving.discard(number)

    async def listen(self, listener: Listener) -> None:
        """Accept from a socket, in place of the one of the same name."""
        self._accept(listener)

    def unlisten(self, name: str) -> None:
        """Do nothing: it has ended with the settings that had it."""

    def _accept(self, listener: Listener) -> None:
        self._serving.listen(listener.name, os.dup(listener.socket.fileno()))

    def stopService(self) -> Deferred[None]:
        """Drain."""
        super().stopService()
        return Deferred.fromCoroutine(self._serving.stop())
