"""Promises of which certificates serve: from a directory, from systemd, and after a reload."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.settings import certificates
from pomeriumd.settings.load import Loaded, load_whole
from pomeriumd.settings.model import Settings
from tests.support.certificates import BEGIN, NOW, Issued, days, issue, leaf
from tests.support.settings_files import minimal, route, yaml

WIKI = "wiki.example.com"
WILD = leaf("*.example.com")


def both(one: Issued) -> bytes:
    """Return a file with key and certificate."""
    return one.key_pem + one.pem


class DirectoryCase(SynchronousTestCase):
    """Settings with a directory of certificates."""

    def setUp(self) -> None:
        """Make one with a certificate for all hosts."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.place = Path(directory.name)
        self.certs = self.place / "certs"
        self.certs.mkdir()
        self.put("all.pem", both(WILD))

    def put(self, name: str, content: bytes) -> str:
        """Write a file, and return its path."""
        path = self.certs / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return str(path)

    def load(
        self,
        present: Settings | None = None,
        environment: dict[str, str] | None = None,
        now: float = NOW,
        **more: Any,
    ) -> Loaded:
        """Read the settings."""
        given: dict[str, Any] = {
            "insecure_server": None,
            "certificates_dir": str(self.certs),
            "policy": [route()],
            **more,
        }
        path = self.place / "config.yaml"
        path.write_text(yaml(minimal(**given)))
        return load_whole(str(path), environment or {}, now, present)

    def good(self, present: Settings | None = None, **more: Any) -> Settings:
        """Read settings that are good."""
        loaded = self.load(present, **more)
        assert loaded.settings is not None, loaded.error
        return loaded.settings

    def titles(self, settings: Settings) -> list[str]:
        """Return what the certificates are called, in their order."""
        return [pair.facts.title for pair in settings.certificates if pair.facts is not None]

    def left_out(self, settings: Settings) -> list[str]:
        """Return what is said of those that cannot be used."""
        return [str(one).replace(f"{self.certs}/", "") for one in settings.left_out]


class LayoutTests(DirectoryCase):
    """Each way to lay a pair out is known, and the order is that of the names."""

    def test_all_ways(self) -> None:
        """One file, two beside each other, and certbot's; behind those that are named."""
        b, c, d = leaf("b.test"), leaf("c.test"), leaf("d.test")
        self.put("d.pem", both(d))
        self.put("c/fullchain.pem", c.pem)
        self.put("c/privkey.pem", c.key_pem)
        self.put("b.crt", b.pem)
        self.put("b.key", b.key_pem)
        self.put("README", b"no certificate")
        self.put("empty/cert.pem", b"")
        self.put(".hidden.pem", b"")
        named = leaf("z.test")
        settings = self.good(certificate=named.pem.decode(), certificate_key=named.key_pem.decode())
        self.assertEqual(
            self.titles(settings), ["z.test", "*.example.com", "b.test", "c.test", "d.test"]
        )
        self.assertEqual(
            [pair.place.replace(f"{self.certs}/", "") for pair in settings.certificates],
            ["certificate", "all.pem", "b.crt", "c/fullchain.pem", "d.pem"],
        )
        self.assertEqual(settings.left_out, ())

    def test_halves(self) -> None:
        """Of half a pair it is said which half is missing."""
        self.put("b.crt", leaf("b.test").pem)
        self.put("c.key", leaf("c.test").key_pem)
        self.put("d/privkey.pem", leaf("d.test").key_pem)
        self.put("e/fullchain.pem", leaf("e.test").pem)
        gone = "cannot be read: no such file or directory; it is left out"
        self.assertEqual(
            self.left_out(self.good()),
            [
                f"b.crt: b.key {gone}",
                f"c.key: c.crt {gone}",
                f"d/fullchain.pem: d/fullchain.pem {gone}",
                f"e/fullchain.pem: e/privkey.pem {gone}",
            ],
        )

    def test_credentials(self) -> None:
        """What systemd hands over is taken by its name, files and whole directories."""
        given = self.place / "credentials"
        given.mkdir()
        for name, content in {
            "certificates.pem": both(leaf("a.test")),
            "certificates_b.test_fullchain.pem": leaf("b.test").pem,
            "certificates_b.test_privkey.pem": leaf("b.test").key_pem,
            "certificates_b.test_chain.pem": b"",
            "certificates_b.test_cert.pem": leaf("b.test").pem,
            "certificates_c.crt": leaf("c.test").pem,
            "certificates_c.key": leaf("c.test").key_pem,
            "idp_client_secret": b"secret",
            "other.pem": b"",
        }.items():
            (given / name).write_bytes(content)
        environment = {"CREDENTIALS_DIRECTORY": str(given)}
        first = self.good(environment=environment)
        titles = ["*.example.com", "a.test", "b.test", "c.test"]
        self.assertEqual((self.titles(first), first.left_out), (titles, ()))
        # At a reload nobody may be able to read them any more.
        for one in given.iterdir():
            one.unlink()
        second = self.good(first, environment=environment)
        self.assertEqual((self.titles(second), second.left_out), (titles, ()))

    def test_a_directory_that_is_not_there(self) -> None:
        """It is a problem with the system's reason; so is one that is none."""
        for path, why in (
            (f"{self.place}/none", "no such file or directory"),
            (self.put("file", b""), "not a directory"),
        ):
            error = str(self.load(certificates_dir=path).error)
            self.assertIn(f": {path!r} cannot be read: {why}", error)


