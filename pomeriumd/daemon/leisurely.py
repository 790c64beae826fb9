"""
A worker that nobody waits for: it is imported while no one else wants the processor.

That takes a core a third of a second, and whoever serves would feel it. The kernel has a policy
for such work, SCHED_IDLE, and lets nobody without rights leave it again; but it is one thread's
(sched(7)), and ends with that. The process itself has the usual one from there on.
"""

from __future__ import annotations

import contextlib
import gc
import os
import threading


def _import_all() -> None:
    # A filter of system calls may forbid it; then it is as if somebody waited.
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    from pomeriumd.daemon.reactor import install  # noqa: PLC0415  # not before

    install()
    import pomeriumd.daemon.serving  # noqa: PLC0415
    import pomeriumd.daemon.worker  # noqa: F401, PLC0415
    from pomeriumd.net.verify import system_trust  # noqa: PLC0415

    # Whoever begins to serve does this as well, and finds it done.
    system_trust()
    gc.collect()
    gc.freeze()


def main() -> None:
    """Come to where a worker begins."""
    importing = threading.Thread(target=_import_all)
    importing.start()
    importing.join()
    from pomeriumd.daemon.worker import main as begin  # noqa: PLC0415  # it is there now

    begin()


if __name__ == "__main__":
    main()
