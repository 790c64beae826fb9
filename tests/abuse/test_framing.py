"""
4.6: where a message ends, who waits for whom, and what bounds a connection.

What an upstream received, and what a client did, is read by h11. What ought to have been
read is said by a small reader of the grammar that stands here, and knows no leniency.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise, product
from typing import ClassVar

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.http.limits import Limits
from tests.support.handshakes import Shaking
from tests.support.rig import MALLORY, NAVIGATION, Rig, parse, request
from tests.support.serving import MemoryClient
from tests.support.stand import OK, Asked, Outcome, StandCase, answers, named, public, read
from tests.support.upstreams import MemoryServer

WAITING: dict[str, str] = {
    "F8": "there is no HTTP/2 on either side; whoever adds HTTP/2 brings a budget for each frame",
}
PARTLY: dict[str, str] = {
    "F7": "requests that come as HTTP/2; whoever adds HTTP/2 towards clients",
    "F9": "the PROXY protocol's line in front of a handshake; issue 5",
}

ROUTES = (public("open", prefix="/open"), named("rest", allow_websockets=True))

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nhost: app.example.com\r\nx-smuggled: 1\r\n\r\n"
"""Stands behind a message, for whoever takes its end to be elsewhere."""

LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t\x20-\x7e\x80-\xff]*)")
"""A field line (RFC 9112 section 5)."""

CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;[\t\x20-\x7e\x80-\xff]*)?\r\n")


def dechunked(octets: bytes) -> tuple[bytes, bytes] | None:
    """Return body and rest of a chunked body; None if it is not one, or not complete."""
    body = b""
    while (size := CHUNK.match(octets)) is not None:
        count, octets = int(size[1], 16), octets[size.end() :]
        if count == 0:
            trailers, end, rest = (b"\r\n" + octets).partition(b"\r\n\r\n")
            lines = trailers.split(b"\r\n")[1:]
            good = end and all(LINE.fullmatch(line) for line in lines)
            return (body, rest) if good else None
        if octets[count : count + 2] != b"\r\n" or len(octets) < count + 2:
            return None
        body, octets = body + octets[:count], octets[count + 2 :]
    return None


def is_utf8(octets: bytes) -> bool:
    """Return whether these bytes can be read by whoever decodes."""
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


class Framing(StandCase):
    """Sends bytes whose meaning is in doubt."""

    routes = ROUTES

    def refused(self, outcome: Outcome, why: object) -> None:
        """Find that nothing reached an upstream, and that the connection is over."""
        self.assertIn(outcome.status, (400, 501), why)
        self.assertEqual(outcome.asked, (), why)
        self.assertTrue(outcome.ended, why)
        (answer,) = answers(outcome.got, ended=True)
        self.assertTrue(answer.whole, why)

    def alone(self, outcome: Outcome, body: bytes, why: object) -> None:
        """Find that one request with this body went through, and nothing of another."""
        self.assertEqual([asked.body for asked in outcome.asked], [body], why)
        self.assertTrue(outcome.one.whole, why)
        self.assertEqual(outcome.one.behind, b"", why)
        self.assertEqual(dict(outcome.one.fields).get(b"x-smuggled"), None, why)


SIZES = (
    *("5", "05", "0005", "+5", "-5", "-0", "+0", "0x5", "0b101", "0o5", "5.0", "5e0", "1_0", "5_"),
    *("5,5", "5, 5", "5,", ",5", "5;5", "5 5", "5\t5", "'5'", '"5"', "(5)", "five", "NaN", "true"),
    *("", " ", "\t", "\u0665", "\uff15", "\u00b5", "\u2075", "5\x0b", "\x0c5", "5\x00", "\x005"),
    *(
        "5\x85",
        "5\u00a0",
        "\ufeff5",
        "5\x1f",
        "5\x7f",
        "999999999999999999999",
        "18446744073709551621",
    ),
    *(
        "4294967301",
        "9223372036854775813",
        "1" * 19,
        "0" * 400 + "5",
        "5" * 400,
        "-9223372036854775803",
    ),
)
NAMES_OF_SIZE = (
    b"Content-Length: ",
    b"content-length:",
    b"CONTENT-LENGTH:\t",
    b"Content-Length : ",
    b" Content-Length: ",
    b"Content-Length\t: ",
    b"Content_Length: ",
    b"Content.Length: ",
    b"Content-Length\x00: ",
    b"\tContent-Length: ",
    b"X: y\r\n Content-Length: ",
    b"X: y\nContent-Length: ",
    b"X: y\rContent-Length: ",
    b"Content-Length:\r\n ",
)
CODING = b"Transfer-Encoding: chunked\r\n"


def said(block: bytes) -> int | None:
    """Return the size that a strict reader finds in these lines; None if it finds none."""
    lines = [LINE.fullmatch(line) for line in block.split(b"\r\n")[:-1]]
    if not all(lines):
        return None
    fields = [
        (line[1].lower().replace(b".", b"-").replace(b"_", b"-"), line) for line in lines if line
    ]
    sizes = [line for name, line in fields if name == b"content-length"]
    if any(name == b"transfer-encoding" for name, _ in fields) or len(sizes) != 1:
        return None
    (one,) = sizes
    if one[1].lower() != b"content-length" or not re.fullmatch(
        rb"[0-9]{1,18}", one[2].strip(b" \t")
    ):
        return None
    return int(one[2])


class SizeTests(Framing):
    """F1: one size, in digits, or a 400 and the end of the connection."""

    row = "F1"
    VARIANTS = tuple(
        dict.fromkeys(
            (
                *(name + size.encode() + b"\r\n" for name in NAMES_OF_SIZE for size in SIZES),
                *(
                    joint.join(lines)
                    for joint, lines in product(
                        (b"", b"X: y\r\n"),
                        (
                            (b"Content-Length: 5\r\n", b"Content-Length: 5\r\n"),
                            (b"Content-Length: 5\r\n", b"content-length: 6\r\n"),
                            (b"Content-Length: 0\r\n", b"CONTENT-LENGTH: 5\r\n"),
                            (CODING, b"Content-Length: 5\r\n"),
                            (b"Content-Length: 5\r\n", CODING),
                            (b"Content-Length: 5\r\n", CODING.lower()),
                            (b"Content-Length: 5\r\n", b"Transfer-Encoding: identity\r\n"),
                            (b"Content-Length: 5\r\n", b"Transfer_Encoding: chunked\r\n"),
                            (b"Content-Length: 5\r\n", b"Transfer-Encoding : chunked\r\n"),
                            (b"Content-Length: 5\r\n", b"Transfer-Encoding:\x0bchunked\r\n"),
                            (b"Content-Length: 5\r\n", b"Transfer-Encoding:\r\n"),
                            (b"Content_Length: 5\r\n", CODING),
                            (b"Content-Length: x\r\n", CODING),
                        ),
                    )
                ),
            )
        )
    )

    def test_one_reading(self) -> None:
        """Where a strict reader finds one size, that many bytes are the body; else nothing."""
        read_ = 0
        for block in self.VARIANTS:
            for version in (b"1.1", b"1.0"):
                octets = (
                    b"POST /open HTTP/"
                    + version
                    + b"\r\nhost: app.example.com\r\n"
                    + block
                    + b"\r\n"
                )
                outcome = self.stand.send(octets + b"12345" + SMUGGLED)
                size = said(block)
                if size is None:
                    self.refused(outcome, block)
                elif size == 5:
                    read_ += 1
                    self.alone(outcome, b"12345", block)
                else:
                    self.assertFalse(outcome.one.whole, block)
        self.assertGreater(read_, 10)


CODINGS = tuple(
    dict.fromkeys(
        (
            *(bytes([octet]) + b"chunked" for octet in range(256)),
            *(b"chunked" + bytes([octet]) for octet in range(256)),
            *(b"chu" + bytes([octet]) + b"nked" for octet in range(256)),
            *(b"chunke" + bytes([octet]) for octet in range(256)),
            *(
                first + joint + second
                for first, joint, second in product(
                    (
                        b"chunked",
                        b"identity",
                        b"gzip",
                        b"",
                        b"xchunked",
                        b'"chunked"',
                        b"chunked;q=1",
                    ),
                    (b",", b", ", b" ,", b" ", b";", b"\r\n "),
                    (b"chunked", b"identity", b"", b"deflate", b"CHUNKED"),
                )
            ),
        )
    )
)


class CodingTests(Framing):
    """F2: the one coding is chunked, and nothing that resembles it."""

    row = "F2"
    VARIANTS = CODINGS

    def test_exactly_chunked(self) -> None:
        """In any case and with white space around it; every other is refused and closes."""
        body = b"5\r\n12345\r\n0\r\n\r\n"
        passed = set()
        for coding in self.VARIANTS:
            outcome = self.stand.send(
                request(b"/open", (b"transfer-encoding", coding), method=b"POST") + body + SMUGGLED
            )
            if coding.strip(b" \t").lower() == b"chunked" and outcome.asked:
                passed.add(coding)
                # What stands behind it is the client's next request, and needs a session.
                self.alone(outcome, b"12345", coding)
                self.assertEqual(outcome.logged[-1].path, b"/smuggled")
            else:
                self.refused(outcome, coding)
        self.assertGreaterEqual(len(passed), 5)

    def test_not_in_two_fields_and_not_in_http10(self) -> None:
        """A second field is a second coding, whatever it says; HTTP/1.0 has none."""
        for coding in (b"chunked", b"identity", b"", b"Chunked"):
            fields = ((b"transfer-encoding", b"chunked"), (b"Transfer-Encoding", coding))
            for pair in (fields, fields[::-1]):
                octets = request(b"/open", *pair, method=b"POST") + b"0\r\n\r\n"
                self.refused(self.stand.send(octets), coding)
        old = request(b"/open", (b"transfer-encoding", b"chunked"), method=b"POST")
        self.refused(self.stand.send(old.replace(b"HTTP/1.1", b"HTTP/1.0") + b"0\r\n\r\n"), old)


CHUNKS = b"4\r\nWiki\r\n05;x=y\r\npedia\r\n0\r\nx-sum: 1\r\n\r\n"
ODD = (
    *(b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b";", b"0", b"1", b"f", b"x", b"_", b"-", b"+"),
    *(b"\x0b", b"\xff", b":", b'"', b",", b"\x7f"),
)


def mutated(octets: bytes) -> Iterator[bytes]:
    """Give bytes with one place of them left out, doubled, replaced or filled."""
    for place in range(len(octets)):
        yield octets[:place] + octets[place + 1 :]
        yield octets[: place + 1] + octets[place:]
        for odd in ODD:
            yield octets[:place] + odd + octets[place:]
            yield octets[:place] + odd + octets[place + 1 :]


class ChunkTests(Framing):
    """F3: chunks are read as the grammar has them, on both sides, and as nothing else."""

    row = "F3"
    VARIANTS = tuple(
        dict.fromkeys(
            (
                *mutated(CHUNKS),
                *(
                    size + b"\r\nabc\r\n0\r\n\r\n"
                    for size in (
                        *(b"0_3", b"0x3", b"3h", b"3 ;x", b"3;" + b"a" * 9000, b"0" * 17 + b"3"),
                        *(b"ffffffffffffffff3", b"10000000000000003", b"-3", b"+3", b"3\x0c"),
                        *(b"\xd9\xa3", b"3;a=\x00", b'3;a="\r\n"', b"3;a\rb", b"3.0", b"", b";x"),
                    )
                ),
            )
        )
    )

    def test_of_a_client(self) -> None:
        """The upstream gets the body that the grammar has, or no whole one."""
        for chunks in self.VARIANTS:
            head = request(b"/open", (b"transfer-encoding", b"chunked"), method=b"POST")
            outcome = self.stand.send(head, chunks, SMUGGLED)
            wanted = dechunked(chunks + SMUGGLED)
            whole = [asked for asked in outcome.asked if asked.whole]
            if wanted is None or _over_the_bound(chunks):
                self.assertEqual(whole, [], chunks)
            else:
                self.assertEqual([asked.body for asked in whole], [wanted[0]], chunks)
                self.assertEqual(whole[0].behind, b"", chunks)
            for asked in outcome.asked:
                self.assertNotIn((b"x-smuggled", b"1"), asked.fields, chunks)

    def test_of_an_upstream(self) -> None:
        """The client gets that body, or an answer that is visibly broken off."""
        head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        for chunks in self.VARIANTS:
            outcome = self.stand.send(request(b"/open"), answer=head + chunks)
            wanted = dechunked(chunks)
            if wanted is None or _over_the_bound(chunks):
                if outcome.status == 502:
                    continue
                (got,) = answers(outcome.got, ended=False)
                self.assertFalse(got.whole, chunks)
            else:
                (got,) = answers(outcome.got, ended=outcome.ended)
                self.assertEqual((got.whole, got.body), (True, wanted[0]), chunks)


def _over_the_bound(chunks: bytes) -> bool:
    """Tell whether a size line is longer than any that is in use."""
    return max(map(len, chunks.split(b"\r\n"))) > 250


PLACES = {
    "in front": b"%bX-Name: value",
    "inside the name": b"X-N%bame: value",
    "before the colon": b"X-Name%b: value",
    "after the colon": b"X-Name:%b value",
    "inside the value": b"X-Name: val%bue",
    "at the end": b"X-Name: value%b",
    "alone": b"%b",
    "in place of the colon": b"X-Name%bvalue",
    "as the name": b"%b: value",
}
PUT_IN = (
    *(bytes([octet]) for octet in range(256)),
    *(
        b"\r\n ",
        b"\r\n\t",
        b"\r ",
        b"\n ",
        b"\r\r\n",
        b"::",
        b": :",
        b"\xc3\xa9",
        b"\xe2\x80\xa8",
        b"",
    ),
)


class LineTests(Framing):
    """F4: a field line is a token, a colon and printable text."""

    row = "F4"
    VARIANTS = tuple(
        dict.fromkeys(shape.replace(b"%b", junk) for shape in PLACES.values() for junk in PUT_IN)
    )

    def test_of_a_client(self) -> None:
        """What is none is a 400; what is one means that and nothing else."""
        passed = 0
        for line in self.VARIANTS:
            octets = request(b"/open").replace(
                b"\r\n\r\n", b"\r\n" + line + b"\r\nx-end: 1\r\n\r\n"
            )
            outcome = self.stand.send(octets)
            found = LINE.fullmatch(line)
            if not line or line.startswith(b"\r\n"):
                continue  # the end of the head; what follows is another message
            if found is None or not is_utf8(found[2]):
                self.refused(outcome, line)
                continue
            passed += 1
            sent = dict(outcome.one.fields)
            self.assertEqual(sent[b"x-end"], b"1", line)
            name = found[1].lower()
            if re.fullmatch(rb"[a-z0-9-]+", name):
                self.assertEqual(sent[name], found[2].strip(b" \t"), line)
            else:
                self.assertNotIn(name, sent)
        self.assertGreater(passed, 300)

    def test_of_an_upstream(self) -> None:
        """The same holds for an answer; what is none is a 502."""
        for line in self.VARIANTS:
            if not line or line.startswith(b"\r\n"):
                continue
            answer = OK.replace(b"\r\n\r\n", b"\r\n" + line + b"\r\nx-end: 1\r\n\r\n")
            outcome = self.stand.send(request(b"/open"), answer=answer)
            found = LINE.fullmatch(line)
            if found is None:
                self.assertEqual(outcome.status, 502, line)
                continue
            (got,) = answers(outcome.got, ended=outcome.ended)
            self.assertEqual((got.status, got.body), (200, b"ok"), line)
            self.assertEqual(dict(got.fields)[b"x-end"], b"1")
            self.assertEqual(dict(got.fields)[found[1].lower()], found[2].strip(b" \t"), line)


KINDS = {
    "open": (request(b"/open/%d"), 200),
    "upload": (request(b"/open/%d", method=b"POST", body=b"GET /x HTTP/1.1\r\n\r\n"), 200),
    "own": (request(b"/ping?%d"), 200),
    "nobody": (request(b"/rest/%d"), 401),
    "login": (request(b"/rest/%d", *NAVIGATION), 302),
    "nowhere": (request(b"/open/%d", host=b"nobody.example.com"), 404),
}


def waiting(rig: Rig) -> list[tuple[MemoryServer, Asked]]:
    """Return the upstreams' connections on which a whole request has just come."""
    found = []
    for server in rig.upstreams.opened:
        octets = server.got()
        if octets:
            found.append((server, read(server.peer.host, octets)))
    return found


