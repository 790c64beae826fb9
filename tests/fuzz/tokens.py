"""
Tokens: what somebody brings where we take one, and odd ones that bear a good signature.

Laws: what is taken as it came is, to the letter, one that was made for this very place; only
an error of ours refuses; what is taken keeps every bound that a session has, comes back the
same from the forms in which it travels, and fits them; an ID token is believed only if a
second reading of its claims finds what was expected.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NoReturn

import attrs
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm

from pomeriumd.authenticate.own_sessions import OwnSessions
from pomeriumd.authenticate.site import AuthenticateSite
from pomeriumd.crypto import base64url, tokens
from pomeriumd.crypto.keys import OwnKeys, SharedKeys
from pomeriumd.crypto.seal import SEALED_SIZE, seal
from pomeriumd.errors import BadMessage, BadToken, LoginFailed
from pomeriumd.http.limits import Limits
from pomeriumd.oidc.grant import Grant
from pomeriumd.oidc.identity import build
from pomeriumd.oidc.keyset import read_keys
from pomeriumd.oidc.kinds import KINDS
from pomeriumd.oidc.tokens import Expected, read_head, verify
from pomeriumd.session.claims import session_claims
from pomeriumd.session.cookies import CookieShape
from pomeriumd.session.csrf import csrf_token, csrf_valid
from pomeriumd.session.handoff import Handoff, open_handoff, seal_handoff
from pomeriumd.session.pending import PendingLogins
from pomeriumd.session.provider import ProviderSession, open_provider, seal_provider
from pomeriumd.session.session import Session
from pomeriumd.session.sign_in import (
    CALLBACK,
    SignInRequest,
    read_sign_in,
    read_sign_out,
    sign_in_url,
    sign_out_url,
)
from pomeriumd.session.standing import SessionLimits
from pomeriumd.session.token import KIND, decode, encode
from tests.fuzz.edits import edited
from tests.fuzz.harness import Harness, Input
from tests.support.rig import ALICE, NOW, Chance

AUTH, APP, ISSUER = "https://auth.example.com", "app.example.com:443", "https://id.example.com"
SHAPE = CookieShape(name="_pomerium")
SHARED = SharedKeys.derived([bytes(range(32))])
OWN = OwnKeys.derived([bytes(range(32, 64))])
SESSIONS = OwnSessions(
    site=AuthenticateSite(
        origin=AUTH, callback_path="/oauth2/callback", shape=SHAPE, limits=SessionLimits()
    ),
    keys=OWN.session,
    issuer=ISSUER,
    random=Chance(),
)
SESSION = Session(
    id="session-1",
    identity=ALICE,
    issuer=AUTH,
    audience=APP,
    auth_time=NOW,
    checked=NOW,
    recheck=NOW + 600,
    seen=NOW,
    expires=NOW + 14 * 3600,
)
PROVIDER_SESSION = ProviderSession(
    id="session-1",
    identity=ALICE,
    auth_time=NOW,
    checked=NOW,
    seen=NOW,
    expires=NOW + 3600,
    refresh_token="r1",
    id_token="a.b.c",
)
HANDOFF = Handoff(
    session=SESSION, login="id.hash", redirect="https://app.example.com/a", expires=NOW + 60
)
LOGINS = PendingLogins(shape=SHAPE, keys=OWN.login, audience=APP)
LOGIN, _FIELDS = LOGINS.begin([], {"secret": "s"}, now=NOW, random=Chance())
LOGIN_COOKIE = _FIELDS[0][1].partition(b";")[0].partition(b"=")

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEYS = read_keys({"keys": [{**OKPAlgorithm.to_jwk(KEY.public_key(), as_dict=True), "kid": "k1"}]})
HEADER: dict[str, Any] = {"alg": "EdDSA", "kid": "k1", "typ": "JWT"}
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "aud": "pomerium",
    "sub": "alice",
    "iat": NOW,
    "exp": NOW + 300,
    "nonce": "n-1",
    "email": "Alice@Example.com",
    "email_verified": True,
    "name": "Alice",
    "groups": ["staff"],
}
_MORE = {"azp": "pomerium", "nbf": NOW, "at_hash": "x", "tid": "x", "xms_edov": True}
ALGORITHMS = ("ES256", "EdDSA")


def signed(header: bytes, payload: bytes) -> str:
    """Return an ID token of these octets, whatever they are, signed by the provider."""
    covered = f"{base64url.encode(header)}.{base64url.encode(payload)}"
    return f"{covered}.{base64url.encode(KEY.sign(covered.encode('ascii')))}"


def _login(text: str) -> object:
    name, _, value = LOGIN_COOKIE
    del value
    found = LOGINS.find([(name, text.encode("latin-1", "replace"))], LOGIN, now=NOW)
    if found is None:
        raise BadToken("no login")
    return found


def _form(text: str) -> None:
    if not csrf_valid(SHARED.csrf, text, session_id="s", audience=APP, action="sign out"):
        raise BadToken("no form of ours")


def _id_token(text: str) -> dict[str, Any]:
    head = read_head(text, ALGORITHMS)
    expected = Expected(issuer=ISSUER, client_id="pomerium", nonce="n-1", access_token="access-1")
    return verify(text, head, KEYS.fitting(head.kid, head.algorithm), expected, float(NOW))


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


_SIGN_IN = SignInRequest(redirect="https://app.example.com/a", login="id.hash", seen=NOW)

_PLACES: tuple[tuple[Callable[[str], object], str], ...] = (
    (
        lambda text: decode(text, SHARED.route_session, audience=APP, issuer=AUTH, now=NOW),
        encode(SESSION, SHARED.route_session),
    ),
    (
        lambda text: open_handoff(SHARED.handoff, text, audience=APP, now=NOW),
        seal_handoff(SHARED.handoff, HANDOFF, random=Chance()),
    ),
    (
        lambda text: open_provider(OWN.session, text, audience=APP, issuer=ISSUER),
        seal_provider(OWN.session, PROVIDER_SESSION, audience=APP, issuer=ISSUER, random=Chance()),
    ),
    (_login, LOGIN_COOKIE[2].decode("ascii")),
    (_form, csrf_token(SHARED.csrf, session_id="s", audience=APP, action="sign out")),
    (
        lambda text: read_sign_in(SHARED.signed_url, AUTH, _octets(text), NOW),
        sign_in_url(SHARED.signed_url, AUTH, _SIGN_IN, NOW).partition("?")[2],
    ),
    (
        lambda text: read_sign_out(SHARED.signed_url, AUTH, _octets(text), NOW),
        sign_out_url(
            SHARED.signed_url, AUTH, session_id="s", redirect="https://app.example.com/", now=NOW
        ).partition("?")[2],
    ),
    (_id_token, signed(json.dumps(HEADER).encode(), json.dumps(CLAIMS).encode())),
)
"""Where a token is taken, and the one token that was made for there."""


def check(octets: bytes) -> None:
    """Hold every law for tokens."""
    given = Input(octets)
    given.one_of((_as_it_came, _session, _handoff, _provider_session, _claims, _raw))(given)


def _as_it_came(given: Input) -> None:
    """Take nothing but what was made for the place."""
    take, made = given.one_of(_PLACES)
    text = given.rest().decode("utf-8", "replace")
    try:
        take(text)
    except (BadToken, BadMessage, LoginFailed):
        return
    assert text == made, text


def _session(given: Input) -> None:
    """A session under our signature is a session in every part, or none."""
    claims = edited({**session_claims(SESSION), "iat": NOW}, given)
    token = tokens.sign(SHARED.route_session, _for_orjson(claims), kind=KIND)
    try:
        session = decode(token, SHARED.route_session, audience=APP, issuer=AUTH, now=NOW)
    except BadToken:
        return
    _is_session(session)


def _is_session(session: Session) -> None:
    """See that a session keeps its bounds, and survives its journeys."""
    identity = session.identity
    assert all(type(time) is int and time >= 0 for time in _times(session)), session
    assert identity.email is None or identity.email.count("@") == 1, session
    assert all(type(group) is str and group for group in identity.groups), session
    assert session.expires + tokens.LEEWAY > NOW, session
    again = encode(session, SHARED.route_session)
    if len(again) <= tokens.TOKEN_SIZE and session.seen <= NOW + tokens.LEEWAY:
        assert session == decode(
            again, SHARED.route_session, audience=session.audience, issuer=AUTH, now=NOW
        )


def _times(session: Session) -> tuple[int, ...]:
    """Return all times of a session."""
    return session.auth_time, session.checked, session.recheck, session.seen, session.expires


def _handoff(given: Input) -> None:
    """A hand-off under our seal holds a session for this host, or is none."""
    content = edited(
        {
            "session": session_claims(SESSION),
            "login": HANDOFF.login,
            "redirect": HANDOFF.redirect,
            "expires": HANDOFF.expires,
        },
        Input(given.octets(given.number() % 16)),
    )
    if isinstance(content.get("session"), dict):
        content["session"] = edited(content["session"], given)
    sealed = _sealed(SHARED.handoff, content, f"handoff 1\n{APP}")
    if sealed is None:
        return
    try:
        found = open_handoff(SHARED.handoff, sealed, audience=APP, now=NOW)
    except BadToken:
        return
    assert found.session.audience == APP, found
    assert NOW - 60 < found.expires <= NOW + 120, found
    assert all(type(time) is int for time in _times(found.session)), found


def _provider_session(given: Input) -> None:
    """A session of authenticate's under our seal is one in every part, or none."""
    content = edited(
        {
            "v": 1,
            "sid": "session-1",
            "idp": ISSUER,
            "sub": "alice",
            "email": None,
            "name": None,
            "groups": [],
            "auth_time": NOW,
            "chk": NOW,
            "seen": NOW,
            "exp": NOW + 60,
            "refresh": "r1",
            "id_token": None,
        },
        given,
    )
    sealed = _sealed(OWN.session, content, f"provider session 1\n{APP}\n{ISSUER}")
    if sealed is None:
        return
    try:
        found = open_provider(OWN.session, sealed, audience=APP, issuer=ISSUER)
    except BadToken:
        return
    for token in (found.refresh_token, found.id_token):
        assert token is None or type(token) is str, found
    again = seal_provider(OWN.session, found, audience=APP, issuer=ISSUER, random=Chance())
    assert (
        attrs.evolve(
            open_provider(OWN.session, again, audience=APP, issuer=ISSUER),
            refresh_token=found.refresh_token,
            id_token=found.id_token,
        )
        == found
    )


