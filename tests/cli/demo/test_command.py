"""The command line of ``pomeriumd demo``: what it says when it cannot start."""

from __future__ import annotations

import signal
import socket
import tempfile
from pathlib import Path

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.cli.main import main


class CommandTests(SynchronousTestCase):
    """What is in the way is explained."""

    def setUp(self) -> None:
        """Find a place, and leave the signals as they were."""
        self.place = Path(self.enterContext(tempfile.TemporaryDirectory()))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self.addCleanup(signal.signal, number, signal.getsignal(number))

    def test_a_port_in_use(self) -> None:
        """The port is named, with what to do; nothing has been started or written."""
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            directory = self.place / "demo"
            ran = CliRunner().invoke(main, ["demo", "--dir", str(directory), "--port", str(port)])
        self.assertEqual(ran.exit_code, 1)
        self.assertIn(f"127.0.0.1:{port} cannot be had: address already in use", ran.stderr)
        self.assertIn("pomeriumd demo --port 9443", ran.stderr)
        self.assertFalse(directory.exists())

    def test_a_directory_that_cannot_be_made(self) -> None:
        """The system's reason is passed on with the path."""
        (self.place / "file").touch()
        directory = str(self.place / "file" / "demo")
        ran = CliRunner().invoke(main, ["demo", "--dir", directory, "--port", "8443"])
        self.assertEqual(ran.exit_code, 1)
        self.assertIn("file", ran.stderr)

    def test_settings_of_the_wrong_form(self) -> None:
        """A setting has a name and a value, and is none of what the programs need to run."""
        for given in ("", "x", "=x", "a b=x", "PATH=x", "path=x"):
            ran = CliRunner().invoke(main, ["demo", "--setting", given])
            self.assertEqual(ran.exit_code, 2)
            self.assertIn(f"want KEY=VALUE, got {given!r}", ran.stderr)
