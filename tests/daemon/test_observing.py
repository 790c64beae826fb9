"""What a worker writes down each second."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.cells import Reading
from pomeriumd.daemon.lines import Lines
from pomeriumd.daemon.observing import POOLS, Observing
from pomeriumd.daemon.series import NOW, SINCE
from pomeriumd.proxy.decisions import Decisions
from pomeriumd.settings.model import UpstreamURL
from tests.support.elsewhere import Elsewhere
from tests.support.rig import Rig, request
from tests.support.settings import route


@attrs.define
class Door:
    """A port as a worker sees it."""

    open: int = 3
    most: int = 10
    failed_handshakes: int = 2
    refused_headers: int = 6
    paused: bool = False


@attrs.define
class Nothing:
    """A sink that takes nothing."""

    def write(self, octets: bytearray) -> int:
        """Take nothing."""
        del octets
        return 0

    def wait(self, seconds: float) -> None:
        """Return."""

    def close(self) -> None:
        """Return."""


@attrs.define
class Orders:
    """What orders certificates, with some numbers."""

    orders: dict[tuple[str, ...], int]
    missing: int = 2
    seconds_left: float = -30.0


@attrs.define
class Calls:
    """Calls that have ended."""

    calls: dict[tuple[str, ...], int]


class ObservingTests(SynchronousTestCase):
    """The numbers are those of the objects, each second."""

    def setUp(self) -> None:
        """Observe a daemon in memory."""
        self.rig = Rig(
            route(allow_any_authenticated_user=True),
            *(
                route(
                    f"h{number}.example.com",
                    allow_public_unauthenticated_access=True,
                    to=UpstreamURL("http", f"h{number}", 80),
                )
                for number in range(300)
            ),
        )
        self.door = Door()
        self.lines = Lines(Nothing(), lambda _: b"")
        self.streams = 0
        self.observing = Observing(
            tally=self.rig.front.tally,
            clock=self.rig.clock,
            front=self.rig.front,
            port=self.door,
            upstreams=self.rig.front.edge.upstreams,
            lines=self.lines,
            streams=lambda: self.streams,
        )
        self.observing.startService()

    def fixed(self) -> dict[str, float]:
        """Return the numbers that every worker has."""
        found = dict(Reading(self.rig.front.tally.memory))
        return dict(zip((*NOW, *SINCE), (*found["now", ()], *found["since", ()]), strict=True))

    def pools(self) -> dict[str, tuple[float, ...]]:
        """Return what connections do, by destination, where there are any."""
        return {
            labels[0]: numbers
            for (family, labels), numbers in Reading(self.rig.front.tally.memory)
            if family == "upstream" and any(numbers)
        }

    def test_the_state_is_written_down_each_second(self) -> None:
        """Connections, streams, sessions and dropped lines are told as they are."""
        self.rig.connect().sends(request(b"/", (b"cookie", self.rig.cookie())))
        self.door.open, self.door.paused, self.streams = 10, True, 5
        self.lines.add(b"x" * 2_000_000)
        self.assertEqual(self.fixed()["connections"], 3)
        self.rig.clock.pump([1, 1])
        self.assertEqual(
            self.fixed(),
            {
                "connections": 10,
                "connections_limit": 10,
                "streams": 5,
                "sessions": 1,
                "accept_paused": 1,
                "decisions_kept": 0,
                "decisions_asked": 0,
                "watches": 0,
                "staples_good": 0,
                "staples_missing": 0,
                "staples_required": 0,
                "autocert_missing": 0,
                "autocert_seconds": 0,
                "upstream_idle": 0,
                "upstream_busy": 1,
                "upstream_opening": 0,
                "upstream_waiting": 0,
                "handshakes_failed": 2,
                "headers_refused": 6,
                "log_lines_dropped": 1,
                "decision_hits": 0,
                "decision_misses": 0,
                "undecided": 0,
                "unknown_routes": 0,
                "ocsp_good": 0,
                "ocsp_revoked": 0,
                "ocsp_failed": 0,
            },
        )

    def test_decisions_from_elsewhere(self) -> None:
        """What is kept, asked for and was counted of them is that of the generation in force."""
        clock, generation = self.rig.clock, self.rig.front.generation
        elsewhere = Elsewhere()
        decisions = Decisions(remote=elsewhere, clock=clock, now=clock.seconds, max_age=60.0)
        self.rig.front.generation = attrs.evolve(generation, authorizer=decisions)
        route, *others = generation.routes.routes
        decisions.decide(route, None)
        elsewhere.last.gives()
        decisions.decide(route, None)
        for _ in range(2):
            decisions.decide(others[0], None)
        self.rig.clock.advance(1)
        told = self.fixed()
        self.assertEqual([told[name] for name in ("decisions_kept", "decisions_asked")], [1, 1])
        self.assertEqual(
            [told[name] for name in ("decision_hits", "decision_misses", "undecided")], [1, 3, 0]
        )

    def test_calls_of_other_services(self) -> None:
        """They are told by address, service, method and status, as they were counted."""
        ok = ("10.0.0.9:443", "pomerium.authorize.v1.Authorize", "Check", "OK")
        self.observing.calling = Calls({ok: 5, (*ok[:3], "UNAVAILABLE"): 1})
        self.rig.clock.advance(1)
        found = {
            labels: numbers
            for (family, labels), numbers in Reading(self.rig.front.tally.memory)
            if family == "grpc_client" and any(numbers)
        }
        self.assertEqual(found, {ok: (5.0,), (*ok[:3], "UNAVAILABLE"): (1.0,)})

    def test_certificates(self) -> None:
        """What orders them is asked each second."""
        self.observing.ordering = Orders({("issued",): 4, ("refused",): 0})
        self.rig.clock.advance(1)
        told = self.fixed()
        self.assertEqual((told["autocert_missing"], told["autocert_seconds"]), (2, -30.0))
        found = {
            labels: numbers
            for (family, labels), numbers in Reading(self.rig.front.tally.memory)
            if family == "autocert" and any(numbers)
        }
        self.assertEqual(found, {("issued",): (4.0,)})

    def test_a_connection_is_busy_then_idle_then_gone(self) -> None:
        """An upstream's connections are told of under its address."""
        self.rig.connect().sends(request(b"/", (b"cookie", self.rig.cookie())))
        self.rig.clock.advance(1)
        self.assertEqual(self.pools(), {"10.0.0.1:8080": (0, 1, 0, 0)})
        self.rig.upstreams.last.sends(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        self.rig.clock.advance(1)
        self.assertEqual(self.pools(), {"10.0.0.1:8080": (1, 0, 0, 0)})
        self.rig.upstreams.last.closes()
        self.rig.clock.advance(1)
        self.assertEqual(self.pools(), {})

    def test_many_upstreams_take_some_seconds(self) -> None:
        """No second sees to more than so many; the last ones share a series."""
        for number in range(300):
            self.rig.connect().sends(request(host=b"h%d.example.com" % number))
        self.assertGreater(300, POOLS)
        self.rig.clock.advance(1)
        self.assertEqual(self.pools(), {})
        self.rig.clock.advance(1)
        found = self.pools()
        self.assertEqual(sum(numbers[1] for numbers in found.values()), 300)
        self.assertEqual(found["other"], (0, 44, 0, 0))

    def test_the_last_state_is_that_of_the_end(self) -> None:
        """What was counted in the last second is written down, and then no more."""
        self.door.failed_handshakes = 9
        self.observing.stopService()
        self.assertEqual(self.fixed()["handshakes_failed"], 9)
        before = self.fixed()
        self.door.open = 7
        self.rig.clock.advance(5)
        self.assertEqual(self.fixed(), before)
