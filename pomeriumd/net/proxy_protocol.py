"""
The header with which a TCP balancer says for whom it connects: PROXY protocol, 1 and 2.

Pure: bytes in, and whether they are a whole header, the beginning of one, or none. Nothing is
guessed. Where the specification lets a receiver choose, the choice is the strict one.

Source: HAProxy's proxy-protocol.txt, sections 2.1 (version 1) and 2.2 (version 2). The sections
named here are of that text.
"""

from __future__ import annotations

import re
import struct
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import NamedTuple

import attrs

MOST_V1 = 107
"""Bytes of the longest line, its end included; section 2.1."""

MOST = 4_096
"""Bytes of the longest header. The length field would allow 65,551, and all that is meant to come
has room in a TCP segment of 536 (section 2); the rest is for a certificate's name and the like."""

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
"""What version 2 begins with; section 2.2."""

_V1 = b"PROXY "
_FIXED = len(SIGNATURE) + 4
"""Bytes of version 2 before the addresses."""

_LOCAL, _PROXY = 0x20, 0x21
_UNSPEC, _TCP4, _TCP6 = 0x00, 0x11, 0x21

_SIZES = {_TCP4: 12, 0x12: 12, _TCP6: 36, 0x22: 36, 0x31: 216, 0x32: 216}
"""Bytes of the addresses, for each family and transport that has some; section 2.2."""

_CRC32C, _CRC32C_SIZE = 0x03, 4

HIGHEST_PORT = 65_535

_line = re.compile(
    rb"PROXY TCP([46]) ([0-9A-Fa-f:.]{1,45}) ([0-9A-Fa-f:.]{1,45})"
    rb" (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})"
).fullmatch

_unknown = re.compile(rb"PROXY UNKNOWN(?: .*)?").fullmatch

_printable = re.compile(rb"[ -~]*").fullmatch


class End(NamedTuple):
    """One end of the client's connection."""

    host: str
    """An address in its canonical form; IPv4 where it is IPv4 dressed as IPv6."""
    port: int


@attrs.frozen
class NeedMore:
    """The beginning of a header. All of these bytes are the header's: nothing follows it yet."""


@attrs.frozen
class Header:
    """A whole header."""

    size: int
    """Bytes of it; what follows is not ours to touch."""
    source: End | None
    """The client. None: the connection is to be taken for its own socket's, because the balancer
    itself is the client (``local``), or because it does not say who is."""
    destination: End | None
    """Where the client connected to; None with ``source``."""
    local: bool = False
    """The balancer connects on its own behalf, as to see whether we are well."""


@attrs.frozen
class BadHeader:
    """No header, and no bytes that follow can make it one."""

    why: str
    """For the log; holds nothing of what came."""


Parsed = NeedMore | Header | BadHeader

NEED_MORE = NeedMore()


class _Bad(Exception):
    """No header; the text says why."""


def parse(octets: bytes) -> Parsed:
    """
    Return what the first bytes of a connection are.

    A whole header stays the same whatever follows it, and what is bad stays bad.
    """
    try:
        if octets[: len(_V1)] == _V1[: len(octets)]:
            return _text(octets)
        if octets[: len(SIGNATURE)] == SIGNATURE[: len(octets)]:
            return _binary(octets)
    except _Bad as bad:
        return BadHeader(str(bad))
    return BadHeader(_looks_like(octets))


def _looks_like(octets: bytes) -> str:
    """Say what somebody sends who sends no header: it tells what is set up wrongly."""
    if octets[:1] == b"\x16":
        return "it begins with TLS, with no PROXY header before it"
    if re.match(rb"[A-Z]{3,7} ", octets):
        return "it begins with plain HTTP, with no PROXY header before it"
    return "it does not begin with a PROXY header"


# Version 1


def _text(octets: bytes) -> NeedMore | Header:
    line, end, _ = octets[:MOST_V1].partition(b"\r\n")
    # A lone CR or LF would end the line for another reader. The last CR may be half of its end.
    if not _printable(line if end else line.removesuffix(b"\r")):
        raise _Bad("a byte in the line of PROXY protocol 1 is no printable ASCII")
    if not end:
        if len(octets) >= MOST_V1:
            raise _Bad(f"no line of PROXY protocol 1 ends within {MOST_V1} bytes")
        return NEED_MORE
    size = len(line) + 2
    if _unknown(line):
        return Header(size, None, None)
    found = _line(line)
    if found is None:
        raise _Bad("the line of PROXY protocol 1 is not as it has to be")
    family, *words = (word.decode("ascii") for word in found.groups())
    source, destination = (_address(word, family) for word in words[:2])
    return Header(size, End(source, _port(words[2])), End(destination, _port(words[3])))


