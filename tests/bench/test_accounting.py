"""Processor time is counted whole, wherever below a process it was used."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

from twisted.trial.unittest import SynchronousTestCase

from bench import accounting

BURNT = 0.2
"""Seconds of processor time that each program uses before it speaks."""

PRELUDE = f"""\
import os, subprocess, sys, threading, time
def burn():
    while time.process_time() < {BURNT}:
        pass
def speak():
    print("burnt", flush=True)
    sys.stdin.readline()
BURN = "import time\\nwhile time.process_time() < {BURNT}: pass\\n"
SPEAK = "import sys; print('burnt', flush=True); sys.stdin.readline()"
"""

WAYS = {
    "itself": "burn(); speak()",
    "in a thread": """
        thread = threading.Thread(target=burn)
        thread.start()
        thread.join()
        speak()
    """,
    "in a child that has ended": "subprocess.run([sys.executable, '-c', BURN]); speak()",
    "in a child that lives": "subprocess.run([sys.executable, '-c', BURN + SPEAK])",
    "in a child of a child": """
        again = f"import subprocess; subprocess.run([{sys.executable!r}, '-c', {BURN + SPEAK!r}])"
        subprocess.run([sys.executable, "-c", again])
    """,
    "under a name that looks like the end of one": """
        with open("/proc/self/comm", "w") as name:
            name.write("a) R 1 (b")
        burn()
        speak()
    """,
}


class UsedTests(SynchronousTestCase):
    """used() finds all of it."""

    def test_wherever_it_was_used(self) -> None:
        """Itself, in threads, in children that live, and in those that have ended."""
        for way, program in WAYS.items():
            with (
                self.subTest(way),
                subprocess.Popen(
                    [sys.executable, "-c", PRELUDE + textwrap.dedent(program)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                ) as process,
            ):
                assert process.stdout is not None
                self.assertEqual(process.stdout.readline(), b"burnt\n")
                self.assertGreaterEqual(accounting.used(process.pid), BURNT - accounting.TICK)
                process.communicate(b"\n")

    def test_a_process_that_is_gone(self) -> None:
        """Nothing is counted for a proxy that has died: that is said."""
        with subprocess.Popen([sys.executable, "-c", ""]) as process:
            process.wait()
        with self.assertRaises(ProcessLookupError):
            accounting.used(process.pid)


class CoreTests(SynchronousTestCase):
    """core() tells of one core."""

    def test_is_a_part_of_all(self) -> None:
        """No core is busier than all of them together."""
        cores = [accounting.core(number) for number in sorted(os.sched_getaffinity(0))]
        self.assertTrue(all(0 <= core.stolen <= core.busy for core in cores))
        self.assertTrue(all(core.busy > 0 for core in cores))

    def test_a_core_that_is_not_there(self) -> None:
        """There is no core 100,000."""
        with self.assertRaises(LookupError):
            accounting.core(100_000)
