"""An ACME authority in memory that can be told where to be slow, strict, limited or broken."""

from __future__ import annotations

import base64
import json
from itertools import count
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_der_x509_csr
from treq.testing import RequestTraversalAgent
from twisted.web.resource import Resource
from twisted.web.server import Request

from tests.support.certificates import BEGIN, Issued, days, issue

BASE = "http://ca.test"
URL = f"{BASE}/directory"

Answered = tuple[int, Any, dict[str, str]]


class Authority(Resource):
    """It issues whatever is ordered once it has looked twice."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.root: Issued = issue(authority=True, title="an ACME root")
        self.meta: dict[str, Any] = {}
        self.refuse: dict[str, list[Answered]] = {}
        """Answers in place of the usual ones, by path."""
        self.invalid: dict[str, str] = {}
        """What is found wrong with a name when it is looked at."""
        self.types = ["http-01", "tls-alpn-01", "dns-01"]
        self.accounts: set[str] = set()
        self.calls: list[tuple[str, Any, dict[str, Any]]] = []
        """Path, payload and protected header of each."""
        self.issued: list[x509.Certificate] = []
        self._orders: dict[str, list[str]] = {}
        self._looked: dict[str, int] = {}
        self._chains: dict[str, bytes] = {}
        self._nonces: set[str] = set()
        self._numbers = count(1)

    @property
    def agent(self) -> RequestTraversalAgent:
        """Return what reaches it."""
        return RequestTraversalAgent(self)

    @property
    def paths(self) -> list[str]:
        """Return what was asked for."""
        return [path for path, _, _ in self.calls]

    def problem(self, status: int, kind: str, detail: str = "no", **more: Any) -> Answered:
        """Return a refusal."""
        headers = {"Retry-After": more.pop("retry_after")} if "retry_after" in more else {}
        document = {"type": f"urn:ietf:params:acme:error:{kind}", "detail": detail, **more}
        return status, document, headers

    def render(self, request: Request) -> bytes:
        """Answer."""
        assert request.path is not None
        path = request.path.decode()
        status, answer, headers = self._answer(path, request)
        nonce = base64.urlsafe_b64encode(f"nonce {next(self._numbers):9}".encode()).decode()
        self._nonces.add(nonce.rstrip("="))
        request.setHeader("replay-nonce", nonce.rstrip("="))
        for name, value in headers.items():
            request.setHeader(name.lower(), value)
        request.setResponseCode(status)
        octets = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        return octets if request.method != b"HEAD" else b""

    def _answer(self, path: str, request: Request) -> Answered:
        payload, protected = None, {}
        if request.method == b"POST":
            assert request.content is not None
            signed = json.loads(request.content.read())
            protected = json.loads(_decoded(signed["protected"]))
            payload = json.loads(_decoded(signed["payload"]) or b"null")
        self.calls.append((path, payload, protected))
        if self.refuse.get(path):
            return self.refuse[path].pop(0)
        if request.method == b"POST":
            if protected["nonce"] not in self._nonces:
                return self.problem(400, "badNonce")
            self._nonces.discard(protected["nonce"])
            if "kid" in protected and protected["kid"] not in self.accounts:
                return self.problem(400, "accountDoesNotExist")
        kind, _, rest = path[1:].partition("/")
        found: Answered = getattr(self, f"_{kind}")(rest, payload, protected)
        return found

    def _directory(self, *_: Any) -> Answered:
        names = {"newNonce": "nonce", "newAccount": "account", "newOrder": "new"}
        return 200, {**{n: f"{BASE}/{p}" for n, p in names.items()}, "meta": self.meta}, {}

    def _nonce(self, *_: Any) -> Answered:
        return 200, b"", {}

    def _account(self, rest: str, payload: Any, protected: dict[str, Any]) -> Answered:
        if rest:
            return 200, {"status": "valid"}, {}
        assert payload["termsOfServiceAgreed"] is True
        url = f"{BASE}/account/{protected['jwk']['x'][:8]}"
        self.accounts.add(url)
        return 201, {"status": "valid"}, {"Location": url}

    def _new(self, _: str, payload: Any, __: dict[str, Any]) -> Answered:
        number = str(next(self._numbers))
        self._orders[number] = [one["value"] for one in payload["identifiers"]]
        return 201, self._document(number), {"Location": f"{BASE}/order/{number}"}

    def _document(self, number: str) -> dict[str, Any]:
        names = self._orders[number]
        document: dict[str, Any] = {
            "status": "valid" if number in self._chains else "pending",
            "authorizations": [f"{BASE}/authorization/{number}/{name}" for name in names],
            "finalize": f"{BASE}/finalize/{number}",
        }
        if number in self._chains:
            document["certificate"] = f"{BASE}/certificate/{number}"
        return document

    def _order(self, number: str, *_: Any) -> Answered:
        return 200, self._document(number), {}

    def _authorization(self, rest: str, *_: Any) -> Answered:
        name = rest.partition("/")[2]
        looked = self._looked.get(rest, 0)
        status = "pending"
        if looked:
            self._looked[rest] = looked + 1
            status = "pending" if looked < 2 else "invalid" if name in self.invalid else "valid"
        challenges = [
            {
                "type": type_,
                "url": f"{BASE}/challenge/{rest}",
                "token": "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA",
                "status": status,
                **(
                    {"error": {"type": "urn:x:dns", "detail": self.invalid[name]}}
                    if status == "invalid"
                    else {}
                ),
            }
            for type_ in self.types
        ]
        host = name.removeprefix("*.")
        identifier = {"type": "dns", "value": host}
        more = {"wildcard": True} if host != name else {}
        document = {"status": status, "identifier": identifier, "challenges": challenges, **more}
        return 200, document, {}

    def _challenge(self, rest: str, *_: Any) -> Answered:
        self._looked.setdefault(rest, 1)
        return 200, {"status": "pending"}, {}

    def _finalize(self, number: str, payload: Any, _: dict[str, Any]) -> Answered:
        request = load_der_x509_csr(_decoded(payload["csr"]))
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == self._orders[number]
        key = request.public_key()
        assert isinstance(key, EllipticCurvePublicKey)
        made = issue_for(key, self._orders[number], self.root)
        self.issued.append(made)
        pem = made.public_bytes(Encoding.PEM) + self.root.pem
        self._chains[number] = pem
        return 200, {"status": "processing"}, {}

    def _certificate(self, number: str, *_: Any) -> Answered:
        return 200, self._chains[number], {}


def issue_for(key: EllipticCurvePublicKey, names: list[str], by: Issued) -> x509.Certificate:
    """Return a certificate for a public key."""
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(by.certificate.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(BEGIN)
        .not_valid_after(BEGIN + days(3650))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False
        )
        .sign(by.key, hashes.SHA256())
    )


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
