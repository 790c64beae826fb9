"""``pomeriumd status`` and ``pomeriumd reload`` as processes, at a socket of another process."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parents[2]
ERROR = "1 problem in the settings:\n  policy[0].to (line 9): missing \x1b]0;owned\x07"
STATUS: dict[str, Any] = {
    "version": "0.1.0",
    "services": "all",
    "pid": 1,
    "started": 1_700_000_000.5,
    "generation": {"digest": "0123456789abcdef", "number": 2, "since": 1_700_000_000, "routes": 1},
    "last_reload": None,
    "listeners": [{"name": "address", "address": "127.0.0.1:8443", "from": "systemd"}],
    "workers": [{"number": 1, "pid": 2, "state": "serving", "generation": 2, "connections": 5}],
    "connections": 5,
    "streams": 0,
}


class CommandTests(SynchronousTestCase):
    """The commands, as an operator runs them."""

    def setUp(self) -> None:
        """Run something that answers."""
        self.directory = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.config = self.directory / "config.yaml"
        self.config.write_text(f"state_dir: {self.directory}\ncookie_secret_file: /not/there\n")
        self.answers = self.directory / "answers.json"
        self.answer()
        path = self.directory / "control.sock"
        self.daemon = subprocess.Popen(
            [sys.executable, "-m", "tests.support.controlled", str(path), str(self.answers)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        self.addCleanup(self.stop)
        assert self.daemon.stdout is not None
        self.addCleanup(self.daemon.stdout.close)
        self.assertEqual(self.daemon.stdout.readline(), b"listens\n")

    def stop(self) -> None:
        """End it."""
        self.daemon.send_signal(signal.SIGCONT)
        self.daemon.terminate()
        self.daemon.wait()

    def answer(self, outcome: str = "good", **status: Any) -> None:
        """Set what is answered."""
        last = {"at": 1_700_000_000, "outcome": outcome, "error": "", "changes": ["a is new"]}
        if outcome == "refused":
            last |= {"error": ERROR, "changes": []}
        self.answers.write_text(json.dumps({"status": {**STATUS, **status}, "reload": last}))

    def run_(self, *words: str, **environment: str) -> tuple[int, str, str]:
        """Return status, standard output and standard error of a command."""
        ran = subprocess.run(
            [sys.executable, "-m", "pomeriumd.cli", *words],
            capture_output=True,
            text=True,
            env={**os.environ, **environment},
            check=False,
        )
        return ran.returncode, ran.stdout, ran.stderr

    def test_it_serves(self) -> None:
        """The settings lead to the socket; all is well, and in no colour, for it is a pipe."""
        status, out, err = self.run_("status", "-c", str(self.config))
        self.assertEqual((status, err), (0, ""))
        self.assertTrue(out.startswith("pomeriumd 0.1.0 (all), pid 1: serving\n"), out)
        self.assertIn("127.0.0.1:8443  (address, from systemd)", out)
        self.assertNotIn("\x1b", out)

    def test_json(self) -> None:
        """The whole answer as it was."""
        status, out, _ = self.run_("status", "--json", "--socket", f"{self.directory}/control.sock")
        self.assertEqual((status, json.loads(out)), (0, STATUS))

    def test_a_refused_reload_is_remembered(self) -> None:
        """Status 1, and the error; nothing in it reaches the terminal as a command."""
        refused = {"at": 1_700_000_000, "outcome": "refused", "error": ERROR}
        self.answer(last_reload=refused)
        for more in ((), ("--json",)):
            status, out, _ = self.run_("status", "-c", str(self.config), *more)
            self.assertEqual(status, 1)
            self.assertIn("policy[0].to (line 9): missing", out)
            self.assertIsNone(re.search("[\x00-\x09\x0b-\x1f\x7f]", out))

    def test_reload(self) -> None:
        """What came of it, with a status of its own."""
        for outcome, wanted, said in (
            ("good", 0, ": good\n  a is new\n"),
            ("same", 0, ": the settings had not changed\n"),
            ("refused", 1, ": refused; the settings of before serve on\n  1 problem in"),
        ):
            self.answer(outcome)
            status, out, err = self.run_("reload", "-c", str(self.config))
            self.assertEqual((status, err), (wanted, ""), outcome)
            self.assertIn(said, out)

    def test_it_has_stopped(self) -> None:
        """After an orderly stop there is no socket left."""
        self.daemon.terminate()
        self.assertEqual(self.daemon.wait(), 0)
        for name in ("status", "reload"):
            status, out, err = self.run_(name, "-c", str(self.config))
            self.assertEqual((status, out), (2, ""))
            self.assertTrue(err.startswith(f"pomeriumd: no socket at {self.directory}/"), err)

    def test_it_was_killed(self) -> None:
        """Its socket is there, and it is not."""
        self.daemon.kill()
        self.daemon.wait()
        status, _, err = self.run_("status", "-c", str(self.config))
        self.assertEqual(status, 2)
        self.assertIn("the daemon whose socket this was is gone: start it", err)

    def test_colour(self) -> None:
        """On a terminal there is some, unless NO_COLOR says no."""
        for environment, wanted in (
            ({}, True),
            ({"NO_COLOR": "1"}, False),
            ({"NO_COLOR": ""}, True),
        ):
            ours, theirs = os.openpty()
            subprocess.run(
                [*(sys.executable, "-m", "pomeriumd.cli", "status", "-c", str(self.config))],
                stdout=theirs,
                env={**os.environ, "TERM": "xterm", **environment},
                check=True,
            )
            shown = os.read(ours, 65_536)
            os.close(ours)
            os.close(theirs)
            self.assertEqual(b"\x1b[32mserving" in shown, wanted)

    @pytest.mark.system
    @pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")
    def test_another_user(self) -> None:
        """The kernel's word counts: also where the file would let them in, nobody is answered."""
        path = self.directory / "control.sock"
        code = (
            "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
            "s.sendall(b'status\\n'); print(s.recv(9))"
        )

        def ask() -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, "-I", "-c", code, str(path)],
                user=65534,
                capture_output=True,
                text=True,
                check=False,
            )

        self.assertIn("PermissionError", ask().stderr)
        self.directory.chmod(0o755)
        self.assertIn("PermissionError", ask().stderr)
        path.chmod(0o666)
        told = ask()
        self.assertTrue(
            told.stdout == "b''\n"
            or "ConnectionResetError" in told.stderr
            or "BrokenPipeError" in told.stderr,
            told,
        )
