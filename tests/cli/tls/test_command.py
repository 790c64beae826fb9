"""`pomeriumd tls check` on files, good ones and broken ones."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.cli.main import main
from tests.support.certificates import Issued, authority, issue, leaf
from tests.support.planes import base64_of
from tests.support.settings import COOKIE, SHARED


class CheckTests(SynchronousTestCase):
    """The command."""

    def setUp(self) -> None:
        """Write settings and files."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.place = Path(directory.name)
        (self.place / "ca.crt").write_bytes(authority().pem)
        self.settings: dict[str, Any] = {
            "shared_secret": base64_of(SHARED),
            "cookie_secret": base64_of(COOKIE),
            "authenticate_service_url": "https://auth.example.com",
            "idp_provider": "google",
            "idp_client_id": "x",
            "idp_client_secret": "y",
            "certificates": [{"cert": "tls.crt", "key": "tls.key"}],
            "routes": [
                {"from": "https://app.example.com", "to": "http://127.0.0.1:1", "prefix": "/"}
            ],
        }
        self.show(leaf("*.example.com"))

    def show(self, made: Issued, mode: int = 0o600) -> None:
        """Have this certificate in the files."""
        (self.place / "tls.crt").write_bytes(made.pem)
        key = self.place / "tls.key"
        key.write_bytes(made.key_pem)
        key.chmod(mode)

    def check(self, *words: str) -> Result:
        """Run it."""
        config = self.place / "config.json"
        config.write_text(json.dumps(self.settings))
        return CliRunner().invoke(main, ["tls", "check", "-c", str(config), *words], env={})

    def with_ca(self, *words: str) -> Result:
        """Run it with the tests' authority."""
        return self.check("--ca", str(self.place / "ca.crt"), *words)

    def test_good(self) -> None:
        """With the authority named nothing is missing, and the exit is 0."""
        result = self.with_ca()
        self.assertEqual(result.exit_code, 0, result.output)
        for word in ("app.example.com", "auth.example.com", "tls.crt", "test authority"):
            self.assertIn(word, result.output)
        self.assertIn(f"whoever has {self.place}/ca.crt", result.output)

    def test_nobody_trusts_it(self) -> None:
        """Without, it is a warning, and the exit is 1."""
        result = self.check()
        self.assertEqual(result.exit_code, 1, result.output)
        self.assertIn("nobody known here", result.output)

    def test_not_covered(self) -> None:
        """A host without a certificate is an error, and the exit is 2."""
        self.show(leaf("app.example.com"))
        result = self.with_ca()
        self.assertEqual(result.exit_code, 2, result.output)
        self.assertIn("error: auth.example.com is not covered", result.output)

    def test_an_open_key(self) -> None:
        """The file that holds the key is looked at."""
        self.show(leaf("*.example.com"), 0o644)
        result = self.with_ca()
        self.assertEqual(result.exit_code, 2, result.output)
        self.assertIn(f"chmod 600 {self.place}/tls.key", result.output)

    def test_json(self) -> None:
        """The same as JSON, with the same exit."""
        result = self.check("--json")
        self.assertEqual(result.exit_code, 1)
        found = json.loads(result.stdout)
        self.assertEqual(found["worst"], "warning")
        self.assertEqual(
            [row["certificate"]["file"] for row in found["rows"]], [f"{self.place}/tls.crt"] * 2
        )

    def test_authority_of_authorize(self) -> None:
        """What proxies trust for authorize counts as known."""
        self.settings["certificate_authority_file"] = "ca.crt"
        result = self.check()
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertIn("certificate_authority\n", result.output)

    def test_settings_that_are_none(self) -> None:
        """Faults of the settings are told as `check` tells them, and the exit is 2."""
        self.settings["no_such_key"] = 1
        result = self.check()
        self.assertEqual((result.exit_code, result.stdout), (2, ""))
        self.assertIn("unknown setting 'no_such_key'", result.stderr)

    def test_an_authority_that_is_none(self) -> None:
        """A file that cannot be read, or holds none, is named; its directory is no file."""
        for name, text in (
            ("none", "No such file or directory"),
            ("tls.key", "the certificate cannot be read, want PEM"),
            ("", "not a regular file"),
        ):
            result = self.check("--ca", str(self.place / name))
            self.assertEqual(result.exit_code, 2)
            self.assertIn(text, result.stderr)

    def test_no_tls_at_all(self) -> None:
        """It says so, and that is good."""
        self.settings |= {"insecure_server": True, "certificates": []}
        result = self.check()
        self.assertEqual(
            (result.exit_code, result.stdout),
            (0, "These settings have no certificates, and need none.\n"),
        )

    def test_expired(self) -> None:
        """An expired one has a row like any other."""
        self.show(issue("*.example.com", by=authority(), end=datetime(2026, 2, 1, tzinfo=UTC)))
        result = self.with_ca()
        self.assertEqual(result.exit_code, 2, result.output)
        self.assertIn("error: expired on 2026-02-01", result.output)
