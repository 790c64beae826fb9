"""Tests for sign-in and renewal against a provider in memory that can lie in every way."""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import json
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from urllib.parse import parse_qs, parse_qsl, urlsplit

import attrs
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from pomeriumd.errors import LoginFailed, PomeriumError, ProviderError, SettingsError
from pomeriumd.oidc.grant import Grant, GrantRefused, Unconfirmed
from pomeriumd.oidc.provider import OIDCProvider
from pomeriumd.session.session import Identity

T = TypeVar("T")
E = TypeVar("E", bound=PomeriumError)

ISSUER = "https://idp.example.com"
BACK = "https://auth.example.com/oauth2/callback"
NOW = 1_800_000_000
VERIFIER = "v" * 43
NONCE = "nonce-of-this-login"
RSA_KEY = rsa.generate_private_key(65_537, 2_048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
SECRETS = ("s3cret:&", "the-code", "ACCESS-", "REFRESH-", VERIFIER, NONCE)


@attrs.frozen
class Secret:
    """A secret as the settings have it."""

    octets: bytes = b"s3cret:&"

    def reveal(self) -> bytes:
        """Return it."""
        return self.octets


class Lying(Resource):
    """A whole OpenID provider; every attribute is a place where it can lie."""

    isLeaf = True

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__()
        self.now = now
        self.key: Any = RSA_KEY
        self.kid: str | None = "k1"
        self.algorithm = "RS256"
        self.public: Any = None
        self.metadata: dict[str, Any] = {
            "userinfo_endpoint": f"{ISSUER}/userinfo",
            "revocation_endpoint": f"{ISSUER}/revoke",
            "end_session_endpoint": f"{ISSUER}/bye",
        }
        self.claims: dict[str, Any] = {
            "email": "Ann@Example.com",
            "email_verified": True,
            "name": "Ann",
            "groups": ["staff"],
        }
        self.userinfo: dict[str, Any] = {"sub": "ann"}
        self.tokens: dict[str, Any] = {}
        self.nonce: str | None = NONCE
        self.sign: Callable[[dict[str, Any]], str] = self.signed
        self.answers: dict[str, Callable[[Any], Any]] = {}
        self.seen: list[tuple[str, dict[str, str], str | None]] = []
        self.turn = 0

    def render(self, request: Any) -> Any:
        """Answer by path, or as one test told."""
        request.notifyFinish().addErrback(lambda _: None)
        path = request.path.decode("ascii")
        body = dict(parse_qsl(request.content.read().decode("ascii")))
        self.seen.append((path, body, request.getHeader("authorization")))
        request.setHeader("content-type", "application/json")
        if path in self.answers:
            return self.answers[path](request)
        documents: dict[str, Callable[[], dict[str, Any]]] = {
            "/.well-known/openid-configuration": self.discovery,
            "/jwks": self.jwks,
            "/token": self.token,
            "/userinfo": lambda: self.userinfo,
            "/revoke": dict,
        }
        return json.dumps(documents[path]()).encode()

    def paths(self) -> list[str]:
        """Return what was asked, metadata and keys left out."""
        return [path for path, _, _ in self.seen if path not in ("/jwks", "/token")][1:]

    def discovery(self) -> dict[str, Any]:
        """Return the metadata."""
        ends = {
            "authorization_endpoint": f"{ISSUER}/authorize",
            "token_endpoint": f"{ISSUER}/token",
            "jwks_uri": f"{ISSUER}/jwks",
        }
        both = {"issuer": ISSUER, **ends, **self.metadata}
        return {name: value for name, value in both.items() if value is not None}

    def jwks(self) -> dict[str, Any]:
        """Return the public key that goes with the private one, or another."""
        public = self.public or self.key.public_key()
        family = RSAAlgorithm if isinstance(self.key, rsa.RSAPrivateKey) else ECAlgorithm
        named = {} if self.kid is None else {"kid": self.kid}
        return {"keys": [{**family.to_jwk(public, as_dict=True), **named}]}

    def token(self) -> dict[str, Any]:
        """Return new tokens."""
        self.turn += 1
        second = int(self.now())
        claims = {
            "iss": ISSUER,
            "sub": "ann",
            "aud": "client",
            "iat": second,
            "exp": second + 300,
            "nonce": self.nonce,
            **self.claims,
        }
        answer = {
            "access_token": f"ACCESS-{self.turn}",
            "token_type": "Bearer",
            "refresh_token": f"REFRESH-{self.turn}",
            "id_token": self.sign({k: v for k, v in claims.items() if v is not None}),
            **self.tokens,
        }
        return {name: value for name, value in answer.items() if value is not None}

    def signed(self, claims: dict[str, Any]) -> str:
        """Sign an ID token."""
        headers = {} if self.kid is None else {"kid": self.kid}
        return jwt.encode(claims, self.key, algorithm=self.algorithm, headers=headers)


def status(code: int, body: bytes = b"{}", **fields: str) -> Callable[[Any], Any]:
    """Return an answer of that status."""

    def answer(request: Any) -> bytes:
        request.setResponseCode(code)
        for name, value in fields.items():
            request.setHeader(name.replace("_", "-"), value)
        return body

    return answer


def refusal(error: str, code: int = 400, **more: str) -> Callable[[Any], Any]:
    """Return an OAuth error answer."""
    return status(code, json.dumps({"error": error, **more}).encode())


class ProviderCase(SynchronousTestCase):
    """One OIDCProvider and the liar it talks to."""

    kind = "oidc"
    issuer: str | None = ISSUER

    def setUp(self) -> None:
        """Build both, and watch the log."""
        self.clock = Clock()
        self.idp = Lying(self.now)
        self.provider = self.made()
        self.events = EventLoggingObserver()
        globalLogPublisher.addObserver(self.events)
        self.addCleanup(globalLogPublisher.removeObserver, self.events)

    def tearDown(self) -> None:
        """Nothing is left running, and no secret went into the log."""
        self.assertEqual(self.clock.getDelayedCalls(), [])
        logged = "\n".join(f"{formatEvent(event)} {event}" for event in self.events)
        for secret in SECRETS:
            self.assertNotIn(secret, logged)

    def now(self) -> float:
        """Return seconds since the epoch."""
        return NOW + float(self.clock.seconds())

    def made(self, **changes: Any) -> OIDCProvider:
        """Return a provider, changed."""
        return OIDCProvider(
            **{
                "kind": self.kind,
                "issuer": self.issuer,
                "client_id": "client",
                "client_secret": Secret(),
                "agent": RequestTraversalAgent(self.idp),
                "clock": self.clock,
                "now": self.now,
                "random": lambda size: b"\x80" * size,
                **changes,
            }
        )

    def exchange(self, **changes: Any) -> Deferred[Grant]:
        """Bring a code back."""
        return Deferred.fromCoroutine(
            self.provider.exchange(
                **{
                    "code": "the-code",
                    "verifier": VERIFIER,
                    "nonce": NONCE,
                    "redirect_uri": BACK,
                    "iss": None,
                    **changes,
                }
            )
        )

    def signed_in(self, **changes: Any) -> Grant:
        """Sign in, and return the grant."""
        return self.successResultOf(self.exchange(**changes))

    def renew(self, identity: Identity, token: str = "REFRESH-1") -> Deferred[Grant]:
        """Refresh."""
        return Deferred.fromCoroutine(self.provider.refresh(refresh_token=token, identity=identity))

    def failure(self, waiting: Deferred[Any], kind: type[E]) -> E:
        """Return the error of ``waiting``, which holds no secret."""
        failed = self.failureResultOf(waiting, kind).value
        assert isinstance(failed, kind)
        for secret in SECRETS:
            self.assertNotIn(secret, f"{failed} {failed!r} {getattr(failed, 'explain', '')}")
        return failed

    def refused(self, **changes: Any) -> str:
        """Return the check that refuses a sign-in."""
        return self.failure(self.exchange(**changes), LoginFailed).check

    def run_now(self, work: Coroutine[Deferred[Any], Any, T]) -> T:
        """Return what ``work`` gives at once."""
        return self.successResultOf(Deferred.fromCoroutine(work))


class SettingsTests(ProviderCase):
    """A provider that cannot work is a problem of the settings, with its place."""

    def problem(self, **changes: Any) -> str:
        """Return the one problem."""
        with self.assertRaises(SettingsError) as caught:
            self.made(**changes)
        (problem,) = caught.exception.problems
        return str(problem)

    def test_problems_have_places(self) -> None:
        """Each with what was found and what was wanted."""
        for changes, text in (
            (
                {"kind": "github"},
                (
                    "idp_provider: want one of oidc, google, okta, onelogin, auth0, cognito, "
                    "gitlab, ping, azure, got 'github'"
                ),
            ),
            ({"issuer": None}, "idp_provider_url: missing, oidc has no default"),
            (
                {"issuer": "http://idp.example.com"},
                (
                    "idp_provider_url: want https:// (http:// on a loopback address only), "
                    "got 'http://idp.example.com'"
                ),
            ),
            (
                {"request_params": (("prompt", "login"), ("nonce", "x"))},
                "idp_request_params: nonce is not for the settings to set",
            ),
            (
                {"algorithms": ("RS256", "HS256")},
                (
                    "idp_signing_algorithms: want some of ES256, ES384, ES512, EdDSA, PS256, "
                    "PS384, PS512, RS256, RS384, RS512, got 'HS256'"
                ),
            ),
        ):
            self.assertEqual(self.problem(**changes), text)
        for algorithms in ((), ("none",), ("",), ("RS256", "rs256")):
            self.assertTrue(self.problem(algorithms=algorithms).startswith("idp_signing_alg"))

    def test_building_asks_nobody(self) -> None:
        """A provider that is down is no reason not to start."""
        self.assertEqual(self.idp.seen, [])

    def test_its_repr_has_no_secret(self) -> None:
        """Nor anything of the insides."""
        self.assertNotIn("s3cret", repr(self.provider))


class AuthorizationTests(ProviderCase):
    """The authorization URL has the kind's parameters and ours."""

    def parameters(self, **changes: Any) -> dict[str, list[str]]:
        """Return the parameters of the URL."""
        url = self.run_now(
            self.made(**changes).authorization_url(
                state="s", nonce=NONCE, verifier=VERIFIER, redirect_uri=BACK
            )
        )
        return parse_qs(urlsplit(url).query)

    def test_defaults_of_the_kind(self) -> None:
        """The scopes of the kind; S256 always."""
        sent = self.parameters()
        self.assertEqual(sent["scope"], ["openid profile email offline_access"])
        self.assertEqual(sent["code_challenge_method"], ["S256"])
        self.assertEqual(sent["redirect_uri"], [BACK])

    def test_settings_go_over_the_kind(self) -> None:
        """Scopes replace, openid stays; a parameter replaces the one of its name."""
        sent = self.parameters(
            kind="google", scopes=("email",), request_params=(("prompt", "none"), ("hd", "x"))
        )
        self.assertEqual(sent["scope"], ["openid email"])
        self.assertEqual(sent["prompt"], ["none"])
        self.assertEqual(sent["hd"], ["x"])
        self.assertEqual(sent["access_type"], ["offline"])


class SignInTests(ProviderCase):
    """A code becomes a grant when every check passes."""

    def test_signs_in(self) -> None:
        """The identity is the provider's word, checked; the tokens are there."""
        grant = self.signed_in()
        self.assertEqual(
            grant.identity,
            Identity(
                issuer=ISSUER,
                subject="ann",
                email="Ann@example.com",
                name="Ann",
                groups=("staff",),
            ),
        )
        self.assertEqual((grant.access_token, grant.refresh_token), ("ACCESS-1", "REFRESH-1"))
        self.assertIsNotNone(grant.id_token)
        self.assertNotIn("ACCESS", repr(grant))
        form, secret = next((b, a) for path, b, a in self.idp.seen if path == "/token")
        self.assertEqual(form["code_verifier"], VERIFIER)
        basic = base64.b64encode(b"client:s3cret%3A%26").decode()
        self.assertEqual(secret, f"Basic {basic}")

    def test_no_refresh_token_is_a_grant_without_one(self) -> None:
        """Some providers give none."""
        self.idp.tokens = {"refresh_token": None}
        self.assertIsNone(self.signed_in().refresh_token)

    def test_elliptic_curves(self) -> None:
        """ES256 is configured from the start."""
        self.idp.key, self.idp.algorithm = EC_KEY, "ES256"
        self.assertEqual(self.signed_in().identity.subject, "ann")

    def test_a_complete_id_token_needs_no_userinfo(self) -> None:
        """One request less for each sign-in."""
        self.signed_in()
        self.assertEqual(self.idp.paths(), [])

    def test_userinfo_fills_what_is_missing(self) -> None:
        """Groups, or the address, with the access token shown."""
        for missing in ("groups", "email"):
            self.idp.claims = {**self.idp.claims, missing: None}
            self.idp.userinfo = {
                "sub": "ann",
                "email": "ann@example.net",
                "email_verified": True,
                "groups": ["more"],
            }
            grant = self.signed_in()
            self.assertEqual(self.idp.paths()[-1], "/userinfo")
            self.assertEqual(self.idp.seen[-1][2], f"Bearer {grant.access_token}")
            self.assertEqual(grant.identity.groups, ("more",))
        self.assertEqual(grant.identity.email, "ann@example.net")

    def test_userinfo_of_another_person(self) -> None:
        """Is not mixed in."""
        self.idp.claims = {}
        for sub in ("bob", "", None, 7):
            self.idp.userinfo = {"sub": sub, "groups": ["admins"]}
            self.assertEqual(self.refused(), "userinfo-subject")

    def test_userinfo_that_is_refused_leaves_fewer_attributes(self) -> None:
        """The sign-in stands on the ID token; what userinfo would add only ever allows."""
        self.idp.claims = {}
        for code in (401, 403):
            self.idp.answers["/userinfo"] = status(code)
            identity = self.signed_in().identity
            self.assertEqual((identity.email, identity.groups), (None, ()))

    def test_userinfo_that_fails_is_a_failure(self) -> None:
        """A person is not shown as one without groups because a server is down."""
        self.idp.claims = {}
        for code, body, text in (
            (500, b"{}", "userinfo: status 500, want 200"),
            (302, b"", "userinfo: status 302, a redirect; none is followed"),
            (
                200,
                b'{"sub":"bob","sub":"ann"}',
                "userinfo: a name occurs twice in one object (status 200, application/json)",
            ),
            (
                200,
                b'{"sub":' + b"[" * 9_999,
                "userinfo: nested deeper than 32 levels (status 200, application/json)",
            ),
        ):
            self.idp.answers["/userinfo"] = status(code, body)
            self.assertEqual(str(self.failure(self.exchange(), ProviderError)), text)

    def test_lies_in_the_claims(self) -> None:
        """Each has its word."""
        for claims, check in (
            ({"iss": "https://evil.example"}, "id-token-issuer"),
            ({"iss": f"{ISSUER}/"}, "id-token-issuer"),
            ({"iss": None}, "id-token-issuer"),
            ({"aud": "other"}, "id-token-audience"),
            ({"aud": ["client", "other"]}, "id-token-audience"),
            ({"aud": ["client", "other"], "azp": "other"}, "id-token-audience"),
            ({"azp": "other"}, "id-token-audience"),
            ({"aud": None}, "id-token-audience"),
            ({"sub": ""}, "id-token-subject"),
            ({"sub": None}, "id-token-subject"),
            ({"exp": None}, "id-token-time"),
            ({"iat": None}, "id-token-time"),
            ({"exp": 1e300}, "id-token-time"),
            ({"exp": True}, "id-token-time"),
            ({"exp": NOW - 61}, "clock"),
            ({"iat": NOW + 61}, "clock"),
            ({"nbf": NOW + 61}, "clock"),
            ({"nonce": None}, "id-token-nonce"),
            ({"nonce": "of-another-login"}, "id-token-nonce"),
            ({"at_hash": "AAAA"}, "id-token-access-token"),
        ):
            self.idp.sign = lambda good, lie=claims: self.idp.signed(  # type: ignore[misc]  # a default is no parameter
                {name: value for name, value in {**good, **lie}.items() if value is not None}
            )
            self.assertEqual(self.refused(), check, claims)

    def test_lies_in_the_signature(self) -> None:
        """No algorithm but ours, no key but the published one (O2)."""
        pem = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

        def part(value: object) -> str:
            octets = json.dumps(value).encode()
            return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()

        def none(claims: dict[str, Any]) -> str:
            return f"{part({'alg': 'none'})}.{part(claims)}."

        def none_with_a_signature(claims: dict[str, Any]) -> str:
            return f"{part({'alg': 'none', 'kid': 'k1'})}.{part(claims)}.AAAA"

        def mac_with_the_public_key(claims: dict[str, Any]) -> str:
            signing = f"{part({'alg': 'HS256', 'kid': 'k1'})}.{part(claims)}"
            mac = hmac.digest(pem, signing.encode(), hashlib.sha256)
            return f"{signing}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"

        stranger = rsa.generate_private_key(65_537, 2_048)
        for sign, check in (
            (none, "id-token-format"),
            (none_with_a_signature, "id-token-algorithm"),
            (mac_with_the_public_key, "id-token-algorithm"),
            (
                lambda claims: jwt.encode(claims, RSA_KEY, "RS512", {"kid": "k1"}),
                "id-token-algorithm",
            ),
            (
                lambda claims: jwt.encode(claims, stranger, "RS256", {"kid": "k1"}),
                "id-token-signature",
            ),
            (
                lambda claims: jwt.encode(claims, EC_KEY, "ES256", {"kid": "k1"}),
                "id-token-key",
            ),
            (lambda claims: self.idp.signed(claims) + ".x", "id-token-format"),
        ):
            self.idp.sign = sign
            self.assertEqual(self.refused(), check)

    def test_a_rotated_key_is_found(self) -> None:
        """The next sign-in after a rotation works, without a restart."""
        self.signed_in()
        self.idp.key, self.idp.algorithm, self.idp.kid = EC_KEY, "ES256", "k2"
        self.clock.advance(31)
        self.signed_in()

    def test_a_rotated_key_without_a_name_is_found(self) -> None:
        """By the signature that fails."""
        self.idp.kid = None
        self.signed_in()
        self.idp.key = rsa.generate_private_key(65_537, 2_048)
        self.clock.advance(31)
        self.signed_in()

    def test_an_unknown_key_is_not_looked_for_again_and_again(self) -> None:
        """A provider that signs with an unpublished key costs one request (O19)."""
        self.signed_in()
        self.idp.kid, self.idp.answers["/jwks"] = "k2", lambda _: json.dumps(published).encode()
        published = {"keys": [{**RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True)}]}
        self.clock.advance(31)
        for _ in range(5):
            self.assertEqual(self.refused(), "id-token-key")
        self.assertEqual([path for path, _, _ in self.idp.seen].count("/jwks"), 2)

    def test_a_clock_failure_tells_the_difference(self) -> None:
        """The provider's Date is compared with our clock."""
        self.idp.claims = {"exp": NOW - 400}
        date = "Fri, 15 Jan 2027 07:53:20 GMT"
        token = self.idp.token
        self.idp.answers["/token"] = lambda request: (
            request.setHeader("date", date),
            json.dumps(token()).encode(),
        )[1]
        failed = self.failure(self.exchange(), LoginFailed)
        self.assertEqual(failed.check, "clock")
        self.assertEqual(
            str(failed),
            "id token: expired 400 s ago by our clock, leeway 60 s; "
            "the provider's clock is 400 s behind ours",
        )

    def test_the_iss_parameter(self) -> None:
        """Checked when there, needed when promised, before the code goes out (O1)."""
        self.assertEqual(self.signed_in(iss=ISSUER).identity.subject, "ann")
        before = len(self.idp.seen)
        for iss in ("https://evil.example", f"{ISSUER}/", ""):
            self.assertEqual(self.refused(iss=iss), "issuer-parameter")
        self.idp.metadata["authorization_response_iss_parameter_supported"] = True
        self.provider = self.made()
        self.assertEqual(self.refused(), "issuer-parameter")
        self.assertNotIn("/token", [path for path, _, _ in self.idp.seen[before:]])
        self.signed_in(iss=ISSUER)

    def test_a_callback_without_its_transaction(self) -> None:
        """No verifier, no nonce, no code: nothing is sent (O5)."""
        for changes, check in (
            ({"verifier": ""}, "pkce"),
            ({"nonce": ""}, "id-token-nonce"),
            ({"code": ""}, "code"),
        ):
            self.assertEqual(self.refused(**changes), check)
        self.assertNotIn("/token", [path for path, _, _ in self.idp.seen])

    def test_a_code_that_is_used_or_old(self) -> None:
        """The user can start again; the log has the provider's words."""
        self.idp.answers["/token"] = refusal("invalid_grant", error_description="code expired")
        failed = self.failure(self.exchange(), LoginFailed)
        self.assertEqual(failed.check, "code")
        self.assertEqual(str(failed), "token endpoint: refused with invalid_grant (code expired)")

    def test_other_refusals_are_for_the_operator(self) -> None:
        """With a hint where we know one; 200 with an error is one too."""
        for answer, text in (
            (
                refusal("invalid_client", 401),
                (
                    "token endpoint: refused with invalid_client; "
                    "see idp_client_id and idp_client_secret"
                ),
            ),
            (refusal("invalid_scope"), "token endpoint: refused with invalid_scope"),
            (refusal("invalid_request", 200), "token endpoint: refused with invalid_request"),
            (status(400), "token endpoint: refused with no readable error"),
            (status(429), "token endpoint: status 429"),
            (status(500), "token endpoint: status 500"),
            (status(201), "token endpoint: status 201"),
            (status(200), "token answer: token_type is not Bearer"),
            (
                status(404, b"<html>", content_type="text/html"),
                "token endpoint: not JSON at character 0 (status 404, text/html)",
            ),
            (
                status(200, gzip.compress(b"{}"), content_encoding="gzip"),
                "token endpoint: answer has a content coding, none was asked for",
            ),
            (
                status(307, location="https://evil.example"),
                "token endpoint: status 307, a redirect; none is followed",
            ),
            (status(200, b" " * 262_145), "token endpoint: answer is over 262144 bytes"),
            *(
                (
                    status(200, body),
                    f"token endpoint: {text} (status 200, application/json)",
                )
                for body, text in (
                    (b'{"id_token":"a","id_token":"b"}', "a name occurs twice in one object"),
                    (b'{"id_token":', "not JSON at character 12"),
                    (b'{"id_token":"\xff"}', "not UTF-8"),
                    (b"[]", "want an object, got a list"),
                    (b"null", "want an object, got null"),
                    (b"", "not JSON at character 0"),
                    (b"[" * 40, "nested deeper than 32 levels"),
                )
            ),
        ):
            self.idp.answers["/token"] = answer
            self.assertEqual(str(self.failure(self.exchange(), ProviderError)), text)

    def test_a_token_answer_without_an_id_token(self) -> None:
        """The provider took it for plain OAuth."""
        self.idp.tokens = {"id_token": None}
        self.assertEqual(
            str(self.failure(self.exchange(), ProviderError)),
            "token answer: id_token is missing; is openid in idp_scopes?",
        )

    def test_a_slow_token_endpoint(self) -> None:
        """Ten seconds, then it is the provider's failure."""
        self.idp.answers["/token"] = lambda _: NOT_DONE_YET
        waiting = self.exchange()
        self.clock.advance(9.9)
        self.assertNoResult(waiting)
        self.clock.advance(0.1)
        self.assertEqual(
            str(self.failure(waiting, ProviderError)), "token endpoint: no answer in 10 s"
        )


