"""The text that Prometheus reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.cells import Reading
from pomeriumd.daemon.expiry import Expiries, Expiring
from pomeriumd.daemon.exposition import PIECE, exposition
from pomeriumd.daemon.merge import Totals
from pomeriumd.daemon.metrics import METRICS, Facts
from pomeriumd.daemon.processes import Use
from pomeriumd.daemon.series import NOW, SINCE
from pomeriumd.daemon.tally import Tally
from pomeriumd.settings.model import UpstreamURL
from tests.support.exchanges import compiled, ended

FACTS: dict[str, Any] = {
    "version": "0.1",
    "services": "all",
    "digest": "0123456789abcdef",
    "since": 1_790_000_000.0,
    "routes": 2,
    "reload_good_at": 1_790_000_000.0,
}


def busy() -> Tally:
    """Return the numbers of a worker of which every metric has something to tell."""
    tally, at = Tally(), compiled()
    tally.count([(ended(at, decision="public", reasons=("accept",), upstream=0.02, sent=5), 0.03)])
    tally.count([(ended(at, status=502, decision="public", error="UpstreamUnreachable"), 0.03)])
    tally.count([(ended(status=404, error="NoRoute"), 0.001)])
    tally.count_cut("denied")
    tally.count_tls(at, "expired")
    tally.set_now(dict.fromkeys(NOW, 3))
    tally.set_since(dict.fromkeys(SINCE, 4))
    check = ("pomerium.authorize.v1.Authorize", "Check", "OK")
    tally.set_calls("grpc_client", {("10.0.0.9:443", *check): 7})
    tally.set_calls("grpc_server", {check: 8})
    tally.set_calls("grpc_refused", {("secret",): 9})
    tally.set_calls("autocert", {("issued",): 10})
    tally.set_upstreams({tally.upstream("10.0.0.1:8080"): [1, 2, 3, 4]})
    return tally


def told(*tallies: Tally, **facts: Any) -> bytes:
    """Return the whole text of these workers."""
    readings = [Reading(tally.memory) for tally in tallies]
    return b"".join(exposition(Totals(), lambda: readings, lambda: Facts(**(FACTS | facts))))


def parsed(text: bytes) -> dict[str, Metric]:
    """Return what Prometheus's own parser makes of a text."""
    return {family.name: family for family in text_string_to_metric_families(text.decode())}


def value(text: bytes, sample: str, **labels: str) -> float:
    """Return the value of one sample."""
    (found,) = [
        given.value
        for family in parsed(text).values()
        for given in family.samples
        if given.name == sample and given.labels == labels
    ]
    return float(found)


EVERYTHING: Mapping[str, Any] = {
    "workers": {"serving": 2},
    "restarts": {"exit": 1, "ping": 0},
    "expiries": Expiries((Expiring("certificates[0]", "a.test", 1_800_000_000.0),), (2e9,)),
    "left_out": 1,
    "certificate_failures": 3,
    "processes": {"supervisor": Use(1.5, 4096, 7, 1024)},
}


