"""
Sign-ins: the callbacks at authenticate and at a route host, and every other page there.

The octets are a target, the cookies and a form; a control character in them stands for
something that is good: the state, code or cookie of one of two sign-ins under way. So the
search need not guess a seal, and what it mixes up is what an attacker can mix up who began a
sign-in of his own.

Laws: a session, and a hand-off of one, is given only to who brings the state, the code and
the cookie of one and the same sign-in; at the route host only for a hand-off and the cookie
of the login that it was made for; a Location never leads to a foreign host; no page fails as
a bug of ours, and no application is asked.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

from pomeriumd.crypto.keys import SharedKeys
from pomeriumd.errors import BadMessage
from pomeriumd.http.query import parameters
from pomeriumd.http.target import canonical
from pomeriumd.session.handoff import open_handoff
from pomeriumd.session.target import target
from tests.fuzz.daemon import nothing_of_ours_fails
from tests.fuzz.harness import Harness, Input
from tests.fuzz.second_reader import Message, response
from tests.support.provider import IdentityProvider, status
from tests.support.rig import NAVIGATION, NOW, Rig, request
from tests.support.settings import SHARED, route

APP, AUTH = "https://app.example.com", "https://auth.example.com"
HOSTS = frozenset({"app.example.com", "auth.example.com", "id.example.com"})
CALLBACK, FINISH, SIGN_IN = "/oauth2/callback", "/.pomerium/callback/", "/.pomerium/sign_in"
OWN, SESSION = b"__Host-_pomerium_authenticate", b"__Host-_pomerium"

Pair = tuple[bytes, bytes]

PROVIDER = IdentityProvider()
PROVIDER.now = lambda: NOW
PROVIDER.once = False
PROVIDER.metadata["authorization_response_iss_parameter_supported"] = False
RIG = Rig(
    route(allowed_users=("alice@example.com",)),
    agent=PROVIDER,
    state_dir=None,
)


class Signing(NamedTuple):
    """A sign-in that one browser began, step by step."""

    login: Pair
    """Its cookie at the route host."""
    asked: str
    """The signed query at authenticate."""
    kept: Pair
    """Its cookie at authenticate."""
    trail: Pair
    state: str
    code: str
    handoff: str
    """The query that ends it at the route host."""
    own: Pair
    """The session at authenticate that came of it."""
    session: Pair
    """The one at the route host."""


def got(url: str, pairs: list[Pair]) -> tuple[str, dict[bytes, bytes]]:
    """Follow a link, and return where it leads and the cookies that were set."""
    parts = urlsplit(url)
    client = RIG.connect()
    cookie = (b"cookie", b"; ".join(b"%b=%b" % pair for pair in pairs))
    whole = parts._replace(scheme="", netloc="").geturl().encode("ascii")
    client.sends(request(whole, *NAVIGATION, cookie, host=parts.netloc.encode("ascii")))
    message, _ = response(client.got(), ended=False)
    client.leaves()
    assert message is not None
    assert message.line == (b"302",), message
    return _location(message), dict(_set(message))


def _location(message: Message) -> str:
    """Return where an answer leads, "" if nowhere."""
    places = [value for name, value in message.fields if name == b"location"]
    assert len(places) < 2, places
    return places[0].decode("ascii") if places else ""


def _set(message: Message) -> list[Pair]:
    """Return the cookies that an answer sets, those that it clears left out."""
    values = [value for name, value in message.fields if name == b"set-cookie"]
    pairs = [value.partition(b";")[0].partition(b"=") for value in values]
    return [(name, value) for name, _, value in pairs if value]


def begun(path: str) -> Signing:
    """Sign in, the whole way, and return what each step gave."""
    link, app = got(APP + path, [])
    to_provider, auth = got(link, [])
    answered = dict(parse_qsl(urlsplit(PROVIDER.visit(to_provider)).query))
    code, state = answered["code"], answered["state"]
    [kept] = [pair for pair in auth.items() if state.encode() in pair[0]]
    [trail] = [pair for pair in auth.items() if pair[0].endswith(b"_trail")]
    back = f"{AUTH}{CALLBACK}?state={state}&code={code}"
    handed, own = got(back, [kept, trail])
    [login] = app.items()
    _, there = got(handed, [login])
    return Signing(
        login=login,
        asked=urlsplit(link).query,
        kept=kept,
        trail=trail,
        state=state,
        code=code,
        handoff=urlsplit(handed).query,
        own=(OWN, own[OWN]),
        session=(SESSION, there[SESSION]),
    )


OURS, ANOTHERS = begun("/ours"), begun("/anothers")
SIGNINGS = (OURS, ANOTHERS)


def _stand_ins() -> dict[int, bytes]:
    """Return what each control character stands for: eight for ours, eight for another's."""
    found: dict[int, bytes] = {}
    for first, one in ((0x01, OURS), (0x10, ANOTHERS)):
        cookies = (one.login, one.kept, one.trail, one.own)
        texts = (one.state, one.code, one.asked, one.handoff)
        values = [*(b"%b=%b" % pair for pair in cookies), *(text.encode() for text in texts)]
        found |= dict(enumerate(values, first))
    return found