def _address(text: str, family: str) -> str:
    try:
        return str(IPv4Address(text)) if family == "4" else _shown(IPv6Address(text))
    except AddressValueError as error:
        raise _Bad(
            f"an address in the line of PROXY protocol 1 is no IPv{family} address"
        ) from error


def _port(text: str) -> int:
    port = int(text)
    if port > HIGHEST_PORT:
        raise _Bad(f"a port in the line of PROXY protocol 1 is above {HIGHEST_PORT}")
    return port


def _shown(address: IPv6Address) -> str:
    """Return IPv4 in disguise as what it is: it would slip past every list that names it."""
    return str(address.ipv4_mapped or address)


# Version 2


def _binary(octets: bytes) -> NeedMore | Header:
    # What is bad is so as soon as it is there. The family of a LOCAL one is ignored.
    command, family = (octets[at] if len(octets) > at else None for at in (12, 13))
    if command not in (None, _LOCAL, _PROXY):
        raise _Bad("the version or command of PROXY protocol 2 is none that there is")
    if command == _PROXY and family not in (None, _UNSPEC, *_SIZES):
        raise _Bad("the family or transport of PROXY protocol 2 is none that there is")
    if len(octets) < _FIXED:
        return NEED_MORE
    (length,) = struct.unpack_from("!H", octets, _FIXED - 2)
    size = _FIXED + length
    if size > MOST:
        raise _Bad(f"the header of PROXY protocol 2 has {size} bytes, over {MOST}")
    # What stands in these two is discarded unseen, as the specification wants it.
    hidden = command == _LOCAL or family == _UNSPEC
    addresses = 0 if hidden else _SIZES[octets[_FIXED - 3]]
    if length < addresses:
        raise _Bad("the header of PROXY protocol 2 is too short for its addresses")
    if len(octets) < size:
        return NEED_MORE
    if hidden:
        return Header(size, None, None, local=command == _LOCAL)
    _check_extensions(octets[:size], _FIXED + addresses)
    return _told(octets, size)


def _told(octets: bytes, size: int) -> Header:
    """Return the addresses, in network byte order, and then the ports."""
    family = octets[_FIXED - 3]
    if family == _TCP4:
        four = struct.unpack_from("!4s4sHH", octets, _FIXED)
        source, destination = (str(IPv4Address(host)) for host in four[:2])
        return Header(size, End(source, four[2]), End(destination, four[3]))
    if family == _TCP6:
        six = struct.unpack_from("!16s16sHH", octets, _FIXED)
        source, destination = (_shown(IPv6Address(host)) for host in six[:2])
        return Header(size, End(source, six[2]), End(destination, six[3]))
    # UDP and UNIX: no client of ours can have come so. It is as if nothing had been said.
    return Header(size, None, None)


def _check_extensions(header: bytes, at: int) -> None:
    """Walk over the type-length-values; of the checksum alone is it asked what it says."""
    checked = False
    while at < len(header):
        value = at + 3
        if value > len(header):
            raise _Bad("an extension in the header of PROXY protocol 2 breaks off")
        kind, length = struct.unpack_from("!BH", header, at)
        at = value + length
        if at > len(header):
            raise _Bad("an extension in the header of PROXY protocol 2 is longer than the header")
        if kind != _CRC32C:
            continue
        if checked or length != _CRC32C_SIZE:
            raise _Bad("the checksum of PROXY protocol 2 is there twice, or has not 4 bytes")
        checked = True
        blank = header[:value] + bytes(length) + header[at:]
        if crc32c(blank) != int.from_bytes(header[value:at], "big"):
            raise _Bad("the checksum of PROXY protocol 2 is wrong")


def _row(number: int) -> int:
    for _ in range(8):
        number = (number >> 1) ^ (0x82F63B78 if number & 1 else 0)
    return number


_ROWS = tuple(_row(number) for number in range(256))


def crc32c(octets: bytes) -> int:
    """Return the CRC32c of the bytes (RFC 4960, Appendix B); 5 µs for a usual header."""
    crc = 0xFFFFFFFF
    for octet in octets:
        crc = (crc >> 8) ^ _ROWS[(crc ^ octet) & 0xFF]
    return crc ^ 0xFFFFFFFF
