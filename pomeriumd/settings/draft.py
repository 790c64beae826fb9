"""
Values under way to settings, and the rules that are asked of them.

A rule names the values it needs and is asked only if all of them could be read, so that a
fault is reported once. What it finds it puts at the value that the operator should change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs

from pomeriumd.errors import Problem
from pomeriumd.settings.node import Node, place


@attrs.define
class Draft:
    """Values that are good so far, and the node they came from."""

    node: Node
    values: dict[str, Any]
    problems: list[Problem]

    def at(self, key: str, text: str) -> Problem:
        """Return a problem at one of the keys, or at the whole where it was not written."""
        child = self.node.entries.get(key)
        if child is not None:
            return child.problem(text)
        path = f"{self.node.path}.{key}" if self.node.path else key
        return Problem(place(path, self.node.where), text)

    def given(self, key: str) -> bool:
        """Return whether the operator wrote this key."""
        return key in self.node.entries

    def filled(self, key: str) -> bool:
        """Return whether the operator wrote this key, and not as an empty list."""
        return self.given(key) and self.node.entries[key].value != ()


@attrs.frozen
class Rule:
    """One rule, and the values without which it cannot be asked."""

    needs: frozenset[str]
    ask: Callable[[Draft], Iterator[Problem]]


Ask = Callable[[Draft], Iterator[Problem]]


def rule(rules: list[Rule], *needs: str) -> Callable[[Ask], Ask]:
    """Return what puts a function that asks into a list of rules, with the values it needs."""

    def keep(ask: Ask) -> Ask:
        rules.append(Rule(frozenset(needs), ask))
        return ask

    return keep


def whole_pair(rules: list[Rule], certificate: str, key: str) -> None:
    """Put into a list the rule that a certificate and its key are both there, or neither."""

    @rule(rules, certificate, key)
    def ask(draft: Draft) -> Iterator[Problem]:
        for name, other in ((certificate, key), (key, certificate)):
            if draft.values[name] is None and draft.values[other] is not None:
                yield draft.at(name, f"missing; half of a pair does not do, and {other} is there")
