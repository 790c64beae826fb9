"""Numbers that others read: whole entries only, whatever the writer does or did."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import zlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.cells import (
    CELLS,
    SIZE,
    Cells,
    Reading,
    Series,
    mapped,
    private_memory,
    shared_memory,
)
from tests.support.laws import examples

DIRECTORY = 64
CELLS_AT = 6 << 20

all_series = st.tuples(st.text(max_size=8), st.lists(st.text(max_size=12), max_size=3).map(tuple))


class ReadingTests(SynchronousTestCase):
    """What a reader finds is what was written."""

    @examples(40)
    @given(st.lists(st.tuples(all_series, st.integers(0, 5)), max_size=12))
    def test_a_reader_at_any_point_sees_all_that_is_whole(
        self, added: list[tuple[Series, int]]
    ) -> None:
        """After each entry a reader that has been there all along, and a new one, see it."""
        memory = private_memory()
        cells, along = Cells(memory), Reading(memory)
        whole: list[tuple[Series, tuple[float, ...]]] = []
        for number, (series, size) in enumerate(added):
            first = cells.add(series, size)
            assert first is not None
            for place in range(first, first + size):
                cells.values[place] = number
            whole.append((series, (float(number),) * size))
            self.assertEqual(list(along), whole)
            self.assertEqual(list(Reading(memory)), whole)

    @examples(40)
    @given(st.data())
    def test_a_writer_that_stopped_at_any_byte_leaves_whole_entries(
        self, data: st.DataObject
    ) -> None:
        """Of a directory of which only the beginning was stored, entries are whole or not there."""
        memory = private_memory()
        cells = Cells(memory)
        for number in range(4):
            cells.add(("family", (f"label{number}",)), 1)
        end = DIRECTORY + memoryview(memory)[8:16].cast("q")[0]
        stop = data.draw(st.integers(DIRECTORY, end))
        memory[stop:end] = bytes(end - stop)
        seen = [series[1][0] for series, _ in Reading(memory)]
        self.assertEqual(seen, [f"label{number}" for number in range(len(seen))])

    def test_two_may_read_at_once(self) -> None:
        """One who reads slowly and one who reads on meanwhile see the same."""
        memory = private_memory()
        cells, reading = Cells(memory), Reading(memory)
        cells.add(("a", ()), 1)
        slow = iter(reading)
        next(slow)
        cells.add(("b", ()), 1)
        self.assertEqual([series[0] for series, _ in reading], ["a", "b"])
        self.assertEqual([series[0] for series, _ in slow], ["b"])


class NonsenseTests(SynchronousTestCase):
    """A worker that went wrong does not take its supervisor along."""

    def read(self, payload: bytes) -> list[object]:
        """Return what is read of a directory with this entry, whose sum is right."""
        memory = private_memory()
        Cells(memory)
        octets = struct.pack("=II", zlib.crc32(payload), len(payload)) + payload
        memory[DIRECTORY : DIRECTORY + len(octets)] = octets
        memoryview(memory)[8:16].cast("q")[0] = len(octets)
        return list(Reading(memory))

    def test_an_entry_that_is_none_ends_the_reading(self) -> None:
        """What is no entry, or speaks of cells that are not there, is not read."""
        for payload in (
            b"",
            b"{}",
            b"null",
            b"[" * 100_000,
            b'["a", [], 0]',
            b'["a", null, 0, 1]',
            b'["a", [], -1, 1]',
            b'["a", [], 1, -1]',
            b'["a", [], 0, %d]' % (CELLS + 1),
            b'["a", [], Infinity, 1]',
            b'["a", [], NaN, 1]',
        ):
            self.assertEqual(self.read(payload), [], payload[:40])

    @examples(60)
    @given(st.binary(max_size=200), st.integers(-(2**63), 2**63 - 1))
    def test_any_octets_may_stand_there(self, octets: bytes, used: int) -> None:
        """No content of the memory raises."""
        memory = private_memory()
        memory[DIRECTORY : DIRECTORY + len(octets)] = octets
        memoryview(memory)[8:16].cast("q")[0] = used
        self.assertEqual(list(Reading(memory)), [])


class RoomTests(SynchronousTestCase):
    """Room ends, and that is said."""

    def test_there_are_so_many_cells(self) -> None:
        """What does not fit is refused, and what fits after it is not."""
        cells = Cells(private_memory())
        self.assertIsNone(cells.add(("a", ()), CELLS + 1))
        self.assertEqual(cells.add(("a", ()), CELLS), 0)
        self.assertIsNone(cells.add(("a", ()), 1))

    def test_the_directory_has_an_end(self) -> None:
        """No entry is written over the cells."""
        memory = private_memory()
        cells = Cells(memory)
        large = "x" * 1_000_000
        added = [cells.add((large, (str(number),)), 1) for number in range(8)]
        self.assertEqual(added, [0, 1, 2, 3, 4, 5, None, None])
        self.assertEqual(len(list(Reading(memory))), 6)
        self.assertEqual(memory[CELLS_AT:SIZE], bytes(SIZE - CELLS_AT))

    def test_each_process_has_its_own(self) -> None:
        """A memory with somebody's numbers is not taken for a new one."""
        memory = private_memory()
        Cells(memory)
        with self.assertRaises(ValueError) as caught:
            Cells(memory)
        self.assertEqual(
            str(caught.exception),
            "this memory holds another process's numbers; give each its own",
        )


