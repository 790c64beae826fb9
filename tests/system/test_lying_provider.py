"""A provider that lies, one lie at a time, and the real daemon: page, log line, no session."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import attrs
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import RSAAlgorithm

from tests.support.certified import KID, SECRET, signing_key
from tests.support.lying_front import (
    DISCOVERY,
    Claims,
    Lie,
    LyingFront,
    Told,
    part,
    signed,
    with_claims,
    with_token,
)
from tests.support.site import Site, make_site
from tests.support.visitor import Page, Visitor

pytestmark = [pytest.mark.system, pytest.mark.needs("node", "npm", "faketime")]

KEY, OTHER = signing_key(), signing_key()
CURVE = ec.generate_private_key(ec.SECP256R1())
TOKEN, KEYS, USERINFO = "/token", "/jwks", "/me"


@attrs.frozen
class Lied:
    """A daemon, and the front of its provider."""

    site: Site
    front: LyingFront

    def sign_in(self, who: str = "alice") -> tuple[Visitor, Page]:
        """Return somebody new who tried to sign in, and the page they came to."""
        return self.site.signed_in(who)

    def refused(self, check: str) -> str:
        """Try to sign in, and be refused by this check; return what the log has about it."""
        since = len(self.site.daemon.process.lines)
        visitor, page = self.sign_in()
        assert (page.status, page.check) == (400, check), page.text
        assert visitor.sessions == set()
        line = self.site.daemon.process.until(f"sign-in failed at {check}: ", after=since)
        assert page.request_id in line
        return line

    def failed(self, text: str) -> Page:
        """Try to sign in, and hear that the provider does not do its part; the log has why."""
        since = len(self.site.daemon.process.lines)
        visitor, page = self.sign_in()
        assert page.status == 503, page.text
        assert int(page.fields["retry-after"]) > 0
        assert visitor.sessions == set()
        line = self.site.daemon.process.until(f"provider: {text}", after=since)
        assert page.request_id in line
        assert '"level":"warn"' in line
        return page

    def works(self) -> None:
        """See that the truth lets somebody in, without a restart."""
        self.front.lies.clear()
        _, page = self.sign_in()
        assert page.status == 200, page.text


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lied]:
    """Start it once; what a lie leaves behind, the next test meets."""
    front = LyingFront()
    site = make_site(tmp_path_factory.mktemp("lies"), issuer=front.url, key=KEY)
    front.behind = site.provider.port
    yield Lied(site, front)
    front.stop()
    site.stop()


@pytest.fixture
def lied(running: Lied) -> Iterator[Lied]:
    """The same, telling the truth at first, and afterwards."""
    running.front.lies.clear()
    yield running
    running.works()


CLAIMS: dict[str, list[tuple[str, Any]]] = {
    "id-token-issuer": [
        ("iss", "https://evil.example"),
        ("iss", "http://127.0.0.1"),
        ("iss", ""),
        ("iss", ["http://127.0.0.1"]),
        ("iss", None),
    ],
    "id-token-audience": [
        ("aud", "another"),
        ("aud", "Pomerium"),
        ("aud", ["pomerium", "another"]),
        ("aud", []),
        ("aud", 7),
        ("aud", None),
        ("azp", "another"),
        ("azp", ["pomerium"]),
    ],
    "id-token-subject": [
        ("sub", ""),
        ("sub", 7),
        ("sub", "a\u0000b"),
        ("sub", "x" * 256),
        ("sub", None),
    ],
    "id-token-nonce": [
        ("nonce", "of-another-sign-in"),
        ("nonce", ""),
        ("nonce", 7),
        ("nonce", None),
    ],
    "id-token-time": [
        ("exp", None),
        ("exp", "4102444800"),
        ("exp", True),
        ("exp", 1e300),
        ("exp", -1),
        ("iat", None),
        ("iat", "now"),
        ("nbf", "now"),
    ],
    "id-token-access-token": [("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"), ("at_hash", 7)],
}


@pytest.mark.parametrize(
    ("check", "name", "value"),
    [(check, *one) for check, lies in CLAIMS.items() for one in lies],
)
def test_a_false_claim(lied: Lied, check: str, name: str, value: Any) -> None:
    """Signed by the provider's own key, and refused by the check of the claim."""
    lied.front.lies[TOKEN] = with_claims(KEY, {name: value})
    lied.refused(check)


