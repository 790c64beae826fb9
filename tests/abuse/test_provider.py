# ruff: noqa: RUF001 - look-alikes are what some rows are about
"""
OpenID Connect, OAuth and JWT (abuse cases 4.4).

A provider that lies, and a browser that is led by somebody else. Each case goes the whole
way: no session may come of it, at authenticate or at a route host, and the application is
not asked.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator
from hmac import digest
from itertools import product
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import RSAAlgorithm

from pomeriumd.crypto.keys import OwnKeys, SharedKeys
from pomeriumd.crypto.signing import SigningKey
from pomeriumd.crypto.tokens import sign
from pomeriumd.daemon.build import building
from pomeriumd.http.limits import Limits
from pomeriumd.pieces import finish
from pomeriumd.session.claims import session_claims
from pomeriumd.session.handoff import Handoff, seal_handoff
from tests.support.browser import APP, AUTH, ROUTES, WIKI, Browser, SignInCase
from tests.support.leads import is_html, page
from tests.support.provider import CLIENT, PERSON, b64, other_key, raw, rs256, rsa_key, status
from tests.support.rig import Chance, Got, Rig
from tests.support.settings import COOKIE, ISSUER, SHARED, make_settings, route
from tests.support.settings_files import minimal, problems
from tests.support.settings_files import route as entry

WAITING: dict[str, str] = {
    "O13": "there is no back-channel logout: sessions are in cookies, so nobody could be told; "
    "a session store brings it, with every check of Back-Channel Logout 1.0",
    "O17": "there is no SAML; should a provider of that kind ever come, it brings a dedicated "
    "library and these vectors",
}

SHARED_KEYS = SharedKeys.derived([SHARED])
OWN_KEYS = OwnKeys.derived([COOKIE])

Lie = Callable[[dict[str, Any]], str]
"""Makes an ID token of honest claims."""

FOR_ALICE = (
    route(allowed_users=("alice@example.com",), allowed_domains=("example.com",)),
    *ROUTES[1:],
)


def changed(url: str, **parameters: str | None) -> str:
    """Return a URL with other parameters; None takes one out."""
    address, _, query = url.partition("?")
    given: dict[str, str | None] = {**dict(parse_qsl(query)), **parameters}
    return f"{address}?{urlencode({n: v for n, v in given.items() if v is not None})}"


class ProviderCase(SignInCase):
    """A daemon whose provider may lie."""

    def attempt(self, url: str = f"{APP}/") -> Got:
        """Sign in with a new browser, as far as that goes."""
        self.browser = self.new_browser()
        return self.browser.follow(url)

    def nobody(self, browser: Browser | None = None) -> None:
        """Assert that a browser has no session anywhere, and that no application was asked."""
        browser = browser or self.browser
        names = {name for _, name in browser.cookies}
        self.assertEqual({n for n in names if re.search(rb"_pomerium($|_authenticate)", n)}, set())
        self.assertEqual(browser.at_applications, [])

    def refused(self, what: object, statuses: tuple[int, ...] = (400,)) -> str:
        """Assert that a sign-in ends on a page that says why; return the check's name."""
        got = self.attempt()
        self.assertIn(got.status, statuses, (what, got))
        self.nobody()
        found = re.search(rb"<dd><code>([a-z-]+)</code></dd>", got.body)
        return found[1].decode() if found else ""

    def callback(self, browser: Browser | None = None) -> str:
        """Begin a sign-in, and return where the provider sends the browser back to."""
        return (browser or self.browser).until(f"{APP}/", f"{AUTH}/oauth2/callback")

    def later(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)


ISSUERS = (
    *("https://other.example", f"{ISSUER}/", f"{ISSUER}//", f" {ISSUER}", f"{ISSUER} ", "", "null"),
    *(ISSUER.upper(), "HTTPS://id.example.com", "https://ID.example.com", "http://id.example.com"),
    *(f"{ISSUER}:443", f"{ISSUER}:443/", f"{ISSUER}.evil.example", f"{ISSUER}@evil.example"),
    *("https://evil.example/https://id.example.com", "id.example.com", "//id.example.com"),
    *(f"{ISSUER}?", f"{ISSUER}#", f"{ISSUER}%00", f"{ISSUER}/x", "https://іd.example.com"),
    *("https://id.example.com.", "https://i%64.example.com", f"{ISSUER},{ISSUER}", f"[{ISSUER}]"),
    *(
        "https://{tenantid}.example.com",
        "*",
        ".*",
        "https://id.example.co",
        "https://d.example.com",
    ),
)


class MixUpTests(ProviderCase):
    """O1: an answer counts only from the provider that this very sign-in was begun at."""

    row = "O1"
    VARIANTS = ISSUERS

    def test_another_issuer_answers(self) -> None:
        """The code of such an answer is not even sent to the token endpoint."""
        for promised in (True, False, None, "true", 1):
            self.start(*self.routes)
            self.provider.metadata["authorization_response_iss_parameter_supported"] = promised
            for iss in (*self.VARIANTS, *((None,) if promised is True else ())):
                got = self.browser.open(changed(self.callback(), iss=iss))
                self.assertEqual(got.status, 400, iss)
                self.assertIn(b"<code>issuer-parameter</code>", got.body, iss)
                self.nobody()
            self.assertEqual(self.provider.forms("/token"), [])

    def test_a_provider_that_promised_nothing(self) -> None:
        """Without the promise its answer may leave iss out, and has to pass."""
        self.provider.metadata["authorization_response_iss_parameter_supported"] = False
        got = self.browser.follow(changed(self.callback(), iss=None))
        self.assertEqual(got.status, 200)

    def test_another_provider_in_the_settings_meanwhile(self) -> None:
        """A sign-in that began at one provider does not end at another."""
        for other in (
            "https://other.example",
            f"{ISSUER}/",
            f"{ISSUER}/x",
            "https://id2.example.com",
        ):
            self.start(*self.routes)
            url = self.callback()
            asked = len(self.provider.urls)
            self.browser.rig = Rig(
                *self.routes,
                agent=self.provider,
                idp_provider_url=other,
                state_dir=self.rig.settings.state_dir,
            )
            got = self.browser.open(url)
            self.assertIn(b"<code>issuer-changed</code>", got.body)
            self.nobody()
            self.assertEqual(len(self.provider.urls), asked)

    def test_the_token_is_of_another_issuer(self) -> None:
        """Nor does a token of another one, whatever the answer's parameter says."""
        for iss in self.VARIANTS:
            self.provider.claims["iss"] = iss
            self.assertEqual(self.refused(iss), "id-token-issuer")

    def test_the_metadata_is_of_another_issuer(self) -> None:
        """A document that names another issuer is not used at all, and is asked for again."""
        for number, iss in enumerate(self.VARIANTS, 1):
            self.provider.metadata["issuer"] = iss
            self.refused(iss, (503,))
            self.assertEqual(len(self.provider.urls), number)
            self.later(120)


def forged(header: dict[str, Any], signature: Callable[[bytes], bytes]) -> Lie:
    """Return what makes tokens with this header and this signature."""

    def lie(claims: dict[str, Any]) -> str:
        head = b64(json.dumps(header).encode())
        covered = f"{head}.{b64(json.dumps(claims).encode())}"
        return f"{covered}.{b64(signature(covered.encode()))}"

    return lie


def strange(octets: bytes) -> bytes:
    """Sign with a key that is not the provider's."""
    return rs256(octets, other_key())


def _secrets() -> Iterator[tuple[str, Lie]]:
    """HMAC, with what everybody knows for its secret."""
    public = rsa_key().public_key()
    numbers = public.public_numbers()
    modulus = numbers.n.to_bytes(256, "big")
    secrets = {
        "PEM": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "PEM without its line end": public.public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        ).rstrip(),
        "PKCS1": public.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
        "DER": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "n": modulus,
        "n as text": b64(modulus).encode(),
        "JWK": json.dumps(RSAAlgorithm.to_jwk(public, as_dict=True)).encode(),
        "nothing": b"\0",
        "kid": b"k1",
        "client secret": CLIENT[1].encode(),
        "client id": CLIENT[0].encode(),
    }
    hashes = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}
    for (name, secret), (alg, hash_) in product(secrets.items(), hashes.items()):
        for kid in ("k1", None):
            header = {"alg": alg, "typ": "JWT"} | ({"kid": kid} if kid else {})
            yield (
                f"{alg} with the {name}, kid {kid}",
                forged(header, lambda octets, s=secret, h=hash_: digest(s, octets, h)),  # type: ignore[misc]
            )


def _names() -> Iterator[tuple[str, Lie]]:
    """Names of algorithms, with the right signature and with none."""
    for alg in (
        *("none", "None", "NONE", "nOnE", "", " ", "none ", "nоne", "null", "RS256 ", "rs256"),
        *("Rs256", "RSA", "RS1", "RS257", "HS256", "A256KW", "dir", "RSA-OAEP", "ES256K"),
        *(None, 0, True, ["RS256"], {"alg": "RS256"}, ["none"]),
    ):
        for how, signature in (
            ("signed", rs256),
            ("not signed", lambda _: b"\0"),
            ("by another key", strange),
        ):
            yield f"alg {alg!r}, {how}", forged({"alg": alg, "kid": "k1"}, signature)
    yield "no alg", forged({"kid": "k1"}, rs256)
    for alg in ("RS384", "RS512", "PS256", "PS384", "PS512"):
        yield (
            f"{alg} with the right key",
            lambda claims, a=alg: jwt.encode(claims, rsa_key(), a, headers={"kid": "k1"}),  # type: ignore[misc]
        )
    curve = ec.generate_private_key(ec.SECP256R1())
    yield (
        "ES256 with a key of one's own",
        lambda claims: jwt.encode(claims, curve, "ES256", headers={"kid": "k1"}),
    )


