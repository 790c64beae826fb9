"""
Bodies in the chunked coding, as client and upstream send them.

Laws: nothing but a BadMessage refuses; every cutting gives the same body, trailers and rest;
h11 reads the same from what we take; nothing is made up: what comes out is no more than what
went in, and what is held back is bounded; what we write, we and h11 read as what it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from pomeriumd.errors import BadMessage
from pomeriumd.http.chunked import ChunkedReader
from pomeriumd.http.events import Field
from pomeriumd.http.fields import ENDS_HERE
from pomeriumd.http.outgoing import CHUNKED
from tests.fuzz.harness import Harness, Input, cuttings, the_same
from tests.fuzz.second_reader import requests

BOUND = 64
"""Bytes of extensions, and of trailers: few, so that short inputs reach it."""

LINE = 256
"""Bytes of the longest size line."""

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

_NOT_BEHIND = ENDS_HERE | {b"authorization", b"cookie", b"set-cookie", b"x-forwarded-for"}
"""What a backend that merges trailers into the head must not find there, however it folds
names."""


class Taken(NamedTuple):
    """What the bytes of a body mean."""

    body: bytes
    trailers: tuple[Field, ...]
    rest: bytes
    ended: bool


def taken(pieces: Iterable[bytes], bound: int = BOUND) -> Taken | None:
    """Read a body; None if it is refused."""
    reader = ChunkedReader(bound)
    body, came = b"", 0
    rest = b""
    try:
        for piece in pieces:
            if reader.ended:
                rest += piece
                continue
            came += len(piece)
            body += reader.feed(piece)
            assert len(body) <= came, "more came out than went in"
            # Over the public surface: what is neither given nor part of a chunk's framing
            # can only be held, and may not be more than one line or the trailers.
            assert reader.ended or not reader.rest
    except BadMessage:
        return None
    return Taken(body, reader.trailers, reader.rest + rest, reader.ended)


def check(octets: bytes) -> None:
    """Hold every law for the bytes of a body."""
    given = Input(octets)
    where, wire = given.number(), given.rest()
    said = the_same(taken(pieces) for pieces in cuttings(wire, where))
    if said is None:
        return
    _h11_reads_the_same(wire, said)
    names = {re.sub(rb"[^a-z0-9]", b"-", name) for name, _ in said.trailers}
    assert names.isdisjoint(_NOT_BEHIND), said
    if said.ended:
        assert wire.endswith(said.rest)
        _written_again(wire, where, said)


def _h11_reads_the_same(wire: bytes, said: Taken) -> None:
    """Compare what both make of the bytes."""
    [message, *_], _ = requests(HEAD + wire)
    assert (message.body, message.whole) == (said.body, said.ended), (said, message)
    assert message.has(said.trailers), (said, message)


def _written_again(wire: bytes, where: int, said: Taken) -> None:
    """Write the body as we pass it on, in two pieces, and read it in both readers."""
    cut = where * len(said.body) // 256
    pieces = [CHUNKED.data(piece) for piece in (said.body[:cut], said.body[cut:])]
    written = b"".join([*pieces, CHUNKED.end(said.trailers)])
    assert taken([written], 2 * BOUND + len(wire)) == said._replace(rest=b""), (said, written)
    [message], refused = requests(HEAD + written)
    assert not refused, written
    assert (message.body, message.whole) == (said.body, True), (said, message)
    assert message.trailers == list(said.trailers), (said, message)


_BODIES = (
    b"0\r\n\r\n",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\nGET / HTTP/1.1\r\n",
    b'0005;a=b;c="d"\r\nhello\r\n000\r\n\r\n',
    b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-Other: a b\r\n\r\n",
    b"5\r\nhello\r\n0\r\nHost: evil\r\nContent-Length: 1\r\nX_Forwarded_For: 1\r\n\r\n",
    b"5\r\nhel",
    b"5\r\nhelloX\r\n",
    b"5\nhello\n0\n\n",
    b"ffffffffffffffff\r\nx",
    b"10000000000000000\r\nx",
    b"0x5\r\nhello\r\n0\r\n\r\n",
    b"+5\r\nhello\r\n0\r\n\r\n",
    b" 5\r\nhello\r\n0\r\n\r\n",
    b"5 \r\nhello\r\n0\r\n\r\n",
    b"5;" + b"x" * 70 + b"\r\nhello\r\n0\r\n\r\n",
    b"1;xxxxxxxx\r\na\r\n" * 10 + b"0\r\n\r\n",
    b"0\r\nX: " + b"x" * 70 + b"\r\n\r\n",
    b"0\r\nfolded: a\r\n b\r\n\r\n",
    b"0\r\ncontent_length: 1\r\nAuthorization: x\r\nSet.Cookie: a=b\r\n\r\n",
    b"5\r\nhelloXX0\r\n\r\n",
)

HARNESS = Harness(
    name="chunked",
    check=check,
    seeds=tuple(b"\x80" + body for body in _BODIES),
    words=(
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"\r",
        b"0\r\n\r\n",
        b"0\r\n",
        b";a=b",
        b'="\r\n"',
        b"ffffffffffffffff",
        b"Transfer-Encoding: ",
        b"X: y\r\n",
        b"\x00",
        b"\xff",
        b"\x0b",
    ),
    longest=1_024,
)
