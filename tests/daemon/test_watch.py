"""Tests of pomeriumd.daemon.watch, on real files: every way in which they come to change."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon import watch
from pomeriumd.daemon.watch import LOOK_SECONDS, Watch
from pomeriumd.pieces import finish
from pomeriumd.settings.files import UNREADABLE, Files, blocks

NOBODY = 65_534


class WatchCase(SynchronousTestCase):
    """A directory of settings, and a watch on them."""

    def setUp(self) -> None:
        """Make an empty directory that anybody may look at."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.directory.chmod(0o755)
        self.clock = Clock()
        self.calls = 0
        self.watch = Watch({}, self.clock, self.changed)
        self.addCleanup(self.watch.stopService)

    def changed(self) -> None:
        """Count the calls."""
        self.calls += 1

    def write(self, content: str, name: str = "config.yaml") -> Path:
        """Write a file."""
        path = self.directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        return path

    def expect(self, *paths: Path) -> None:
        """Read these files, as a reload does."""
        files = Files()
        for path in paths:
            with contextlib.suppress(OSError):
                files.read(str(path), 1 << 20)
        self.watch.expect(files.seen)

    def begin(self, *paths: Path) -> None:
        """Read these files, watch them, and look until nothing has to be read any more."""
        self.expect(*paths)
        self.watch.startService()
        self.look(3)
        self.assertEqual(self.calls, 0)

    def look(self, times: int = 1) -> None:
        """Let it look so often."""
        for _ in range(times):
            self.clock.advance(LOOK_SECONDS)

    @contextlib.contextmanager
    def as_somebody(self) -> Iterator[None]:
        """Look as a user whom permissions mean; for root there are none."""
        if os.geteuid() != 0:
            yield
            return
        os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(0)

    def told_once(self) -> None:
        """Assert that it tells at the second look, and not again, however often it looks."""
        self.look()
        self.assertEqual(self.calls, 0)
        self.look()
        self.assertEqual(self.calls, 1)
        self.look(5)
        self.assertEqual(self.calls, 1)

    def not_told(self) -> None:
        """Assert that there is nothing to tell."""
        self.look(5)
        self.assertEqual(self.calls, 0)