def _headers() -> Iterator[tuple[str, Lie]]:
    """Headers that would choose a key, or change what is signed."""
    foreign = RSAAlgorithm.to_jwk(other_key().public_key(), as_dict=True)
    keys: tuple[dict[str, Any], ...] = (
        *({}, {"kid": "k2"}, {"kid": ""}, {"kid": "../../dev/null"}, {"kid": "k1\0"}, {"kid": 1}),
        *({"kid": ["k1"]}, {"kid": {"a": 1}}, {"kid": "K1"}, {"kid": "k1 "}, {"kid": "x" * 257}),
        *({"jwk": foreign}, {"jwk": foreign, "kid": "k1"}, {"kid": "' or 1=1 --"}, {"kid": None}),
        *({name: "https://evil.example/jwks"} for name in ("jku", "x5u", "iss", "jwks_uri")),
        *({name: "https://evil.example/jwks", "kid": "k1"} for name in ("jku", "x5u")),
        *({"x5c": [b64(b"certificate")]}, {"x5t": "x"}, {"x5t#S256": "x", "kid": "k1"}),
    )
    for more in keys:
        yield f"another key with {more!r}", forged({"alg": "RS256", **more}, strange)
    others: tuple[dict[str, Any], ...] = (
        *({"crit": ["exp"]}, {"crit": []}, {"crit": ["b64"], "b64": False}, {"typ": "at+jwt"}),
        *({"typ": "logout+jwt"}, {"typ": "secevent+jwt"}, {"typ": "dpop+jwt"}, {"typ": "JWE"}),
        *({"typ": 1}, {"typ": ["JWT"]}, {"typ": "pomerium-session+jwt"}, {"typ": ""}),
    )
    for more in others:
        yield f"header {more!r}", forged({"alg": "RS256", "kid": "k1", **more}, rs256)


def _cuts() -> Iterator[tuple[str, Lie]]:
    """An honest token, cut, lengthened or with one character changed."""

    def cut(how: Callable[[str, str, str], str]) -> Lie:
        return lambda claims: how(*raw(json.dumps(claims).encode()).split("."))

    yield "no signature", cut(lambda h, p, _: f"{h}.{p}.")
    yield "no third part", cut(lambda h, p, _: f"{h}.{p}")
    yield "a fourth part", cut(lambda h, p, s: f"{h}.{p}.{s}.{s}")
    yield "five parts", cut(lambda h, p, s: f"{h}.{p}.{s}.{p}.{s}")
    yield "padded", cut(lambda h, p, s: f"{h}.{p}.{s}==")
    yield "the standard alphabet", cut(lambda h, p, s: f"{h}.{p}.{s[:-2]}+/")
    yield "half a signature", cut(lambda h, p, s: f"{h}.{p}.{s[: len(s) // 2]}")
    yield "twice the signature", cut(lambda h, p, s: f"{h}.{p}.{s}{s}")
    yield "other claims", cut(lambda h, _, s: f"{h}.{b64(json.dumps(dict(PERSON)).encode())}.{s}")
    for at in range(0, 342, 38):
        yield (
            f"signature changed at {at}",
            cut(lambda h, p, s, n=at: f"{h}.{p}.{s[:n]}{'A' if s[n] != 'A' else 'B'}{s[n + 1 :]}"),  # type: ignore[misc]
        )


FORGED = (*_secrets(), *_names(), *_headers(), *_cuts())
"""Tokens that somebody without the provider's key could make."""


class AlgorithmTests(ProviderCase):
    """O2: the algorithm is one of the settings', the key one of the provider's; nothing else."""

    row = "O2"
    VARIANTS = FORGED

    def test_no_forged_token_signs_in(self) -> None:
        """Each is refused by a check of its own, and no URL of a token's is ever asked."""
        self.assertGreater(len(self.VARIANTS), 150)
        for name, lie in self.VARIANTS:
            self.provider.sign = lie
            self.assertRegex(self.refused(name), r"^id-token-", name)
        hosts = {urlsplit(url).netloc for url in self.provider.urls}
        self.assertEqual(hosts, {"id.example.com"})

    def test_the_honest_one_does(self) -> None:
        """The forger's way of writing a token is not what is refused."""
        self.provider.sign = lambda claims: raw(json.dumps(claims).encode())
        self.assertEqual(self.attempt().status, 200)

    def test_no_algorithm_comes_from_the_metadata(self) -> None:
        """What a provider says it may sign with adds nothing to what is taken."""
        forged = dict(self.VARIANTS)
        lists: tuple[Any, ...] = (["none"], ["HS256", "RS256"], ["none", "RS256"], "none", {})
        for listed in lists:
            self.start(*self.routes)
            self.provider.metadata["id_token_signing_alg_values_supported"] = listed
            for name in ("alg 'none', not signed", "HS256 with the PEM, kid k1"):
                self.provider.sign = forged[name]
                self.refused((listed, name), (400, 503))


STRANGERS: tuple[tuple[str, dict[str, Any]], ...] = (
    *((f"sub {sub!r}", {"sub": sub}) for sub in ("bob", "Alice", "alice ", " alice", "alice\0")),
    *((f"sub {sub!r}", {"sub": sub}) for sub in ("аlice", "", None, 1, ["alice"], {"a": "alice"})),
    *((f"iss {iss!r}", {"iss": iss}) for iss in (ISSUERS[0], f"{ISSUER}/", None, 1, [ISSUER])),
    *((f"aud {aud!r}", {"aud": aud}) for aud in ("other", "", None, [], ["other"], "pomerium2")),
    ("two audiences without azp", {"aud": ["pomerium", "other"]}),
    ("azp of another", {"azp": "other"}),
)
"""Claims that are not those of the person at the browser, or not for us."""

UNTIMELY: tuple[tuple[str, dict[str, Any]], ...] = (
    ("expired", {"exp": 1}),
    ("from the future", {"iat": 4_000_000_000, "exp": 4_000_000_300}),
    ("not yet", {"nbf": 4_000_000_000}),
)
"""Claims that do not hold now."""


class RenewalTests(ProviderCase):
    """O3: what a refresh brings is held against the same rules, and against the same person."""

    row = "O3"
    VARIANTS: tuple[tuple[str, Any], ...] = (*STRANGERS, *FORGED[::4])

    def renewed(self) -> str:
        """Open a page when a recheck is due; return where the browser is led in the end."""
        self.later(600)
        got = self.browser.open(f"{APP}/")
        got = self.browser.open(got.field(b"location").decode())
        self.assertEqual(got.status, 302)
        return got.field(b"location").decode()

    def test_no_lie_renews(self) -> None:
        """The session at authenticate is over at once, and the way on is a new sign-in."""
        for name, lie in self.VARIANTS:
            self.provider.sign, self.provider.claims = self.provider.signed, {}
            self.browser = self.new_browser()
            self.sign_in()
            if callable(lie):
                self.provider.sign = lie
            else:
                self.provider.claims = lie
            self.assertTrue(self.renewed().startswith(f"{ISSUER}/authorize?"), name)
            left = self.browser.at("auth.example.com")
            self.assertNotIn(b"__Host-_pomerium_authenticate", left, name)

    def test_a_wrong_time_renews_nothing_either(self) -> None:
        """It is put off, as one clock may be wrong; past session_recheck_max nothing goes on."""
        for name, lie in UNTIMELY:
            self.provider.claims = {}
            self.browser = self.new_browser()
            self.sign_in()
            self.provider.claims = lie
            self.assertTrue(self.renewed().startswith(f"{APP}/.pomerium/callback/?"), name)
            self.later(3000)
            got = self.browser.open(f"{APP}/")
            self.assertEqual(got.status, 302, name)
            got = self.browser.open(got.field(b"location").decode())
            self.assertEqual(got.status, 503, name)

    def test_without_an_id_token_userinfo_must_name_the_person(self) -> None:
        """A stolen access token brings another person's answer: it is not used."""
        for sub in ("bob", "Alice", "alice ", "", None, 1, ["alice"], {"sub": "alice"}):
            self.provider.tokens, self.provider.userinfo = {}, None
            self.browser = self.new_browser()
            self.sign_in()
            self.provider.tokens["id_token"] = None
            self.provider.userinfo = {**PERSON, "sub": sub}
            self.assertTrue(self.renewed().startswith(f"{ISSUER}/authorize?"), sub)

    def test_an_honest_refresh_renews(self) -> None:
        """With an ID token and without: nobody has to sign in."""
        for tokens in ({}, {"id_token": None}):
            self.start(*self.routes)
            self.sign_in()
            self.provider.tokens = tokens
            self.assertTrue(self.renewed().startswith(f"{APP}/.pomerium/callback/?"))


