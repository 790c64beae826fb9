"""
The limit of open files, which is the limit of connections.

A process is given a soft limit that is far below what it may have (1024 under systemd, for
the sake of ``select()``, which nothing here uses). It is raised to the hard limit; where that
is less than the settings may come to need, the log says so at the start and not at the peak.
"""

from __future__ import annotations

import resource
from collections.abc import Collection

from twisted.logger import Logger

from pomeriumd.errors import Exhausted
from pomeriumd.net.peer import Peer

BESIDES = 64
"""Descriptors for all that is no connection: the log, the reactor, look-ups of names."""

_log = Logger()


def share(most: int, workers: int) -> int:
    """Return what each of the workers may have of so many connections: its part, rounded up."""
    return -(-most // workers)


def needed(clients: int, each: int, peers: Collection[Peer]) -> int:
    """
    Return how many descriptors one process may come to need.

    Args:
        clients: connections of clients to this process at the most; see :func:`share`.
        each: connections to each upstream at the most, the same.
        peers: the upstreams. No client needs more than one connection to one of them.
    """
    return clients + min(clients, each * len(peers)) + BESIDES


def provide(wanted: int) -> None:
    """Raise the limit of this process as far as we may, and say it if so many are not had."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < wanted:
        _log.warn(
            "at most {limit} files may be open, and the settings may come to need {wanted}; "
            + Exhausted.remedy,
            limit=hard,
            wanted=wanted,
        )
