"""
The service tree: what is started, in which order, and how it ends.

The log comes first and goes last. Listening sockets are bound while there are still the
rights to; connections are drained before anything that they need is closed.

With ``workers: 1`` this process serves. With more it supervises those that do, and nothing of
a request passes through it.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, Logger

from pomeriumd.daemon.build import building
from pomeriumd.daemon.clock import ClockWatch
from pomeriumd.daemon.control import Control
from pomeriumd.daemon.daemon import Daemon
from pomeriumd.daemon.expiry import ExpiryLog
from pomeriumd.daemon.frames import Framed
from pomeriumd.daemon.ledger import Ledger
from pomeriumd.daemon.listeners import METRICS, Sockets
from pomeriumd.daemon.local import Local
from pomeriumd.daemon.logs import LineObserver, observer_for
from pomeriumd.daemon.metrics_site import MetricsSite
from pomeriumd.daemon.noticed import Noticed
from pomeriumd.daemon.reading import Reading
from pomeriumd.daemon.reload import Reloading
from pomeriumd.daemon.report import Report
from pomeriumd.daemon.secret_file import Owner, shared_root
from pomeriumd.daemon.serving import Serving, world_of
from pomeriumd.daemon.spawning import Spawning
from pomeriumd.daemon.supervisor import Supervisor
from pomeriumd.daemon.tally import Tally
from pomeriumd.daemon.warned import warn_of
from pomeriumd.daemon.watch import Watch
from pomeriumd.http.limits import Limits
from pomeriumd.pieces import finish
from pomeriumd.settings.model import Secret, Settings
from pomeriumd.settings.roles import AUTHORIZE, PROXY


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
    """The log: written to its end when everything else has stopped."""

    _observer: LineObserver

    def stopService(self) -> None:
        """Write what is left."""
        super().stopService()
        self._observer.lines.drain()


def tree(
    first: Framed,
    files: Mapping[str, str],
    path: str,
    environment: Mapping[str, str],
    twistd: Mapping[str, Any],
    reactor: Any,
) -> IService:
    """
    Build the daemon; nothing is bound or begun, and there is no child and no descriptor yet.

    Args:
        first: the settings to begin with, checked already.
        files: what was read for them, see ``settings.load.Loaded``.
        path: of the settings file.
        environment: of this process: settings may stand in it.
        twistd: twistd's own options.
        reactor: everything of it: time, sockets, names, processes.

    Raises:
        SettingsError: what only building finds.
    """
    settings = first.settings
    observer = observer_for(twistd, level=settings.log_level, debug=settings.pomerium_debug)
    ledger = Ledger()
    count = workers(settings)
    sockets = Sockets(settings, shares_grpc=count > 1)
    servants: Local | Supervisor = (
        _alone(first, observer, ledger, reactor)
        if count == 1
        else _supervised(first, observer, ledger, count, environment, reactor)
    )
    watch = Watch(files, reactor)
    reloading = Reloading(
        path=str(Path(path).absolute()),  # twistd changes the working directory
        reading=Reading(reactor, environment),
        servants=servants,
        sockets=sockets,
        watch=watch,
        now=time.time,  # noqa: TID251  # here the arguments come from
    )
    expiry = ExpiryLog(reactor, time.time)  # noqa: TID251  # as above
    report = Report(
        services=settings.service,
        ledger=ledger,
        servants=servants,
        sockets=sockets,
        grpc=settings.grpc_address,
        reloading=reloading,
        expiry=expiry,
        lines=observer.lines,
        started=time.time(),  # noqa: TID251  # as above
    )
    site = MetricsSite(report.metrics, reactor)

    def adopt(new: Framed) -> None:
        observer.set_level(new.settings.log_level)
        warn_of(new.settings)
        expiry.take(new.expiries)
        site.listen(sockets.by_name.get(METRICS))

    reloading.adopt = adopt
    watch.changed = reloading.reload
    root = Root(observer)
    for part in (
        Writing(observer),
        ClockWatch(time.time, reactor),  # noqa: TID251  # as above
        expiry,
        servants,
        sockets,
        Control(
            settings.control_socket,
            report.status,
            lambda: reloading.reload().addCallback(attrs.asdict),
            reactor,
        ),
        watch,
        Daemon(
            first=first,
            adopt=adopt,
            servants=servants,
            sockets=sockets,
            reloading=reloading,
            reactor=reactor,
            now=time.time,  # noqa: TID251  # as above
        ),
    ):
        part.setServiceParent(root)
    return root


def first_of(settings: Settings, digest: str, twistd: Mapping[str, Any]) -> Framed:
    """
    Return the settings to begin with, and the secret that is kept where they have none.

    Args:
        settings: checked already.
        digest: of them.
        twistd: its own options.

    Raises:
        SettingsError: it can be neither read nor made.
    """
    kept = None
    if settings.shared_secret is None:
        kept = Secret(shared_root(settings, secrets.token_bytes, Owner.told(twistd)))
    return Framed(settings=settings, digest=digest, kept=kept)


def workers(settings: Settings) -> int:
    """
    Return how many processes serve.

    Where there is a proxy it is as many as there are processors for us, unless told. Authorize
    alone is one, whatever is told: grpc binds its port by itself, and shares it with nobody.
    """
    if settings.services == (AUTHORIZE,):
        return 1
    usual = len(os.sched_getaffinity(0)) if settings.runs(PROXY) else 1
    return settings.workers or usual


def _alone(first: Framed, observer: LineObserver, ledger: Ledger, reactor: Any) -> Local:
    tally = Tally()
    ledger.open_own(0, tally.memory)
    serving = Serving(reactor=reactor, observer=observer, tally=tally)
    serving.take(finish(serving.building(first)))
    return Local(serving, time.time)  # noqa: TID251  # here the arguments come from


def _supervised(
    first: Framed,
    observer: LineObserver,
    ledger: Ledger,
    count: int,
    environment: Mapping[str, str],
    reactor: Any,
) -> Supervisor:
    # What only building finds is found here, before twistd goes into the background.
    finish(building(first.settings, first.shared_secret, world_of(reactor), Limits()))
    spawning = Spawning(
        options={
            "workers": count,
            "level": first.settings.log_level,
            "readable": observer.readable,
            "colour": observer.colour,
        },
        # What systemd has for this process is not for its children.
        environment={k: v for k, v in environment.items() if not k.startswith("LISTEN_")},
        ledger=ledger,
        lines=observer.access_log(reactor).relay,
        noticed=Noticed().hear,
        reactor=reactor,
    )
    return Supervisor(
        count=count,
        start=spawning.start,
        clock=reactor,
        now=time.time,  # noqa: TID251  # here the arguments come from
    )