def _for_orjson(claims: dict[str, Any]) -> dict[str, Any]:
    """Return claims that our own writer can have written: no lone surrogates."""
    text = json.dumps(claims, ensure_ascii=False).encode("utf-8", "replace")
    plain: dict[str, Any] = json.loads(text)
    return plain


def _sealed(keys: tuple[bytes, ...], content: dict[str, Any], context: str) -> str | None:
    """Return the content under our seal; None if it is too long for one."""
    plain = orjson.dumps(_for_orjson(content))
    if len(plain) * 4 // 3 + 64 > SEALED_SIZE:
        return None
    return seal(keys, plain, context=context.encode(), random=Chance())


def _claims(given: Input) -> None:
    """An ID token with a good signature and odd claims."""
    header = edited(HEADER, Input(given.octets(given.number() % 16)))
    claims = edited(CLAIMS | _MORE, given)
    if given.number() % 2 == 0:  # most of them leave the rarer claims out
        claims = {name: claims[name] for name in claims if claims[name] != _MORE.get(name)}
    _judged(json.dumps(header).encode(), json.dumps(claims).encode())


def _raw(given: Input) -> None:
    """An ID token with a good signature whose parts are any octets."""
    header = given.line()
    _judged(header or json.dumps(HEADER).encode(), given.rest())


