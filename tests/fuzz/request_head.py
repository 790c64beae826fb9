"""
Requests, pipelined or not: what a client sends, through parser and daemon to an upstream.

Laws: nothing but a ClientError refuses; every cutting means the same; what we take, h11
takes from the same bytes as the same message; what is forwarded, h11 reads as what we took,
one for one and in order; each whole request is answered once, and h11 can read the answers.
"""

from __future__ import annotations

from typing import NamedTuple

from pomeriumd.errors import ClientError
from pomeriumd.http.events import Data, End, Request, Response
from pomeriumd.http.fields import ENDS_HERE, MISSPELT
from pomeriumd.http.limits import Limits
from pomeriumd.http.server1 import Server1
from pomeriumd.http.target import canonical
from tests.fuzz.daemon import nothing_of_ours_fails
from tests.fuzz.harness import Harness, Input, cuttings, the_same
from tests.fuzz.second_reader import Message, requests, response
from tests.support.rig import Rig
from tests.support.settings import route

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

LIMITS = Limits()

TIGHT = Limits(head_size=96, field_count=4, target_size=24, trailer_size=24, pipelined=64)
"""Bounds that short inputs reach."""

RIG = Rig(
    route("app.example.com", allow_public_unauthenticated_access=True, allow_websockets=True),
    route("a.example", allow_public_unauthenticated_access=True),
)


class Served(NamedTuple):
    """What a connection's bytes mean."""

    whole: list[tuple[Request, bytes, End]]
    part: tuple[Request, bytes] | None
    """The request that is not whole, with what is here of its body."""
    refused: bool
    """Whether an error ended the reading. Which one may hang on the cutting, where a head has
    two faults: an LF alone is seen at once, the rest when the head is whole."""


def served(pieces: list[bytes], limits: Limits = LIMITS, ends: list[int] | None = None) -> Served:
    """
    Read a connection, and answer each request as soon as it is whole.

    Args:
        pieces: what arrives.
        limits: the bounds.
        ends: takes, for each whole request, how many pieces had arrived by then.
    """
    server = Server1(limits)
    whole: list[tuple[Request, bytes, End]] = []
    head: Request | None = None
    body = b""
    try:
        for count, piece in enumerate(pieces, 1):
            events = server.feed(piece)
            while events:
                for event in events:
                    if isinstance(event, Request):
                        head, body = event, b""
                        server.continue_()
                    elif isinstance(event, Data):
                        body += event.data
                    else:
                        assert head is not None
                        whole.append((head, body, event))
                        head = None
                        if ends is not None:
                            ends.append(count)
                events = []
                if head is None:
                    server.respond(Response(200, [], 0))
                    server.end()
                    events = server.next()
    except ClientError:
        return Served(whole, None, refused=True)
    return Served(whole, None if head is None else (head, body), refused=False)


def check(octets: bytes) -> None:
    """Hold every law for a client's bytes."""
    given = Input(octets)
    where, wire = given.number(), given.rest()
    outcome = the_same(served(pieces) for pieces in cuttings(wire, where))
    the_same(served(pieces, TIGHT) for pieces in cuttings(wire, where))
    for request, _, _ in outcome.whole:
        if request.path != b"*":
            assert canonical(request.path) == (request.path, None), request
    _h11_reads_what_came(wire, outcome)
    _h11_reads_what_goes(wire, where, outcome)


def _h11_reads_what_came(wire: bytes, outcome: Served) -> None:
    """Compare what both make of the received bytes."""
    theirs, _ = requests(wire)
    assert len(theirs) >= len(outcome.whole), (outcome, theirs)
    for (request, body, end), message in zip(outcome.whole, theirs, strict=False):
        assert message.whole, (request, message)
        assert message.says_its_size_once, message
        method, target = message.line
        assert method == request.method, (request, message)
        assert target.endswith(request.query or b""), (request, message)
        assert [field for field in message.fields if field[0] not in ENDS_HERE] == request.fields
        assert message.body == body, (body, message)
        assert message.has(end.trailers), (end, message)


def _h11_reads_what_goes(wire: bytes, where: int, outcome: Served) -> None:
    """Send it all through the daemon, and compare what upstream and client get."""
    with nothing_of_ours_fails(RIG):
        client = RIG.connect()
        answers = b""
        arrived: list[Message] = []
        cut = where * len(wire) // 256
        for piece in (wire[:cut], wire[cut:]):
            if piece:
                client.sends(piece)
            while fresh := _answered():
                arrived += fresh
        answers, closed = client.got(), client.transport.disconnecting
        client.leaves()
        for upstream in RIG.upstreams.opened:
            upstream.closes()
    took = [(request, body) for request, body, _ in outcome.whole]
    sent = iter(took)
    for message in arrived:
        assert any(_is_of(message, *one) for one in sent), (message, took)
    methods = [request.method for request, _ in took]
    count = _answers(answers, [*methods, _method_of_the_last(wire)])
    assert closed or count == len(took), (count, took, answers)


def _answered() -> list[Message]:
    """Answer what has arrived whole at the upstreams, and return it."""
    fresh: list[Message] = []
    for upstream in RIG.upstreams.opened:
        if upstream.gone:
            continue
        octets = upstream.transport.value()
        messages, refused = requests(octets)
        assert not refused, octets
        whole = [message for message in messages if message.whole]
        assert len(whole) <= 1, "two requests at once on one connection"
        if whole:
            upstream.got()
            fresh += whole
            upstream.sends(OK)
    return fresh