STAND_INS = _stand_ins()
_STANDS_IN = re.compile(rb"[\x01-\x08\x10-\x17]")


def check(octets: bytes) -> None:
    """Ask for a page, and hold every law for the answer."""
    given = Input(octets)
    host = given.one_of((b"auth.example.com", b"app.example.com"))
    method = given.one_of((b"GET", b"GET", b"POST", b"HEAD"))
    PROVIDER.forget()
    code = given.one_of((200, 200, 200, 500, 400))
    PROVIDER.answers = {} if code == 200 else {"/token": status(code)}
    PROVIDER.claims = given.one_of(_CLAIMS)
    navigates = given.one_of((True, False))
    where, cookie, form = (_filled(part) for part in (given.line(), given.line(), given.rest()))
    fields = [*(NAVIGATION if navigates else ()), *([(b"cookie", cookie)] if cookie else [])]
    with nothing_of_ours_fails(RIG):
        client = RIG.connect()
        client.sends(request(b"/" + where, *fields, method=method, host=host, body=form))
        octets = client.got()
        client.leaves()
    assert not RIG.upstreams.opened or any(s.session[1] in cookie for s in SIGNINGS)
    if not octets:
        return
    message, _ = response(octets, method, ended=True)
    assert message is not None
    assert message.line != (b"500",), message
    location = _location(message)
    if location:
        _leads_home(location)
    _given_by_right(host, b"/" + where, cookie, message)


_CLAIMS: tuple[dict[str, object], ...] = (
    {},
    {},
    {},
    {"nonce": "another"},
    {"aud": "another"},
    {"iss": "https://evil.example"},
    {"sub": ""},
    {"email_verified": False},
    {"exp": NOW - 61},
)


def _filled(text: bytes) -> bytes:
    """Put in what the control characters stand for."""
    return _STANDS_IN.sub(lambda found: STAND_INS[found[0][0]], text)


def _leads_home(location: str) -> None:
    """See that a Location is a path of ours, or leads to one of our hosts or the provider."""
    if location.startswith("/"):
        assert re.fullmatch(r"/[a-z.]+/?", location), location
        return
    repaired = re.sub(r"[\t\n\r]", "", location).replace("\\", "/")
    authority = re.split(r"[/?#]", repaired.partition("://")[2], maxsplit=1)[0]
    assert authority in HOSTS, location
    assert target(location[:2_000].partition("?")[0]).scheme == "https", location


def _read(where: bytes) -> tuple[bytes, bytes]:
    """Return path and query as they count, whatever spelling came; nothing if it was refused."""
    try:
        path, query = canonical(where)
    except BadMessage:
        return b"", b""
    return path, query or b""


def _given_by_right(host: bytes, where: bytes, cookie: bytes, message: Message) -> None:
    """See that whoever gets a session, or a hand-off of one, brought what it takes."""
    path, query = _read(where)
    given = {name for name, _ in _set(message)}
    location = urlsplit(_location(message))
    hands_off = location.path == FINISH and bool(location.query)
    if host == b"auth.example.com":
        assert SESSION not in given, message
        if OWN in given or hands_off:
            by = _ended(path, query, cookie) or _known(path, query, cookie)
            assert by is not None, (where, cookie, message)
            if hands_off:
                _is_for(by, location.query)
        return
    assert OWN not in given, message
    assert not hands_off, message
    if SESSION in given:
        assert any(
            path == FINISH.encode() and _has(query, one.handoff) and _brings(cookie, one.login)
            for one in SIGNINGS
        ), (where, cookie, message)


def _ended(path: bytes, query: bytes, cookie: bytes) -> Signing | None:
    """Return the sign-in that a callback ends by right, if it does."""
    if not re.fullmatch(rb"/oauth2/callback", path):
        return None
    try:
        asked = parameters(query)
    except BadMessage:
        return None
    for one in SIGNINGS:
        right = (asked.get("state"), asked.get("code")) == (one.state, one.code)
        if right and _brings(cookie, one.kept):
            return one
    return None


def _known(path: bytes, query: bytes, cookie: bytes) -> Signing | None:
    """Return the sign-in that a signed link continues for a browser with a session, if so."""
    if path != SIGN_IN.encode() or not any(_brings(cookie, one.own) for one in SIGNINGS):
        return None
    return next((one for one in SIGNINGS if query == one.asked.encode()), None)


