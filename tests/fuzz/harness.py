"""
What a harness is: a function that any octets may be given to, and what helps to find more.

Nothing here, and no harness, knows atheris: ``engine`` alone does, so that every seed and
every past finding runs in ``make test`` without it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import attrs

T = TypeVar("T")

FINDINGS = Path(__file__).parent / "findings"
"""One directory for each harness, one file for each input that something fell on."""


@attrs.frozen(kw_only=True)
class Harness:
    """One harness."""

    name: str
    check: Callable[[bytes], None]
    """Raises, whatever it raises, if the octets break a law."""
    seeds: tuple[bytes, ...]
    """What the search begins with: every law holds for them."""
    words: tuple[bytes, ...]
    """What the search puts in here and there: what it would hardly find by chance."""
    longest: int
    """Bytes of the longest input: it keeps one execution short, so that what takes too
    long is our doing and not the input's."""

    def findings(self) -> list[Path]:
        """Return the past findings, which hold now."""
        return sorted((FINDINGS / self.name).glob("*"))

    def plant(self, corpus: Path) -> None:
        """Write seeds and past findings, each under the name that libFuzzer gives it."""
        corpus.mkdir(parents=True, exist_ok=True)
        for octets in (*self.seeds, *(path.read_bytes() for path in self.findings())):
            name = hashlib.sha1(octets, usedforsecurity=False).hexdigest()
            (corpus / name).write_bytes(octets)

    def dictionary(self) -> str:
        """Return the words as a dictionary file of libFuzzer's."""
        lines = ("".join(f"\\x{octet:02x}" for octet in word) for word in self.words)
        return "".join(f'"{line}"\n' for line in lines)


class Input:
    """Octets of the fuzzer's, spent piece by piece; used up, it gives zeros and nothing."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._at = 0

    def number(self) -> int:
        """Return 0 to 255."""
        return int.from_bytes(self.octets(1), "big")

    def one_of(self, choices: tuple[T, ...]) -> T:
        """Return one of some things."""
        return choices[self.number() % len(choices)]

    def octets(self, size: int) -> bytes:
        """Return so many octets, or what is left."""
        piece = self._octets[self._at : self._at + size]
        self._at += size
        return piece

    def line(self) -> bytes:
        """Return what comes before the next line feed."""
        line, _, _ = self._octets[self._at :].partition(b"\n")
        self._at += len(line) + 1
        return line

    def text(self, size: int) -> str:
        """Return so many octets as text, lone surrogates among it: JSON can bring those."""
        octets = self.octets(size)
        try:
            return octets.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return octets.decode("latin-1")

    @property
    def left(self) -> bool:
        """Whether there is more."""
        return self._at < len(self._octets)

    def rest(self) -> bytes:
        """Return all that is left."""
        return self.octets(len(self._octets))


def cuttings(octets: bytes, where: int) -> Iterator[list[bytes]]:
    """
    Give the same octets in several cuttings, whole first.

    Args:
        octets: what arrives.
        where: a number of the fuzzer's, for one cut.
    """
    yield [octets]
    yield [octets[at : at + 1] for at in range(len(octets))]
    cut = where * len(octets) // 256
    yield [octets[:cut], octets[cut:]]


def the_same(outcomes: Iterable[T]) -> T:
    """Return the outcome that all cuttings have; what they differ in is a finding."""
    first, *others = outcomes
    for other in others:
        assert other == first, f"whole: {first!r}\nin pieces: {other!r}"
    return first