class NonceTests(ProviderCase):
    """O4: the token is of this very sign-in, and counts once."""

    row = "O4"
    VARIANTS: tuple[tuple[str, Callable[[str], Any]], ...] = (
        ("missing", lambda _: None),
        ("empty", lambda _: ""),
        ("another", lambda _: "x" * 43),
        ("in capitals", str.upper),
        ("in small letters", str.lower),
        ("swapped case", str.swapcase),
        ("padded", lambda nonce: nonce + "="),
        ("with a space before", lambda nonce: " " + nonce),
        ("with a space after", lambda nonce: nonce + " "),
        ("with a NUL", lambda nonce: nonce + "\0"),
        ("cut", lambda nonce: nonce[:-1]),
        ("longer", lambda nonce: nonce + "A"),
        ("a list of it", lambda nonce: [nonce]),
        ("a map of it", lambda nonce: {"nonce": nonce}),
        ("its digest", lambda nonce: b64(nonce.encode())),
        ("a number", lambda _: 1),
        ("true", lambda _: True),
        ("not ASCII", lambda nonce: nonce[:-1] + "é"),
        ("look-alike", lambda nonce: nonce.replace("a", "а") if "a" in nonce else nonce + "а"),
    )

    def test_another_nonce(self) -> None:
        """None but the very text that was sent."""
        for name, change in self.VARIANTS:
            self.provider.sign = lambda claims, c=change: self.provider.signed(  # type: ignore[misc]
                {n: v for n, v in {**claims, "nonce": c(claims["nonce"])}.items() if v is not None}
            )
            self.assertEqual(self.refused(name), "id-token-nonce", name)

    def test_the_nonce_of_another_sign_in(self) -> None:
        """Another tab's, and that of a sign-in before: each is another sign-in's."""
        self.attempt()
        before = self.provider.authorized[-1]["nonce"]
        self.browser = self.new_browser()
        self.callback()
        other_tab = self.provider.authorized[-1]["nonce"]
        for nonce in (before, other_tab):
            self.provider.claims["nonce"] = nonce
            got = self.browser.open(self.callback())
            self.assertIn(b"<code>id-token-nonce</code>", got.body)
            self.nobody()

    def test_a_token_that_was_given_before(self) -> None:
        """A provider, or somebody between, who plays an old token again signs nobody in."""
        self.attempt()
        old = next(token for token in self.provider.issued if token.startswith("ey"))
        self.provider.sign = lambda _: old
        self.assertEqual(self.refused("replay"), "id-token-nonce")

    def test_a_callback_counts_once(self) -> None:
        """The same answer again finds no transaction; with the old cookies, a code used up."""
        url = self.callback()
        thief = self.browser.copy()
        self.assertEqual(self.browser.open(url).status, 302)
        asked = len(self.provider.forms("/token"))
        again = self.browser.open(url)
        self.assertIn(b"<code>state-cookie</code>", again.body)
        self.assertEqual(len(self.provider.forms("/token")), asked)
        self.assertIn(b"<code>code</code>", thief.open(url).body)
        self.nobody(thief)

    def test_there_is_no_switch(self) -> None:
        """No setting turns a check of the sign-in off: such a key is a problem at its place."""
        for subject, verb in product(
            (
                "nonce",
                "pkce",
                "state",
                "issuer",
                "audience",
                "signature",
                "email_verified",
                "expiry",
            ),
            (
                "idp_skip_{}",
                "insecure_oidc_skip_{}",
                "skip_oidc_{}",
                "idp_insecure_{}",
                "disable_{}",
            ),
        ):
            name = verb.format(subject)
            found = problems(minimal(**{name: True}))
            self.assertEqual(len(found), 1, name)
            self.assertIn(name, found[0])


class PKCETests(ProviderCase):
    """O5: S256 every time, and no callback without the transaction of this very browser."""

    row = "O5"
    VARIANTS: tuple[object, ...] = (
        *(None, [], ["plain"], ["plain", "S256"], ["S256"], ["s256"], "plain", {}, ["none"], [""]),
    )

    def test_always_s256(self) -> None:
        """Whatever the metadata say of PKCE, challenge and verifier go out and fit together."""
        seen: set[str] = set()
        for methods in self.VARIANTS:
            self.start(*self.routes)
            self.provider.metadata["code_challenge_methods_supported"] = methods
            for _ in range(3):
                self.assertEqual(self.attempt().status, 200)
            for sent in self.provider.authorized:
                self.assertEqual(sent["code_challenge_method"], "S256")
                self.assertRegex(sent["code_challenge"], r"^[A-Za-z0-9_-]{43}$")
            for form in self.provider.forms("/token"):
                self.assertRegex(form["code_verifier"], r"^[A-Za-z0-9_-]{43}$")
                seen.add(form["code_verifier"])
        self.assertEqual(len(seen), 3)  # each daemon has the same chance: three different ones

    def test_a_callback_without_its_transaction(self) -> None:
        """However state is written, without its own cookie no code goes to the provider."""
        state = dict(parse_qsl(urlsplit(self.callback()).query))["state"]
        stranger = self.new_browser()
        theirs = dict(parse_qsl(urlsplit(self.callback(stranger)).query))["state"]
        for given in (
            *("", "x", state, state[:-1], state + "A", state.upper(), state[9:], "0" * 31, " "),
            *(f"{state} ", f"{state}\0", f"../{state}", f"{state};{theirs}", f"{theirs}{state}"),
            *(f"{state}%00", f"_{state}", "a" * 5_000, "ffffffffe" + "A" * 22, "é" * 31),
        ):
            got = stranger.open(
                f"{AUTH}/oauth2/callback?{urlencode({'state': given, 'code': 'c'})}"
            )
            self.assertIn(got.status, (302, 400), given)
            self.nobody(stranger)
        self.assertEqual(self.provider.forms("/token"), [])

    def test_a_transaction_under_another_name(self) -> None:
        """One sign-in's cookie is no other's: its seal opens under its own state alone."""
        url = self.callback()
        state = dict(parse_qsl(urlsplit(url).query))["state"]
        other = dict(parse_qsl(urlsplit(self.callback()).query))["state"]
        name = b"__Host-_pomerium_login_"
        cookies = self.browser.cookies
        host = "auth.example.com"
        mine, theirs = (host, name + state.encode()), (host, name + other.encode())
        cookies[mine], cookies[theirs] = cookies[theirs], cookies[mine]
        got = self.browser.open(url)
        self.assertEqual((got.status, got.field(b"location")), (302, f"{APP}/".encode()))
        self.nobody()
        self.assertEqual(self.provider.forms("/token"), [])

    def test_a_code_of_another_sign_in(self) -> None:
        """A code that was injected into somebody's sign-in does not fit its verifier."""
        stranger = self.new_browser()
        theirs = dict(parse_qsl(urlsplit(self.callback(stranger)).query))["code"]
        got = self.browser.open(changed(self.callback(), code=theirs))
        self.assertIn(b"<code>code</code>", got.body)
        self.nobody()


class AudienceTests(ProviderCase):
    """O6: a token is taken in one place, for one audience, of one issuer, while it lives."""

    row = "O6"
    VARIANTS = (*STRANGERS, *UNTIMELY)

    def tokens(self) -> dict[str, str]:
        """Return all that might be taken for a session at app, and is none."""
        self.sign_in(browser=self.browser)
        now = int(self.clock.seconds())
        session = self.rig.session()
        claims = {**session_claims(session), "iat": now}
        keys = SHARED_KEYS.route_session
        kind = "pomerium-session+jwt"
        id_token = next(token for token in self.provider.issued if token.startswith("ey"))
        opened = " ".join(entry.decode() for entry in self.browser.at_applications)
        assertion = opened.partition("x-pomerium-jwt-assertion: ")[2].partition("\r\n")[0]
        signed: dict[str, dict[str, object]] = {
            "another audience": {**claims, "aud": "wiki.example.com:8443"},
            "another port": {**claims, "aud": "app.example.com:8443"},
            "no port": {**claims, "aud": "app.example.com"},
            "a list of audiences": {**claims, "aud": ["app.example.com:443"]},
            "every audience": {**claims, "aud": "*"},
            "another issuer": {**claims, "iss": "https://evil.example"},
            "the provider for issuer": {**claims, "iss": ISSUER},
            "expired": {**claims, "exp": now - 61},
            "from the future": {**claims, "iat": now + 61},
            "another version": {**claims, "v": 2},
            "a version that is true": {**claims, "v": True},
            "exp as text": {**claims, "exp": str(now + 600)},
            "exp 1e300": {**claims, "exp": 1e300},
            "exp true": {**claims, "exp": True},
            "an empty subject": {**claims, "sub": ""},
            "groups that are a text": {**claims, "groups": "staff"},
            "two @": {**claims, "email": "a@evil.com@example.com"},
            "claims of an ID token": {"iss": ISSUER, "aud": "pomerium", "sub": "alice"},
            **{f"without {name}": _without(claims, name) for name in claims},
        }
        return {
            **{name: sign(keys, given, kind=kind) for name, given in signed.items()},
            "another kind": sign(keys, claims, kind="JWT"),
            "an access token's kind": sign(keys, claims, kind="at+jwt"),
            "the hand-off's key": sign(SHARED_KEYS.handoff, claims, kind=kind),
            "the URLs' key": sign(SHARED_KEYS.signed_url, claims, kind=kind),
            "authenticate's key": sign(OWN_KEYS.session, claims, kind=kind),
            "the root itself": sign((SHARED,), claims, kind=kind),
            "the assertion's key": SigningKey.derived(SHARED).sign(claims, headers={"typ": kind}),
            "an ID token": id_token,
            "an access token": next(t for t in self.provider.issued if t.startswith("access")),
            "a refresh token": next(t for t in self.provider.issued if t.startswith("refresh")),
            "an assertion": assertion,
            "alg none": f"{b64(b'{}')}.{b64(json.dumps(claims).encode())}.",
        }

    def test_no_other_token_is_a_session(self) -> None:
        """In a cookie, as a credential of ours or anybody's, in a query: it opens nothing."""
        for name, token in self.tokens().items():
            text = token.encode()
            for fields in (
                ((b"cookie", b"__Host-_pomerium=" + text),),
                ((b"authorization", b"Pomerium " + text),),
                ((b"authorization", b"Bearer " + text),),
                ((b"authorization", b"Bearer Pomerium-" + text),),
                ((b"x-pomerium-authorization", text),),
                ((b"x-pomerium-jwt-assertion", text),),
            ):
                browser = self.new_browser()
                got = browser.open(f"{APP}/?access_token={token}", *fields, navigates=False)
                self.assertEqual(got.status, 401, (name, fields[0][0]))
                self.nobody(browser)

    def test_the_right_one_is(self) -> None:
        """In a cookie and as a credential of ours: otherwise nothing above means anything."""
        token = self.rig.token().encode()
        for field in (
            (b"cookie", b"__Host-_pomerium=" + token),
            (b"authorization", b"Pomerium " + token),
        ):
            got = self.new_browser().open(f"{APP}/", field, navigates=False)
            self.assertEqual(got.status, 200)

    def test_an_id_token_for_somebody_else(self) -> None:
        """At a sign-in: another audience, issuer, party or time is refused."""
        for name, claims in self.VARIANTS:
            if isinstance(claims.get("sub"), str) and claims["sub"].isprintable() and claims["sub"]:
                continue  # at a sign-in that is another person, and welcome
            self.provider.claims = claims
            self.assertRegex(self.refused(name), r"^(id-token-[a-z]+|clock)$", name)


