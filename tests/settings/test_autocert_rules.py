"""Tests of pomeriumd.settings.autocert_rules, and of what the report tells of automatic ones."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.settings.load import load
from pomeriumd.settings.report import report
from tests.support.settings_files import authorize, minimal, pair, problems, yaml


def automatic(**more: Any) -> dict[str, Any]:
    """Return good settings with autocert and no certificate."""
    return minimal(insecure_server=None, autocert=True, **more)


class RuleTests(SynchronousTestCase):
    """What cannot be meant so is a problem with its place."""

    def faulty(self, *wanted: str, **more: Any) -> None:
        """See that these settings have these problems."""
        self.assertEqual(problems(automatic(**more)), list(wanted))

    def test_good(self) -> None:
        """With autocert no certificate is needed; with it each way of proving is fine."""
        self.faulty()
        self.faulty(autocert_challenge="tls-alpn-01", autocert_use_staging=True)
        self.faulty(autocert_dns_hook="/opt/hook", autocert_names=["*.example.com", "example.com"])
        self.faulty(autocert_ca="https://ca.example.com/dir", autocert_email="a@example.com")
        self.faulty(autocert_eab_key_id="k", autocert_eab_mac_key="_-AAAA")

    def test_hook(self) -> None:
        """dns-01 and a hook go together."""
        self.faulty(
            "autocert_dns_hook: missing; dns-01 needs a program that makes records",
            autocert_challenge="dns-01",
        )
        self.faulty(
            "autocert_dns_hook: means nothing: names are proved by tls-alpn-01; want one of them",
            autocert_challenge="tls-alpn-01",
            autocert_dns_hook="/opt/hook",
        )
        self.faulty(
            "autocert_dns_hook: want an absolute path, got 'hook'", autocert_dns_hook="hook"
        )

    def test_wildcards(self) -> None:
        """A wildcard is proved by DNS alone."""
        self.faulty(
            "autocert_names: '*.example.com' needs dns-01, which alone proves a wildcard; set "
            "autocert_dns_hook",
            autocert_names=["*.example.com", "example.com"],
        )
        self.faulty(
            "autocert_names[0]: want a domain such as example.com, got 'a.*.example.com'",
            autocert_names=["a.*.example.com"],
        )

    def test_one_authority(self) -> None:
        """Staging is Let's Encrypt's own."""
        self.faulty(
            "autocert_use_staging: with it autocert_ca is not asked; want one of them",
            autocert_use_staging=True,
            autocert_ca="https://ca.example.com/dir",
        )
        self.faulty(
            "autocert_ca: want https:// (http:// on loopback only), got 'http://ca.example.com/'",
            autocert_ca="http://ca.example.com/",
        )

    def test_an_account_of_a_customer(self) -> None:
        """Key id and key go together; the key is never shown."""
        self.faulty(
            "autocert_eab_mac_key: missing; half of a pair does not do, and autocert_eab_key_id is "
            "there",
            autocert_eab_key_id="k",
        )
        self.faulty(
            "autocert_eab_mac_key: is not base64url",
            autocert_eab_key_id="k",
            autocert_eab_mac_key="a secret!",
        )

    def test_address(self) -> None:
        """An address has one @."""
        for text in ("ops", "@example.com", "a@b@c", "a@"):
            self.faulty(f"autocert_email: want name@domain, got '{text}'", autocert_email=text)

    def test_nobody_to_show_them_to(self) -> None:
        """Without TLS, and for authorize alone, there is nothing to order for."""
        self.assertEqual(
            problems(minimal(autocert=True)),
            ["autocert: with insecure_server no certificate is shown; want one of them"],
        )
        self.assertEqual(
            problems(authorize(autocert=True)),
            [
                (
                    "autocert: authorize has no hosts of its own to order for; give it a "
                    "certificate in 'certificates', for instance of an authority of your own"
                )
            ],
        )

    def test_grpc(self) -> None:
        """Certificates that come and go are none for gRPC: a listener there needs its own."""
        self.faulty(
            "certificates: missing; authorize needs them for gRPC: want at least one {cert, key}, "
            "a grpc_address on loopback, or 'grpc_insecure: true' where nobody else can listen in",
            grpc_address=":5443",
        )
        self.faulty(grpc_address="127.0.0.1:5443")


class ReportTests(SynchronousTestCase):
    """The report says which names have no certificate yet."""

    def setUp(self) -> None:
        """Make an empty directory."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.place = Path(directory.name)
        self.path = self.place / "config.yaml"

    def report(self, **more: Any) -> str:
        """Return the report."""
        self.path.write_text(yaml(automatic(autocert_dir=str(self.place), **more)))
        text, status = report(str(self.path), {}, 1_780_000_000.0)
        self.assertEqual(status, 0, text)
        return text

    def test_none(self) -> None:
        """What is shown until then is said."""
        self.assertIn(
            "autocert: no certificate yet for authenticate.example.com; until then a self-signed "
            "one is shown",
            self.report(policy=[]),
        )

    def test_some(self) -> None:
        """What is there is not named; staging is a danger of its own."""
        chain, key = pair("authenticate.example.com")
        (self.place / "certificates").mkdir()
        (self.place / "certificates" / "index").write_text("a.pem\n")
        (self.place / "certificates" / "a.pem").write_bytes(key + chain)
        text = self.report(policy=[], autocert_use_staging=True)
        self.assertNotIn("no certificate yet", text)
        self.assertIn("autocert_use_staging: no browser trusts", text)
        [kept] = load(str(self.path), {}).certificates
        self.assertTrue(kept.automatic)
