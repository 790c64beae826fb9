"""What ``http_redirect_addr`` asks of the other settings: an address of its own."""

from __future__ import annotations

from collections.abc import Iterator

from pomeriumd.errors import Problem
from pomeriumd.settings.draft import Draft, Rule, rule

_rules: list[Rule] = []

OTHERS = ("address", "grpc_address", "metrics_address")


@rule(_rules, "http_redirect_addr", *OTHERS)
def _redirect_apart(draft: Draft) -> Iterator[Problem]:
    redirect = draft.values["http_redirect_addr"]
    for name in OTHERS:
        taken = draft.values[name]
        if redirect is not None and taken is not None and redirect.collides(taken):
            yield draft.at(
                "http_redirect_addr",
                f"{name} is {taken.text} already; want another port, for instance ':80'",
            )


REDIRECT_RULES = tuple(_rules)
