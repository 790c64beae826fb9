"""Files of the demo: whole or not at all, and secrets for nobody else."""

from __future__ import annotations

import os
from pathlib import Path


def keep(path: Path, octets: bytes, *, mode: int = 0o600) -> None:
    """
    Put a file in place, replacing the one that was there.

    Raises:
        OSError: it cannot be written.
    """
    new = path.with_name(f".{path.name}.new")
    # Removed first: a file of somebody's that is open to others would stay so.
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with open(descriptor, "wb") as file:  # noqa: PTH123  # from a descriptor, not a path
        file.write(octets)
    new.replace(path)
