"""
What the metrics tell; METRICS is the one list of them, ``exposition`` makes the text of it.

Names are Pomerium's where it has one. ``python -m pomeriumd.daemon.metrics`` prints the table
of docs/metrics.md; a test compares.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from operator import itemgetter

import attrs
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

from pomeriumd.daemon.expiry import MOST_NAMED, Expiries
from pomeriumd.daemon.merge import Numbers
from pomeriumd.daemon.processes import Use
from pomeriumd.daemon.series import (
    DURATION,
    NOW,
    OCSP,
    OTHER,
    POOL,
    REQUEST_SIZE,
    RESPONSE_SIZE,
    SINCE,
    UPSTREAM,
    Histogram,
    Labels,
)

PREFIX = "pomerium_"

STATES = ("starting", "serving", "reserve", "stopping", "resting")
"""Of workers; each is told of also when none is in it, for alerts that wait for zero."""


@attrs.frozen(kw_only=True)
class Facts:
    """What the supervisor knows and no worker counts."""

    version: str
    services: str
    """The setting; the label ``service`` of all that has one."""
    digest: str
    """Of the generation in force: 16 hex digits."""
    since: float
    """When it came into force: seconds since the epoch."""
    routes: int
    """How many it has."""
    reload_good: bool = True
    """The last attempt to load settings succeeded; a start is one."""
    reload_good_at: float
    """When one last did: seconds since the epoch."""
    reload_failures: int = 0
    workers: Mapping[str, int] = attrs.Factory(dict)
    """How many are in each of STATES, where there are any."""
    restarts: Mapping[str, int] = attrs.Factory(dict)
    """How many were replaced, for each reason; with every reason from the start, since
    Prometheus sees no increase where there was nothing before."""
    lines_dropped: int = 0
    """By the supervisor's own log."""
    expiries: Expiries = attrs.field(factory=Expiries)
    """Of the certificates in force."""
    left_out: int = 0
    """Certificates that cannot be used now."""
    certificate_failures: int = 0
    """How often one became such."""
    processes: Mapping[str, Use] = attrs.Factory(dict)
    """What each process uses, by what it is called: ``supervisor``, ``worker-1``."""


@attrs.frozen
class Described:
    """A metric as the manual lists it."""

    name: str
    """Without prefix; as it stands in a query, but for the suffixes of a histogram."""
    kind: str
    labels: tuple[str, ...]
    text: str
    """One sentence, for the manual and the HELP line."""
    samples: Callable[[Described, Gathered], Iterable[Sample]] = attrs.field(repr=False)

    @property
    def full_name(self) -> str:
        """Return the name with the prefix."""
        return PREFIX + self.name

    def sample(self, labels: Sequence[str], value: float) -> Sample:
        """Return one sample."""
        return Sample(self.full_name, dict(zip(self.labels, labels, strict=True)), value)


class Gathered:
    """The merged numbers by family, and what is summed up from them."""

    def __init__(self, merged: Numbers, facts: Facts) -> None:
        self.facts = facts
        self._families: dict[str, dict[Labels, tuple[float, ...]]] = {}
        for (family, labels), numbers in merged.items():
            self._families.setdefault(family, {})[labels] = numbers

    def __getitem__(self, family: str) -> Mapping[Labels, tuple[float, ...]]:
        """Return the series of a family."""
        return self._families.get(family, {})

    def exchanges(self, *places: int) -> Mapping[Labels, float]:
        """Return how many exchanges there were for each value of two or more of the labels."""
        sums: dict[Labels, float] = {}
        some = itemgetter(*places)
        for labels, (count,) in self["exchange"].items():
            if count:
                found = some(labels)
                sums[found] = sums.get(found, 0.0) + count
        return sums


_Samples = Callable[[Described, Gathered], Iterable[Sample]]


def _fact(read: Callable[[Facts], float], *labels: Callable[[Facts], str]) -> _Samples:
    """Give one sample: a fact."""

    def samples(metric: Described, numbers: Gathered) -> Iterator[Sample]:
        facts = numbers.facts
        yield metric.sample([label(facts) for label in labels], read(facts))

    return samples


