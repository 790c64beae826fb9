"""Programs beside us: all of them or none, and nothing stays behind."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.cli.demo.children import ChildEnded, Children, Program, Stopped, stop_on_signals

FOREVER = "import os, signal\nprint(os.getpid(), flush=True)\nsignal.pause()"
STUBBORN = f"import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n{FOREVER}"
WITH_CHILD = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {STUBBORN!r}])\n"

ORPHANING = """
import os, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from pomeriumd.cli.demo.children import Children, Program
log = Path({log!r})
children = Children()
children.start(Program("one", [sys.executable, "-c", {forever!r}], log,
                       lambda: log.stat().st_size > 0, dict(os.environ)))
children.wait_until_ready(10, lambda program: None)
os._exit(0)
"""


class ChildrenTests(SynchronousTestCase):
    """Children starts, watches and ends."""

    def setUp(self) -> None:
        """Find a place, and see to it that nothing stays."""
        self.place = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.children = Children(patience=1.0)
        self.addCleanup(self.children.stop)

    def program(self, name: str, code: str, lines: int = 1) -> Program:
        """Return a Python program that is ready when it has said so many lines."""
        log = self.place / f"{name}.log"
        return Program(
            name,
            [sys.executable, "-c", code],
            log,
            lambda: log.read_bytes().count(b"\n") >= lines,
            {"PATH": os.environ["PATH"]},
        )

    def run_until_ready(self, *programs: Program) -> list[str]:
        """Start all, and return the names as they got ready."""
        told: list[str] = []
        for program in programs:
            self.children.start(program)
        self.children.wait_until_ready(10, lambda program: told.append(program.name))
        return told

    def pids(self, name: str) -> list[int]:
        """Return what the program said, which are process ids."""
        return [int(line) for line in (self.place / f"{name}.log").read_text().split()]

    def assert_gone(self, pid: int) -> None:
        """Wait, within a bound, for the end of a process."""
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            self.addCleanup(os.close, descriptor)
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            self.assertTrue(poll.poll(10_000), f"{pid} still runs")

    def test_all_get_ready_and_all_end(self) -> None:
        """Each is told of once, and stop() ends all."""
        told = self.run_until_ready(self.program("a", FOREVER), self.program("b", FOREVER))
        self.assertEqual(sorted(told), ["a", "b"])
        self.children.check()
        self.children.stop()
        for name in ("a", "b"):
            self.assert_gone(self.pids(name)[0])

    def test_what_ignores_us_is_killed(self) -> None:
        """Neither a program that ignores SIGTERM nor what it started stays behind."""
        self.run_until_ready(self.program("a", WITH_CHILD + STUBBORN, lines=2))
        self.children.stop()
        for pid in self.pids("a"):
            self.assert_gone(pid)

    def test_one_that_ends_is_noticed(self) -> None:
        """The words tell which, how, and the end of its log."""
        self.children.start(self.program("a", "raise SystemExit('last words')"))
        with self.assertRaises(ChildEnded) as caught:
            self.children.watch()
        said = str(caught.exception)
        self.assertTrue(said.startswith("a ended (status 1); the end of its log, "), said)
        self.assertIn("    last words\n", said)

    def test_one_that_is_killed(self) -> None:
        """A signal is called by its name."""
        self.run_until_ready(self.program("a", FOREVER))
        os.kill(self.pids("a")[0], signal.SIGKILL)
        with self.assertRaises(ChildEnded) as caught:
            self.children.watch()
        self.assertTrue(str(caught.exception).startswith("a ended (SIGKILL); "))

    def test_one_that_ends_before_it_is_ready(self) -> None:
        """Nobody waits for what is gone already."""
        self.children.start(self.program("a", "raise SystemExit(3)"))
        with self.assertRaises(ChildEnded) as caught:
            self.children.wait_until_ready(10, lambda _: None)
        self.assertTrue(str(caught.exception).startswith("a ended (status 3); "))

    def test_one_that_never_gets_ready(self) -> None:
        """The wait has an end."""
        self.children.start(self.program("a", FOREVER, lines=9))
        with self.assertRaises(ChildEnded) as caught:
            self.children.wait_until_ready(0.2, lambda _: None)
        self.assertTrue(str(caught.exception).startswith("a is not ready after 0 s; "))

    def test_a_program_that_is_not_there(self) -> None:
        """It is named."""
        program = Program("a", ["/not/there"], self.place / "log", lambda: True, {})
        with self.assertRaises(ChildEnded) as caught:
            self.children.start(program)
        self.assertIn("a cannot be started: ", str(caught.exception))

    def test_children_do_not_outlive_us(self) -> None:
        """When we die without a word, so do they."""
        log = self.place / "orphan.log"
        root = str(Path(__file__).parents[3])
        code = ORPHANING.format(root=root, log=str(log), forever=FOREVER)
        subprocess.run([sys.executable, "-c", code], check=True)
        self.assert_gone(int(log.read_text()))


class SignalTests(SynchronousTestCase):
    """stop_on_signals() turns the first signal into an exception, and drops the others."""

    def setUp(self) -> None:
        """Leave the signals as they were."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self.addCleanup(signal.signal, number, signal.getsignal(number))

    def test_once(self) -> None:
        """An impatient second Ctrl-C does not interrupt the tidying up."""
        stop_on_signals()
        with self.assertRaises(Stopped) as caught:
            signal.raise_signal(signal.SIGTERM)
        self.assertEqual(str(caught.exception), "SIGTERM")
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.raise_signal(number)
