"""``pomeriumd``: its commands, and how it ends."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

import pomeriumd
from pomeriumd.cli.main import COMMANDS, main


class MainTests(SynchronousTestCase):
    """main() is the group of commands."""

    def test_version(self) -> None:
        """The version is ours, in one line."""
        ran = CliRunner().invoke(main, ["--version"])
        self.assertEqual(ran.output, f"pomeriumd {pomeriumd.__version__}\n")

    def test_help_names_each_command(self) -> None:
        """Every command has a line of help, and help of its own."""
        ran = CliRunner().invoke(main, ["--help"])
        for name in COMMANDS:
            self.assertIn(f"\n  {name} ", ran.output)
            own = CliRunner().invoke(main, [name, "-h"])
            self.assertEqual(own.exit_code, 0, own.output)
            self.assertIn("Usage: ", own.output)

    def test_an_unknown_command(self) -> None:
        """A slip of the finger is said to be one."""
        ran = CliRunner().invoke(main, ["chekc"])
        self.assertEqual(ran.exit_code, 2)
        self.assertIn("No such command 'chekc'", ran.output)

    def test_nothing_is_imported_before_it_is_needed(self) -> None:
        """--version and check start quickly: no reactor, no TLS, no template."""
        code = "import sys, pomeriumd.cli.main as m; print(*(m.COMMANDS and sys.modules))"
        ran = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        for module in ("twisted.internet.reactor", "OpenSSL", "jinja2", "yaml"):
            self.assertNotIn(module, ran.stdout.split())


class CheckTests(SynchronousTestCase):
    """``pomeriumd check`` says whether a file is good."""

    def check(self, text: str) -> tuple[int, str, str]:
        """Return status, standard output and standard error."""
        place = Path(self.enterContext(tempfile.TemporaryDirectory())) / "config.yaml"
        place.write_text(text)
        ran = CliRunner().invoke(main, ["check", "-c", str(place)])
        return ran.exit_code, ran.stdout, ran.stderr.replace(str(place), "FILE")

    def test_problems(self) -> None:
        """All problems are printed with their places, and the status is 1."""
        status, out, err = self.check("addres: ':443'\npolicy:\n  - from: ftp://a\n")
        self.assertEqual((status, out), (1, ""))
        self.assertTrue(err.startswith("FILE: "), err)
        for said in ("unknown setting 'addres'", "policy[0].from", "policy[0].to"):
            self.assertIn(said, err)

    def test_a_file_that_is_not_there(self) -> None:
        """It is named, with the system's reason."""
        ran = CliRunner().invoke(main, ["check", "-c", "/not/there.yaml"])
        self.assertEqual(ran.exit_code, 1)
        self.assertIn("/not/there.yaml", ran.stderr)
        self.assertIn("no such file", ran.stderr)
