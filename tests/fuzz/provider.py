"""
A provider in memory that keeps the rules.

A code is good for the sign-in that it was given for, once its verifier is shown, and for
nothing else. Source: RFC 7636.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import attrs
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocol
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from pomeriumd.crypto import base64url
from tests.support.rig import NOW
from tests.support.settings import ISSUER

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@implementer(IResponse)
@attrs.define(eq=False)
class Answered:
    """An answer, whole at once."""

    code: int
    body: bytes
    version: tuple[bytes, int, int] = (b"HTTP", 1, 1)
    phrase: bytes = b""
    headers: Headers = attrs.Factory(Headers)
    request: Any = None
    previousResponse: Any = None

    @property
    def length(self) -> int:
        """Return the size of the body."""
        return len(self.body)

    def deliverBody(self, protocol: IProtocol) -> None:
        """Give the body."""
        protocol.makeConnection(StringTransport())
        protocol.dataReceived(self.body)
        protocol.connectionLost(Failure(ResponseDone()))

    def setPreviousResponse(self, previousResponse: IResponse) -> None:
        """Keep what there was before."""
        self.previousResponse = previousResponse


@attrs.frozen
class Given:
    """What the provider keeps of a sign-in for which it gave a code."""

    challenge: str
    nonce: str


@implementer(IAgent)
@attrs.define(eq=False)
class MemoryProvider:
    """The provider, and the way to it."""

    codes: dict[str, Given] = attrs.Factory(dict)
    claims: dict[str, Any] = attrs.Factory(dict)
    """Go over those of every ID token."""
    status: int = 200
    """Of the token endpoint."""

    def signs_in(self, url: str) -> str:
        """Take a browser at the authorization endpoint, and return the code for it."""
        asked = dict(parse_qsl(urlsplit(url).query))
        code = f"code-{len(self.codes)}"
        self.codes[code] = Given(asked["code_challenge"], asked["nonce"])
        return code

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """Answer by path."""
        path = urlsplit(uri).path
        if path == b"/.well-known/openid-configuration":
            return _json(200, _METADATA)
        if path == b"/jwks":
            jwk = OKPAlgorithm.to_jwk(KEY.public_key(), as_dict=True)
            return _json(200, {"keys": [{**jwk, "kid": "k1"}]})
        if path == b"/revoke":
            return _json(200, {})
        assert path == b"/token", uri
        written = StringTransport()
        assert bodyProducer is not None
        bodyProducer.startProducing(written)
        return self._token(dict(parse_qsl(written.value().decode("ascii"))))

    def _token(self, form: dict[str, str]) -> Deferred[IResponse]:
        """Exchange a code, or renew."""
        given = self.codes.get(form.get("code", ""))
        shown = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if self.status != 200:
            return _json(self.status, {"error": "server_error"})
        if given is None or base64url.encode(shown) != given.challenge:
            return _json(400, {"error": "invalid_grant"})
        claims = {
            "iss": ISSUER,
            "aud": "pomerium",
            "sub": "alice",
            "iat": NOW,
            "exp": NOW + 300,
            "nonce": given.nonce,
            "email": "alice@example.com",
            "email_verified": True,
            "groups": ["staff"],
            **self.claims,
        }
        parts = ({"alg": "EdDSA", "kid": "k1"}, claims)
        covered = ".".join(base64url.encode(json.dumps(part).encode()) for part in parts)
        token = f"{covered}.{base64url.encode(KEY.sign(covered.encode()))}"
        answer = {"access_token": "a1", "token_type": "Bearer", "refresh_token": "r1"}
        return _json(200, {**answer, "id_token": token})


def _json(status: int, document: dict[str, Any]) -> Deferred[IResponse]:
    """Return an answer with this document."""
    answer: IResponse = Answered(status, json.dumps(document).encode())
    return succeed(answer)


_METADATA: dict[str, Any] = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize",
    "token_endpoint": f"{ISSUER}/token",
    "jwks_uri": f"{ISSUER}/jwks",
    "revocation_endpoint": f"{ISSUER}/revoke",
    "end_session_endpoint": f"{ISSUER}/bye",
    "authorization_response_iss_parameter_supported": False,
}
