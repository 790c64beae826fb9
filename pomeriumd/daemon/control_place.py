"""
A place for the control socket: what lies there is removed only if it is a dead daemon's socket.

Whoever can write in the directory could put a socket of their own there, so the directory is
as good as the service's user keeps it; nothing here can mend one that is open to all.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path


class NoPlace(Exception):
    """No socket can be bound there; the text says why and what to do."""


@contextlib.contextmanager
def free_place(path: str) -> Iterator[None]:
    """
    Keep a place free, while the block runs, for a socket to be bound and listened on.

    Args:
        path: absolute. Its directory is made, for this user alone, if it is not there.

    Raises:
        NoPlace: the directory cannot be had, or somebody is there.
    """
    directory = Path(path).parent
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise NoPlace(f"{error.strerror}; {_REMEDY}") from error
    try:
        # Two daemons that start at once would both find the old socket dead, and the second
        # would remove the first one's new one. Without waiting: who may read may lock, for ever.
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise NoPlace("another program has locked its directory; it is tried again") from error
        _clear(path)
        try:
            yield
        except OSError as error:
            raise NoPlace(f"{error.strerror}; {_REMEDY}") from error
    finally:
        os.close(held)


_REMEDY = "let this user write in its directory, or name another place in control_socket"


def _clear(path: str) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise NoPlace(f"{error.strerror}; {_REMEDY}") from error
    if not stat.S_ISSOCK(found.st_mode):
        raise NoPlace(
            "a file that is no socket lies there; move it away, or name another place in "
            "control_socket"
        )
    if _answers(path):
        raise NoPlace(
            "another daemon answers there; stop that one, or name another place in control_socket"
        )
    try:
        os.unlink(path)  # noqa: PTH108  # a text is all we have
    except OSError as error:
        raise NoPlace(f"a dead daemon's socket lies there: {error.strerror}; {_REMEDY}") from error


def _answers(path: str) -> bool:
    """Return whether anybody listens; whatever is unclear counts as somebody."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.setblocking(False)
        return asking.connect_ex(path) != errno.ECONNREFUSED