class CachedTests(ProviderCase):
    """O7: what was verified once is judged anew for each host, route, time and policy."""

    row = "O7"
    VARIANTS = tuple(product(("app", "wiki", "six"), repeat=3))
    HOSTS = {  # noqa: RUF012  # read only
        "app": (APP, "app.example.com:443"),
        "wiki": (WIKI, "wiki.example.com:8443"),
        "six": ("https://[2001:db8::1]", "[2001:db8::1]:443"),
    }

    def status_of(self, url: str, token: str) -> int:
        """Present a token at a host."""
        field = (b"authorization", b"Pomerium " + token.encode())
        return self.new_browser().open(f"{url}/", field, navigates=False).status

    def test_a_token_known_at_one_host_is_none_at_another(self) -> None:
        """In any order of hosts: each token opens its own, before and after it was verified."""
        for number, (made_for, first, second) in enumerate(self.VARIANTS):
            token = self.rig.token(audience=self.HOSTS[made_for][1], id=f"session-{number}")
            for host in (first, second, made_for, first):
                wanted = 200 if host == made_for else 401
                self.assertEqual(self.status_of(self.HOSTS[host][0], token), wanted)

    def test_each_route_judges(self) -> None:
        """One host, two rules: a session that one let in is denied by the other, and again."""
        self.start(
            route(prefix="/staff", allowed_groups=("staff",)),
            route(prefix="/board", allowed_groups=("board",), place="policy[1]"),
            route(allowed_users=("bob@example.com",), place="policy[2]"),
        )
        field = (b"cookie", self.rig.cookie())
        paths = {"/staff": 200, "/board": 403, "/": 403}
        for order in product(paths, repeat=3):
            for path in order:
                got = self.new_browser().open(f"{APP}{path}", field, navigates=False)
                self.assertEqual(got.status, paths[path], order)

    def test_a_new_policy_counts_at_once(self) -> None:
        """The next generation judges sessions that the one before it knew."""
        token = self.rig.token()
        self.assertEqual(self.status_of(APP, token), 200)
        policies: tuple[tuple[dict[str, Any], int], ...] = (
            ({"allowed_groups": ("board",)}, 403),
            ({"allowed_users": ("bob@example.com",)}, 403),
            ({}, 403),
            ({"allowed_groups": ("staff",)}, 200),
        )
        for rules, wanted in policies:
            settings = make_settings(route(**rules), state_dir=self.rig.settings.state_dir)
            self.rig.front.swap(finish(building(settings, SHARED, self.rig.world, Limits())))
            self.assertEqual(self.status_of(APP, token), wanted, rules)

    def test_time_is_judged_at_every_request(self) -> None:
        """A token that is known ends when it ends, and not when it is forgotten."""
        now = int(self.clock.seconds())
        lasts: tuple[tuple[dict[str, Any], int], ...] = (
            ({"expires": now + 100}, 99),
            ({}, 3_599),
            ({"seen": now - 3_000}, 599),
            ({"auth_time": now - 14 * 3_600 + 50}, 49),
            ({"checked": now - 3_500}, 99),
        )
        for more, last in lasts:
            self.start(*self.routes)
            token = self.rig.token(**more)
            for passed, wanted in ((0, 200), (last, 200), (1, 401), (1, 401)):
                self.later(passed)
                # A request moves "seen" on, so only the last counts against idleness.
                if more.get("seen") and passed == 0:
                    continue
                self.assertEqual(self.status_of(APP, token), wanted, (more, passed))


def _without(claims: dict[str, object], name: str) -> dict[str, object]:
    return {n: v for n, v in claims.items() if n != name}


ADDRESSES = (
    *("attacker@evil.com@example.com", "alice@example.com@evil.com", "@example.com", "example.com"),
    *("alice@@example.com", "alice@example.com@", '"alice@example.com"@evil.com', "alice@"),
    *(
        '"@"@example.com',
        "alice@evil.com\n@example.com",
        "alice@example.com\n",
        "\nalice@example.com",
    ),
    *(" alice@example.com", "alice@example.com ", "alice @example.com", "alice@ example.com"),
    *(
        "alice@example.com\0",
        "alice@example.com\0@evil.com",
        "alice\0@example.com",
        "alice@example.com\t",
    ),
    *("<alice@example.com>", "Alice <alice@example.com>", "mailto:alice@example.com"),
    *("alice@example.com,bob@evil.com", "alice@example.com;x@evil.com", "alice%40example.com"),
    *("alice@example.com%00", "alice@example.com%0a", "alice@example.com.", "alice@.example.com"),
    *("alice@example.com.evil.com", "alice@evil-example.com", "alice@evilexample.com"),
    *("alice@sub.example.com", "alice@example.co", "alice@example", "alice@xample.com", "alice"),
    *("alice@exаmple.com", "alice@ｅxample.com", "alice＠example.com", "alice@example．com"),
    *(
        "alice@example。com",
        "alice@examp\u2113e.com",
        "аlice@еxample.com",
        "alice@example.com\u202e",
    ),
    *(
        "alice@example.com\u200b",
        "alice@\u200bexample.com",
        "alice@exam\xadple.com",
        "alice@xn--exmple-cua.com",
    ),
    *("a" * 250 + "@example.com", "alice(comment)@example.com(@evil)x", "alice@[127.0.0.1]"),
    *(None, "", 1, True, ["alice@example.com"], {"email": "alice@example.com"}, 1.5),
)
"""What is no address of example.com, or not certainly one."""


class EmailTests(ProviderCase):
    """O8: an address has exactly one @, and is compared as a whole; of others nothing counts."""

    row = "O8"
    VARIANTS = ADDRESSES
    routes = FOR_ALICE

    def test_odd_addresses_let_nobody_in(self) -> None:
        """Verified or not, from the token or from userinfo: denied by users and by domains."""
        for email in self.VARIANTS:
            if isinstance(email, str) and email.partition("@")[2:] == ("example.com",):
                continue
            for where in ("token", "userinfo"):
                self.provider.person.pop("email", None)
                self.provider.claims, self.provider.userinfo = {}, None
                if where == "token":
                    self.provider.claims = {"email": email, "sub": "somebody"}
                    self.provider.person["sub"] = "somebody"
                else:
                    self.provider.person = {"sub": "somebody", "groups": []}
                    self.provider.userinfo = {
                        "sub": "somebody",
                        "email": email,
                        "email_verified": True,
                    }
                got = self.attempt()
                self.assertEqual(got.status, 403, (email, where))
                self.assertEqual(self.browser.at_applications, [])

    def test_one_address_in_every_case(self) -> None:
        """However it is capitalised, it is the same person, and the right one."""
        for email in (
            "alice@example.com",
            "Alice@Example.com",
            "ALICE@EXAMPLE.COM",
            "bob@example.com",
        ):
            self.provider.claims["email"] = email
            self.assertEqual(self.attempt().status, 200, email)

    def test_the_application_is_told_of_no_odd_address(self) -> None:
        """Where another rule lets the person in, the address is left out all the same."""
        self.start(route(allowed_groups=("staff",)), *ROUTES[1:])
        for email in self.VARIANTS:
            if email is None or (isinstance(email, str) and _is_somebodys(email)):
                continue  # without one in the token userinfo is asked
            self.provider.claims["email"] = email
            self.assertEqual(self.attempt().status, 200, email)
            (asked,) = self.browser.at_applications
            self.assertNotIn(b"authenticated-user-email", asked, email)


def _is_somebodys(email: str) -> bool:
    """Say whether it is an address of anybody: one @ between two texts that can be seen."""
    local, _, domain = email.partition("@")
    seen = email.isprintable() and " " not in email and len(email) <= 254
    return seen and bool(local and domain) and "@" not in domain