def _by(read: Callable[[Facts], Mapping[str, float]]) -> _Samples:
    """Give a sample for each entry of a fact that is a map."""

    def samples(metric: Described, numbers: Gathered) -> Iterator[Sample]:
        for label, value in sorted(read(numbers.facts).items()):
            yield metric.sample([label], value)

    return samples


def _expiring(metric: Described, numbers: Gathered) -> Iterator[Sample]:
    for one in numbers.facts.expiries.named:
        yield metric.sample([one.title, one.place], one.expires)


def _of(read: Callable[[Use], float | None]) -> _Samples:
    """Give a sample for each process of which the system tells."""

    def samples(metric: Described, numbers: Gathered) -> Iterator[Sample]:
        for process, use in sorted(numbers.facts.processes.items()):
            value = read(use)
            if value is not None:
                yield metric.sample([process], value)

    return samples


def _worker(family: str, names: tuple[str, ...], name: str) -> _Samples:
    """Give the sum over all workers of one of their fixed numbers."""
    place = names.index(name)

    def samples(metric: Described, numbers: Gathered) -> Iterator[Sample]:
        found = numbers[family].get(())
        yield metric.sample([], found[place] if found is not None else 0)

    return samples


def _dropped(metric: Described, numbers: Gathered) -> Iterator[Sample]:
    found = numbers["since"].get(())
    workers = found[SINCE.index("log_lines_dropped")] if found is not None else 0
    yield metric.sample([], workers + numbers.facts.lines_dropped)


def _cut(metric: Described, numbers: Gathered) -> Iterator[Sample]:
    for labels, (count,) in numbers["cut"].items():
        if count:
            yield metric.sample(labels, count)


def _upstream_tls(metric: Described, numbers: Gathered) -> Iterator[Sample]:
    for (route, host, reason), (count,) in numbers["upstream_tls"].items():
        if count:
            yield metric.sample((host, route, reason), count)


def _calls(metric: Described, numbers: Gathered) -> Iterator[Sample]:
    for labels, (count,) in numbers["grpc_client"].items():
        if count:
            yield metric.sample((numbers.facts.services, *labels), count)


def _answers(metric: Described, numbers: Gathered) -> Iterator[Sample]:
    for labels, (count,) in numbers["grpc_server"].items():
        if count:
            yield metric.sample((numbers.facts.services, *labels), count)


def _refusals(metric: Described, numbers: Gathered) -> Iterator[Sample]:
    for labels, (count,) in numbers["grpc_refused"].items():
        if count:
            yield metric.sample(labels, count)


def _orders(metric: Described, numbers: Gathered) -> Iterator[Sample]:
    for labels, (count,) in numbers["autocert"].items():
        if labels[0] != OTHER:
            yield metric.sample(labels, count)


def _renewal(metric: Described, numbers: Gathered) -> Iterator[Sample]:
    found = numbers["now"].get(())
    if found is not None and found[NOW.index("autocert_seconds")]:
        yield metric.sample([], found[NOW.index("autocert_seconds")])


def _requests(metric: Described, numbers: Gathered) -> Iterator[Sample]:
    service = numbers.facts.services
    for (host, route, method, status), count in numbers.exchanges(1, 0, 2, 3).items():
        yield metric.sample((service, host, route, method, status), count)


def _decisions(metric: Described, numbers: Gathered) -> Iterator[Sample]:
    for labels, count in numbers.exchanges(1, 0, 4, 5).items():
        if labels[2]:
            yield metric.sample(labels, count)


def _errors(metric: Described, numbers: Gathered) -> Iterator[Sample]:
    sums: dict[str, float] = {}
    for (_, kind), count in numbers.exchanges(0, 6).items():
        sums[kind] = sums.get(kind, 0.0) + count
    for kind, count in sums.items():
        if kind:
            yield metric.sample([kind], count)


def _pools(metric: Described, numbers: Gathered) -> Iterator[Sample]:
    for (where,), counts in numbers["upstream"].items():
        if where == OTHER and not any(counts):
            continue
        for state, count in zip(POOL, counts, strict=True):
            yield metric.sample([where, state], count)