def _is_for(one: Signing, query: str) -> None:
    """See that a hand-off is for the login that this sign-in was begun for."""
    sealed = dict(parse_qsl(query))["pomerium_session_encrypted"]
    keys = SharedKeys.derived([SHARED]).handoff
    found = open_handoff(keys, sealed, audience="app.example.com:443", now=NOW)
    login = dict(parse_qsl(one.asked))["pomerium_login"]
    assert found.login == login, (found, login)
    assert found.session.identity.subject == "alice", found


def _has(query: bytes, wanted: str) -> bool:
    """Say whether a query has these parameters."""
    return set(parse_qsl(wanted)) <= set(parse_qsl(query.decode("latin-1")))


def _brings(cookie: bytes, pair: Pair) -> bool:
    """Say whether a Cookie field holds a cookie, whatever else it holds."""
    wanted = b"=".join(pair)
    return any(
        re.sub(rb"\s*=\s*", b"=", one.strip(), count=1) == wanted for one in cookie.split(b";")
    )


def seed(host: int, where: bytes, cookie: bytes = b"", form: bytes = b"", method: int = 0) -> bytes:
    """Return the octets of a request."""
    return bytes((host, method, 0, 0, 0)) + where + b"\n" + cookie + b"\n" + form


_AT_AUTH = (
    (b"oauth2/callback?state=\x05&code=\x06", b"\x02; \x03"),
    (b"oauth2/callback?state=\x05&code=\x15", b"\x02; \x11"),
    (b"oauth2/callback?state=\x14&code=\x15", b"\x02"),
    (b"oauth2/callback?state=\x14&code=\x06", b"\x02"),
    (b"oauth2/callback?state=\x05&code=\x06&iss=https://id.example.com", b"\x02"),
    (b"oauth2/callback?state=\x05&error=access_denied&error_description=x", b"\x02"),
    (b"oauth2/callback?state=\x05&state=\x14&code=\x06", b"\x02"),
    (b"oauth2/callback?state=\x05", b"\x02"),
    (b"oauth2/callback?state=\x05&code=", b"\x11"),
    (b"oauth2/callback?code=\x06", b"\x03"),
    (b"oauth2/callback", b""),
    (b".pomerium/sign_in?\x07", b""),
    (b".pomerium/sign_in?\x07", b"\x04"),
    (b".pomerium/sign_in?\x07&pomerium_redirect_uri=https://evil.example/", b"\x04"),
    (b".pomerium/sign_out", b"\x04"),
    (b".pomerium/signed_out?state=x", b""),
    (b".pomerium/", b"\x04"),
    (b".pomerium", b""),
    (b".well-known/pomerium", b""),
)
_AT_APP = (
    (b".pomerium/callback/?\x08", b"\x01"),
    (b".pomerium/callback/?\x17", b"\x01"),
    (b".pomerium/callback/?\x08", b""),
    (b".pomerium/callback/?\x08&\x17", b"\x01; \x10"),
    (b".pomerium/sign_in?pomerium_redirect_uri=https://app.example.com/a?b", b""),
    (b".pomerium/sign_in?pomerium_redirect_uri=https://evil.example/", b""),
    (b".pomerium/sign_in?pomerium_redirect_uri=https:%5C%5Cevil.example/", b""),
    (b".pomerium/", b""),
    (b".pomerium/sign_out", b"_pomerium=x"),
    (b"a?b=c", b"__Host-_pomerium_rounds=3.1790000000"),
)

HARNESS = Harness(
    name="callback",
    check=check,
    seeds=(
        *(seed(0, where, cookie) for where, cookie in _AT_AUTH),
        *(seed(1, where, cookie) for where, cookie in _AT_APP),
        seed(0, b".pomerium/sign_out", b"\x04", b"csrf=x", 2),
        seed(1, b".pomerium/sign_out", b"", b"csrf=x", 2),
    ),
    words=(
        *(bytes((octet,)) for octet in sorted(STAND_INS)),
        b"oauth2/callback?",
        b".pomerium/callback/?",
        b".pomerium/sign_in?",
        b".pomerium/sign_out",
        b"state=",
        b"&state=",
        b"&code=",
        b"&error=",
        b"&iss=",
        b"pomerium_session_encrypted=",
        b"pomerium_redirect_uri=",
        b"https://evil.example/",
        b"//evil.example/",
        b"%5C",
        b"%09",
        b"%0d%0a",
        b"; ",
        b"__Host-_pomerium_login_",
        b"__Host-_pomerium_trail=",
        b"__Host-_pomerium_authenticate=",
        b"__Host-_pomerium=",
        b"__Host-_pomerium_rounds=",
        b"=",
        b"\n",
    ),
    longest=1_024,
)
