"""
What one worker counts, in cells that its supervisor reads.

``Tally.count`` is on the way of every request and costs about a microsecond: one look-up of
all that the exchange is counted by, and then eight numbers in place. Whatever comes, it
finds a series: those of FAMILIES are bounded, and there is always one for the rest.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from pomeriumd.access.routes import Route
from pomeriumd.daemon.cells import Cells, Memory, Series, private_memory
from pomeriumd.daemon.series import (
    BYTES,
    DECISIONS,
    DURATION,
    ERRORS,
    FAMILIES,
    METHOD_WORDS,
    MILLISECONDS,
    NOW,
    OTHER,
    POOL,
    REQUEST_SIZE,
    RESPONSE_SIZE,
    SHARE,
    SINCE,
    STATUSES,
    UPSTREAM,
    Labels,
    reasons_word,
)
from pomeriumd.net.exchange import Exchange
from pomeriumd.settings.values import Address

_Spot = tuple[int, int, int]
"""The cell of the outcome, and the first ones of the route's two rows."""

_Key = tuple[Route | None, bytes, int, str, tuple[str, ...], str]
"""All that an exchange is counted by, as it stands in the exchange."""

SPOTS = 32_768
"""Keys whose cells are remembered; then all are forgotten, and found again when they come."""

_DURATION_SUM, _REQUEST_SUM = DURATION.sum, REQUEST_SIZE.sum
_RESPONSE_SUM, _UPSTREAM_SUM = RESPONSE_SIZE.sum, UPSTREAM.sum
_REQUEST_SIZE, _RESPONSE_SIZE = REQUEST_SIZE.first, RESPONSE_SIZE.first


def destination(host: str, port: int) -> str:
    """Return an upstream's address as a label."""
    return Address(host, port).text


