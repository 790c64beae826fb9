"""Every harness there is, by name; loaded one by one, for each builds what it sends through."""

from __future__ import annotations

import importlib

from tests.fuzz.harness import Harness

NAMES = (
    "request_head",
    "response_head",
    "chunked",
    "cookies",
    "tokens",
    "urls",
    "callback",
    "proxy_header",
)


def load(name: str) -> Harness:
    """Return a harness by its name."""
    if name not in NAMES:
        raise SystemExit(f"no harness {name}; there are {', '.join(NAMES)}")
    harness: Harness = importlib.import_module(f"tests.fuzz.{name}").HARNESS
    return harness
