"""Tests for pomeriumd.http.client1: what an upstream is sent, and what it answers."""

from __future__ import annotations

from itertools import pairwise

import h11
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.errors import BadMessage, PomeriumError, UpstreamBroken
from pomeriumd.http.client1 import Client1, Event, _framing
from pomeriumd.http.events import Data, End, Response
from pomeriumd.http.fields import field_lines, read_fields
from pomeriumd.http.limits import Limits

HOST = field_lines([(b"host", b"app:8080")])

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"

OK_EVENTS = [Response(200, [], 2), Data(b"ab"), End()]


def asking(
    method: bytes = b"GET", *, upgrade: bytes | None = None, limits: Limits | None = None
) -> Client1:
    """Return a client whose request is out, whole."""
    client = Client1(limits or Limits())
    client.request(method, b"/", HOST, 0, upgrade=upgrade)
    client.end()
    return client


def answer(lines: bytes, body: bytes = b"", status: bytes = b"200 OK") -> bytes:
    """Return an answer with these field lines."""
    return b"HTTP/1.1 %b\r\n%b\r\n%b" % (status, lines, body)


def merged(events: list[Event]) -> list[Event]:
    """Join the neighbouring pieces of a body."""
    joined: list[Event] = []
    for event in events:
        if joined and isinstance(event, Data) and isinstance(joined[-1], Data):
            joined[-1] = Data(joined[-1].data + event.data)
        else:
            joined.append(event)
    return joined


def heard(pieces: list[bytes], method: bytes = b"GET") -> tuple[list[Event], bool] | str:
    """Return what an answer in pieces means and if the connection is reusable; or "broken"."""
    client = asking(method)
    events: list[Event] = []
    try:
        for piece in pieces:
            events += client.feed(piece)
    except UpstreamBroken:
        return "broken"
    return merged(events), client.reusable


def breakage(octets: bytes, **limits: int) -> str:
    """Return the text with which an answer is given up."""
    client = asking(limits=Limits(**limits))
    try:
        events = client.feed(octets)
    except UpstreamBroken as error:
        assert not client.reusable
        return str(error)
    return f"passed: {events!r}"


def breakages(cases: dict[bytes, str]) -> dict[bytes, str]:
    """Return what each case is given up with."""
    return {case: breakage(case) for case in cases}


