"""What was measured, kept until the end of the run; see ``tests/soak/conftest.py``."""

from __future__ import annotations

from typing import Any

import attrs


@attrs.frozen
class Figure:
    """One line of the table."""

    subject: str
    values: dict[str, Any]


FIGURES: list[Figure] = []


def note(subject: str, **values: Any) -> None:
    """Keep a line; also on the test's own output, for whoever watches."""
    FIGURES.append(Figure(subject, values))
    print(shown(FIGURES[-1]), flush=True)  # noqa: T201  # shown by pytest -s


def shown(figure: Figure) -> str:
    """Return the line."""
    said = "  ".join(f"{name} {_value(value)}" for name, value in figure.values.items())
    return f"{figure.subject:<34} {said}"


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)