class PipelineTests(SynchronousTestCase):
    """F5: one request after the other, and the answers in their order."""

    row = "F5"

    @given(
        st.lists(st.sampled_from(sorted(KINDS)), min_size=2, max_size=8),
        st.lists(st.integers(0, 2000), max_size=6),
    )
    @settings(max_examples=150)
    def test_any_row_of_requests(self, kinds: list[str], cuts: list[int]) -> None:
        """However they are cut, and however slow upstreams are, nothing overtakes."""
        rig = PIPELINE
        client = rig.connect()
        octets = b"".join(
            KINDS[kind][0].replace(b"%d", b"%d" % number) for number, kind in enumerate(kinds)
        )
        places = sorted({0, *(cut % len(octets) for cut in cuts), len(octets)})
        for start, end in pairwise(places):
            client.sends(octets[start:end])
        through = 0
        while found := waiting(rig):
            # Never two at a time for one client.
            ((server, asked),) = found
            through += 1
            server.sends(
                b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(asked.path), asked.path)
            )
        got = answers(client.got(), ended=False)
        client.leaves()
        self.assertEqual([answer.status for answer in got], [KINDS[kind][1] for kind in kinds])
        self.assertEqual(through, sum(kind in ("open", "upload") for kind in kinds))
        for number, (kind, answer) in enumerate(zip(kinds, got, strict=True)):
            if kind in ("open", "upload"):
                self.assertEqual(answer.body, b"/open/%d" % number)


