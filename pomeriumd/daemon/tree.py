"""
The service tree: what is started, in which order, and how it ends.

The log comes first and goes last. Listening sockets are bound while there are still the
rights to; connections are drained before anything that they need is closed.
"""

from __future__ import annotations

import errno
import secrets
import sys
import time
from collections.abc import Mapping
from typing import Any

import attrs
from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.logger import ILogObserver, Logger

import pomeriumd
from pomeriumd.daemon.build import World, building
from pomeriumd.daemon.clock import ClockWatch
from pomeriumd.daemon.descriptors import needed, provide
from pomeriumd.daemon.front import Front
from pomeriumd.daemon.logs import LineObserver, observer_for
from pomeriumd.daemon.secret_file import Owner, shared_root
from pomeriumd.http.limits import Limits
from pomeriumd.net.connect import Connectors
from pomeriumd.net.deadlines import Deadlines
from pomeriumd.net.names import resolver
from pomeriumd.net.port import Port
from pomeriumd.net.server import ServerConnections
from pomeriumd.net.upstreams import Upstreams
from pomeriumd.net.verify import HTTPSPolicy
from pomeriumd.oidc.agent import provider_agent
from pomeriumd.pieces import finish
from pomeriumd.proxy.path import Edge
from pomeriumd.settings.model import Settings

DRAIN_SECONDS = 30.0
"""How long answers under way may take to end when the daemon stops."""


class Root(MultiService):
    """All of the daemon; it stops its parts one after the other, the last added first."""

    _log = Logger()

    def __init__(self, observer: LineObserver) -> None:
        super().__init__()
        self._observer = observer

    def setServiceParent(self, parent: Any) -> None:
        """Join the application, and write its log: twistd asks for the observer after this."""
        super().setServiceParent(parent)
        parent.setComponent(ILogObserver, self._observer)

    def stopService(self) -> Deferred[None]:
        """Stop the parts in order."""
        self.running = 0
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for part in reversed(list(self)):
            try:
                stopping = part.stopService()
                if stopping is not None:
                    await stopping
            except Exception:  # noqa: BLE001  # nobody can cancel a shutdown, and the rest must stop
                self._log.failure("stopping {part} failed", part=type(part).__name__)


@attrs.define(eq=False)
class Writing(Service):
    """The log: flushed when everything else has stopped."""

    _observer: LineObserver
    _access: Any

    def stopService(self) -> None:
        """Write what is left."""
        super().stopService()
        self._access.flush()


@attrs.define(eq=False)
class Connecting(Service):
    """Connections to upstreams: closed when no exchange needs them any more."""

    _upstreams: Upstreams

    def stopService(self) -> None:
        """Close what lies idle."""
        super().stopService()
        self._upstreams.close()


@attrs.define(eq=False)
class Descriptors(Service):
    """The limit of open files: raised before there is anything to open."""

    _needed: int

    def startService(self) -> None:
        """Raise it."""
        super().startService()
        provide(self._needed)


@attrs.define(eq=False)
class Listening(Service):
    """The listening socket, and the connections that came through it."""

    _port: Port
    _front: Front
    _clock: Any
    _what: str
    _log = Logger()

    def privilegedStartService(self) -> None:
        """
        Bind, while there are still the rights to.

        Raises:
            SystemExit: the address cannot be had; the text says what to do.
        """
        super().privilegedStartService()
        try:
            self._port.startListening()
        except CannotListenError as error:
            self._log.critical(
                "cannot listen on {address}: {reason}; {remedy}",
                address=self._what,
                reason=str(error.socketError),
                remedy=_remedy(error),
            )
            sys.exit(
                f"pomeriumd: cannot listen on {self._what}: {error.socketError}; {_remedy(error)}"
            )

    def startService(self) -> None:
        """Say that we are there."""
        super().startService()
        self._log.info(
            "pomeriumd {version} listens on {address}: {routes} routes",
            version=pomeriumd.__version__,
            address=self._what,
            routes=len(self._front.generation.routes.routes),
        )

    def stopService(self) -> Deferred[None]:
        """Accept no more, and let the answers under way end."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._log.info("stopping: {count} connections to drain", count=len(self._front.connections))
        stopping = self._port.stopListening()
        if stopping is not None:
            await stopping
        await self._front.drain(self._clock, DRAIN_SECONDS)


def tree(settings: Settings, twistd: Mapping[str, Any], reactor: Any) -> IService:
    """
    Build the daemon; nothing is bound or begun.

    Args:
        settings: checked already.
        twistd: twistd's own options.
        reactor: everything of it: time, sockets, names.

    Raises:
        SettingsError: what only building finds.
    """
    limits = Limits()
    deadlines = Deadlines(reactor)
    shared_secret = shared_root(settings, secrets.token_bytes, Owner.told(twistd))
    reactor.installNameResolver(resolver(reactor))
    world = World(
        agent=provider_agent(reactor, HTTPSPolicy()),
        clock=reactor,
        now=time.time,  # noqa: TID251  # here the arguments come from
        random=secrets.token_bytes,
        connector=Connectors(reactor),
    )
    built = finish(building(settings, shared_secret, world, limits))
    upstreams = Upstreams(limits, deadlines, reactor, settings.upstream_max_connections)
    observer = observer_for(twistd, level=settings.log_level, debug=settings.pomerium_debug)
    access = observer.access_log(reactor)
    front = Front(
        built=built,
        edge=Edge(upstreams=upstreams, now=world.now, clock=time.monotonic),
        limits=limits,
        deadlines=deadlines,
        record=access.record,
        run_id=secrets.token_hex(6),
    )
    port = Port(
        settings.address,
        ServerConnections(front),
        reactor,
        store=built.store,
        deadlines=deadlines,
        most=settings.max_connections,
    )
    root = Root(observer)
    for part in (
        Writing(observer, access),
        ClockWatch(world.now, reactor),
        Descriptors(
            needed(
                settings.max_connections,
                settings.upstream_max_connections,
                set(built.endpoints),
            )
        ),
        Connecting(upstreams),
        Listening(port, front, reactor, settings.address.text),
    ):
        part.setServiceParent(root)
    return root


def _remedy(error: CannotListenError) -> str:
    number = getattr(error.socketError, "errno", None)
    if number == errno.EADDRINUSE:
        return "another program has it: stop that one, or set another address"
    if number in (errno.EACCES, errno.EPERM):
        return "ports below 1024 need root or CAP_NET_BIND_SERVICE"
    return "see address in the settings"
