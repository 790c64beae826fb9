"""Tests of pomeriumd.daemon.reader: what becomes of a settings file."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon import reader
from pomeriumd.daemon.frames import Framed
from pomeriumd.daemon.reading import GOOD, REFUSED, SAME, Read
from pomeriumd.daemon.world import World
from pomeriumd.net.connect import Connectors
from pomeriumd.net.verify import HTTPSPolicy
from pomeriumd.oidc.agent import provider_agent
from pomeriumd.settings.canonical import digest
from pomeriumd.settings.values import Secret
from tests.support.memory import framed
from tests.support.settings_files import (
    SHARED_SECRET,
    minimal,
    pair,
    pem_key,
    route,
    settings,
    yaml,
)

NOW = 1_780_000_000.0
"""Within the certificate of ``pair``."""

MADE = b"m" * 32


class ReaderCase(SynchronousTestCase):
    """A settings file, and those in force."""

    def setUp(self) -> None:
        """Make an empty directory."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.path = str(self.directory / "config.yaml")

    def minimal(self, **more: Any) -> dict[str, Any]:
        """Return good settings whose state lies in the directory."""
        state = str(self.directory / "state")
        return minimal(state_dir=state, control_socket=f"{state}/control.sock", **more)

    def read(self, present: Framed | None = None, **more: Any) -> tuple[Read, Framed | None]:
        """Return what becomes of good settings and more."""
        Path(self.path).write_text(yaml(self.minimal(**more)))
        return self.read_again(present)

    def read_again(self, present: Framed | None) -> tuple[Read, Framed | None]:
        """Return what becomes of the file as it is."""
        reactor: Any = MemoryReactorClock()
        world = World(
            agent=provider_agent(reactor, HTTPSPolicy()),
            clock=reactor,
            now=lambda: NOW,
            random=lambda size: MADE[:size],
            connector=Connectors(reactor),
        )
        return reader.read(self.path, {}, present, world)


class OutcomeTests(ReaderCase):
    """Good, refused or the same."""

    def test_good(self) -> None:
        """Good settings come with digest, files, the number of routes, and no changes at first."""
        read, found = self.read(shared_secret=SHARED_SECRET, policy=[route()])
        wanted = settings(**self.minimal(shared_secret=SHARED_SECRET, policy=[route()]))
        self.assertEqual(found, framed(wanted))
        self.assertEqual(
            (read.outcome, read.digest, read.routes, read.changes, read.problems),
            (GOOD, digest(wanted), 1, (), ""),
        )
        self.assertEqual(list(read.files), [self.path])

    def test_same(self) -> None:
        """The same settings, in another order, are the same; nothing of them is built again."""
        _, present = self.read(shared_secret=SHARED_SECRET, log_level="debug")
        given = self.minimal(shared_secret=SHARED_SECRET, log_level="debug")
        Path(self.path).write_text(yaml(dict(reversed(given.items()))))
        read, found = self.read_again(present)
        self.assertIsNone(found)
        self.assertEqual((read.outcome, list(read.files)), (SAME, [self.path]))

    def test_a_certificate_that_cannot_be_used(self) -> None:
        """It is told of, also where the settings are the same for it."""
        certs = self.directory / "certs"
        certs.mkdir()
        chain, key = pair("*.example.com")
        (certs / "a.pem").write_bytes(chain + key)
        given: dict[str, Any] = {"certificates_dir": str(certs), "insecure_server": None}
        first, present = self.read(**given)
        self.assertEqual((first.outcome, first.left_out), (GOOD, ()))
        (certs / "a.pem").write_bytes(chain)
        read, _ = self.read_again(present)
        text = f"{certs}/a.pem: the key cannot be read, want PEM; the one before it serves on"
        self.assertEqual((read.outcome, read.left_out), (SAME, (text,)))
        read, _ = self.read(present, log_level="warn", **given)
        self.assertEqual((read.outcome, read.left_out), (GOOD, (text,)))
        self.assertEqual(Read.of(read.document()), read)

    def test_changes(self) -> None:
        """Against those in force, it tells what changed."""
        _, present = self.read(policy=[route()])
        read, _ = self.read(present, log_level="warn", policy=[route(allow_websockets=True)])
        self.assertEqual(
            read.changes,
            (
                "log_level changed from info to warn",
                "route https://wiki.example.com changed: allow_websockets",
            ),
        )

    def test_refused(self) -> None:
        """What is wrong is told as ``pomeriumd check`` does, with the files."""
        read, found = self.read(log_level="loud", signing_key_file="tls/none")
        self.assertIsNone(found)
        self.assertEqual(read.outcome, REFUSED)
        self.assertEqual(
            read.problems,
            f"{self.path}: 2 problems in the settings:\n"
            "  signing_key_file (line 11): 'tls/none' cannot be read: no such file or directory\n"
            "  log_level (line 10): want debug, info, warn or error, got 'loud'",
        )
        self.assertEqual(list(read.files), [self.path, str(self.directory / "tls/none")])

    def test_refused_by_building(self) -> None:
        """A key that does not fit is found here, and so is what only building finds."""
        chain, _ = pair()
        read, _ = self.read(
            insecure_server=None,
            certificate=chain.decode(),
            certificate_key=pem_key().decode(),
        )
        self.assertEqual(
            read.problems,
            f"{self.path}: 1 problem in the settings:\n"
            "  certificate (line 9): the key does not belong to the certificate of CN=example.com",
        )
        client = {"tls_client_cert": chain.decode(), "tls_client_key": pem_key().decode()}
        read, _ = self.read(policy=[route(to="https://a", **client)])
        self.assertIn("policy[0]", read.problems)

    def test_needs_a_restart(self) -> None:
        """What a running daemon cannot change is a problem of the new settings."""
        _, present = self.read(workers=2)
        read, _ = self.read(present, workers=3)
        self.assertEqual(
            read.problems,
            f"{self.path}: 1 problem in the settings:\n"
            "  workers: changed from 2 to 3, which needs a restart: restart pomeriumd, or take "
            "the change back",
        )

    def test_many_problems(self) -> None:
        """However many problems there are, what is told of them is bounded, and says so."""
        routes = [route(**{"from": f"https://r{n}.example.com", "to": "x"}) for n in range(1000)]
        read, _ = self.read(policy=routes)
        self.assertLess(len(read.problems), reader.LONGEST_PROBLEMS + 200)
        lines = read.problems.splitlines()
        self.assertEqual(
            lines[-1],
            f"  and {1001 - len(lines) + 1} more: pomeriumd check -c {self.path} prints all",
        )