class ChangeTests(WatchCase):
    """Another content is told of once, however it came there."""

    def test_written_in_place(self) -> None:
        """The file is written over."""
        path = self.write("a: 1")
        self.begin(path)
        self.write("a: 22")
        self.told_once()

    def test_times_set_back(self) -> None:
        """The same size, and the time of before."""
        path = self.write("a: 1")
        before = path.stat()
        self.begin(path)
        self.write("a: 2")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        self.told_once()

    def test_renamed_over(self) -> None:
        """A new file is renamed over the old one, as most tools do."""
        path = self.write("a: 1")
        self.begin(path)
        self.write("a: 2", "draft").rename(path)
        self.told_once()

    def test_an_older_file_renamed_over(self) -> None:
        """A file that is older than the one of before, and as large."""
        older = self.write("a: 2", "older")
        path = self.write("a: 1")
        os.utime(older, (0, 0))
        self.begin(path)
        older.rename(path)
        self.told_once()

    def test_an_editor_keeps_the_former_one(self) -> None:
        """An editor renames the file away and writes a new one in its place."""
        path = self.write("a: 1")
        self.begin(path)
        path.rename(self.directory / "config.yaml~")
        self.write("a: 2")
        self.told_once()

    def test_an_editor_seen_half_way(self) -> None:
        """A look between the two steps finds no file, and says nothing yet."""
        path = self.write("a: 1")
        self.begin(path)
        path.rename(self.directory / "config.yaml~")
        self.look()
        self.write("a: 2")
        self.told_once()

    def test_data_of_kubernetes(self) -> None:
        """``..data`` is a link to a directory, and another one is renamed over it."""
        self.write("a: 1", "..1/config.yaml")
        self.write("a: 2", "..2/config.yaml")
        (self.directory / "..data").symlink_to("..1")
        path = self.directory / "config.yaml"
        path.symlink_to("..data/config.yaml")
        self.begin(path)
        (self.directory / "..data_tmp").symlink_to("..2")
        (self.directory / "..data_tmp").rename(self.directory / "..data")
        shutil.rmtree(self.directory / "..1")
        self.told_once()

    def test_live_of_certbot(self) -> None:
        """``live/`` has links to numbered files, which are set anew one after the other."""
        paths = []
        for name in ("cert", "key"):
            for number in (1, 2):
                self.write(f"{name}{number}", f"archive/{name}{number}.pem")
            path = self.directory / f"{name}.pem"
            path.symlink_to(f"archive/{name}1.pem")
            paths.append(path)
        self.begin(*paths)
        for path in paths:
            path.unlink()
            path.symlink_to(f"archive/{path.stem}2.pem")
            self.look()
            self.assertEqual(self.calls, 0)
        self.look()
        self.assertEqual(self.calls, 1)
        self.look(5)
        self.assertEqual(self.calls, 1)

    def test_directory_renamed(self) -> None:
        """The whole directory is another one."""
        path = self.write("a: 1", "now/config.yaml")
        self.write("a: 2", "new/config.yaml")
        self.begin(path)
        path.parent.rename(self.directory / "old")
        (self.directory / "new").rename(path.parent)
        self.told_once()

    def test_removed_and_back(self) -> None:
        """A file that is gone is told of, and so is its return."""
        path = self.write("a: 1")
        self.begin(path)
        path.unlink()
        self.told_once()
        self.expect(path)
        self.write("a: 1")
        self.look(5)
        self.assertEqual(self.calls, 2)

    def test_one_that_was_missing(self) -> None:
        """A certificate that was missing when the settings were refused, and comes later."""
        missing = self.directory / "tls" / "cert.pem"
        self.begin(self.write("a: 1"), missing)
        self.write("x", "tls/cert.pem")
        self.told_once()

    def test_a_pipe_in_its_place(self) -> None:
        """What is no file any more is told of, and nobody waits for a pipe."""
        path = self.write("a: 1")
        self.begin(path)
        path.unlink()
        os.mkfifo(path)
        self.told_once()

    def test_permission_taken_and_given(self) -> None:
        """What may not be read any more is told of, and that it may again."""
        path = self.write("a: 1")
        with self.as_somebody():
            self.begin(path)
        path.chmod(0)
        with self.as_somebody():
            self.told_once()
            self.expect(path)
            self.look(5)
            self.assertEqual(self.calls, 1)
        path.chmod(0o644)
        with self.as_somebody():
            self.look(5)
        self.assertEqual(self.calls, 2)

    def test_permission_of_the_directory(self) -> None:
        """A directory that nobody may enter has no file for us, and has one again."""
        path = self.write("a: 1", "tls/key.pem")
        with self.as_somebody():
            self.begin(path)
        path.parent.chmod(0)
        with self.as_somebody():
            self.told_once()
            self.expect(path)
        path.parent.chmod(0o755)
        with self.as_somebody():
            self.look(5)
        self.assertEqual(self.calls, 2)

    def test_too_large(self) -> None:
        """A file that is too large is the same for who reads it and who watches it."""
        path = self.write("")
        os.truncate(path, 1 << 30)
        self.begin(path)
        self.write("a: 1")
        self.told_once()


class DirectoryTests(WatchCase):
    """A directory is watched for what comes and goes in it."""

    def setUp(self) -> None:
        """Make one with an entry."""
        super().setUp()
        self.place = self.write("a", "certs/a.pem").parent
        files = Files()
        files.listing(str(self.place))
        self.watch.expect(files.seen)
        self.watch.startService()
        self.look(3)

    def test_comes_and_goes(self) -> None:
        """An entry that is new is told, and so is one that is gone."""
        self.not_told()
        self.write("b", "certs/b.pem")
        self.told_once()
        files = Files()
        files.listing(str(self.place))
        self.watch.expect(files.seen)
        (self.place / "a.pem").unlink()
        self.calls = 0
        self.told_once()

    def test_a_name_that_nobody_means(self) -> None:
        """What an editor or a tool hides there is none of ours; nor is the content."""
        self.write("x", "certs/.a.pem.swp")
        self.write("other", "certs/a.pem")
        self.not_told()

    def test_another_directory_in_its_place(self) -> None:
        """A link that is swapped, or a directory renamed over, counts by what is in it."""
        self.write("a", "next/a.pem")
        self.place.rename(self.directory / "former")
        self.place.symlink_to(self.directory / "next")
        self.not_told()
        self.write("b", "next/b.pem")
        self.told_once()

    def test_gone_and_back(self) -> None:
        """One that cannot be read is told, and when it can be again."""
        shutil.move(self.place, self.directory / "gone")
        self.told_once()
        self.watch.expect({f"{self.place}/": UNREADABLE})
        shutil.move(self.directory / "gone", self.place)
        self.calls = 0
        self.told_once()


