"""What system tests measure stands at the end of the run; ``-s`` shows it at once."""

from __future__ import annotations

import pytest

from tests.support.load.figures import FIGURES, shown


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    if FIGURES:
        terminalreporter.section("figures")
        for figure in FIGURES:
            terminalreporter.write_line(shown(figure))
