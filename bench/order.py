"""What one run is to measure, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from bench.ours import Checkout
from bench.rungs import Rung


@attrs.frozen(kw_only=True)
class Order:
    """The command line, understood."""

    rungs: Sequence[Rung]
    rounds: int
    seconds: int
    """Of each load."""
    rate: int | None
    """Requests a second; None is as many as are answered."""
    checkouts: Mapping[str, Checkout]
    """``ours`` and, if it takes part, ``vs``."""
    realtime: bool
    """Proxies, client and upstream go before strangers."""
    tools: Path
    """The environment with Envoy and matplotlib."""
    out: Path
    """Where the results go."""

    def has(self, proxy: str) -> bool:
        """Return whether a proxy takes part."""
        return any(rung.proxy == proxy for rung in self.rungs)