class Tally:
    """
    The numbers of one worker.

    Args:
        memory: where they are kept, new; by default one that nobody else reads.

    Raises:
        ValueError: the memory holds another worker's numbers.
    """

    def __init__(self, memory: Memory | None = None) -> None:
        self.memory = private_memory() if memory is None else memory
        self._cells = Cells(self.memory)
        self._values = self._cells.values
        self._spots: dict[_Key, _Spot] = {}
        self._places: dict[Series, int] = {}
        self._counts: Counter[str] = Counter()
        self._shares: Counter[str] = Counter()
        self._pools: set[int] = set()
        # There before anything else, so that there is room for it.
        for name, family in FAMILIES.items():
            first = self._cells.add((name, family.others), family.size)
            assert first is not None  # noqa: S101  # the memory is new
            self._places[name, family.others] = first

    def count(self, ended: Iterable[tuple[Exchange, float]]) -> None:
        """
        Count exchanges that have ended.

        Args:
            ended: each with the seconds of the clock at which it did.
        """
        values, spots = self._values, self._spots
        # All written out: calls would cost as much as what they do.
        for exchange, at in ended:
            key = (
                exchange.route,
                exchange.request.method,
                exchange.status,
                exchange.decision,
                exchange.reasons,
                exchange.error,
            )
            outcome, row, way = spots.get(key) or self._spot(key)
            values[outcome] += 1.0
            took = (at - exchange.began) * 1000.0
            values[row + bisect_left(MILLISECONDS, took)] += 1.0
            values[row + _DURATION_SUM] += took
            received = exchange.received
            if received:
                values[row + _REQUEST_SIZE + bisect_left(BYTES, received)] += 1.0
                values[row + _REQUEST_SUM] += received
            else:
                values[row + _REQUEST_SIZE] += 1.0
            sent = exchange.sent
            values[row + _RESPONSE_SIZE + bisect_left(BYTES, sent)] += 1.0
            values[row + _RESPONSE_SUM] += sent
            if exchange.upstream:
                took = exchange.upstream * 1000.0
                values[way + bisect_left(MILLISECONDS, took)] += 1.0
                values[way + _UPSTREAM_SUM] += took

    def count_cut(self, reason: str) -> None:
        """Count a stream that was cut for a reason, a word of ours."""
        self._values[self._place("cut", (reason,))] += 1.0

    def count_tls(self, route: Route, reason: str) -> None:
        """Count a request that failed because TLS with its upstream did, for a word of ours."""
        labels = (route.id, route.settings.from_.host, reason)
        self._values[self._place("upstream_tls", labels)] += 1.0

    def forget_routes(self) -> None:
        """Hold no route of a generation that does not serve any more; numbers stay."""
        self._spots.clear()

    def set_now(self, numbers: Mapping[str, float]) -> None:
        """Write the present state down: a number for each of NOW."""
        self._write(self._places["now", ()], (numbers[name] for name in NOW))

    def set_since(self, numbers: Mapping[str, float]) -> None:
        """Write down what was counted elsewhere: a number for each of SINCE."""
        self._write(self._places["since", ()], (numbers[name] for name in SINCE))

    def set_calls(self, family: str, calls: Mapping[Labels, int]) -> None:
        """
        Write down how many calls there have been since the process began.

        Args:
            family: "grpc_client", "grpc_server" or "grpc_refused".
            calls: by its labels.
        """
        sums: Counter[int] = Counter()
        for labels, count in calls.items():
            sums[self._place(family, labels)] += count
        for place, count in sums.items():
            self._values[place] = count

    def upstream(self, where: str) -> int:
        """Return the series that tells of a destination; several may share one."""
        return self._place("upstream", (where,))

    def set_upstreams(self, pools: Mapping[int, Sequence[int]]) -> None:
        """
        Write down what the connections to all upstreams do.

        Args:
            pools: a number for each of POOL, by what ``upstream`` says of the destination;
                those that are not there have none.
        """
        nothing = (0,) * len(POOL)
        for first in self._pools.difference(pools):
            self._write(first, nothing)
        for first, numbers in pools.items():
            self._write(first, numbers)
        self._pools = set(pools)

    def _write(self, first: int, numbers: Iterable[float]) -> None:
        for place, number in enumerate(numbers, first):
            self._values[place] = number

    def _spot(self, key: _Key) -> _Spot:
        """Find the cells that count such an exchange."""
        if len(self._spots) >= SPOTS:
            self._spots.clear()
        route, method, status, decision, reasons, error = key
        at, to = ("", ""), ""
        if route is not None:
            settings = route.settings
            at = (route.id, settings.from_.host)
            to = destination(settings.to.host, settings.to.port)
        spot = self._spots[key] = (
            self._outcome(
                at,
                METHOD_WORDS.get(method, OTHER),
                status,
                decision if decision in DECISIONS else OTHER,
                reasons_word(reasons),
                error if error in ERRORS else OTHER,
            ),
            self._place("route", at),
            self._place("way", (*at, to)),
        )
        return spot

    def _outcome(
        self, route: Labels, method: str, status: int, decision: str, reasons: str, error: str
    ) -> int:
        known = status in STATUSES
        exact = (*route, method, str(status) if known else OTHER, decision, reasons, error)
        place = self._places.get(("exchange", exact))
        if place is not None:
            return place
        if self._shares[route[0]] >= SHARE:
            rough = f"{status // 100}xx" if known else OTHER
            return self._place("exchange", (*route, OTHER, rough, decision, OTHER, error))
        self._shares[route[0]] += 1
        return self._place("exchange", exact)

    def _place(self, family: str, labels: Labels) -> int:
        """Return the first cell of a series: a new one while there is room, else the others'."""
        place = self._places.get((family, labels))
        if place is not None:
            return place
        kind = FAMILIES[family]
        first = None
        if self._counts[family] < kind.most:
            first = self._cells.add((family, labels), kind.size)
        if first is None:
            return self._places[family, kind.others]
        self._counts[family] += 1
        self._places[family, labels] = first
        return first
