"""The key set: fetched when needed, kept for a while, asked for no faster than it may."""

from __future__ import annotations

import json
from typing import Any

import attrs
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import URI, ResponseDone, ResponseNeverReceived
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer
from zope.interface import implementer
from zope.interface.verify import verifyObject

from pomeriumd.cli.verify.assertion import NoKeys
from pomeriumd.cli.verify.keys import (
    AGAIN,
    FRESH,
    PATIENCE,
    SIZE,
    Endpoints,
    Gathered,
    KeySource,
    Where,
    agent_for,
)

URL = "https://verify.example.com/.well-known/pomerium/jwks.json"
PUBLIC: dict[str, Any] = jwt.algorithms.ECAlgorithm.to_jwk(
    ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True
)


def key_set(*ids: str) -> bytes:
    """Return a key set document."""
    return json.dumps({"keys": [{**PUBLIC, "kid": kid} for kid in ids]}).encode()


@attrs.define
class Answered:
    """A response whose body is there at once."""

    body: bytes
    code: int = 200
    end: BaseException = attrs.Factory(ResponseDone)

    def deliverBody(self, protocol: IProtocol) -> None:
        """Deliver it."""
        protocol.makeConnection(StringTransport())
        protocol.dataReceived(self.body)
        protocol.connectionLost(Failure(self.end))


@implementer(IAgent)
@attrs.define
class Asked:
    """An agent that gives the next answer prepared, and notes the questions."""

    answers: list[Any]
    asked: list[bytes] = attrs.Factory(list)

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: object = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[Any]:
        """Answer, or fail, or leave it to the test."""
        self.asked.append(method + b" " + uri)
        answer = self.answers.pop(0)
        if isinstance(answer, Deferred):
            return answer
        if isinstance(answer, BaseException):
            return Deferred.fromCoroutine(_fail(answer))
        return succeed(answer)


async def _fail(error: BaseException) -> None:
    raise error


