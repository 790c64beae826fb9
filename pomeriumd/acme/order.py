"""
One order, as txacme's ``AcmeIssuingService`` drives it.

The service knows one name, one authorization and version 1 of the protocol; what it calls is
mapped here onto an order of version 2 with all its names. To the service all authorizations
together are one: answered when all are, valid when all are.

Source: RFC 8555 sections 7.4 and 7.5.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import attrs
from acme import messages
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from josepy import json_util
from josepy.jwk import JWKEC
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from pomeriumd.acme.problems import REFUSED, UNREACHABLE, AcmeError
from pomeriumd.acme.wire import Reply, Wire, problem_text

SHORTEST_POLL, LONGEST_POLL = 0.5, 30.0
"""Seconds between two questions about the same thing; within them as the authority says."""

USUAL_POLL = 1.0
"""Where it does not say."""

LOOK_SECONDS = 240.0
"""For the authority to look at all names; txacme would give it up in silence after 300."""

MOST_POLLS = 120
"""Of an order that is being signed: two minutes at the least."""

_UNDER_WAY = ("pending", "processing")


@attrs.frozen
class Answer:
    """What the authority will look for, to see that a name is ours."""

    name: str
    """That is ordered, a wildcard as ``*.example.com``."""
    host: str
    """That it looks at: without the ``*.``."""
    token: str
    key_authorization: str


@attrs.define(eq=False)
class _Authorization:
    """One of the order's."""

    url: str
    document: dict[str, Any]
    type: str

    @property
    def host(self) -> str:
        """Return which host is looked at."""
        found = self.document.get("identifier")
        return str(found.get("value", "")) if isinstance(found, dict) else ""

    @property
    def name(self) -> str:
        """Return what is ordered."""
        return f"*.{self.host}" if self.document.get("wildcard") else self.host

    @property
    def status(self) -> str:
        """Return how far it is."""
        return str(self.document.get("status", ""))

    @property
    def challenges(self) -> list[dict[str, Any]]:
        """Return in which ways it may be proved."""
        found = self.document.get("challenges")
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    @property
    def challenge(self) -> dict[str, Any]:
        """
        Return ours.

        Raises:
            AcmeError: the authority has none of the kind.
        """
        for found in self.challenges:
            if found.get("type") == self.type:
                return found
        offered = ", ".join(sorted(str(found.get("type")) for found in self.challenges))
        raise AcmeError(
            f"the authority offers no {self.type} for {self.name}, but "
            f"{offered[:80] or 'nothing'}; see autocert_challenge",
            REFUSED,
            names=frozenset({self.name}),
        )

    @property
    def fault(self) -> str:
        """Return why it is not valid."""
        errors = [found["error"] for found in self.challenges if "error" in found]
        return problem_text(errors[0]) if errors else f"it is {self.status[:20]}"


@attrs.frozen
class _All:
    """All authorizations as the one that the service knows: as its resource and its body."""

    identifier: messages.Identifier
    status: messages.Status
    challenge: _AllChallenges
    challenges: Sequence[Any] = ()

    @property
    def body(self) -> _All:
        """Return itself."""
        return self

    @property
    def resolved_combinations(self) -> list[list[_AllChallenges]]:
        """Return the one way there is."""
        return [[self.challenge]]


@attrs.frozen
class _AllChallenges:
    """The challenges of all authorizations as one."""

    typ: str
    chall: tuple[Answer, ...]

    def response(self, _: JWKEC) -> None:
        """Return nothing: the answers hold it already."""


