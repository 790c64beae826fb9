"""Promises of OCSP answers on disk: written for us alone, found by all, believed from us alone."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.staple_files import LOOK_SECONDS, MOST_FILES, StapleFiles, StapleReader
from pomeriumd.net.ocsp import LARGEST
from pomeriumd.net.staples import Staples
from pomeriumd.pieces import finish
from tests.support.certificates import NOW
from tests.support.logged import Logged
from tests.support.rig import Chance
from tests.support.stapled import WEEK, Says, stapled

ONE, OTHER = "1" * 64, "2" * 64


class FilesCase(SynchronousTestCase):
    """Tests in a directory."""

    def setUp(self) -> None:
        """Have a place, and an answer."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.place = Path(directory.name)
        self.files = StapleFiles(str(self.place), Chance())
        self.path = self.place / "ocsp" / f"{ONE}.der"
        self.der = Says().answer(stapled("a.test").certificate, NOW)

    def names(self) -> list[str]:
        """Return what is in the directory."""
        return sorted(path.name for path in (self.place / "ocsp").iterdir())


class StapleFilesTests(FilesCase):
    """StapleFiles keeps an answer whole, and ours."""

    def test_what_is_saved_is_found_again(self) -> None:
        """The octets come back, from a file and a directory that nobody else can read."""
        self.files.save(ONE, self.der)
        self.assertEqual(self.files.load(ONE), self.der)
        modes = [stat.S_IMODE(path.stat().st_mode) for path in (self.path, self.path.parent)]
        self.assertEqual(modes, [0o600, 0o700])
        self.assertEqual(self.names(), [f"{ONE}.der"])

    def test_a_failed_writing_leaves_the_one_before(self) -> None:
        """Where the new one cannot be put in its place, nothing of it is left."""
        self.path.mkdir(parents=True)
        (self.path / "x").touch()
        with self.assertRaises(OSError):
            self.files.save(ONE, self.der)
        self.assertEqual(self.names(), [f"{ONE}.der"])

    def test_what_others_could_have_written_is_not_read(self) -> None:
        """A file that others can write, a link and a directory are no answers."""
        self.files.save(ONE, self.der)
        self.path.chmod(0o622)
        self.assertIsNone(self.files.load(ONE))
        self.path.unlink()
        (self.place / "else").write_bytes(self.der)
        self.path.symlink_to(self.place / "else")
        self.assertIsNone(self.files.load(ONE))
        self.path.unlink()
        os.mkfifo(self.path)
        self.assertIsNone(self.files.load(ONE))

    def test_what_is_too_large_is_not_read(self) -> None:
        """Nothing larger than an answer may be is read into memory."""
        self.files.save(ONE, bytes(LARGEST + 1))
        self.assertIsNone(self.files.load(ONE))

    def test_only_what_is_wanted_is_kept_and_nothing_of_others_touched(self) -> None:
        """Old answers and broken drafts go; a file that is not ours stays."""
        for name in (ONE, OTHER):
            self.files.save(name, self.der)
        for name in (f"{ONE}.der.{'0' * 16}", "README", "draft.der"):
            (self.place / "ocsp" / name).touch()
        finish(self.files.keep([ONE]))
        self.assertEqual(self.names(), [f"{ONE}.der", "README", "draft.der"])

    def test_without_a_directory_there_is_nothing(self) -> None:
        """Nothing was ever saved: nothing is found, and nothing fails."""
        finish(self.files.keep([]))
        self.assertEqual((self.files.load(ONE), self.files.found()), (None, []))
        self.assertGreaterEqual(MOST_FILES, 10_000)


class StapleReaderTests(FilesCase):
    """StapleReader shows what is on disk, and sees when that changes."""

    def setUp(self) -> None:
        """Have a reader that has looked at nothing yet."""
        super().setUp()
        self.clock = Clock()
        self.staples = Staples(lambda: NOW)
        self.reader = StapleReader(self.staples, self.clock, lambda: self.changed() + 3_600)
        self.addCleanup(self.reader.stop)

    def changed(self) -> float:
        """Return when the directory was last changed."""
        return self.path.parent.stat().st_mtime

    def looks(self) -> None:
        """Let it look once more."""
        self.clock.pump([LOOK_SECONDS, 0, 0, 0])

    def test_it_is_there_before_anybody_connects(self) -> None:
        """What was fetched before a restart is shown from the first handshake on."""
        self.files.save(ONE, self.der)
        finish(self.reader.reading(self.files))
        self.assertEqual(self.staples.find(ONE), self.der)
        self.assertEqual(self.staples.kept[ONE].until, NOW - 3_600 + WEEK)

    def test_a_new_one_a_newer_one_and_one_that_is_gone_are_seen(self) -> None:
        """The next look finds each of them."""
        finish(self.reader.reading(self.files))
        self.reader.start()
        self.files.save(ONE, self.der)
        self.looks()
        self.assertEqual(self.staples.find(ONE), self.der)
        newer = Says(age=60.0).answer(stapled("a.test").certificate, NOW)
        self.files.save(ONE, newer)
        self.looks()
        self.assertEqual(self.staples.find(ONE), newer)
        self.files.remove(ONE)
        self.looks()
        self.assertEqual(self.staples.kept, {})

    def test_where_nothing_changed_nothing_is_read(self) -> None:
        """A look at a directory that is as it was opens no file."""
        self.files.save(ONE, self.der)
        finish(self.reader.reading(self.files))
        self.reader.start()
        before = self.staples.kept[ONE]
        self.looks()
        self.assertIs(self.staples.kept[ONE], before)

    def test_what_was_written_in_the_moment_of_a_look_is_seen(self) -> None:
        """A change that leaves the directory's time as it was is found by the look after."""
        reader = StapleReader(self.staples, self.clock, self.changed)
        self.addCleanup(reader.stop)
        self.files.save(ONE, self.der)
        finish(reader.reading(self.files))
        times = self.path.parent.stat()
        self.files.save(OTHER, self.der)
        os.utime(self.path.parent, ns=(times.st_atime_ns, times.st_mtime_ns))
        reader.start()
        self.looks()
        self.assertEqual(self.staples.find(OTHER), self.der)

    def test_what_is_no_answer_is_told_and_not_shown(self) -> None:
        """A file that was broken is named once, and others are shown."""
        logged = Logged(self)
        self.files.save(ONE, b"<html>")
        self.files.save(OTHER, self.der)
        finish(self.reader.reading(self.files))
        self.reader.start()
        self.looks()
        self.assertEqual(list(self.staples.kept), [OTHER])
        (line,) = logged.lines()
        self.assertEqual(
            line,
            f"{self.path} is not shown: this cannot be read; want an OCSP answer in a file of ours "
            "that nobody else can write; remove it",
        )
