"""The manual says what the program says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import yaml
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.crypto.tls_faults import Fault
from pomeriumd.daemon.metrics import METRICS, table
from pomeriumd.oidc.refusals import EXPLANATIONS
from pomeriumd.rpc import failures
from pomeriumd.rpc.endpoint import Endpoint
from pomeriumd.rpc.tokens import CLOCK, SECRET

ROOT = Path(__file__).parent.parent


def checks_in_the_code() -> set[str]:
    """Return the check of every LoginFailed that the code raises."""
    found = set(EXPLANATIONS)
    for path in (ROOT / "pomeriumd").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "LoginFailed"
                and len(node.args) > 1
                and isinstance(node.args[1], ast.Constant)
            ):
                found.add(str(node.args[1].value))
    return found


def faults_in_the_code() -> set[str]:
    """Return what is said of a replica that fails, with braces where something is put in."""
    tables = (failures._CERTIFICATE, failures._NETWORK)
    known = {text for table in tables for _, text, _ in table}
    known |= {failures.NOT_SERVING.text, failures.SILENT.text}
    for code in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "UNAUTHENTICATED", "UNIMPLEMENTED"):
        for refused in ("", SECRET, CLOCK):
            for details in ("", "failed to connect"):
                for plain in (False, True):
                    seen = failures.Seen(code=code, details=details, refused=refused, plain=plain)
                    known.add(failures.explain(seen, Endpoint("a", "10.0.0.1", 443)).text)
    return known


class TroubleshootingTests(SynchronousTestCase):
    """docs/troubleshooting.md explains what the pages name."""

    def test_every_check_is_explained(self) -> None:
        """A word that a page can show stands in the table."""
        text = (ROOT / "docs" / "troubleshooting.md").read_text()
        missing = {check for check in checks_in_the_code() if f"`{check}`" not in text}
        self.assertEqual(missing, set())

    def test_every_fault_of_tls_is_explained(self) -> None:
        """A word that log and metric have for TLS with an application stands in its table."""
        text = (ROOT / "docs" / "upstream-tls.md").read_text()
        rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
        explained = {word for row in rows for word in re.findall(r"`([a-z-]+)`", row)}
        self.assertEqual(explained, {fault.value for fault in Fault})

    def test_every_fault_of_a_replica_is_explained(self) -> None:
        """How a line about an authorize service ends, up to what is measured or quoted."""
        text = (ROOT / "docs" / "troubleshooting.md").read_text()
        begins = {re.split(r" ?[({]", each)[0] for each in faults_in_the_code()}
        self.assertGreater(len(begins), 15)
        self.assertEqual({each for each in begins if f"`{each}" not in text}, set())


class MetricsTests(SynchronousTestCase):
    """docs/metrics.md and the alerts know the metrics that there are."""

    def setUp(self) -> None:
        """Read both."""
        self.manual = (ROOT / "docs" / "metrics.md").read_text()
        rules = (ROOT / "etc" / "prometheus" / "pomerium.rules.yml").read_text()
        self.alerts = [rule for group in yaml.safe_load(rules)["groups"] for rule in group["rules"]]

    def test_the_table_is_that_of_the_code(self) -> None:
        """``python -m pomeriumd.daemon.metrics`` prints what stands there."""
        self.assertIn(f"\n{table()}\n", self.manual)

    def test_every_alert_is_explained(self) -> None:
        """Who is woken by an alert finds what to do."""
        for alert in self.alerts:
            self.assertIn(f"| `{alert['alert']}` |", self.manual)

    def test_what_is_asked_for_is_there(self) -> None:
        """Alerts and manual name no metric that there is not."""
        known = {metric.full_name for metric in METRICS}
        texts = [self.manual, *(alert["expr"] for alert in self.alerts)]
        for name in re.findall(r"\bpomerium_\w+", " ".join(texts)):
            self.assertIn(name, known)


class ReadmeTests(SynchronousTestCase):
    """README.md leads nowhere that is not there."""

    def test_every_link_leads_somewhere(self) -> None:
        """A relative link or picture of README and docs is a file of this tree."""
        for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
            for piece in page.read_text().split("](")[1:]:
                target = piece.partition(")")[0].partition("#")[0]
                if target and "://" not in target:
                    self.assertTrue((page.parent / target).exists(), f"{page.name}: {target}")
