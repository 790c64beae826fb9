"""PROXY headers as a balancer sends them; nothing of them is taken from our parser."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")

LOCAL, PROXY = 0x20, 0x21
UNSPEC, TCP4, UDP4, TCP6, UDP6, UNIX_STREAM, UNIX_DATAGRAM = 0, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32

CRC32C, NOOP = 0x03, 0x04

Ends = tuple[str, int, str, int]
"""Source and destination: host, port, host, port."""


def version1(ends: Ends) -> bytes:
    """Return the line for these ends."""
    source, source_port, destination, destination_port = ends
    family = "TCP6" if ":" in source else "TCP4"
    return f"PROXY {family} {source} {destination} {source_port} {destination_port}\r\n".encode()


def version2(ends: Ends, extensions: Iterable[tuple[int, bytes]] = ()) -> bytes:
    """Return the binary header for these ends, with these extensions after them."""
    source, source_port, destination, destination_port = ends
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    hosts = socket.inet_pton(family, source) + socket.inet_pton(family, destination)
    block = hosts + struct.pack("!HH", source_port, destination_port)
    return block_of(PROXY, TCP6 if ":" in source else TCP4, block + written(extensions))


def block_of(command: int, family: int, block: bytes) -> bytes:
    """Return a binary header with this block behind its fixed bytes."""
    return SIGNATURE + struct.pack("!BBH", command, family, len(block)) + block


def written(extensions: Iterable[tuple[int, bytes]]) -> bytes:
    """Return type-length-values."""
    return b"".join(struct.pack("!BH", kind, len(value)) + value for kind, value in extensions)


def summed(ends: Ends) -> bytes:
    """Return a binary header with a good checksum at its end, and padding before it."""
    blank = version2(ends, [(NOOP, b"padding"), (CRC32C, bytes(4))])
    return blank[:-4] + struct.pack("!I", _crc32c(blank))


def _crc32c(octets: bytes) -> int:
    """Divide bit by bit, as the definition does (RFC 4960, Appendix B)."""
    rest = 0xFFFFFFFF
    for octet in octets:
        rest ^= octet
        for _ in range(8):
            rest = rest >> 1 ^ (0x82F63B78 if rest & 1 else 0)
    return rest ^ 0xFFFFFFFF
