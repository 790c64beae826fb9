"""
The proxy's public keys, fetched when they are needed and kept for a while.

The address is configured, never taken from an assertion. It may be asked at another
address than its name says (``connect``): the resolver of a plain Debian does not know
``*.localhost``, and inside a network the public name may lead elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import (
    Certificate,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, ResponseDone, ResponseNeverReceived
from twisted.web.http import OK, PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IResponse
from zope.interface import implementer

from pomeriumd.cli.verify.assertion import Keys, NoKeys, read_keys
from pomeriumd.oidc.document import read_object

FRESH = 300.0
"""Seconds for which a key set is used without asking again."""

AGAIN = 5.0
"""Seconds between two questions: an unknown key id, which anybody can send, asks no faster."""

PATIENCE = 5.0
"""Seconds that one question may take."""

SIZE = 65_536
"""Bytes of a key set at most."""


@attrs.frozen
class Where:
    """Where the key set is, and how to get there."""

    url: str
    connect: tuple[str, int] | None = None
    """Host and port to connect to instead of the URL's; name and SNI stay the URL's."""
    ca: bytes | None = None
    """PEM certificates to trust instead of the system's."""


@implementer(IAgentEndpointFactory)
class Endpoints:
    """Connects where the configuration says, as whom the URL says."""

    def __init__(self, reactor: Any, where: Where) -> None:
        self._reactor = reactor
        self._connect = where.connect
        # Read at once: a file that holds no certificate is a mistake of who starts us.
        self._trust = (
            platformTrust()
            if where.ca is None
            else trustRootFromCertificates(
                [
                    Certificate.loadPEM(one.public_bytes(Encoding.PEM))
                    for one in x509.load_pem_x509_certificates(where.ca)
                ]
            )
        )

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """Return the endpoint for one request."""
        name = uri.host.decode("ascii")
        host, port = self._connect or (name, uri.port)
        plain = HostnameEndpoint(self._reactor, host, port, timeout=PATIENCE)
        if uri.scheme == b"http":
            return plain
        options = optionsForClientTLS(
            name, trustRoot=self._trust, acceptableProtocols=[b"http/1.1"]
        )
        return wrapClientTLS(options, plain, clock=self._reactor)


def agent_for(reactor: Any, where: Where) -> IAgent:
    """Return an agent that gets to the key set, and keeps no connection."""
    agent: IAgent = Agent.usingEndpointFactory(reactor, Endpoints(reactor, where))
    return agent


class Gathered(Protocol):
    """The body of a response, whole, as long as it is small."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self.whole: Deferred[bytes] = Deferred(lambda _: self._stop())

    def dataReceived(self, octets: bytes) -> None:
        """Keep a piece, or give up."""
        self._size += len(octets)
        if self._size <= SIZE:
            self._pieces.append(octets)
        else:
            self._stop()

    def _stop(self) -> None:
        self._pieces.clear()
        if self.transport is not None:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Give what came, if that was all."""
        if self.whole.called:
            return
        if self._size > SIZE:
            self.whole.errback(NoKeys(f"the key set is larger than {SIZE} bytes"))
        elif reason.check(ResponseDone, PotentialDataLoss):
            self.whole.callback(b"".join(self._pieces))
        else:
            self.whole.errback(NoKeys("the answer with the key set broke off"))


@attrs.define(eq=False)
class KeySource:
    """
    Gives the key set, fetching it when it is old or does not have the key asked for.

    Args:
        url: of the key set.
        agent: gets there.
        clock: for the patience.
        now: seconds since the epoch.
    """

    _url: str
    _agent: IAgent
    _clock: IReactorTime
    _now: Callable[[], float]
    _keys: Keys = attrs.Factory(dict)
    _fetched: float = float("-inf")
    _asked: float = float("-inf")
    _last: str = ""
    _one: DeferredLock = attrs.Factory(DeferredLock)

    async def having(self, kid: str) -> Keys:
        """
        Return the keys, with the one of this id among them if the proxy publishes it.

        Raises:
            NoKeys: there are none to be had.
        """
        if not self._good_for(kid):
            await self._one.acquire()
            try:
                await self._renew(kid)
            finally:
                self._one.release()
        if not self._keys:
            raise NoKeys(self._last)
        return self._keys

    def _good_for(self, kid: str) -> bool:
        return kid in self._keys and self._now() < self._fetched + FRESH

    async def _renew(self, kid: str) -> None:
        # Another request may have fetched it while this one waited.
        now = self._now()
        if self._good_for(kid) or now < self._asked + AGAIN:
            return
        self._asked = now
        try:
            fetch = Deferred.fromCoroutine(self._fetch())
            self._keys = await fetch.addTimeout(PATIENCE, self._clock, _late)
            self._fetched = now
        except NoKeys as error:
            # A set that is too old does not become good by being the only one.
            if now >= self._fetched + FRESH:
                self._keys = {}
            self._last = str(error)

    async def _fetch(self) -> Keys:
        try:
            response: IResponse = await self._agent.request(
                b"GET", self._url.encode("ascii"), Headers({"accept": ["application/json"]})
            )
        except ResponseNeverReceived as error:
            why = error.reasons[0].getErrorMessage() if error.reasons else "no answer"
            raise NoKeys(f"no answer from {self._url}: {why[:200]}") from error
        except ConnectError as error:
            raise NoKeys(f"no connection to {self._url}: {error}") from error
        if response.code != OK:
            raise NoKeys(f"{self._url} answered {response.code}, want 200")
        body = Gathered()
        response.deliverBody(body)
        octets = await body.whole
        try:
            return read_keys(read_object(octets))
        except ValueError as error:
            raise NoKeys(f"the key set cannot be read: {error}") from error


def _late(_: object, seconds: float) -> Failure:
    return Failure(NoKeys(f"no key set within {seconds:g} s"))
