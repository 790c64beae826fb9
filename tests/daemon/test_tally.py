"""What a worker counts, and that nothing which comes from outside makes a series."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

import pomeriumd
from pomeriumd.daemon import series
from pomeriumd.daemon.cells import Reading
from pomeriumd.daemon.series import DURATION, FAMILIES, REQUEST_SIZE, RESPONSE_SIZE, UPSTREAM
from pomeriumd.daemon.tally import Tally, destination
from pomeriumd.errors import PomeriumError
from pomeriumd.settings.model import UpstreamURL
from tests.support.exchanges import compiled, ended
from tests.support.laws import examples
from tests.support.rig import Rig, request
from tests.support.settings import route


def outcomes(tally: Tally) -> dict[tuple[str, ...], float]:
    """Return what is not zero of all exchanges."""
    return {
        labels: numbers[0]
        for (family, labels), numbers in Reading(tally.memory)
        if family == "exchange" and numbers[0]
    }


class TallyCase(SynchronousTestCase):
    """Numbers, and a route."""

    def setUp(self) -> None:
        """Begin to count."""
        self.tally = Tally()
        self.route = compiled()

    def numbers(self, family: str, *labels: str) -> tuple[float, ...]:
        """Return the numbers of one series."""
        return dict(Reading(self.tally.memory))[family, labels]


class CountTests(TallyCase):
    """Each exchange is counted once, where it belongs."""

    def test_an_exchange_has_all_its_labels(self) -> None:
        """Route, host, method, status, decision, reasons and error are counted together."""
        for _ in range(2):
            self.tally.count(
                [
                    (
                        ended(
                            self.route,
                            status=403,
                            decision="deny",
                            reasons=("email-unauthorized", "groups-unauthorized"),
                            error="Denied",
                        ),
                        0.001,
                    )
                ]
            )
        labels = (
            *(self.route.id, "app.example.com", "GET", "403", "deny"),
            *("email-unauthorized,groups-unauthorized", "Denied"),
        )
        self.assertEqual(outcomes(self.tally), {labels: 2})

    def test_times_and_sizes_have_their_buckets(self) -> None:
        """Each value is in the bucket that takes it, and in the sum."""
        exchange = ended(self.route, received=300, sent=70_000, upstream=0.007)
        self.tally.count([(exchange, 0.3)])
        row = self.numbers("route", self.route.id, "app.example.com")
        way = self.numbers("way", self.route.id, "app.example.com", "10.0.0.1:8080")
        for shape, numbers, value in (
            (DURATION, row, 300),
            (REQUEST_SIZE, row, 300),
            (RESPONSE_SIZE, row, 70_000),
            (UPSTREAM, way, 7),
        ):
            buckets = numbers[shape.first : shape.sum]
            self.assertEqual(buckets.index(1), shape.bucket(value) - shape.first)
            self.assertEqual((sum(buckets), numbers[shape.sum]), (1, value))

    def test_a_bucket_takes_its_bound(self) -> None:
        """A value that equals a bound is not above it, as Prometheus's `le` says."""
        self.tally.count([(ended(self.route, sent=256), 0.005)])
        row = self.numbers("route", self.route.id, "app.example.com")
        self.assertEqual(row[DURATION.first + DURATION.bounds.index(5)], 1)
        self.assertEqual(row[RESPONSE_SIZE.first + RESPONSE_SIZE.bounds.index(256)], 1)

    def test_an_exchange_that_never_met_its_upstream_has_no_time_of_it(self) -> None:
        """What was denied does not make an application look fast."""
        self.tally.count([(ended(self.route, status=403), 0.001)])
        way = self.numbers("way", self.route.id, "app.example.com", "10.0.0.1:8080")
        self.assertEqual(sum(way), 0)

    def test_a_route_that_leads_elsewhere_now_has_two_ways(self) -> None:
        """A reload that changes `to` moves the times to the new destination, and no others."""
        there = compiled(to=UpstreamURL("http", "10.0.0.2", 8080))
        self.assertEqual(there.id, self.route.id)
        for at in (self.route, there):
            self.tally.count([(ended(at, upstream=0.001), 0.001)])
        for to in ("10.0.0.1:8080", "10.0.0.2:8080"):
            self.assertEqual(sum(self.numbers("way", at.id, "app.example.com", to)), 2)
        self.assertEqual(self.numbers("route", at.id, "app.example.com")[0], 2)

    def test_no_route_is_a_route_without_a_name(self) -> None:
        """What matches no route is counted without the host that the client made up."""
        self.tally.count([(ended(status=404, error="NoRoute"), 0.001)])
        self.assertEqual(outcomes(self.tally), {("", "", "GET", "404", "", "", "NoRoute"): 1})

    def test_forgetting_routes_loses_no_number(self) -> None:
        """A generation goes, and what was counted under it stays and goes on."""
        for _ in range(2):
            self.tally.count([(ended(self.route), 0.001)])
            self.tally.forget_routes()
        self.assertEqual(sum(outcomes(self.tally).values()), 2)

    def test_an_ipv6_upstream_is_written_as_in_a_url(self) -> None:
        """Address and port can be told apart."""
        self.assertEqual(destination("2001:db8::1", 80), "[2001:db8::1]:80")


