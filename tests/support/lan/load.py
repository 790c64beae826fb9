"""A steady load from one host, and what became of each of its requests."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from tests.support.lan.hosts import Host

ROOT = Path(__file__).parents[3]

CONNECTIONS = 30
RATE = 500.0
"""Requests a second: the least that the promise is given for."""

OK = 200


@attrs.frozen
class Asked:
    """One request; the times are seconds of this machine's monotonic clock."""

    due: float
    """When it should have been sent."""
    sent: float
    done: float
    status: int
    """0 is one that had no whole answer."""
    why: str

    @property
    def waited(self) -> float:
        """Return seconds from when it was sent to its answer."""
        return self.done - self.sent

    @property
    def good(self) -> bool:
        """Return whether the upstream's page came back."""
        return self.status == OK


@attrs.frozen
class Course:
    """All requests of a load, in the order in which they ended."""

    asked: Sequence[Asked]

    @property
    def failed(self) -> list[Asked]:
        """Return those that the upstream's page did not come back for."""
        return [each for each in self.asked if not each.good]

    def slowest(self) -> float:
        """Return the seconds of the one that waited longest."""
        return max(each.waited for each in self.asked)

    def after(self, moment: float) -> Course:
        """Return those that were under way at this moment, or sent after it."""
        return Course([each for each in self.asked if each.done >= moment])

    def disturbed(self, moment: float, late: float) -> float:
        """
        Return the seconds from this moment to the end of the last that noticed.

        Args:
            moment: of the fault.
            late: seconds; who waited so long, or failed, has noticed.
        """
        ends = [
            each.done for each in self.after(moment).asked if not each.good or each.waited >= late
        ]
        return max(ends, default=moment) - moment

    def told(self, moment: float, late: float) -> dict[str, Any]:
        """Return the figures that are printed of a fault at this moment."""
        since = self.after(moment)
        waited = sorted(each.waited for each in since.asked)
        statuses = sorted({each.status for each in self.failed})
        return {
            "requests": len(self.asked),
            "failed": len(self.failed),
            **({"as": ",".join(map(str, statuses))} if statuses else {}),
            "since": len(since.asked),
            "p50_ms": waited[len(waited) // 2] * 1e3,
            "slowest_ms": since.slowest() * 1e3,
            "noticed": sum(not each.good or each.waited >= late for each in since.asked),
            "over_after_ms": self.disturbed(moment, late) * 1e3,
        }


class Steady:
    """
    The load, at work from when this returns.

    Args:
        host: where it runs.
        address: of the proxy, and its port.
        authority: file with the authority to trust.
        name: that the proxy's certificate has to be good for.
        requests: whole ones, sent in turn.
        rate: of all connections together, in a second.
        connections: that stay open; as many requests may be under way.
    """

    def __init__(
        self,
        host: Host,
        address: tuple[str, int],
        authority: Path,
        name: str,
        requests: Sequence[str],
        rate: float = RATE,
        connections: int = CONNECTIONS,
    ) -> None:
        order = {
            "address": address[0],
            "port": address[1],
            "authority": str(authority),
            "name": name,
            "connections": connections,
            "rate": rate,
            "requests": list(requests),
        }
        self._process = host.start(sys.executable, "-m", "bench.paced", where=ROOT, fed=True)
        self._process.say(json.dumps(order))
        self._process.begun('"open"')

    def take(self, requests: Sequence[str]) -> None:
        """Send these requests from now on."""
        self._process.say(json.dumps({"requests": list(requests)}))

    def end(self) -> Course:
        """End it, and return what became of each request."""
        self._process.release()
        self._process.wait()
        told = json.loads(self._process.lines[-1])
        return Course([Asked(*each) for each in told["requests"]])