class SecretTests(ReaderCase):
    """The shared secret that nobody configured, and that no secret is told."""

    def test_made_once(self) -> None:
        """Without one, it is made and kept in the state directory."""
        _, found = self.read()
        assert found is not None
        self.assertEqual(found.shared_secret, MADE)
        self.assertEqual((self.directory / "state" / "shared_secret").read_bytes(), MADE)

    def test_goes_on(self) -> None:
        """The one in force goes on; the state directory is not read again."""
        present = framed(settings(**self.minimal()), Secret(b"p" * 32))
        _, found = self.read(present, log_level="warn")
        assert found is not None
        self.assertEqual(found.shared_secret, b"p" * 32)
        self.assertFalse((self.directory / "state").exists())

    def test_comes_back(self) -> None:
        """It is still known after settings that had one of their own."""
        present = framed(settings(**self.minimal()), Secret(b"p" * 32))
        _, own = self.read(present, shared_secret=SHARED_SECRET)
        assert own is not None
        self.assertEqual(own.shared_secret, bytes(range(32, 64)))
        _, found = self.read(own)
        assert found is not None
        self.assertEqual(found.shared_secret, b"p" * 32)

    def test_is_of_one_use(self) -> None:
        """The one in force may not become the secret of another use."""
        present = framed(settings(**self.minimal()), Secret(bytes(range(32))))
        read, _ = self.read(present, log_level="warn")
        self.assertEqual(read.outcome, REFUSED)
        self.assertIn("cookie_secret: is the same as", read.problems)

    def test_cannot_be_kept(self) -> None:
        """A state directory that cannot be had is a problem of the settings."""
        (self.directory / "state").write_text("")
        read, _ = self.read()
        self.assertEqual(read.outcome, REFUSED)
        self.assertIn("state_dir:", read.problems)

    def test_nothing_is_told(self) -> None:
        """What is told of changed secrets has none of them in it."""
        old, new = "old-hunter2-secret", "new-hunter2-secret"
        header = "Authorization"
        _, present = self.read(
            idp_client_secret=old, policy=[route(set_request_headers={header: old})]
        )
        for more in (
            {"idp_client_secret": new, "policy": [route(set_request_headers={header: new})]},
            {
                "idp_client_secret": new + "\n",
                "policy": [route(set_request_headers={header: "\n"})],
            },
        ):
            read, _ = self.read(present, **more)
            self.assertNotIn("hunter2", read.document().decode() + repr(read))

    def test_a_bug_is_told_without_its_text(self) -> None:
        """The text of an error that nobody expected may quote a secret: only its place is told."""
        try:
            int("hunter2")
        except ValueError as error:
            told = reader._broken(error)
        self.assertRegex(
            told,
            r"^a bug of ours: ValueError at test_reader.py, line \d+, in "
            "test_a_bug_is_told_without_its_text; please report it$",
        )

    def test_what_this_host_lacks(self) -> None:
        """Want of memory or descriptors is no bug: it is told as what it is."""
        for error, why in (
            (MemoryError(), "out of memory"),
            (OSError(24, "Too many open files"), "Too many open files"),
        ):
            self.assertEqual(
                reader._broken(error),
                f"the settings could not be handed on: {why}; see what this host lacks, then "
                "reload",
            )