class VerifiedTests(ProviderCase):
    """O9: an address that is not verified matches no rule; nothing but JSON true verifies."""

    row = "O9"
    VARIANTS: tuple[object, ...] = (
        *(False, None, "false", "true", "True", "TRUE", "yes", "1", 1, 0, 1.0, "", [], [True], {}),
        *({"value": True}, "verified", "on", -1, 2, "tru\u0435", " true", "null"),
    )
    """None takes the claim out."""

    routes = FOR_ALICE

    def test_in_the_token(self) -> None:
        """What the token says, when userinfo says nothing."""
        for value in self.VARIANTS:
            self.provider.userinfo = {"sub": "alice"}
            self.provider.claims = {"email_verified": value}
            self.assertEqual(self.attempt().status, 403, value)
            self.assertEqual(self.browser.at_applications, [])

    def test_in_userinfo(self) -> None:
        """What userinfo says, when the token says nothing."""
        for value in self.VARIANTS:
            self.provider.claims = {"email": None, "email_verified": None}
            self.provider.userinfo = {
                n: v for n, v in {**PERSON, "email_verified": value}.items() if v is not None
            }
            self.assertEqual(self.attempt().status, 403, value)

    def test_a_contradiction_is_no(self) -> None:
        """A token that calls it unverified has the last word, and so has another address."""
        for value in self.VARIANTS:
            if value is None:
                continue
            self.provider.claims = {"email_verified": value}
            self.provider.userinfo = dict(PERSON)
            self.assertEqual(self.attempt().status, 403, value)
        self.provider.claims = {"email_verified": None, "email": "alice@evil.example"}
        self.assertEqual(self.attempt().status, 403)

    def test_the_page_says_why(self) -> None:
        """Somebody whose address is not verified is told just that."""
        self.provider.claims = {"email_verified": False}
        self.assertIn("did not confirm an e-mail address", page(self.attempt()).words)

    def test_true_verifies(self) -> None:
        """In the token, and in userinfo where the token left it out."""
        self.assertEqual(self.attempt().status, 200)
        self.provider.claims = {"email_verified": None}
        self.assertEqual(self.attempt().status, 200)
        self.provider.claims = {"email_verified": None, "email": None}
        self.assertEqual(self.attempt().status, 200)

    def test_azure_says_it_otherwise(self) -> None:
        """With Entra ID email_verified counts for nothing: any tenant's administrator writes it."""
        self.start(*self.routes, idp_provider="azure")
        for value in (*self.VARIANTS, True):
            if value == 1 and type(value) is not float:
                continue  # xms_edov is a true or a 1 there
            self.provider.claims = {"email_verified": True, "xms_edov": value}
            self.assertEqual(self.attempt().status, 403, value)
        for value in (True, 1):
            self.provider.claims = {"email_verified": False, "xms_edov": value}
            self.assertEqual(self.attempt().status, 200, value)


OPEN = {"allow_any_authenticated_user": True}

RULES = ("allowed_users", "allowed_groups", "allowed_domains", "allow_any_authenticated_user")


class UnavailableTests(ProviderCase):
    """O10: a rule that asks for what is not there lets nobody in, and is reported."""

    row = "O10"
    VARIANTS: tuple[object, ...] = (
        *(None, [], {}, "", {"staff": True}, [["staff"]], [{"name": "staff"}], "staff,admins"),
        *("Staff", ["STAFF"], ["staff "], [" staff"], ["staff\0"], ["staff\n"], ["ѕtaff"], [1]),
        *(True, 1, [None], ["staff,x"], ["/staff"], ["*"], [".*"], ["st%61ff"], ["sta", "ff"]),
        *(["staff\u200b"], '["staff"]', "['staff']", "staff staff", [["s", "t", "a", "f", "f"]]),
    )

    def test_groups_that_are_not_there(self) -> None:
        """Missing, empty, of another shape, nearly the same: the route stays shut."""
        self.start(route(allowed_groups=("staff",)), *ROUTES[1:])
        for groups in self.VARIANTS:
            self.provider.person.pop("groups", None)
            self.provider.claims = {"groups": groups}
            got = self.attempt()
            self.assertEqual(got.status, 403, groups)
            self.assertIn("in none of the groups", page(got).words)
            self.assertIn("groups-unauthorized", self.rig.logged[-1].reasons)
            self.assertEqual(self.browser.at_applications, [])

    def test_groups_that_are_there(self) -> None:
        """A list, or one name alone."""
        self.start(route(allowed_groups=("staff",)), *ROUTES[1:])
        for groups in (["staff"], ["x", "staff"], "staff"):
            self.provider.claims = {"groups": groups}
            self.assertEqual(self.attempt().status, 200, groups)

    def test_a_rule_that_is_misspelt(self) -> None:
        """No slip of a key takes a rule away: the settings are refused, with the place."""
        slips: list[str] = []
        for name in RULES:
            slips += [name[:n] + name[n + 1 :] for n in range(0, len(name), 2)]
            slips += [name[:n] + name[n] + name[n:] for n in range(0, len(name), 3)]
            slips += [name.upper(), name.title(), name.replace("_", "-"), name.replace("_", "")]
            slips += [name.replace("a", "а"), f"{name} ", f" {name}", f"{name}:", f"_{name}"]
        peers = ("gitlab_group", "gitlab-group", "allowed_idp_claims", "policy", "allow_groups")
        for name in sorted({*slips, *peers} - set(RULES)):
            found = problems(minimal(policy=[entry(**{name: ["staff"]}, **OPEN)]))
            self.assertTrue(found, name)
            self.assertIn("policy[0]", found[0], name)

    def test_a_rule_of_another_type(self) -> None:
        """A value that is no list of texts is refused, and never read as an empty rule."""
        for name, value in product(
            RULES[:3], (1, {}, {"a": "b"}, [1], [["a"]], [""], [None], None)
        ):
            found = problems(minimal(policy=[{**entry(), name: value}]))
            if value == [1] and not found:
                continue  # a number may be a group's name
            self.assertTrue(found, (name, value))

    def test_a_route_without_rules_admits_nobody(self) -> None:
        """What is left when every rule is gone is a shut door."""
        self.start(route(), *ROUTES[1:])
        self.assertEqual(self.attempt().status, 403)


class ChangedClaimsTests(ProviderCase):
    """O11: what changed at the provider counts from the next recheck on."""

    row = "O11"
    VARIANTS: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
        ("left the group", {"allowed_groups": ("staff",)}, {"groups": []}),
        ("is in another group", {"allowed_groups": ("staff",)}, {"groups": ["visitors"]}),
        (
            "has another address",
            {"allowed_users": ("alice@example.com",)},
            {"email": "a@b.example"},
        ),
        ("address not verified", {"allowed_domains": ("example.com",)}, {"email_verified": False}),
        (
            "moved to another domain",
            {"allowed_domains": ("example.com",)},
            {"email": "a@b.example"},
        ),
    )

    def test_at_the_next_page(self) -> None:
        """Ten minutes after the last confirmation a page view asks the provider, and is denied."""
        for what, rules, change in self.VARIANTS:
            self.start(route(**rules), *ROUTES[1:])
            self.sign_in()
            self.provider.person.update(change)
            self.later(599)
            self.assertEqual(self.browser.open(f"{APP}/").status, 200, what)
            self.later(1)
            seen = len(self.browser.at_applications)
            self.assertEqual(self.browser.follow(f"{APP}/").status, 403, what)
            self.assertEqual(len(self.browser.at_applications), seen)
            # And so it stays for everything of that browser.
            self.assertEqual(self.browser.open(f"{APP}/", navigates=False).status, 403)

    def test_scripts_at_the_latest(self) -> None:
        """A page that never navigates is stopped an hour after the last confirmation."""
        for what, rules, change in self.VARIANTS:
            self.start(route(**rules), *ROUTES[1:])
            self.sign_in()
            self.provider.person.update(change)
            for _ in range(59):
                self.later(60)
                self.assertEqual(self.browser.open(f"{APP}/", navigates=False).status, 200, what)
            self.later(59)
            self.assertEqual(self.browser.open(f"{APP}/", navigates=False).status, 200, what)
            self.later(1)
            self.assertEqual(self.browser.open(f"{APP}/", navigates=False).status, 401, what)

    def test_a_claim_that_the_refresh_is_silent_about(self) -> None:
        """Neither kept nor dropped: a new sign-in has to tell."""
        for name in ("groups", "email"):
            self.start(*self.routes)
            self.sign_in()
            person = {n: v for n, v in PERSON.items() if n != name}
            self.provider.person = person
            self.provider.claims = {name: None}
            self.later(600)
            got = self.browser.until(f"{APP}/", f"{ISSUER}/")
            self.assertTrue(got.startswith(f"{ISSUER}/authorize?"), name)


class DeactivatedTests(ProviderCase):
    """O12: an account that was closed at the provider is asked about at every renewal."""

    row = "O12"
    VARIANTS = tuple(
        status(code, json.dumps(body).encode())
        for code, body in (
            *((400, {"error": "invalid_grant"}), (400, {"error": "invalid_client"})),
            *((401, {"error": "invalid_client"}), (403, {"error": "access_denied"})),
            *((400, {"error": "unauthorized_client"}), (200, {"error": "invalid_grant"})),
            *(
                (200, {}),
                (204, {}),
                (302, {}),
                (400, {}),
                (404, {}),
                (429, {}),
                (500, {}),
                (503, {}),
            ),
            *((200, {"access_token": "a"}), (200, {"token_type": "Bearer"}), (418, {})),
        )
    )

    def test_a_closed_account(self) -> None:
        """The next page view ends at the provider, which says no; nobody gets past that."""
        self.sign_in()
        self.provider.active = False
        self.later(600)
        got = self.browser.follow(f"{APP}/")
        self.assertEqual(got.status, 400)
        self.assertIn("access_denied", page(got).words)
        self.assertNotIn(b"__Host-_pomerium_authenticate", self.browser.at("auth.example.com"))

    def test_no_answer_renews(self) -> None:
        """Whatever the provider answers but new tokens: after the hour nothing goes on."""
        for answer in self.VARIANTS:
            self.start(*self.routes)
            self.browser = Browser(self.rig, self.provider, ends={})
            self.sign_in()
            self.provider.answers["/token"] = answer
            for minute in range(10, 60, 10):
                self.later(600)
                url = self.browser.open(f"{APP}/").field(b"location").decode()
                got = self.browser.open(url) if url else None
                where = got.field(b"location").decode() if got is not None else ""
                if not where.startswith(f"{APP}/"):
                    break  # refused: it is over before its time
                self.browser.follow(where)
                self.assertLess(minute, 60)
            self.clock.advance(3_600 - (self.clock.seconds() - 1_790_000_000))
            before = len(self.browser.at_applications)
            for navigates in (True, False):
                got = self.browser.open(f"{APP}/", navigates=navigates)
                self.assertIn(got.status, (302, 401))
            self.assertEqual(len(self.browser.at_applications), before)


