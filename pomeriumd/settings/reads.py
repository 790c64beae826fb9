"""How a setting says what it is: marks that stand in its type annotation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs


@attrs.frozen
class Doc:
    """What the manual says about a setting."""

    text: str
    """One or more plain sentences."""
    default: str = ""
    """The default as an operator would write it, where it cannot be told from the value."""
    example: str = ""
    """A value as it stands in YAML, where the kind alone does not show it."""


@attrs.frozen
class Reads:
    """
    How a setting's value is read from what a file or the environment holds.

    ``read`` takes the scalar found and returns the value, or raises ValueError with a text
    that says what was found and what is wanted, and that never holds a secret.
    """

    read: Callable[[Any], Any]
    kind: str
    """What the manual calls such a value: ``duration``, ``URL``."""
