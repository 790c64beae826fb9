"""The secret that an all-in-one process makes for itself."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.secret_file import Owner, kept_secret, shared_root
from pomeriumd.errors import SettingsError
from pomeriumd.settings.model import Secret
from tests.support.settings import COOKIE, SHARED, make_settings

US = Owner()
NOBODY = Owner(65_534, 65_534)

PREVIOUS = Secret(bytes(range(64, 96)))


def made(directory: str) -> bytes:
    """Return what one of several processes gets."""
    return kept_secret(directory, os.urandom, US)


class SecretCase(SynchronousTestCase):
    """A directory that is not there yet."""

    def setUp(self) -> None:
        """Name it."""
        parent = tempfile.TemporaryDirectory()
        self.addCleanup(parent.cleanup)
        self.state_dir = Path(parent.name) / "state"
        self.path = self.state_dir / "shared_secret"

    def kept(self, random: Callable[[int], bytes] = os.urandom, owner: Owner = US) -> bytes:
        """Return the secret that is kept there."""
        return kept_secret(str(self.state_dir), random, owner)

    def refused(self, wanted: str, owner: Owner = US) -> None:
        """Assert that there is this one problem with the directory."""
        with self.assertRaises(SettingsError) as caught:
            self.kept(owner=owner)
        self.assertEqual([str(p) for p in caught.exception.problems], [f"state_dir: {wanted}"])


class KeptSecretTests(SecretCase):
    """kept_secret() makes one, keeps it, and refuses what it did not make."""

    def test_it_is_the_same_after_a_restart(self) -> None:
        """The second start finds what the first one made."""
        first = self.kept()
        self.assertEqual(self.kept(), first)
        self.assertEqual(len(first), 32)

    def test_nobody_else_can_read_it(self) -> None:
        """File and directory are for their owner alone, whatever the mask; no draft is left."""
        for mask in (0o000, 0o077):
            self.addCleanup(os.umask, os.umask(mask))
            self.kept()
            (only,) = self.state_dir.iterdir()
            self.assertEqual(only.stat().st_mode & 0o777, 0o600)
            self.assertEqual(self.state_dir.stat().st_mode & 0o777, 0o700)
            only.unlink()
            self.state_dir.rmdir()

    def test_another_is_faster(self) -> None:
        """One that another process makes in the meantime, at whatever point, is the one."""
        for at in (0, 1):
            faster: list[bytes] = []
            turns = iter((0, 1))

            def random(size: int, at: int = at, turns: Any = turns, found: Any = faster) -> bytes:
                if next(turns) == at:
                    found.append(self.kept())
                return os.urandom(size)

            self.assertEqual([self.kept(random)], faster)
            self.assertEqual(list(self.state_dir.iterdir()), [self.path])
            self.path.unlink()

    def test_many_at_once(self) -> None:
        """Real processes that start together get the same one."""
        with ProcessPoolExecutor(4) as pool:
            found = set(pool.map(made, [str(self.state_dir)] * 16))
        self.assertEqual(found, {self.path.read_bytes()})

    def test_another_size_is_refused(self) -> None:
        """A file of another size is a problem, not a secret: it is neither cut nor filled."""
        self.state_dir.mkdir(mode=0o700)
        for size in (0, 5, 31, 33, 100_000):
            self.path.touch(mode=0o600)
            self.path.write_bytes(b"x" * size)
            text = f"{str(self.path)!r} has {size} bytes, want 32: remove it to have one made"
            self.refused(text)
            self.assertEqual(self.path.stat().st_size, size)

    def test_what_is_no_file_is_refused(self) -> None:
        """Nothing is followed, and nothing keeps the daemon waiting."""
        self.state_dir.mkdir(mode=0o700)
        remedy = "want a file of the user that the daemon runs as"
        elsewhere = self.state_dir / "elsewhere"
        elsewhere.touch(mode=0o600)
        elsewhere.write_bytes(bytes(32))
        self.path.symlink_to(elsewhere)
        shown = repr(str(self.path))
        self.refused(f"{shown} cannot be read: Too many levels of symbolic links; {remedy}")
        self.path.unlink()
        for make in (os.mkfifo, os.mkdir):
            make(self.path)
            self.refused(f"{shown} is no regular file: remove it to have one made")
            (self.path.rmdir if self.path.is_dir() else self.path.unlink)()

    def test_others_must_not_read_it(self) -> None:
        """What somebody else may have read is no secret any more."""
        self.kept()
        for mode in (0o640, 0o604, 0o660, 0o666):
            self.path.chmod(mode)
            text = f"others can read {str(self.path)!r}: want mode 0600; remove it to have another"
            self.refused(f"{text} made")

    def test_others_must_not_write_beside_it(self) -> None:
        """Who can write in the directory can put a secret of their own there."""
        for first in (True, False):
            if not first:
                self.kept()
            self.state_dir.mkdir(exist_ok=True)
            for mode in (0o770, 0o707, 0o1777):
                self.state_dir.chmod(mode)
                text = f"others can write in {str(self.state_dir)!r} and replace the secret"
                self.refused(f"{text}: want mode 0700")
            self.assertEqual(self.path.exists(), not first)
            self.state_dir.chmod(0o755)
            self.assertEqual(len(self.kept()), 32)
            self.path.unlink()

    def test_a_draft_of_a_process_that_died(self) -> None:
        """What such a one left behind is in nobody's way."""
        self.state_dir.mkdir(mode=0o700)
        (self.state_dir / f"shared_secret.{os.getpid()}").write_bytes(b"half")
        self.assertEqual(self.kept(), self.kept())

    def test_a_full_disk_is_a_problem(self) -> None:
        """It is told with what to do, and leaves nothing half made behind."""
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        self.addCleanup(signal.signal, signal.SIGXFSZ, old)
        # The system refuses the first byte, as it does on a disk without room.
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
        try:
            with self.assertRaises(SettingsError) as caught:
                self.kept()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        self.assertEqual(
            str(caught.exception),
            "1 problem in the settings:\n"
            f"  state_dir: no shared_secret can be kept in {str(self.state_dir)!r}: "
            "File too large; "
            "make the directory writable and some room in it, name another one, or set "
            "shared_secret",
        )
        self.assertEqual(list(self.state_dir.iterdir()), [])
        self.assertEqual(len(self.kept()), 32)

    def test_a_place_that_cannot_be_written_is_a_problem(self) -> None:
        """A file where the directory should be is told with what to do."""
        self.state_dir.write_bytes(b"")
        with self.assertRaises(SettingsError) as caught:
            self.kept()
        self.assertIn("cannot be read: Not a directory", str(caught.exception))


