"""What the daemon tells of itself, from what its parts know."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.expiry import Expiries
from pomeriumd.daemon.ledger import Ledger
from pomeriumd.daemon.report import Report
from pomeriumd.daemon.series import SINCE
from pomeriumd.daemon.tally import Tally
from pomeriumd.settings.values import Address


def parts(pid: int) -> dict[str, Any]:
    """Return what a report is made of where this worker and its supervisor dropped 3 lines each."""
    tally, ledger = Tally(), Ledger()
    tally.set_since(dict.fromkeys(SINCE, 3))
    ledger.open_own(0, tally.memory)
    return {
        "services": "all",
        "servants": SimpleNamespace(
            seats=[SimpleNamespace(number=0, pid=pid, state="serving")],
            reserve=None,
            restarts={},
        ),
        "ledger": ledger,
        "sockets": None,
        "reloading": SimpleNamespace(
            generation=SimpleNamespace(digest="0" * 16, number=1, since=1.0, routes=0),
            last=None,
            good_at=1.0,
            refusals=0,
            left_out=SimpleNamespace(present=frozenset(), failures=0),
        ),
        "expiry": SimpleNamespace(expiries=Expiries()),
        "lines": SimpleNamespace(dropped=3),
        "started": 1.0,
    }


class ListenersTests(SynchronousTestCase):
    """What the status says of where the daemon listens."""

    def test_where_proxies_ask(self) -> None:
        """It is told beside the sockets of our own, though grpc has bound it."""
        more = {
            "servants": SimpleNamespace(seats=[], reserve=None, restarts={}),
            "sockets": SimpleNamespace(by_name={}),
            "grpc": Address("10.0.0.1", 5443),
        }
        status = Report(**parts(os.getpid()) | more).status()
        self.assertEqual(
            status["listeners"],
            [{"name": "grpc_address", "address": "10.0.0.1:5443", "from": "bound"}],
        )


class DroppedTests(SynchronousTestCase):
    """Each dropped log line is counted once."""

    def dropped(self, pid: int) -> float:
        """Return the count where this worker dropped lines, and its supervisor."""
        text = b"".join(Report(**parts(pid)).metrics()).decode()
        (found,) = [
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "pomerium_log_lines_dropped_total"
        ]
        return float(found)

    def test_a_process_that_serves_by_itself_has_one_log(self) -> None:
        """What it dropped is not counted as a worker's and as its supervisor's."""
        self.assertEqual(self.dropped(os.getpid()), 3)

    def test_a_supervisor_has_its_own(self) -> None:
        """Lines are lost in the worker and on the way to the supervisor's log."""
        self.assertEqual(self.dropped(os.getppid()), 6)
