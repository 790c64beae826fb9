"""The examples in etc/pomerium are good settings, and go together."""

from __future__ import annotations

import re
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.settings.load import load
from pomeriumd.settings.model import Settings
from pomeriumd.settings.pairs import covers, grpc_pair
from pomeriumd.settings.report import report
from tests.support.settings_files import COOKIE_SECRET, SHARED_SECRET, pair

EXAMPLES = Path(__file__).parents[2] / "etc" / "pomerium"

SECRETS = {
    "secrets/shared_secret": SHARED_SECRET.encode(),
    "secrets/cookie_secret": COOKIE_SECRET.encode(),
    "secrets/idp_client_secret": b"a secret\n",
}


DOCS = Path(__file__).parents[2] / "docs"


def snippets(manual: str) -> list[dict[str, Any]]:
    """Return every piece of a settings file that stands in a page of the manual."""
    blocks = re.findall(r"(?:^    .*\n)+", manual, re.MULTILINE)
    found = [yaml.safe_load(textwrap.dedent(block)) for block in blocks]
    return [block for block in found if isinstance(block, dict)]


def named(value: Any) -> set[str]:
    """Return every file that an example names."""
    if isinstance(value, list):
        return set().union(*map(named, value))
    if not isinstance(value, dict):
        return set()
    own = {text for key, text in value.items() if key.endswith("_file") or key in ("cert", "key")}
    return own.union(*map(named, value.values()))


class ExampleTests(SynchronousTestCase):
    """Each example, with a certificate and secrets of the test's in the places that it names."""

    def setUp(self) -> None:
        """Write the examples and what they name into a directory."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        for example in EXAMPLES.glob("*.yaml"):
            text = example.read_text()
            (self.directory / example.name).write_text(text)
            for name in named(yaml.safe_load(text)):
                path = self.directory / name
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(self.content(name))

    def content(self, name: str) -> bytes:
        """Return what is in a file: of a certificate, its name says for whom it is."""
        if name in SECRETS:
            return SECRETS[name]
        host = Path(name).stem
        chain, key = pair(host, f"*.{host}")
        return key if name.endswith(".key") else chain

    def load(self, name: str) -> Settings:
        """Return the settings of an example."""
        return load(str(self.directory / name), {"HOME": "/home/x"})

    def test_every_one_is_good(self) -> None:
        """None has a problem, and none has a danger that it does not speak of."""
        names = sorted(path.name for path in EXAMPLES.glob("*.yaml"))
        self.assertEqual(
            names,
            [
                "authenticate.yaml",
                "authorize-clusters.yaml",
                "authorize.yaml",
                "config.yaml",
                "proxy.yaml",
            ],
        )
        for name in names:
            text, status = report(str(self.directory / name), {"HOME": "/home/x"}, 1_780_000_000.0)
            self.assertEqual(status, 0, text)
            self.assertNotIn("danger", text)
            self.assertEqual(self.load(name).warnings, ())

    def test_what_they_run(self) -> None:
        """Each runs the role that it is called by."""
        for role in ("proxy", "authenticate", "authorize"):
            self.assertEqual(self.load(f"{role}.yaml").services, (role,))
        self.assertEqual(self.load("config.yaml").service, "all")
        self.assertEqual(self.load("authorize-clusters.yaml").services, ("authorize",))

    def test_they_go_together(self) -> None:
        """What must be equal is, and who asks finds whom it asks."""
        proxy, authenticate, authorize = map(
            self.load, ("proxy.yaml", "authenticate.yaml", "authorize.yaml")
        )
        for key in ("shared_secret", "authenticate_service_url"):
            self.assertEqual(getattr(proxy, key), getattr(authenticate, key))
            self.assertEqual(getattr(proxy, key), getattr(authorize, key))
        for key in ("idp_provider", "idp_provider_url"):
            self.assertEqual(getattr(authorize, key), getattr(authenticate, key))
        self.assertEqual(proxy.routes, authorize.routes)
        (asked,) = proxy.authorize_service_urls
        assert authorize.grpc_address is not None
        self.assertEqual(asked.port, authorize.grpc_address.port)
        shown = grpc_pair(authorize)
        assert shown is not None
        self.assertTrue(covers(shown, asked.host))

    def test_the_snippets_of_the_manual(self) -> None:
        """What docs/production-deployment.md has people write is good in the file it is for."""
        seen = []
        for snippet in snippets((DOCS / "production-deployment.md").read_text()):
            whole = yaml.safe_load((EXAMPLES / f"{snippet['services']}.yaml").read_text())
            if "clusters" in snippet:
                for key in ("authenticate_service_url", "idp_provider", "idp_provider_url"):
                    del whole[key]
                del whole["policy"]
            for name in named(snippet):
                (self.directory / name).write_bytes(self.content(name))
            (self.directory / "snippet.yaml").write_text(yaml.safe_dump({**whole, **snippet}))
            text, status = report(
                str(self.directory / "snippet.yaml"), {"HOME": "/home/x"}, 1_780_000_000.0
            )
            self.assertEqual(status, 0, text)
            seen.append(snippet["services"])
        self.assertEqual(seen, ["proxy", "authorize"])

    def test_one_file_for_all_hosts(self) -> None:
        """With ``services`` from the environment, a role takes what it needs from all that is."""
        keys: dict[str, Any] = {}
        for role in ("proxy", "authenticate", "authorize"):
            keys |= yaml.safe_load((EXAMPLES / f"{role}.yaml").read_text())
        del keys["services"], keys["address"], keys["grpc_address"]
        (self.directory / "config.yaml").write_text(yaml.safe_dump(keys))
        for role in ("proxy", "authenticate", "authorize"):
            environment = {"HOME": "/home/x", "SERVICES": role}
            loaded = load(str(self.directory / "config.yaml"), environment)
            self.assertEqual(loaded.services, (role,))

    def test_clusters_differ(self) -> None:
        """The two clusters have a sign-in and a provider each."""
        staff, partners = self.load("authorize-clusters.yaml").clusters
        self.assertNotEqual(staff.authenticate_service_url, partners.authenticate_service_url)
        self.assertNotEqual(staff.idp_provider_url, partners.idp_provider_url)