class RequestTests(SynchronousTestCase):
    """request(), data() and end() write what any upstream reads in one way."""

    def test_without_a_body(self) -> None:
        """Names go as they are; a GET announces no body, a POST announces none by number."""
        client = Client1(Limits())
        self.assertEqual(
            client.request(b"GET", b"/a?b", field_lines([*read_fields(HOST), (b"x", b"y")]), 0),
            b"GET /a?b HTTP/1.1\r\nhost: app:8080\r\nx: y\r\n\r\n",
        )
        self.assertEqual(
            Client1(Limits()).request(b"POST", b"/", HOST, 0),
            b"POST / HTTP/1.1\r\nhost: app:8080\r\ncontent-length: 0\r\n\r\n",
        )

    def test_known_size(self) -> None:
        """Content-Length, and the body as it is."""
        client = Client1(Limits())
        self.assertEqual(
            [client.request(b"PUT", b"/", HOST, 3), client.data(b"abc"), client.end()],
            [b"PUT / HTTP/1.1\r\nhost: app:8080\r\ncontent-length: 3\r\n\r\n", b"abc", b""],
        )

    def test_unknown_size(self) -> None:
        """Chunked, with trailers behind the last chunk."""
        client = Client1(Limits())
        self.assertEqual(
            [
                client.request(b"PUT", b"/", HOST, None),
                client.data(b"abc"),
                client.data(b""),
                client.end(((b"x-sum", b"9"),)),
            ],
            [
                b"PUT / HTTP/1.1\r\nhost: app:8080\r\ntransfer-encoding: chunked\r\n\r\n",
                b"3\r\nabc\r\n",
                b"",
                b"0\r\nx-sum: 9\r\n\r\n",
            ],
        )

    def test_upgrade(self) -> None:
        """The upgrade is asked for in the connection's own fields."""
        self.assertEqual(
            Client1(Limits()).request(b"GET", b"/", HOST, 0, upgrade=b"websocket"),
            b"GET / HTTP/1.1\r\nhost: app:8080\r\nconnection: upgrade\r\n"
            b"upgrade: websocket\r\n\r\n",
        )

    def test_another_size_than_announced(self) -> None:
        """Neither too much nor too little looks whole: the caller is told to abort."""
        texts = []
        for length, body in ((3, b"ab"), (3, b"abcd"), (0, b"a")):
            client = Client1(Limits())
            client.request(b"PUT", b"/", HOST, length)
            with self.assertRaises(BadMessage) as caught:
                client.data(body)
                client.end()
            texts.append(str(caught.exception))
        self.assertEqual(
            texts,
            [
                "body of 3 bytes announced, 2 came",
                "body of 3 bytes announced, 4 came",
                "body of 0 bytes announced, 1 came",
            ],
        )

    def test_nothing_becomes_two(self) -> None:
        """H9: no field, target or method with a line end, NUL or space is written."""
        fields = "a field to send holds CR, LF or NUL"
        words = "a target or method to send is not one word"
        cases: list[tuple[bytes, bytes, bytes, str]] = [
            (b"GET", b"/", b"a\r\nb: c", fields),
            (b"GET", b"/", b"a\n", fields),
            (b"GET", b"/", b"\r", fields),
            (b"GET", b"/", b"\0", fields),
            (b"GET", b"/\r\n", b"a", words),
            (b"GET", b"/ HTTP/1.1", b"a", words),
            (b"GET /", b"/", b"a", words),
        ]
        for method, target, value, text in cases:
            with self.assertRaises(PomeriumError) as caught:
                Client1(Limits()).request(method, target, field_lines([(b"x", value)]), 0)
            self.assertEqual(str(caught.exception), text)

    def test_one_request_at_a_time(self) -> None:
        """A second request before the answer, or a body before a head, is our bug."""
        client = Client1(Limits())
        for call in (lambda: client.data(b"a"), client.end):
            with self.assertRaises(PomeriumError):
                call()
        with self.assertRaises(PomeriumError) as caught:
            asking().request(b"GET", b"/", HOST, 0)
        self.assertEqual(str(caught.exception), "a request on a connection that is not free")

    @given(st.lists(st.binary(max_size=50), max_size=6), st.booleans())
    def test_h11_reads_what_was_meant(self, pieces: list[bytes], known: bool) -> None:
        """An independent reader finds the method, the target, the body and its end."""
        client = Client1(Limits())
        length = sum(map(len, pieces)) if known else None
        out = [client.request(b"PUT", b"/a?b", HOST, length)]
        out += [*map(client.data, pieces), client.end()]
        reader = h11.Connection(h11.SERVER)
        reader.receive_data(b"".join(out))
        head = reader.next_event()
        assert isinstance(head, h11.Request)
        self.assertEqual((head.method, head.target), (b"PUT", b"/a?b"))
        body = b""
        while isinstance(event := reader.next_event(), h11.Data):
            body += event.data
        self.assertIsInstance(event, h11.EndOfMessage)
        self.assertEqual(body, b"".join(pieces))


