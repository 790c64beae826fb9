"""The manual's numbers about memory are those of the code."""

from __future__ import annotations

import importlib

import attrs
from twisted.internet.abstract import FileDescriptor
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.http.host import authority
from pomeriumd.http.request_heads import BLOCKS_SIZE
from pomeriumd.net import transport
from pomeriumd.settings import memory
from pomeriumd.settings.memory import CONNECTION, KIB, MIB, WORKER, Held, section
from tests.support import held


def constant(name: str) -> object:
    """Return what stands under ``module.NAME``, or the default at ``module.Class.attribute``."""
    holder, _, last = name.rpartition(".")
    if holder.rpartition(".")[2].istitle():
        module, _, of = holder.rpartition(".")
        return attrs.fields_dict(getattr(importlib.import_module(module), of))[last].default
    return getattr(importlib.import_module(holder), last)


def row(what: str) -> Held:
    """Return the row that begins so."""
    return next(one for one in WORKER if one.what.startswith(what))


class ConstantsTests(SynchronousTestCase):
    """A bound in the manual is the bound in the code."""

    def test_every_bound(self) -> None:
        """Each number of the tables is that of the constant behind it."""
        for one in (*WORKER, *CONNECTION):
            for name, value in one.bounds:
                self.assertEqual((name, constant(name)), (name, value))

    def test_numbers_in_sentences(self) -> None:
        """Those that stand in no row are right as well."""
        self.assertEqual(transport.UNSENT_SIZE, memory.UNSENT)
        self.assertIn(f"{authority.cache_info().maxsize:,} hosts", row("Names of fields").most)

    def test_what_waits_for_a_slow_client(self) -> None:
        """Twisted pauses who writes at as many bytes as we hold."""
        self.assertEqual(FileDescriptor.bufferSize, transport.HELD_SIZE)
        self.assertEqual(
            next(one.size for one in CONNECTION if one.what.startswith("An answer that")),
            transport.HELD_SIZE + transport.READ_SIZE,
        )

    def test_the_whole_is_in_the_manual(self) -> None:
        """Every row is, with its numbers in place of their names."""
        text = section()
        self.assertNotIn("{", text)
        for one in (*WORKER, *CONNECTION):
            self.assertIn(one.count, text)


class WeightTests(SynchronousTestCase):
    """Each memory, filled with what takes the most, weighs no more than the manual says."""

    def weigh(self, what: str, weight: float) -> None:
        """Compare; a table that says much more than there is would be no use either."""
        most = row(what).size
        self.assertTrue(most / 4 < weight <= most, f"{what}: {weight / MIB:.1f} MiB")

    def test_sessions(self) -> None:
        """With as many groups as a session can have."""
        self.weigh("Sessions", held.taken(held.sessions(200, 250)) * 40)

    def test_decisions(self) -> None:
        """With as many and as long reasons as an answer may have."""
        self.weigh("Decisions", held.taken(held.decisions(32, 64, 1_000)) * 10)

    def test_assertions(self) -> None:
        """With many groups: the bytes are the bound, and not the number."""
        self.weigh("Signed", held.taken(held.assertions(150, 1_600)))

    def test_lines(self) -> None:
        """As many and as long as may be."""
        self.weigh("Request lines", held.taken(held.lines(256, 4_096)))

    def test_offers(self) -> None:
        """Both sets."""
        self.weigh("Hashes", held.taken(held.offers))

    def test_names(self) -> None:
        """All that is made of names."""
        self.weigh("Names of fields", held.taken(held.small_things))

    def test_log(self) -> None:
        """The lines that wait."""
        self.weigh("Log lines", held.taken(held.log))

    def test_numbers(self) -> None:
        """With every series that there may be."""
        self.weigh("Numbers", held.taken(held.tally))

    def test_routes(self) -> None:
        """What one more adds, and not the pages that each generation has."""
        both = [held.taken(held.generation(count)) for count in (100, 300)]
        self.weigh("Routes", (both[1] - both[0]) / 200 * 10_000)

    def test_blocks(self) -> None:
        """Fields as small as may be, as many as their bytes let in, and no name shared."""
        # Strangers' names came first, so that there is no room for these.
        held.heads(lambda number: b"\r\nhost: a\r\nx-%d: 1\r\n\r\n" % number, 0, 2_100)()
        each = held.taken(held.heads(held.tiny, 4, 256)) / 256
        self.weigh("Header fields", each * BLOCKS_SIZE / len(held.tiny(1)))

    def test_a_browsers_session(self) -> None:
        """What is usual is that, too: 2 KiB a session."""
        self.assertLess(held.taken(held.sessions(3, 250)) / 250, 2.2 * KIB)
