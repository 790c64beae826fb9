"""The command line of ``pomeriumd verify``."""

from __future__ import annotations

import click
from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.cli.main import main
from pomeriumd.cli.verify.command import host_port


class HostPortTests(SynchronousTestCase):
    """host_port() reads HOST:PORT."""

    def test_good(self) -> None:
        """Names, IPv4, IPv6 in brackets, and no host for all of them."""
        for text, wanted in (
            ("127.0.0.1:80", ("127.0.0.1", 80)),
            ("app:65535", ("app", 65535)),
            ("[::1]:8080", ("::1", 8080)),
            (":0", ("", 0)),
        ):
            self.assertEqual(host_port(text), wanted)

    def test_bad(self) -> None:
        """Anything else is quoted back."""
        for text in ("", "80", "a:", "a:b", "a:65536", "a:-1", "a:²"):
            with self.assertRaises(click.BadParameter) as caught:
                host_port(text)
            self.assertEqual(caught.exception.message, f"want HOST:PORT, got {text!r}")


class CommandTests(SynchronousTestCase):
    """What cannot work is said before anything starts."""

    def test_bad_addresses(self) -> None:
        """A URL without scheme or host is refused."""
        for url in ("verify", "ftp://a/", "https:///x", "https://ä/"):
            ran = CliRunner().invoke(main, ["verify", "--jwks-url", url])
            self.assertEqual(ran.exit_code, 2)
            self.assertIn("want http:// or https:// and a host", ran.stderr)
