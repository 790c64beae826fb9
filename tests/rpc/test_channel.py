"""The pool over real channels, to the real server on loopback."""

from __future__ import annotations

import threading
from typing import Any

import attrs
from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.access.decision import Allow
from pomeriumd.access.verdict import Question, Verdict
from pomeriumd.crypto.keys import Purpose, ring
from pomeriumd.errors import Undecided
from pomeriumd.rpc.channel import Dialer
from pomeriumd.rpc.line import Security
from pomeriumd.rpc.loop import Loop
from pomeriumd.rpc.methods import Served
from pomeriumd.rpc.pool import Options, Pool
from pomeriumd.rpc.server import Server, Tls
from pomeriumd.settings.values import Address, Origin
from tests.support.certificates import Issued, authority, issue, leaf
from tests.support.logged import Logged
from tests.support.turns import Turns

KEYS, OTHER = (ring([bytes([number]) * 32], Purpose.GRPC) for number in (1, 2))
NOW = 1_790_000_000.0
QUESTION = Question(route="r1", token="a.b.c")
NAME = "authorize.internal"


def served(generation: str = "g1", keys: Any = KEYS) -> Served:
    """Return policies that let everybody in."""
    verdict = Verdict(decision=Allow(("accept",)), valid_for=60, generation=generation)
    return Served(answer=lambda _: verdict, generation=generation, keys=keys)


def tls(shown: Issued, client_ca: bytes | None = None) -> Tls:
    """Return how a server shows this certificate."""
    return Tls(key=shown.key_pem, chain=shown.pem, client_ca=client_ca)


OURS = Security(authorities=authority().pem)


class ChannelCase(SynchronousTestCase):
    """Has servers on 127.0.0.1 and on, and a pool that knows them by ``NAME``."""

    def setUp(self) -> None:
        """Have the thread of grpc, and a pool without replicas."""
        self.turns, self.logged = Turns(), Logged(self)
        self.dns: list[str] = []
        self.loop = Loop(self.turns.call_from_thread)
        self.pool = Pool(
            dial=Dialer(self.loop, lambda: NOW),
            look_up=lambda _: succeed(tuple(self.dns)),
            clock=Clock(),
            now=lambda: NOW,
        )
        self.addCleanup(self.end)

    def end(self) -> None:
        """Stop the pool, and see the thread off."""
        self.pool.stop()
        self.turns.outcome(self.loop.stop())

    def server(
        self,
        shown: Tls | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        ahead: float = 0,
        answering: Served | None = None,
    ) -> Server:
        """Return a server that answers; the pool finds it."""
        server = Server(
            address=Address(host, port), tls=shown, now=lambda: NOW + ahead, report=_quiet
        )
        server.bind()
        server.start()
        server.serve(served() if answering is None else answering)
        self.addCleanup(lambda: server.stop(0, 0).result(60))
        self.dns.append(host)
        return server

    def take(self, port: int, security: Security = OURS, **more: Any) -> None:
        """Have the pool look for replicas on this port."""
        options = Options(urls=(Origin("https", NAME, port),), keys=KEYS, security=security)
        self.options = attrs.evolve(options, **more)
        self.pool.take(self.options)

    def well(self, count: int = 1) -> None:
        """Wait until so many are healthy."""
        self.turns.until(lambda: sum(r.state == "healthy" for r in self.pool.replicas) == count)

    def problem(self) -> str:
        """Wait for a problem, and return its text."""
        self.turns.until(lambda: self.pool.problems)
        return self.pool.problems[0].text


def _quiet(level: LogLevel, format: str, **fields: object) -> None:  # noqa: A002
    """Report nothing: what the server logs is for its own tests."""


