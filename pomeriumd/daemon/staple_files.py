"""
The answers of OCSP responders on disk: one process writes them, all that serve read them.

Each is a file of its own in ``state_dir/ocsp``, named by its certificate and replaced in one
step. That changes the directory's time, so to look for news is one ``stat``. Nothing that
changes here makes a generation: 5,000 answers that are renewed in an hour are 5,000 small
reads, and nobody's TLS session ends for it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from pomeriumd.daemon.pieces import in_pieces
from pomeriumd.net.ocsp import LARGEST, until
from pomeriumd.net.staples import Shown, Staples
from pomeriumd.pieces import Pieces

DIRECTORY = "ocsp"

LOOK_SECONDS = 2.0
"""Between two looks."""

SURE_SECONDS = 2.0
"""A directory that was changed more recently than this when it was looked at is looked at again:
the clock of a file system may stand still for a while."""

MOST_FILES = 20_000
"""That are read; the settings take 10,000 certificates at the most."""

_NAME = re.compile(r"[0-9a-f]{64}\.der")
_DRAFT = re.compile(r"[0-9a-f]{64}\.der\.[0-9a-f]{16}")


@attrs.frozen
class StapleFiles:
    """
    The files of one daemon.

    Args:
        state_dir: of the settings.
        random: returns that many unpredictable bytes.
    """

    _state_dir: str
    _random: Callable[[int], bytes] = attrs.field(repr=False)

    @property
    def directory(self) -> Path:
        """Return where they are."""
        return Path(self._state_dir, DIRECTORY)

    def save(self, name: str, der: bytes) -> None:
        """
        Keep an answer, in one step and for us alone.

        Raises:
            OSError: it could not be written; the one before it is still there.
        """
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(name)
        # A name that nobody can guess, and O_EXCL: nothing that was laid there is followed.
        draft = path.with_name(f"{path.name}.{self._random(8).hex()}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(draft, flags, 0o600)
        try:
            # Not synced: that would keep everybody waiting whom this process serves. What a power
            # cut leaves of it is found to be no answer, and fetched again.
            with os.fdopen(descriptor, "wb") as file:
                file.write(der)
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise

    def load(self, name: str) -> bytes | None:
        """Return an answer; None if there is none, or if others could have put it there."""
        try:
            descriptor = os.open(
                self._path(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            )
            with os.fdopen(descriptor, "rb") as file:
                found = os.fstat(file.fileno())
                if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o022:
                    return None
                # Root reads too, before it becomes whom the directory belongs to.
                ours = (0, os.geteuid(), self.directory.stat().st_uid)
                if found.st_uid not in ours or found.st_size > LARGEST:
                    return None
                return file.read(LARGEST)
        except OSError:
            return None

    def remove(self, name: str) -> None:
        """Forget an answer, if there is one."""
        self._path(name).unlink(missing_ok=True)

    def keep(self, names: Iterable[str]) -> Pieces[None]:
        """
        Remove all but these, and what was never finished.

        Raises:
            OSError: something of it cannot be removed.
        """
        kept = {f"{name}.der" for name in names}
        for found in self.found():
            yield
            if found.name not in kept and (_NAME.fullmatch(found.name) or _is_draft(found.name)):
                Path(found.path).unlink(missing_ok=True)

    def found(self) -> list[os.DirEntry[str]]:
        """Return all that is there, as far as we can tell."""
        try:
            with os.scandir(self.directory) as entries:
                return [entry for entry, _ in zip(entries, range(MOST_FILES), strict=False)]
        except OSError:
            return []

    def _path(self, name: str) -> Path:
        return self.directory / f"{name}.der"


def _is_draft(name: str) -> bool:
    return _DRAFT.fullmatch(name) is not None


@attrs.define(eq=False)
class StapleReader:
    """
    Keeps what a process shows as it is on disk.

    Args:
        staples: where to put it.
        clock: for the next look.
        now: seconds since the epoch.
    """

    _staples: Staples
    _clock: Any
    _now: Callable[[], float]
    _files: StapleFiles | None = None
    _seen: dict[str, tuple[int, ...]] = attrs.field(factory=dict, init=False)
    """What ``stat`` said of each file that was read, by the certificate's name."""
    _changed: tuple[int, ...] | None = attrs.field(default=None, init=False)
    """What it said of the directory; None is to look again in any case."""
    _turn: int = attrs.field(default=0, init=False)
    """Counts readings: one that another has begun after gives up."""
    _running: bool = attrs.field(default=False, init=False)
    _next: IDelayedCall | None = attrs.field(default=None, init=False)
    _look: Deferred[None] | None = attrs.field(default=None, init=False)
    _log = Logger()

    def reading(self, files: StapleFiles) -> Pieces[None]:
        """Read what is new in these files, which are the ones to look at from now on."""
        self._files = files
        changed = _hint(files.directory)
        if changed == self._changed and changed is not None:
            return
        self._changed = None
        self._turn += 1
        turn = self._turn
        there: set[str] = set()
        for entry in files.found():
            yield
            if turn != self._turn:
                return
            if _NAME.fullmatch(entry.name):
                name = entry.name.removesuffix(".der")
                there.add(name)
                self._read(files, name, entry.path)
        for name in (self._seen.keys() | self._staples.kept.keys()) - there:
            self._seen.pop(name, None)
            self._staples.kept.pop(name, None)
        # What is written in the moment of a look may leave the directory's time as it was.
        if changed is not None and changed[-1] / 1e9 < self._now() - SURE_SECONDS:
            self._changed = changed

    def _read(self, files: StapleFiles, name: str, path: str) -> None:
        hint = _hint(path)
        if hint is None or self._seen.get(name) == hint:
            return
        self._seen[name] = hint
        self._staples.kept.pop(name, None)
        try:
            # Where others could have put it there is nothing, and that is no answer.
            der = files.load(name) or b""
            self._staples.kept[name] = Shown(der, until(der))
        except (ValueError, TypeError) as error:
            self._log.warn(
                "{path} is not shown: {why}; want an OCSP answer in a file of ours that nobody "
                "else can write; remove it",
                path=path,
                why=str(error),
            )

    def start(self) -> None:
        """Look every few seconds from now on."""
        if not self._running:
            self._running = True
            self._next = self._clock.callLater(LOOK_SECONDS, self._begin)

    def _begin(self) -> None:
        self._next = None
        files = self._files
        if files is None:
            self._ended(None)
            return
        self._look = Deferred.fromCoroutine(in_pieces(self.reading(files), self._clock))
        self._look.addErrback(self._failed)
        self._look.addBoth(self._ended)

    def _failed(self, failure: Failure) -> None:
        if self._running:
            self._log.failure("looking for OCSP answers failed", failure)

    def _ended(self, _: object) -> None:
        self._look = None
        if self._running:
            self._next = self._clock.callLater(LOOK_SECONDS, self._begin)

    def stop(self) -> None:
        """Look no more."""
        self._running = False
        if self._look is not None:
            self._look.cancel()
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._next = None


def _hint(path: Path | str) -> tuple[int, ...] | None:
    """Return what changes whenever a file does; None if it is not there."""
    try:
        found = os.stat(path)  # noqa: PTH116  # as in ``watch``
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
