"""
Reading the files of the settings, and remembering which were read and what was in them.

What is remembered is what a watcher compares with: so both read through ``blocks``, and what
one cannot read the other cannot.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator

import attrs

LARGEST_FILE = 4 * 1024 * 1024
"""Bytes of a settings file: some ten thousand routes. No file is read any further."""

LARGEST_NAMED = 1024 * 1024
"""Bytes of a certificate or secret file: all roots of a system are a fifth of it."""

MOST_FILES = 20_000
"""Files that are read for one set of settings: two for each of the most routes."""

LARGEST_TOGETHER = 64 * 1024 * 1024
"""Bytes of all of them: twenty thousand certificates with their chains."""

LONGEST_PATH = 4096
"""Bytes of a path that the system takes (PATH_MAX)."""

MOST_LISTED = 30_000
"""Names in a directory of certificates: two for each of as many as there may be, and others."""

UNREADABLE = "unreadable"
"""In place of a digest: the file is not there, or may not be read, or is none."""

_BLOCK = 256 * 1024


def blocks(path: str) -> Iterator[bytes]:
    """
    Yield what a regular file holds, in pieces that take a fraction of a millisecond.

    Of one that is too large, it is one byte more than LARGEST_FILE.

    Raises:
        OSError: it cannot be read, or is no regular file (a pipe could keep us waiting for
            ever).
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "not a regular file")
        left = LARGEST_FILE + 1
        while left and (block := os.read(descriptor, min(_BLOCK, left))):
            left -= len(block)
            yield block
    finally:
        os.close(descriptor)


def names_in(path: str) -> tuple[str, ...]:
    """
    Return what stands in a directory, sorted; without names that begin with a dot.

    Raises:
        OSError: it cannot be read, or holds more than MOST_LISTED.
    """
    found = []
    with os.scandir(path) as entries:
        for count, entry in enumerate(entries):
            if count >= MOST_LISTED:
                raise OSError(0, f"holds more than {MOST_LISTED} names")
            if not entry.name.startswith("."):
                found.append(entry.name)
    return tuple(sorted(found))


def listing_digest(names: Iterable[str]) -> str:
    """Return the SHA-256 of names in a directory, in hex."""
    return hashlib.sha256(b"\0".join(os.fsencode(name) for name in names)).hexdigest()


@attrs.define
class Files:
    """
    Reads files, each one once: a file that two keys name is the same for both.

    Paths are kept as they are named, with no symbolic link resolved and no ``..`` taken out,
    which behind a link would lead elsewhere.
    """

    _contents: dict[str, bytes | OSError] = attrs.field(factory=dict, repr=False)
    _seen: dict[str, str] = attrs.field(factory=dict, repr=False)
    _size: int = 0

    @property
    def seen(self) -> dict[str, str]:
        """
        Return for each file that was asked for, by its absolute path, what it held.

        That is the SHA-256 in hex, or UNREADABLE. A directory has a slash at the end.
        """
        return dict(self._seen)

    def read(self, path: str, most: int) -> bytes:
        """
        Return what a file holds.

        Args:
            path: absolute, or from the working directory.
            most: bytes that it may have.

        Raises:
            OSError: it cannot be read, is no regular file, is larger than ``most``, or is one
                too many.
        """
        path = absolute(path)
        if path not in self._contents:
            self._contents[path] = self._first(path)
        content = self._contents[path]
        if isinstance(content, OSError):
            raise content.with_traceback(None)
        if len(content) > most:
            raise OSError(0, f"larger than {most} bytes")
        return content

    def listing(self, path: str) -> tuple[str, ...]:
        """
        Return the names in a directory, as :func:`names_in` does, and remember them.

        Raises:
            OSError: see there.
        """
        path = f"{absolute(path).rstrip('/')}/"
        if wrong := _never(path) or self._one_too_many():
            raise OSError(0, wrong)
        try:
            names = names_in(path)
        except OSError:
            self._seen[path] = UNREADABLE
            raise
        self._seen[path] = listing_digest(names)
        return names

    def _first(self, path: str) -> bytes | OSError:
        if wrong := _never(path) or self._one_too_many():
            return OSError(0, wrong)
        try:
            content = b"".join(blocks(path))
        except OSError as error:
            self._seen[path] = UNREADABLE
            return error
        self._size += len(content)
        self._seen[path] = hashlib.sha256(content).hexdigest()
        return content

    def _one_too_many(self) -> str:
        if len(self._seen) >= MOST_FILES:
            return f"more than {MOST_FILES} files are named"
        if self._size > LARGEST_TOGETHER:
            return f"all files together are larger than {LARGEST_TOGETHER} bytes"
        return ""


def _never(path: str) -> str:
    """Return why no system would take this for a path; empty if one would."""
    try:
        size = len(os.fsencode(path))
    except UnicodeEncodeError:
        return "its path has a character that no path has"
    if "\0" in path:
        return "holds a NUL character"
    return "its path is too long" if size > LONGEST_PATH else ""


def absolute(path: str) -> str:
    """Return a path from the root, otherwise as it was named."""
    return os.path.join(os.getcwd(), path)  # noqa: PTH109, PTH118 - Path would resolve nothing, but drop dots
