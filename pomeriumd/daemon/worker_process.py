"""One worker as its supervisor sees it: a process, a line to it, and what it writes."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from twisted.internet.defer import Deferred
from twisted.internet.error import (
    ConnectionDone,
    ConnectionLost,
    ProcessDone,
    ProcessExitedAlready,
)
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.logger import Logger
from twisted.protocols.amp import AMP, Command
from twisted.python.failure import Failure

from pomeriumd.daemon.messages import Notice, SignedOut

MODULE, LEISURELY = "pomeriumd.daemon.worker", "pomeriumd.daemon.leisurely"

LINK, NUMBERS, BOARD = 3, 4, 5
"""The worker's descriptors: its end of the line to us, the memory of its numbers, and the board
of all workers' connections."""

PART_SIZE = 131_072
"""Most bytes of a line that has no end yet; our own lines are half as long at the most."""

SAID_LINES = 100
"""Lines of a worker's standard error that are logged: a few tracebacks. Nothing of ours writes
there, so it is what Python says when all else has failed."""

GONE = (ConnectionDone, ConnectionLost)
"""What a call ends with whose worker has died."""


class Whole:
    """
    Makes whole lines of the pieces in which a pipe gives them.

    Args:
        take: gets one or more lines at once, with their line feeds.
    """

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take
        self._part = b""

    def feed(self, piece: bytes) -> None:
        """Take a piece."""
        end = piece.rfind(b"\n") + 1
        if end:
            self._take(self._part + piece[:end])
            self._part = piece[end:]
        else:
            self._part += piece
        if len(self._part) > PART_SIZE:
            self.end()

    def end(self) -> None:
        """Give what is left; a line that broke off gets its end here."""
        part, self._part = self._part, b""
        if part:
            self._take(part + b"\n")


class Line(AMP):
    """
    Our end of the line to a worker.

    Args:
        signed_out: is told each session that the worker has signed out.
        noticed: is told each line of it that others may have, too: level and text.
    """

    def __init__(
        self, signed_out: Callable[[str], object], noticed: Callable[[str, str], object]
    ) -> None:
        super().__init__()
        self._signed_out = signed_out
        self._noticed = noticed

    @SignedOut.responder
    def signed_out(self, session: str) -> dict[str, object]:
        """Tell of it."""
        self._signed_out(session)
        return {}

    @Notice.responder
    def noticed(self, level: str, text: str) -> dict[str, object]:
        """Tell of it."""
        self._noticed(level, text)
        return {}


class WorkerProcess(ProcessProtocol):
    """
    A process that serves.

    Args:
        number: of its cell on the board, and of its page in the ledger.
        options: what it is told before anything else; no secret, since ``ps`` shows it.
        numbers: descriptor of the memory that it counts in.
        board: descriptor of the board.
        lines: takes whole lines for the log.
        noticed: takes a line that other workers may have, too: pid, level and text.
        ended: is told, once, when the process is gone and all that it wrote has been read.
        signed_out: is told each session that it has signed out.
        leisurely: it comes to it when nobody else wants the processor.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        number: int,
        options: Mapping[str, Any],
        numbers: int,
        board: int,
        lines: Callable[[bytes], None],
        noticed: Callable[[int, str, str], None],
        ended: Callable[[WorkerProcess, str], None],
        signed_out: Callable[[WorkerProcess, str], None],
        leisurely: bool = False,
    ) -> None:
        self.number = number
        self.name = "a worker"
        """What the log calls it; whoever gives it a place says."""
        self.pid = 0
        self.gone = False
        self._module = LEISURELY if leisurely else MODULE
        self._options = {"number": number, **options}
        self._given = {NUMBERS: numbers, BOARD: board}
        self._ended = ended
        self._link = Line(
            lambda session: signed_out(self, session),
            lambda level, text: noticed(self.pid, level, text),
        )
        self._pipes = {1: Whole(lines), 2: Whole(self._say)}
        self._said = 0

    def start(self, reactor: Any, environment: Mapping[str, str]) -> None:
        """
        Start the process; what is called from now on waits until it answers.

        Raises:
            OSError: the system has no process or descriptor for it.
        """
        ours, theirs = socket.socketpair()
        with ours, theirs, open(os.devnull, "rb") as nothing:  # noqa: PTH123  # no path of ours
            # Neither uid, gid nor path: Twisted forks for those, and a fork of a process with
            # threads may stop for ever.
            process = reactor.spawnProcess(
                self,
                sys.executable,
                (sys.executable, "-P", "-m", self._module, orjson.dumps(self._options).decode()),
                env=dict(environment),
                childFDs={
                    0: nothing.fileno(),
                    1: "r",
                    2: "r",
                    LINK: theirs.fileno(),
                    **self._given,
                },
            )
            self.pid = process.pid
            factory = Factory.forProtocol(lambda: self._link)
            factory.noisy = False
            reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, factory)

    def call(self, command: type[Command], **arguments: Any) -> Deferred[Any]:
        """
        Ask it to do something.

        Raises:
            CannotServe: it will not.
            ConnectionDone, ConnectionLost: (see ``GONE``) it has died.
        """
        answer: Deferred[Any] = self._link.callRemote(command, **arguments)
        return answer

    def kill(self) -> None:
        """End it at once."""
        self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; harmless when it has ended."""
        if self.transport is not None:
            with contextlib.suppress(ProcessExitedAlready):
                self.transport.signalProcess(number)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Take what it wrote."""
        self._pipes[childFD].feed(data)

    def processEnded(self, reason: Failure) -> None:
        """Tell that it is gone."""
        self.gone = True
        for pipe in self._pipes.values():
            pipe.end()
        link: Any = self._link.transport
        if link is not None:
            link.abortConnection()
        self._ended(self, how(reason))

    def _say(self, lines: bytes) -> None:
        for line in lines.decode("utf-8", "backslashreplace").splitlines():
            self._said += 1
            if self._said <= SAID_LINES:
                self._log.error("{name} says: {line}", name=self.name, pid=self.pid, line=line)


ENDED_WELL = "told to end"
"""How a process ended that drained first."""


def how(reason: Failure) -> str:
    """Return how a process ended, in a few words."""
    if reason.check(ProcessDone):
        return ENDED_WELL
    number = getattr(reason.value, "signal", None)
    if number is not None:
        return f"killed by {signal.Signals(number).name}"
    return f"ended with status {getattr(reason.value, 'exitCode', None)}"