class QuietTests(WatchCase):
    """What changes nothing is not told of."""

    def test_nothing_at_all(self) -> None:
        """Files that stay as they are."""
        self.begin(self.write("a: 1"), self.directory / "none")
        self.not_told()

    def test_touched(self) -> None:
        """New times, the same content."""
        path = self.write("a: 1")
        self.begin(path)
        for _ in range(3):
            path.touch()
            self.look()
        path.chmod(0o600)
        self.not_told()

    def test_written_anew(self) -> None:
        """Another file with the same content, as a deployment writes it."""
        path = self.write("a: 1")
        self.begin(path)
        self.write("a: 1", "draft").rename(path)
        self.not_told()

    def test_there_and_back_between_two_looks(self) -> None:
        """A change that was taken back before anybody looked."""
        path = self.write("a: 1")
        self.begin(path)
        self.write("a: 2")
        self.write("a: 1")
        self.not_told()

    def test_taken_back_at_once(self) -> None:
        """A change that is gone at the second look."""
        path = self.write("a: 1")
        self.begin(path)
        self.write("a: 2")
        self.look()
        self.write("a: 1")
        self.not_told()

    def test_a_link_to_the_same(self) -> None:
        """Another way to the same content."""
        self.write("a: 1", "one")
        self.write("a: 1", "two")
        path = self.directory / "config.yaml"
        path.symlink_to("one")
        self.begin(path)
        path.unlink()
        path.symlink_to("two")
        self.not_told()

    def test_what_root_alone_could_read(self) -> None:
        """A key that was read before twistd gave up its rights, and that we may not read."""
        path = self.write("key", "key.pem")
        self.expect(path)
        path.chmod(0)
        with self.as_somebody():
            self.watch.startService()
            self.not_told()
        path.chmod(0o644)
        with self.as_somebody():
            self.not_told()
        self.write("another", "key.pem")
        with self.as_somebody():
            self.told_once()

    def test_other_files(self) -> None:
        """Files beside those that were read are nobody's business."""
        self.begin(self.write("a: 1"))
        self.write("b: 1", "other.yaml")
        self.not_told()

    def test_stopped(self) -> None:
        """After its end nothing is looked at."""
        path = self.write("a: 1")
        self.begin(path)
        self.watch.stopService()
        self.write("a: 2")
        self.not_told()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class RestTests(WatchCase):
    """It waits until what was found is at rest."""

    def test_written_slowly(self) -> None:
        """A file that grows from look to look is told of when it is whole."""
        path = self.write("a: 1")
        self.begin(path)
        for number in range(10):
            with path.open("a") as file:
                file.write(f"b{number}: 1\n")
            self.look()
            self.assertEqual(self.calls, 0)
        self.look()
        self.assertEqual(self.calls, 1)

    def test_one_file_after_the_other(self) -> None:
        """A key that follows its certificate is told of with it."""
        cert, key = self.write("1", "cert.pem"), self.write("1", "key.pem")
        self.begin(cert, key)
        self.write("2", "cert.pem")
        self.look()
        self.write("2", "key.pem")
        self.told_once()


class AgainTests(WatchCase):
    """What follows a call."""

    def setUp(self) -> None:
        """Change a file, and let it be told of."""
        super().setUp()
        self.path = self.write("a: 1")
        self.begin(self.path)
        self.write("a: 2")
        self.look(2)
        self.assertEqual(self.calls, 1)

    def test_read(self) -> None:
        """When the new content was read there is nothing more to tell."""
        self.expect(self.path)
        self.look(5)
        self.assertEqual(self.calls, 1)

    def test_changed_while_it_was_read(self) -> None:
        """A content that came behind the reader's back is told of."""
        files = Files()
        files.read(str(self.path), 100)
        self.write("a: 3")
        self.watch.expect(files.seen)
        self.look(5)
        self.assertEqual(self.calls, 2)

    def test_changed_before_it_was_read(self) -> None:
        """Another change before the reading is through is told of, too."""
        self.write("a: 3")
        self.look(5)
        self.assertEqual(self.calls, 2)

    def test_taken_back_before_it_was_read(self) -> None:
        """Back as it was, and changed once more: told once more."""
        self.write("a: 1")
        self.look(5)
        self.assertEqual(self.calls, 1)
        self.write("a: 2")
        self.look(5)
        self.assertEqual(self.calls, 2)

    def test_taken_back_after_it_was_read(self) -> None:
        """Who goes back to the settings of before is heard."""
        files = Files()
        files.read(str(self.path), 100)
        self.write("a: 1")
        self.look(3)
        self.watch.expect(files.seen)
        self.look(5)
        self.assertEqual(self.calls, 2)

    def test_a_reading_that_failed(self) -> None:
        """When nobody could tell what was read, the next change is told of, not this one."""
        self.watch.expect({})
        self.look(5)
        self.assertEqual(self.calls, 1)
        self.write("a: 3")
        self.look(5)
        self.assertEqual(self.calls, 2)

    def test_other_files_from_now_on(self) -> None:
        """Files that the new settings name are watched, and those of before are not."""
        other = self.write("x", "other")
        self.expect(other)
        self.look(3)
        self.write("a: 9")
        self.look(5)
        self.assertEqual(self.calls, 1)
        self.write("y", "other")
        self.look(5)
        self.assertEqual(self.calls, 2)

    def test_a_caller_that_raises(self) -> None:
        """An error of whom it tells is logged, and it goes on looking."""

        def fail() -> None:
            raise RuntimeError("of the test")

        self.watch.changed = fail
        self.write("a: 3")
        self.look(2)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.watch.changed = self.changed
        self.write("a: 4")
        self.look(2)
        self.assertEqual(self.calls, 2)


