"""
The first bytes of a connection at a port that expects PROXY headers.

Laws: nothing raises; of a header every beginning wants more, and what follows changes nothing;
what is bad stays bad; a port that takes the header piece by piece leaves all that follows, and
nothing of the header; the addresses are those that the C library reads in the same bytes, and are
written in the one form that our lists compare; no header is longer than the bound.
"""

from __future__ import annotations

import itertools
import socket
import struct
from collections.abc import Iterable
from ipaddress import ip_address

from pomeriumd.net.proxy_protocol import MOST, BadHeader, End, Header, NeedMore, parse
from tests.fuzz.harness import Harness, Input, cuttings, the_same
from tests.support.proxy_headers import (
    LOCAL,
    NOOP,
    PROXY,
    SIGNATURE,
    UNIX_STREAM,
    UNSPEC,
    Ends,
    block_of,
    summed,
    version1,
    version2,
)

_FAMILIES = {b"TCP4": socket.AF_INET, b"TCP6": socket.AF_INET6}


def taken(pieces: Iterable[bytes]) -> tuple[Header, bytes] | None:
    """Take a header from pieces as the port does; what it leaves, None if it refuses or waits."""
    had, there = b"", b""
    for piece in pieces:
        there += piece
        found = parse(had + there)
        if isinstance(found, BadHeader):
            return None
        if isinstance(found, Header):
            # All that is in front of the end is taken already, but for this.
            left = there[found.size - len(had) :]
            return found, left + b"".join(pieces)
        had, there = had + there, b""
        assert len(had) <= MOST
    return None


def check(octets: bytes) -> None:
    """Hold every law for the first bytes of a connection."""
    given = Input(octets)
    where, wire = given.number(), given.rest()
    kinds = [type(parse(wire[:size])) for size in range(len(wire) + 1)]
    turns = [(a, b) for a, b in itertools.pairwise(kinds) if a is not b]
    assert turns in ([], [(NeedMore, Header)], [(NeedMore, BadHeader)]), turns
    found = the_same(taken(iter(pieces)) for pieces in cuttings(wire, where))
    if found is None:
        assert kinds[-1] is not Header
        return
    header, left = found
    assert wire[header.size :] == left
    assert header.size <= MOST
    assert kinds.index(Header) == header.size
    assert (header.source, header.destination) == _read_again(wire[: header.size]), header


def _read_again(header: bytes) -> tuple[End, End] | tuple[None, None]:
    """Read a good header once more, with the C library's readers of addresses."""
    if header.startswith(b"PROXY "):
        _, kind, *words = header[:-2].split(b" ")
        if kind == b"UNKNOWN":
            return None, None
        hosts = [socket.inet_pton(_FAMILIES[kind], word.decode()) for word in words[:2]]
        ports = [int(word) for word in words[2:]]
    else:
        assert header.startswith(SIGNATURE)
        if header[12] == LOCAL or header[13] not in (0x11, 0x21):
            return None, None
        size = 4 if header[13] == 0x11 else 16
        *hosts, first, second = struct.unpack_from(f"!{size}s{size}sHH", header, 16)
        ports = [first, second]
    source, destination = (End(_plain(host), port) for host, port in zip(hosts, ports, strict=True))
    return source, destination


def _plain(host: bytes) -> str:
    if host[:12] == bytes(10) + b"\xff\xff":
        host = host[12:]
    return str(ip_address(host))


_FOUR: Ends = ("203.0.113.9", 56324, "192.0.2.10", 443)
_SIX: Ends = ("2001:db8::9", 56324, "::ffff:192.0.2.10", 443)

_HEADERS = (
    version1(_FOUR),
    version1(_SIX),
    version2(_FOUR),
    version2(_SIX),
    summed(_FOUR),
    version2(_SIX, [(NOOP, b"abc"), (1, b"h2"), (2, b"app.example.test")]),
    b"PROXY UNKNOWN\r\n",
    b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n",
    block_of(LOCAL, UNSPEC, b""),
    block_of(LOCAL, 0xFF, b"xyz"),
    block_of(PROXY, UNSPEC, b"xyz"),
    block_of(PROXY, UNIX_STREAM, bytes(216)),
    b"PROXY TCP4 203.0.113.09 192.0.2.10 1 2\r\n",
    b"PROXY UNKNOWN \r\r\n",
    version2(_FOUR, [(3, bytes(4))]),
    b"GET / HTTP/1.1\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00",
)

HARNESS = Harness(
    name="proxy_header",
    check=check,
    seeds=tuple(b"\x80" + header + tail for header in _HEADERS for tail in (b"", b"\x16\x03\x01")),
    words=(
        SIGNATURE,
        SIGNATURE + b"\x21\x11\0\x0c",
        SIGNATURE + b"\x21\x21\0\x24",
        SIGNATURE + b"\x20\0\0\0",
        b"PROXY ",
        b"PROXY TCP4 ",
        b"PROXY TCP6 ",
        b"PROXY UNKNOWN",
        b"\r\n",
        b" 65535",
        b" 1.2.3.4",
        b" ::ffff:1.2.3.4",
        b"\x03\0\x04",
        b"\x04\0\0",
    ),
    longest=512,
)
