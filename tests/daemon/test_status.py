"""The status document: the same in JSON, and readable by another version."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.status import (
    ListenerStatus,
    ReloadStatus,
    Status,
    WorkerStatus,
    document,
    read,
    read_reload,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
NAMES = ("version", "generation", "last_reload", "listeners", "workers", "connections", "pid")


class StatusTests(SynchronousTestCase):
    """document() and read() are each other's reverse."""

    def test_round_trip(self) -> None:
        """What was told is what is read, by way of JSON."""
        status = Status(
            version="1.0",
            last_reload=ReloadStatus(at=1.5, outcome="good", changes=("a", "b")),
            listeners=(ListenerStatus(name="address", address=":443", from_="systemd"),),
            workers=(WorkerStatus(number=1, state="serving"),),
        )
        self.assertEqual(read(json.loads(json.dumps(document(status)))), status)

    def test_names(self) -> None:
        """The names are those of the manual; ``from`` is no attribute of Python's."""
        found = document(Status(listeners=(ListenerStatus(from_="bound"),)))
        self.assertEqual(found["listeners"], [{"name": "", "address": "", "from": "bound"}])

    def test_another_version(self) -> None:
        """What is missing has a default, and what is new is left out."""
        self.assertEqual(read({"version": "9", "moods": ["good"]}), Status(version="9"))
        self.assertEqual(read_reload({"outcome": "same"}), ReloadStatus(outcome="same"))

    @given(st.dictionaries(st.sampled_from(NAMES), JSON))
    @example({"connections": float("inf")})
    def test_anything(self, found: dict[str, Any]) -> None:
        """Whatever is no such document is a ValueError, and nothing else."""
        for reads in (read, read_reload):
            with contextlib.suppress(ValueError):
                reads(found)