def _is_of(message: Message, request: Request, body: bytes) -> bool:
    """Say whether an upstream's request is what one of the client's should become."""
    target = request.path if request.query is None else b"%b?%b" % (request.path, request.query)
    if message.line != (request.method, target) or message.body != body:
        return False
    names = {name for name, _ in message.fields}
    assert names.isdisjoint(MISSPELT), message
    assert [name for name, _ in message.fields].count(b"host") == 1, message
    forwarded = {name: value for name, value in message.fields if name.startswith(b"x-forwarded")}
    assert forwarded[b"x-forwarded-for"] == b"203.0.113.9", message
    assert not any(name.startswith(b"x-pomerium-") for name in names), message
    own = ENDS_HERE | forwarded.keys() | {b"x-request-id", b"cookie"}
    rest = iter(request.fields)
    assert all(field in rest for field in message.fields if field[0] not in own), message
    return b"upgrade" not in names or request.upgrade is not None


def _answers(octets: bytes, methods: list[bytes]) -> int:
    """Return how many final answers these are; h11 refuses what is none."""
    count = 0
    while octets:
        assert count < len(methods), (octets, methods)
        message, octets = response(octets, methods[count], ended=False)
        if message is None:  # an interim answer alone
            break
        assert message.whole, message
        count += 1
        if count == len(methods) and methods[-1] == b"HEAD":
            # A head that is refused before it is whole is answered as if it asked for a
            # page; the connection closes behind it.
            break
    return count


def _method_of_the_last(wire: bytes) -> bytes:
    """Return the method of what follows the whole requests, as its sender means it."""
    ends: list[int] = []
    served([wire[at : at + 1] for at in range(len(wire))], ends=ends)
    rest = wire[ends[-1] :] if ends else wire
    return b"HEAD" if rest.removeprefix(b"\r\n").startswith(b"HEAD ") else b"GET"


GET = b"GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n"


def post(fields: bytes, body: bytes = b"") -> bytes:
    """Return a POST with these field lines."""
    return b"POST /a?q=1 HTTP/1.1\r\nHost: app.example.com\r\n%b\r\n%b" % (fields, body)


def get(target: bytes, fields: bytes = b"", host: bytes = b"app.example.com") -> bytes:
    """Return a GET."""
    return b"GET %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (target, host, fields)


_MESSAGES = (
    GET,
    GET + GET,
    b"\r\n" + GET,
    get(b"/", b"Accept: text/html\r\nCookie: a=b; _pomerium=x\r\nUser-Agent: x\r\n"),
    get(b"/%7euser/%2e%2e/a;b=c?x=%2F"),
    get(b"http://app.example.com/x?y"),
    get(b"https://App.Example.com:443/", host=b"app.example.com:443"),
    get(b"/.pomerium/"),
    get(b"/.pomerium/sign_in?pomerium_redirect_uri=https://app.example.com/"),
    get(b"/ping"),
    get(b"/", host=b"[::1]:80"),
    get(b"/oauth2/callback?state=a&code=b", host=b"auth.example.com"),
    get(
        b"/ws",
        b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    ),
    b"GET / HTTP/1.0\r\nHost: app.example.com\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: app.example.com\r\nConnection: close\r\n\r\n" + GET,
    b"OPTIONS * HTTP/1.1\r\nHost: app.example.com\r\n\r\n",
    post(b"Content-Length: 5\r\n", b"hello") + GET,
    post(b"Content-Length: 5\r\nExpect: 100-continue\r\n", b"hello") + GET,
    post(b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n") + GET,
    post(b"Transfer-Encoding: chunked\r\n", b"5;a=b\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n") + GET,
    post(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n"),
    post(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n" + GET),
    post(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"),
    post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", b"0\r\n\r\n"),
    post(b"Transfer-Encoding:\x0bchunked\r\n", b"0\r\n\r\n"),
    post(b"Content-Length: 5\r\nContent-Length: 6\r\n", b"hello!"),
    post(b"Content-Length: +5\r\n", b"hello"),
    post(b"Content-Length : 5\r\n", b"hello"),
    post(b"X: a\r\n Content-Length: 5\r\n", b"hello"),
    post(b"X: a\rContent-Length: 5\r\n", b"hello"),
    post(b"X: a\nContent-Length: 5\r\n", b"hello"),
    post(b"Content_Length: 5\r\n", b"hello"),
    post(b"X: \xff\r\n"),
    post(b"X: \x00\r\n"),
    post(b"Connection: X-Request-Id, Cookie\r\n"),
    get(b"/", b"Host: b.example\r\n"),
    get(b"http://b.example/"),
    get(b"/\xc3\xa4#x"),
    post(b"X_Forwarded-For: 1\r\nX-Pomerium-Jwt-Assertion: x\r\nForwarded: for=1\r\n"),
)

HARNESS = Harness(
    name="request_head",
    check=check,
    seeds=tuple(b"\x80" + message for message in _MESSAGES),
    words=(
        *(name + b": " for name in sorted(ENDS_HERE)),
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"\x0b",
        b"\xc0\xaf",
        b"0\r\n\r\n",
        b"GET / HTTP/1.1\r\n",
        b"HTTP/1.0",
        b"HTTP/1.1",
        b"HTTP/2.0",
        b"Host: a.example\r\n",
        b"content_length: ",
        b"transfer.encoding: ",
        b"chunked",
        b"100-continue",
        b"keep-alive, close",
        b"websocket",
        b"X-Pomerium-Claim-Email: ",
        b"Cookie: ",
        b"%2e%2e",
        b"%2f",
        b"%5c",
        b"..;",
        b"//",
        b"[::1]",
    ),
    longest=2_048,
)