def _judged(header: bytes, payload: bytes) -> None:
    """Believe an ID token only if a second reading finds what was expected."""
    try:
        found = _id_token(signed(header, payload))
    except LoginFailed:
        return
    claims = json.loads(payload, object_pairs_hook=_unique, parse_constant=_no_constant)
    named = json.loads(header, object_pairs_hook=_unique, parse_constant=_no_constant)
    assert claims == found, claims
    assert named["alg"] == "EdDSA", named
    assert "crit" not in named, named
    assert (claims["iss"], claims["nonce"]) == (ISSUER, "n-1"), claims
    assert claims["aud"] == "pomerium" or "pomerium" in claims["aud"], claims
    assert claims["aud"] in ("pomerium", ["pomerium"]) or claims["azp"] == "pomerium", claims
    assert claims["exp"] + 60 > NOW, claims
    assert claims["iat"] <= NOW + 60, claims
    assert re.fullmatch(r".{1,255}", claims["sub"]), claims
    for kind in KINDS.values():
        _signs_in(found, kind.name)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the members; a name that stands twice is a finding: it was believed."""
    members = dict(pairs)
    assert len(members) == len(pairs), pairs
    return members


def _signs_in(claims: dict[str, Any], kind: str) -> None:
    """Make the person's sessions, and see that they fit all the ways that they go."""
    identity = build(KINDS[kind], claims["iss"], claims["sub"], [claims])
    assert identity.email is None or identity.email.count("@") == 1, identity
    if kind == "oidc":
        assert identity.email is None or claims["email_verified"] is True, claims
    grant = Grant(identity=identity, refresh_token="r" * 2_000, id_token="i", access_token="a")
    try:
        own = SESSIONS.begun(grant, "session-1", NOW)
    except LoginFailed:
        return
    assert SESSIONS.write(own, [], NOW)
    session = SESSIONS.at(own, APP)
    _is_session(session)
    handoff = attrs.evolve(HANDOFF, session=session)
    sealed = seal_handoff(SHARED.handoff, handoff, random=Chance())
    assert len(CALLBACK) + len("?pomerium_session_encrypted=") + len(sealed) <= _TARGET_SIZE


