"""Promises of the PROXY header's parser: what is one is read, and nothing else is."""

from __future__ import annotations

import itertools
import socket
from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.net.proxy_protocol import (
    MOST,
    MOST_V1,
    BadHeader,
    End,
    Header,
    NeedMore,
    crc32c,
    parse,
)
from tests.support.proxy_headers import (
    CRC32C,
    LOCAL,
    NOOP,
    PROXY,
    SIGNATURE,
    TCP4,
    TCP6,
    UDP4,
    UDP6,
    UNIX_DATAGRAM,
    UNIX_STREAM,
    UNSPEC,
    Ends,
    block_of,
    summed,
    version1,
    version2,
)

FOUR: Ends = ("203.0.113.9", 56324, "192.0.2.10", 443)
SIX: Ends = ("2001:db8::9", 56324, "2001:db8::10", 443)

HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
"""The beginning of a TLS handshake."""

ports = st.integers(0, 65_535)
fours = st.tuples(st.ip_addresses(v=4).map(str), ports, st.ip_addresses(v=4).map(str), ports)


def plain6(address: IPv4Address | IPv6Address) -> str:
    """Return the address as inet_ntop writes it, which is what balancers do."""
    return socket.inet_ntop(socket.AF_INET6, address.packed)


sixes = st.tuples(st.ip_addresses(v=6).map(plain6), ports, st.ip_addresses(v=6).map(plain6), ports)
all_ends = fours | sixes
headers = st.one_of(
    all_ends.map(version1),
    all_ends.map(version2),
    all_ends.map(summed),
    st.builds(version2, all_ends, st.lists(st.tuples(st.just(NOOP), st.binary(max_size=40)))),
    st.sampled_from(
        [
            b"PROXY UNKNOWN\r\n",
            b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n",
            block_of(LOCAL, UNSPEC, b""),
            block_of(LOCAL, 0x99, b"anything"),
            block_of(PROXY, UNSPEC, b"anything"),
            block_of(PROXY, UDP4, bytes(12)),
            block_of(PROXY, UNIX_STREAM, bytes(216)),
        ]
    ),
)


def shown(host: str) -> str:
    """Return an address as the log shows it."""
    if ":" not in host:
        return str(IPv4Address(host))
    return str(IPv6Address(host).ipv4_mapped or IPv6Address(host))


