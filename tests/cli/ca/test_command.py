"""`pomeriumd ca`: files, and what is printed about them."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner, Result
from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.cli.main import main


class CommandCase(SynchronousTestCase):
    """A directory, and the commands."""

    def setUp(self) -> None:
        """Make it."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.place = Path(directory.name)
        self.ca = self.place / "ca"

    def run_it(self, *words: Any) -> Result:
        """Run `pomeriumd ca` with these words."""
        return CliRunner().invoke(main, ["ca", *map(str, words)])

    def good(self, *words: Any) -> str:
        """Run it, and return what it printed."""
        result = self.run_it(*words)
        self.assertEqual(result.exit_code, 0, result.output)
        return result.output

    def fails(self, *words: Any) -> str:
        """Run what cannot be done, and return why."""
        result = self.run_it(*words)
        self.assertEqual((result.exit_code, result.stdout), (1, ""))
        return result.stderr

    def mode(self, *parts: str) -> str:
        """Return the mode of a file."""
        return oct(stat.S_IMODE(self.ca.joinpath(*parts).stat().st_mode))


class InitTests(CommandCase):
    """A new authority."""

    def test_files(self) -> None:
        """A directory for its owner, a key for its owner, a certificate for everybody."""
        self.good("init", self.ca)
        self.assertEqual(sorted(os.listdir(self.ca)), ["ca.crt", "ca.key"])  # noqa: PTH208
        self.assertEqual(
            [self.mode(), self.mode("ca.key"), self.mode("ca.crt")], ["0o700", "0o600", "0o644"]
        )

    def test_whatever_the_umask(self) -> None:
        """A wide umask opens no key, and a narrow one hides no certificate."""
        for number, mask in enumerate((0o000, 0o077)):
            before = os.umask(mask)
            try:
                self.ca = self.place / str(number)
                self.good("init", self.ca)
            finally:
                os.umask(before)
            self.assertEqual((self.mode("ca.key"), self.mode("ca.crt")), ("0o600", "0o644"))

    def test_nothing_is_overwritten(self) -> None:
        """A second one in the same place is refused, and the first one is untouched."""
        self.good("init", self.ca)
        before = (self.ca / "ca.key").read_bytes()
        self.assertEqual(
            self.fails("init", self.ca), f"pomeriumd: {self.ca}/ca.crt: is there already\n"
        )
        (self.ca / "ca.crt").unlink()
        self.assertIn("ca.key: is there already", self.fails("init", self.ca))
        self.assertEqual((self.ca / "ca.key").read_bytes(), before)

    def test_a_link_is_not_followed(self) -> None:
        """A dangling link that somebody laid there counts as something."""
        self.ca.mkdir(mode=0o700)
        (self.ca / "ca.key").symlink_to(self.place / "elsewhere")
        self.assertIn("ca.key: is there already", self.fails("init", self.ca))
        self.assertFalse((self.place / "elsewhere").exists())

    def test_a_directory_of_others(self) -> None:
        """One into which others can look is refused with the remedy."""
        self.ca.mkdir(mode=0o755)
        self.assertEqual(
            self.fails("init", self.ca),
            f"pomeriumd: {self.ca}: want a directory of mode 0700; chmod 700 {self.ca}\n",
        )
        self.ca.chmod(0o700)
        self.good("init", self.ca)

    def test_no_parent(self) -> None:
        """A typing error makes no tree of directories."""
        text = self.fails("init", self.place / "a" / "b")
        self.assertIn("cannot be made: No such file or directory", text)

    def test_it_says_what_it_may(self) -> None:
        """What it is believed for is said, and a fault makes no file."""
        self.assertIn(
            "for internal, 10.0.0.0/8 alone",
            self.good("init", self.ca, "--permit", "internal", "--permit", "10.0.0.0/8"),
        )
        self.ca = self.place / "other"
        self.fails("init", self.ca, "--permit", "a b")
        self.assertFalse(self.ca.exists())