class RefreshTests(ProviderCase):
    """A refresh confirms the same person as they are now, or does not confirm."""

    def setUp(self) -> None:
        """Sign in first."""
        super().setUp()
        self.identity = self.signed_in().identity
        self.idp.nonce = None

    def renewed(self) -> Grant:
        """Refresh, and return the grant."""
        return self.successResultOf(self.renew(self.identity))

    def test_renews_and_rotates(self) -> None:
        """New groups count; the next refresh token is the new one."""
        self.idp.claims["groups"] = ["other"]
        grant = self.renewed()
        self.assertEqual(grant.identity, attrs.evolve(self.identity, groups=("other",)))
        self.assertEqual(grant.refresh_token, "REFRESH-2")
        self.assertEqual(
            self.idp.seen[-1][1], {"grant_type": "refresh_token", "refresh_token": "REFRESH-1"}
        )

    def test_a_refresh_token_may_stay(self) -> None:
        """None in the answer means the old one goes on."""
        self.idp.tokens = {"refresh_token": None}
        self.assertEqual(self.renewed().refresh_token, "REFRESH-1")

    def test_without_an_id_token_userinfo_confirms(self) -> None:
        """By the new access token."""
        self.idp.tokens = {"id_token": None}
        self.idp.userinfo = {"sub": "ann", **self.idp.claims, "groups": ["now"]}
        grant = self.renewed()
        self.assertEqual(grant.identity, attrs.evolve(self.identity, groups=("now",)))
        self.assertIsNone(grant.id_token)
        self.assertEqual(self.idp.seen[-1][2], "Bearer ACCESS-2")

    def test_another_person_ends_it(self) -> None:
        """In the ID token or in userinfo; neither is believed (O3)."""
        self.idp.claims["sub"] = "bob"
        failed = self.failure(self.renew(self.identity), LoginFailed)
        self.assertEqual(failed.check, "id-token-subject")
        self.idp.tokens = {"id_token": None}
        self.idp.userinfo = {**self.idp.claims, "sub": "bob"}
        failed = self.failure(self.renew(self.identity), LoginFailed)
        self.assertEqual(failed.check, "userinfo-subject")

    def test_a_renewed_id_token_is_checked_like_the_first(self) -> None:
        """Unsigned, foreign or old: refused (O3)."""
        good = self.idp.signed
        for sign, check in (
            (lambda claims: good(claims).rsplit(".", 1)[0] + ".", "id-token-format"),
            (lambda claims: good({**claims, "aud": "other"}), "id-token-audience"),
            (lambda claims: good({**claims, "iss": "https://evil"}), "id-token-issuer"),
            (
                lambda claims: jwt.encode(claims, "k" * 32, "HS256", {"kid": "k1"}),
                "id-token-algorithm",
            ),
        ):
            self.idp.sign = sign
            failed = self.failure(self.renew(self.identity), LoginFailed)
            self.assertEqual(failed.check, check)

    def test_what_fails_after_the_token_was_used(self) -> None:
        """The next token is not lost with it: to use the old one again would look like theft."""
        good = self.idp.signed
        self.idp.sign = lambda claims: good({**claims, "exp": NOW - 400})
        failed = self.failure(self.renew(self.identity), Unconfirmed)
        self.assertEqual(failed.refresh_token, "REFRESH-2")
        self.assertTrue(str(failed).startswith("id token: expired 400 s ago by our clock"))
        self.idp.sign = good
        self.idp.tokens = {"id_token": None}
        self.idp.answers["/userinfo"] = status(500)
        failed = self.failure(self.renew(self.identity), Unconfirmed)
        self.assertEqual(failed.refresh_token, "REFRESH-3")
        self.assertEqual(str(failed), "userinfo: status 500, want 200")
        self.idp.tokens = {"id_token": None, "refresh_token": None}
        failed = self.failure(self.renew(self.identity), Unconfirmed)
        self.assertEqual(failed.refresh_token, "REFRESH-1")

    def test_a_dead_refresh_token_asks_for_a_new_sign_in(self) -> None:
        """invalid_grant alone says that it is dead."""
        self.idp.answers["/token"] = refusal("invalid_grant")
        failed = self.failure(self.renew(self.identity), GrantRefused)
        self.assertEqual(str(failed), "token endpoint: refused with invalid_grant")
        self.assertEqual(failed.status, 401)

    def test_all_else_is_the_providers_failure(self) -> None:
        """The session may go on for a while; nobody is signed out by a broken gateway."""
        for answer in (
            refusal("invalid_client", 401),
            refusal("unauthorized_client"),
            status(400),
            status(403, b"<html>"),
            status(429),
            status(500),
            status(502, json.dumps({"error": "invalid_grant"}).encode()),
            status(302),
            status(200, b"garbage"),
        ):
            self.idp.answers["/token"] = answer
            self.failure(self.renew(self.identity), ProviderError)

    def test_userinfo_that_does_not_confirm(self) -> None:
        """Without an ID token it is the only word on who this is."""
        self.idp.tokens = {"id_token": None}
        for code in (401, 403, 500):
            self.idp.answers["/userinfo"] = status(code)
            failed = self.failure(self.renew(self.identity), ProviderError)
            self.assertEqual(str(failed), f"userinfo: status {code}, want 200")

    def test_nobody_left_to_confirm(self) -> None:
        """No ID token and no userinfo endpoint: only a sign-in tells."""
        self.idp.metadata["userinfo_endpoint"] = None
        self.provider = self.made()
        self.idp.tokens = {"id_token": None}
        self.assertEqual(
            str(self.failure(self.renew(self.identity), GrantRefused)),
            "refresh: no ID token came and there is no userinfo endpoint",
        )

    def test_silence_about_a_claim_asks_for_a_new_sign_in(self) -> None:
        """Neither the old groups go on nor does the person lose them without a word (O11)."""
        self.idp.tokens = {"id_token": None}
        for name in ("groups", "email"):
            claims = {k: v for k, v in self.idp.claims.items() if k != name}
            self.idp.userinfo = {"sub": "ann", **claims}
            self.assertEqual(
                str(self.failure(self.renew(self.identity), GrantRefused)),
                f"refresh: no {name} claim, the sign-in had one",
            )

    def test_a_change_is_believed(self) -> None:
        """Groups taken away are gone, an address no longer verified is none (O9, O11)."""
        self.idp.claims = {**self.idp.claims, "groups": [], "email_verified": False}
        identity = self.renewed().identity
        self.assertEqual((identity.groups, identity.email), ((), None))

    def test_another_issuers_token_does_not_go_out(self) -> None:
        """After a change of the settings the old provider's refresh token stays here."""
        before = len(self.idp.seen)
        other = attrs.evolve(self.identity, issuer="https://old.example.com")
        self.assertEqual(
            str(self.failure(self.renew(other), GrantRefused)),
            "refresh: the session is another issuer's",
        )
        self.assertEqual(len(self.idp.seen), before)


