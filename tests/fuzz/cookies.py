"""
Cookies: those that a browser sends, those that an upstream sets, and those that we write.

Laws: our session is found beside whatever others there are, and none of it reaches an
upstream; no upstream sets what would come back under a name of ours; a value that we cut
comes back whole; what would write another attribute than its own is never written.
"""

from __future__ import annotations

import re

from pomeriumd.errors import PomeriumError
from pomeriumd.http.cookies import cookies, set_cookie, without
from pomeriumd.session.cookies import VALUE_SIZE, CookieShape, is_ours, read, write
from tests.fuzz.daemon import nothing_of_ours_fails
from tests.fuzz.harness import Harness, Input
from tests.support.rig import Rig, request
from tests.support.settings import route

RIG = Rig(route(allowed_users=("alice@example.com",)))

TOKEN = RIG.token().encode("ascii")

CANDIDATES = 8
"""Values of one name that are tried: seven of others may stand in front of ours."""

OURS = is_ours("_pomerium")

SHAPE = CookieShape(name="_pomerium")

_NOT_IN_A_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def check(octets: bytes) -> None:
    """Hold every law for cookies."""
    given = Input(octets)
    kind = given.number() % 3
    if kind == 0:
        _through_the_daemon(given)
    elif kind == 1:
        _in_pieces(given)
    else:
        _written(given)


def _through_the_daemon(given: Input) -> None:
    """Send a session among other cookies, and answer with a cookie of the upstream's."""
    before, behind, answered = given.line(), given.line(), given.rest()
    sent = b"; ".join(filter(None, (before, b"__Host-_pomerium=" + TOKEN, behind)))
    field = (b"cookie", _NOT_IN_A_VALUE.sub(b"", sent).strip())
    found = cookies([field])
    assert cookies([(b"cookie", b"; ".join(b"=".join(pair) for pair in found))]) == found
    left = without([field], OURS)
    assert without(left, OURS) == left
    assert not [name for name, _ in cookies(left) if OURS(name)], left
    assert [pair for pair in found if not OURS(pair[0])] == cookies(left), (found, left)
    with nothing_of_ours_fails(RIG):
        client = RIG.connect()
        client.sends(request(b"/", (b"cookie", sent)))
        forwarded, back = b"", b""
        if RIG.upstreams.opened:
            forwarded = RIG.upstreams.last.got()
            if forwarded:
                RIG.upstreams.last.sends(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: ")
                RIG.upstreams.last.sends(answered + b"\r\n\r\n")
        back = client.got()
        client.leaves()
        for upstream in RIG.upstreams.opened:
            upstream.closes()
    assert TOKEN not in forwarded, forwarded
    _found_among(sent, forwarded, back)
    head, _, _ = back.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b": ")
        if name == b"set-cookie" and forwarded:
            kept = _sent_back(value)
            assert not [n for n, _ in cookies([(b"cookie", kept)]) if OURS(n)], value


def _found_among(sent: bytes, forwarded: bytes, back: bytes) -> None:
    """See that other cookies do not hide the session."""
    if back.startswith(b"HTTP/1.1 400 ") or _NOT_IN_A_VALUE.search(sent):
        return
    names = [name for name, _ in cookies([(b"cookie", sent)])]
    values = read(cookies([(b"cookie", sent)]), SHAPE)
    if names.count(b"__Host-_pomerium") <= CANDIDATES and TOKEN.decode() in values:
        assert forwarded.startswith(b"GET / HTTP/1.1\r\n"), (sent, back)


def _sent_back(value: bytes) -> bytes:
    """
    Return what a browser sends back after such a Set-Cookie.

    Source: RFC 6265bis section 5.6, without its refusal of prefixes, which older ones lack.
    """
    pair = value.partition(b";")[0]
    if _NOT_IN_A_VALUE.search(value):
        return b""
    name, equals, content = pair.partition(b"=")
    if not equals:
        name, content = b"", pair
    name, content = name.strip(b" \t"), content.strip(b" \t")
    return name + b"=" + content if name else content