class StateTests(TallyCase):
    """What is written down each second."""

    def test_upstreams_that_are_gone_have_no_connections(self) -> None:
        """What is not told of any more is zero, and not what it was."""
        here, there = self.tally.upstream("a:1"), self.tally.upstream("b:1")
        self.tally.set_upstreams({here: [1, 2, 3, 4], there: [1, 0, 0, 0]})
        self.tally.set_upstreams({there: [5, 0, 0, 0]})
        self.assertEqual(self.numbers("upstream", "a:1"), (0, 0, 0, 0))
        self.assertEqual(self.numbers("upstream", "b:1"), (5, 0, 0, 0))

    def test_upstreams_beyond_the_bound_are_one(self) -> None:
        """The 257th destination is told of with all that come after it."""
        places = {self.tally.upstream(f"host{number}:1") for number in range(400)}
        self.assertEqual(len(places), FAMILIES["upstream"].most + 1)

    def test_cuts_have_a_reason(self) -> None:
        """Streams that were cut are counted by why; endless reasons are the others."""
        for number in range(100):
            self.tally.count_cut(f"reason-{number}")
        cuts = {
            labels: numbers
            for (family, labels), numbers in Reading(self.tally.memory)
            if family == "cut"
        }
        self.assertEqual(len(cuts), FAMILIES["cut"].most + 1)
        self.assertEqual(sum(numbers[0] for numbers in cuts.values()), 100)


words = st.text(max_size=6)