@attrs.define(eq=False, kw_only=True)
class Order:
    """
    What ``AcmeIssuingService`` calls a client, for one certificate.

    Args:
        wire: to the authority; it knows its account.
        names: to be on the certificate, at least one.
        type: of the challenges that are answered.
        must_staple: to ask for a certificate that is good with a stapled response only.
        clock: for waiting.
    """

    _wire: Wire
    names: tuple[str, ...]
    _type: str
    _must_staple: bool
    _clock: IReactorTime
    _private: ec.EllipticCurvePrivateKey | None = attrs.field(default=None, init=False, repr=False)
    _order: dict[str, Any] = attrs.field(factory=dict, init=False)
    _url: str = attrs.field(default="", init=False)
    _parts: list[_Authorization] = attrs.field(factory=list, init=False)
    _chain: list[messages.CertificateResource] = attrs.field(factory=list, init=False)
    _since: float = attrs.field(default=0.0, init=False)
    """When the authority was told to look, by the clock."""

    @property
    def key(self) -> JWKEC:
        """Return the account's."""
        return self._wire.key

    def new_key(self) -> ec.EllipticCurvePrivateKey:
        """Return the key of the certificate to come."""
        self._private = ec.generate_private_key(ec.SECP256R1())
        return self._private

    def register(self, registration: object) -> Deferred[object]:
        """Do nothing: the wire knows its account."""
        return succeed(registration)

    def agree_to_tos(self, registration: object) -> object:
        """Do nothing: that was done when the account was made."""
        return registration

    def request_challenges(self, identifier: messages.Identifier) -> Deferred[_All]:
        """Order, and return what is to be proved."""
        return Deferred.fromCoroutine(self._ordered(identifier))

    async def _ordered(self, identifier: messages.Identifier) -> _All:
        wanted = [{"type": "dns", "value": name} for name in self.names]
        directory = await self._wire.directory()
        reply = await self._wire.post(directory["newOrder"], {"identifiers": wanted})
        self._order, self._url = reply.document(), reply.location()
        urls = self._order.get("authorizations")
        if not isinstance(urls, list) or len(urls) > len(self.names):
            raise AcmeError("the authority's order has no authorizations", UNREACHABLE)
        for url in urls:
            found = (await self._wire.post(str(url), None)).document()
            self._parts.append(_Authorization(str(url), found, self._type))
        return self._all(identifier)

    def _all(self, identifier: messages.Identifier) -> _All:
        """Return all of them as one; raise AcmeError with the names that came to nothing."""
        statuses = {part.status for part in self._parts}
        if not statuses.isdisjoint(_UNDER_WAY):
            status = messages.STATUS_PENDING
        else:
            status = messages.STATUS_VALID
            wrong = [part for part in self._parts if part.status != "valid"]
            if wrong:
                said = "; ".join(f"{part.name}: {part.fault}" for part in wrong[:5])
                more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""  # noqa: PLR2004
                names = frozenset(part.name for part in wrong)
                raise AcmeError(
                    f"the authority does not see {self._type}: {said}{more}", names=names
                )
        answers = tuple(self._answer(part) for part in self._parts if part.status == "pending")
        return _All(identifier, status, _AllChallenges(self._type, answers))

    def _answer(self, part: _Authorization) -> Answer:
        token = str(part.challenge.get("token", ""))
        thumbprint = json_util.encode_b64jose(self.key.thumbprint())
        return Answer(part.name, part.host, token, f"{token}.{thumbprint}")

    def answer_challenge(self, challenge: _AllChallenges, _: object) -> Deferred[None]:
        """Have the authority look."""
        return Deferred.fromCoroutine(self._look())

    async def _look(self) -> None:
        self._since = self._clock.seconds()
        for part in self._parts:
            if part.status == "pending" and part.challenge.get("status") == "pending":
                await self._wire.post(str(part.challenge.get("url")), {})

    def poll(self, all_: _All) -> Deferred[tuple[_All, float]]:
        """Return how far they are, and when to ask again."""
        return Deferred.fromCoroutine(self._polled(all_))

    async def _polled(self, all_: _All) -> tuple[_All, float]:
        seconds = 0.0
        if self._clock.seconds() - self._since > LOOK_SECONDS:
            waiting = frozenset(part.name for part in self._parts if part.status in _UNDER_WAY)
            raise AcmeError("the authority did not look in time", UNREACHABLE, names=waiting)
        for part in self._parts:
            if part.status in _UNDER_WAY:
                reply = await self._wire.post(part.url, None)
                part.document = reply.document()
                seconds = max(seconds, _pause(reply))
        return self._all(all_.identifier), seconds or USUAL_POLL

    def request_issuance(self, _: object) -> Deferred[messages.CertificateResource]:
        """Have it signed; the request that the service made has one name only."""
        return Deferred.fromCoroutine(self._issued())

    async def _issued(self) -> messages.CertificateResource:
        der = self._request().public_bytes(Encoding.DER)
        csr = base64.urlsafe_b64encode(der).rstrip(b"=").decode("ascii")
        reply = await self._wire.post(str(self._order.get("finalize")), {"csr": csr})
        done = reply.document()
        for _ in range(MOST_POLLS):
            if done.get("status") not in (*_UNDER_WAY, "ready"):
                break
            await deferLater(self._clock, _pause(reply), lambda: None)
            reply = await self._wire.post(self._url, None)
            done = reply.document()
        if done.get("status") != "valid":
            said = problem_text(done["error"]) if "error" in done else str(done.get("status"))[:20]
            raise AcmeError(f"the authority does not issue what was proved: {said}")
        pem = (await self._wire.post(str(done.get("certificate")), None)).body
        return self._taken(pem)

    def _taken(self, pem: bytes) -> messages.CertificateResource:
        """Return the certificate, once it is what was ordered; raise AcmeError."""
        try:
            chain = x509.load_pem_x509_certificates(pem)
            names = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName)
            covered = set(names.value.get_values_for_type(x509.DNSName))
        except (ValueError, x509.ExtensionNotFound):
            raise AcmeError("the authority's answer is no certificate", UNREACHABLE) from None
        private = self._private
        if private is None or chain[0].public_key() != private.public_key():
            raise AcmeError("the authority's certificate is for another key", UNREACHABLE)
        if not covered >= set(self.names):
            raise AcmeError("the authority's certificate is for other names", UNREACHABLE)
        self._chain = [
            messages.CertificateResource(body=one.public_bytes(Encoding.DER)) for one in chain
        ]
        return self._chain[0]

    def fetch_chain(self, _: object) -> Sequence[messages.CertificateResource]:
        """Return what came with it."""
        return self._chain[1:]

    def _request(self) -> x509.CertificateSigningRequest:
        assert self._private is not None  # noqa: S101  # the service makes it first of all
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        request = request.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in self.names]),
            critical=False,
        )
        if self._must_staple:
            # RFC 7633.
            feature = x509.TLSFeature([x509.TLSFeatureType.status_request])
            request = request.add_extension(feature, critical=False)
        return request.sign(self._private, hashes.SHA256())


def _pause(reply: Reply) -> float:
    return min(max(reply.retry_after or USUAL_POLL, SHORTEST_POLL), LONGEST_POLL)