class SharedRootTests(SecretCase):
    """shared_root() gives the secret in force."""

    def root(self, **more: Any) -> bytes:
        """Return it."""
        return shared_root(make_settings(state_dir=str(self.state_dir), **more), os.urandom)

    def problem(self, **more: Any) -> str:
        """Return the one problem with the settings."""
        with self.assertRaises(SettingsError) as caught:
            self.root(**more)
        (found,) = caught.exception.problems
        return str(found)

    def test_a_configured_one(self) -> None:
        """Then nothing is made or looked at."""
        self.assertEqual(self.root(), SHARED)
        self.assertFalse(self.state_dir.exists())

    def test_none_is_configured(self) -> None:
        """Then it is made, once, and survives."""
        first = self.root(shared_secret=None)
        self.assertEqual(self.root(shared_secret=None), first)

    def test_a_kept_one_goes_over_to_a_configured_one(self) -> None:
        """At the first step the kept one still signs, and the new one stands as the previous."""
        kept = self.root(shared_secret=None)
        self.assertEqual(self.root(shared_secret=None, shared_secret_previous=PREVIOUS), kept)

    def test_none_is_made_beside_a_previous_one(self) -> None:
        """A line that was lost must not give each replica a secret of its own."""
        self.assertEqual(
            self.problem(shared_secret=None, shared_secret_previous=PREVIOUS),
            "shared_secret: missing; shared_secret_previous is there, and none is kept in "
            f"{str(self.state_dir)!r}; want the one that signs now, or take "
            "shared_secret_previous out",
        )
        self.assertFalse(self.state_dir.exists())

    def test_the_kept_one_differs_from_all_others(self) -> None:
        """It is a root as the configured ones are."""
        kept = Secret(self.root(shared_secret=None))
        same = f"is the same as the one that is kept in {str(self.state_dir)!r}; want another one"
        for name in ("cookie_secret", "shared_secret_previous", "cookie_secret_previous"):
            given = {"cookie_secret": Secret(COOKIE), "shared_secret": None, name: kept}
            self.assertEqual(self.problem(**given), f"{name}: {same}")


