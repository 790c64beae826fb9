"""The secret that an all-in-one process makes for itself."""

from __future__ import annotations

import os
import resource
import signal
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.secret_file import kept_secret
from pomeriumd.errors import SettingsError


class KeptSecretTests(SynchronousTestCase):
    """kept_secret() makes one, keeps it, and refuses what it did not make."""

    def setUp(self) -> None:
        """Use a directory that is not there yet."""
        parent = tempfile.TemporaryDirectory()
        self.addCleanup(parent.cleanup)
        self.state_dir = Path(parent.name) / "state"

    def test_it_is_the_same_after_a_restart(self) -> None:
        """The second start finds what the first one made."""
        first = kept_secret(str(self.state_dir), os.urandom)
        self.assertEqual(kept_secret(str(self.state_dir), os.urandom), first)
        self.assertEqual(len(first), 32)

    def test_nobody_else_can_read_it(self) -> None:
        """The file is for its owner alone, and nothing else is left beside it."""
        kept_secret(str(self.state_dir), os.urandom)
        (only,) = self.state_dir.iterdir()
        self.assertEqual(only.stat().st_mode & 0o777, 0o600)

    def test_a_damaged_one_is_refused(self) -> None:
        """A file of another size is a problem, not a secret."""
        self.state_dir.mkdir(parents=True)
        path = self.state_dir / "shared_secret"
        path.write_bytes(b"short")
        with self.assertRaises(SettingsError) as caught:
            kept_secret(str(self.state_dir), os.urandom)
        self.assertEqual(
            str(caught.exception),
            "1 problem in the settings:\n"
            f"  state_dir: {str(path)!r} has 5 bytes, want 32: remove it to have one made",
        )

    def test_a_full_disk_is_a_problem(self) -> None:
        """It is told with what to do, and leaves nothing half made behind."""
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        self.addCleanup(signal.signal, signal.SIGXFSZ, old)
        # The system refuses the first byte, as it does on a disk without room.
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
        try:
            with self.assertRaises(SettingsError) as caught:
                kept_secret(str(self.state_dir), os.urandom)
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
        self.assertEqual(len(kept_secret(str(self.state_dir), os.urandom)), 32)

    def test_a_place_that_cannot_be_written_is_a_problem(self) -> None:
        """A file where the directory should be is told with what to do."""
        self.state_dir.write_bytes(b"")
        with self.assertRaises(SettingsError) as caught:
            kept_secret(str(self.state_dir), os.urandom)
        self.assertIn("cannot be read: Not a directory", str(caught.exception))