class LawTests(SynchronousTestCase):
    """What holds for every header."""

    @given(all_ends, st.sampled_from([version1, version2, summed]), st.binary(max_size=40))
    def test_what_is_written_is_read(self, ends: Ends, write: object, rest: bytes) -> None:
        """Both versions bring both ends, and the size is that of the header alone."""
        assert callable(write)
        octets: bytes = write(ends)
        source, source_port, destination, destination_port = ends
        self.assertEqual(
            parse(octets + rest),
            Header(
                len(octets),
                End(shown(source), source_port),
                End(shown(destination), destination_port),
            ),
        )

    @given(headers, st.binary(max_size=40))
    def test_split_anywhere(self, octets: bytes, rest: bytes) -> None:
        """Every beginning wants more, and what follows changes nothing."""
        for size in range(len(octets)):
            self.assertEqual(parse(octets[:size]), NeedMore(), octets[:size])
        whole = parse(octets)
        assert isinstance(whole, Header)
        self.assertEqual((whole.size, parse(octets + rest)), (len(octets), whole))

    @given(st.one_of(st.binary(max_size=60), headers), st.data())
    def test_what_is_bad_stays_bad(self, octets: bytes, data: st.DataObject) -> None:
        """No byte that follows makes a header of what was refused."""
        if octets:
            at = data.draw(st.integers(0, len(octets) - 1))
            octets = octets[:at] + data.draw(st.binary(max_size=2)) + octets[at + 1 :]
        found = [type(parse(octets[:size])) for size in range(len(octets) + 1)]
        changes = [kind for kind, after in itertools.pairwise(found) if kind != after]
        self.assertIn(changes, ([], [NeedMore]))

    @given(all_ends, st.data())
    def test_a_checksum_covers_every_bit(self, ends: Ends, data: st.DataObject) -> None:
        """Whatever bit of the addresses is turned on the way, it is not read as a header."""
        turned = bytearray(summed(ends))
        # Behind the fixed bytes, and before what says that a checksum follows.
        at = data.draw(st.integers(8 * 16, 8 * (len(turned) - 17) - 1))
        turned[at // 8] ^= 1 << at % 8
        self.assertIsInstance(parse(bytes(turned)), BadHeader)

    @given(st.binary(max_size=200))
    def test_anything_is_something(self, octets: bytes) -> None:
        """No bytes raise, and none are asked to wait for longer than a header may be."""
        found = parse(octets)
        if isinstance(found, NeedMore):
            self.assertIsInstance(parse(octets + b"\xff" * MOST), BadHeader | Header)


class Version1Tests(SynchronousTestCase):
    """The line, section 2.1."""

    def refused(self, *lines: bytes) -> None:
        """Assert that none of these is a header, at once or in the end."""
        for line in lines:
            found = parse(line + b"X" * MOST_V1)
            self.assertIsInstance(found, BadHeader, line)

    def test_unknown_hides_both_ends(self) -> None:
        """UNKNOWN is a header without addresses, whatever stands behind the word."""
        for line in (b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ", b"PROXY UNKNOWN a b 1 x\r\n"):
            octets = line if line.endswith(b"\n") else line + b"f" * (105 - len(line)) + b"\r\n"
            self.assertEqual(parse(octets), Header(len(octets), None, None))

    def test_the_longest_line(self) -> None:
        """107 bytes are a line, and 108 are none, though its end follows."""
        line = b"PROXY UNKNOWN " + b"f" * 91 + b"\r\n"
        self.assertEqual(len(line), MOST_V1)
        self.assertIsInstance(parse(line), Header)
        self.assertIsInstance(parse(line[:-2] + b"f\r\n"), BadHeader)
        self.assertIsInstance(parse(line[:-2] + b"\r" + b"\r"), BadHeader)

    def test_ipv4_in_disguise(self) -> None:
        """An IPv4 client of a dual-stack balancer is known by its IPv4 address."""
        found = parse(version1(("::ffff:203.0.113.9", 1, "::ffff:c000:20a", 2)))
        assert isinstance(found, Header)
        self.assertEqual((found.source, found.destination), (("203.0.113.9", 1), ("192.0.2.10", 2)))

    def test_other_families(self) -> None:
        """An address of the other family is none, and so is another protocol."""
        self.refused(
            version1(FOUR).replace(b"TCP4", b"TCP6"),
            version1(SIX).replace(b"TCP6", b"TCP4"),
            version1(FOUR).replace(b"TCP4", b"UDP4"),
            version1(FOUR).replace(b"TCP4", b"tcp4"),
            version1(FOUR).replace(b"TCP4", b"TCP5"),
            b"PROXY UNKNOWNS\r\n",
            b"PROXY \r\n",
            b"PROXY\r\n",
            b"proxy TCP4 203.0.113.9 192.0.2.10 1 2\r\n",
        )

    def test_addresses_that_are_none(self) -> None:
        """Leading zeros, hexadecimal, short and long forms, zones and names are refused."""
        for host in (
            *(b"203.0.113.09", b"203.0.113", b"203.0.113.256", b"203.0.113.9.1", b"0x7f.0.0.1"),
            *(b"", b"3405803785", b"localhost", b"203.0.113.9/32", b" 203.0.113.9", b"1.2.3.-4"),
        ):
            self.refused(version1(FOUR).replace(b"203.0.113.9", host))
        for host in (
            b"2001:db8::9%eth0",
            b"2001::db8::9",
            b"1:2:3:4:5:6:7",
            b"[2001:db8::9]",
            b"g::",
        ):
            self.refused(version1(SIX).replace(b"2001:db8::9", host))

    def test_ports_that_are_none(self) -> None:
        """A port is 0 to 65535 in decimal, without a zero before it."""
        for port in (b"65536", b"056324", b"00", b"-1", b"+1", b"1e3", b"", b"99999", b"0x10"):
            self.refused(version1(FOUR).replace(b"56324", port))
        self.assertIsInstance(parse(version1(FOUR).replace(b"56324", b"0")), Header)

    def test_spaces_and_ends(self) -> None:
        """There is one space where there is one, and CRLF and nothing else ends the line."""
        good = version1(FOUR)
        self.refused(
            good.replace(b" 443", b"  443"),
            good.replace(b" 443", b"\t443"),
            good.replace(b"\r\n", b" \r\n"),
            good.replace(b"\r\n", b"\n"),
            good.replace(b"\r\n", b"\r"),
            good.replace(b"\r\n", b"\r\r\n"),
            good.replace(b"\r\n", b"\n\r\n"),
            good.replace(b"\r\n", b" extra\r\n"),
            good.replace(b"443", b"443\0"),
            good.replace(b" 443", b""),
            b"PROXY UNKNOWN \n\r\n",
            b"PROXY UNKNOWN \r\r\n",
            b"PROXY UNKNOWN \0\r\n",
            b"PROXY UNKNOWN \xff\r\n",
        )


class Version2Tests(SynchronousTestCase):
    """The binary header, section 2.2."""

    def test_local(self) -> None:
        """A LOCAL one is a header whose block is skipped, whatever is in it."""
        for family in (UNSPEC, TCP4, 0xFF):
            for block in (b"", bytes(12), b"\x03\0\x04none", b"x" * 300):
                octets = block_of(LOCAL, family, block)
                self.assertEqual(parse(octets + HELLO), Header(len(octets), None, None, local=True))

    def test_what_no_client_comes_by(self) -> None:
        """UDP, UNIX and unspecified ones are headers that say nothing of the client."""
        for family, size in (
            (UNSPEC, 0),
            (UNSPEC, 77),
            (UDP4, 12),
            (UDP6, 36),
            (UNIX_STREAM, 216),
            (UNIX_DATAGRAM, 216),
        ):
            octets = block_of(PROXY, family, bytes(size))
            self.assertEqual(parse(octets), Header(len(octets), None, None))

    def test_commands_and_families_that_there_are_not(self) -> None:
        """Of all values of these bytes those of the specification pass, as soon as they come."""
        commands = {
            value
            for value in range(256)
            if not isinstance(parse(SIGNATURE + bytes([value])), BadHeader)
        }
        self.assertEqual(commands, {LOCAL, PROXY})
        families = {
            value
            for value in range(256)
            if not isinstance(parse(SIGNATURE + bytes([PROXY, value])), BadHeader)
        }
        self.assertEqual(families, {UNSPEC, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32})

    def test_too_short_for_its_addresses(self) -> None:
        """A block that its addresses have no room in is refused, before it is there."""
        for family, size in ((TCP4, 12), (UDP4, 12), (TCP6, 36), (UDP6, 36), (UNIX_STREAM, 216)):
            for length in range(size):
                octets = block_of(PROXY, family, bytes(length))
                self.assertIsInstance(parse(octets[:16]), BadHeader)

    def test_too_long(self) -> None:
        """A header is as long as the bound at the most, whatever its command."""
        for command, family in ((PROXY, TCP4), (PROXY, UNSPEC), (LOCAL, UNSPEC)):
            for length in (MOST - 15, 65_535):
                fixed = SIGNATURE + bytes([command, family]) + length.to_bytes(2, "big")
                self.assertIsInstance(parse(fixed), BadHeader)
        longest = version2(FOUR, [(NOOP, bytes(MOST - 31))])
        self.assertEqual(len(longest), MOST)
        self.assertIsInstance(parse(longest), Header)

    def test_extensions_lie_within_the_length(self) -> None:
        """One that breaks off, or reaches beyond the header, is refused."""
        for tail in (b"\x04", b"\x04\0", b"\x04\0\x01", b"\x04\0\x05abcd", b"\x04\xff\xffabcd"):
            good = version2(FOUR)
            octets = block_of(PROXY, TCP4, good[16:] + tail)
            self.assertIsInstance(parse(octets + bytes(70_000)), BadHeader, tail)

    def test_checksums_that_are_none(self) -> None:
        """One that is wrong, twice there or of another size is refused."""
        good = summed(FOUR)
        self.assertIsInstance(parse(good), Header)
        right = good[-4:]
        for extensions in (
            [(CRC32C, bytes(4))],
            [(CRC32C, b"")],
            [(CRC32C, right + b"\0")],
            [(NOOP, b"padding"), (CRC32C, right), (CRC32C, right)],
        ):
            self.assertIsInstance(parse(version2(FOUR, extensions)), BadHeader, extensions)

    def test_the_checksum_is_the_known_one(self) -> None:
        """The check value of CRC-32C, and one of RFC 3720, B.4, come out."""
        self.assertEqual(crc32c(b"123456789"), 0xE3069283)
        self.assertEqual(crc32c(bytes(32)), 0x8A9136AA)


class OtherTests(SynchronousTestCase):
    """What begins in another way."""

    def test_says_what_came_instead(self) -> None:
        """The log can tell a balancer that sends no header from noise."""
        for octets, words in (
            (HELLO, "it begins with TLS, with no PROXY header before it"),
            (b"GET / HTTP/1.1\r\n", "it begins with plain HTTP, with no PROXY header before it"),
            (b"\r\n\r\n\0\r\nQUIX", "it does not begin with a PROXY header"),
            (b"\0", "it does not begin with a PROXY header"),
            (b" PROXY UNKNOWN\r\n", "it does not begin with a PROXY header"),
        ):
            self.assertEqual(parse(octets), BadHeader(words))