class OwnerTests(SynchronousTestCase):
    """Owner.told() reads twistd's own options."""

    def test_who_is_told(self) -> None:
        """Only root becomes another; whoever is not named stays who it is."""
        root = os.geteuid() == 0
        for given, wanted in (
            ({}, US),
            ({"uid": None, "gid": None}, US),
            ({"uid": 5, "gid": None}, Owner(5, -1) if root else US),
            ({"uid": 0, "gid": 7}, Owner(0, 7) if root else US),
        ):
            self.assertEqual(Owner.told(given), wanted)


@pytest.mark.system
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
class PrivilegeTests(SecretCase):
    """Root makes it for the user that the daemon will be."""

    def setUp(self) -> None:
        """Let that user reach the place."""
        super().setUp()
        self.state_dir.parent.chmod(0o711)

    def read_as_nobody(self) -> subprocess.CompletedProcess[str]:
        """Read it as that user's process does, at the next reload."""
        code = (
            "import os, sys; from pomeriumd.daemon.secret_file import Owner, kept_secret;"
            "print(kept_secret(sys.argv[1], os.urandom, Owner()).hex())"
        )
        return subprocess.run(
            [sys.executable, "-c", code, str(self.state_dir)],
            check=False,
            capture_output=True,
            text=True,
            user=NOBODY.uid,
            group=NOBODY.gid,
            extra_groups=[],
        )

    def test_it_can_be_read_after_the_rights_are_gone(self) -> None:
        """File and directory belong to that user, and to no other."""
        secret = self.kept(owner=NOBODY)
        for path in (self.path, self.state_dir):
            self.assertEqual((path.stat().st_uid, path.stat().st_gid), (NOBODY.uid, NOBODY.gid))
        self.assertEqual(self.read_as_nobody().stdout, f"{secret.hex()}\n")

    def test_one_that_it_could_not_read_is_refused(self) -> None:
        """At the start, and not only at the first reload."""
        self.kept()
        self.refused(
            f"{str(self.path)!r} belongs to user 0, and the daemon will be user 65534, who cannot "
            "read it again: give it to that one",
            NOBODY,
        )
        said = self.read_as_nobody().stderr
        self.assertIn("cannot be read: Permission denied; want a file of the user that", said)

    def test_nothing_of_somebody_else_is_given_away(self) -> None:
        """A file or directory that was there keeps its owner."""
        self.state_dir.mkdir(mode=0o700)
        os.chown(self.state_dir, NOBODY.uid, NOBODY.gid)
        (self.state_dir / "elsewhere").touch(mode=0o600)
        for lay in (self.path.symlink_to, self.path.hardlink_to):
            lay(self.state_dir / "elsewhere")
            with self.assertRaises(SettingsError):
                self.kept(owner=NOBODY)
            self.assertEqual((self.state_dir / "elsewhere").stat().st_uid, 0)
            self.path.unlink()

    def test_a_directory_of_a_third_user_is_refused(self) -> None:
        """Who owns it could put a secret of their own there."""
        self.state_dir.mkdir(mode=0o700)
        os.chown(self.state_dir, 12_345, 12_345)
        self.refused(f"{str(self.state_dir)!r} belongs to user 12345: want it to be ours", NOBODY)
        self.assertEqual(list(self.state_dir.iterdir()), [])

    def test_a_file_of_a_third_user_is_refused(self) -> None:
        """It may have been laid there while the directory was open to all."""
        self.kept(owner=NOBODY)
        os.chown(self.path, 12_345, 12_345)
        remedy = "remove it to have one made"
        self.refused(f"{str(self.path)!r} belongs to user 12345: {remedy}", NOBODY)