class IssueTests(CommandCase):
    """Certificates of it."""

    def setUp(self) -> None:
        """Make an authority."""
        super().setUp()
        self.good("init", self.ca, "--permit", "internal", "--permit", "10.0.0.0/8")

    def leaf(self, stem: str = "authorize.internal") -> x509.Certificate:
        """Return one that was issued."""
        return x509.load_pem_x509_certificate((self.ca / f"{stem}.crt").read_bytes())

    def test_files(self) -> None:
        """They are called by the first name; the key is for its owner alone."""
        self.good("issue", "-d", self.ca, "authorize.internal", "10.0.0.1")
        self.assertEqual(self.mode("authorize.internal.key"), "0o600")
        self.leaf()

    def test_names_that_make_odd_files(self) -> None:
        """A wildcard and an IPv6 address have names that a shell leaves alone."""
        self.good("issue", "-d", self.ca, "*.a.internal")
        self.assertTrue((self.ca / "wildcard.a.internal.key").exists())
        for text in ("../x", "a/b", "-x", ".."):
            self.assertNotEqual(self.run_it("issue", "-d", self.ca, "--", text).exit_code, 0)

    def test_renewal(self) -> None:
        """It is asked for by a word, and makes another key; else nothing is overwritten."""
        self.good("issue", "-d", self.ca, "authorize.internal")
        before = self.leaf()
        self.assertEqual(
            self.fails("issue", "-d", self.ca, "authorize.internal"),
            f"pomeriumd: {self.ca}/authorize.internal.crt: is there already; --renew replaces it\n",
        )
        self.assertEqual(self.leaf(), before)
        said = self.good("issue", "-d", self.ca, "authorize.internal", "--renew")
        self.assertNotEqual(self.leaf().public_key(), before.public_key())
        again = f"pomeriumd ca issue --renew -d {self.ca} authorize.internal"
        self.assertIn(f"    {again}\n", said)
        self.good(*again.split()[2:])
        self.assertEqual(len(os.listdir(self.ca)), 4)  # noqa: PTH208  # and no draft

    def test_what_to_write_is_yaml(self) -> None:
        """The lines for the settings can be copied as they are."""
        out = self.place / "tls"
        out.mkdir()
        said = self.good("issue", "-d", self.ca, "--out", out, "authorize.internal", "10.0.0.1")
        blocks = [yaml.safe_load(text) for text in re.findall(r"(?m)(?:^    .*\n)+", said)]
        self.assertEqual(
            blocks[:3],
            [
                {
                    "certificates": [
                        {
                            "cert": f"{out}/authorize.internal.crt",
                            "key": f"{out}/authorize.internal.key",
                        }
                    ]
                },
                {
                    "authorize_service_url": "https://authorize.internal",
                    "certificate_authority_file": f"{self.ca}/ca.crt",
                },
                {"override_certificate_name": "authorize.internal"},
            ],
        )

    def test_no_authority(self) -> None:
        """Without one the option is named; a key of another one is refused."""
        self.assertIn(
            "-d names the directory in which `pomeriumd ca init` made an authority",
            self.fails("issue", "-d", self.place, "a.internal"),
        )
        other = self.place / "other"
        self.good("init", other)
        (self.ca / "ca.key").write_bytes((other / "ca.key").read_bytes())
        self.assertIn("is not the key of", self.fails("issue", "-d", self.ca, "a.internal"))

    def test_no_room(self) -> None:
        """A directory that is not there is named."""
        text = self.fails("issue", "-d", self.ca, "--out", self.place / "none", "a.internal")
        self.assertIn("cannot be written: No such file or directory", text)

    def test_one_bad_name_makes_nothing(self) -> None:
        """All of them are good, or there is no file."""
        self.fails("issue", "-d", self.ca, "a.internal", "b c")
        self.fails("issue", "-d", self.ca, "a.internal", "example.com")
        self.assertEqual(len(os.listdir(self.ca)), 2)  # noqa: PTH208
