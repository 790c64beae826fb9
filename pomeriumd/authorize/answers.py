"""What answers a proxy's questions, and says what its operator should know of them."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.logger import LogLevel

from pomeriumd.access.verdict import Question, Verdict
from pomeriumd.authorize.policies import UNKNOWN, Policies
from pomeriumd.rpc.reports import Report, Seldom


@attrs.define(eq=False, kw_only=True)
class Answers:
    """
    Answers by policies; it outlives them, and is used on one thread.

    Args:
        now: seconds since the epoch.
        report: see there.
    """

    now: Callable[[], float]
    report: Report
    unknown: int = attrs.field(default=0, init=False)
    """Questions about routes that were not here."""
    _said: Seldom = attrs.field(factory=Seldom, init=False)

    def by(self, policies: Policies) -> Callable[[Question], Verdict]:
        """Return what answers by these."""

        def answer(question: Question) -> Verdict:
            now = self.now()
            verdict = policies.answer(question, now)
            if verdict.decision is UNKNOWN:
                self._unknown(question, policies, now)
            return verdict

        return answer

    def _unknown(self, question: Question, policies: Policies, now: float) -> None:
        self.unknown += 1
        if self._said.due(question.route, now):
            self.report(
                LogLevel.warn,
                "a proxy asked about the route {route}, which is not configured here, and was"
                " denied: its policies are {theirs}, ours {ours}. It passes when a change has"
                " reached all replicas; otherwise give proxy and authorize the same routes",
                route=question.route,
                theirs=question.generation or "unknown",
                ours=policies.digest,
            )
