"""
The shared secret that nobody configured: made once, kept, and the same after a restart.

Only an all-in-one process may do without one in its settings: any other has partners that
must know it too.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from pomeriumd.errors import Problem, SettingsError

NAME = "shared_secret"
SIZE = 32


def kept_secret(state_dir: str, random: Callable[[int], bytes]) -> bytes:
    """
    Return the secret in ``state_dir``; make it, for this user alone, if there is none.

    Raises:
        SettingsError: it cannot be read or made, or is not what we write.
    """
    path = Path(state_dir) / NAME
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Whole or not at all, and never over one that another process has just made.
        draft = path.with_name(f"{NAME}.{os.getpid()}")
        try:
            draft.write_bytes(b"")
            draft.chmod(0o600)
            draft.write_bytes(random(SIZE))
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise SettingsError(
            [
                Problem(
                    "state_dir",
                    f"no shared_secret can be kept in {state_dir!r}: {error.strerror}; "
                    "make the directory writable and some room in it, name another one, or set "
                    "shared_secret",
                )
            ]
        ) from error
    return _read(path)


def _read(path: Path) -> bytes:
    try:
        secret = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        text = f"{str(path)!r} cannot be read: {error.strerror}"
        raise SettingsError([Problem("state_dir", text)]) from error
    if len(secret) != SIZE:
        text = f"{str(path)!r} has {len(secret)} bytes, want {SIZE}: remove it to have one made"
        raise SettingsError([Problem("state_dir", text)])
    return secret