def _histogram(family: str, shape: Histogram) -> _Samples:
    """Give the buckets, the sum and the count of each route."""
    edges = [*map(floatToGoString, shape.bounds), "+Inf"]

    def samples(metric: Described, numbers: Gathered) -> Iterator[Sample]:
        name, service = metric.full_name, numbers.facts.services
        for (route, host, *to), cells in numbers[family].items():
            counts = list(accumulate(cells[shape.first : shape.sum]))
            if not counts[-1]:
                continue
            labels = dict(zip(metric.labels, (service, host, route, *to), strict=True))
            for edge, count in zip(edges, counts, strict=True):
                yield Sample(f"{name}_bucket", {**labels, "le": edge}, count)
            yield Sample(f"{name}_sum", labels, cells[shape.sum])
            yield Sample(f"{name}_count", labels, counts[-1])

    return samples


def _fetched(metric: Described, numbers: Gathered) -> Iterator[Sample]:
    found = numbers["since"].get(())
    for outcome in OCSP:
        count = found[SINCE.index(f"ocsp_{outcome}")] if found is not None else 0
        yield metric.sample([outcome], count)


_ROUTE = ("service", "host", "route")

METRICS: tuple[Described, ...] = (
    Described(
        "http_server_requests_total",
        "counter",
        (*_ROUTE, "http_method", "http_status"),
        "Requests that were answered, or whose client left (499).",
        _requests,
    ),
    Described(
        "http_server_request_duration_ms",
        "histogram",
        _ROUTE,
        "Milliseconds from a request's head to the end of its answer, streams and tunnels too.",
        _histogram("route", DURATION),
    ),
    Described(
        "http_server_request_size_bytes",
        "histogram",
        _ROUTE,
        "Bytes of the bodies that clients sent.",
        _histogram("route", REQUEST_SIZE),
    ),
    Described(
        "http_server_response_size_bytes",
        "histogram",
        _ROUTE,
        "Bytes of the bodies that clients were sent.",
        _histogram("route", RESPONSE_SIZE),
    ),
    Described(
        "http_client_request_duration_ms",
        "histogram",
        (*_ROUTE, "destination"),
        "Milliseconds that an application took to begin its answer.",
        _histogram("way", UPSTREAM),
    ),
    Described(
        "decisions_total",
        "counter",
        ("host", "route", "decision", "reason"),
        "Requests by what was decided and why, in the words of the log.",
        _decisions,
    ),
    Described(
        "errors_total",
        "counter",
        ("kind",),
        "Requests that failed, by the kind of error that the log names.",
        _errors,
    ),
    Described(
        "upstream_tls_failures_total",
        "counter",
        ("host", "route", "reason"),
        "Requests that failed because TLS with the application did, by the reason that the log "
        "names.",
        _upstream_tls,
    ),
    Described(
        "undecided_total",
        "counter",
        (),
        "Decisions that no authorize service gave: of requests, each a 503, and of streams.",
        _worker("since", SINCE, "undecided"),
    ),
    Described(
        "decision_cache_hits_total",
        "counter",
        (),
        "Decisions that were known from before.",
        _worker("since", SINCE, "decision_hits"),
    ),
    Described(
        "decision_cache_misses_total",
        "counter",
        (),
        "Decisions for which an authorize service was asked, or waited for with others.",
        _worker("since", SINCE, "decision_misses"),
    ),
    Described(
        "decision_cache_entries",
        "gauge",
        (),
        "Decisions that are kept; one that several workers know counts in each.",
        _worker("now", NOW, "decisions_kept"),
    ),
    Described(
        "decisions_in_flight",
        "gauge",
        (),
        "Questions to authorize services that have no answer yet.",
        _worker("now", NOW, "decisions_asked"),
    ),
    Described(
        "grpc_client_requests_total",
        "counter",
        ("service", "host", "grpc_service", "grpc_method", "grpc_client_status"),
        "Calls of authorize services that have ended, by the replica's address and gRPC's status.",
        _calls,
    ),
    Described(
        "grpc_server_requests_total",
        "counter",
        ("service", "grpc_service", "grpc_method", "grpc_server_status"),
        "Calls of proxies and others that authorize has answered; a stream counts when it ends.",
        _answers,
    ),
    Described(
        "grpc_server_refused_total",
        "counter",
        ("reason",),
        "Calls that were not admitted: no token (missing), one of another secret (secret) or kind"
        " (kind), or one whose time is over or has not come (clock).",
        _refusals,
    ),
    Described(
        "grpc_server_unknown_routes_total",
        "counter",
        (),
        "Questions of proxies about routes that are not configured here; they were denied.",
        _worker("since", SINCE, "unknown_routes"),
    ),
    Described(
        "grpc_server_watches",
        "gauge",
        (),
        "Processes of proxies that listen for changes of the policies.",
        _worker("now", NOW, "watches"),
    ),
    Described(
        "autocert_orders_total",
        "counter",
        ("outcome",),
        "Orders of certificates that have ended: `issued`, `refused` by the authority,"
        " `rate_limited`, `unreachable`, `hook_failed` or `not_kept` (the disk).",
        _orders,
    ),
    Described(
        "autocert_names_missing",
        "gauge",
        (),
        "Names that are to have a certificate of `autocert` and have none yet.",
        _worker("now", NOW, "autocert_missing"),
    ),
    Described(
        "autocert_next_renewal_seconds",
        "gauge",
        (),
        "Seconds until the next certificate of `autocert` is renewed; negative when it is late.",
        _renewal,
    ),
    Described(
        "connections",
        "gauge",
        (),
        "Connections of clients that are open, TLS handshakes included.",
        _worker("now", NOW, "connections"),
    ),
    Described(
        "connections_limit",
        "gauge",
        (),
        "Connections of clients that may be open.",
        _worker("now", NOW, "connections_limit"),
    ),
    Described(
        "accept_paused",
        "gauge",
        (),
        "Workers that take no new connections, since they are full or out of open files.",
        _worker("now", NOW, "accept_paused"),
    ),
    Described(
        "tls_handshakes_failed_total",
        "counter",
        (),
        "Connections that never got through their TLS handshake.",
        _worker("since", SINCE, "handshakes_failed"),
    ),
    Described(
        "tls_staples",
        "gauge",
        (),
        "Certificates whose OCSP answer is good and is stapled.",
        _worker("now", NOW, "staples_good"),
    ),
    Described(
        "tls_staples_missing",
        "gauge",
        (),
        "Certificates that name an OCSP responder, or must be stapled, and have no good answer.",
        _worker("now", NOW, "staples_missing"),
    ),
    Described(
        "tls_staples_required",
        "gauge",
        (),
        "Those of them that must be stapled: browsers refuse them. Want 0.",
        _worker("now", NOW, "staples_required"),
    ),
    Described(
        "ocsp_fetches_total",
        "counter",
        ("outcome",),
        "Questions to OCSP responders that were answered with a good certificate (good) or a "
        "revoked one (revoked), or with nothing that may be shown (failed).",
        _fetched,
    ),
    Described(
        "proxy_headers_refused_total",
        "counter",
        (),
        "Connections that were closed for their PROXY header: none, a broken or a late one, or "
        "one from nobody of `trusted_proxies`.",
        _worker("since", SINCE, "headers_refused"),
    ),
    Described(
        "streams",
        "gauge",
        (),
        "Exchanges that last, WebSockets and long answers, and are decided again.",
        _worker("now", NOW, "streams"),
    ),
    Described(
        "streams_cut_total",
        "counter",
        ("reason",),
        "Streams that were cut because they are not allowed any more.",
        _cut,
    ),
    Described(
        "sessions",
        "gauge",
        (),
        "Sessions that are remembered; one that several workers know counts in each.",
        _worker("now", NOW, "sessions"),
    ),
    Described(
        "upstream_connections",
        "gauge",
        ("destination", "state"),
        "Connections to an application: `idle`, `busy` or `opening`; `waiting` are the requests "
        "that wait for one.",
        _pools,
    ),
    Described(
        "workers",
        "gauge",
        ("state",),
        f"Worker processes: {', '.join(f'`{state}`' for state in STATES)}.",
        _by(lambda facts: dict.fromkeys(STATES, 0) | dict(facts.workers)),
    ),
    Described(
        "worker_restarts_total",
        "counter",
        ("reason",),
        "Worker processes that were replaced.",
        _by(lambda facts: facts.restarts),
    ),
    Described(
        "build_info",
        "gauge",
        ("service", "version", "pythonversion"),
        "1; what is running.",
        _fact(
            lambda _: 1,
            lambda facts: facts.services,
            lambda facts: facts.version,
            lambda _: platform.python_version(),
        ),
    ),
    Described(
        "generation_info",
        "gauge",
        ("digest",),
        "1; the digest of the settings in force.",
        _fact(lambda _: 1, lambda facts: facts.digest),
    ),
    Described(
        "generation_since_timestamp",
        "gauge",
        (),
        "When the settings in force began to serve, in seconds since 1970.",
        _fact(lambda facts: facts.since),
    ),
    Described(
        "config_checksum_decimal",
        "gauge",
        ("service",),
        "The first 13 digits of the digest as a number: equal on hosts with equal settings.",
        _fact(lambda facts: int(facts.digest[:13] or "0", 16), lambda facts: facts.services),
    ),
    Described(
        "config_last_reload_success",
        "gauge",
        ("service",),
        "1 if the last attempt to load the settings succeeded, else 0.",
        _fact(lambda facts: facts.reload_good, lambda facts: facts.services),
    ),
    Described(
        "config_last_reload_success_timestamp",
        "gauge",
        ("service",),
        "When the settings were last loaded with success, in seconds since 1970.",
        _fact(lambda facts: facts.reload_good_at, lambda facts: facts.services),
    ),
    Described(
        "config_reload_failures_total",
        "counter",
        (),
        "Settings that were refused since the start.",
        _fact(lambda facts: facts.reload_failures),
    ),
    Described(
        "certificates",
        "gauge",
        (),
        "Server certificates of the settings in force.",
        _fact(lambda facts: facts.expiries.count),
    ),
    Described(
        "certificate_expires_timestamp",
        "gauge",
        ("certificate", "place"),
        f"When it expires, in seconds since 1970; of the {MOST_NAMED} that expire first.",
        _expiring,
    ),
    Described(
        "certificates_left_out",
        "gauge",
        (),
        "Entries of `certificates_dir` that cannot be used: the one before serves on, or none.",
        _fact(lambda facts: facts.left_out),
    ),
    Described(
        "certificate_failures_total",
        "counter",
        (),
        "How often an entry of `certificates_dir` became one that cannot be used.",
        _fact(lambda facts: facts.certificate_failures),
    ),
    Described(
        "policy_count_total",
        "gauge",
        ("service",),
        "Routes of the settings in force.",
        _fact(lambda facts: facts.routes, lambda facts: facts.services),
    ),
    Described(
        "log_lines_dropped_total",
        "counter",
        (),
        "Lines that the log did not take: its disk is full, or its reader is stuck.",
        _dropped,
    ),
    Described(
        "process_cpu_seconds_total",
        "counter",
        ("process",),
        "Seconds of processor time.",
        _of(lambda use: use.cpu_seconds),
    ),
    Described(
        "process_resident_memory_bytes",
        "gauge",
        ("process",),
        "Bytes of memory.",
        _of(lambda use: use.resident_bytes),
    ),
    Described(
        "process_open_fds",
        "gauge",
        ("process",),
        "Open files and sockets.",
        _of(lambda use: use.open_files),
    ),
    Described(
        "process_max_fds",
        "gauge",
        ("process",),
        "Files and sockets that may be open.",
        _of(lambda use: use.most_files),
    ),
)


def table() -> str:
    """Return the manual's table of all metrics."""
    lines = ["| Metric | Kind | Labels | Meaning |", "|---|---|---|---|"]
    for described in METRICS:
        labels = ", ".join(f"`{label}`" for label in described.labels)
        lines.append(
            f"| `{described.full_name}` | {described.kind} | {labels} | {described.text} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table())
