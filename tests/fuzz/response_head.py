"""
Answers: what an upstream sends, through parser and daemon to a client.

Laws: nothing but UpstreamBroken refuses; every cutting means the same; what we take, h11
takes from the same bytes as the same answer; the client reads that answer or a page of
ours, and of a broken one never a whole one; nothing behind an answer goes to anybody.
"""

from __future__ import annotations

from typing import NamedTuple

import attrs

from pomeriumd.errors import UpstreamBroken
from pomeriumd.http.client1 import Client1
from pomeriumd.http.events import Data, End, Response
from pomeriumd.http.fields import ENDS_HERE, field_lines
from pomeriumd.http.limits import Limits
from tests.fuzz.daemon import nothing_of_ours_fails
from tests.fuzz.harness import Harness, Input, cuttings, the_same
from tests.fuzz.second_reader import Message, response
from tests.support.rig import Rig
from tests.support.settings import route

RIG = Rig(route(allow_public_unauthenticated_access=True, allow_websockets=True))

LIMITS = Limits()

TIGHT = Limits(response_head_size=96, trailer_size=24, interim=2)
"""Bounds that short inputs reach."""

SWITCHING = 101


@attrs.frozen
class Asked:
    """The request that is answered."""

    method: bytes
    length: int = 0
    sent: int = 0
    """Bytes of its body that are out when the answer comes."""
    upgrade: bytes | None = None

    def octets(self) -> bytes:
        """Return what a client sends."""
        fields = [b"%b /x HTTP/1.1" % self.method, b"host: app.example.com"]
        if self.length:
            fields.append(b"content-length: %d" % self.length)
        if self.upgrade is not None:
            fields += [
                b"connection: upgrade",
                b"upgrade: " + self.upgrade,
                b"sec-websocket-version: 13",
                b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
            ]
        return b"\r\n".join([*fields, b"", b"b" * self.sent])


REQUESTS = (
    Asked(b"GET"),
    Asked(b"HEAD"),
    Asked(b"POST", 4, 4),
    Asked(b"POST", 4, 2),
    Asked(b"GET", upgrade=b"websocket"),
)


class Heard(NamedTuple):
    """What an upstream's bytes mean."""

    head: Response | None
    body: bytes
    end: End | None
    broken: bool
    reusable: bool


def heard(asked: Asked, pieces: list[bytes], end: int, limits: Limits = LIMITS) -> Heard:
    """
    Read an answer.

    Args:
        asked: the request.
        pieces: what arrives.
        end: 0 when the connection stays open, 1 when it is closed, 2 when it is cut.
        limits: the bounds.
    """
    client = Client1(limits)
    client.request(
        asked.method, b"/x", field_lines([(b"host", b"a")]), asked.length, upgrade=asked.upgrade
    )
    if asked.sent:
        client.data(b"b" * asked.sent)
    if asked.sent == asked.length:
        client.end()
    head: Response | None = None
    body, last, broken = b"", None, False
    try:
        for left, piece in zip(range(len(pieces) - 1, -1, -1), pieces, strict=True):
            events = client.feed(piece)
            if events and isinstance(events[0], Response) and events[0].status == SWITCHING:
                body += client.trailing()
            if end and not left:
                events += client.closed(clean=end == 1)
            for event in events:
                if isinstance(event, Response):
                    assert head is None, "two answers to one request"
                    head = event
                elif isinstance(event, Data):
                    assert last is None, "a body behind its end"
                    body += event.data
                else:
                    assert last is None, "two ends of one answer"
                    last = event
    except UpstreamBroken:
        # What came with the last piece is not told: it was not whole.
        return Heard(None, b"", None, broken=True, reusable=client.reusable)
    if asked.sent < asked.length:
        # The upstream may take the rest of the body for the next request (F6).
        client.data(b"b" * (asked.length - asked.sent))
        assert last is None or not client.reusable, "kept though it was answered too early"
    return Heard(head, body, last, broken=broken, reusable=client.reusable)


def check(octets: bytes) -> None:
    """Hold every law for an upstream's bytes."""
    given = Input(octets)
    asked, where = given.one_of(REQUESTS), given.number()
    end, wire = given.number() % 3, given.rest()
    if not wire:
        return
    said = the_same(heard(asked, pieces, end) for pieces in cuttings(wire, where) if pieces[-1])
    the_same(heard(asked, pieces, end, TIGHT) for pieces in cuttings(wire, where) if pieces[-1])
    if said.head is not None and not said.broken:
        _h11_reads_what_came(asked, wire, end, said)
    _the_client_gets(asked, wire, where, end, said)


def _h11_reads_what_came(asked: Asked, wire: bytes, end: int, said: Heard) -> None:
    """Compare what both make of the received bytes."""
    assert said.head is not None
    message, rest = response(wire, asked.method, ended=end == 1, upgrade=asked.upgrade)
    assert message is not None, said
    assert message.line == (b"%d" % said.head.status,), (said, message)
    assert message.says_its_size_once, message
    fields = [field for field in message.fields if field[0] not in ENDS_HERE]
    assert fields == said.head.fields, (said, message)
    if said.head.status == SWITCHING:
        assert said.body == rest, (said, message, rest)
        return
    assert (message.body, message.whole) == (said.body, said.end is not None), (said, message)
    if said.end is not None:
        assert message.has(said.end.trailers), (said, message)
    if said.reusable:
        assert not rest, (said, rest)