_TARGET_SIZE = Limits().target_size


def _no_constant(name: str) -> NoReturn:
    """Refuse NaN and the like: no JSON, and believed all the same."""
    raise AssertionError(name)


_EDITS = (
    b"",
    b"\x00\x00",
    b"\x00\x03\x05other",
    b"\x01\x05\x02\x07\x01\x03\x05other",
    b"\x02\x01\x0b\x03\x01\x0c",
    b'\x08\x04\x08\x00\x01\x0b""""',
    b"\x09\x06\xff\x01\\",
    b"\x0d\x02\x06\x09\x05\x03\x03\x02ab",
    b"\x02\x03\x05other",
    b"\x06\x02\x09",
    b"\x09\x01\x0f",
)
_ODD: tuple[dict[str, Any], ...] = (
    {"aud": "another"},
    {"aud": ["another"], "azp": "pomerium"},
    {"aud": ["pomerium", "another"]},
    {"aud": ["pomerium", "another"], "azp": "another"},
    {"iss": "https://evil.example"},
    {"exp": NOW - 61},
    {"exp": 1e300},
    {"iat": NOW + 61},
    {"nbf": NOW + 61},
    {"nonce": None},
    {"sub": ""},
    {"sub": ["alice"]},
    {"email": "alice@evil.example@example.com"},
    {"email_verified": "true"},
    {"email_verified": False},
    {"groups": {"a": 1}, "cognito:groups": ["x"]},
    {"name": "a\nb"},
)


def _flipped() -> list[bytes]:
    """Return each good token with one character of it changed, in its middle or at its end."""
    flipped = []
    for _, made in _PLACES:
        for at in (len(made) // 2, len(made) - 1):
            other = "B" if made[at] == "A" else chr(ord(made[at]) ^ 1)
            flipped.append((made[:at] + other + made[at + 1 :]).encode())
    return flipped


HARNESS = Harness(
    name="tokens",
    check=check,
    seeds=(
        *(bytes((0, number)) + made.encode() for number, (_, made) in enumerate(_PLACES)),
        *(bytes((0, number + 1)) + made.encode() for number, (_, made) in enumerate(_PLACES[:-1])),
        *(bytes((0, number // 2)) + text for number, text in enumerate(_flipped())),
        *(kind + edit for kind in (b"\x01", b"\x02\x00", b"\x03") for edit in _EDITS),
        *(b"\x02%c%b" % (len(edit), edit) for edit in _EDITS),
        *(b"\x04\x00" + edit for edit in _EDITS),
        b"\x04\x03\x00\x01\x05",
        *(
            b"\x05%b\n%b" % (header, json.dumps(CLAIMS).encode())
            for header in (
                b"",
                b'{"alg":"EdDSA"}',
                b'{"alg":"none","kid":"k1"}',
                b'{"alg":"EdDSA","alg":"ES256","kid":"k1"}',
                b'{"alg":"ES256","alg":"EdDSA","kid":"k1"}',
                b'{"alg":"EdDSA","kid":"k1","crit":["b64"],"b64":false}',
                b'{"alg":"HS256","typ":"at+jwt"}',
            )
        ),
        *(b"\x05\n" + json.dumps(CLAIMS | odd).encode() for odd in _ODD),
        b'\x05\n{"sub":"bob",' + json.dumps(CLAIMS).encode()[1:],
        b'\x05\n{"nonce":"\\ud800","aud":["pomerium","b"],"iss":"https://id.example.com"}',
        b"\x05\n" + b'[{"a":' * 40,
    ),
    words=(
        *(name.encode() for name in (*HEADER, *CLAIMS, *_MORE, "crit", "session", "sid", "rck")),
        b'"EdDSA"',
        b'"none"',
        b'"HS256"',
        b"\\ud800",
        b"\\u0000",
        b"1e999",
        b"NaN",
        b"true",
        b"null",
        b"pomerium_signature=",
        b"pomerium_issued=",
        b"pomerium_expiry=",
        b"&",
        b"=",
        b".",
        b"@",
        b'"',
        b"\\",
        ISSUER.encode(),
    ),
    longest=2_048,
)