class AnswerTests(SynchronousTestCase):
    """feed() gives the answer, and only what goes end to end."""

    def test_known_size(self) -> None:
        """Head, body and end; the connection is free again."""
        self.assertEqual(heard([OK]), (OK_EVENTS, True))

    def test_fields(self) -> None:
        """Names lose their case; the fields of the connection and of framing end here."""
        lines = (
            b"Content-Length: 0\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\n"
            b"Upgrade: h2c\r\nProxy-Connection: x\r\nSet-Cookie: a\r\nSET-COOKIE: b \r\nA:\r\n"
        )
        self.assertEqual(
            heard([answer(lines)]),
            (
                [
                    Response(200, [(b"set-cookie", b"a"), (b"set-cookie", b"b"), (b"a", b"")], 0),
                    End(),
                ],
                True,
            ),
        )

    def test_latin1_values_pass(self) -> None:
        """What old applications write into a value is handed through byte by byte."""
        found = heard([answer(b"Content-Length: 0\r\nA: caf\xe9\r\n")])
        self.assertEqual(found, ([Response(200, [(b"a", b"caf\xe9")], 0), End()], True))

    def test_chunked(self) -> None:
        """Chunks are joined; of the trailers, those that could deceive are gone."""
        body = b"3;a\r\nabc\r\n0\r\nGrpc-Status: 0\r\nSet-Cookie: a\r\nX-Pomerium-A: b\r\n\r\n"
        self.assertEqual(
            heard([answer(b"Transfer-Encoding: chunked\r\n", body)]),
            ([Response(200, [], None), Data(b"abc"), End(((b"grpc-status", b"0"),))], True),
        )

    def test_until_the_end_of_the_connection(self) -> None:
        """Such a body is whole only if the end was meant."""
        client = asking()
        self.assertEqual(
            [client.feed(answer(b"", b"ab")), client.feed(b"c"), client.closed(clean=True)],
            [[Response(200, [], None), Data(b"ab")], [Data(b"c")], [End()]],
        )
        self.assertFalse(client.reusable)
        cut = asking()
        cut.feed(answer(b"", b"ab"))
        with self.assertRaises(UpstreamBroken) as caught:
            cut.closed(clean=False)
        self.assertEqual(str(caught.exception), "connection ended inside the answer")

    def test_answers_without_a_body(self) -> None:
        """HEAD, 204 and 304 end with their head, whatever their fields announce."""
        lines = b"Content-Length: 5\r\n"
        self.assertEqual(
            [
                heard([answer(lines)], b"HEAD"),
                heard([answer(b"Transfer-Encoding: chunked\r\n")], b"HEAD"),
                heard([answer(lines, status=b"304 Not Modified")]),
                heard([answer(b"", status=b"304 Not Modified")]),
                heard([answer(lines, status=b"204 No Content")]),
            ],
            [
                ([Response(200, [], 5), End()], True),
                ([Response(200, [], None), End()], True),
                ([Response(304, [], 5), End()], True),
                ([Response(304, [], None), End()], True),
                ([Response(204, [], 0), End()], True),
            ],
        )

    def test_an_interim_answer_with_a_body(self) -> None:
        """It has none: a reader that believes its fields takes the final answer for the body."""
        bodies = [b"Transfer-Encoding: chunked", b"transfer-encoding: x"]
        bodies += [b"Content-Length: 17", b"Content-Length: 00", b"content-length: 1"]
        for status in (b"100", b"102", b"103", b"199"):
            for body in bodies:
                head = b"HTTP/1.1 %b Go on\r\n%b\r\n\r\n" % (status, body)
                said = breakage(head + OK)
                self.assertEqual(said, f"status {status.decode()} with a body", body)
        none = b"HTTP/1.1 100 Go on\r\nContent-Length: 0\r\n\r\n"
        self.assertEqual(heard([none + OK]), (OK_EVENTS, True))

    def test_interim_answers_are_read_over(self) -> None:
        """100 and 103 are not the answer."""
        early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
        self.assertEqual(heard([early + OK]), (OK_EVENTS, True))

    def test_status_lines(self) -> None:
        """A missing reason is allowed, and an unusual status is passed on."""
        lines = b"Content-Length: 0\r\n"
        self.assertEqual(
            [
                heard([answer(lines, status=status)])[0]
                for status in (b"200", b"200 ", b"599 Odd \xe9", b"999 No")
            ],
            [[Response(status, [], 0), End()] for status in (200, 200, 599, 999)],
        )

    def test_tunnel(self) -> None:
        """After a 101 that was asked for, what came with it is there for the taking."""
        client = asking(upgrade=b"websocket")
        head = answer(
            b"Upgrade: WebSocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n",
            b"\x81\x00",
            b"101 Switching Protocols",
        )
        self.assertEqual(client.feed(head), [Response(101, [(b"sec-websocket-accept", b"x")], 0)])
        self.assertEqual([client.trailing(), client.trailing()], [b"\x81\x00", b""])
        self.assertEqual(client.feed(b"\xff"), [Data(b"\xff")])
        self.assertEqual(client.closed(clean=False), [])
        self.assertFalse(client.reusable)

    def test_a_refused_upgrade_is_an_ordinary_answer(self) -> None:
        """Anything but 101 is read as what it is."""
        self.assertEqual(asking(upgrade=b"websocket").feed(OK), OK_EVENTS)


