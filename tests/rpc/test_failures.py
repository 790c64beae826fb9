"""What is said of a replica that failed."""

from __future__ import annotations

from hypothesis import given
from hypothesis.strategies import floats, sampled_from, text
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.rpc.endpoint import Endpoint
from pomeriumd.rpc.failures import CLOCK_OFF, TEXT_SIZE, Kind, Seen, clock_off, explain
from pomeriumd.rpc.tokens import CLOCK, MISSING

THERE = Endpoint("authorize.internal", "10.0.0.1", 443)
CODES = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "UNAUTHENTICATED", "UNIMPLEMENTED", "INTERNAL")


class ExplainTests(SynchronousTestCase):
    """explain() says what was seen, and what to do; real handshakes are test_channel's."""

    def test_a_clock_that_refuses_us(self) -> None:
        """The difference is told, as the replica's own time shows it."""
        failed = explain(Seen(code="UNAUTHENTICATED", refused=CLOCK, ahead=-120.0), THERE)
        self.assertEqual(failed.text, "its clock is 120 s behind ours")

    def test_a_clock_that_refuses_us_for_no_reason_that_we_see(self) -> None:
        """It is said all the same that it is about time."""
        failed = explain(Seen(code="UNAUTHENTICATED", refused=CLOCK), THERE)
        self.assertEqual(
            failed.line, "finds our token too old or too new; compare the clocks of both hosts"
        )

    def test_a_token_that_got_lost(self) -> None:
        """Something in between has dropped it."""
        seen = Seen(code="UNAUTHENTICATED", refused=MISSING, details="want one, got 0")
        self.assertEqual(
            explain(seen, THERE).line,
            "does not admit us (want one, got 0); does a balancer in between take the "
            "authorization field away?",
        )

    def test_one_without_policies(self) -> None:
        """It says itself that it does not serve."""
        seen = Seen(code="UNAVAILABLE", details="there are no policies to answer by yet")
        self.assertIs(explain(seen, THERE).kind, Kind.SILENT)

    def test_an_error_of_its_own(self) -> None:
        """It may be the question's fault, so it says little of the replica."""
        failed = explain(Seen(code="INTERNAL", details="this failed here"), THERE)
        self.assertEqual(
            (failed.kind, failed.line),
            (Kind.BROKEN, "answers INTERNAL (this failed here); see its own log"),
        )

    @given(sampled_from(CODES), text(max_size=400))
    def test_is_one_short_line_of_ascii(self, code: str, details: str) -> None:
        """Whatever a stranger writes into the status, the log's line stays a line."""
        line = explain(Seen(code=code, details=details), THERE).line
        self.assertTrue(line.isascii() and line.isprintable(), line)
        # Each of its characters may be shown as ten.
        self.assertLess(len(line), 10 * TEXT_SIZE + 200)

    @given(floats(-1e6, 1e6))
    def test_clocks_may_differ_by_a_minute(self, ahead: float) -> None:
        """That much and no more."""
        self.assertEqual(clock_off(ahead) is None, abs(ahead) <= CLOCK_OFF)
