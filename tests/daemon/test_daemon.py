"""Tests for pomeriumd.daemon.daemon."""

from __future__ import annotations

import os
import signal
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.daemon import Daemon
from pomeriumd.daemon.listeners import MAIN
from pomeriumd.daemon.warned import LeftOut
from pomeriumd.settings.check import check
from tests.support.memory import framed
from tests.support.settings_files import minimal, tree


@attrs.define
class Begun:
    """Servants that note what hears SIGHUP when they are to begin."""

    heard: Any = None

    def begin(self, *_: object) -> Deferred[None]:
        """Begin at once, as one process does."""
        self.heard = signal.getsignal(signal.SIGHUP)
        return succeed(None)


@attrs.define
class Reloading:
    """What is told of the first generation."""

    left_out: LeftOut = attrs.Factory(LeftOut)
    generation: Any = None

    def begin(self, generation: Any) -> None:
        """Keep it."""
        self.generation = generation

    def reload(self) -> None:
        """Is handed to the reactor."""


@attrs.define
class Socket:
    """A listening socket, by its text."""

    text: str = "127.0.0.1:443"


@attrs.define
class Sockets:
    """The one that is served."""

    by_name: dict[str, Socket] = attrs.Factory(lambda: {MAIN: Socket()})


class DaemonTests(SynchronousTestCase):
    """The daemon as a whole."""

    def test_hangup_is_heard_before_it_serves(self) -> None:
        """Who reads that it listens, and has it reload at once, does not end it."""
        before = signal.getsignal(signal.SIGHUP)
        self.addCleanup(signal.signal, signal.SIGHUP, before)
        servants, reloading = Begun(), Reloading()
        daemon = Daemon(
            first=framed(check(tree(minimal()))),
            servants=servants,  # type: ignore[arg-type]  # what of it is called
            sockets=Sockets(),  # type: ignore[arg-type]  # as above
            reloading=reloading,  # type: ignore[arg-type]  # as above
            adopt=lambda _: None,
            reactor=None,
            now=lambda: 0.0,
        )
        daemon.startService()
        os.close(reloading.generation.content)
        self.assertNotIn(servants.heard, (signal.SIG_DFL, before, None))