def _the_client_gets(asked: Asked, wire: bytes, where: int, end: int, said: Heard) -> None:
    """Send it all through the daemon, and look at what the client reads."""
    with nothing_of_ours_fails(RIG):
        client = RIG.connect()
        client.sends(asked.octets())
        upstream = RIG.upstreams.last
        cut = where * len(wire) // 256
        for piece in (wire[:cut], wire[cut:]):
            if piece:
                upstream.sends(piece)
        if end and not upstream.gone:
            upstream.closes(clean=end == 1)
        answer, aborted, closed = client.got(), client.aborted, client.closing
        idle = RIG.front.edge.upstreams.idle
        client.leaves()
        upstream.closes()
    assert len(RIG.upstreams.opened) == 1, "asked again"
    assert not idle or said.reusable, "a connection is kept that carries nothing more"
    _read_by_the_client(asked, said, answer, aborted=aborted, closed=closed)


def _read_by_the_client(
    asked: Asked, said: Heard, answer: bytes, *, aborted: bool, closed: bool
) -> None:
    """Compare what h11 makes of the client's bytes with what the upstream said."""
    message: Message | None = None
    if answer:
        message, rest = response(answer, asked.method, ended=closed, upgrade=asked.upgrade)
        assert not rest or said.head is None or said.head.status == SWITCHING, rest
    if said.broken:
        own = message is not None and message.line in ((b"502",), (b"504",))
        assert aborted or own or message is None or not message.whole, (said, message)
        return
    if said.head is None:
        assert message is None, (said, message)
        return
    assert message is not None, said
    if message.line == (b"502",) and said.head.status != 502:
        raise AssertionError((said, message))
    assert message.line == (b"%d" % said.head.status,), (said, message)
    if said.head.status == SWITCHING:
        return
    assert message.body == said.body, (said, message)
    assert message.whole == (said.end is not None), (said, message)


def answer(fields: bytes, body: bytes = b"", status: bytes = b"200 OK") -> bytes:
    """Return an answer with these field lines."""
    return b"HTTP/1.1 %b\r\n%b\r\n%b" % (status, fields, body)


_ANSWERS = (
    answer(b"Content-Length: 2\r\n", b"ab"),
    answer(b"Content-Length: 2\r\n", b"ab" + answer(b"Content-Length: 0\r\n")),
    answer(b"Content-Type: text/plain\r\nConnection: close\r\n", b"until the end"),
    answer(b"Transfer-Encoding: chunked\r\n", b"2\r\nab\r\n0\r\n\r\n"),
    answer(b"Transfer-Encoding: chunked\r\n", b"2;x=y\r\nab\r\n0\r\nX-Sum: 1\r\n\r\n"),
    answer(b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    answer(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"),
    answer(b"Content-Length: 2\r\nContent-Length: 3\r\n", b"abc"),
    answer(b"Content-Length: 2,2\r\n", b"ab"),
    answer(b"Content-Length: 5\r\n", b"cut"),
    answer(b"Connection: upgrade\r\nUpgrade: h2c\r\n", b"PRI", b"101 Switching Protocols"),
    b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    answer(b"", status=b"100 Continue") + answer(b"Content-Length: 1\r\n", b"a"),
    answer(b"Link: </x>\r\n", status=b"103 Early Hints") + answer(b"Content-Length: 0\r\n"),
    answer(b"ETag: x\r\n", status=b"304 Not Modified"),
    answer(b"", status=b"204 No Content"),
    answer(b"Connection: upgrade\r\nUpgrade: websocket\r\n", b"\x81\x01a", b"101 Switching"),
    b"HTTP/1.0 200\r\n\r\nold",
    answer(
        b"Content-Length: 0\r\nSet-Cookie: _pomerium=x\r\nAlt-Svc: h2=:1\r\nX-Pomerium-A: b\r\n"
    ),
    answer(b"Location: https://app.example.com/\r\nContent-Length: 0\r\n", status=b"302 Found"),
)

HARNESS = Harness(
    name="response_head",
    check=check,
    seeds=tuple(
        bytes((kind, 0x80, end)) + octets
        for number, octets in enumerate(_ANSWERS)
        for kind, end in ((0, 1), (0, 2), (4, 0) if b"101" in octets else (1 + number % 3, 0))
    ),
    words=(
        *(name + b": " for name in sorted(ENDS_HERE)),
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 ",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 101 \r\n",
        b" 204 ",
        b" 304 ",
        b" 205 ",
        b"chunked",
        b"gzip, chunked",
        b"close",
        b"websocket",
        b"Set-Cookie: ",
        b"\xff",
    ),
    longest=2_048,
)