class SignOutTests(ProviderCase):
    """Sign-out tells the provider what it can hear, and never fails."""

    def revoked(self, refresh_token: str | None = "REFRESH-1", access: str | None = None) -> bool:
        """Revoke."""
        return self.run_now(self.provider.revoke(refresh_token=refresh_token, access_token=access))

    def logout(self) -> str | None:
        """Return the logout URL."""
        return self.run_now(
            self.provider.logout_url(id_token="i.d.t", redirect_uri="https://a/", state="s")
        )

    def test_revokes_each_token(self) -> None:
        """With its hint."""
        self.assertIs(self.revoked(access="ACCESS-1"), True)
        self.assertEqual(
            [body for path, body, _ in self.idp.seen if path == "/revoke"],
            [
                {"token": "REFRESH-1", "token_type_hint": "refresh_token"},
                {"token": "ACCESS-1", "token_type_hint": "access_token"},
            ],
        )

    def test_what_is_not_confirmed_is_false(self) -> None:
        """Refused, broken, late or not advertised; and nothing to revoke."""
        self.assertIs(self.revoked(refresh_token=None), False)
        for answer in (status(400), status(503), status(302)):
            self.idp.answers["/revoke"] = answer
            self.assertIs(self.revoked(), False)
        self.idp.answers["/revoke"] = lambda _: NOT_DONE_YET
        waiting = Deferred.fromCoroutine(
            self.provider.revoke(refresh_token="REFRESH-1", access_token=None)
        )
        self.clock.advance(3)
        self.assertIs(self.successResultOf(waiting), False)
        self.idp.metadata["revocation_endpoint"] = None
        self.provider = self.made()
        self.assertIs(self.revoked(), False)

    def test_logout_where_advertised(self) -> None:
        """With the ID token as its hint."""
        self.assertEqual(
            self.logout(),
            f"{ISSUER}/bye?client_id=client&post_logout_redirect_uri=https%3A%2F%2Fa%2F"
            "&state=s&id_token_hint=i.d.t",
        )
        self.idp.metadata["end_session_endpoint"] = None
        self.provider = self.made()
        self.assertIsNone(self.logout())

    def test_a_provider_that_is_down_does_not_stop_a_sign_out(self) -> None:
        """There is no URL then, and nothing is confirmed."""
        self.idp.answers["/.well-known/openid-configuration"] = status(500)
        self.assertIsNone(self.logout())
        self.assertIs(self.revoked(), False)

    def test_cognito_has_its_own_parameter(self) -> None:
        """Its logout endpoint knows logout_uri only."""
        self.provider = self.made(kind="cognito")
        url = self.logout()
        assert url is not None
        self.assertIn("&logout_uri=https%3A%2F%2Fa%2F&", url)


