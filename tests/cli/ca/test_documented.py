"""The commands of the manual, each as it stands there, in the order of the page."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.cli.main import main

DOCS = Path(__file__).parent.parent.parent.parent / "docs"


class DocumentedTests(SynchronousTestCase):
    """Commands of two pages."""

    def run_page(self, page: str) -> list[str]:
        """Run the page's commands in an empty directory; return the files that they leave."""
        commands = re.findall(r"(?m)^    pomeriumd (ca .+)$", (DOCS / page).read_text())
        runner = CliRunner()
        with runner.isolated_filesystem():
            for command in commands:
                result = runner.invoke(main, shlex.split(command))
                self.assertEqual(result.exit_code, 0, f"{command}: {result.output}")
            return sorted(str(path) for path in Path().rglob("*.key"))

    def test_internal_certificates(self) -> None:
        """They make two authorities and a certificate of each, and renew one."""
        self.assertEqual(
            self.run_page("internal-certificates.md"),
            [
                "ca/authorize.internal.key",
                "ca/ca.key",
                "ca2/ca.key",
                "ca2/wildcard.example.com.key",
            ],
        )

    def test_production_deployment(self) -> None:
        """They make one of each."""
        self.assertEqual(
            self.run_page("production-deployment.md"), ["ca/authorize.internal.key", "ca/ca.key"]
        )