class CallTests(ChannelCase):
    """What a replica answers comes through."""

    def test_over_tls(self) -> None:
        """The verdict comes with the replica that gave it."""
        server = self.server(tls(leaf(NAME)))
        self.take(server.port)
        given = self.turns.outcome(self.pool.check(QUESTION))
        self.assertEqual(given.replica, f"127.0.0.1:{server.port}")
        self.assertEqual(given.verdict.decision, Allow(("accept",)))

    def test_in_plaintext(self) -> None:
        """Without TLS at both ends it is the same."""
        server = self.server()
        self.take(server.port, Security(plain=True))
        self.assertEqual(self.turns.outcome(self.pool.check(QUESTION)).verdict.generation, "g1")

    def test_many_at_once(self) -> None:
        """Each of a crowd gets its answer, whatever the order."""
        server = self.server()
        self.take(server.port, Security(plain=True), attempt=60.0, timeout=60.0)
        self.well()
        crowd = [self.pool.check(QUESTION) for _ in range(200)]
        self.assertEqual({self.turns.outcome(it).verdict.generation for it in crowd}, {"g1"})

    def test_a_question_that_cannot_be_asked(self) -> None:
        """It is not sent, and blames no replica."""
        server = self.server()
        self.take(server.port, Security(plain=True))
        self.well()
        with self.assertRaises(Undecided) as caught:
            self.turns.outcome(self.pool.check(Question(route="no id")))
        self.assertIn("route is no id", str(caught.exception))
        self.assertEqual(self.pool.replicas[0].state, "healthy")

    def test_a_new_generation(self) -> None:
        """A stream tells it, and what was decided before holds no more."""
        server = self.server()
        self.take(server.port, Security(plain=True))
        self.well()
        replica = self.pool.replicas[0].address
        self.assertIs(self.pool.holds(replica, "g1"), True)
        server.serve(served("g2"))
        self.turns.until(lambda: self.pool.holds(replica, "g2"))
        self.assertIs(self.pool.holds(replica, "g1"), False)

    def test_the_end(self) -> None:
        """After stop() the thread has ended, and nobody is called any more."""
        server = self.server()
        self.take(server.port, Security(plain=True))
        self.well()
        answer = self.pool.check(QUESTION)
        self.pool.stop()
        self.failureResultOf(answer, Undecided)
        self.turns.outcome(self.loop.stop())
        self.assertFalse(self.loop.alive)


class FailoverTests(ChannelCase):
    """One replica's end is not the service's."""

    def two(self) -> tuple[Server, Server]:
        """Return two servers on one port, both healthy."""
        first = self.server()
        second = self.server(host="127.0.0.2", port=first.port)
        self.take(first.port, Security(plain=True))
        self.well(2)
        return first, second

    def test_a_replica_that_stops(self) -> None:
        """No question fails while one of two leaves as it should."""
        first, _ = self.two()
        ending = first.stop(grace=1, notice=0.1)
        while not ending.done():
            self.turns.outcome(self.pool.check(QUESTION))
        given = [self.turns.outcome(self.pool.check(QUESTION)).replica for _ in range(4)]
        self.assertEqual({it.partition(":")[0] for it in given}, {"127.0.0.2"})

    def test_one_that_is_drained_comes_back(self) -> None:
        """Not serving and serving again are both heard, and logged once each."""
        first, _ = self.two()
        first.withdraw()
        self.well(1)
        self.assertIn("says that it does not serve", self.problem())
        first.serve(served())
        self.well(2)
        lines = self.logged.lines(LogLevel.info)
        self.assertEqual([line.count("does not serve") for line in lines], [1, 0])
        self.assertTrue(lines[1].endswith("decides again"))

    def test_one_that_is_started_anew(self) -> None:
        """It is taken back as soon as it is heard again."""
        first, _ = self.two()
        port = first.port
        first.stop(0, 0).result(60)
        self.well(1)
        self.server(port=port)
        self.well(2)