class TextTests(SynchronousTestCase):
    """The text is one that Prometheus takes, and says what was counted."""

    def test_every_metric_is_told(self) -> None:
        """Each metric of the list is there, with its kind and its labels, and no other is."""
        found = parsed(told(busy(), **EVERYTHING))
        wanted = {d.full_name.removesuffix("_total" * (d.kind == "counter")): d for d in METRICS}
        self.assertEqual(set(found), set(wanted))
        for name, described in wanted.items():
            family = found[name]
            self.assertEqual((family.type, bool(family.samples)), (described.kind, True), name)
            for sample in family.samples:
                self.assertEqual(set(sample.labels) - {"le"}, set(described.labels), name)

    def test_no_sample_comes_twice(self) -> None:
        """Prometheus refuses a whole scrape for one sample that is there twice."""
        text = told(busy(), busy(), **EVERYTHING)
        lines = [line.rpartition(b" ")[0] for line in text.splitlines() if line[:1] != b"#"]
        self.assertEqual(len(lines), len(set(lines)))

    def test_a_route_that_leads_elsewhere_now_is_one_route(self) -> None:
        """After a reload that changes `to` no sample comes twice, and both ways are told."""
        tally = Tally()
        for at in (compiled(), compiled(to=UpstreamURL("http", "10.0.0.2", 80))):
            tally.count([(ended(at, upstream=0.001), 0.001)])
        text = told(tally)
        lines = [line.rpartition(b" ")[0] for line in text.splitlines() if line[:1] != b"#"]
        self.assertEqual(len(lines), len(set(lines)))
        self.assertIn(b'destination="10.0.0.2:80"', text)

    def test_workers_are_added_up(self) -> None:
        """Counters and gauges of two workers are their sums."""
        text = told(busy(), busy())
        labels = {"service": "all", "host": "app.example.com", "route": compiled().id}
        requests = "pomerium_http_server_requests_total"
        self.assertEqual(value(text, requests, **labels, http_method="GET", http_status="200"), 2)
        took = "pomerium_http_server_request_duration_ms"
        self.assertEqual(value(text, f"{took}_bucket", **labels, le="25.0"), 0)
        self.assertEqual(value(text, f"{took}_bucket", **labels, le="50.0"), 4)
        self.assertEqual(value(text, f"{took}_bucket", **labels, le="+Inf"), 4)
        self.assertEqual(value(text, f"{took}_count", **labels), 4)
        self.assertEqual(value(text, f"{took}_sum", **labels), 120)
        self.assertEqual(value(text, "pomerium_connections"), 6)
        pools = {"destination": "10.0.0.1:8080", "state": "busy"}
        self.assertEqual(value(text, "pomerium_upstream_connections", **pools), 4)

    def test_decisions_and_errors_are_told_by_their_words(self) -> None:
        """What was decided, why, and what failed are sums over the same exchanges."""
        text = told(busy())
        route = {"host": "app.example.com", "route": compiled().id}
        decisions = "pomerium_decisions_total"
        self.assertEqual(value(text, decisions, **route, decision="public", reason="accept"), 1)
        self.assertEqual(value(text, "pomerium_errors_total", kind="NoRoute"), 1)
        self.assertNotIn(b'kind=""', text)
        self.assertNotIn(b'decision=""', text)

    def test_what_never_happened_is_zero(self) -> None:
        """Alerts on what has no labels work from the first scrape on."""
        text = told()
        for name in ("log_lines_dropped_total", "tls_handshakes_failed_total", "streams"):
            self.assertEqual(value(text, f"pomerium_{name}"), 0, name)
        for state in ("starting", "serving", "reserve", "stopping", "resting"):
            self.assertEqual(value(text, "pomerium_workers", state=state), 0)

    def test_there_are_no_others_without_any(self) -> None:
        """What is beyond a bound shows only where something is."""
        self.assertNotIn(b'"other"', told(busy()))

    def test_dropped_lines_are_those_of_workers_and_supervisor(self) -> None:
        """Wherever a line was dropped, it is counted."""
        text = told(busy(), busy(), lines_dropped=5)
        self.assertEqual(value(text, "pomerium_log_lines_dropped_total"), 13)

    def test_a_refused_reload_shows(self) -> None:
        """The time of the last good one stands, and the failure is counted."""
        text = told(reload_good=False, reload_failures=2)
        self.assertEqual(value(text, "pomerium_config_last_reload_success", service="all"), 0)
        self.assertEqual(value(text, "pomerium_config_reload_failures_total"), 2)
        at = "pomerium_config_last_reload_success_timestamp"
        self.assertEqual(value(text, at, service="all"), 1_790_000_000)

    def test_the_checksum_is_exact(self) -> None:
        """Two digests that differ in what is told have numbers that differ."""
        name = "pomerium_config_checksum_decimal"
        some = value(told(digest="fffffffffffff000"), name, service="all")
        more = value(told(digest="ffffffffffffe000"), name, service="all")
        self.assertEqual(some - more, 1)

    def test_a_process_that_has_ended_is_left_out(self) -> None:
        """What the system does not tell is no zero."""
        text = told(processes={"worker-1": Use()})
        self.assertNotIn(b"worker-1", text)


class PieceTests(SynchronousTestCase):
    """A long text is made in pieces, and is the same."""

    def test_pieces_are_small(self) -> None:
        """No piece has more lines than it may, and together they can be read."""
        tally = Tally()
        for number in range(300):
            tally.count([(ended(compiled(f"app{number}.example.com"), upstream=0.001), 0.001)])
        readings = [Reading(tally.memory)]
        pieces = list(exposition(Totals(), lambda: readings, lambda: Facts(**FACTS)))
        self.assertLessEqual(max(piece.count(b"\n") for piece in pieces), PIECE + 2)
        found = parsed(b"".join(pieces))
        self.assertEqual(len(found["pomerium_http_server_requests"].samples), 300)
        self.assertEqual(len(found["pomerium_http_server_request_duration_ms"].samples), 17 * 300)
