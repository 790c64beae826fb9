"""
Has new settings read by a process of its own, so that nobody who is served waits for it.

What that process may take is bounded: time, and how much it may say. Whatever becomes of it,
there is an outcome; one that went wrong is a refusal that says what to do.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from pomeriumd.daemon import frames

MODULE = "pomeriumd.daemon.reader"

CONTENT, PRESENT, ANSWER = 3, 4, 5
"""The reader's descriptors: memory for the new settings, memory with those in force (if it is
told so), and the pipe for what it says."""

COMPARED = "compared"
"""What a reader is told, behind the path, when there are settings in force."""

GOOD, REFUSED, SAME = "good", "refused", "same"
"""What may become of it."""

MOST_SECONDS = 60.0
"""For reading; ten thousand routes take some ten."""

LARGEST_ANSWER = 8 * 1024 * 1024
"""Bytes: the paths and digests of as many files as there may be, at 300 each and more."""

LARGEST_SAID = 16 * 1024
"""Bytes of its standard output and error that are logged. Nothing of ours writes there, so it is
what Python says when all else has failed."""

_TYPES = {
    "outcome": str,
    "digest": str,
    "routes": int,
    "problems": str,
    "changes": list,
    "left_out": list,
}
_LISTS = ("changes", "left_out")


@attrs.frozen(kw_only=True)
class Read:
    """What became of reading the settings."""

    outcome: str
    """GOOD, REFUSED or SAME (as those in force)."""
    files: Mapping[str, str] = attrs.field(repr=False, factory=dict)
    """What was read: see ``settings.load.Loaded``. Empty where that is not known."""
    digest: str = ""
    """Of what the settings say: 64 hexadecimal digits; empty if they are refused."""
    routes: int = 0
    """How many; of good ones."""
    changes: tuple[str, ...] = ()
    """Sentences, without secrets."""
    left_out: tuple[str, ...] = ()
    """Certificates that cannot be used, see ``Settings.left_out``; not of a refusal."""
    problems: str = ""
    """Of a refusal: what ``pomeriumd check`` prints."""
    descriptor: int = attrs.field(default=-1, repr=False)
    """Of memory that holds the good settings as ``frames`` and that nobody can change any more;
    whoever is given this closes it. -1 for an outcome that is not good."""

    def document(self) -> bytes:
        """Return all but the descriptor as JSON."""
        found = {**attrs.asdict(self), "files": dict(self.files)}
        del found["descriptor"]
        return json.dumps(found).encode("ascii")

    @classmethod
    def of(cls, document: bytes) -> Read:
        """
        Return what a document says.

        Raises:
            ValueError: it says nothing that we know.
        """
        try:
            said = json.loads(document)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        if not isinstance(said, dict) or said.keys() != {*_TYPES, "files"}:
            raise ValueError("want a map with our keys")
        if not all(isinstance(said[name], kind) for name, kind in _TYPES.items()):
            raise ValueError("a value is of another type")
        lists = all(_texts(said[name]) for name in _LISTS)
        if said["outcome"] not in (GOOD, REFUSED, SAME) or not lists:
            raise ValueError("a value is another one")
        files = said["files"]
        if not isinstance(files, dict) or not _texts(list(files.values())):
            raise ValueError("the files are no map of texts")
        return cls(**{**said, **{name: tuple(said[name]) for name in _LISTS}})


def _texts(items: list[Any]) -> bool:
    return all(isinstance(item, str) for item in items)


@attrs.define(eq=False)
class Reading:
    """
    Starts readers, one at a time.

    Args:
        reactor: with processes and time.
        environment: of the readers; settings may stand in it.
    """

    _reactor: Any
    _environment: Mapping[str, str] = attrs.field(repr=False)
    _child: _Reader | None = None

    def read(self, path: str, present: int | None) -> Deferred[Read]:
        """
        Read a settings file. One call at a time: wait for the Deferred before the next.

        Args:
            path: of the file, from the root: twistd may have changed the working directory.
            present: descriptor of the settings in force; None if there are none. The caller
                keeps it.

        Returns:
            A Deferred of what became of it; it has no errback. To cancel it kills the reader.
        """
        if self._child is not None and not self._child.gone:
            text = (
                f"the process that read {_shown(path)} before cannot be ended; see whether the "
                "storage of the files that it names answers, then reload again"
            )
            return succeed(Read(outcome=REFUSED, problems=text))
        child = self._child = _Reader(path)
        try:
            child.start(self._reactor, self._environment, present)
        except OSError as error:
            child.gone = True
            child.refuse(
                f"no process can be started to read {_shown(path)}: {error.strerror}; see what "
                "this host has left of memory, processes and descriptors, then reload again"
            )
        return child.result


class _Reader(ProcessProtocol):
    """One reader."""

    _log = Logger()

    def __init__(self, path: str) -> None:
        self.result: Deferred[Read] = Deferred(self._cancelled)
        self.gone = False
        self._path = path
        self._content = -1
        self._answer = bytearray()
        self._said = bytearray()
        self._limit: Any = None
        self._told = False

    def start(self, reactor: Any, environment: Mapping[str, str], present: int | None) -> None:
        """Start the process; raise OSError."""
        self._content = frames.memory()
        with open(os.devnull, "rb") as nothing:  # noqa: PTH123  # no path of ours
            descriptors: dict[int, int | str] = {
                0: nothing.fileno(),
                1: "r",
                2: "r",
                CONTENT: self._content,
                ANSWER: "r",
            }
            arguments = [sys.executable, "-P", "-m", MODULE, self._path]
            if present is not None:
                descriptors[PRESENT] = present
                arguments.append(COMPARED)
            # Neither uid, gid nor path: Twisted forks for those, and a fork of a process with
            # threads may stop for ever.
            reactor.spawnProcess(
                self,
                sys.executable,
                arguments,
                env=dict(environment),
                childFDs=descriptors,
            )
        self._limit = reactor.callLater(MOST_SECONDS, self._too_long)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Take what it says."""
        if childFD != ANSWER:
            self._said += data[: LARGEST_SAID - len(self._said)]
        elif len(self._answer) + len(data) > LARGEST_ANSWER:
            self._kill()
            self.refuse(
                f"the process that reads {_shown(self._path)} said more than {LARGEST_ANSWER} "
                "bytes; name fewer files in it"
            )
        else:
            self._answer += data

    def processEnded(self, reason: Failure) -> None:
        """Tell what became of it."""
        self.gone = True
        if self._limit is not None and self._limit.active():
            self._limit.cancel()
        for line in self._said.decode("utf-8", "backslashreplace").splitlines():
            self._log.error("the reader of the settings says: {line}", line=line)
        if self._told:
            return
        who = f"the process that reads {_shown(self._path)}"
        if how := _how(reason):
            why = "see the log before this line, and the kernel's for want of memory"
            self.refuse(f"{who} {how}; {why}, then reload again")
            return
        try:
            read = Read.of(bytes(self._answer))
        except ValueError as error:
            self.refuse(
                f"{who} says what makes no sense here ({error}); restart pomeriumd: another "
                "version of it may have been installed"
            )
            return
        self._tell(read)

    def refuse(self, problems: str) -> None:
        """Give it up."""
        self._tell(Read(outcome=REFUSED, problems=problems))

    def _tell(self, read: Read) -> None:
        if self._told:
            return
        self._told = True
        content, self._content = self._content, -1
        if read.outcome == GOOD:
            frames.seal(content)
            read = attrs.evolve(read, descriptor=content)
        elif content >= 0:
            os.close(content)
        self.result.callback(read)

    def _too_long(self) -> None:
        self._kill()
        self.refuse(
            f"reading {_shown(self._path)} took longer than {MOST_SECONDS:g} s and was ended; see "
            "whether the storage of the files that it names answers, then reload again"
        )

    def _cancelled(self, _: object) -> None:
        self._kill()
        self._told = True
        os.close(self._content)
        self._content = -1

    def _kill(self) -> None:
        transport: IProcessTransport | None = self.transport
        if transport is not None:
            with contextlib.suppress(ProcessExitedAlready):
                transport.signalProcess("KILL")


def _shown(path: str) -> str:
    return ascii(path)[1:-1]


def _how(reason: Failure) -> str:
    """Return how a process ended, if not as it should."""
    number = getattr(reason.value, "signal", None)
    if number is not None:
        return f"was killed by {signal.Signals(number).name}"
    code = getattr(reason.value, "exitCode", 0)
    return f"ended with status {code}" if code else ""