class FrontChannelTests(ProviderCase):
    """O14: nobody is signed out by a request that is not their own, whatever it names."""

    row = "O14"
    VARIANTS = tuple(
        product(
            (
                *(f"{APP}/.pomerium/sign_out", f"{AUTH}/.pomerium/sign_out"),
                *(f"{AUTH}/.pomerium/signed_out", f"{AUTH}/.pomerium/frontchannel_logout"),
                *(f"{AUTH}/oauth2/sign_out", f"{AUTH}/logout", f"{APP}/.pomerium/logout"),
                *(f"{AUTH}/oauth2/callback", f"{AUTH}/.pomerium/backchannel_logout"),
            ),
            ("sid", "iss", "session", "pomerium_session", "id_token_hint", "logout_token", "state"),
            (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS"),
        )
    )

    def test_a_stranger_with_a_sid(self) -> None:
        """From another browser: the owner's session lives on, and nothing is revoked."""
        self.sign_in()
        mark = next(t for t in self.provider.issued if t.startswith("ey"))
        stranger = self.new_browser()
        for url, name, method in self.VARIANTS:
            for value in (mark, "session-1", "*"):
                stranger.open(f"{url}?{urlencode({name: value, 'iss': ISSUER})}", method=method)
        self.assertEqual(self.provider.forms("/revoke"), [])
        self.assertEqual(self.browser.open(f"{APP}/").status, 200)

    def test_a_page_elsewhere_that_leads_there(self) -> None:
        """In the owner's own browser, with their cookies: a link, an image, a form do nothing."""
        self.sign_in()
        before = dict(self.browser.cookies)
        form = (b"content-type", b"application/x-www-form-urlencoded")
        for url, name, method in self.VARIANTS:
            for fields in (
                ((b"sec-fetch-site", b"cross-site"), (b"origin", b"https://evil.example")),
                (),
            ):
                body = b"pomerium_csrf=x&" + name.encode() + b"=1" if method == b"POST" else b""
                self.browser.open(f"{url}?{name}=1", form, *fields, method=method, body=body)
                kept = {k: v for k, v in self.browser.cookies.items() if b"_trail" not in k[1]}
                self.assertEqual(kept, {k: v for k, v in before.items() if b"_trail" not in k[1]})
        self.assertEqual(self.provider.forms("/revoke"), [])
        self.assertEqual(self.browser.open(f"{APP}/").status, 200)


class DuplicateTests(ProviderCase):
    """O15: of two parameters with one name neither counts."""

    row = "O15"
    VARIANTS = tuple(
        product(
            ("state", "code", "iss", "error", "error_description", "session_state", "logout_token"),
            (
                "{n}=x",
                "{n}=",
                "{n}",
                "{e}=x",
                "{n}={v}",
                "&{n}=x",
                "&&{n}=x&",
                "{m}=x",
            ),
            ("before", "after"),
        )
    )
    """Names, spellings of the second one, and on which side of the honest one it stands."""

    def test_at_the_providers_callback(self) -> None:
        """Refused before anything is looked at; the honest answer alone still passes."""
        for name, spelling, side in self.VARIANTS:
            browser = self.new_browser()
            url = self.callback(browser)
            address, _, query = url.partition("?")
            given = dict(parse_qsl(query))
            if name not in given:
                query += f"&{name}=1"
            escaped = "".join(f"%{ord(sign):02x}" for sign in name)
            more = spelling.format(
                n=name, e=escaped, m=f"%{ord(name[0]):02X}{name[1:]}", v=quote(given.get(name, ""))
            )
            both = f"{more}&{query}" if side == "before" else f"{query}&{more}"
            asked = len(self.provider.forms("/token"))
            got = browser.open(f"{address}?{both}")
            self.assertEqual(got.status, 400, both)
            self.nobody(browser)
            self.assertEqual(len(self.provider.forms("/token")), asked)
            if name in ("state", "code"):
                self.assertEqual(browser.follow(url).status, 200)

    def test_everywhere_else(self) -> None:
        """The hand-off, a route host's target, the forms."""
        self.sign_in()
        form = (b"content-type", b"application/x-www-form-urlencoded")
        for url, name in (
            (f"{APP}/.pomerium/callback/", "pomerium_session_encrypted"),
            (f"{APP}/.pomerium/sign_in", "pomerium_redirect_uri"),
        ):
            for one, two in product(("", "x", f"{APP}/"), repeat=2):
                query = f"{name}={quote(one)}&{name}={quote(two)}"
                self.assertEqual(self.new_browser().open(f"{url}?{query}").status, 400, query)
        for url in (f"{APP}/.pomerium/sign_out", f"{AUTH}/.pomerium/sign_out"):
            token = re.search(rb'name="pomerium_csrf" value="([^"]+)"', self.browser.open(url).body)
            assert token is not None
            for body in (
                b"pomerium_csrf=x&pomerium_csrf=" + token[1],
                b"pomerium_csrf=" + token[1] + b"&pomerium_csrf=x",
                b"pomerium_csrf=" + token[1] + b"&pomerium%5fcsrf=" + token[1],
            ):
                got = self.browser.open(url, form, method=b"POST", body=body)
                self.assertEqual(got.status, 400)
        self.assertEqual(self.browser.open(f"{APP}/").status, 200)


class RequestTests(ProviderCase):
    """O16: nothing about the request to the provider comes from a link."""

    row = "O16"
    VARIANTS = tuple(
        product(
            (
                *("scope", "scopes", "auth_request_params", "prompt", "acr_values", "login_hint"),
                *("request", "request_uri", "response_mode", "response_type", "client_id", "nonce"),
                *("state", "redirect_uri", "code_challenge", "code_challenge_method", "max_age"),
                *("claims", "display", "ui_locales", "id_token_hint", "resource", "audience", "hd"),
                *(
                    "pomerium_idp_id",
                    "pomerium_scopes",
                    "issuer",
                    "iss",
                    "kc_idp_hint",
                    "domain_hint",
                ),
            ),
            (f"{APP}/", f"{APP}/.pomerium/sign_in", f"{APP}/.pomerium/"),
        )
    )

    def asked(self, url: str) -> dict[str, str]:
        """Return what the provider is asked after somebody opened this link."""
        browser = self.new_browser()
        sent = dict(parse_qsl(urlsplit(browser.until(url, f"{ISSUER}/")).query))
        for chance in ("state", "nonce", "code_challenge"):
            self.assertGreater(len(sent.pop(chance)), 30)
        return sent

    def test_a_link_adds_nothing(self) -> None:
        """The request is the same to the letter, whatever the link says."""
        honest = self.asked(f"{APP}/")
        self.assertEqual(honest["scope"], "openid profile email offline_access")
        for name, url in self.VARIANTS:
            for value in ("evil", "openid evil", "none"):
                self.assertEqual(self.asked(f"{url}?{urlencode({name: value})}"), honest, name)

    def test_at_authenticate_it_breaks_the_signature(self) -> None:
        """The link between our own services takes no addition at all."""
        browser = self.new_browser()
        url = browser.until(f"{APP}/", AUTH)
        for name, _ in self.VARIANTS:
            for forged in (f"{url}&{name}=evil", url.replace("?", f"?{name}=evil&", 1)):
                self.assertEqual(browser.open(forged).status, 400)
        self.assertEqual(self.provider.authorized, [])


INSIDE = (
    *("127.0.0.1", "127.1", "127.0.0.1:8080", "localhost", "localhost:631", "[::1]", "[::]", "0"),
    *("169.254.169.254", "metadata", "metadata.localhost", "10.0.0.1", "192.168.0.1", "0.0.0.0"),  # noqa: S104
    *("2130706433", "0x7f000001", "0x7f.0.0.1", "017700000001", "[::ffff:127.0.0.1]", "[fe80::1]"),
    *("intranet", "kubernetes", "id", "a.localhost", "127.0.0.1.", "1.1", "example.0x7f", "a..b"),
    *("user@id.example.com", "id.example.com@127.0.0.1", "id.example.com\\@127.0.0.1", "-.x"),
    *("id.example.com:0", "id.example.com:x", "id.example.com:99999", "ⓛocalhost", "１２７.0.0.1"),
)
"""Hosts that a document from outside may not make us ask."""

ENDPOINTS = (
    *("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"),
    *("revocation_endpoint", "end_session_endpoint"),
)


class DiscoveryTests(ProviderCase):
    """O18: we ask the hosts that the provider has under its name, and no other."""

    row = "O18"
    VARIANTS = tuple(
        f"{scheme}{host}/x"
        for host, scheme in (
            *product(INSIDE, ("https://",)),
            *product((*INSIDE[:4], "id.example.com", "x.example.com"), ("http://", "ftp://", "//")),
            *product(
                ("id.example.com", "/etc/passwd"),
                ("file://", "gopher://", "unix:", "", " https://"),
            ),
        )
    )

    def test_a_document_that_points_inside(self) -> None:
        """The whole document is refused, and nothing but itself was asked for."""
        for number, url in enumerate(self.VARIANTS):
            self.provider.metadata = {ENDPOINTS[number % len(ENDPOINTS)]: url}
            self.provider.urls.clear()
            self.refused(url, (503,))
            self.assertEqual(
                self.provider.urls, [f"{ISSUER}/.well-known/openid-configuration"], url
            )
            self.later(120)

    def test_every_endpoint(self) -> None:
        """No endpoint is exempt."""
        for name, host in product(ENDPOINTS, INSIDE[::6]):
            self.provider.metadata = {name: f"https://{host}/x"}
            self.provider.urls.clear()
            self.refused((name, host), (503,))
            self.assertEqual(len(self.provider.urls), 1)
            self.later(120)

    def test_redirects_are_not_followed(self) -> None:
        """An endpoint that sends us on gets no second request from us, there or elsewhere."""
        for path, code in product(
            ("/.well-known/openid-configuration", "/jwks", "/token", "/userinfo"),
            (301, 302, 303, 307, 308),
        ):
            self.start(*self.routes)
            self.provider.claims = {"email": None}  # so that userinfo is asked
            self.provider.answers[path] = status(code, b"", location="https://127.0.0.1/x")
            self.refused((path, code), (503,))
            self.assertNotIn("127.0.0.1", " ".join(self.provider.urls))

    def test_tokens_name_no_keys(self) -> None:
        """No URL of a token's header or claims is ever asked."""
        for name, host in product(("jku", "x5u", "jwks_uri", "iss"), INSIDE[::5]):
            self.provider.sign = forged(
                {"alg": "RS256", "kid": f"k{host}", name: f"https://{host}/jwks"}, strange
            )
            self.refused((name, host))
        self.assertEqual({urlsplit(url).netloc for url in self.provider.urls}, {"id.example.com"})

    def test_a_full_name_is_the_providers_right(self) -> None:
        """Google, Microsoft and Cognito all have some of theirs elsewhere."""
        self.provider.metadata = {
            "jwks_uri": "https://keys.example.net/jwks",
            "token_endpoint": "https://tokens.example.org:8443/token",
        }
        self.assertEqual(self.attempt().status, 200)


def _bomb(size: int) -> bytes:
    return gzip.compress(b" " * size)


class SizeTests(ProviderCase):
    """O19: what the provider, or a token, sends is bounded before anything is done with it."""

    row = "O19"
    VARIANTS = (
        *(("gzip", status(200, _bomb(10_000_000), content_encoding="gzip")),),
        *(("deflate", status(200, zlib.compress(b" " * 1_000_000), content_encoding="deflate")),),
        *((f"coding {name}", status(200, b"{}", content_encoding=name)) for name in ("br", "zstd")),
        *(
            (f"coding {name}", status(200, b"{}", content_encoding=name))
            for name in ("x", "gzip, x")
        ),
        *((f"{size} bytes", status(200, b'{"a":"' + b"a" * size + b'"}')) for size in (262_144,)),
        *(
            (f"{depth} levels", status(200, b'{"a":' * depth + b"1" + b"}" * depth))
            for depth in (33, 5_000)
        ),
        *((f"{depth} open", status(200, b"[" * depth)) for depth in (33, 100_000)),
        *(
            (f"{count} members", status(200, b'{"a":1' + b',"a":1' * count + b"}"))
            for count in (1, 9_999)
        ),
        ("a number of 100,000 digits", status(200, b'{"a":' + b"9" * 100_000 + b"}")),
        ("no JSON", status(200, b"<html>")),
        ("nothing", status(200, b"")),
        ("NaN", status(200, b'{"a": NaN}')),
        ("not UTF-8", status(200, b'{"a": "\xff"}')),
        ("a list", status(200, b"[]")),
    )

    def test_at_every_endpoint(self) -> None:
        """A sign-in that meets one ends on a page; the daemon goes on, and so does the next."""
        for path in ("/token", "/userinfo"):
            self.start(*self.routes)
            for name, answer in self.VARIANTS:
                self.meets(path, name, answer)

    def test_at_the_endpoints_that_are_remembered(self) -> None:
        """The same for metadata and keys, with a daemon that has never had any."""
        for path, offset in (("/.well-known/openid-configuration", 0), ("/jwks", 1)):
            for name, answer in self.VARIANTS[offset::2]:
                self.start(*self.routes)
                self.meets(path, name, answer)

    def meets(self, path: str, name: str, answer: Any) -> None:
        """Let a sign-in meet an answer, and the next one an honest provider."""
        self.provider.claims = {"email": None}  # so that userinfo is asked
        self.provider.answers[path] = answer
        self.refused((path, name), (503,))
        self.provider.answers.clear()
        self.later(120)
        self.assertEqual(self.attempt().status, 200, (path, name))

    def test_tokens_of_every_size_and_shape(self) -> None:
        """Encrypted, compressed, endless or nested tokens are refused unread."""

        def claims_of(text: bytes) -> Lie:
            return lambda _: raw(text)

        def with_more(more: object) -> Lie:
            return lambda claims: raw(json.dumps({**claims, "more": more}).encode())

        deflated = zlib.compress(b"{}" * 100_000)
        for name, lie in (
            (
                "JWE",
                lambda _: ".".join([b64(b'{"alg":"dir","enc":"A256GCM","zip":"DEF"}')] + ["x"] * 4),
            ),
            ("deflated claims", lambda _: raw(deflated, zip="DEF")),
            ("gzipped claims", claims_of(_bomb(1_000_000))),
            ("33 levels", claims_of(b'{"a":' * 33 + b"1" + b"}" * 33)),
            ("10,000 levels", claims_of(b'{"a":' * 5_000 + b"1" + b"}" * 5_000)),
            (
                "twice the subject",
                lambda claims: raw(b'{"sub":"bob",' + json.dumps(claims).encode()[1:]),
            ),
            ("a token in a token", lambda claims: raw(raw(json.dumps(claims).encode()).encode())),
            ("a huge number", claims_of(b'{"exp":' + b"9" * 9_000 + b"}")),
            ("a claim of 60,000", with_more("x" * 60_000)),
        ):
            self.provider.sign = lie
            self.refused(name, (400, 503))

    def test_a_flood_of_unknown_keys(self) -> None:
        """A hundred tokens with keys that nobody knows make us fetch the keys once."""
        self.attempt()
        before = self.provider.urls.count(f"{ISSUER}/jwks")
        self.later(31)
        for number in range(100):
            self.provider.sign = forged({"alg": "RS256", "kid": f"k{number:03d}x"}, strange)
            self.assertEqual(self.refused(number), "id-token-key")
        self.assertEqual(self.provider.urls.count(f"{ISSUER}/jwks"), before + 1)

    def test_a_flood_while_the_keys_cannot_be_had(self) -> None:
        """The throttle fails closed: nobody signs in, and the provider is not hammered."""
        self.attempt()
        self.provider.answers["/jwks"] = status(500)
        self.later(31)
        before = self.provider.urls.count(f"{ISSUER}/jwks")
        for number in range(100):
            self.provider.sign = forged({"alg": "RS256", "kid": f"k{number:03d}x"}, strange)
            self.refused(number, (400, 503))
        self.assertLessEqual(self.provider.urls.count(f"{ISSUER}/jwks"), before + 1)


class TimeTests(ProviderCase):
    """O20: a time is a number of seconds that can be; nothing is cast before that is known."""

    row = "O20"
    VARIANTS = tuple(
        product(
            ("exp", "iat", "nbf"),
            (
                *("1e300", "-1e300", "1e400", "-1e400", "1e309", "NaN", "Infinity", "-Infinity"),
                *("-1", "-0.5", "true", "false", "null", '"1800000000"', '"x"', "[]", "{}", '""'),
                *("[1790000000]", "9" * 400, "-" + "9" * 400, "253402300800", "1e18", "1e12"),
                *(
                    '{"$date":1}',
                    "9223372036854775808",
                    "18446744073709551616",
                    "1.5e11e",
                    "0x7fff",
                ),
            ),
        )
    )

    def claims(self, name: str, value: str) -> Lie:
        """Return what makes a token whose one time is this text."""

        def lie(claims: dict[str, Any]) -> str:
            kept = {n: v for n, v in claims.items() if n != name}
            return raw(json.dumps(kept).encode()[:-1] + f',"{name}":{value}}}'.encode())

        return lie

    def test_times_that_cannot_be(self) -> None:
        """Refused by name, at a sign-in and at a refresh."""
        for name, value in self.VARIANTS:
            self.provider.sign = self.claims(name, value)
            check = self.refused((name, value))
            self.assertIn(check, {"id-token-time", "id-token-format", "clock"}, (name, value))

    def test_times_that_can_be(self) -> None:
        """Fractions, the years after 2038 and after 2106, and the last that a date can say."""
        now = int(self.clock.seconds())
        for name, values in (
            ("exp", (f"{now}.5", "2147483647", "2147483648", "4294967296", "4102444800.25")),
            ("exp", ("253402300799", f"{now - 59}", "1.8e9", "1800000000.0")),
            ("iat", ("0", f"{now + 59}", f"{now}.999", "1e9")),
            ("nbf", ("0", f"{now + 59}", f"{now}.001")),
        ):
            for value in values:
                self.provider.sign = self.claims(name, value)
                self.assertEqual(self.attempt().status, 200, (name, value))

    def test_borders(self) -> None:
        """A minute of difference is the last that passes, on either side."""
        now = int(self.clock.seconds())
        for name, value in (("exp", now - 60), ("iat", now + 61), ("nbf", now + 61)):
            self.provider.sign = self.claims(name, str(value))
            self.assertEqual(self.refused(name), "clock")

    def test_a_session_does_not_end_with_the_token(self) -> None:
        """How long a session lasts is ours to say, whatever the token's end is."""
        self.provider.sign = self.claims("exp", "253402300799")
        self.sign_in()
        self.later(14 * 3_600)
        self.assertEqual(self.browser.open(f"{APP}/", navigates=False).status, 401)


class StepTests(ProviderCase):
    """O21: no step of a sign-in can be left out, bent or taken from somebody else."""

    row = "O21"
    VARIANTS = ("taken out", "emptied", "changed", "of another sign-in", "longer", "in capitals")

    STEPS = (f"{AUTH}/.pomerium/sign_in", f"{AUTH}/oauth2/callback", f"{APP}/.pomerium/callback/")

    def bent(self, how: str, value: str, other: str) -> str | None:
        """Return a value in another form; None takes it out."""
        middle = len(value) // 2
        return {
            "taken out": None,
            "emptied": "",
            "changed": value[:middle]
            + ("A" if value[middle] != "A" else "B")
            + value[middle + 1 :],
            "of another sign-in": other,
            "longer": value + "A",
            "in capitals": value.swapcase(),
        }[how]

    def test_every_parameter_of_every_step(self) -> None:
        """One parameter of one step bent: there is no session, here or at authenticate."""
        for step in self.STEPS:
            mine, theirs = self.new_browser(), self.new_browser()
            address, _, query = mine.until(f"{APP}/", step).partition("?")
            other = dict(parse_qsl(theirs.until(f"{APP}/other", step).partition("?")[2]))
            given = dict(parse_qsl(query))
            for name, how in product(given, self.VARIANTS):
                value = self.bent(how, given[name], other[name])
                if value == given[name] or (name == "iss" and value == ISSUER):
                    continue
                browser = mine.copy()
                bent = {**given, name: value}
                sent = urlencode({n: v for n, v in bent.items() if v is not None})
                asked = len(self.provider.authorized)
                got = browser.open(f"{address}?{sent}")
                self.assertIn(got.status, (302, 400), (step, name, how))
                self.assertFalse(browser.has_session(), (step, name, how))
                self.assertEqual(browser.at_applications, [])
                if step != self.STEPS[2]:
                    self.nobody(browser)
                    self.assertEqual(len(self.provider.authorized), asked)

    def test_every_cookie_of_every_step(self) -> None:
        """The same with the cookies that a step needs."""
        for step in self.STEPS[1:]:
            host = urlsplit(step).netloc
            mine, theirs = self.new_browser(), self.new_browser()
            url = mine.until(f"{APP}/", step)
            theirs.until(f"{APP}/other", step)
            (key,) = [k for k in mine.cookies if k[0] == host and b"_login_" in k[1]]
            (their_key,) = [k for k in theirs.cookies if k[0] == host and b"_login_" in k[1]]
            value, other = mine.cookies[key].decode(), theirs.cookies[their_key].decode()
            for how in self.VARIANTS:
                browser = mine.copy()
                bent = self.bent(how, value, other)
                del browser.cookies[key]
                if bent is not None:
                    browser.cookies[key] = bent.encode()
                got = browser.open(url)
                self.assertIn(got.status, (302, 400), (step, how))
                self.assertFalse(browser.has_session(), (step, how))

    def test_steps_that_are_skipped(self) -> None:
        """Going straight to a later step, with nothing or with what an earlier one gave."""
        for step, method, query in product(
            self.STEPS,
            (b"GET", b"POST", b"HEAD", b"PUT"),
            ("", "?", "?state=&code=", "?code=x", "?a"),
        ):
            for begun in (False, True):
                browser = self.new_browser()
                if begun:
                    browser.open(f"{APP}/")
                body = b"code=x&state=y&pomerium_session_encrypted=z" if method == b"POST" else b""
                got = browser.open(f"{step}{query}", method=method, body=body)
                self.assertIn(got.status, (302, 400, 405), (step, method, query))
                self.nobody(browser)
        self.assertEqual(self.provider.forms("/token"), [])

    def test_a_hand_off_that_knows_only_the_logins_name(self) -> None:
        """Even from under our own seal: who does not know the login's secret finishes nothing."""
        now = int(self.clock.seconds())
        url = self.browser.until(f"{APP}/", f"{AUTH}/.pomerium/sign_in")
        login = dict(parse_qsl(urlsplit(url).query))["pomerium_login"]
        name, _, digest_ = login.partition(".")
        for known in (name, f"{name}.", f"{name}.{digest_[:-1]}", f"{name}.{digest_.swapcase()}"):
            handoff = Handoff(
                session=self.rig.session(), login=known, redirect=f"{APP}/", expires=now + 60
            )
            sealed = seal_handoff(SHARED_KEYS.handoff, handoff, random=Chance(count=1 << 20))
            browser = self.browser.copy()
            browser.open(f"{APP}/.pomerium/callback/?pomerium_session_encrypted={sealed}")
            self.assertFalse(browser.has_session(), known)

    def test_an_answer_in_a_form(self) -> None:
        """A provider's answer that is posted is none, however good."""
        url = self.callback()
        address, _, query = url.partition("?")
        form = (b"content-type", b"application/x-www-form-urlencoded")
        for where in (address, url):
            got = self.browser.open(where, form, method=b"POST", body=query.encode())
            self.assertEqual(got.status, 405)
            self.nobody()
        self.assertEqual(self.browser.follow(url).status, 200)


class HiddenTests(ProviderCase):
    """O22: a token of the provider's is in no page, no header field and no request of ours."""

    row = "O22"
    VARIANTS = (
        *(f"{APP}/", f"{APP}/.pomerium/", f"{APP}/.pomerium/sign_out", f"{APP}/.pomerium/x"),
        *(f"{AUTH}/.pomerium/", f"{AUTH}/.pomerium/sign_out", f"{AUTH}/.pomerium/signed_out"),
        *(f"{AUTH}/.well-known/pomerium", f"{AUTH}/x", f"{APP}/.well-known/pomerium/jwks.json"),
        *(
            f"{WIKI}/",
            f"{WIKI}/.pomerium/",
            f"{AUTH}/oauth2/callback",
            f"{APP}/.pomerium/callback/",
        ),
        *(f"{APP}/.pomerium/user", f"{APP}/.pomerium/session", f"{AUTH}/.pomerium/token"),
    )

    def test_the_whole_life_of_a_session(self) -> None:
        """Sign-in, pages, renewals, another host, failures, sign-out: nobody sees one."""
        self.sign_in()
        for _ in range(3):
            for url in self.VARIANTS:
                self.browser.follow(url)
                for accept in (b"application/json", b"text/html", b"*/*"):
                    self.browser.open(url, (b"accept", accept), navigates=False)
                    self.browser.open(url, (b"accept", accept), method=b"HEAD", navigates=False)
            self.later(700)
        self.browser.open(f"{AUTH}/oauth2/callback?error=x&state=y")
        self.sign_out()
        self.hides_tokens()

    def test_failures_show_none(self) -> None:
        """A sign-in or renewal that fails at any endpoint says so without a token."""
        for path, code in product(("/token", "/userinfo", "/jwks"), (400, 401, 403, 500)):
            self.start(*self.routes)
            self.sign_in()
            self.provider.claims = {"email": None}
            words = " ".join(self.provider.issued)
            body = json.dumps({"error": "invalid_client", "error_description": words}).encode()
            self.provider.answers[path] = status(code, body)
            self.later(4_000)
            got = self.browser.follow(f"{APP}/")
            self.assertIn(got.status, (200, 400, 503), (path, code))
            self.hides_tokens()

    def sign_out(self) -> None:
        """Press the button at authenticate."""
        form = (b"content-type", b"application/x-www-form-urlencoded")
        got = self.browser.open(f"{AUTH}/.pomerium/sign_out")
        token = re.search(rb'name="pomerium_csrf" value="([^"]+)"', got.body)
        assert token is not None
        body = b"pomerium_csrf=" + token[1]
        got = self.browser.open(f"{AUTH}/.pomerium/sign_out", form, method=b"POST", body=body)
        self.assertTrue(is_html(got))
        self.assertEqual(len(self.provider.forms("/revoke")), 1)

    def hides_tokens(self) -> None:
        """Assert that no token, in any common spelling, is in what browser and application got."""
        # The one way that OpenID Connect prescribes: the ID token as a hint, to the provider.
        hint = re.compile(
            rb"https://id\.example\.com/bye\?[^\"' \n]*?id_token_hint=[A-Za-z0-9_.-]+"
        )
        seen = hint.sub(b"", self.browser.received())
        seen += b"\n".join(self.browser.at_applications)
        self.assertGreater(len(self.provider.issued), 3)
        for token in self.provider.issued:
            if token.startswith("c0de"):
                continue
            for spelling in (
                token.encode(),
                quote(token, safe="").encode(),
                base64.b64encode(token.encode()).rstrip(b"="),
                token.encode().hex().encode(),
                token.rpartition(".")[2].encode(),
            ):
                self.assertNotIn(spelling, seen)
