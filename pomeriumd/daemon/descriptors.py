"""
The limit of open files, which is the limit of connections.

A process is given a soft limit that is far below what it may have (1024 under systemd, for
the sake of ``select()``, which nothing here uses). It is raised as far as the settings ask
for; where the hard limit is in the way, the log says so at the start and not at the peak.
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


def needed(clients: int, each: int, peers: Collection[Peer]) -> int:
    """
    Return how many descriptors the settings may come to need.

    Args:
        clients: connections of clients at the most.
        each: connections to each upstream at the most.
        peers: the upstreams. No client needs more than one connection to one of them.
    """
    return clients + min(clients, each * len(peers)) + BESIDES


def provide(wanted: int) -> None:
    """Raise the limit to so many, as far as we may, and say it if that is less."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if not _below(soft, wanted):
        return
    limit = hard if _below(hard, wanted) else wanted
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    if limit < wanted:
        _log.warn(
            "at most {limit} files may be open, and the settings may come to need {wanted}; "
            + Exhausted.remedy,
            limit=limit,
            wanted=wanted,
        )


def _below(limit: int, wanted: int) -> bool:
    return limit != resource.RLIM_INFINITY and limit < wanted
