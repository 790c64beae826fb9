"""
Messages of HTTP/1.1 written from the grammar: plain ones, and odd ones that are good.

Beside the bytes of each stands what it says, so that a test need not ask the parser under
test. Source: RFC 9110 and RFC 9112; what our own rules take off is named in each table.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import attrs
from hypothesis import strategies as st

from pomeriumd.http.events import Field

_DIGITS = b"0123456789"


@attrs.frozen
class Sent:
    """One message: its bytes, and what has to arrive of it."""

    octets: bytes
    start: tuple[bytes, ...]
    """Method and target as they go on; the status of an answer."""
    fields: tuple[Field, ...]
    """Those that go on, in order, names in lower case."""
    body: bytes = b""
    trailers: tuple[Field, ...] = ()
    closes: bool = False
    """It is the last one of its connection."""


def _cases(name: bytes, flips: int) -> bytes:
    """Return a name with some of its letters in the other case."""
    return bytes(
        octet ^ 0x20 if chr(octet).isalpha() and flips >> (at % 16) & 1 else octet
        for at, octet in enumerate(name)
    )


GO_ON = (
    *(b"a", b"x-app", b"x-app-2", b"accept", b"accept-language", b"user-agent", b"cache-control"),
    *(b"if-none-match", b"x-csrf-token", b"trailer", b"via", b"sec-ch-ua", b"priority"),
    *(b"dnt", b"content-language", b"x-auth-token", b"etag", b"1", b"0-0", b"x-" + b"n" * 80),
)
"""Names that may stand there several times, and reach the upstream."""

GO_ON_ONCE = (
    *(b"content-type", b"range", b"referer", b"if-modified-since", b"x-requested-with"),
    *(b"origin", b"if-range", b"sec-fetch-user"),
)
"""Names that may stand there once, and reach the upstream."""

END_HERE = (
    *(b"keep-alive", b"proxy-connection", b"te", b"proxy-authorization", b"http2-settings"),
    *(b"x-pomerium-jwt-assertion", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip"),
    *(b"forwarded", b"remote-user", b"x-original-url", b"x_app", b"x.app", b"!", b"a_b", b"~"),
)
"""Names that do not: of one connection, or that speak in our name, or odd ones."""

VALUES = st.one_of(
    st.sampled_from([b"", b"1", b"a, b;q=0.5", b'"quoted \\" ; , ="', b"a\tb", b"100-continue"]),
    st.sampled_from([b"chunked", b"\xc3\xa9t\xc3\xa9", b":", b"a: b", b"\xf0\x9f\x90\x99 x"]),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=12).map(str.encode),
    st.text(st.characters(min_codepoint=0x80, codec="utf-8"), max_size=4).map(str.encode),
).map(lambda value: value.strip(b" \t"))

OWS = (b" ", b"", b"\t", b"  ", b" \t ", b" ", b" ", b" ")

FRAMING = frozenset({b"content-length", b"transfer-encoding"})

STYLES = st.integers(0, (1 << 40) - 1)
"""One number for the looks of a whole section of fields; 0 is a plain one."""


def lines(fields: Sequence[Field], style: int) -> bytes:
    """Return field lines of these fields: names in any case, any white space around values."""
    wire = b""
    for at, (name, value) in enumerate(fields):
        looks = style >> at
        before, behind = OWS[looks & 7], OWS[looks >> 3 & 7].strip(b" ")
        if name in FRAMING:
            behind = b""  # llhttp refuses a tab there
        wire += _cases(name, looks >> 6 & 0xFFFF) + b":" + before + value + behind + b"\r\n"
    return wire


COOKIES = st.lists(
    st.sampled_from(
        [b"a=1", b"b=", b"c", b"=d", b'e="f"', b"__Host-x=1", b"g=h=i", b" j = k", b"pomerium=1"]
    ),
    min_size=1,
    max_size=4,
).map(lambda pairs: b"; ".join(pairs).strip())
"""What an application's own cookies look like, broken ones among them."""

OUR_COOKIE = b"__Host-_pomerium=abc"

CREDENTIALS = st.sampled_from([b"Basic YTpi", b"Bearer abc", b"Negotiate"])