class ReuseTests(SynchronousTestCase):
    """A connection goes back to the pool only when nothing of an exchange is left in it."""

    def test_one_exchange_after_another(self) -> None:
        """Whole both ways, it is free; and `began` is about the current request."""
        client = Client1(Limits())
        seen = [client.reusable]
        for _ in range(2):
            client.request(b"GET", b"/", HOST, 0)
            client.end()
            seen += [client.reusable, client.began]
            self.assertEqual(client.feed(OK), OK_EVENTS)
            seen += [client.reusable, client.began]
        self.assertEqual(seen, [True, *[False, False, True, True] * 2])

    def test_what_forbids_it(self) -> None:
        """The upstream's word, its age, or a byte too many."""
        close = b"Content-Length: 0\r\nConnection: "
        chunked = b"Transfer-Encoding: chunked\r\n"
        no_content = b"204 No Content"
        answers = {
            "close": answer(close + b"Close\r\n"),
            "close among others": answer(close + b"x, close\r\n"),
            "close in a second field": answer(close + b"x\r\nConnection: close\r\n"),
            "http/1.0": OK.replace(b"1.1", b"1.0"),
            "http/1.0 keep-alive": answer(close + b"keep-alive\r\n").replace(b"1.1", b"1.0"),
            "left over": OK + b"\r\n",
            "a second answer": OK + OK,
            "left over behind chunks": answer(chunked, b"0\r\n\r\nH"),
            "left over behind no body": answer(b"Content-Length: 1\r\n", b"a", no_content),
        }
        found = {name: heard([octets]) for name, octets in answers.items()}
        self.assertEqual({name: found[name][1] for name in answers}, dict.fromkeys(answers, False))

    def test_bytes_that_nobody_asked_for(self) -> None:
        """Before a request or after an answer they are nobody's answer, and end its use."""
        fresh = Client1(Limits())
        used = asking()
        used.feed(OK)
        for client in (fresh, used):
            self.assertEqual(client.feed(b"HTTP/1.1 408 Timeout\r\n\r\n"), [])
            self.assertFalse(client.reusable)

    def test_an_answer_before_the_whole_request(self) -> None:
        """F6: the rest of the body might be read as the next request."""
        for length in (3, None):
            client = Client1(Limits())
            client.request(b"PUT", b"/", HOST, length)
            client.data(b"ab")
            self.assertEqual(client.feed(OK), OK_EVENTS)
            client.data(b"c")
            client.end()
            self.assertFalse(client.reusable)

    def test_an_answer_on_the_last_byte(self) -> None:
        """Once all announced bytes are out, the answer may come before end() is called."""
        client = Client1(Limits())
        client.request(b"PUT", b"/", HOST, 2)
        client.data(b"ab")
        client.feed(OK)
        client.end()
        self.assertTrue(client.reusable)

    def test_the_end_of_the_connection(self) -> None:
        """Between exchanges it is nothing; inside one, or before an answer, it is broken."""
        idle = asking()
        idle.feed(OK)
        self.assertEqual([idle.closed(clean=True), idle.reusable], [[], False])
        texts = {}
        for begun in (b"", b"HTTP", OK[:-1], answer(b"Transfer-Encoding: chunked\r\n", b"0\r\n")):
            client = asking()
            client.feed(begun)
            with self.assertRaises(UpstreamBroken) as caught:
                client.closed(clean=True)
            texts[begun] = str(caught.exception)
        inside = "connection ended inside the answer"
        self.assertEqual(
            list(texts.values()), ["connection ended before the answer", inside, inside, inside]
        )


