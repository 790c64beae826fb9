"""
What can be counted at all: the families of numbers, their labels and their bounds.

No client can make a series. Labels are configured routes and upstreams, and words of ours;
what is none of them is OTHER. A route that answers with every status there is (an
application may let its users choose) has a share, and what goes beyond it is told by the
first digit alone.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from types import MappingProxyType

import attrs

from pomeriumd import errors
from pomeriumd.access.decision import PLAIN
from pomeriumd.http.gate import METHODS
from pomeriumd.oidc import grant
from pomeriumd.session import login

OTHER = "other"
"""Stands for what has no series of its own."""

Labels = tuple[str, ...]


@attrs.frozen
class Histogram:
    """
    Some cells of a row: one for each bucket, one for what is over all, and the sum.

    Args:
        first: the first of the row's cells that are its.
        bounds: the largest value of each bucket, ascending.
    """

    first: int
    bounds: tuple[float, ...]

    @property
    def sum(self) -> int:
        """Return which cell holds the sum of all values."""
        return self.first + len(self.bounds) + 1

    @property
    def end(self) -> int:
        """Return which cell comes after it."""
        return self.sum + 1

    def bucket(self, value: float) -> int:
        """Return which cell counts a value."""
        return self.first + bisect_left(self.bounds, value)


MILLISECONDS = (1.0, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000)
BYTES = (1.0, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216)

DURATION = Histogram(0, MILLISECONDS)
"""From a request's head to the end of its answer."""
REQUEST_SIZE = Histogram(DURATION.end, BYTES)
RESPONSE_SIZE = Histogram(REQUEST_SIZE.end, BYTES)
UPSTREAM = Histogram(0, MILLISECONDS)
"""From a request's first byte to the upstream to the head of its answer; a row of its own,
since a route may come to lead somewhere else."""

POOL = ("idle", "busy", "opening", "waiting")
"""What connections to an upstream do; the last are exchanges that wait for one."""


OUTCOMES = 32_768
"""Combinations of labels that exchanges are counted by."""

ROUTES = 1_000
"""Routes whose times and sizes are told apart; and pairs of a route and a reason for which TLS
with its upstream fails."""

DESTINATIONS = 256
"""Upstreams whose connections are."""

CALLS = 1_024
"""Combinations of labels that calls to authorize are counted by: 20 replicas, each with all
statuses there are of three methods."""

OCSP = ("good", "revoked", "failed")
"""What becomes of questions to OCSP responders."""

NOW = (
    "connections",
    "connections_limit",
    "streams",
    "sessions",
    "accept_paused",
    "decisions_kept",
    "decisions_asked",
    "watches",
    "staples_good",
    "staples_missing",
    "staples_required",
    "autocert_missing",
    "autocert_seconds",
    *(f"upstream_{what}" for what in POOL),
)
"""What a worker tells of its present state, in this order."""

SINCE = (
    "handshakes_failed",
    "headers_refused",
    "log_lines_dropped",
    "decision_hits",
    "decision_misses",
    "undecided",
    "unknown_routes",
    *(f"ocsp_{outcome}" for outcome in OCSP),
)
"""What a worker has counted elsewhere, and writes down each second."""


@attrs.frozen
class Family:
    """
    Numbers of one kind.

    Args:
        labels: what tells its series apart.
        size: cells of each.
        most: series at the most, in one worker and over all of them.
        counts: they only grow, and outlive the worker; others end with it.
    """

    labels: tuple[str, ...]
    size: int
    most: int
    counts: bool

    @property
    def others(self) -> Labels:
        """Return the labels of all that is beyond ``most``."""
        return (OTHER,) * len(self.labels)


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        # One cell for all that one exchange is counted by: what is asked for is summed up
        # from these when somebody reads.
        "exchange": Family(
            ("route", "host", "method", "status", "decision", "reasons", "error"),
            size=1,
            most=OUTCOMES,
            counts=True,
        ),
        "route": Family(("route", "host"), RESPONSE_SIZE.end, most=ROUTES, counts=True),
        "way": Family(("route", "host", "destination"), UPSTREAM.end, most=ROUTES, counts=True),
        "cut": Family(("reason",), size=1, most=32, counts=True),
        "upstream_tls": Family(("route", "host", "reason"), size=1, most=ROUTES, counts=True),
        "grpc_client": Family(
            ("host", "service", "method", "status"), size=1, most=CALLS, counts=True
        ),
        "grpc_server": Family(("service", "method", "status"), size=1, most=128, counts=True),
        "grpc_refused": Family(("reason",), size=1, most=8, counts=True),
        "autocert": Family(("outcome",), size=1, most=8, counts=True),
        "since": Family((), len(SINCE), most=1, counts=True),
        "now": Family((), len(NOW), most=1, counts=False),
        "upstream": Family(("destination",), len(POOL), most=DESTINATIONS, counts=False),
    }
)

SHARE = 128
"""Series of "exchange" that one route may have before the last digits of its statuses, its
methods and its reasons do not count any more."""

METHOD_WORDS = {method: method.decode("ascii") for method in METHODS}
STATUSES = range(100, 600)
DECISIONS = frozenset({"", "allow", "deny", "sign-in", "public", "own", "recheck", "redirect"})
ERRORS = frozenset(
    {""}
    | {
        name
        for module in (errors, grant, login)
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, errors.PomeriumError)
    }
)


def reasons_word(reasons: tuple[str, ...]) -> str:
    """Return the reasons of a decision as one label, as the log shows them."""
    return ",".join(reason if reason in PLAIN else OTHER for reason in reasons[: len(PLAIN)])