@pytest.mark.parametrize(("name", "ahead"), [("exp", -61), ("iat", 600), ("nbf", 600)])
def test_a_time_that_is_not_now(lied: Lied, name: str, ahead: int) -> None:
    """Expired, or not yet valid, by more than the leeway; the log says by how much."""

    def make(claims: Claims) -> str:
        return signed(KEY, {**claims, name: claims["iat"] + ahead})

    lied.front.lies[TOKEN] = with_token(make)
    line = lied.refused("clock")
    assert re.search(r"(expired|issued|valid only in) .* by our clock, leeway 60 s", line)


def test_the_token_of_another_sign_in(lied: Lied) -> None:
    """A good one, of the same person and client, a moment ago: the nonce tells."""
    before: list[str] = []

    def listen(told: Told) -> Told:
        before.append(json.loads(told.body)["id_token"])
        return told

    lied.front.lies[TOKEN] = listen
    lied.sign_in()
    lied.front.lies[TOKEN] = lambda told: told.json(id_token=before[0])
    # The access token is another, so at_hash would tell as well.
    assert lied.refused("id-token-nonce")


def test_two_azp_and_audience(lied: Lied) -> None:
    """Several audiences are good only with an azp that is ours."""
    both = ["pomerium", "another"]
    lied.front.lies[TOKEN] = with_claims(KEY, {"aud": both, "azp": "another"})
    lied.refused("id-token-audience")
    lied.front.lies[TOKEN] = with_claims(KEY, {"aud": both, "azp": "pomerium"})
    _, page = lied.sign_in()
    assert page.status == 200


def mac(claims: Claims, key: bytes) -> str:
    """Return a token with a MAC where a signature belongs."""
    covered = f"{part({'alg': 'HS256', 'typ': 'JWT', 'kid': KID})}.{part(claims)}"
    return f"{covered}.{part(hmac.digest(key, covered.encode(), hashlib.sha256))}"


PUBLIC = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

SIGNATURES: dict[str, list[Any]] = {
    "id-token-algorithm": [
        lambda claims: f"{part({'alg': 'none', 'kid': KID})}.{part(claims)}.AAAA",
        lambda claims: f"{part({'alg': 'NONE'})}.{part(claims)}.AAAA",
        lambda claims: f"{part({'alg': ['RS256']})}.{part(claims)}.AAAA",
        lambda claims: mac(claims, PUBLIC),
        lambda claims: mac(claims, PUBLIC.strip()),
        lambda claims: mac(claims, SECRET.encode()),
        lambda claims: signed(KEY, claims, "RS512"),
        lambda claims: signed(KEY, claims, "PS256"),
    ],
    "id-token-signature": [
        lambda claims: signed(OTHER, claims),
        lambda claims: signed(
            OTHER, claims, jwk=RSAAlgorithm.to_jwk(OTHER.public_key(), as_dict=True)
        ),
        lambda claims: signed(OTHER, claims, jku="http://127.0.0.1/jwks"),
        lambda claims: (
            signed(KEY, {**claims, "sub": "mallory"}).rsplit(".", 1)[0]
            + "."
            + signed(KEY, claims).rsplit(".", 1)[1]
        ),
        lambda claims: signed(KEY, claims).rsplit(".", 1)[0] + ".AAAA",
    ],
    "id-token-key": [
        lambda claims: signed(KEY, claims, kid="another"),
        lambda claims: signed(CURVE, claims, "ES256"),
    ],
    "id-token-format": [
        lambda claims: f"{part({'alg': 'none'})}.{part(claims)}.",
        lambda claims: signed(KEY, claims) + ".AAAA",
        lambda _: "x",
        lambda claims: signed(KEY, claims, typ="at+jwt"),
        lambda claims: signed(KEY, claims, crit=["b64"]),
        lambda claims: signed(KEY, claims, kid=7),
        lambda _: signed(KEY, b"[]"),
        lambda claims: signed(KEY, json.dumps(claims)[:-1].encode() + b',"sub":"mallory"}'),
        lambda _: signed(KEY, b'{"iss":' + b"[" * 99 + b"]" * 99 + b"}"),
    ],
}