WRITER = """
import os, sys
from pomeriumd.daemon.cells import Cells, mapped
cells = Cells(mapped(int(sys.argv[1])))
cells.add(("a", ("x",)), 1)
while True:
    cells.values[0] += 1
    if cells.values[0] == 1000:
        os.write(1, b"there")
"""


GROWER = """
import sys
from pomeriumd.daemon.cells import Cells, mapped
cells = Cells(mapped(int(sys.argv[1])))
for number in range(3000):
    first = cells.add(("a", (str(number), "x" * (number % 97))), 1)
    cells.values[first] = number
"""


class SharedTests(SynchronousTestCase):
    """Two processes."""

    def setUp(self) -> None:
        """Make a memory."""
        self.descriptor = shared_memory()
        self.addCleanup(os.close, self.descriptor)

    def test_a_killed_writer_loses_nothing(self) -> None:
        """What a process had counted when it was killed is there."""
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(self.descriptor)],
            stdout=subprocess.PIPE,
            pass_fds=[self.descriptor],
        )
        reading = Reading(mapped(self.descriptor))
        assert writer.stdout is not None
        with writer.stdout:
            self.assertEqual(writer.stdout.read(5), b"there")
            before = dict(reading)["a", ("x",)][0]
            writer.send_signal(signal.SIGKILL)
            writer.wait()
        self.assertGreaterEqual(dict(reading)["a", ("x",)][0], max(before, 1000))

    def test_a_reader_beside_a_writer_sees_whole_entries(self) -> None:
        """However often another process looks while entries come, each is whole and in order."""
        writer = subprocess.Popen(
            [sys.executable, "-c", GROWER, str(self.descriptor)], pass_fds=[self.descriptor]
        )
        along, seen = Reading(mapped(self.descriptor)), 0
        while seen < 3000:
            ended = writer.poll() is not None
            found = list(along)
            self.assertGreaterEqual(len(found), seen)
            for number, (series, (value,)) in enumerate(found):
                self.assertEqual(series, ("a", (str(number), "x" * (number % 97))))
                # The number is written after its entry: it may not be there yet.
                self.assertIn(value, (0, number))
            seen = len(found)
            self.assertFalse(ended and seen < 3000)
        self.assertEqual(writer.wait(), 0)

    def test_nobody_can_cut_it_shorter(self) -> None:
        """A worker cannot kill its supervisor by taking the memory away under it."""
        for size in (0, SIZE // 2, SIZE * 2):
            with self.assertRaises(PermissionError):
                os.ftruncate(self.descriptor, size)
