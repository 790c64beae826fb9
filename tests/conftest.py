"""What all tests share: how a program that a test needs may be missing."""

from __future__ import annotations

import os
import shutil

import pytest
from hypothesis import settings

# A busy machine is no failure: no test asserts a time. In CI the same examples each time,
# so that a change fails for what it changed; elsewhere new ones, which find more.
settings.register_profile("project", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("project")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known that names the programs a test needs."""
    config.addinivalue_line(
        "markers", "needs(*programs): skipped without one of them; in CI that is a failure"
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or in CI fail, a test whose program is not on this machine."""
    missing = [
        program
        for marker in item.iter_markers("needs")
        for program in marker.args
        if shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None
    ]
    if not missing:
        return
    reason = f"not on this machine: {', '.join(missing)}"
    if os.environ.get("CI"):
        pytest.fail(f"{reason}; CI has to install it", pytrace=False)
    pytest.skip(reason)
