"""Tests for pomeriumd.http.server1: what a client sends, and what it gets back."""

from __future__ import annotations

from itertools import pairwise

import h11
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.errors import (
    BadMessage,
    ClientError,
    PomeriumError,
    UpstreamBroken,
    VersionNotSupported,
)
from pomeriumd.http.events import Data, End, Field, Request, Response
from pomeriumd.http.limits import Limits
from pomeriumd.http.server1 import Event, Server1

GET = b"GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n"

OK = Response(200, [], 0)

WEBSOCKET = (
    b"GET /ws HTTP/1.1\r\nHost: a.example\r\nConnection: keep-alive, Upgrade\r\n"
    b"Upgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def asked(**changes: object) -> Request:
    """Return the request that GET above makes, with these changes."""
    plain = Request(b"GET", b"a.example", None, b"/a", None, [], 0, None)
    return plain._replace(**changes)  # type: ignore[arg-type]  # tests name real attributes


def post(framing: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    """Return a POST whose framing fields are these lines."""
    return b"POST /a HTTP/%b\r\nHost: a.example\r\n%b\r\n%b" % (version, framing, body)


def merged(events: list[Event]) -> list[Event]:
    """Join the neighbouring pieces of a body."""
    joined: list[Event] = []
    for event in events:
        if joined and isinstance(event, Data) and isinstance(joined[-1], Data):
            joined[-1] = Data(joined[-1].data + event.data)
        else:
            joined.append(event)
    return joined


def served(pieces: list[bytes]) -> tuple[list[list[Event]], str]:
    """
    Feed a connection and answer each request once it is whole.

    Returns:
        The events of each whole request; and the name of the error that ended it, or "".
    """
    server = Server1(Limits())
    whole: list[list[Event]] = []
    current: list[Event] = []
    try:
        for piece in pieces:
            events = server.feed(piece)
            while events:
                current += events
                events = []
                if isinstance(current[-1], End):
                    whole.append(merged(current))
                    current = []
                    server.respond(OK)
                    server.end()
                    events = server.next()
    except ClientError as error:
        return whole, type(error).__name__
    return whole, ""


def refusal(octets: bytes, limits: Limits | None = None) -> str:
    """Return the status and text with which these bytes are refused."""
    server = Server1(limits or Limits())
    try:
        events = server.feed(octets)
    except ClientError as error:
        return f"{error.status} {error}"
    return f"passed: {events!r}"


def refusals(cases: dict[bytes, str]) -> dict[bytes, str]:
    """Return what each case is refused with."""
    return {case: refusal(case) for case in cases}


class RequestTests(SynchronousTestCase):
    """feed() gives the message, and only what goes end to end."""

    def test_a_request_without_a_body(self) -> None:
        """A GET is its head and its end, in one turn."""
        self.assertEqual(Server1(Limits()).feed(GET), [asked(), End()])

    def test_names_are_lower_case_and_values_are_bare(self) -> None:
        """Names lose their case, values the white space around them; order stays."""
        request, _ = Server1(Limits()).feed(
            b"GET /a HTTP/1.1\r\nHOST:a.example\r\nX-B: 1 \t\r\naccept:\r\nX-B:\t 2\r\n\r\n"
        )
        self.assertEqual(request, asked(fields=[(b"x-b", b"1"), (b"accept", b""), (b"x-b", b"2")]))

    def test_connection_and_framing_fields_end_here(self) -> None:
        """No field of the connection or of framing stands among the fields."""
        lines = b"".join(
            name + b": 5\r\n"
            for name in (
                b"Keep-Alive",
                b"Proxy-Authorization",
                b"Proxy-Connection",
                b"TE",
                b"HTTP2-Settings",
                b"Content-Length",
            )
        )
        request, *_ = Server1(Limits()).feed(post(lines + b"Connection: keep-alive, TE\r\n"))
        self.assertEqual(request, asked(method=b"POST", length=5))

    def test_a_body_of_known_size_streams(self) -> None:
        """Each piece is passed on as it comes; the end follows the last byte."""
        server = Server1(Limits())
        self.assertEqual(
            [
                server.feed(post(b"Content-Length: 5\r\n")),
                server.feed(b"ab"),
                server.feed(b"cde"),
            ],
            [[asked(method=b"POST", length=5)], [Data(b"ab")], [Data(b"cde"), End()]],
        )

    def test_a_chunked_body_with_trailers(self) -> None:
        """Chunks are joined, harmless trailers are kept, those that could deceive are not."""
        body = (
            b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 9\r\nX_Pomerium_Claim: a\r\n"
            b"Content-Length: 5\r\nCookie: a\r\n\r\n"
        )
        self.assertEqual(
            Server1(Limits()).feed(post(b"Transfer-Encoding: Chunked\r\n", body)),
            [
                asked(method=b"POST", length=None),
                Data(b"abcde"),
                End(((b"x-sum", b"9"),)),
            ],
        )

    def test_one_empty_line_before_a_request_is_passed_over(self) -> None:
        """Old clients send CR LF behind a body; one is let through, a second is not."""
        self.assertEqual(served([b"\r\n" + GET]), ([[asked(), End()]], ""))
        self.assertEqual(served([b"\r\n\r\n" + GET]), ([], "BadMessage"))

    def test_the_same_fields_again_mean_the_same(self) -> None:
        """Remembering the last fields changes nothing, whatever stands in between."""
        again = GET.replace(b"/a", b"/b")
        other = GET.replace(b"a.example", b"b.example")
        self.assertEqual(
            served([GET + again + other + GET]),
            (
                [
                    [asked(), End()],
                    [asked(path=b"/b"), End()],
                    [asked(host=b"b.example"), End()],
                    [asked(), End()],
                ],
                "",
            ),
        )

    def test_fields_remembered_from_http11_do_not_serve_http10(self) -> None:
        """The version is judged each time: a coding is refused in HTTP/1.0 even so."""
        chunked = post(b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n")
        server = Server1(Limits())
        server.feed(chunked)
        server.respond(OK)
        server.end()
        server.next()
        with self.assertRaises(BadMessage) as caught:
            server.feed(chunked.replace(b"HTTP/1.1", b"HTTP/1.0"))
        self.assertEqual(str(caught.exception), "Transfer-Encoding in HTTP/1.0")

    def test_an_upgrade_that_is_remembered_is_for_get_alone(self) -> None:
        """A HEAD with the fields of a WebSocket's GET upgrades nothing."""
        whole, _ = served([WEBSOCKET + WEBSOCKET.replace(b"GET", b"HEAD")])
        self.assertEqual(
            [event.upgrade for message in whole for event in message if isinstance(event, Request)],
            [b"websocket", None],
        )


class UpgradeTests(SynchronousTestCase):
    """Only a proper WebSocket handshake is one."""

    def test_a_websocket(self) -> None:
        """The handshake is recognised in any case, among other connection options."""
        request, end = Server1(Limits()).feed(WEBSOCKET)
        self.assertEqual(
            request,
            asked(
                path=b"/ws",
                upgrade=b"websocket",
                fields=[
                    (b"sec-websocket-version", b"13"),
                    (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
                ],
            ),
        )
        self.assertEqual(end, End())

    def test_anything_less_is_an_ordinary_request(self) -> None:
        """One thing amiss, and the request that follows is read as a request."""
        variants = {
            "h2c": WEBSOCKET.replace(b"WebSocket\r", b"h2c\r"),
            "two protocols": WEBSOCKET.replace(b"WebSocket\r", b"websocket, h2c\r"),
            "post": WEBSOCKET.replace(b"GET", b"POST"),
            "no connection option": WEBSOCKET.replace(b", Upgrade", b""),
            "closing": WEBSOCKET.replace(b"keep-alive,", b"close,"),
            "other version": WEBSOCKET.replace(b" 13", b" 12"),
            "no key": WEBSOCKET.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b""),
            "short key": WEBSOCKET.replace(b"dGhl", b""),
            "http/1.0": WEBSOCKET.replace(b"HTTP/1.1", b"HTTP/1.0"),
            "a body": WEBSOCKET.replace(b"Host", b"Content-Length: 1\r\nHost"),
        }
        self.assertEqual(
            {
                name: [e.upgrade for e in Server1(Limits()).feed(text) if isinstance(e, Request)]
                for name, text in variants.items()
            },
            {name: [None] for name in variants},
        )

    def test_h2c_with_a_body_and_a_request_behind_it(self) -> None:
        """Llhttp takes what follows such a head for a tunnel; here the body is a body."""
        first = post(
            b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n"
            b"Content-Length: 3\r\n",
            b"abc",
        )
        self.assertEqual(
            served([first + GET]),
            ([[asked(method=b"POST", length=3), Data(b"abc"), End()], [asked(), End()]], ""),
        )

    def test_switch_gives_the_bytes_that_came_early(self) -> None:
        """What follows the handshake belongs to the tunnel, and all after it too."""
        server = Server1(Limits())
        server.feed(WEBSOCKET + b"\x81\x00")
        server.feed(b"\xff\xff")
        self.assertEqual(
            server.switch(Response(101, [(b"sec-websocket-accept", b"x")], 0)),
            (
                (
                    b"HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: x\r\n"
                    b"connection: upgrade\r\nupgrade: websocket\r\n\r\n"
                ),
                b"\x81\x00\xff\xff",
            ),
        )
        self.assertEqual(server.feed(b"\0 no HTTP\n"), [Data(b"\0 no HTTP\n")])
        self.assertTrue(server.closed())

    def test_a_refused_handshake_is_an_ordinary_exchange(self) -> None:
        """After a 403 what follows the handshake is the next request (F11)."""
        server = Server1(Limits())
        server.feed(WEBSOCKET + GET)
        server.respond(Response(403, [], 0))
        server.end()
        self.assertEqual(server.next(), [asked(), End()])


class RefusalTests(SynchronousTestCase):
    """Each rule, by the status and the text with which it refuses."""

    def test_framing(self) -> None:
        """F1 and F2: a body's size in two ways, or in one that readers differ on."""
        chunked = b"Transfer-Encoding: chunked\r\n"
        both = "400 head: transfer-encoding can't be present with content-length"
        odd = "400 head: invalid character in content-length"
        codings = "400 head: request has invalid `transfer-encoding`"
        after = "400 head: invalid `transfer-encoding` header value"
        cases = {
            post(b"Content-Length: 5\r\n" + chunked): both,
            post(chunked + b"Content-Length: 5\r\n"): (
                "400 head: content-length can't be present with transfer-encoding"
            ),
            post(b"Content-Length: 5\r\nContent-Length: 5\r\n"): (
                "400 head: duplicate content-length"
            ),
            post(b"Content-Length: 5\r\nContent-Length: 6\r\n"): (
                "400 head: duplicate content-length"
            ),
            post(b"Content-Length: 5, 5\r\n"): odd,
            post(b"Content-Length: +5\r\n"): odd,
            post(b"Content-Length: -0\r\n"): odd,
            post(b"Content-Length: 0x10\r\n"): odd,
            post(b"Content-Length: 1_0\r\n"): odd,
            post(b"Content-Length: 1 0\r\n"): odd,
            post(b"Content-Length: \r\n"): "400 head: empty content-length",
            post(b"Content-Length: %d\r\n" % 10**18): (
                "400 Content-Length is not a number of at most 18 digits"
            ),
            post(b"Content-Length: %d\r\n" % 2**64): "400 head: content-length overflow",
            post(b"Content_Length: 5\r\n"): "400 field name content_length, want hyphens",
            post(b"Transfer.Encoding: chunked\r\n"): (
                "400 field name transfer.encoding, want hyphens"
            ),
            post(b"Transfer-Encoding: xchunked\r\n"): codings,
            post(b"Transfer-Encoding: chunked, identity\r\n"): after,
            post(b"Transfer-Encoding: identity\r\n"): codings,
            post(b"Transfer-Encoding: gzip, chunked\r\n"): ("400 Transfer-Encoding is not chunked"),
            post(b"Transfer-Encoding: chunked, chunked\r\n"): after,
            post(chunked + chunked): after,
            post(b"Transfer-Encoding: chunked\x0b\r\n"): "400 head: invalid header value char",
            post(b"Transfer-Encoding: ,chunked\r\n"): "400 Transfer-Encoding is not chunked",
            post(chunked, version=b"1.0"): "400 Transfer-Encoding in HTTP/1.0",
        }
        self.assertEqual(refusals(cases), cases)

    def test_lines(self) -> None:
        """F4: what another reader could take for a field, or for the end of one."""
        token = "400 head: invalid header token"
        value = "400 head: invalid header value char"
        start = b"GET / HTTP/1.1\r\nHost: a\r\n"
        cases = {
            start + b"A : b\r\n\r\n": token,
            start + b"\tA: b\r\n\r\n": "400 head: unexpected whitespace after header value",
            start + b"A: b\r\n c\r\n\r\n": "400 head: unexpected whitespace after header value",
            start + b": b\r\n\r\n": token,
            start + b"A\r\n\r\n": token,
            start + b"A\x00: b\r\n\r\n": token,
            start + b"A\xc3\xa4: b\r\n\r\n": token,
            start + b"A: b\x00c\r\n\r\n": value,
            start + b"A: b\rc\r\n\r\n": "400 head: missing expected lf after header value",
            start + b"A: b\nc: d\r\n\r\n": "400 head has a line that ends in LF alone",
            start + b"A: b\x7f\r\n\r\n": value,
            start + b"A: \xff\r\n\r\n": "400 a is not UTF-8",
            b"GET / HTTP/1.1\r\n Host: a\r\n\r\n": "400 head: unexpected space after start line",
            b"GET / HTTP/1.1\nHost: a\n\n": "400 head has a line that ends in LF alone",
            b"\x16\x03\x01\x02\x00\x01": "400 head does not begin like one",
        }
        self.assertEqual(refusals(cases), cases)

    def test_request_lines(self) -> None:
        """Method, target and version, parted by single spaces."""
        rest = b"\r\nHost: a\r\n\r\n"
        cases = {
            b"GET  / HTTP/1.1" + rest: "400 request line of 4 words, want 3",
            b"GET / a HTTP/1.1" + rest: "400 request line of 4 words, want 3",
            b"GET /" + rest: "400 request line of 2 words, want 3",
            b"GET /\tHTTP/1.1" + rest: "400 request line of 2 words, want 3",
            b"GET / HTTP/2.0" + rest: "505 HTTP/2.0, want HTTP/1.1 or HTTP/1.0",
            b"GET / HTTP/1.2" + rest: "505 HTTP/1.2, want HTTP/1.1 or HTTP/1.0",
            b"GET / HTTP/0.9" + rest: "505 HTTP/0.9, want HTTP/1.1 or HTTP/1.0",
            b"GET / http/1.1" + rest: "400 request line does not end in an HTTP version",
            b"GET / HTTP/1.10" + rest: "400 request line does not end in an HTTP version",
            b"GET / RTSP/1.0" + rest: "400 request line does not end in an HTTP version",
            b"CONNECT a:443 HTTP/1.1" + rest: "405 method CONNECT",
            b"TRACE / HTTP/1.1" + rest: "405 method TRACE",
            b"BREW / HTTP/1.1" + rest: "501 method BREW",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n": "505 HTTP/2.0, want HTTP/1.1 or HTTP/1.0",
            b"Get / HTTP/1.1" + rest: "400 method is not a word in upper case",
            b"G\xc3\x84T / HTTP/1.1" + rest: "400 method is not a word in upper case",
        }
        self.assertEqual(refusals(cases), cases)

    def test_targets_and_hosts(self) -> None:
        """One host, well formed, and a target that names no other."""
        host = b"\r\nHost: a\r\n\r\n"
        line = b"GET / HTTP/1.1\r\n"
        cases = {
            line + b"\r\n": "400 no Host",
            line + b"X: y\r\n\r\n": "400 no Host",
            b"GET / HTTP/1.0\r\nX: y\r\n\r\n": "400 no Host",
            line + b"Host: a\r\nHost: a\r\n\r\n": "400 host occurs twice",
            line + b"Host: a\r\nhost: b\r\n\r\n": "400 host occurs twice",
            line + b"Host:\r\n\r\n": "400 Host is empty",
            line + b"Host: a/?\r\n\r\n": (
                "400 Host is not a host name or address with an optional port"
            ),
            b"GET /#x HTTP/1.1" + host: "400 target holds byte 0x23",
            b"GET /\x7f HTTP/1.1" + host: "400 target holds byte 0x7f",
            b"GET /\xc3\xa4 HTTP/1.1" + host: "400 target holds byte 0xc3",
            b"GET /?\xff HTTP/1.1" + host: "400 target holds byte 0xff",
            b"GET a HTTP/1.1" + host: "400 head: invalid characters in url",
            b"GET * HTTP/1.1" + host: "400 target is neither a path nor a whole URL",
            b"OPTIONS *x HTTP/1.1" + host: "400 target is neither a path nor a whole URL",
            b"GET http://b/ HTTP/1.1" + host: "400 target and Host name different hosts",
            b"GET http://a:8080/ HTTP/1.1" + host: "400 target and Host name different hosts",
            b"GET http://u@a/ HTTP/1.1" + host: (
                "400 Host is not a host name or address with an optional port"
            ),
            b"GET ftp://a/ HTTP/1.1" + host: "400 target is neither a path nor a whole URL",
        }
        self.assertEqual(refusals(cases), cases)

    def test_duplicates_and_expectations(self) -> None:
        """H8: no second copy of what somebody checks; nothing else is to be expected."""
        once = (
            "authorization",
            "content-type",
            "origin",
            "range",
            "referer",
            "sec-fetch-dest",
            "sec-fetch-mode",
            "sec-fetch-site",
            "x-pomerium-authorization",
            "x-requested-with",
        )
        cases = {
            GET[:-2] + f"{name}: a\r\n{name.title()}: b\r\n\r\n".encode(): (
                f"400 {name} occurs twice"
            )
            for name in once
        }
        cases[GET[:-2] + b"Expect: 200-ok\r\n\r\n"] = "400 Expect is not 100-continue"
        self.assertEqual(refusals(cases), cases)

    def test_connection_may_not_list_what_we_rely_on(self) -> None:
        """H6: a list with Cookie, Host and the like is refused, in any case."""
        cases = {
            GET[:-2] + b"Connection: keep-alive, " + spelling + b"\r\n\r\n": (
                f"400 Connection lists {name}"
            )
            for name in ("authorization", "cookie", "content-length", "host")
            for spelling in (name.encode(), name.upper().encode(), name.title().encode())
        }
        self.assertEqual(refusals(cases), cases)

    def test_connection_drops_nothing_else(self) -> None:
        """H6: X-Real-Ip and Remote-User in Connection stay where they are."""
        fields = [(b"x-real-ip", b"1"), (b"remote-user", b"a"), (b"x-pomerium-claim", b"b")]
        lines = b"".join(b"%b: %b\r\n" % field for field in fields)
        request, _ = Server1(Limits()).feed(
            GET[:-2] + lines + b"Connection: X-Real-Ip, remote-user,X-POMERIUM-claim\r\n\r\n"
        )
        self.assertEqual(request, asked(fields=fields))

    def test_chunks(self) -> None:
        """F3: sizes and line ends that readers differ on."""
        size = "400 chunk size is not hex digits and CR LF"
        end = "400 chunk does not end in CR LF"
        bodies = {
            b"0_2e\r\n": size,
            b"Z\r\n": size,
            b"0x3\r\nabc\r\n": size,
            b"+3\r\nabc\r\n": size,
            b" 3\r\nabc\r\n": size,
            b"3 \r\nabc\r\n": size,
            b"3\nabc\r\n": size,
            b"3\rabc\r\n": size,
            b"\r\n": size,
            b"-1\r\n": size,
            b"3;a\rb\r\nabc\r\n": size,
            b"3;a\nabc\r\n": size,
            b"1" * 17 + b"\r\n": size,
            b"3\r\nabcd\r\n": end,
            b"3\r\nabc\n\r\n": end,
            b"3\r\nabc0\r\n\r\n": end,
            b"3\r\nabc\rX": end,
            b"0\r\nA: b\nC: d\r\n\r\n": "400 a field line that cannot be read",
            b"0\r\nA : b\r\n\r\n": "400 a field line that cannot be read",
            b"0\r\nA: b\r\n c\r\n\r\n": "400 a field line that cannot be read",
            b"0\r\nA: \x00\r\n\r\n": "400 a field line that cannot be read",
        }
        found = {body: refusal(post(b"Transfer-Encoding: chunked\r\n", body)) for body in bodies}
        self.assertEqual(found, bodies)

    def test_nothing_is_read_after_a_refusal(self) -> None:
        """What comes behind a refused head is never a request; the answer closes."""
        server = Server1(Limits())
        with self.assertRaises(BadMessage):
            server.feed(b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual(server.feed(GET), [])
        self.assertEqual(
            server.respond(Response(400, [], 0)),
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        )
        server.end()
        self.assertFalse(server.keep_alive)
        self.assertEqual(server.next(), [])


class BoundTests(SynchronousTestCase):
    """Nothing grows without a bound while a message arrives."""

    def test_head(self) -> None:
        """431 once a head is over its bound, whether its end has come or not."""
        limits = Limits(head_size=200)
        long = GET[:-2] + b"A: " + b"b" * 200
        text = "431 head of more than 200 bytes"
        self.assertEqual([refusal(long + b"\r\n\r\n", limits), refusal(long, limits)], [text, text])

    def test_a_head_of_just_the_bound_passes(self) -> None:
        """The bound itself is allowed, and one byte more is not."""
        head = GET[:-2] + b"A: b\r\n\r\n"
        self.assertEqual(
            [
                refusal(head, Limits(head_size=len(head)))[:6],
                refusal(head, Limits(head_size=len(head) - 1)),
            ],
            ["passed", f"431 head of more than {len(head) - 1} bytes"],
        )

    def test_a_slow_drip(self) -> None:
        """Byte by byte, the bound ends a head at the same place."""
        server = Server1(Limits(head_size=100))
        taken = 0
        with self.assertRaises(ClientError):
            for octet in GET[:-2] + b"A: " + b"b" * 1000:
                server.feed(bytes((octet,)))
                taken += 1
        self.assertEqual(taken, 100)

    def test_fields_and_target(self) -> None:
        """431 for too many fields and for a target too long."""
        lines = b"".join(b"A-%d: b\r\n" % number for number in range(4))
        self.assertEqual(
            [
                refusal(GET[:-2] + lines + b"\r\n", Limits(field_count=4)),
                refusal(GET.replace(b"/a", b"/" + b"a" * 20), Limits(target_size=20)),
            ],
            ["431 5 fields, at most 4", "431 target of 21 bytes, at most 20"],
        )

    def test_chunk_extensions_and_trailers(self) -> None:
        """Refused once over the bound: in one piece, in many, or without an end."""
        limits = Limits(trailer_size=50)
        extensions = "400 chunk extensions of more than 50 bytes"
        line = "400 chunk size line of more than 256 bytes"
        trailers = "400 trailers of more than 50 bytes"
        bodies = {
            b"1;" + b"x" * 50 + b"\r\na\r\n": extensions,
            b"1;" + b"x" * 300: line,
            b"1;" + b"x" * 300 + b"\r\na\r\n": line,
            b"1;xxxxxxxxx\r\na\r\n" * 6: extensions,
            b"0\r\nA: " + b"b" * 50 + b"\r\n\r\n": trailers,
            b"0\r\nA: " + b"b" * 200: trailers,
        }
        found = {
            body: refusal(post(b"Transfer-Encoding: chunked\r\n", body), limits) for body in bodies
        }
        self.assertEqual(found, bodies)

    def test_pipelined_input(self) -> None:
        """Reading is to stop at the bound; who goes on all the same is refused."""
        server = Server1(Limits(pipelined=100, buffered=100))
        server.feed(GET + b"a" * 99)
        self.assertFalse(server.waiting)
        server.feed(b"a")
        self.assertTrue(server.waiting)
        with self.assertRaises(BadMessage) as caught:
            server.feed(b"a" * 101)
        self.assertEqual(str(caught.exception), "201 bytes behind a request that is being answered")


class PipelineTests(SynchronousTestCase):
    """F5: one message at a time, in order."""

    def test_later_requests_wait(self) -> None:
        """Nothing of the second request is given before the first exchange is over."""
        server = Server1(Limits())
        self.assertEqual(server.feed(GET + GET.replace(b"/a", b"/b")), [asked(), End()])
        self.assertEqual(server.feed(GET.replace(b"/a", b"/c")), [])
        self.assertEqual(server.next(), [])
        order = []
        for _ in range(2):
            server.respond(OK)
            server.end()
            order += server.next()
        self.assertEqual(order, [asked(path=b"/b"), End(), asked(path=b"/c"), End()])

    def test_a_bad_one_is_refused_in_its_turn(self) -> None:
        """The first is answered before the second is judged."""
        server = Server1(Limits())
        self.assertEqual(server.feed(GET + b"GET / HTTP/1.1\r\n\r\n"), [asked(), End()])
        server.respond(OK)
        server.end()
        with self.assertRaises(BadMessage) as caught:
            server.next()
        self.assertEqual(str(caught.exception), "no Host")

    def test_a_bad_one_behind_a_head_gets_a_page(self) -> None:
        """What could not be read was no HEAD: its answer has the body that it announces."""
        server = Server1(Limits())
        server.feed(GET.replace(b"GET", b"HEAD"))
        server.respond(OK)
        server.end()
        server.next()
        with self.assertRaises(VersionNotSupported):
            server.feed(GET.replace(b"1.1", b"2.0"))
        server.respond(Response(505, [], 4), close=True)
        self.assertEqual(server.data(b"page"), b"page")

    def test_nothing_follows_a_request_that_closes(self) -> None:
        """Connection: close and HTTP/1.0 end it, whatever was sent behind."""
        for closing in (
            GET[:-2] + b"Connection: x, CLOSE\r\n\r\n",
            GET[:-2] + b"Connection: x\r\nConnection: close\r\n\r\n",
            GET.replace(b"1.1", b"1.0"),
        ):
            server = Server1(Limits())
            server.feed(closing + GET)
            self.assertIn(b"connection: close\r\n", server.respond(OK))
            server.end()
            self.assertFalse(server.keep_alive)
            self.assertEqual(server.next(), [])

    def test_the_request_has_to_be_whole(self) -> None:
        """An answer that comes early leaves the connection unfit until the body is in."""
        server = Server1(Limits())
        server.feed(post(b"Content-Length: 3\r\n"))
        server.respond(OK)
        server.end()
        self.assertFalse(server.keep_alive)
        server.feed(b"abc")
        self.assertTrue(server.keep_alive)


class StateTests(SynchronousTestCase):
    """What the connection's keeper asks."""

    def test_idle(self) -> None:
        """Idle means: nothing of a next message is here."""
        server = Server1(Limits())
        seen = [server.idle]
        for piece in (b"\r\n", b"GET /a HT", GET[9:]):
            server.feed(piece)
            seen.append(server.idle)
        server.respond(OK)
        server.end()
        seen.append(server.idle)
        server.next()
        self.assertEqual([*seen, server.idle], [True, True, False, False, False, True])

    def test_repr_shows_no_fields(self) -> None:
        """What waits in a connection (cookies, tokens) is not in its repr."""
        server = Server1(Limits())
        server.feed(GET + b"GET / HTTP/1.1\r\nCookie: secret\r\n")
        server.feed(b"secret")
        self.assertNotIn("secret", repr(server))

    def test_the_end_of_the_clients_bytes(self) -> None:
        """It cuts a message that has begun and is not whole, and nothing else."""
        begun = {
            b"": True,
            b"GET": False,
            GET: True,
            post(b"Content-Length: 3\r\n", b"ab"): False,
            post(b"Content-Length: 3\r\n", b"abc"): True,
            post(b"Transfer-Encoding: chunked\r\n", b"0\r\n"): False,
        }
        found = {}
        for octets in begun:
            server = Server1(Limits())
            server.feed(octets)
            found[octets] = server.closed()
        self.assertEqual(found, begun)

    def test_what_was_pipelined_before_the_end_is_served(self) -> None:
        """A client that half-closes gets its answers; then nothing more can come."""
        server = Server1(Limits())
        server.feed(GET + GET)
        server.closed()
        server.respond(OK)
        server.end()
        self.assertEqual(server.next(), [asked(), End()])
        server.respond(OK)
        server.end()
        self.assertFalse(server.keep_alive)

    def test_half_a_request_before_the_end(self) -> None:
        """Its turn come, it is refused: the rest of it never will."""
        server = Server1(Limits())
        server.feed(GET + GET[:-1])
        server.closed()
        server.respond(OK)
        server.end()
        with self.assertRaises(BadMessage) as caught:
            server.next()
        self.assertEqual(str(caught.exception), "connection ended inside a request")

    def test_continue_once(self) -> None:
        """100 goes out once, to who asked and waits."""
        server = Server1(Limits())
        server.feed(post(b"Expect: 100-Continue\r\nContent-Length: 1\r\n"))
        self.assertTrue(server.expects_continue)
        self.assertEqual(
            [server.continue_(), server.continue_()],
            [b"HTTP/1.1 100 Continue\r\n\r\n", b""],
        )

    def test_nobody_else_gets_100(self) -> None:
        """Not HTTP/1.0, not without a body, not once the body has begun to come."""
        expect = b"Expect: 100-continue\r\n"
        for request in (
            post(expect + b"Content-Length: 1\r\n", version=b"1.0"),
            post(expect),
            post(expect + b"Content-Length: 2\r\n", b"a"),
            post(b"Content-Length: 1\r\n"),
        ):
            server = Server1(Limits())
            server.feed(request)
            self.assertEqual(server.continue_(), b"")

    def test_an_answer_instead_of_100_closes(self) -> None:
        """What the client sends next could be the body or a request: neither is read."""
        server = Server1(Limits())
        server.feed(post(b"Expect: 100-continue\r\nContent-Length: 1\r\n"))
        self.assertIn(b"connection: close", server.respond(Response(403, [], 0)))


class AnswerTests(SynchronousTestCase):
    """respond(), data() and end() write what any client reads in one way."""

    def answered(self, request: bytes, response: Response, *pieces: bytes) -> bytes:
        """Return all that goes out for an answer to this request."""
        server = Server1(Limits())
        server.feed(request)
        out = [server.respond(response), *map(server.data, pieces), server.end()]
        return b"".join(out)

    def test_known_size(self) -> None:
        """Content-Length, and the body as it is."""
        self.assertEqual(
            self.answered(GET, Response(200, [(b"a", b"b")], 3), b"ab", b"c"),
            b"HTTP/1.1 200 OK\r\na: b\r\ncontent-length: 3\r\n\r\nabc",
        )

    def test_unknown_size(self) -> None:
        """Chunked; an empty piece does not end it."""
        self.assertEqual(
            self.answered(GET, Response(200, [], None), b"ab", b"", b"c" * 16),
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
            b"2\r\nab\r\n10\r\ncccccccccccccccc\r\n0\r\n\r\n",
        )

    def test_http10(self) -> None:
        """To an HTTP/1.0 client the body ends with the connection, unless its size is known."""
        old = GET.replace(b"1.1", b"1.0")
        self.assertEqual(
            [
                self.answered(old, Response(200, [], None), b"ab"),
                self.answered(old, Response(200, [], 2), b"ab"),
            ],
            [
                b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nab",
                b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nab",
            ],
        )

    def test_no_body(self) -> None:
        """HEAD, 204 and 304 send none, and only 204 keeps quiet about its size."""
        head = GET.replace(b"GET", b"HEAD")
        self.assertEqual(
            [
                self.answered(head, Response(200, [], 9), b"x"),
                self.answered(head, Response(200, [], None), b"x"),
                self.answered(GET, Response(304, [], 9), b"x"),
                self.answered(GET, Response(304, [], None)),
                self.answered(GET, Response(204, [], 0)),
            ],
            [
                b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",
                b"HTTP/1.1 200 OK\r\n\r\n",
                b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n",
                b"HTTP/1.1 304 Not Modified\r\n\r\n",
                b"HTTP/1.1 204 No Content\r\n\r\n",
            ],
        )

    def test_trailers(self) -> None:
        """They follow the last chunk, and are left out where there is no place for them."""
        trailers: tuple[Field, ...] = ((b"x-sum", b"9"),)
        server = Server1(Limits())
        server.feed(GET)
        server.respond(Response(200, [], None))
        self.assertEqual(server.end(trailers), b"0\r\nx-sum: 9\r\n\r\n")
        server.next()
        server.feed(GET)
        server.respond(Response(200, [], 0))
        self.assertEqual(server.end(trailers), b"")

    def test_date(self) -> None:
        """The keeper's date stands in for one that is missing, and for no other."""
        server = Server1(Limits(), date=lambda: b"today")
        server.feed(GET)
        first = server.respond(OK)
        server.end()
        server.next()
        server.feed(GET)
        self.assertEqual(
            [first, server.respond(Response(200, [(b"date", b"then")], 0))],
            [
                b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\ndate: today\r\n\r\n",
                b"HTTP/1.1 200 OK\r\ndate: then\r\ncontent-length: 0\r\n\r\n",
            ],
        )

    def test_a_status_without_a_name(self) -> None:
        """It has an empty reason phrase."""
        self.assertEqual(
            self.answered(GET, Response(599, [], 0)),
            b"HTTP/1.1 599 \r\ncontent-length: 0\r\n\r\n",
        )

    def test_another_size_than_announced(self) -> None:
        """Neither too much nor too little looks whole: the caller is told to abort."""
        server = Server1(Limits())
        server.feed(GET)
        server.respond(Response(200, [], 3))
        with self.assertRaises(UpstreamBroken) as short:
            server.end()
        server.data(b"abc")
        with self.assertRaises(UpstreamBroken) as long:
            server.data(b"d")
        self.assertEqual(
            [str(short.exception), str(long.exception), server.keep_alive],
            ["body of 3 bytes announced, 0 came", "body of 3 bytes announced, 4 came", False],
        )

    def test_no_field_becomes_two(self) -> None:
        """H9: a name or value with a line end or NUL is never written."""
        for octet in (b"\r", b"\n", b"\0", b"\r\n"):
            for field in ((b"a", b"b" + octet + b"c: d"), (b"a" + octet + b"b", b"c")):
                server = Server1(Limits())
                server.feed(GET)
                with self.assertRaises(PomeriumError) as caught:
                    server.respond(Response(200, [field], 0))
                self.assertEqual(str(caught.exception), "a field to send holds CR, LF or NUL")

    def test_calls_out_of_order(self) -> None:
        """A second answer, an interim one, or a body without a head is our bug."""
        server = Server1(Limits())
        server.feed(GET)
        for call in (
            lambda: server.respond(Response(103, [], 0)),
            lambda: server.data(b""),
            server.end,
        ):
            with self.assertRaises(PomeriumError):
                call()
        server.respond(OK)
        with self.assertRaises(PomeriumError) as caught:
            server.respond(OK)
        self.assertEqual(str(caught.exception), "status 200 where no answer may begin")
        with self.assertRaises(PomeriumError) as caught:
            server.switch(Response(101, [], 0))
        self.assertEqual(str(caught.exception), "a tunnel where no answer may begin")

    @given(st.lists(st.binary(max_size=50), max_size=6), st.booleans())
    def test_h11_reads_what_was_meant(self, pieces: list[bytes], known: bool) -> None:
        """An independent reader finds the status, the fields, the body and its end."""
        length = sum(map(len, pieces)) if known else None
        reader = h11.Connection(h11.CLIENT)
        reader.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
        reader.send(h11.EndOfMessage())
        reader.receive_data(self.answered(GET, Response(200, [(b"a", b"b")], length), *pieces))
        head = reader.next_event()
        assert isinstance(head, h11.Response)
        self.assertEqual((head.status_code, head.headers[0]), (200, (b"a", b"b")))
        body = b""
        while isinstance(event := reader.next_event(), h11.Data):
            body += event.data
        self.assertIsInstance(event, h11.EndOfMessage)
        self.assertEqual(body, b"".join(pieces))
        self.assertEqual(reader.their_state, h11.DONE)


bodies = st.lists(st.binary(min_size=1, max_size=40), max_size=4)


@st.composite
def wires(draw: st.DrawFn) -> bytes:
    """Give a connection's bytes: requests, whole or broken, one behind the other."""
    wire = b""
    for _ in range(draw(st.integers(1, 4))):
        pieces = draw(bodies)
        chunks = b"".join(b"%X;q=1\r\n%b\r\n" % (len(p), p) for p in pieces)
        wire += draw(
            st.sampled_from(
                [
                    GET,
                    b"\r\n" + GET,
                    WEBSOCKET,
                    post(b"Content-Length: %d\r\n" % len(b"".join(pieces)), b"".join(pieces)),
                    post(b"Transfer-Encoding: chunked\r\n", chunks + b"0\r\nA: b\r\n\r\n"),
                    post(b"Transfer-Encoding: chunked\r\n", chunks + b"0\r\n\r\n"),
                    post(b"Transfer-Encoding: chunked\r\n", chunks + b"3\r\nabcd\r\n"),
                    GET.replace(b"Host", b"Hosts"),
                    GET.replace(b"\r\n", b"\n"),
                    GET[:-2] + b" folded: a\r\n\r\n",
                    GET[:-9],
                ]
            )
        )
    return wire


class CuttingTests(SynchronousTestCase):
    """The network's cuts mean nothing."""

    @settings(max_examples=300)
    @given(wires(), st.lists(st.integers(0, 600), max_size=12))
    def test_any_cutting_gives_the_same(self, wire: bytes, places: list[int]) -> None:
        """Fed in any pieces, a connection gives the same requests and the same refusal."""
        marks = [0, *sorted(place % (len(wire) + 1) for place in places), len(wire)]
        pieces = [wire[a:b] for a, b in pairwise(marks)]
        self.assertEqual(served(pieces), served([wire]))

    @given(wires())
    def test_byte_by_byte(self, wire: bytes) -> None:
        """The finest cutting of all gives the same, too."""
        self.assertEqual(served([bytes((octet,)) for octet in wire]), served([wire]))

    @given(bodies, st.booleans())
    def test_h11_agrees_on_what_passes(self, pieces: list[bytes], chunked: bool) -> None:
        """What we let through, an independent reader reads in the same way."""
        body = b"".join(pieces)
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"
        wire = (
            post(b"Transfer-Encoding: chunked\r\n", chunks)
            if chunked
            else post(b"Content-Length: %d\r\n" % len(body), body)
        )
        reader = h11.Connection(h11.SERVER)
        reader.receive_data(wire)
        self.assertIsInstance(reader.next_event(), h11.Request)
        seen = b""
        while isinstance(event := reader.next_event(), h11.Data):
            seen += event.data
        ours = [event for event in Server1(Limits()).feed(wire) if isinstance(event, Data)]
        self.assertEqual(b"".join(piece.data for piece in ours), seen)
