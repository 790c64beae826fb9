"""The metrics as the text that Prometheus reads, made a little at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import attrs
from prometheus_client import Metric, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from pomeriumd.daemon.merge import Numbers, Totals, Worker
from pomeriumd.daemon.metrics import METRICS, Described, Facts, Gathered

PIECE = 200
"""Lines that are made at once: some two milliseconds."""

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4.encode("ascii")
"""Of the text: the form that every Prometheus reads."""


@attrs.frozen
class _Some(Collector):
    """A collector of one metric, or of a piece of it."""

    metric: Metric

    def collect(self) -> Iterator[Metric]:
        """Give it."""
        yield self.metric


def exposition(
    totals: Totals, workers: Callable[[], Iterable[Worker]], facts: Callable[[], Facts]
) -> Iterator[bytes]:
    """
    Give the text in pieces, each made when it is asked for; some are empty.

    Ten thousand routes are some 100,000 lines, and a process that also serves must not stand
    still for them.

    Args:
        totals: what was counted by workers that have ended.
        workers: gives those that run; asked once, at the first piece.
        facts: asked once, after them.
    """
    sums: Numbers = {}
    for _ in totals.merging(workers(), sums):
        yield b""
    numbers = Gathered(sums, facts())
    yield b""
    for described in METRICS:
        samples = iter(described.samples(described, numbers))
        octets = _text(described, list(islice(samples, PIECE)))
        yield octets
        while some := list(islice(samples, PIECE)):
            # Two lines of the metric itself come first in every piece.
            yield _text(described, some).split(b"\n", 2)[2]


def _text(described: Described, samples: list[Sample]) -> bytes:
    name = described.full_name
    if described.kind == "counter":
        name = name.removesuffix("_total")  # which the library puts back
    metric = Metric(name, described.text, described.kind)
    metric.samples = samples
    return generate_latest(_Some(metric))
