"""
The shared secret that nobody configured: made once, kept, and the same after a restart.

Only an all-in-one process may do without one in its settings: any other has partners that
must know it too. Whoever can write this file, or replace it, can sign anybody in; so it is
taken only from a directory and with a mode that keep others out.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from pomeriumd.errors import Problem, SettingsError
from pomeriumd.settings.model import Settings
from pomeriumd.settings.rules import ROOTS, same_root

NAME = "shared_secret"
SIZE = 32

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
OTHERS = stat.S_IRWXG | stat.S_IRWXO


@attrs.frozen
class Owner:
    """Who the process will be, once it has given up its rights; -1 is who it is now."""

    uid: int = -1
    gid: int = -1

    @classmethod
    def told(cls, twistd: Mapping[str, Any]) -> Owner:
        """Return who twistd's own options say; only root can become somebody else."""
        if os.geteuid() != 0:
            return cls()
        given = (twistd.get(name) for name in ("uid", "gid"))
        return cls(*(-1 if number is None else number for number in given))


def shared_root(
    settings: Settings,
    random: Callable[[int], bytes],
    owner: Owner | None = None,
    known: bytes | None = None,
) -> bytes:
    """
    Return the shared secret in force: the configured one, else the one that is kept.

    Args:
        settings: checked already.
        random: returns that many unpredictable bytes.
        owner: whom what is made will belong to.
        known: the kept one, where it was read before; the disk is left alone then.

    Raises:
        SettingsError: there is none and none can be made, or it is a secret of another use.
    """
    if settings.shared_secret is not None:
        return settings.shared_secret.reveal()
    # Who names a previous one has a present one. Making it here would give each replica
    # its own, where the line that names it was only lost.
    make = settings.shared_secret_previous is None
    secret = known or kept_secret(settings.state_dir, random, owner or Owner(), make=make)
    for name in ROOTS[1:]:
        other = getattr(settings, name)
        if other is not None and other.reveal() == secret:
            text = same_root(name, f"the one that is kept in {settings.state_dir!r}")
            raise _problem(name, text)
    return secret


def kept_secret(
    state_dir: str, random: Callable[[int], bytes], owner: Owner, *, make: bool = True
) -> bytes:
    """
    Return the secret in ``state_dir``; make it, for its owner alone, if there is none.

    Raises:
        SettingsError: it cannot be read or made, is not what we write, or others could have
            put it there.
    """
    path = Path(state_dir) / NAME
    secret = _read(path, owner)
    if secret is not None:
        return secret
    if not make:
        raise _problem(
            "shared_secret",
            f"missing; shared_secret_previous is there, and none is kept in {state_dir!r}; want "
            "the one that signs now, or take shared_secret_previous out",
        )
    try:
        _make(path, random, owner)
    except OSError as error:
        raise _problem(
            "state_dir",
            f"no shared_secret can be kept in {state_dir!r}: {error.strerror}; "
            "make the directory writable and some room in it, name another one, or set "
            "shared_secret",
        ) from error
    secret = _read(path, owner)
    if secret is None:
        raise _problem("state_dir", f"{str(path)!r} is gone as soon as it is made")
    return secret


def _problem(place: str, text: str) -> SettingsError:
    return SettingsError([Problem(place, text)])


def _make(path: Path, random: Callable[[int], bytes], owner: Owner) -> None:
    """Make it whole or not at all, and never over one that another process has just made."""
    _make_directory(path.parent, owner)
    if fault := _directory_fault(path.parent, owner):
        raise _problem("state_dir", fault)
    # A name that nobody can guess, and O_EXCL: nothing that somebody laid there is followed.
    draft = path.with_name(f"{NAME}.{random(8).hex()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            os.fchown(descriptor, owner.uid, owner.gid)
            os.write(descriptor, random(SIZE))
            # After a power cut the name must not be there with nothing behind it.
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink(missing_ok=True)


def _make_directory(path: Path, owner: Owner) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchown(descriptor, owner.uid, owner.gid)
    finally:
        os.close(descriptor)


def _read(path: Path, owner: Owner) -> bytes | None:
    """Return what is kept; None if nothing is."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _problem(
            "state_dir",
            f"{str(path)!r} cannot be read: {error.strerror}; want a file of the user that the "
            "daemon runs as",
        ) from error
    try:
        fault = _directory_fault(path.parent, owner) or _fault(path, os.fstat(descriptor), owner)
        if fault:
            raise _problem("state_dir", fault)
        return os.read(descriptor, SIZE)
    finally:
        os.close(descriptor)


def _directory_fault(path: Path, owner: Owner) -> str:
    """Return why nothing that lies there is to be believed; empty if it is."""
    found = path.stat()
    if found.st_mode & OTHERS_WRITE:
        return f"others can write in {str(path)!r} and replace the secret: want mode 0700"
    if _foreign(found, owner):
        return f"{str(path)!r} belongs to user {found.st_uid}: want it to be ours"
    return ""


def _foreign(found: os.stat_result, owner: Owner) -> bool:
    return found.st_uid not in (0, os.geteuid(), owner.uid)


def _fault(path: Path, found: os.stat_result, owner: Owner) -> str:
    """Return why what is there is not to be used; empty if it is."""
    shown = repr(str(path))
    if not stat.S_ISREG(found.st_mode):
        return f"{shown} is no regular file: remove it to have one made"
    if found.st_size != SIZE:
        return f"{shown} has {found.st_size} bytes, want {SIZE}: remove it to have one made"
    if found.st_mode & OTHERS:
        return f"others can read {shown}: want mode 0600; remove it to have another made"
    if _foreign(found, owner):
        return f"{shown} belongs to user {found.st_uid}: remove it to have one made"
    if owner.uid not in (-1, found.st_uid):
        return (
            f"{shown} belongs to user {found.st_uid}, and the daemon will be user {owner.uid}, "
            "who cannot read it again: give it to that one"
        )
    return ""