class BrokenTests(DirectoryCase):
    """A broken file of the directory harms nobody else's certificate."""

    def test_at_a_start(self) -> None:
        """It is left out and said, whatever is wrong with it; the rest serves."""
        b = leaf("b.test")
        old = issue("c.test", end=BEGIN + days(1), title="c.test")
        self.put("b.pem", b.pem)
        self.put("c.pem", both(old))
        self.put("d.pem", b"garbage")
        settings = self.good()
        self.assertEqual(self.titles(settings), ["*.example.com"])
        self.assertEqual(
            self.left_out(settings),
            [
                "b.pem: the key cannot be read, want PEM; it is left out",
                "c.pem: the certificate of c.test expired on 2026-01-02; it is left out",
                "d.pem: the certificate cannot be read, want PEM; it is left out",
            ],
        )

    def test_the_one_before_serves_on(self) -> None:
        """At a reload the old certificate of that file stays, and all other changes are made."""
        self.put("b.pem", both(leaf("b.test")))
        self.put("c.pem", both(leaf("c.test")))
        first = self.good()
        self.put("b.pem", both(leaf("b.test"))[:-60])
        self.put("c.pem", both(leaf("d.test")))
        second = self.good(first)
        self.assertEqual(self.titles(second), ["*.example.com", "b.test", "d.test"])
        self.assertEqual(
            self.left_out(second),
            ["b.pem: the certificate cannot be read, want PEM; the one before it serves on"],
        )
        third = self.good(second)
        self.assertEqual(self.titles(third), self.titles(second))
        self.put("b.pem", both(leaf("e.test")))
        fourth = self.good(third)
        self.assertEqual(self.titles(fourth), ["*.example.com", "e.test", "d.test"])
        self.assertEqual(fourth.left_out, ())

    def test_one_that_is_gone(self) -> None:
        """What was taken out of the directory does not serve on."""
        self.put("b.pem", both(leaf("b.test")))
        first = self.good()
        (self.certs / "b.pem").unlink()
        second = self.good(first)
        self.assertEqual((self.titles(second), second.left_out), (["*.example.com"], ()))

    def test_one_that_expires_in_service(self) -> None:
        """It serves on and is said: without it there would be the wrong one, or none at all."""
        soon = (BEGIN + days(1)).timestamp()
        self.put("b.pem", both(issue("b.test", end=BEGIN + days(1), title="b.test")))
        first = self.good(now=soon)
        second = self.good(first, now=soon + 1)
        self.assertEqual(self.titles(second), ["*.example.com", "b.test"])
        self.assertEqual(
            self.left_out(second),
            ["b.pem: the certificate of b.test expired on 2026-01-02; it serves on"],
        )

    def test_one_of_the_settings_that_expires_in_service(self) -> None:
        """It refuses no change of anything else; at a start it is a problem."""
        soon = (BEGIN + days(1)).timestamp()
        old = issue("b.test", end=BEGIN + days(1), title="b.test")
        inline: dict[str, Any] = {
            "certificate": old.pem.decode(),
            "certificate_key": old.key_pem.decode(),
        }
        first = self.good(now=soon, **inline)
        second = self.good(first, now=soon + 1, log_level="warn", **inline)
        text = "the certificate of b.test expired on 2026-01-02"
        self.assertEqual(list(map(str, second.warnings)), [f"certificate: {text}"])
        self.assertIn(text, str(self.load(now=soon + 1, **inline).error))

    def test_all_of_them(self) -> None:
        """Where nothing is left, a start is refused, and says what was found."""
        self.put("all.pem", b"garbage")
        error = str(self.load().error)
        self.assertIn("certificates: missing; ", error)
        self.assertIn("all.pem: the certificate cannot be read, want PEM; it is left out", error)

    def test_no_end_of_texts(self) -> None:
        """However many are broken, what is said of them is bounded."""
        for number in range(certificates.MOST_TOLD + 5):
            self.put(f"x{number}.pem", b"")
        found = self.good().left_out
        self.assertEqual(len(found), certificates.MOST_TOLD)
        self.assertEqual(str(found[-1]), "certificates: and 6 more like this")


class KnownTests(DirectoryCase):
    """What has served is not examined a second time."""

    def test_facts_are_taken_over(self) -> None:
        """The same octets have the same facts, wherever the file stands now."""
        first = self.good()
        (self.certs / "all.pem").rename(self.certs / "other.pem")
        (pair,) = self.good(first).certificates
        self.assertIs(pair.facts, first.certificates[0].facts)
        self.assertEqual(pair.place, f"{self.certs}/other.pem")

    def test_what_was_read(self) -> None:
        """The directory and each file of it are watched, also what is not there yet."""
        self.put("b/README", b"")
        files = set(self.load().files)
        self.assertTrue(
            {
                f"{self.certs}/",
                f"{self.certs}/all.pem",
                f"{self.certs}/b/fullchain.pem",
                f"{self.certs}/b/privkey.pem",
            }
            <= files,
            files,
        )