@pytest.mark.parametrize(
    ("check", "number"),
    [(check, number) for check, lies in SIGNATURES.items() for number in range(len(lies))],
)
def test_a_false_signature(lied: Lied, check: str, number: int) -> None:
    """No algorithm but ours, no key but the published one, and nothing that is read two ways."""
    lied.front.lies[TOKEN] = with_token(SIGNATURES[check][number])
    lied.refused(check)


def told(status: int, body: bytes = b"{}", **fields: str) -> Lie:
    """Return the lie that is this answer."""
    named = [(name.replace("_", "-"), value) for name, value in fields.items()]
    given = (("content-type", "application/json"), *named)
    return lambda _: Told(status, given, body)


def twice(name: bytes) -> Lie:
    """Return the lie that says something twice."""
    return lambda true: attrs.evolve(true, body=true.body[:-1] + b',"%b":"x"}' % name)


BROKEN: dict[str, Lie] = {
    "status 500": told(500),
    "status 429": told(429),
    "status 201": told(201),
    "status 302, a redirect; none is followed": told(302, location="https://evil.example/"),
    "status 307, a redirect; none is followed": told(307, location="/token"),
    "answer is over 262144 bytes": told(200, b" " * 262_145),
    "not JSON at character 0 (status 200, text/html)": lambda _: Told(
        200, (("content-type", "text/html"),), b"<html>"
    ),
    "not JSON at character 1 (status 200, application/json)": told(200, b"{"),
    "not UTF-8 (status 200, application/json)": told(200, b'{"a":"\xff"}'),
    "want an object, got a list (status 200, application/json)": told(200, b"[]"),
    "nested deeper than 32 levels (status 200, application/json)": told(200, b"[" * 40),
    "a name occurs twice in one object (status 200, application/json)": twice(b"id_token"),
    "answer has a content coding, none was asked for": told(200, content_encoding="gzip"),
    "connection broke off": lambda true: attrs.evolve(true, announced=len(true.body) + 1),
    "refused with invalid_client; see idp_client_id and idp_client_secret": told(
        401, b'{"error":"invalid_client"}'
    ),
    "refused with no readable error": told(400),
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_token_endpoint(lied: Lied, text: str) -> None:
    """It is the provider's failure: 503, when to come back, and the reason in the log."""
    lied.front.lies[TOKEN] = BROKEN[text]
    lied.failed(f"token endpoint: {text}")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"id_token": None}, "id_token is missing; is openid in idp_scopes?"),
        ({"access_token": None}, "access_token is missing"),
        ({"access_token": "a b"}, "access_token is not 1 to 65536 visible ASCII characters"),
        ({"token_type": "mac"}, "token_type is not Bearer"),
        ({"token_type": None}, "token_type is not Bearer"),
        ({"refresh_token": 7}, "refresh_token is not 1 to 65536 visible ASCII characters"),
    ],
)
def test_a_token_answer_that_lacks_something(
    lied: Lied, changes: dict[str, Any], text: str
) -> None:
    """It is named."""
    lied.front.lies[TOKEN] = lambda true: true.json(**changes)
    lied.failed(f"token answer: {text}")


def test_a_slow_token_endpoint(lied: Lied) -> None:
    """After ten seconds it is the provider's failure."""
    lied.front.lies[TOKEN] = lambda true: attrs.evolve(true, held=True)
    lied.failed("token endpoint: no answer in 10 s")


WITHOUT_GROUPS = with_claims(KEY, {"groups": None})
"""Userinfo is asked, then."""


def test_userinfo_of_another_person(lied: Lied) -> None:
    """Two answers about who it is are none."""
    lied.front.lies[TOKEN] = WITHOUT_GROUPS
    lied.front.lies[USERINFO] = lambda true: true.json(sub="mallory")
    lied.refused("userinfo-subject")


@pytest.mark.parametrize(
    ("lie", "text"),
    [
        (told(500), "status 500, want 200"),
        (told(200, b" " * 262_145), "answer is over 262144 bytes"),
        (told(302, location="/x"), "status 302, a redirect; none is followed"),
        (twice(b"sub"), "a name occurs twice in one object (status 200, application/json)"),
    ],
)
def test_a_broken_userinfo_endpoint(lied: Lied, lie: Lie, text: str) -> None:
    """Nobody is let in with fewer groups because a server is broken."""
    lied.front.lies[TOKEN] = WITHOUT_GROUPS
    lied.front.lies[USERINFO] = lie
    lied.failed(f"userinfo: {text}")


