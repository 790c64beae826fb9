"""Lines on their way out: in order, whole, bounded, and never waited for."""

from __future__ import annotations

import os
import resource
import signal
import socket
import tempfile
from pathlib import Path

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.lines import WAITING, Descriptor, Lines, LogFile


@attrs.define
class Slow:
    """A sink that takes the bytes it is told to, one number a write, then none."""

    room: list[int]
    taken: bytearray = attrs.Factory(bytearray)
    waits: list[float] = attrs.Factory(list)
    closed: bool = False

    def write(self, octets: bytearray) -> int:
        """Take as many as the next number says; -1 is a full disk."""
        room = self.room.pop(0) if self.room else 0
        if room < 0:
            raise OSError(28, "No space left on device")
        self.taken += octets[:room]
        return min(room, len(octets))

    def wait(self, seconds: float) -> None:
        """Note that somebody waited."""
        self.waits.append(seconds)

    def close(self) -> None:
        """Note it."""
        self.closed = True


def dropped(count: int) -> bytes:
    """Tell of dropped lines."""
    return b"%d dropped\n" % count


class LinesTests(SynchronousTestCase):
    """Lines gathers, writes and counts."""

    @given(st.lists(st.binary(max_size=20), max_size=20), st.lists(st.integers(-1, 30)))
    def test_what_comes_out_went_in(self, given: list[bytes], room: list[int]) -> None:
        """However little the sink takes at a time, no byte is lost, doubled or moved."""
        sink = Slow(room)
        lines = Lines(sink, dropped)
        for line in given:
            lines.add(line)
            lines.flush()
        self.assertTrue(b"".join(given).startswith(sink.taken))
        sink.room = [1000]
        self.assertTrue(lines.flush())
        self.assertEqual(bytes(sink.taken), b"".join(given))

    def test_a_blocked_sink_costs_lines_and_says_so_once(self) -> None:
        """Over the bound lines are counted; the count is written when there is room."""
        sink = Slow([])
        lines = Lines(sink, dropped)
        for _ in range(WAITING // 1000 + 7):
            lines.add(b"x" * 999 + b"\n")
        self.assertFalse(lines.flush())
        self.assertTrue(lines.blocked)
        self.assertLessEqual(lines.size, WAITING)
        sink.room = [WAITING, 100]
        self.assertTrue(lines.flush())
        self.assertTrue(sink.taken.endswith(b"x\n7 dropped\n"), sink.taken[-20:])
        lines.add(b"later\n")
        sink.room = [100]
        lines.flush()
        self.assertTrue(sink.taken.endswith(b"7 dropped\nlater\n"))

    def test_dropped_lines_are_counted_since_the_start(self) -> None:
        """What the log has told of is still in the count."""
        sink = Slow([])
        lines = Lines(sink, dropped)
        for times in (1, 2):
            for _ in range(WAITING // 1000 + 7):
                lines.add(b"x" * 999 + b"\n")
            self.assertEqual(lines.dropped, 7 * times)
            sink.room = [WAITING, 100]
            self.assertTrue(lines.flush())
        self.assertEqual(lines.dropped, 14)

    def test_lines_that_come_together_are_counted_one_by_one(self) -> None:
        """What another process hands over is many lines at once."""
        lines = Lines(Slow([]), dropped)
        lines.add(b"x" * WAITING)
        lines.add(b"one\ntwo\nthree\n")
        self.assertEqual(lines.dropped, 3)

    def test_a_full_disk_is_no_exception(self) -> None:
        """An error of the sink keeps the lines for later."""
        sink = Slow([-1])
        lines = Lines(sink, dropped)
        lines.add(b"one\n")
        self.assertFalse(lines.flush())
        sink.room = [100]
        self.assertTrue(lines.flush())
        self.assertEqual(sink.taken, b"one\n")

    def test_close_waits_a_bounded_time(self) -> None:
        """A sink that takes nothing holds the shutdown up for a second at most."""
        sink = Slow([])
        lines = Lines(sink, dropped)
        lines.add(b"one\n")
        lines.close()
        self.assertEqual((sum(sink.waits), sink.closed), (1.0, True))


class DescriptorTests(SynchronousTestCase):
    """Descriptor never waits, whatever standard output is."""

    def pipe(self) -> tuple[int, int]:
        """Return both ends of a pipe, closed at the end of the test."""
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        self.addCleanup(os.close, write)
        return read, write

    def test_a_stuck_pipe(self) -> None:
        """A pipe that nobody reads takes what fits and then nothing; then all of the rest."""
        read, write = self.pipe()
        sink = Descriptor(write)
        octets = bytearray(os.urandom(100_000))
        first = sink.write(octets)
        self.assertTrue(0 < first < len(octets))
        self.assertEqual(os.read(read, 100_000), bytes(octets[:first]))
        second = sink.write(octets[first:])
        self.assertEqual(os.read(read, 100_000), bytes(octets[first : first + second]))
        self.assertTrue(os.get_blocking(write))
        sink.close()

    def test_a_stuck_pipe_that_cannot_be_opened_again(self) -> None:
        """Where the pipe is not ours, it is asked before each write."""
        read, write = self.pipe()
        sink = Descriptor(write)
        sink.close()
        sink._own = None
        octets = bytearray(os.urandom(100_000))
        first = sink.write(octets)
        self.assertEqual(first, 65_536)
        self.assertEqual(sink.write(octets[first:]), 0)
        self.assertEqual(os.read(read, 100_000), bytes(octets[:first]))

    def test_a_stuck_socket(self) -> None:
        """The journal's socket may stand still, too."""
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        lines = Lines(Descriptor(ours.fileno()), dropped)
        for _ in range(1000):
            lines.add(b"x" * 999 + b"\n")
        self.assertFalse(lines.flush())
        theirs.settimeout(5)
        seen = 0
        while not lines.flush() or seen < 1_000_000:
            seen += len(theirs.recv(1 << 20))
        self.assertEqual(seen, 1_000_000)
        lines.close()

    def test_the_disk_is_full(self) -> None:
        """What the system refuses for want of room is no exception."""
        full = os.open("/dev/full", os.O_WRONLY)
        self.addCleanup(os.close, full)
        lines = Lines(Descriptor(full), dropped)
        lines.add(b"one\n")
        self.assertFalse(lines.flush())

    def test_the_reader_is_gone(self) -> None:
        """A closed pipe neither raises nor kills."""
        read, write = os.pipe()
        self.addCleanup(os.close, write)
        sink = Descriptor(write)
        os.close(read)
        lines = Lines(sink, dropped)
        lines.add(b"one\n")
        self.assertFalse(lines.flush())
        lines.close()


class LogFileTests(SynchronousTestCase):
    """LogFile rotates by size, on demand, and follows logrotate."""

    def setUp(self) -> None:
        """Find a place."""
        self.directory = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.path = self.directory / "log"

    def names(self) -> dict[str, bytes]:
        """Return all files and what stands in them."""
        return {path.name: path.read_bytes() for path in self.directory.iterdir()}

    def test_readable_for_owner_and_group_only(self) -> None:
        """Access lines name people."""
        LogFile(self.path).close()
        self.assertEqual(self.path.stat().st_mode & 0o137, 0)

    def test_appends(self) -> None:
        """What stood there stays."""
        self.path.write_bytes(b"before\n")
        log = LogFile(self.path)
        log.write(bytearray(b"after\n"))
        log.close()
        self.assertEqual(self.names(), {"log": b"before\nafter\n"})

    def test_rotates_by_size_and_keeps_a_few(self) -> None:
        """A log that nobody looks after has an end."""
        log = LogFile(self.path, rotate=4, kept=2)
        for line in (b"one\n", b"two\n", b"three\n", b"four\n", b"five\n"):
            log.write(bytearray(line))
        log.close()
        self.assertEqual(self.names(), {"log": b"five\n", "log.1": b"four\n", "log.2": b"three\n"})

    def test_turns_on_demand(self) -> None:
        """SIGUSR1 rotates with the next line."""
        log = LogFile(self.path)
        log.write(bytearray(b"one\n"))
        log.turn()
        log.write(bytearray(b"two\n"))
        log.close()
        self.assertEqual(self.names(), {"log": b"two\n", "log.1": b"one\n"})

    def test_the_next_file_has_the_same_readers(self) -> None:
        """Who was let in to read the log can read it after a rotation."""
        log = LogFile(self.path)
        self.path.chmod(0o644)
        self.addCleanup(os.umask, os.umask(0o077))
        log.turn()
        log.write(bytearray(b"one\n"))
        log.close()
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o644)

    def test_follows_logrotate(self) -> None:
        """A file that was moved away is not rotated again; a new one is opened."""
        log = LogFile(self.path)
        log.write(bytearray(b"one\n"))
        self.path.rename(self.directory / "moved")
        log.write(bytearray(b"two\n"))
        log.turn()
        log.write(bytearray(b"three\n"))
        log.close()
        self.assertEqual(self.names(), {"log": b"three\n", "moved": b"one\ntwo\n"})

    def test_goes_on_where_it_cannot_rotate(self) -> None:
        """In a directory that is not ours any more the old file grows on."""
        log = LogFile(self.path, rotate=4, kept=2)
        log.write(bytearray(b"one\n"))
        # A directory in the way stops root as well, which permissions do not.
        (self.directory / "log.1").mkdir()
        (self.directory / "log.2").touch()
        log.write(bytearray(b"two\n"))
        log.close()
        self.assertEqual(self.path.read_bytes(), b"one\ntwo\n")

    def test_a_disk_that_fills_up_tears_no_line(self) -> None:
        """A write that stops in the middle of a line goes on there when there is room."""
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        self.addCleanup(signal.signal, signal.SIGXFSZ, old)
        lines = Lines(LogFile(self.path), dropped)
        lines.add(b"0123456789\n")
        resource.setrlimit(resource.RLIMIT_FSIZE, (4, before[1]))
        try:
            whole = lines.flush()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        self.assertEqual((whole, self.path.read_bytes()), (False, b"0123"))
        lines.close()
        self.assertEqual(self.path.read_bytes(), b"0123456789\n")
