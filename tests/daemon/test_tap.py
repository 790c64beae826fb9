"""The command line of ``twistd pomerium``."""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path

from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

import pomeriumd
from pomeriumd.daemon.tap import Options


class OptionsTests(SynchronousTestCase):
    """What is wrong is said before anything starts."""

    def test_twistd_finds_us(self) -> None:
        """The plugin is there, once, under its name."""
        self.assertEqual([p.tapname for p in getPlugins(IServiceMaker)].count("pomerium"), 1)

    def test_the_version_is_ours(self) -> None:
        """--version says what pomeriumd is, not what Twisted is."""
        said = io.StringIO()
        with contextlib.redirect_stdout(said), self.assertRaises(SystemExit) as ended:
            Options().parseOptions(["--version"])
        self.assertEqual(said.getvalue(), f"pomeriumd {pomeriumd.__version__}\n")
        self.assertEqual(ended.exception.code, 0)

    def test_the_settings_must_be_named(self) -> None:
        """Without a file the operator reads how to name one."""
        with self.assertRaises(usage.UsageError) as caught:
            Options().parseOptions([])
        self.assertEqual(str(caught.exception), "no settings: name the file with --config FILE")

    def test_every_problem_is_named(self) -> None:
        """A file with faults ends the start, each fault with its place."""
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "config.yaml"
            path.write_text("addres: ':443'\n")
            with self.assertRaises(usage.UsageError) as caught:
                Options().parseOptions(["-c", str(path)])
        text = str(caught.exception)
        self.assertIn(str(path), text)
        self.assertIn("addres", text)
        self.assertIn("address", text)
        self.assertIn("cookie_secret", text)
