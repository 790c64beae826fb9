"""A load in which anything went wrong counts for nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from bench.chain import Chain, Ports
from bench.load import CONNECTIONS, Load, LoadFailed, counted, together
from bench.rounds import faults, unasked
from bench.rungs import Rung
from pomeriumd.cli.demo.children import Program


def load(**more: Any) -> Load:
    """Return a load of 10,000 good answers."""
    given: dict[str, Any] = {
        "connections": CONNECTIONS,
        "requests": 10_000,
        "seconds": 1.0,
        "p50": 1.0,
        "p99": 2.0,
        "errors": {},
    }
    return Load(**(given | more))


class FaultTests(SynchronousTestCase):
    """faults() finds what the client itself does not call an error, too."""

    def test_none(self) -> None:
        """Each connection may leave one request behind at the end, here and in the warm-up."""
        for answered in (10_000, 10_000 + 2 * CONNECTIONS):
            self.assertEqual(faults(load(), answered, 20_000, 4_000_000, starved=False), [])

    def test_errors_of_the_client(self) -> None:
        """Every kind is named."""
        found = faults(load(errors={"status": 3, "read": 1}), 10_000, None, None, starved=False)
        self.assertEqual(found, ["3 errors: status", "1 errors: read"])

    def test_nothing_answered(self) -> None:
        """A load without an answer is no fast one."""
        self.assertEqual(
            faults(load(requests=0), 0, None, None, starved=False), ["no answer at all"]
        )

    def test_a_starved_proxy_may_be_late(self) -> None:
        """Where strangers had the core, silence is not the proxy's fault; a wrong answer is."""
        silent = load(requests=0, errors={"timeout": 32})
        self.assertEqual(faults(silent, 0, None, None, starved=True), [])
        found = faults(load(errors={"status": 1}), 10_000, None, None, starved=True)
        self.assertEqual(found, ["1 errors: status"])

    def test_answers_that_are_not_the_upstreams(self) -> None:
        """A redirection to the sign-in is no success, whatever the client thinks of it."""
        found = faults(load(), 9_999, None, None, starved=False)
        self.assertEqual(found, ["10000 answers, but 9999 of the upstream"])

    def test_requests_that_are_not_the_clients(self) -> None:
        """A proxy that asks twice does more than it is measured for."""
        (found,) = faults(load(), 10_001 + 2 * CONNECTIONS, None, None, starved=False)
        self.assertIn("of the upstream", found)

    def test_sessions_that_came_twice(self) -> None:
        """A second request with a session is not its first."""
        found = faults(load(), 10_000, 10_000, None, starved=False)
        self.assertEqual(found, ["only 10000 sessions for 10000 requests"])

    def test_no_log(self) -> None:
        """A proxy that does not log did not do the work."""
        found = faults(load(), 10_000, None, 4096, starved=False)
        self.assertEqual(found, ["only 4096 bytes of access log for 10000 requests"])


class LoadTests(SynchronousTestCase):
    """What several clients did at once is one load."""

    def test_together(self) -> None:
        """Counts add up; the slowest says how long it took."""
        other = load(requests=5, seconds=2.0, p99=9.0, errors={"read": 1, "timeout": 2})
        found = together([load(errors={"read": 1}), other])
        self.assertEqual(
            (found.connections, found.requests, found.seconds, found.p50, found.p99),
            (2 * CONNECTIONS, 10_005, 2.0, 1.0, 9.0),
        )
        self.assertEqual(found.errors, {"read": 2, "timeout": 2})

    def test_one_that_failed(self) -> None:
        """A client that did not come to its end is no load at all."""
        for status, said in ((1, '{"requests": 1}'), (0, "unable to connect\n")):
            with self.assertRaises(LoadFailed):
                counted(said, status, CONNECTIONS)


class UnaskedTests(SynchronousTestCase):
    """unasked() finds a rung that asks authorize more or less often than it is measured for."""

    def found(self, way: str, asked: int) -> list[str]:
        """Return what is wrong with 10,000 requests and so many questions."""
        return unasked(load(), asked, Rung(proxy="ours", way=way, secure=True))

    def test_each_is_asked_for(self) -> None:
        """As many questions as requests, or more: some are asked twice, or in the warm-up."""
        self.assertEqual(self.found("rpc-each", 10_000), [])
        self.assertEqual(
            self.found("rpc-each-of-three", 9_999), ["only 9999 questions for 10000 requests"]
        )

    def test_decisions_are_kept(self) -> None:
        """No more than one question for each session."""
        self.assertEqual(self.found("rpc-kept", 1_000), [])
        self.assertEqual(
            self.found("rpc-kept-of-three", 1_001), ["1001 questions, and decisions are to be kept"]
        )

    def test_nobody_to_ask(self) -> None:
        """A proxy that decides by itself asks nobody."""
        self.assertEqual(self.found("auth", 0), [])


class LogTests(SynchronousTestCase):
    """What came into an access log is counted, whatever became of the file."""

    def test_rotated_files_count(self) -> None:
        """A log that was rotated in the middle of a load has grown, and not shrunk."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        where = Path(directory.name)
        log = where / "log.jsonl"
        log.write_bytes(b"x" * 70)
        chain = Chain(
            program=Program("ours", ["true"], where / "out", lambda: True, {}),
            log=log,
            ports=Ports(plain=None, tls=None),
        )
        self.assertEqual(chain.logged(), 70)
        log.rename(where / "log.jsonl.1")
        log.write_bytes(b"x" * 5)
        self.assertEqual(chain.logged(), 75)

    def test_none_has_none(self) -> None:
        """A bare proxy writes no log."""
        chain = Chain(
            program=Program("nginx", ["true"], Path("out"), lambda: True, {}),
            ports=Ports(plain=None, tls=None),
        )
        self.assertEqual(chain.logged(), 0)