def back_with(**changes: str | None) -> Lie:
    """Return the lie that changes what the browser brings back."""

    def lie(true: Told) -> Told:
        to = dict(true.fields).get("location", "")
        if "/oauth2/callback" not in to:
            return true
        sent = {name: value[0] for name, value in parse_qs(urlsplit(to).query).items()}
        kept = {n: v for n, v in {**sent, **changes}.items() if v is not None}
        return true.field("location", f"{to.partition('?')[0]}?{urlencode(kept)}")

    return lie


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"iss": "https://evil.example"}, "issuer-parameter"),
        ({"iss": ""}, "issuer-parameter"),
        ({"iss": None}, "issuer-parameter"),
        ({"code": None}, "code-missing"),
        ({"code": ""}, "code-missing"),
        ({"code": "of somebody else"}, "code"),
        ({"code": "forged"}, "code"),
        ({"error": "server_error"}, "provider-error"),
    ],
)
def test_a_false_callback(lied: Lied, changes: dict[str, str | None], check: str) -> None:
    """Mix-up, injected and missing codes; each has its word."""
    lied.front.lies["/auth"] = back_with(**changes)
    asked = len(lied.front.asked)
    lied.refused(check)
    # Only a code that might be one goes to the provider.
    assert (TOKEN in lied.front.asked[asked:]) == (changes.get("code") == "forged")


def test_a_state_of_another_browser(lied: Lied) -> None:
    """A sign-in that somebody else began does not end here: it starts over, and then says so."""
    thief = lied.site.daemon.visitor()
    asked = thief.get(lied.site.daemon.url("app"))
    [url] = [url for url in asked.way if "/auth?" in url]
    state = parse_qs(urlsplit(url).query)["state"][0]
    lied.front.lies["/auth"] = back_with(state=state)
    victim, page = lied.sign_in()
    # It began anew by itself; the provider, who knows the person now, asks for consent.
    page = victim.submit(page)
    assert (page.status, page.check) == (400, "state-cookie")
    assert victim.sessions == set()


def test_rotated_keys(lied: Lied) -> None:
    """The old key is gone: one look at the new ones, and then none for half a minute."""
    lied.works()
    lied.site.time.add(31)
    rotated = {"keys": [{**RSAAlgorithm.to_jwk(OTHER.public_key(), as_dict=True), "kid": "new"}]}

    def lie(kid: str) -> None:
        lied.front.lies[TOKEN] = with_token(lambda claims: signed(OTHER, claims, kid=kid))
        lied.front.lies[KEYS] = told(200, json.dumps(rotated).encode())

    lie("new")
    before = lied.front.asked.count(KEYS)
    _, page = lied.sign_in()
    assert page.status == 200
    lie("unknown")
    for _ in range(3):
        lied.refused("id-token-key")
    assert lied.front.asked.count(KEYS) == before + 1
    lied.site.time.add(31)
    lied.refused("id-token-key")
    lied.refused("id-token-key")
    assert lied.front.asked.count(KEYS) == before + 2
    # The first key again, as `works` will find it.
    lied.site.time.add(31)


KEY_SETS: dict[str, Lie] = {
    "status 500, want 200": told(500),
    "answer is over 262144 bytes": told(200, b" " * 262_145),
    "status 302, a redirect; none is followed": told(302, location="/elsewhere"),
    "no list of keys": told(200, b'{"keys":{}}'),
    "65 keys, want 64 at most": told(200, json.dumps({"keys": [{}] * 65}).encode()),
    "none of 1 keys can verify a signature": told(
        200, json.dumps({"keys": [{"kty": "oct", "k": "AAAA", "kid": "x"}]}).encode()
    ),
}


@pytest.mark.parametrize("text", KEY_SETS)
def test_a_broken_key_set(lied: Lied, text: str) -> None:
    """A token with a new key cannot be verified: nobody is let in, and it works again after."""
    # Past the throttle, and past every back-off of the test before.
    lied.site.time.add(120)
    lied.front.lies[TOKEN] = with_token(lambda claims: signed(OTHER, claims, kid=f"new {text}"))
    lied.front.lies[KEYS] = KEY_SETS[text]
    lied.failed(f"key set: {text}")