class KeySourceTests(SynchronousTestCase):
    """KeySource.having() gives the keys."""

    def source(self, *answers: Any) -> KeySource:
        """Return a source whose questions get these answers."""
        self.agent = Asked(list(answers))
        self.clock = Clock()
        self.clock.advance(1000)
        return KeySource(URL, self.agent, self.clock, self.clock.seconds)

    def having(self, source: KeySource, kid: str) -> list[str]:
        """Return the ids of the keys."""
        asking: Deferred[Any] = Deferred.fromCoroutine(source.having(kid))
        keys: dict[str, Any] = self.successResultOf(asking)
        return list(keys)

    def why_not(self, source: KeySource) -> str:
        """Return why there are none."""
        failure = self.failureResultOf(Deferred.fromCoroutine(source.having("a")), NoKeys)
        return str(failure.value)

    def test_asks_once(self) -> None:
        """A key that is known costs no question."""
        source = self.source(Answered(key_set("a", "b")))
        self.assertEqual(self.having(source, "a"), ["a", "b"])
        self.assertEqual(self.having(source, "b"), ["a", "b"])
        self.assertEqual(self.agent.asked, [b"GET " + URL.encode()])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_asks_again_when_old(self) -> None:
        """A key that was taken out of the set is not believed for long."""
        source = self.source(Answered(key_set("a")), Answered(key_set("b")))
        self.having(source, "a")
        self.clock.advance(FRESH)
        self.assertEqual(self.having(source, "a"), ["b"])

    def test_asks_for_an_unknown_key_but_not_often(self) -> None:
        """A new key is found at once; made-up ids do not make us ask all the time."""
        source = self.source(Answered(key_set("a")), Answered(key_set("a", "b")))
        self.having(source, "a")
        self.clock.advance(AGAIN)
        self.assertEqual(self.having(source, "b"), ["a", "b"])
        for number in range(100):
            self.having(source, f"made-up-{number}")
        self.assertEqual(len(self.agent.asked), 2)

    def test_one_question_for_all(self) -> None:
        """Requests that come while a question is out share its answer."""
        out: Deferred[Any] = Deferred()
        source = self.source(out)
        waiting: list[Deferred[Any]] = [
            Deferred.fromCoroutine(source.having("a")) for _ in range(3)
        ]
        out.callback(Answered(key_set("a")))
        for one in waiting:
            keys: dict[str, Any] = {**self.successResultOf(one)}
            self.assertEqual(list(keys), ["a"])
        self.assertEqual(len(self.agent.asked), 1)

    def test_a_proxy_that_is_down_does_no_harm_yet(self) -> None:
        """Keys that are fresh are used while a question fails; old ones are not."""
        source = self.source(
            Answered(key_set("a")), ConnectError(string="refused"), ConnectError(string="refused")
        )
        self.having(source, "a")
        self.clock.advance(AGAIN)
        self.assertEqual(self.having(source, "b"), ["a"])
        self.clock.advance(FRESH)
        self.why_not(source)

    def test_no_answer_in_time(self) -> None:
        """A question has an end, and leaves no timer."""
        source = self.source(Deferred(lambda it: it.errback(ConnectError())))
        waiting = Deferred.fromCoroutine(source.having("a"))
        self.clock.advance(PATIENCE)
        self.assertEqual(str(self.failureResultOf(waiting, NoKeys).value), "no key set within 5 s")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_every_failure_has_words(self) -> None:
        """Whoever reads the page learns what to look at."""
        unclean = " in a non-clean fashion."
        lost = ResponseNeverReceived([Failure(ConnectionLost())])
        for answer, why in (
            (
                ConnectError(string="refused"),
                f"no connection to {URL}: An error occurred while connecting: refused.",
            ),
            (lost, f"no answer from {URL}: Connection to the other side was lost{unclean}"),
            (Answered(b"", 404), f"{URL} answered 404, want 200"),
            (Answered(b"<html>"), "the key set cannot be read: not JSON at character 0"),
            (Answered(b"[]"), "the key set cannot be read: want an object, got a list"),
            (Answered(b"{}"), "no key for ES256 in the key set"),
            (Answered(b"{", end=ConnectionDone()), "the answer with the key set broke off"),
            (Answered(b" " * (SIZE + 1)), f"the key set is larger than {SIZE} bytes"),
        ):
            self.assertEqual(self.why_not(self.source(answer)), why)

    def test_a_body_that_does_not_end_is_dropped(self) -> None:
        """Once the bound is passed nothing is kept, and the connection is closed."""
        body = Gathered()
        transport = StringTransport()
        body.makeConnection(transport)
        body.dataReceived(b" " * SIZE)
        body.dataReceived(b" ")
        self.assertTrue(transport.disconnecting)
        self.assertNoResult(body.whole)


class EndpointTests(SynchronousTestCase):
    """Endpoints connects where it is told."""

    def test_interfaces(self) -> None:
        """It is what Agent wants."""
        reactor = MemoryReactorClock()
        verifyObject(IAgentEndpointFactory, Endpoints(reactor, Where(URL)))
        verifyObject(IAgent, agent_for(reactor, Where(URL)))

    def port_for(self, url: str, connect: tuple[str, int] | None) -> int:
        """Return the port that a request for this URL connects to."""
        # The names that this reactor knows all lead to one address.
        reactor = MemoryReactorClock()
        endpoint = Endpoints(reactor, Where(url, connect)).endpointForURI(
            URI.fromBytes(url.encode())
        )
        endpoint.connect(Factory.forProtocol(Protocol))
        port: int = reactor.tcpClients[0][1]
        return port

    def test_connects_where_told(self) -> None:
        """The address may be another than the URL's, with TLS and without."""
        for url, port in (("https://app.example.com/", 443), ("http://app.example.com/", 80)):
            self.assertEqual(self.port_for(url, ("127.0.0.1", 8443)), 8443)
            self.assertEqual(self.port_for(url, None), port)

    def test_a_file_without_certificate(self) -> None:
        """A CA file that holds none is a mistake found at the start."""
        with self.assertRaises(ValueError):
            Endpoints(MemoryReactorClock(), Where(URL, ca=b"what"))
