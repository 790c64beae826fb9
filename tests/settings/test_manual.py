"""Tests of pomeriumd.settings.manual."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml as pyyaml
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.settings.keys import CLUSTER_KEYS, GLOBAL_KEYS, MTLS_KEYS, ROUTE_KEYS, spellings
from pomeriumd.settings.known import GLOBAL_GONE, GLOBAL_NOT_YET, ROUTE_GONE, ROUTE_NOT_YET
from pomeriumd.settings.manual import manual
from pomeriumd.settings.roles import NEEDS
from tests.support.settings_files import SHARED_SECRET, authorize, minimal, problems, route

WRITTEN = Path(__file__).parents[2] / "docs" / "settings.md"

BESIDE: dict[str, Any] = {
    "shared_secret": SHARED_SECRET,
    "authorize_service_url": "http://127.0.0.1:5443",
    "grpc_insecure": True,
}
"""What any example is good with."""


def keys_of(section: str) -> set[str]:
    """Return the keys in the first column of a section's table."""
    text = manual().partition(f"## {section}\n")[2].partition("\n## ")[0]
    columns = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    return {name for column in columns for name in re.findall("`([a-z_]+)`", column)}


class ManualTests(SynchronousTestCase):
    """The manual says what the checker does."""

    def test_is_written(self) -> None:
        """docs/settings.md is what the model makes it."""
        self.assertEqual(WRITTEN.read_text(), manual())

    def test_every_key(self) -> None:
        """Every key that is taken is in the manual, and no other."""
        self.assertEqual(keys_of("For the whole process"), spellings(GLOBAL_KEYS))
        self.assertEqual(keys_of("For each route"), spellings(ROUTE_KEYS))
        self.assertEqual(keys_of("For each cluster"), spellings(CLUSTER_KEYS))
        self.assertEqual(keys_of("For downstream_mtls"), spellings(MTLS_KEYS))

    def test_every_refused_key(self) -> None:
        """Every key of Pomerium that is not here is named."""
        text = manual()
        for name in {*GLOBAL_GONE, *GLOBAL_NOT_YET, *ROUTE_GONE, *ROUTE_NOT_YET}:
            self.assertIn(f"`{name}`", text)

    def test_every_example_is_taken(self) -> None:
        """What the manual gives as an example is right by itself."""
        for name, key in GLOBAL_KEYS.items():
            if key.doc.example and name not in ("certificates", "downstream_mtls"):
                given = {**BESIDE, "idp_provider_url": "https://id.example.com"}
                given[name] = self.value(key.doc.example)
                self.assertEqual(problems(minimal(**given)), [])
        for name, key in ROUTE_KEYS.items():
            if key.doc.example and name != "allowed_client_certificates":
                one = route(**{"to": "https://a", name: self.value(key.doc.example)})
                self.assertEqual(problems(minimal(policy=[one])), [])
        given = {
            name: self.value(key.doc.example)
            for name, key in CLUSTER_KEYS.items()
            if key.doc.example
        }
        self.assertEqual(problems(authorize(clusters=[given])), [])

    def test_what_each_role_needs(self) -> None:
        """Each role has its keys in a list of its own, and no key of another role."""
        for role, needs in NEEDS.items():
            text = manual().partition(f"### {role.capitalize()} needs\n")[2].partition("\n#")[0]
            found = re.findall(r"^- `([a-z_]+)`", text, re.MULTILINE)
            self.assertEqual(found, [need.key for need in needs])

    def value(self, text: str) -> Any:
        """Return what an example says."""
        return pyyaml.safe_load(text)

    def test_tables_are_tables(self) -> None:
        """Each row has its four columns, whatever stands in it."""
        rows = [line for line in manual().splitlines() if line.startswith("|")]
        self.assertEqual({len(re.findall(r"(?<!\\)\|", row)) for row in rows}, {5})