class CostTests(WatchCase):
    """A look costs no more than it must."""

    def setUp(self) -> None:
        """Count what is read."""
        super().setUp()
        self.read: list[str] = []

        def counted(path: str, real: Callable[[str], Iterator[bytes]] = blocks) -> Iterator[bytes]:
            self.read.append(path)
            return real(path)

        self.patch(watch, "blocks", counted)

    def test_nothing_is_read_twice(self) -> None:
        """Thousands of files are read at the first two looks, and never again."""
        paths = [self.write(str(number), f"{number}.pem") for number in range(2000)]
        self.begin(*paths)
        self.assertEqual(len(self.read), 2 * len(paths))
        self.look(10)
        self.assertEqual(len(self.read), 2 * len(paths))

    def test_what_changed_alone_is_read(self) -> None:
        """Of thousands of files the one is read that has changed."""
        paths = [self.write(str(number), f"{number}.pem") for number in range(2000)]
        self.begin(*paths)
        del self.read[:]
        self.write("another", "7.pem")
        self.look(5)
        self.assertEqual((self.calls, self.read), (1, [str(paths[7])] * 2))

    def test_written_right_after_it_was_read(self) -> None:
        """
        A first reading is not believed alone.

        Where the clock of the file system is coarse, what is written right after it has the
        same times; ``stat`` then says the same, and so it is made to say here.
        """
        path = self.write("a: 1")
        self.expect(path)
        self.patch(watch, "_hint", lambda _: (1, 2, 3))
        self.watch.startService()
        self.look()
        self.write("a: 2")
        self.look(2)
        self.assertEqual(self.calls, 1)

    def test_in_pieces(self) -> None:
        """A look at many files, and at a large one, can be interrupted."""
        large = self.write("x" * 3_000_000)
        many = [self.write(str(number), f"{number}.pem") for number in range(320)]
        self.expect(large, *many)
        self.assertGreater(sum(1 for _ in self.watch._looking()), 20)

    def test_stopped_in_the_middle(self) -> None:
        """A look that is under way when it stops is given up."""
        paths = [self.write(str(number), f"{number}.pem") for number in range(320)]
        impatient = Impatient()
        self.watch = Watch({}, impatient, self.changed)
        self.expect(*paths)
        self.watch.startService()
        impatient.callLater(LOOK_SECONDS, lambda: impatient.callLater(0.5, self.watch.stopService))
        impatient.advance(LOOK_SECONDS)
        self.assertLess(len(self.read), len(paths))
        self.assertGreater(len(self.read), 0)
        self.assertEqual(impatient.getDelayedCalls(), [])


class Impatient(Clock):
    """A clock by which every piece takes longer than its turn."""

    def seconds(self) -> float:
        """Return a later time whenever it is asked."""
        self.rightNow += 0.01
        return self.rightNow


class DigestTests(WatchCase):
    """The watch and the reader of settings mean the same."""

    def test_same_digest(self) -> None:
        """For every file, and for what is none, both find the same."""
        (self.directory / "loop").symlink_to("loop")
        for path in (
            self.write("", "empty"),
            self.write("x" * 1_000_000, "large"),
            self.directory / "none",
            self.directory / "loop",
            self.directory,
            Path("/dev/zero"),
        ):
            files = Files()
            with contextlib.suppress(OSError):
                files.read(str(path), 1 << 20)
            work = watch._hashed(str(path))
            self.assertEqual(files.seen, {str(path): finish(work)})
        empty = finish(watch._hashed(str(self.directory / "empty")))
        self.assertEqual(empty, hashlib.sha256().hexdigest())
        self.assertEqual(finish(watch._hashed("/dev/zero")), UNREADABLE)
