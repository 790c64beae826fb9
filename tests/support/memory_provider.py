"""A strict provider in memory, which can be down, hang, or be broken in one place."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import attrs
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.web.iweb import IAgent, IResponse
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from tests.support.settings import ISSUER

KEY = ec.generate_private_key(ec.SECP256R1())
TOKEN_SECONDS = 300


@attrs.define
class Granted:
    """What stands behind a code and the refresh tokens that come of it."""

    who: str
    nonce: str
    challenge: str
    alive: bool = True


class _Answers(Resource):
    isLeaf = True

    def __init__(self, provider: MemoryProvider) -> None:
        super().__init__()
        self._provider = provider

    def render(self, request: Request) -> Any:
        """Answer by path."""
        request.notifyFinish().addErrback(lambda _: None)
        path = request.path.decode("ascii")
        assert request.content is not None
        body = dict(parse_qsl(request.content.read().decode("ascii")))
        self._provider.asked.append((path, body.get("grant_type", "")))
        if path in self._provider.hanging:
            return NOT_DONE_YET
        status, document = self._provider.answer(path, body)
        request.setResponseCode(status)
        request.setHeader("content-type", "application/json")
        return json.dumps(document).encode()


@implementer(IAgent)
class MemoryProvider:
    """
    The provider, and the agent that reaches it.

    A refresh token is good once; a second use of one ends the grant, as theft.

    Args:
        now: its own clock, seconds since the epoch.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.down = False
        self.hanging: set[str] = set()
        """Paths that are never answered."""
        self.broken: set[str] = set()
        """Paths that answer 500."""
        self.asked: list[tuple[str, str]] = []
        """Paths, with the kind of the grant."""
        self.logins = 0
        self.thefts = 0
        self.groups = ["staff"]
        self._codes: dict[str, Granted] = {}
        self._tokens: dict[str, Granted] = {}
        self._used: dict[str, Granted] = {}
        self._count = itertools.count()
        self._agent = RequestTraversalAgent(_Answers(self))

    def request(self, *asked: Any, **more: Any) -> Deferred[IResponse]:
        """Reach it, unless it is down."""
        if self.down:
            self.asked.append(("", ""))
            return fail(Refused())
        answered: Deferred[IResponse] = self._agent.request(*asked, **more)
        return answered

    def sign_in(self, url: str, who: str = "alice") -> str:
        """Do what the person and the login page do; return where the browser goes then."""
        sent = {name: value[0] for name, value in parse_qs(urlsplit(url).query).items()}
        assert not self.down, "nobody answers at the provider"
        assert sent["code_challenge_method"] == "S256"
        self.logins += 1
        code = f"code-{next(self._count)}"
        self._codes[code] = Granted(who, sent["nonce"], sent["code_challenge"])
        back = {"code": code, "state": sent["state"], "iss": ISSUER}
        return f"{sent['redirect_uri']}?{urlencode(back)}"

    def answer(self, path: str, body: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """Return status and document."""
        if path in self.broken:
            return 500, {}
        if path == "/.well-known/openid-configuration":
            return 200, self._metadata()
        if path == "/jwks":
            return 200, {
                "keys": [{**ECAlgorithm.to_jwk(KEY.public_key(), as_dict=True), "kid": "k"}]
            }
        if path == "/token":
            return self._token(body)
        assert path == "/revoke"
        return 200, {}

    def _metadata(self) -> dict[str, Any]:
        names = ("authorization", "token", "revocation")
        paths = ("authorize", "token", "revoke")
        return {
            "issuer": ISSUER,
            "jwks_uri": f"{ISSUER}/jwks",
            "authorization_response_iss_parameter_supported": True,
            **{f"{n}_endpoint": f"{ISSUER}/{p}" for n, p in zip(names, paths, strict=True)},
        }

    def _token(self, body: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if body["grant_type"] == "authorization_code":
            grant = self._codes.pop(body["code"], None)
            digest = hashlib.sha256(body["code_verifier"].encode()).digest()
            verifier = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            if grant is None or verifier != grant.challenge:
                return 400, {"error": "invalid_grant"}
        else:
            given = body["refresh_token"]
            if given in self._used:
                self.thefts += 1
                self._used[given].alive = False
            grant = self._tokens.pop(given, None)
            if grant is None or not grant.alive:
                return 400, {"error": "invalid_grant"}
            self._used[given] = grant
        return 200, self._given(grant, first=body["grant_type"] == "authorization_code")

    def _given(self, grant: Granted, *, first: bool) -> dict[str, Any]:
        token, second = f"refresh-{next(self._count)}", int(self.now())
        self._tokens[token] = grant
        claims = {
            "iss": ISSUER,
            "sub": grant.who,
            "aud": "pomerium",
            "iat": second,
            "exp": second + TOKEN_SECONDS,
            "email": f"{grant.who}@example.com",
            "email_verified": True,
            "groups": self.groups,
            **({"nonce": grant.nonce} if first else {}),
        }
        return {
            "access_token": "access",
            "token_type": "Bearer",
            "refresh_token": token,
            "id_token": jwt.encode(claims, KEY, "ES256", {"kid": "k"}),
        }