@st.composite
def _fields(draw: st.DrawFn) -> tuple[list[Field], list[Field]]:
    """Give the fields of a request besides Host and framing, and those that go on."""
    given: list[Field] = []
    kept: list[Field] = []
    once = set()
    for _ in range(draw(st.integers(0, 7))):
        kind = draw(st.integers(0, 9))
        value = draw(VALUES)
        if kind < 4:
            given.append((draw(st.sampled_from(GO_ON)), value))
            kept.append(given[-1])
        elif kind < 6:
            name = draw(st.sampled_from(END_HERE))
            if name not in once:
                given.append((name, value))
            if name == b"proxy-authorization":
                once.add(name)
        elif kind == 6:
            name = draw(st.sampled_from(GO_ON_ONCE))
            if name not in once:
                given.append((name, value))
                kept.append(given[-1])
            once.add(name)
        elif kind == 7:
            cookies = draw(COOKIES)
            kept.append((b"cookie", cookies))
            given.append((b"cookie", cookies + draw(st.sampled_from([b"", b"; " + OUR_COOKIE]))))
        elif kind == 8 and b"authorization" not in once:
            once.add(b"authorization")
            given.append((b"authorization", draw(CREDENTIALS)))
            kept.append(given[-1])
        else:
            options = draw(
                st.lists(st.sampled_from([b"keep-alive", b"TE", b"x-app", b"", b"Trailer"]))
            )
            given.append((b"connection", b" ,".join(options)))
    return given, kept


CHUNK_ENDS = (b"", b";", b";a", b";a=b", b';a="b c"', b";\t\xff=~", b"", b"")


def chunked(pieces: Sequence[bytes], trailers: bytes, style: int) -> bytes:
    """Return a body in chunks: sizes in any case, with zeros in front, with extensions."""
    wire = b""
    for at, piece in enumerate((*pieces, b"")):
        looks = style >> 2 * at
        size = b"%x" % len(piece)
        size = (b"", b"0", b"000", b"")[looks & 3] + (size.upper() if looks & 4 else size)
        wire += size + CHUNK_ENDS[looks >> 3 & 7] + b"\r\n"
        if piece:
            wire += piece + b"\r\n"
    return wire + trailers + b"\r\n"


PIECES = st.lists(
    st.binary(min_size=1, max_size=20)
    | st.sampled_from([b"\r\n", b"0\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n"]),
    max_size=4,
)
"""Bodies; some look like what is around them."""

TRAILERS_GO_ON = (b"x-sum", b"grpc-status", b"a", b"x-app")
TRAILERS_END = (b"content-length", b"transfer-encoding", b"cookie", b"authorization", b"host")

TRAILERS = st.lists(st.tuples(st.sampled_from(TRAILERS_GO_ON + TRAILERS_END), VALUES), max_size=3)


def _trailers_that_go_on(trailers: Sequence[Field]) -> tuple[Field, ...]:
    return tuple(field for field in trailers if field[0] in TRAILERS_GO_ON)


_SEGMENTS = (
    (b"a", b"a"),
    (b"%41", b"A"),
    (b"%7e%2d", b"~-"),
    (b"b%20c", b"b%20c"),
    (b"%c3%a9", b"%C3%A9"),
    (b"x;y=1", b"x;y=1"),
    (b"a.b", b"a.b"),
    (b"...", b"..."),
    (b"$&'()*+,=:@!", b"$&'()*+,=:@!"),
    (b"{|}", b"%7B%7C%7D"),
    (b"[^]", b"%5B%5E%5D"),
    (b'"<>`', b"%22%3C%3E%60"),
    (b"", b""),
    (b".", b""),
    (b"*", b"*"),
)
"""Segments of a path, and how they go on; an empty one is left out."""

QUERIES = st.one_of(
    st.none(),
    st.sampled_from([b"", b"a=b", b"?", b"a=%00&b=%2f..%2f", b"//..\\", b'{"a"}']),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=8)
    .filter(lambda text: "#" not in text)
    .map(str.encode),
)

HOSTS = (b"app.example.com", b"APP.Example.com", b"app.example.com.")


