"""
Watches the files that the settings were read from, and tells when another content is in them.

It is the content that counts, not a time: a deployment that writes all files anew changes
nothing, and a file that was swapped with its times set back has changed. What ``stat`` says is
a hint that saves reading. Nothing of inotify: that loses sight of a file behind a symbolic link
that is swapped, as Kubernetes and certbot do, and of network file systems.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from pomeriumd.daemon.pieces import in_pieces
from pomeriumd.pieces import Pieces
from pomeriumd.settings.files import UNREADABLE, blocks, listing_digest, names_in

LOOK_SECONDS = 1.0
"""From the end of a look to the next one."""

FEW = 32
"""Files of one piece of a look: some 0.1 ms."""

OUT_OF_REACH = "out of reach"
"""In place of a digest: the file may be there, and we have no permission to read it."""

Hint = tuple[int, ...]
"""What changes whenever a file does: device, inode, size, both times; or an error's number."""


@attrs.define
class _Seen:
    """What was last seen of a file."""

    hint: Hint
    content: str
    """Its SHA-256, UNREADABLE or OUT_OF_REACH."""
    certain: bool
    """Whether the content goes with the hint: see ``Watch._content``."""


class Watch(Service):
    """
    Looks each second, and tells once when there is something new and it is at rest.

    Who is slow, or writes one file after the other, is waited for: what was found must be the
    same at two looks. Someone who never stops writing is waited for until he does.

    A key that root alone may read was read before twistd gave up its rights, and cannot be
    compared by us: it counts as unchanged until we can read it.

    A file on storage that hangs stops the process that looks, as any access to it would.

    Args:
        files: what the settings were read from: SHA-256 or ``files.UNREADABLE`` by path. Of a
            directory, which has a slash at the end, it is that of the names in it.
        clock: gives the looks their time.
        changed: is called when there is another content; it may be set later.
    """

    _log = Logger()

    def __init__(
        self, files: Mapping[str, str], clock: Any, changed: Callable[[], object] = lambda: None
    ) -> None:
        self.changed = changed
        self._clock = clock
        self._expected: Mapping[str, str] = dict(files)
        self._seen: dict[str, _Seen] = {}
        self._reached: set[str] = set()
        """Files that we could read, at least once."""
        self._before: dict[str, str] = {}
        """What was not as expected at the last look."""
        self._told: dict[str, str] = {}
        """What was not as expected when it was last told of."""
        self._next: IDelayedCall | None = None
        self._look: Deferred[None] | None = None

    def expect(self, files: Mapping[str, str]) -> None:
        """
        Compare with these from now on: the settings were read anew, whatever became of it.

        Args:
            files: as above. None where a reading failed so that it could not tell: the same
                files go on being watched, and are told of when they change once more.
        """
        if not files:
            return
        self._expected = dict(files)
        self._told = {}
        self._seen = {path: seen for path, seen in self._seen.items() if path in files}
        self._reached &= files.keys()

    def startService(self) -> None:
        """Begin to look."""
        super().startService()
        self._next = self._clock.callLater(LOOK_SECONDS, self._begin)

    def stopService(self) -> None:
        """Look no more."""
        super().stopService()
        if self._next is not None and self._next.active():
            self._next.cancel()
        if self._look is not None:
            self._look.cancel()

    def _begin(self) -> None:
        self._look = Deferred.fromCoroutine(in_pieces(self._looking(), self._clock))
        self._look.addErrback(self._failed)
        self._look.addBoth(self._ended)

    def _failed(self, failure: Any) -> None:
        if self.running:
            self._log.failure("looking at the files of the settings failed", failure)

    def _ended(self, _: object) -> None:
        self._look = None
        if self.running:
            self._next = self._clock.callLater(LOOK_SECONDS, self._begin)

    def _looking(self) -> Pieces[None]:
        expected = self._expected
        found: dict[str, str] = {}
        for count, (path, wanted) in enumerate(expected.items()):
            if not count % FEW:
                yield
            content = yield from self._content(path)
            if content == OUT_OF_REACH:
                content = UNREADABLE if path in self._reached else wanted
            if content != wanted:
                found[path] = content
        if expected is not self._expected:
            return
        at_rest, self._before = found == self._before, found
        if at_rest and found != self._told:
            self._told = found
            if found:
                self.changed()

    def _content(self, path: str) -> Pieces[str]:
        """
        Return what a file holds now, and read it only if it must be.

        A clock of a file system may stand still for some milliseconds: what is written right
        after a reading can have the same times. So a hint is believed when a second reading,
        a look later, has found it again. A file that could not be read is always tried:
        whether it may be read depends on more than ``stat`` tells.
        """
        hint = _hint(path)
        seen = self._seen.get(path)
        again = seen is not None and seen.hint == hint
        if seen is not None and again and seen.certain:
            return seen.content
        content = yield from _hashed(path)
        good = content not in (UNREADABLE, OUT_OF_REACH)
        if good:
            self._reached.add(path)
        self._seen[path] = _Seen(hint, content, again and good)
        return content


def _hint(path: str) -> Hint:
    try:
        found = os.stat(path)  # noqa: PTH116  # a Path for each of thousands would be waste
    except OSError as error:
        return (error.errno or 0,)
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _hashed(path: str) -> Pieces[str]:
    digest = hashlib.sha256()
    try:
        if path.endswith("/"):
            return listing_digest(names_in(path))
        for block in blocks(path):
            digest.update(block)
            yield
    except PermissionError:
        return OUT_OF_REACH
    except OSError:
        return UNREADABLE
    return digest.hexdigest()
