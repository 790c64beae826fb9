"""
A worker: one process that serves, started and told by the supervisor.

It says nothing of its own accord but what it logs. When the supervisor is gone it drains and
ends: nobody would replace it, or tell it of new settings.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs
import orjson
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import globalLogBeginner
from twisted.protocols.amp import AMP
from twisted.python.failure import Failure

from pomeriumd.daemon.lines import Descriptor
from pomeriumd.daemon.logs import LineObserver
from pomeriumd.daemon.messages import (
    Answer,
    Discard,
    Drain,
    Listen,
    Notice,
    Ping,
    Prepare,
    Serve,
    SignedOut,
)
from pomeriumd.daemon.noticed import Sharing
from pomeriumd.daemon.reactor import install
from pomeriumd.daemon.servants import DRAIN_SECONDS
from pomeriumd.daemon.worker_process import BOARD, LINK, NUMBERS

if TYPE_CHECKING:
    from pomeriumd.daemon.serving import Serving

PIPE_SIZE = 1 << 20
"""Bytes between us and the supervisor; more is root's alone."""

Nothing = dict[str, object]
"""The answer to a command that has none."""


@attrs.frozen(kw_only=True)
class Options:
    """What the supervisor says on the command line; ``ps`` shows it, so no secret."""

    number: int
    """Of our cell on the board."""
    workers: int
    """How many there are: each has its share of what is bounded for all together."""
    level: str
    """Of the log, until the settings are there."""
    readable: bool
    colour: bool


class Servant(AMP):
    """
    The worker's end of the line to its supervisor.

    Args:
        serving: does what is asked.
        end: has the process end, after draining for so many seconds.
    """

    def __init__(self, serving: Serving, end: Callable[[float | None], None]) -> None:
        super().__init__()
        self._serving = serving
        self._end = end

    @Prepare.responder
    def prepare(self, number: int, content: int) -> Deferred[Nothing]:
        """Build a generation."""
        return Deferred.fromCoroutine(self._prepare(number, content))

    async def _prepare(self, number: int, content: int) -> Nothing:
        try:
            await self._serving.prepare(number, content)
        finally:
            os.close(content)
        return {}

    @Serve.responder
    def serve(self, number: int) -> Nothing:
        """Take one into use."""
        self._serving.serve(number)
        return {}

    @Discard.responder
    def discard(self, number: int) -> Nothing:
        """Forget one."""
        self._serving.discard(number)
        return {}

    @Listen.responder
    def listen(self, name: str, socket: int) -> Deferred[Nothing]:
        """Accept from a socket."""
        return Deferred.fromCoroutine(self._listen(name, socket))

    async def _listen(self, name: str, socket: int) -> Nothing:
        # Cancelled is told to end: then nobody is let in any more.
        with contextlib.suppress(CancelledError):
            await self._serving.ready()
            self._serving.listen(name, socket)
        return {}

    @Answer.responder
    def answer(self) -> Nothing:
        """Answer proxies elsewhere."""
        self._serving.answer()
        return {}

    @SignedOut.responder
    def signed_out(self, session: str) -> Nothing:
        """End what a session has open that another worker has signed out."""
        self._serving.signed_out(session)
        return {}

    def tell(self, session: str) -> None:
        """Tell the others that a session was signed out here."""
        self.callRemote(SignedOut, session=session).addErrback(lambda _: None)

    def notice(self, level: str, text: str, otherwise: Callable[[], None]) -> None:
        """Tell a line for the log that others may have, too."""
        told = self.callRemote(Notice, level=level, text=text)
        told.addErrback(lambda _: otherwise())

    @Ping.responder
    def ping(self) -> Nothing:
        """Be there."""
        return {}

    @Drain.responder
    def drain(self, seconds: float) -> Nothing:
        """End after draining."""
        self._end(seconds)
        return {}

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End: nobody looks after us any more."""
        super().connectionLost(reason)
        self._end(None)


@attrs.define(eq=False)
class End:
    """The one end of a process, however often and by whom it is asked for."""

    _reactor: Any
    seconds: float | None = None
    """For draining, if anybody said."""

    def __call__(self, seconds: float | None) -> None:
        """Have the process end."""
        if seconds is not None:
            self.seconds = seconds
        with contextlib.suppress(ReactorNotRunning):
            self._reactor.stop()


def main() -> None:
    """Serve until told to end."""
    options = Options(**orjson.loads(sys.argv[1]))
    # A terminal's signals reach the supervisor as well, and it is the one that acts on them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    install()
    from twisted.internet import reactor as installed  # noqa: PLC0415, TID251  # only now

    from pomeriumd.daemon.board import Board  # noqa: PLC0415
    from pomeriumd.daemon.cells import mapped  # noqa: PLC0415
    from pomeriumd.daemon.clock import steady  # noqa: PLC0415
    from pomeriumd.daemon.serving import Serving  # noqa: PLC0415
    from pomeriumd.daemon.tally import Tally  # noqa: PLC0415

    reactor: Any = installed
    steady(reactor)
    # All that the kernel gives: what the supervisor has not taken yet waits there.
    with contextlib.suppress(OSError):
        fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    observer = LineObserver(
        Descriptor(1), level=options.level, readable=options.readable, colour=options.colour
    )
    serving = Serving(
        reactor=reactor,
        observer=observer,
        tally=Tally(mapped(NUMBERS)),
        workers=options.workers,
        board=Board(BOARD, options.number),
    )
    end = End(reactor)
    servant = Servant(serving, end)
    globalLogBeginner.beginLoggingTo([Sharing(observer, servant.notice)], redirectStandardIO=False)
    serving.begin()
    serving.tell_signed_out = servant.tell
    factory = Factory.forProtocol(lambda: servant)
    factory.noisy = False
    reactor.adoptStreamConnection(LINK, socket.AF_UNIX, factory)
    for descriptor in (LINK, NUMBERS, BOARD):
        os.close(descriptor)
    reactor.addSystemEventTrigger(
        "before",
        "shutdown",
        lambda: Deferred.fromCoroutine(serving.stop(end.seconds or DRAIN_SECONDS)),
    )
    # Twisted's own handler fails when the signal comes twice: to us, and to all of a group.
    reactor.callWhenRunning(
        signal.signal, signal.SIGTERM, lambda *_: reactor.callFromThread(end, None)
    )
    reactor.run()
    observer.close()


if __name__ == "__main__":
    main()