@pytest.fixture(scope="module")
def starting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lied]:
    """A daemon that has never heard the truth of its provider."""
    front = LyingFront()
    site = make_site(tmp_path_factory.mktemp("starting"), issuer=front.url, key=KEY)
    front.behind = site.provider.port
    yield Lied(site, front)
    front.stop()
    site.stop()


def discovered(lied: Lied, lie: Lie, text: str) -> None:
    """Be told a lie in the place of metadata; nobody is sent anywhere."""
    lied.site.time.add(120)  # past every back-off
    lied.front.lies[DISCOVERY] = lie
    since = len(lied.site.daemon.process.lines)
    visitor = lied.site.daemon.visitor()
    page = visitor.get(lied.site.daemon.url("app"))
    assert page.status == 503, page.text
    assert int(page.fields["retry-after"]) > 0
    assert page.url.startswith(lied.site.daemon.url("authenticate"))
    assert visitor.sessions == set()
    assert page.request_id in lied.site.daemon.process.until(f"provider: {text}", after=since)


HERE = "want the issuer's host or a full name"

METADATA: list[tuple[dict[str, Any], str]] = [
    (
        {"issuer": "https://evil.example"},
        "issuer is 'https://evil.example', want 'http://127.0.0.1",
    ),
    ({"issuer": None}, "issuer is None, want 'http://127.0.0.1"),
    *(
        ({name: url}, f"{name} is '{url}', {want}")
        for name in (
            "authorization_endpoint",
            "token_endpoint",
            "jwks_uri",
            "userinfo_endpoint",
            "revocation_endpoint",
            "end_session_endpoint",
        )
        for url, want in (
            ("http://evil.example/x", HERE),
            ("https://evil.example/x", HERE),
            ("http://10.0.0.1/x", HERE),
            ("file:///etc/passwd", "want a URL"),
            ("http://a:b@127.0.0.1/x", "want a URL"),
        )
    ),
    *(
        ({name: None}, f"{name} is missing")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")
    ),
    ({"id_token_signing_alg_values_supported": ["HS256", "none"]}, "ID tokens are signed by"),
    (
        {"token_endpoint_auth_methods_supported": ["private_key_jwt"]},
        "client authentication is none of client_secret_basic, client_secret_post",
    ),
    (
        {"authorization_endpoint": "http://127.0.0.1/a?state=x"},
        "authorization_endpoint has state in its own URL",
    ),
]


@pytest.mark.parametrize(("changes", "text"), METADATA)
def test_lying_metadata(starting: Lied, changes: dict[str, Any], text: str) -> None:
    """Another issuer, or endpoints where no provider of the settings can be."""
    discovered(starting, lambda true: true.json(**changes), f"metadata: {text}")


DOCUMENTS: dict[str, Lie] = {
    "status 404, want 200": told(404),
    "status 301, a redirect; none is followed": told(301, location="https://evil.example/"),
    "answer is over 262144 bytes": told(200, b" " * 262_145),
    "a name occurs twice in one object (status 200, application/json)": twice(b"issuer"),
    "not JSON at character 0 (status 200, text/html)": lambda _: Told(
        200, (("content-type", "text/html"),), b"<html>"
    ),
    "connection broke off": lambda true: attrs.evolve(true, announced=len(true.body) + 1),
    "no answer in 5 s": lambda true: attrs.evolve(true, held=True),
}


@pytest.mark.parametrize("text", DOCUMENTS)
def test_broken_discovery(starting: Lied, text: str) -> None:
    """Huge, slow, elsewhere or no metadata at all."""
    discovered(starting, DOCUMENTS[text], f"discovery: {text}")


def test_discovery_is_down_at_the_start(starting: Lied) -> None:
    """Then it comes, and the next sign-in works without anybody's doing."""
    starting.front.down()
    try:
        for _ in range(7):  # the pause grows to half a minute and more
            discovered(starting, told(200), "discovery: connection refused")
        # Who comes a moment later does not make us ask again.
        since = len(starting.site.daemon.process.lines)
        page = starting.site.daemon.visitor().get(starting.site.daemon.url("app"))
        assert page.status == 503
        words = "provider: discovery: failed a moment ago, next try in"
        assert page.request_id in starting.site.daemon.process.until(words, after=since)
    finally:
        starting.front.up()
    starting.site.time.add(120)
    starting.works()
