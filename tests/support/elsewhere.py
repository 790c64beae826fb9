"""Authorize services in memory: whoever is asked answers when the test says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from pomeriumd.access.decision import Allow, Decision
from pomeriumd.access.verdict import SESSION, Given, Question, Verdict
from pomeriumd.daemon.build import Built
from pomeriumd.http.limits import Limits
from pomeriumd.pieces import Pieces
from pomeriumd.proxy.decisions import Decisions, Memory
from pomeriumd.settings.model import RouteSettings
from tests.support.rig import Rig

YES = Allow(("email-ok",))
ONE_PERSON = frozenset({SESSION})


@attrs.define(eq=False)
class Asked:
    """A question that has come, and where its answer goes."""

    question: Question
    answer: Deferred[Given] = attrs.field(init=False)
    cancelled: bool = False

    @answer.default
    def _answer(self) -> Deferred[Given]:
        return Deferred(self._cancel)

    def _cancel(self, _: Deferred[Given]) -> None:
        self.cancelled = True

    @property
    def open(self) -> bool:
        """Nobody has answered it, and somebody wants to know."""
        return not self.answer.called

    def gives(
        self,
        decision: Decision = YES,
        *,
        valid_for: float = 3600.0,
        generation: str = "g1",
        depends_on: frozenset[str] = ONE_PERSON,
        replica: str = "one",
    ) -> Decision:
        """Answer it, and return the decision."""
        verdict = Verdict(
            decision=decision, valid_for=valid_for, generation=generation, depends_on=depends_on
        )
        self.answer.callback(Given(verdict, replica))
        return decision


@attrs.define(eq=False)
class Elsewhere:
    """
    A ``Remote``.

    ``heard`` is what each replica's ``Watch`` says, nothing for those that are not heard.
    """

    heard: dict[str, str] = attrs.Factory(lambda: {"one": "g1"})
    asked: list[Asked] = attrs.Factory(list)
    prompt: Mapping[str, Any] | None = None
    """What ``Asked.gives`` is called with at once; None is to wait for the test."""

    def check(self, question: Question) -> Deferred[Given]:
        """Take a question."""
        asked = Asked(question)
        self.asked.append(asked)
        if self.prompt is not None:
            asked.gives(**self.prompt)
        return asked.answer

    def holds(self, replica: str, generation: str) -> bool | None:
        """Say what the replicas say."""
        return self.heard.get(replica) == generation if self.heard else None

    @property
    def open(self) -> list[Asked]:
        """Return the questions that wait."""
        return [asked for asked in self.asked if asked.open]

    @property
    def last(self) -> Asked:
        """Return the question that came last."""
        return self.asked[-1]


class ElsewhereRig(Rig):
    """
    A daemon in memory that has its decisions made elsewhere.

    Args:
        routes: of the proxy.
        elsewhere: who decides; one that answers when the test says so, by default.
        max_age: of what is decided.
        more: settings.
    """

    def __init__(
        self,
        *routes: RouteSettings,
        elsewhere: Elsewhere | None = None,
        max_age: float = 60.0,
        **more: Any,
    ) -> None:
        self.elsewhere = elsewhere or Elsewhere()
        self.max_age = max_age
        self.memory = Memory()
        super().__init__(*routes, **more)

    def _building(self, limits: Limits, before: Built | None = None) -> Pieces[Built]:
        built = yield from super()._building(limits, before)
        authorizer = Decisions(
            remote=self.elsewhere,
            clock=self.clock,
            now=self.now,
            max_age=self.max_age,
            memory=self.memory,
        )
        return attrs.evolve(built, generation=attrs.evolve(built.generation, authorizer=authorizer))