PIPELINE = Rig(*ROUTES)


EARLY = (
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 401 No\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\n\r\n",
    b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: keep-alive\r\n\r\n",
)
STOLEN = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nstolen"
UPLOADS = (
    request(b"/open/first", method=b"POST", body=SMUGGLED),
    request(b"/open/first", (b"transfer-encoding", b"chunked"), method=b"POST")
    + b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED),
)


class EarlyAnswerTests(SynchronousTestCase):
    """F6: a connection serves again only when both directions of an exchange are complete."""

    row = "F6"
    VARIANTS: ClassVar = tuple(
        (upload, place, answer, extra)
        for upload in UPLOADS
        for place in range(upload.index(b"\r\n\r\n") + 4, len(upload), 9)
        for answer in EARLY
        for extra in (b"", STOLEN)
    )

    def test_cut_anywhere(self) -> None:
        """Whoever comes next gets his own answer, on a connection without leftovers."""
        for upload, place, answer, extra in self.VARIANTS:
            rig = EARLY_RIG
            client = rig.connect()
            client.sends(upload[:place])
            ((server, asked),) = waiting(rig)
            self.assertFalse(asked.whole)
            server.sends(answer + extra)
            self.assertTrue(server.gone, (place, answer))
            client.sends(upload[place:])
            self.assertEqual(server.got(), b"", (place, answer))
            self.assertTrue(client.closing)
            client.leaves()
            self.next_one(rig, server)

    def test_more_than_was_asked_for(self) -> None:
        """An answer behind the answer is nobody's, at once or later."""
        for answer in EARLY:
            for pieces in ((answer + STOLEN,), (answer, STOLEN), (answer + STOLEN[:1],)):
                rig = EARLY_RIG
                client = rig.connect()
                client.sends(request(b"/open/first"))
                ((server, asked),) = waiting(rig)
                self.assertTrue(asked.whole)
                server.sends(*pieces)
                self.assertNotIn(b"stolen", client.got(), answer)
                client.leaves()
                self.next_one(rig, server)

    def test_more_than_a_head_was_asked_for(self) -> None:
        """Behind the answer to HEAD, and behind one that has no body, nothing is a body."""
        for method, answer in (
            (b"HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nstolen"),
            (b"HEAD", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nstolen\r\n"),
            (b"GET", b"HTTP/1.1 204 No\r\ncontent-length: 6\r\n\r\nstolen"),
            (b"GET", b"HTTP/1.1 304 No\r\ncontent-length: 6\r\n\r\nstolen"),
            (b"GET", b"HTTP/1.1 304 No\r\ntransfer-encoding: chunked\r\n\r\n6\r\nstolen\r\n"),
        ):
            for place in (len(answer), answer.index(b"\r\n\r\n") + 4):
                rig = EARLY_RIG
                client = rig.connect()
                client.sends(request(b"/open/first", method=method))
                ((server, _),) = waiting(rig)
                server.sends(answer[:place], answer[place:])
                self.assertNotIn(b"stolen", client.got(), answer)
                client.leaves()
                self.next_one(rig, server)

    def next_one(self, rig: Rig, before: MemoryServer) -> None:
        """Find that the next client's exchange has nothing of the one before."""
        client = rig.connect()
        client.sends(request(b"/open/second"))
        ((server, asked),) = waiting(rig)
        self.assertIsNot(server, before)
        self.assertEqual((asked.path, asked.behind), (b"/open/second", b""))
        server.sends(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nsecond")
        (got,) = answers(client.got(), ended=client.closing)
        self.assertEqual((got.status, got.body), (200, b"second"))
        client.leaves()
        rig.upstreams.opened.clear()


EARLY_RIG = Rig(*ROUTES)


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
UPGRADES = (
    *(b"h2c", b"H2C", b"h2", b"h2c, websocket", b"websocket, h2c", b"h2c\t", b"h2c;q=1"),
    *(b"TLS/1.0", b"HTTP/2.0", b"PRI"),
)


class DowngradeTests(Framing):
    """F7: no HTTP/2 is spoken behind our back, and none of its words passes as HTTP/1.1."""

    row = "F7"
    VARIANTS: ClassVar = (
        *(
            (
                (b"connection", options),
                (b"upgrade", upgrade),
                (b"http2-settings", b"AAMAAABkAAQAAP__"),
            )
            for upgrade in UPGRADES
            for options in (
                b"Upgrade, HTTP2-Settings",
                b"upgrade",
                b"HTTP2-Settings, Upgrade, keep-alive",
                b"HTTP2-Settings",
            )
        ),
        *(
            ((b"te", te), (b"connection", b"te"))
            for te in (b"chunked", b"trailers, chunked", b"gzip", b"chunked;q=0.5")
        ),
    )

    def test_no_upgrade(self) -> None:
        """An ordinary request, of which no word about the other protocol arrives."""
        for fields in self.VARIANTS:
            for method, body in ((b"GET", b""), (b"POST", b"12345")):
                octets = request(b"/open", *fields, method=method, body=body)
                outcome = self.stand.send(octets + SMUGGLED)
                self.assertEqual(outcome.status, 200, fields)
                self.alone(outcome, body, fields)
                names = {name for name, _ in outcome.one.fields}
                self.assertEqual(
                    names & {b"upgrade", b"http2-settings", b"te", b"connection"}, set(), fields
                )
                self.assertEqual(outcome.logged[-1].path, b"/smuggled")

    def test_no_prior_knowledge(self) -> None:
        """The preface is no request, cut anywhere, with frames behind it."""
        frames = bytes.fromhex("000000040000000000") + SMUGGLED
        for place in range(1, len(PREFACE)):
            outcome = self.stand.send(PREFACE[:place], PREFACE[place:] + frames)
            self.assertIn(outcome.status, (400, 505), place)
            self.assertEqual(outcome.asked, ())
            self.assertTrue(outcome.ended)

    def test_no_pseudo_field(self) -> None:
        """A field whose name begins with a colon is none; an authority is the Host's, or 400."""
        for name in (b"authority", b"path", b"method", b"scheme", b"status", b"protocol"):
            octets = request(b"/open", (b":" + name, b"/smuggled"))
            self.refused(self.stand.send(octets), name)
        for there in (
            *(
                b"http://nobody.example.com",
                b"http://app.example.com:8080",
                b"http://app.example.comx",
            ),
            *(
                b"http://x@app.example.com",
                b"http://app.example.com@x",
                b"http://",
                b"http://[::1]",
            ),
        ):
            self.refused(self.stand.send(request(there + b"/open")), there)


SLOW_REQUESTS = (
    request(b"/open?a=b", (b"accept", b"*/*"), method=b"POST", body=b"0123456789"),
    request(b"/open", (b"transfer-encoding", b"chunked"), method=b"POST")
    + b"4\r\nWiki\r\n0\r\nx-sum: 1\r\n\r\n",
    request(b"/.pomerium/sign_out", method=b"POST", body=b"a=b&c=d"),
)


class SlowTests(SynchronousTestCase):
    """F9: each phase ends, wherever a client stops and however slowly it goes on."""

    row = "F9"
    VARIANTS: ClassVar = tuple(
        (octets, place) for octets in SLOW_REQUESTS for place in range(len(octets))
    )

    def test_who_stops(self) -> None:
        """Nothing is left of a request that stops at any of its bytes, at either side."""
        rig = Rig(*ROUTES)
        clients = []
        for octets, place in self.VARIANTS:
            client = rig.connect()
            client.sends(octets[:place])
            clients.append((client, octets, place))
        rig.pass_time(31)
        for client, octets, place in clients:
            in_head = place < octets.index(b"\r\n\r\n") + 4
            got = client.got()
            self.assertTrue(client.closing or client.aborted, octets[:place])
            if in_head and place:
                self.assertEqual(parse(got).status, 408, octets[:place])
            elif got:
                self.assertIn(parse(got).status, (408, 504), octets[:place])
            client.leaves()
        self.assertEqual([server for server in rig.upstreams.opened if not server.gone], [])
        self.assertEqual(rig.front.connections, set())

    def test_who_drips(self) -> None:
        """A byte now and then buys a head no time, and a body only its own."""
        head = SLOW_REQUESTS[0]
        for seconds in (0.5, 1, 2, 5, 9.5):
            rig = Rig(*ROUTES)
            client = rig.connect()
            passed = 0.0
            for place in range(len(head)):
                client.sends(head[place : place + 1])
                rig.pass_time(seconds)
                passed += seconds
                if client.closing or client.aborted:
                    break
            # The wheel's step, and the step of the drip.
            self.assertLessEqual(passed, 10 + 0.5 + seconds)
            self.assertEqual(parse(client.got()).status, 408)

    def test_an_upstream_that_drips(self) -> None:
        """The head of an answer has its time as a whole, interim ones with it; so do sizes."""
        begun = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n"
        for seconds, before, dripped, bound in (
            (5, b"", OK, 30),
            (29, b"", OK, 30),
            (9, b"HTTP/1.1 ", b"102 Processing\r\n\r\nHTTP/1.1 " * 9, 30),
            (60, begun, b"0001" + b";a=b" * 60, 300),
        ):
            rig = Rig(*ROUTES)
            client = rig.connect()
            client.sends(request(b"/open"))
            server = rig.upstreams.last
            server.sends(before)
            passed = 0.0
            for octet in dripped:
                server.sends(bytes([octet]))
                rig.pass_time(seconds)
                passed += seconds
                if server.gone:
                    break
            self.assertLessEqual(passed, bound + 0.5 + seconds, dripped)
            self.assertTrue(server.gone)
            if before == begun:
                self.assertTrue(client.aborted)
            else:
                self.assertEqual(parse(client.got()).status, 504)

    def test_who_does_not_shake_hands(self) -> None:
        """A hello that stops at any of its bytes, or drips, ends with the handshake's time."""
        shaking = Shaking(self)
        hello = shaking.hello()
        for place in range(0, len(hello), max(1, len(hello) // 40)):
            shaking.starts(hello[:place])
        shaking.turns()
        self.assertEqual(shaking.port.failed_handshakes, 0)
        for _ in range(int(shaking.port.handshake_seconds * 2) + 1):
            shaking.drip(b"\x01")
        self.assertEqual(shaking.port.open, 0)
        self.assertEqual(shaking.made, [])
        self.assertGreater(shaking.port.failed_handshakes, 40)


LIMITS = Limits()


def headed(size: int) -> bytes:
    """Return a request with a head of so many bytes."""
    bare = request(b"/open", (b"x-a", b""))
    return request(b"/open", (b"x-a", b"a" * (size - len(bare))))


class SizeBoundTests(Framing):
    """F10: what is too large is told so, and what is not is never gathered."""

    row = "F10"
    VARIANTS: ClassVar = (
        *((headed(LIMITS.head_size + more), 200 if more <= 0 else 431) for more in range(-3, 4)),
        *(
            (request(b"/open", *((b"x-%d" % n, b"") for n in range(count))), status)
            for count, status in ((126, 200), (127, 200), (128, 431), (129, 431), (2000, 431))
        ),
        *(
            (request(b"/open?" + b"a" * (LIMITS.target_size - 6 + more)), status)
            for more, status in ((-1, 200), (0, 200), (1, 431), (40_000, 431))
        ),
        *(
            (request(b"/open", (b"content-length", digits), method=b"POST"), 400)
            for digits in (b"1" * 19, b"9" * 100, b"9" * 5000, b"0" * 19)
        ),
    )

    def test_around_each_bound(self) -> None:
        """The last that passes passes; the first that does not is refused and closes."""
        for octets, status in self.VARIANTS:
            outcome = self.stand.send(octets)
            self.assertEqual(outcome.status, status, octets[:80])
            self.assertEqual(outcome.ended, status != 200)

    def test_long_and_odd(self) -> None:
        """What makes work for each of its bytes is answered all the same."""
        for piece in (b"%41", b"./", b"a/../", b";a=b", b"//", b"%2e/", b"%e4%bd%a0", b"a;", b"'"):
            path = b"/open/" + piece * (16_000 // len(piece))
            self.assertIn(self.stand.send(request(path)).status, (200, 400), piece)
        for name, piece in product(
            (b"cookie", b"accept", b"connection", b"x-forwarded-for", b"authorization", b"via"),
            (b"a=b; ", b";", b",", b"text/html;q=0.1,", b"=", b"%2.x.y; ", b"10.0.0.1, "),
        ):
            value = piece * (60_000 // len(piece))
            self.assertIn(self.stand.send(request(b"/open", (name, value))).status, (200, 400))
            self.assertIn(self.stand.send(request(b"/rest", (name, value))).status, (302, 400, 401))

    def test_sizes_that_would_not_fit(self) -> None:
        """An announced size reserves nothing, and an answer does not wait for it."""
        for digits in range(1, 19):
            size = b"9" * digits
            for target, status in ((b"/rest", 401), (b"/open", 0), (b"/.pomerium/", None)):
                octets = request(target, (b"content-length", size), method=b"POST")
                outcome = self.stand.send(octets + b"x")
                if status is not None:
                    self.assertEqual(outcome.status, status, (target, size))
                if status == 401:
                    self.assertTrue(outcome.ended)

    def test_nothing_is_gathered(self) -> None:
        """Where nobody takes what a client sends, reading stops, within the bounds."""
        flood = b"x" * 16_384
        upload = request(b"/open", (b"content-length", b"9" * 12), method=b"POST")
        chunked = request(b"/open", (b"transfer-encoding", b"chunked"), method=b"POST")
        for name, begin, piece in (
            ("upload", upload, flood),
            ("chunked upload", chunked, b"4000\r\n" + flood + b"\r\n"),
            ("tiny chunks", chunked, b"1\r\nx\r\n" * 2000),
            ("pipelined requests", request(b"/open"), request(b"/open") * 200),
            ("pipelined rubbish", request(b"/open"), flood),
        ):
            rig = Rig(*ROUTES)
            rig.upstreams.hold = True
            client = rig.connect()
            client.sends(begin)
            taken = self.poured(client, piece)
            self.assertLess(taken, LIMITS.pipelined + LIMITS.buffered, name)
            client.leaves()

    def poured(self, client: MemoryClient, piece: bytes) -> int:
        """Send as long as the server reads, and return how much it took."""
        taken = 0
        for _ in range(200):
            if not client.reading or client.aborted:
                return taken
            client.sends(piece)
            taken += len(piece)
        raise AssertionError(f"{taken} bytes, and no end")

    def test_a_slow_upstream_stops_the_flood(self) -> None:
        """Once an upstream takes no more, no more is read; when it does, all goes on."""
        rig = Rig(*ROUTES)
        client = rig.connect()
        client.sends(request(b"/open", (b"content-length", b"9" * 12), method=b"POST"))
        rig.upstreams.last.protocol.pauseProducing()
        self.assertEqual(self.poured(client, b"x" * 16_384), 0)
        rig.upstreams.last.protocol.resumeProducing()
        self.assertTrue(client.reading)


KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
HANDSHAKES = tuple(
    (
        (b"connection", options),
        (b"upgrade", upgrade),
        (b"sec-websocket-version", version),
        (b"sec-websocket-key", key),
    )
    for options in (b"Upgrade", b"keep-alive, upgrade", b"UPGRADE", b"close, upgrade", b"x")
    for upgrade in (b"websocket", b"WebSocket", b"websocket, x", b"other")
    for version in (b"13", b"8")
    for key in (KEY, b"short", b"")
)
PROPER = HANDSHAKES[0]
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
NO_SWITCH = (
    SWITCH.replace(b"upgrade: websocket", b"upgrade: h2c"),
    SWITCH.replace(b"upgrade: websocket\r\n", b""),
    SWITCH.replace(b"upgrade: websocket", b"upgrade: websocket, h2c"),
    SWITCH.replace(b"upgrade: websocket\r\n", b"upgrade: websocket\r\nupgrade: h2c\r\n"),
    SWITCH.replace(b"HTTP/1.1", b"HTTP/1.2"),
    SWITCH.replace(b"101", b"102"),
    SWITCH.replace(b"101", b"1O1"),
    SWITCH.replace(b"101", b" 101"),
)


class TunnelTests(Framing):
    """F11: a tunnel opens after the decision, and when the upstream says so, and never else."""

    row = "F11"
    VARIANTS = HANDSHAKES

    def test_nobody_gets_one(self) -> None:
        """Without a session, with a denied one, at a route without tunnels: no upstream hears."""
        denied = (b"cookie", self.stand.cookie(MALLORY))
        frames = b"\x81\x85\x00\x00\x00\x00hello"
        for fields in self.VARIANTS:
            for target, more, status in (
                (b"/rest", (), 401),
                (b"/rest", NAVIGATION, None),
                (b"/rest", (denied,), 403),
                (b"/.pomerium/", (), None),
            ):
                outcome = self.stand.send(request(target, *fields, *more), frames + SMUGGLED)
                self.assertNotIn(b" 101 ", outcome.got, fields)
                self.assertEqual(outcome.asked, (), fields)
                if status is not None:
                    self.assertEqual(outcome.status, status, fields)
                # The frames are no request, and what follows them is not read.
                self.assertNotIn(b"/smuggled", [entry.path for entry in outcome.logged])

    def test_not_at_a_route_without_tunnels(self) -> None:
        """403 for a proper handshake, with a session too; any other is an ordinary request."""
        refused = 0
        for fields, more in product(self.VARIANTS, ((), ((b"cookie", self.stand.cookie()),))):
            outcome = self.stand.send(request(b"/open", *fields, *more), answer=SWITCH)
            self.assertNotEqual(outcome.status, 101, fields)
            refused += outcome.status == 403
            for asked in outcome.asked:
                self.assertNotIn(b"upgrade", dict(asked.fields), fields)
        self.assertEqual(refused, 12)

    def test_only_for_who_asked_properly(self) -> None:
        """An upstream that switches anyway is a broken one, and the tunnel does not open."""
        cookie = (b"cookie", self.stand.cookie())
        tunnels = 0
        for fields in self.VARIANTS:
            octets = request(b"/rest", cookie, *fields)
            outcome = self.stand.send(octets, b"frames", answer=SWITCH + b"welcome")
            if outcome.status == 101:
                tunnels += 1
                self.assertEqual(fields[1][1].lower(), b"websocket")
                self.assertEqual((fields[2][1], fields[3][1]), (b"13", KEY))
                self.assertIn(b"upgrade: websocket", outcome.asked[0].octets)
            else:
                self.assertIn(outcome.status, (400, 502), fields)
                self.assertNotIn(b"welcome", outcome.got)
                for asked in outcome.asked:
                    self.assertNotIn(b"upgrade", dict(asked.fields), fields)
        self.assertEqual(tunnels, 6)

    def test_only_when_the_upstream_switches(self) -> None:
        """Another answer than the proper 101 is no tunnel: it is passed on, or it is broken."""
        cookie = (b"cookie", self.stand.cookie())
        for answer in (*NO_SWITCH, *EARLY[:5]):
            outcome = self.stand.send(
                request(b"/rest", cookie, *PROPER), b"frames" + SMUGGLED, answer=answer
            )
            self.assertNotEqual(outcome.status, 101, answer)
            for asked in outcome.asked:
                self.assertNotIn(b"frames", asked.octets, answer)
