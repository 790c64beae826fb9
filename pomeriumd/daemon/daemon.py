"""The daemon as a whole: it begins with the first generation, and hears when to reload."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import CancelledError
from twisted.logger import Logger
from twisted.python.failure import Failure

import pomeriumd
from pomeriumd.daemon.frames import Framed, header, sealed
from pomeriumd.daemon.listeners import MAIN, SERVED, Sockets
from pomeriumd.daemon.reload import Generation, Reloading
from pomeriumd.daemon.servants import Servants


@attrs.define(eq=False, kw_only=True)
class Daemon(Service):
    """
    Begins to serve, and takes new settings when it is told that there are some.

    Args:
        first: the settings that it begins with.
        servants: those who serve.
        sockets: the listening ones.
        reloading: takes new settings into force.
        adopt: takes over what of settings concerns this process itself.
        reactor: to which a signal is handed.
        now: seconds since the epoch.
    """

    _first: Framed
    _servants: Servants
    _sockets: Sockets
    _reloading: Reloading
    _adopt: Callable[[Framed], None]
    _reactor: Any
    _now: Callable[[], float]
    _log = Logger()

    def startService(self) -> None:
        """Serve; and hear SIGHUP from now on."""
        super().startService()
        settings = self._first.settings
        generation = Generation(
            number=1,
            digest=self._first.digest,
            content=sealed(self._first),
            since=self._now(),
            routes=len(settings.all_routes),
        )
        self._reloading.begin(generation)
        self._adopt(header(generation.content))
        self._reloading.left_out.take(map(str, settings.left_out))
        # Before anybody can read that we listen: until then the signal ends the process.
        signal.signal(signal.SIGHUP, self._hangup)
        sockets = self._sockets.by_name
        serving = self._servants.begin(
            generation.number,
            generation.content,
            {name: sockets[name] for name in SERVED if name in sockets},
        )
        serving.addCallback(lambda _: self._say())
        serving.addErrback(self._failed)

    def _say(self) -> None:
        self._log.info(
            "pomeriumd {version} listens on {address}: {routes} routes",
            version=pomeriumd.__version__,
            address=self._sockets.by_name[MAIN].text,
            routes=self._reloading.generation.routes,
        )

    def _failed(self, failure: Failure) -> None:
        # Cancelled is told to end before all was there.
        if not failure.check(CancelledError):
            self._log.failure("the start failed", failure)

    def _hangup(self, *_: object) -> None:
        self._reactor.callFromThread(self._reloading.reload)
