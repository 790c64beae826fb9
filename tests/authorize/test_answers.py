"""Tests for pomeriumd.authorize.answers."""

from __future__ import annotations

from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.access.decision import Deny, SignIn
from pomeriumd.access.routes import Route
from pomeriumd.access.verdict import Question
from pomeriumd.authorize.answers import Answers
from pomeriumd.authorize.policies import Cluster, Policies
from pomeriumd.session.standing import SessionLimits
from tests.support.settings import ISSUER, route


class AnswersTests(SynchronousTestCase):
    """A route that is not here is denied, counted, and said once a minute."""

    def setUp(self) -> None:
        """Nothing was reported."""
        self.now = 0.0
        self.lines: list[tuple[LogLevel, str]] = []
        self.answers = Answers(now=lambda: self.now, report=self.report)
        here = Cluster(
            name="main",
            authenticate="https://auth.example.com",
            issuer=ISSUER,
            routes=(route("here.example.com"),),
        )
        self.policies = Policies.of([here], (b"k" * 32,), SessionLimits())
        self.answer = self.answers.by(self.policies)

    def report(self, level: LogLevel, format: str, **fields: object) -> None:  # noqa: A002
        """Keep a line of the log."""
        self.lines.append((level, format.format(**fields)))

    def test_a_route_that_is_here(self) -> None:
        """The policies answer, and there is nothing to say."""
        verdict = self.answer(Question(route=Route.of(route("here.example.com")).id))
        self.assertEqual(verdict.decision, SignIn(("user-unauthenticated",)))
        self.assertEqual((self.lines, self.answers.unknown), ([], 0))

    def test_a_route_that_is_not(self) -> None:
        """Both generations are named, so that a rolling change shows as what it is."""
        verdict = self.answer(Question(route="abc", generation="def"))
        self.assertEqual(verdict.decision, Deny(("route-unknown",)))
        ((level, text),) = self.lines
        self.assertEqual(level, LogLevel.warn)
        self.assertIn(
            "a proxy asked about the route abc, which is not configured here, and was denied: its"
            f" policies are def, ours {self.policies.digest}.",
            text,
        )

    def test_once_a_minute(self) -> None:
        """Each is counted, and a route is named once a minute; also under new policies."""
        for self.now, name in ((0.0, "a"), (1.0, "a"), (2.0, "b"), (59.0, "a"), (60.0, "a")):
            self.answers.by(self.policies)(Question(route=name))
        self.assertEqual((len(self.lines), self.answers.unknown), (3, 5))