def _in_pieces(given: Input) -> None:
    """Write a value, toss other cookies in, and read it."""
    size = 1 + (given.number() << 8 | given.number()) % VALUE_SIZE
    value = ("eyJ." + "aB3-_" * size)[:size]
    ours = [
        (name, content)
        for _, text in write(SHAPE, value, max_age=60)
        for name, _, content in [text.partition(b";")[0].partition(b"=")]
    ]
    before, behind = given.line(), given.rest()
    tossed = cookies([(b"cookie", before)])
    pairs = [*tossed, *ours, *cookies([(b"cookie", behind)])]
    assert read(ours, SHAPE) == [value]
    found = read(pairs, SHAPE)
    assert len(found) <= CANDIDATES
    assert max(map(len, found), default=0) <= sum(len(content) for _, content in pairs)
    in_front = [name for name, _ in tossed].count(b"__Host-_pomerium")
    assert in_front >= CANDIDATES or value in found, (pairs, found)


def _written(given: Input) -> None:
    """Write a cookie of any name, value, path and domain."""
    secure, same_site = given.one_of((True, False)), given.one_of(("Lax", "strict", "NONE", "x"))
    name, value, path, domain = (given.line().decode("latin-1") for _ in range(4))
    try:
        field, text = set_cookie(
            name,
            value,
            path=path,
            domain=domain or None,
            secure=secure,
            same_site=same_site,
            max_age=60,
        )
    except PomeriumError:
        return
    first, *attributes = text.decode("ascii").split("; ")
    wanted = {"Path": path, "Max-Age": "60", "HttpOnly": "", "SameSite": same_site.capitalize()}
    wanted |= {"Domain": domain} if domain else {}
    wanted |= {"Secure": ""} if secure else {}
    assert field == b"set-cookie"
    assert (first, first.count("=") >= 1) == (f"{name}={value}", True), text
    assert {a: v for a, _, v in (part.partition("=") for part in attributes)} == wanted, text
    assert len(attributes) == len(wanted), text
    # Browsers end a part at the semicolon alone, whatever stands beside it.
    assert text.count(b";") == len(wanted), text
    assert _sent_back(text) == f"{name}={value}".encode("ascii"), text


_BESIDE = (
    b"a=b; c=d",
    b"__Host-_pomerium=x; _pomerium=y",
    b"_pomerium_1=z; __Host-_pomerium_2=AAAAAAAA.x",
    b'a="b; c="; d',
    b"=; ==; a; =a=b; a==b",
    b"__Host-_pomerium=%2.AAAAAAAA.x; __Host-_pomerium_1=AAAAAAAA.y",
    b"_pomerium_login_00000000aAAAAAAAAAAAAAAAAAAAAAA=x; _pomerium_authenticate_1=y",
    b"$Version=1; a=b; $Path=/, c=d",
)
_SET = (
    b"a=b; Path=/; HttpOnly",
    b"_pomerium=x; Path=/",
    b"__Host-_pomerium=x; Path=/; Secure",
    b"=_pomerium=x",
    b" \t__Host-_pomerium_authenticate =x",
    b"_pomerium",
    b"__HOST-_pomerium=x",
)

HARNESS = Harness(
    name="cookies",
    check=check,
    seeds=(
        *(
            b"\x00%b\n%b\n%b" % (beside, _BESIDE[-number], _SET[number % len(_SET)])
            for number, beside in enumerate(_BESIDE)
        ),
        *(
            b"\x01%c\x10%b\n%b" % (number * 15, beside, beside)
            for number, beside in enumerate(_BESIDE)
        ),
        b"\x02\x00\x00__Host-a\nvalue\n/\n\n",
        b"\x02\x00\x02a\nb\n/c d\n.example.com\n",
        b"\x02\x01\x01_pomerium\n\n/\nexample.com\n",
        b"\x02\x01\x03a;b\nc,d\nx\n-\n",
        b"\x02\x00\x00a\nb; Domain=evil.example\n/\n\n",
        b"\x02\x00\x00a\nb\n/; Domain=evil.example\n\n",
        b"\x02\x00\x00a\nb\n/\nevil.example; a=b\n",
        b"\x01\x00\x40" + b"; ".join([b"__Host-_pomerium=x"] * 7) + b"\n",
    ),
    words=(
        b"; ",
        b";",
        b"=",
        b"__Host-_pomerium",
        b"__Host-_pomerium=",
        b"_pomerium",
        b"_pomerium_1=",
        b"_pomerium_login_",
        b"__Secure-",
        b"%2.",
        b"\t",
        b'"',
        b",",
        b"\xc2\xa0",
        b"\x0b",
        b"; Domain=example.com",
    ),
    longest=1_024,
)
