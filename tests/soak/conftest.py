"""At the end of a soak its figures stand in a table, and as JSON under ``build/soak``."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.load.figures import FIGURES, shown
from tests.support.load.programs import Upstream

BUILT = Path(__file__).parents[2] / "build" / "soak"


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """The application, running."""
    with Upstream() as upstream:
        yield upstream


@pytest.fixture
def quiet() -> Iterator[Upstream]:
    """The application that the probe asks."""
    with Upstream() as quiet:
        yield quiet


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table, and write the file."""
    if not FIGURES:
        return
    terminalreporter.section("figures")
    for figure in FIGURES:
        terminalreporter.write_line(shown(figure))
    BUILT.mkdir(parents=True, exist_ok=True)
    told = {
        "machine": platform.platform(),
        "python": platform.python_version(),
        "figures": [{"subject": figure.subject, **figure.values} for figure in FIGURES],
    }
    place = BUILT / "figures.json"
    place.write_text(json.dumps(told, indent=1) + "\n")
    terminalreporter.write_line(f"also in {place}")
