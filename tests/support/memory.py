"""Settings in a memfd, as one process of ours gives them to another."""

from __future__ import annotations

import os
from unittest import TestCase

from pomeriumd.daemon import frames
from pomeriumd.daemon.frames import Framed
from pomeriumd.settings.canonical import digest
from pomeriumd.settings.model import Settings
from pomeriumd.settings.values import Secret


def framed(settings: Settings, kept: Secret | None = None) -> Framed:
    """Return settings as they travel."""
    return Framed(settings=settings, digest=digest(settings), kept=kept)


def memory(case: TestCase, content: Framed | bytes = b"") -> int:
    """Return a descriptor of memory with settings in it, or any octets, until the case ends."""
    descriptor = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    case.addCleanup(os.close, descriptor)
    with open(descriptor, "wb", closefd=False) as file:
        if isinstance(content, bytes):
            file.write(content)
        else:
            frames.write(file, content)
    return descriptor
