"""How many examples a law is tried with: few for every change, many for a night."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

TIMES = 300 if os.environ.get("LAWS") == "long" else 1
"""``LAWS=long make test ARGS=tests/laws`` tries three hundred times as much."""


def examples(count: int, *, steps: int = 50) -> settings:
    """
    Return settings of Hypothesis with so many examples, or with three hundred times as many.

    Args:
        count: for ``make test``.
        steps: that a state machine takes at the most in each.
    """
    return settings(
        max_examples=count * TIMES,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
