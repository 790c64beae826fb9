"""
An identity provider in memory: honest, unless a test tells it where to lie or to fail.

It checks what a certified one checks (client, code once, redirect URI, PKCE, each refresh
token once), so that a sign-in that it lets through is a proper one.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote_plus, urlencode, urlsplit

import attrs
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from jwt.algorithms import RSAAlgorithm
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from twisted.web.resource import Resource
from zope.interface import implementer

from tests.support.settings import ISSUER

CLIENT = ("pomerium", "provider secret")
"""As tests/support/settings.py has them."""

PERSON: Mapping[str, Any] = {
    "sub": "alice",
    "email": "alice@example.com",
    "email_verified": True,
    "name": "Alice",
    "groups": ["staff"],
}

Answer = Callable[[Any], Any]


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    """Return the provider's key, made once."""
    return rsa.generate_private_key(65_537, 2_048)


@cache
def other_key() -> rsa.RSAPrivateKey:
    """Return a key that the provider never published."""
    return rsa.generate_private_key(65_537, 2_048)


def b64(octets: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


def rs256(octets: bytes, key: rsa.RSAPrivateKey | None = None) -> bytes:
    """Return an RS256 signature, the provider's unless another key is named."""
    return (key or rsa_key()).sign(octets, PKCS1v15(), SHA256())


def raw(claims: bytes, **header: Any) -> str:
    """
    Return a token with these very octets for claims, properly signed.

    A library would refuse to write many of those that a liar writes.
    """
    head = {"alg": "RS256", "kid": "k1", **header}
    covered = f"{b64(json.dumps(head).encode())}.{b64(claims)}"
    return f"{covered}.{b64(rs256(covered.encode()))}"


def challenge_of(verifier: str) -> str:
    """Return the S256 challenge (RFC 7636 section 4.2)."""
    return b64(hashlib.sha256(verifier.encode("ascii")).digest())


@attrs.frozen
class Asked:
    """One request that came: where to, and the form in it."""

    path: str
    form: dict[str, str]


@implementer(IAgent)
class IdentityProvider(Resource):
    """
    A whole OpenID provider; every public attribute is a place where it can lie.

    It is also the agent that reaches it, whatever host is asked for.
    """

    isLeaf = True

    def __init__(self, issuer: str = ISSUER) -> None:
        super().__init__()
        self.now: Callable[[], float] = lambda: 0.0
        """Seconds since the epoch: the daemon's own clock, unless a test sets it wrong."""
        self.issuer = issuer
        self.person: dict[str, Any] = dict(PERSON)
        """Who is at the browser."""
        self.client_secret = CLIENT[1]
        self.once = True
        """Whether a code is good once only, as it should be."""
        self.active = True
        """Whether the account may still be used."""
        self.metadata: dict[str, Any] = {}
        """Over the honest ones; None takes a member out."""
        self.claims: dict[str, Any] = {}
        """Over those of each ID token; None takes one out."""
        self.tokens: dict[str, Any] = {}
        """Over the members of each token answer; None takes one out."""
        self.userinfo: dict[str, Any] | None = None
        """What userinfo says; None for the truth."""
        self.sign: Callable[[dict[str, Any]], str] = self.signed
        self.kid = "k1"
        self.answers: dict[str, Answer] = {}
        """Paths that are answered as a test tells."""
        self.down = False
        """Whether nobody listens there."""
        self.urls: list[str] = []
        """Every URL that the daemon asked for, or tried to."""
        self.asked: list[Asked] = []
        self.issued: list[str] = []
        """Every code and token that was given out."""
        self.authorized: list[dict[str, str]] = []
        """The parameters of each authorization request."""
        self.thefts = 0
        """Refresh tokens that came a second time; that ends what they were given for."""
        self._codes: dict[str, dict[str, str]] = {}
        self._grants: dict[str, set[str]] = {}
        """By each refresh token ever: those of the same sign-in that are still good."""
        self._agent = RequestTraversalAgent(self)

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """Reach it, unless it is down."""
        self.urls.append(uri.decode("ascii"))
        if self.down:
            return fail(Refused())
        asked: Deferred[IResponse] = self._agent.request(method, uri, headers, bodyProducer)
        return asked

    def forget(self) -> None:
        """Be as at the start, but for codes: for who asks a million times, each for itself."""
        for kept in (self.urls, self.asked, self.issued, self._grants):
            kept.clear()
        # The old one keeps every connection that it ever made.
        self._agent = RequestTraversalAgent(self)

    @property
    def logins(self) -> int:
        """How often somebody came to sign in."""
        return len(self.authorized)

    def flush(self) -> None:
        """Let answers that were given late arrive."""
        self._agent.flush()

    def visit(self, url: str) -> str:
        """Do what one of its pages does for the person, and return where that leads."""
        assert not self.down, "nobody answers at the provider"
        parts = urlsplit(url)
        given = {name: value[0] for name, value in parse_qs(parts.query).items()}
        if parts.path == "/bye":
            return f"{given['post_logout_redirect_uri']}?{urlencode({'state': given['state']})}"
        self.authorized.append(given)
        assert given["client_id"] == CLIENT[0], given
        back = {"state": given["state"], "iss": self.issuer}
        if self.active:
            back["code"] = self._new("c0de")
            self._codes[back["code"]] = given
        else:
            back["error"] = "access_denied"
        return f"{given['redirect_uri']}?{urlencode(back)}"

    def render(self, request: Any) -> Any:
        """Answer by path, or as the test told."""
        request.notifyFinish().addErrback(lambda _: None)
        path = request.path.decode("ascii")
        form = dict(parse_qsl(request.content.read().decode("ascii"), keep_blank_values=True))
        self.asked.append(Asked(path, form))
        request.setHeader("content-type", "application/json")
        if path in self.answers:
            return self.answers[path](request)
        documents: dict[str, Callable[[], dict[str, Any]]] = {
            "/.well-known/openid-configuration": self.discovery,
            "/jwks": self.jwks,
            "/token": lambda: self.token(request, form),
            "/userinfo": lambda: self.person if self.userinfo is None else self.userinfo,
            "/revoke": lambda: self.revoke(form),
        }
        if path not in documents:
            request.setResponseCode(404)
            return b"{}"
        return json.dumps(documents[path]()).encode()

    def forms(self, path: str) -> list[dict[str, str]]:
        """Return the forms that came to one path."""
        return [each.form for each in self.asked if each.path == path]

    def discovery(self) -> dict[str, Any]:
        """Return the metadata."""
        return _without_none(
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/jwks",
                "userinfo_endpoint": f"{self.issuer}/userinfo",
                "revocation_endpoint": f"{self.issuer}/revoke",
                "end_session_endpoint": f"{self.issuer}/bye",
                "authorization_response_iss_parameter_supported": True,
                **self.metadata,
            }
        )

    def jwks(self) -> dict[str, Any]:
        """Return the public key."""
        return {
            "keys": [{**RSAAlgorithm.to_jwk(rsa_key().public_key(), as_dict=True), "kid": self.kid}]
        }

    def token(self, request: Any, form: dict[str, str]) -> dict[str, Any]:
        """Return new tokens for a code or a refresh token, or say why not."""
        if form["grant_type"] == "authorization_code":
            asked = (self._codes.pop if self.once else self._codes.get)(form["code"], None)
            good = (
                asked is not None
                and asked["redirect_uri"] == form["redirect_uri"]
                and asked["code_challenge_method"] == "S256"
                and asked["code_challenge"] == challenge_of(form["code_verifier"])
            )
            nonce = asked["nonce"] if asked is not None else None
            grant: set[str] = set()
        else:
            grant = self._grants.get(form["refresh_token"], set())
            good, nonce = form["refresh_token"] in grant, None
            self.thefts += bool(grant) and not good
            grant.clear()
        if not (good and self.active and self._is_client(request)):
            request.setResponseCode(400)
            return {"error": "invalid_grant"}
        return self.granted(self.person, nonce, grant)

    def granted(
        self, person: dict[str, Any], nonce: str | None, grant: set[str] | None = None
    ) -> dict[str, Any]:
        """Return a token answer."""
        second = int(self.now())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT[0],
            "iat": second,
            "exp": second + 300,
            "nonce": nonce,
            **person,
            **self.claims,
        }
        refresh_token = self._new("refresh-t0ken")
        self._grants[refresh_token] = set() if grant is None else grant
        self._grants[refresh_token].add(refresh_token)
        answer = {
            "access_token": self._new("access-t0ken"),
            "token_type": "Bearer",
            "refresh_token": refresh_token,
            "id_token": self.sign(_without_none(claims)),
            **self.tokens,
        }
        self.issued.append(str(answer["id_token"]))
        return _without_none(answer)

    def signed(self, claims: dict[str, Any]) -> str:
        """Return an ID token as it should be."""
        return raw(json.dumps(claims).encode(), kid=self.kid)

    def revoke(self, form: dict[str, str]) -> dict[str, Any]:
        """Forget a refresh token."""
        self._grants.get(form["token"], set()).discard(form["token"])
        return {}

    def _is_client(self, request: Any) -> bool:
        # Both are form-encoded before they are joined (RFC 6749 section 2.3.1).
        sent = unquote_plus(request.getPassword().decode("ascii"))
        return bool((request.getUser(), sent) == (CLIENT[0].encode(), self.client_secret))

    def _new(self, what: str) -> str:
        self.issued.append(f"{what}-{len(self.issued):06d}")
        return self.issued[-1]


def _without_none(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def status(code: int, body: bytes = b"{}", **fields: str) -> Answer:
    """Return an answer of that status."""

    def answer(request: Any) -> bytes:
        request.setResponseCode(code)
        for name, value in fields.items():
            request.setHeader(name.replace("_", "-"), value)
        return body

    return answer