class ProblemTests(ChannelCase):
    """Each thing that can be wrong with the set-up is told apart, and says what to change."""

    def test_nobody_listens(self) -> None:
        """A port that is closed."""
        server = self.server()
        server.stop(0, 0).result(60)
        self.take(server.port)
        self.assertEqual(
            self.problem(),
            "refuses connections; does authorize run there, and is its port that of "
            "authorize_service_url?",
        )

    def test_a_certificate_for_another_name(self) -> None:
        """It names the name that is wanted, and both ways to agree."""
        self.take(self.server(tls(leaf("other.internal"))).port)
        self.assertEqual(
            self.problem(),
            f"its certificate does not cover {NAME}; give it one for {NAME}, or say in "
            "override_certificate_name what its is for",
        )

    def test_another_name_on_purpose(self) -> None:
        """What override_certificate_name says is taken, and nothing else."""
        server = self.server(tls(leaf("other.internal")))
        self.take(server.port, attrs.evolve(OURS, certificate_name="other.internal"))
        self.well()
        self.assertEqual(self.turns.outcome(self.pool.check(QUESTION)).verdict.generation, "g1")

    def test_another_authority(self) -> None:
        """A certificate that only the system's roots could vouch for."""
        self.take(self.server(tls(leaf(NAME))).port, Security())
        self.assertEqual(
            self.problem(),
            "its certificate is of no authority that is trusted here; put the authority that "
            "issued it into certificate_authority",
        )

    def test_an_old_certificate(self) -> None:
        """One whose time is over."""
        by = authority()
        begin = by.certificate.not_valid_before_utc
        old = issue(NAME, by=by, begin=begin, end=begin.replace(day=2))
        self.take(self.server(tls(old)).port)
        self.assertEqual(self.problem(), "its certificate has expired; give it a new one")

    def test_plaintext_there(self) -> None:
        """TLS is spoken here alone."""
        self.take(self.server().port)
        self.assertEqual(
            self.problem(),
            "speaks no TLS; set grpc_insecure at both ends or at neither, and is the port right?",
        )

    def test_plaintext_here(self) -> None:
        """TLS is spoken there alone."""
        self.take(self.server(tls(leaf(NAME))).port, Security(plain=True))
        self.assertEqual(
            self.problem(), "hangs up; it may speak TLS: is grpc_insecure set there as well?"
        )

    def test_a_client_certificate_is_asked_for(self) -> None:
        """None is shown."""
        self.take(self.server(tls(leaf(NAME), authority().pem)).port)
        self.assertEqual(
            self.problem(),
            "hangs up in the handshake; if it asks for a client certificate (grpc_client_ca), "
            "set grpc_client_certificate",
        )

    def test_a_client_certificate_is_shown(self) -> None:
        """One of the right authority opens the door."""
        server = self.server(tls(leaf(NAME), authority().pem))
        self.take(server.port, attrs.evolve(OURS, shown=leaf("proxy.internal").pair()))
        self.well()
        self.assertEqual(self.turns.outcome(self.pool.check(QUESTION)).verdict.generation, "g1")

    def test_a_client_certificate_of_another_authority(self) -> None:
        """One of the wrong authority does not."""
        server = self.server(tls(leaf(NAME), authority().pem))
        self.take(server.port, attrs.evolve(OURS, shown=issue("proxy.internal").pair()))
        self.assertEqual(
            self.problem(),
            "hangs up in the handshake; is grpc_client_certificate of the authority in its "
            "grpc_client_ca?",
        )

    def test_another_secret(self) -> None:
        """Our token is not believed; nobody is let in."""
        self.take(self.server(answering=served(keys=OTHER)).port, Security(plain=True))
        self.assertEqual(
            self.problem(), "has another shared_secret; give both the same shared_secret"
        )
        with self.assertRaises(Undecided):
            self.turns.outcome(self.pool.check(QUESTION))

    def test_a_secret_that_is_mended(self) -> None:
        """It recovers by itself, without a new connection."""
        self.take(self.server(answering=served(keys=OTHER)).port, Security(plain=True))
        self.problem()
        self.pool.take(attrs.evolve(self.options, keys=OTHER))
        self.well()
        self.assertEqual(self.pool.problems, ())

    def test_another_time(self) -> None:
        """A clock that is two hours ahead is told with its difference."""
        self.take(self.server(ahead=7_200).port, Security(plain=True))
        self.assertEqual(
            self.problem(),
            "its clock is 7200 s ahead of ours; set the wrong one right (timedatectl, chronyc "
            "tracking)",
        )

    def test_another_service(self) -> None:
        """What listens there knows nothing of us."""
        import asyncio  # noqa: PLC0415  # a server of a stranger's, for this test alone

        import grpc  # noqa: PLC0415

        ready: list[Any] = []
        bound = threading.Event()

        async def serve() -> None:
            server = grpc.aio.server()
            ready.extend(
                (server.add_insecure_port("127.0.0.1:0"), asyncio.get_running_loop(), server)
            )
            await server.start()
            bound.set()
            await server.wait_for_termination()

        thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
        thread.start()
        bound.wait(60)
        port, loop, server = ready
        self.dns.append("127.0.0.1")
        self.take(port, Security(plain=True))
        self.assertEqual(
            self.problem(),
            "is no authorize service of ours (Method not found!); does authorize_service_url "
            f"({NAME}:{port}) name its grpc_address?",
        )
        asyncio.run_coroutine_threadsafe(server.stop(0), loop)
        thread.join(60)
