"""Every seed and every past finding holds; and what the search leans on does what it says."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from tests.fuzz.__main__ import Outcome, read
from tests.fuzz.every import NAMES, load
from tests.fuzz.harness import FINDINGS, Harness, Input, cuttings, the_same


class HarnessTests(SynchronousTestCase):
    """The harnesses, without atheris."""

    def holds(self, name: str, octets: bytes, which: str) -> None:
        """Run one input, and name it if a law is broken."""
        try:
            load(name).check(octets)
        except Exception as broken:
            raise AssertionError(f"{name}, {which}: {broken!r}") from broken

    def test_every_seed(self) -> None:
        """What a search begins with breaks no law."""
        for name in NAMES:
            for number, octets in enumerate(load(name).seeds):
                self.holds(name, octets, f"seed {number}")

    def test_every_finding(self) -> None:
        """What a search once fell on stays mended."""
        found = sorted(FINDINGS.glob("*/*"))
        self.assertTrue(found)
        for path in found:
            self.holds(path.parent.name, path.read_bytes(), path.name)

    def test_inputs_fit(self) -> None:
        """No seed and no finding is longer than a search may make them."""
        long = [
            (name, len(octets))
            for name in NAMES
            for octets in (*load(name).seeds, *(p.read_bytes() for p in load(name).findings()))
            if len(octets) > load(name).longest
        ]
        self.assertEqual(long, [])


class PartsTests(SynchronousTestCase):
    """What harnesses are made of."""

    def test_cuttings(self) -> None:
        """Each cutting gives the same octets, the first in one piece."""
        pieces = list(cuttings(b"abcd", 128))
        self.assertEqual(pieces, [[b"abcd"], [b"a", b"b", b"c", b"d"], [b"ab", b"cd"]])

    def test_a_difference_is_a_finding(self) -> None:
        """Outcomes that differ do not pass."""
        self.assertEqual(the_same([1, 1]), 1)
        self.assertRaises(AssertionError, the_same, [1, 1, 2])

    def test_input(self) -> None:
        """Octets are spent in order; then there are zeros and nothing."""
        given = Input(b"\x05ab\ncd\xff\xc3\xa9")
        self.assertEqual(
            [given.number(), given.line(), given.octets(2), given.text(1), given.rest()],
            [5, b"ab", b"cd", "\xff", b"\xc3\xa9"],
        )
        self.assertEqual([given.left, given.number(), given.line()], [False, 0, b""])

    def test_plants_what_libfuzzer_reads(self) -> None:
        """Seeds lie there as files, and words are escaped octet by octet."""
        harness = Harness(
            name="none", check=lambda _: None, seeds=(b"a", b"b"), words=(b"\\\n",), longest=9
        )
        with TemporaryDirectory() as place:
            harness.plant(Path(place))
            planted = sorted(path.read_bytes() for path in Path(place).iterdir())
        self.assertEqual(planted, [b"a", b"b"])
        self.assertEqual(harness.dictionary(), '"\\x5c\\x0a"\n')


class LogTests(SynchronousTestCase):
    """read() makes one line of what libFuzzer says."""

    def test_a_clean_run(self) -> None:
        """The last figures count."""
        log = (
            "#2\tINITED cov: 5 ft: 6 corp: 1/1b exec/s: 0\n"
            "#9\tDONE   cov: 12 ft: 30 corp: 4/9b lim: 9 exec/s: 1\n"
            "stat::number_of_executed_units: 9\n"
        )
        self.assertEqual(read(log, failed=False), Outcome(9, 12, 4, "", failed=False))

    def test_a_finding(self) -> None:
        """The file that holds it is named."""
        log = "stat::number_of_executed_units: 3\nTest unit written to build/x/crash-1\n"
        self.assertEqual(read(log, failed=True), Outcome(3, 0, 0, "build/x/crash-1", failed=True))

    def test_what_never_ran_is_not_clean(self) -> None:
        """Nothing done is no success."""
        self.assertTrue(read("", failed=False).failed)