class BrokenTests(SynchronousTestCase):
    """What could be read in two ways is no answer."""

    def test_framing(self) -> None:
        """F1 and F2 from the other side."""
        chunked = b"Transfer-Encoding: chunked\r\n"
        number = "Content-Length is not a number of at most 18 digits"
        cases = {
            answer(b"Content-Length: 5\r\n" + chunked): (
                "head: transfer-encoding can't be present with content-length"
            ),
            answer(chunked + b"Content-Length: 5\r\n"): (
                "head: content-length can't be present with transfer-encoding"
            ),
            answer(b"Content-Length: 5\r\nContent-Length: 5\r\n"): (
                "head: duplicate content-length"
            ),
            answer(b"Content-Length: 5, 5\r\n"): "head: invalid character in content-length",
            answer(b"Content-Length: +5\r\n"): "head: invalid character in content-length",
            answer(b"Content-Length: %d\r\n" % 10**18): number,
            answer(b"Transfer-Encoding: gzip, chunked\r\n"): "Transfer-Encoding is not chunked",
            answer(b"Transfer-Encoding: identity\r\n"): "Transfer-Encoding is not chunked",
            answer(b"Transfer-Encoding: gzip\r\n"): "Transfer-Encoding is not chunked",
            answer(chunked).replace(b"1.1", b"1.0"): "Transfer-Encoding in HTTP/1.0",
            answer(chunked, b"xyz\r\n"): "chunk size is not hex digits and CR LF",
            answer(chunked, b"3\r\nabcd"): "chunk does not end in CR LF",
        }
        self.assertEqual(breakages(cases), cases)

    def test_framing_without_llhttp(self) -> None:
        """The rules hold by themselves too."""
        length, coding = (b"content-length", b"5"), (b"transfer-encoding", b"chunked")
        twice = "Content-Length or Transfer-Encoding occurs twice"
        texts = []
        for fields in ([length, length], [coding, coding], [length, coding]):
            with self.assertRaises(UpstreamBroken) as caught:
                _framing(fields, http11=True)
            texts.append(str(caught.exception))
        self.assertEqual(texts, [twice, twice, "Transfer-Encoding beside Content-Length"])

    def test_heads(self) -> None:
        """Bytes that another reader could take for a field or an end of line."""
        line = "status line is not HTTP/1.1 or HTTP/1.0 and a status"
        cases = {
            answer(b"A: b\rc\r\n"): "head: missing expected lf after header value",
            answer(b"A: b\0c\r\n"): "head: invalid header value char",
            answer(b"A : b\r\n"): "head: invalid header token",
            answer(b"A: b\r\n c\r\n"): "head: unexpected whitespace after header value",
            answer(b"A: b\nC: d\r\n"): "head: missing expected cr after header value",
            b"HTTP/1.1 200 OK\nA: b\n\n": "head has a line that ends in LF alone",
            b"SSH-2.0-OpenSSH_9.2\r\n": "head does not begin like one",
            b"HTTP/2 200 OK\r\n\r\n": line,
            b"HTTP/1.1 20 OK\r\n\r\n": line,
            b"HTTP/1.1 2000 OK\r\n\r\n": line,
            b"HTTP/1.1 099 OK\r\n\r\n": line,
            b"HTTP/1.1  200 OK\r\n\r\n": line,
            b"HTTP/1.1 200\tOK\r\n\r\n": line,
        }
        self.assertEqual(breakages(cases), cases)

    def test_tunnels_that_were_not_asked_for(self) -> None:
        """F11: 101 only where an upgrade was asked for, and only to that protocol."""
        status = b"101 Switching Protocols"
        self.assertEqual(
            breakage(answer(b"Upgrade: websocket\r\nConnection: upgrade\r\n", status=status)),
            "status 101 without being asked",
        )
        other = "status 101 to another protocol than asked"
        protocols = {
            b"Connection: upgrade\r\nUpgrade: h2c\r\n": other,
            b"Connection: upgrade\r\nUpgrade: websocket, h2c\r\n": other,
            b"Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n": other,
            b"": "head: pause on connect/upgrade",
        }
        found = {}
        for lines in protocols:
            with self.assertRaises(UpstreamBroken) as caught:
                asking(upgrade=b"websocket").feed(answer(lines, status=status))
            found[lines] = str(caught.exception)
        self.assertEqual(found, protocols)

    def test_bounds(self) -> None:
        """Heads, trailers and the number of interim answers are bounded."""
        long = b"A: " + b"b" * 200 + b"\r\n"
        chunked = answer(b"Transfer-Encoding: chunked\r\n")
        self.assertEqual(
            [
                breakage(answer(long), response_head_size=200),
                breakage(answer(long)[:-2], response_head_size=200),
                breakage(chunked + b"0\r\n" + long, trailer_size=200),
                breakage(b"HTTP/1.1 100 Continue\r\n\r\n" * 4, interim=3),
            ],
            [
                "head of more than 200 bytes",
                "head of more than 200 bytes",
                "trailers of more than 200 bytes",
                "more than 3 interim answers",
            ],
        )

    def test_repr_shows_no_fields(self) -> None:
        """What lies in a connection (cookies, tokens) is not in its repr."""
        client = asking()
        client.feed(b"HTTP/1.1 200 OK\r\nSet-Cookie: secret")
        self.assertNotIn("secret", repr(client))

    def test_nothing_is_read_after_a_breakage(self) -> None:
        """A good answer behind a broken one is nobody's."""
        client = asking()
        with self.assertRaises(UpstreamBroken):
            client.feed(b"SSH")
        self.assertEqual(client.feed(OK), [])
        self.assertFalse(client.reusable)


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """Give the bytes of an answer, whole or broken, with what may come before and behind."""
    pieces = draw(st.lists(st.binary(min_size=1, max_size=40), max_size=4))
    body = b"".join(pieces)
    chunks = b"".join(b"%x;q=1\r\n%b\r\n" % (len(p), p) for p in pieces)
    chunked = b"A: b\r\nTransfer-Encoding: chunked\r\n"
    return (
        draw(st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n"]))
        + draw(
            st.sampled_from(
                [
                    answer(b"Content-Length: %d\r\nA:\r\nB: c\r\n" % len(body), body),
                    answer(b"A: b\r\n", body),
                    answer(chunked, chunks + b"0\r\n\r\n"),
                    answer(chunked, chunks + b"0\r\nGrpc-Status: 0\r\n\r\n"),
                    answer(chunked, chunks + b"3\r\nabcd\r\n"),
                    answer(b"A : b\r\n", body),
                    answer(b"A: b\n", body),
                    answer(b"", status=b"304 Not Modified"),
                ]
            )
        )
        + draw(st.sampled_from([b"", b"\r\n", b"X"]))
    )


class CuttingTests(SynchronousTestCase):
    """The network's cuts mean nothing."""

    @settings(max_examples=300)
    @given(answers(), st.lists(st.integers(0, 400), max_size=12))
    def test_any_cutting_gives_the_same(self, wire: bytes, places: list[int]) -> None:
        """Fed in any pieces, an answer means the same, and so does what follows it."""
        marks = [0, *sorted(place % (len(wire) + 1) for place in places), len(wire)]
        pieces = [wire[a:b] for a, b in pairwise(marks)]
        self.assertEqual(heard(pieces), heard([wire]))

    @given(answers())
    def test_byte_by_byte(self, wire: bytes) -> None:
        """The finest cutting of all gives the same, too."""
        self.assertEqual(heard([bytes((octet,)) for octet in wire]), heard([wire]))