class TenantTests(ProviderCase):
    """Microsoft's common endpoint signs people of many tenants in, each as its tenant's."""

    kind = "azure"
    issuer = None
    TENANT = "9188040d-6c67-4c5b-b112-36a304b66dad"

    def setUp(self) -> None:
        """Let the liar be Microsoft."""
        super().setUp()
        base = "https://login.microsoftonline.com"
        self.iss = f"{base}/{self.TENANT}/v2.0"
        self.idp.metadata = {
            "issuer": f"{base}/{{tenantid}}/v2.0",
            "userinfo_endpoint": "https://graph.microsoft.com/userinfo",
        }
        self.idp.answers["/common/v2.0/.well-known/openid-configuration"] = lambda _: json.dumps(
            self.idp.discovery()
        ).encode()
        self.idp.claims |= {"iss": self.iss, "tid": self.TENANT}

    def test_identity_is_the_tenants(self) -> None:
        """The issuer is the tenant's own; the address counts only with xms_edov."""
        identity = self.signed_in().identity
        self.assertEqual((identity.issuer, identity.email), (self.iss, None))
        self.idp.claims["xms_edov"] = True
        self.assertEqual(self.signed_in().identity.email, "Ann@example.com")

    def test_no_one_issuer_is_everybodys(self) -> None:
        """A policy for one issuer would let nobody in; one tenant's endpoint has one."""
        self.assertIsNone(self.provider.identity_issuer)
        self.assertEqual(self.made(issuer=self.iss).identity_issuer, self.iss)
        other = self.made(kind="oidc", issuer=self.provider.issuer)
        self.assertEqual(other.identity_issuer, self.provider.issuer)

    def test_refresh_stays_in_the_tenant(self) -> None:
        """The same subject of another tenant is another person."""
        identity = self.signed_in().identity
        self.idp.nonce = None
        self.successResultOf(self.renew(identity))
        other = self.TENANT.replace("9", "8")
        self.idp.claims |= {"iss": self.iss.replace(self.TENANT, other), "tid": other}
        failed = self.failure(self.renew(identity), LoginFailed)
        self.assertEqual(failed.check, "id-token-subject")
