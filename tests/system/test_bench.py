"""``make bench``, one short round of it: it runs, tells, and leaves nothing running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from twisted.trial.unittest import SynchronousTestCase

pytestmark = [pytest.mark.system, pytest.mark.needs("wrk", "nginx", "taskset")]

ROOT = Path(__file__).parent.parent.parent

RUNGS = ("nginx-plain", "ours-auth-tls")

PATIENCE = 120.0
"""Seconds; a bound for a machine under load, not a promise."""


class BenchTests(SynchronousTestCase):
    """The bench from the outside."""

    def setUp(self) -> None:
        """Find a place; what the bench leaves there is seen."""
        self.place = Path(self.enterContext(tempfile.TemporaryDirectory()))
        if len(os.sched_getaffinity(0)) == 1:
            self.skipTest("proxy and client want a core each")

    def start(self) -> subprocess.Popen[str]:
        """Start one short round of two rungs; a session of its own holds all that it starts."""
        bench = subprocess.Popen(
            [
                *(sys.executable, "-m", "bench", "--rungs", ",".join(RUNGS), "--rounds", "1"),
                *("--seconds", "1", "--out", str(self.place / "out")),
                *("--tools", str(self.place / "none")),
            ],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(self.place)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.enterContext(bench)
        self.addCleanup(bench.kill)
        return bench

    def running(self) -> list[str]:
        """Return the command of each process that works in our place."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                except OSError:
                    continue
                if f"{self.place}/pomeriumd-bench-" in command:
                    found.append(command)
        return found

    def test_a_short_round(self) -> None:
        """Two rungs give two figures in the JSON; the temporary files go."""
        said, _ = self.start().communicate(timeout=PATIENCE)
        (result,) = (self.place / "out").glob("*.json") if "wrote" in said else (None,)
        self.assertIsNotNone(result, said)
        assert result is not None
        told: dict[str, Any] = json.loads(result.read_text())
        self.assertEqual(list(told["rungs"]), list(RUNGS))
        for rung in told["rungs"].values():
            self.assertGreater(rung["samples"][0]["requests"], 0)
        self.assertEqual([each.name for each in self.place.iterdir()], ["out"])
        self.assertEqual(self.running(), [])

    def test_ctrl_c(self) -> None:
        """Ctrl-C in the middle ends everything, and writes nothing."""
        bench = self.start()
        assert bench.stdout is not None
        said = ""
        while "every rung does its work" not in said:
            line = bench.stdout.readline()
            assert line, said
            said += line
        self.assertNotEqual(self.running(), [])
        bench.send_signal(signal.SIGINT)
        said, _ = bench.communicate(timeout=PATIENCE)
        self.assertEqual(bench.returncode, 1)
        self.assertIn("bench: stopped", said)
        self.assertEqual(self.running(), [])
        self.assertEqual(list(self.place.iterdir()), [])
