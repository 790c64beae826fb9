"""
How one text can be spelled, and how one path can be read: the stuff of families.

Everything here is made by rule, and by no code of the product's.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from itertools import chain, product
from urllib.parse import unquote_to_bytes


def _resolved(path: bytes) -> bytes:
    kept: list[bytes] = []
    for segment in path.split(b"/"):
        if segment == b"..":
            kept = kept[:-1]
        elif segment not in (b"", b"."):
            kept.append(segment)
    return b"/" + b"/".join(kept)


def _overlong(path: bytes) -> bytes:
    return path.replace(b"\xc0\xaf", b"/").replace(b"\xc0\xae", b".")


LENIENT: tuple[Callable[[bytes], bytes], ...] = (
    unquote_to_bytes,
    _resolved,
    _overlong,
    lambda path: path.replace(b"\\", b"/"),
    lambda path: re.sub(rb";[^/]*", b"", path),
    lambda path: re.split(rb"[#?\0]", path)[0],
)
"""What backends are known to do to a path before they serve it."""


def readings(path: bytes) -> set[bytes]:
    """Return every path that some backend may read in this one."""
    found, fresh = {path}, {path}
    while fresh:
        fresh = {read(one) for one in fresh for read in LENIENT} - found
        found |= fresh
    return found


def each_way(text: bytes) -> Iterator[bytes]:
    """Give a text with each one character escaped, each two, and all of them."""
    places = range(len(text))
    for chosen in chain(product(places, places), [tuple(places)]):
        for shape in (b"%%%02X", b"%%%02x"):
            yield b"".join(
                shape % octet if at in chosen else bytes([octet]) for at, octet in enumerate(text)
            )


def in_cases(text: bytes) -> tuple[bytes, ...]:
    """Return a word in every mixture of capitals."""
    letters = (sorted({octet, octet ^ 0x20}) if chr(octet).isalpha() else [octet] for octet in text)
    return tuple(bytes(octets) for octets in product(*letters))


def lookalikes(text: str) -> Iterator[tuple[str, str]]:
    """Give each character that Unicode folds into one of these, with that one."""
    letters = set(text)
    for code in chain(range(0x80, 0x3000), range(0xFB00, 0x10000), range(0x1D400, 0x1D800)):
        character = chr(code)
        for folded in {
            unicodedata.normalize("NFKC", character),
            character.casefold(),
            character.lower(),
            unicodedata.normalize("NFKC", character).casefold(),
        }:
            if folded in letters:
                yield character, folded
