"""Tests of pomeriumd.settings.files: what is read, once, and what is remembered of it."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.settings import files
from pomeriumd.settings import files as files_module
from pomeriumd.settings.files import (
    LARGEST_FILE,
    MOST_FILES,
    UNREADABLE,
    Files,
    absolute,
    blocks,
    listing_digest,
)


class FilesCase(SynchronousTestCase):
    """A directory, and what was read in it."""

    def setUp(self) -> None:
        """Make an empty directory."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.files = Files()

    def path(self, name: str, content: bytes | None = None) -> str:
        """Return the path of a file, and write it if a content is given."""
        path = self.directory / name
        if content is not None:
            path.write_bytes(content)
        return str(path)


class FilesTests(FilesCase):
    """Files reads each file once, and remembers all of them."""

    def refused(self, path: str, wanted: str) -> None:
        """Assert that a file cannot be read, for this reason."""
        with self.assertRaises(OSError) as caught:
            self.files.read(path, 10)
        self.assertEqual(caught.exception.strerror, wanted)

    def test_what_was_read(self) -> None:
        """A file that was read is there with the digest of its content."""
        path = self.path("a", b"abc")
        self.assertEqual(self.files.read(path, 3), b"abc")
        self.assertEqual(self.files.seen, {path: hashlib.sha256(b"abc").hexdigest()})

    def test_what_could_not_be_read(self) -> None:
        """A file that is missing, or is none, is there too: it may come."""
        os.mkfifo(self.path("pipe"))
        for path in (self.path("none"), self.path("pipe"), str(self.directory)):
            with self.assertRaises(OSError):
                self.files.read(path, 3)
            self.assertEqual(self.files.seen[path], UNREADABLE)

    def test_too_large_for_its_use(self) -> None:
        """What is too large for one use has its digest: it is there, and was read."""
        path = self.path("a", b"abc")
        with self.assertRaises(OSError):
            self.files.read(path, 2)
        self.assertEqual(self.files.read(path, 3), b"abc")
        self.assertEqual(self.files.seen, {path: hashlib.sha256(b"abc").hexdigest()})

    def test_once(self) -> None:
        """Who asks again gets the very same content, though the file has changed."""
        path = self.path("a", b"abc")
        first = self.files.read(path, 3)
        self.path("a", b"xyz")
        self.assertIs(self.files.read(path, 3), first)
        self.files.read(self.path("b", b""), 3)
        self.assertEqual(len(self.files.seen), 2)

    def test_missing_once(self) -> None:
        """A file that was missing stays so for these settings."""
        path = self.path("a")
        self.refused(path, "No such file or directory")
        self.path("a", b"abc")
        self.refused(path, "No such file or directory")

    def test_links_stay(self) -> None:
        """A path is remembered as it was named: links and dots are for each look anew."""
        (self.directory / "real").mkdir()
        (self.directory / "real" / "a").write_bytes(b"abc")
        (self.directory / "link").symlink_to("real")
        for path in (self.path("link/a"), self.path("link/../a")):
            try:
                self.files.read(path, 3)
            except OSError:
                self.assertEqual(self.files.seen[path], UNREADABLE)
            else:
                self.assertEqual(self.files.seen[path], hashlib.sha256(b"abc").hexdigest())
        self.assertEqual(len(self.files.seen), 2)

    def test_relative(self) -> None:
        """A relative path counts from the working directory, and is remembered whole."""
        self.assertEqual(absolute("a/../b"), f"{Path.cwd()}/a/../b")
        self.assertEqual(absolute("/a/../b"), "/a/../b")

    def test_what_can_be_no_file(self) -> None:
        """What no system takes for a path is nothing to wait for."""
        self.refused("/a\0b", "holds a NUL character")
        self.refused("/\ud800", "its path has a character that no path has")
        self.refused("/" + "a" * 4096, "its path is too long")
        self.assertEqual(self.files.seen, {})

    def test_as_many_as_there_may_be(self) -> None:
        """One file too many is refused, and those before it are not."""
        for number in range(MOST_FILES):
            with self.assertRaises(OSError):
                self.files.read(f"/dev/null/{number}", 10)
        self.refused("/dev/null/more", f"more than {MOST_FILES} files are named")
        self.refused("/dev/null/1", "Not a directory")

    def test_as_much_as_there_may_be(self) -> None:
        """All files together are bounded."""
        self.patch(files, "LARGEST_TOGETHER", 5)
        for name in "ab":
            self.files.read(self.path(name, b"abc"), 3)
        self.refused(self.path("c", b""), "all files together are larger than 5 bytes")

    def test_no_content_is_shown(self) -> None:
        """What was read is in no repr."""
        self.files.read(self.path("a", b"hunter2"), 10)
        self.assertNotIn("hunter2", repr(self.files))


class BlocksTests(FilesCase):
    """blocks() reads a bounded file in pieces."""

    def test_all_of_it(self) -> None:
        """The pieces are the whole."""
        content = os.urandom(600_000)
        pieces = list(blocks(self.path("a", content)))
        self.assertEqual(b"".join(pieces), content)
        self.assertGreater(len(pieces), 1)

    def test_bounded(self) -> None:
        """Of a file that is too large there is one byte more than the most."""
        path = self.path("a", b"")
        os.truncate(path, LARGEST_FILE * 10)
        self.assertEqual(sum(map(len, blocks(path))), LARGEST_FILE + 1)


class ListingTests(SynchronousTestCase):
    """A directory's names are read, remembered and bounded."""

    def setUp(self) -> None:
        """Make a directory."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.place = directory.name

    def test_names(self) -> None:
        """They are sorted, and hidden ones are left out; the digest is that of the names."""
        for name in ("b", "a", ".c"):
            (Path(self.place) / name).touch()
        files = Files()
        self.assertEqual(files.listing(self.place), ("a", "b"))
        self.assertEqual(files.seen, {f"{self.place}/": listing_digest(("a", "b"))})
        self.assertNotEqual(listing_digest(("a", "b")), listing_digest(("ab",)))

    def test_none(self) -> None:
        """One that is not there is remembered as such."""
        files = Files()
        self.assertRaises(OSError, files.listing, f"{self.place}/none/")
        self.assertEqual(files.seen, {f"{self.place}/none/": UNREADABLE})

    def test_too_many(self) -> None:
        """A directory of something else altogether is not read to its end."""
        self.patch(files_module, "MOST_LISTED", 2)
        for name in "abc":
            (Path(self.place) / name).touch()
        with self.assertRaises(OSError) as caught:
            Files().listing(self.place)
        self.assertEqual(caught.exception.strerror, "holds more than 2 names")