@st.composite
def _targets(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Give the path and query of a target as sent, and as they go on."""
    segments = draw(st.lists(st.sampled_from(_SEGMENTS), max_size=4))
    sent = b"/" + b"/".join(raw for raw, _ in segments)
    kept = [form for _, form in segments if form]
    slash = bool(kept) and not segments[-1][1]
    passed = b"/" + b"/".join(kept) + (b"/" if slash else b"")
    query = draw(QUERIES)
    return (sent, passed) if query is None else (sent + b"?" + query, passed + b"?" + query)


METHODS = ("GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "REPORT", "QUERY")
WITHOUT_BODY = frozenset({b"HEAD"})

UPGRADES = (
    (
        (b"upgrade", b"websocket"),
        (b"connection", b"keep-alive, Upgrade"),
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    ),
    ((b"upgrade", b"h2c"), (b"connection", b"upgrade, HTTP2-Settings")),
    ((b"upgrade", b"websocket"), (b"connection", b"upgrade")),
)
"""A proper one, and two that make an ordinary request."""


@st.composite
def requests(draw: st.DrawFn, *, upgrades: bool = True) -> Sent:
    """Give a request that is good, however odd."""
    sent, passed = draw(_targets())
    method = draw(st.sampled_from(METHODS)).encode()
    host = draw(st.sampled_from(HOSTS)) + draw(st.sampled_from([b"", b":443", b":8080"]))
    target = sent
    if draw(st.integers(0, 9)) == 0:
        target = draw(st.sampled_from([b"http://", b"HTTPS://"])) + host + sent
    given, kept = draw(_fields())
    version = b"1.1" if draw(st.integers(0, 9)) else b"1.0"
    framing = draw(st.sampled_from(["none", "counted", "chunked", "upgrade"]))
    pieces = draw(PIECES) if framing in ("counted", "chunked") else []
    trailers: tuple[Field, ...] = ()
    body, more = b"".join(pieces), list[Field]()
    wire = body
    if framing == "counted" or (framing == "chunked" and version == b"1.0"):
        zeros = draw(st.sampled_from([b"", b"", b"00"]))
        more = [(b"content-length", zeros + b"%d" % len(body))]
    elif framing == "chunked":
        more = [(b"transfer-encoding", draw(st.sampled_from([b"chunked", b"Chunked"])))]
        end = draw(TRAILERS)
        wire = chunked(pieces, lines(end, draw(STYLES)), draw(STYLES))
        trailers = _trailers_that_go_on(end)
    elif framing == "upgrade" and upgrades:
        more = list(draw(st.sampled_from(UPGRADES)))
        kept = [field for field in kept if not field[0].startswith(b"sec-websocket")]
    if body and version == b"1.1" and draw(st.integers(0, 4)) == 0:
        more.append((b"expect", draw(st.sampled_from([b"100-continue", b"100-Continue"]))))
    closes = version == b"1.0" or draw(st.integers(0, 5)) == 0
    if closes and version == b"1.1":
        more.append((b"connection", draw(st.sampled_from([b"close", b"Close", b"x, close"]))))
    at = draw(st.integers(0, len(given)))
    fields = [*given[:at], (b"host", host), *given[at:], *more]
    kept += [field for field in more if field[0].startswith(b"sec-")]
    octets = b"%b %b HTTP/%b\r\n" % (method, target, version)
    octets += lines(fields, draw(STYLES)) + b"\r\n" + wire
    blank = draw(st.sampled_from([b"", b"", b"", b"\r\n"]))
    return Sent(blank + octets, (method, passed), tuple(kept), body, trailers, closes)


ANSWER_NAMES = (
    *(b"a", b"x-app", b"x_app", b"content-type", b"etag", b"vary", b"set-cookie", b"location"),
    *(b"www-authenticate", b"cache-control", b"server", b"age", b"trailer", b"x.y", b"!"),
)
ANSWER_NAMES_END = (
    *(b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"alt-svc", b"upgrade"),
    *(b"x-pomerium-x", b"x-frame-options", b"strict-transport-security"),
)
"""Names that do not reach a client: of one connection, or ours to say."""

STATUSES = (200, 200, 200, 201, 204, 206, 301, 302, 304, 404, 418, 500, 503, 599, 999)
INTERIM = (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
NO_BODY = frozenset({204, 304})

REASONS = st.sampled_from([b" OK", b" ", b"", b" Not \xe9asy", b" \t;", b" 200 OK"])


@attrs.frozen
class Answered:
    """One answer of an upstream: its bytes, and what has to arrive of it."""

    octets: bytes
    status: int
    fields: tuple[Field, ...]
    body: bytes
    trailers: tuple[Field, ...]
    until_close: bool
    """Only the end of the connection ends it."""


@st.composite
def answers(draw: st.DrawFn, method: bytes) -> Answered:
    """Give an answer that is good, however odd, to a request of this method."""
    status = draw(st.sampled_from(STATUSES))
    version = b"1.1" if draw(st.integers(0, 9)) else b"1.0"
    bare = method == b"HEAD" or status in NO_BODY
    given: list[Field] = []
    kept: list[Field] = []
    for _ in range(draw(st.integers(0, 6))):
        value = draw(VALUES | st.sampled_from([b"\xe9", b"\xff\xfe"]))
        if draw(st.integers(0, 3)):
            given.append((draw(st.sampled_from(ANSWER_NAMES)), value))
            kept.append(given[-1])
        else:
            given.append((draw(st.sampled_from(ANSWER_NAMES_END)), value))
    framing = draw(st.sampled_from(["counted", "chunked", "close"]))
    pieces = draw(PIECES)
    body, trailers = b"".join(pieces), tuple[Field, ...]()
    wire = body
    if framing == "counted" or (framing == "chunked" and version == b"1.0"):
        framing = "counted"
        given.append((b"content-length", b"%d" % len(body)))
    elif framing == "chunked":
        given.append((b"transfer-encoding", draw(st.sampled_from([b"chunked", b"CHUNKED"]))))
        end = draw(TRAILERS)
        wire = chunked(pieces, lines(end, draw(STYLES)), draw(STYLES))
        trailers = _trailers_that_go_on(end)
    if draw(st.integers(0, 3)) == 0:
        given.append((b"connection", draw(st.sampled_from([b"close", b"keep-alive, x-app"]))))
    if bare:
        body, wire, trailers = b"", b"", ()
    octets = b"".join(draw(st.lists(st.sampled_from(INTERIM), max_size=2)))
    octets += b"HTTP/%b %d%b\r\n" % (version, status, draw(REASONS))
    octets += lines(given, draw(STYLES)) + b"\r\n" + wire
    until_close = framing == "close" and not bare
    return Answered(octets, status, tuple(kept), body, trailers, until_close)


_ODD = (
    *(b"\r", b"\n", b"\r\n", b"\0", b"\t", b" ", b":", b";", b",", b"=", b'"', b"\x0b", b"\x7f"),
    *(b"\x80", b"\xff", b"\xc2\xa0", b"0", b"00", b"1", b"f", b"-", b"+", b"_", b".", b"/", b"#"),
    *(b"\r\n ", b"\r\n\t", b"\r\r\n", b"\n\r", b"\r\n\r\n", b"0\r\n\r\n", b"0x", b"chunked"),
    *(b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 4\r\n"),
    *(
        b"Host: a\r\n",
        b"Connection: close\r\n",
        b"Upgrade: websocket\r\n",
        b"HTTP/1.0",
        b"HTTP/2.0",
    ),
    *(
        b"GET /x HTTP/1.1\r\nHost: app.example.com\r\n\r\n",
        b"X: y\r\n",
        b"Expect: 100-continue\r\n",
    ),
)
"""What mutations put in."""


@st.composite
def mutated(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Give bytes with a few changes: something put in, taken out, doubled or moved."""
    octets = draw(whole)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(octets)))
        to = min(len(octets), at + draw(st.sampled_from([0, 0, 1, 1, 2, 8])))
        put = draw(st.sampled_from(_ODD) | st.just(b"") | st.just(octets[at:to] * 2))
        octets = octets[:at] + put + octets[to:]
    if draw(st.integers(0, 5)) == 0:
        pieces = octets.split(b"\r\n")
        one, two = draw(st.tuples(*[st.integers(0, len(pieces) - 1)] * 2))
        pieces[one], pieces[two] = pieces[two], pieces[one]
        octets = b"\r\n".join(pieces)
    return octets


def cut(octets: bytes, places: Sequence[int]) -> list[bytes]:
    """Return the pieces of octets that are cut at these places, as far as they lie in them."""
    marks = [0, *sorted({place % (len(octets) + 1) for place in places} - {0}), len(octets)]
    return [octets[a:b] for a, b in itertools.pairwise(marks) if a < b]


CUTS = st.lists(st.integers(0, 1200), max_size=10)