class BoundTests(SynchronousTestCase):
    """Nobody outside can make a series."""

    @examples(30)
    @given(
        st.lists(
            st.fixed_dictionaries(
                {
                    "method": st.binary(max_size=6) | st.sampled_from([b"GET", b"POST"]),
                    "status": st.integers(-5, 700),
                    "decision": words,
                    "reasons": st.lists(words, max_size=3).map(tuple),
                    "error": words,
                }
            ),
            max_size=60,
        )
    )
    def test_labels_are_words_of_ours(self, exchanges: list[dict[str, Any]]) -> None:
        """Whatever an exchange says of itself, its labels are known, and it is counted."""
        tally = Tally()
        for exchange in exchanges:
            tally.count([(ended(**exchange), 0.001)])
        found = outcomes(tally)
        self.assertEqual(sum(found.values()), len(exchanges))
        methods = {*series.METHOD_WORDS.values(), "other"}
        for route_id, host, method, status, decision, _, error in found:
            self.assertEqual((route_id, host), ("", ""))
            self.assertIn(method, methods)
            self.assertTrue(status == "other" or 100 <= int(status) <= 599, status)
            self.assertIn(decision, series.DECISIONS | {"other"})
            self.assertIn(error, series.ERRORS | {"other"})

    def test_a_route_has_its_share(self) -> None:
        """An application that answers whatever it is told to takes no room from others."""
        tally, mine = Tally(), compiled()
        for status in range(100, 600):
            for method in (b"GET", b"POST"):
                tally.count([(ended(mine, status=status, method=method), 0.001)])
        found = outcomes(tally)
        self.assertEqual(sum(found.values()), 1000)
        self.assertEqual(len(found), series.SHARE + 5)
        rough = {labels[3] for labels in found if labels[2] == "other"}
        self.assertEqual(rough, {"1xx", "2xx", "3xx", "4xx", "5xx"})
        tally.count([(ended(compiled("two.example.com"), status=599), 0.001)])
        self.assertIn("599", {labels[3] for labels in outcomes(tally)})

    def test_ten_thousand_routes_are_counted(self) -> None:
        """Beyond the bound of a family a route is one of the others, and nothing breaks."""
        tally = Tally()
        for number in range(10_000):
            at = compiled(f"app{number}.example.com")
            for status in (200, 302, 403, 502):
                tally.count([(ended(at, status=status, upstream=0.001), 0.001)])
        entries = dict(Reading(tally.memory))
        for name, family in FAMILIES.items():
            count = sum(1 for found, _ in entries if found == name)
            self.assertLessEqual(count, family.most + 1, name)
        others = ("other",) * 7
        self.assertEqual(sum(outcomes(tally).values()), 40_000)
        self.assertEqual(outcomes(tally)[others], 40_000 - FAMILIES["exchange"].most)
        row = entries["route", ("other", "other")]
        self.assertEqual(sum(row[DURATION.first : DURATION.sum]), 36_000)


class WireTests(SynchronousTestCase):
    """The same over the wire, where attackers are."""

    def test_no_request_makes_a_series(self) -> None:
        """Hosts, methods, paths and statuses of a client's choice end in a few known labels."""
        rig = Rig(route(allow_public_unauthenticated_access=True))
        count = 0
        for number in range(300):
            for octets in (
                request(host=b"h%d.example.com" % number),
                request(b"/p%d" % number, host=b"nowhere.example.com"),
                request(method=b"M%s" % (b"X" * (number % 20))),
                b"junk %d\r\n\r\n" % number,
                request(b"/.pomerium/x%d" % number),
            ):
                rig.connect().sends(octets)
                count += 1
        for status in range(100, 1000):
            rig.connect().sends(request(b"/%d" % status))
            rig.upstreams.last.sends(b"HTTP/1.1 %d X\r\ncontent-length: 0\r\n\r\n" % status)
        found = outcomes(rig.front.tally)
        self.assertLess(len(found), 2 * series.SHARE + 20)
        self.assertLessEqual({labels[1] for labels in found}, {"", "app.example.com"})
        self.assertEqual(sum(found.values()), len(rig.logged))
        self.assertGreater(len(rig.logged), count)


class WordTests(SynchronousTestCase):
    """The words that are counted are those that the code says."""

    def test_every_error_of_the_daemon_is_known(self) -> None:
        """Whatever class of ours ends an exchange has its label."""
        kinds, names = [PomeriumError], set()
        while kinds:
            kind = kinds.pop()
            kinds += kind.__subclasses__()
            if not kind.__module__.startswith(("pomeriumd.cli", "tests")):
                names.add(kind.__name__)
        self.assertIn("Unconfirmed", names)
        self.assertLessEqual(names, series.ERRORS)

    def test_every_decision_is_known(self) -> None:
        """What the way of a request writes into `exchange.decision` has its label."""
        written = set()
        for path in Path(pomeriumd.__file__).parent.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Assign) and any(
                    isinstance(target, ast.Attribute) and target.attr == "decision"
                    for target in node.targets
                ):
                    written |= {
                        leaf.value
                        for leaf in ast.walk(node.value)
                        if isinstance(leaf, ast.Constant) and isinstance(leaf.value, str)
                    }
        self.assertIn("recheck", written)
        self.assertLessEqual(written, series.DECISIONS)
