"""Promises of one question to a responder: its words, its end, and the names of its failures."""

from __future__ import annotations

from typing import Any

from treq.testing import RequestTraversalAgent
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import RequestTransmissionFailed, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from pomeriumd.daemon.staple_fetch import SECONDS, NoAnswer, ask
from pomeriumd.net.ocsp import LARGEST

URL = "http://ocsp.example.test/x"


class Answering(Resource):
    """A responder that keeps the request."""

    isLeaf = True
    request: Any = None
    content = b""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.body = body

    def render(self, request: Any) -> Any:
        """Answer, or begin to."""
        self.request, self.content = request, request.content.read()
        request.notifyFinish().addErrback(lambda _: None)
        if self.body == b"...":
            request.write(b"a part")
            return NOT_DONE_YET
        return self.body


@implementer(IAgent)
class Failing:
    """An agent whose requests fail at once, or are under way for ever."""

    def __init__(self, failure: BaseException | None) -> None:
        self.failure = failure

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """Return that."""
        del method, uri, headers, bodyProducer
        if self.failure is not None:
            return fail(self.failure)
        # The agent tells of a cancel as of a failure of the request.
        hidden = RequestTransmissionFailed([Failure(CancelledError())])
        return Deferred(lambda waiting: waiting.errback(hidden))


class AskTests(SynchronousTestCase):
    """ask() gives the body, or says what the responder did."""

    def setUp(self) -> None:
        """Have a clock."""
        self.clock = Clock()

    def why(self, failure: BaseException) -> str:
        """Return what such a failure is called."""
        asked = ask(Failing(failure), self.clock, URL, b"?")
        self.assertEqual(self.clock.getDelayedCalls(), [])
        return str(self.failureResultOf(asked, NoAnswer).value)

    def test_the_question_is_posted_plainly(self) -> None:
        """Method, types, no coding, and the question as it is."""
        answering = Answering(b"answer")
        asked = ask(RequestTraversalAgent(answering), self.clock, URL, b"?")
        self.assertEqual(self.successResultOf(asked), b"answer")
        request = answering.request
        self.assertEqual((request.method, request.uri), (b"POST", b"/x"))
        self.assertEqual(answering.content, b"?")
        sent = dict(request.requestHeaders.getAllRawHeaders())
        self.assertEqual(sent[b"Content-Type"], [b"application/ocsp-request"])
        self.assertEqual(sent[b"Accept"], [b"application/ocsp-response"])
        self.assertEqual(sent[b"Accept-Encoding"], [b"identity"])
        self.assertNotIn(b"Authorization", sent)

    def test_the_largest_answer_is_taken(self) -> None:
        """The bound itself is not over it."""
        asked = ask(RequestTraversalAgent(Answering(bytes(LARGEST))), self.clock, URL, b"?")
        self.assertEqual(len(self.successResultOf(asked)), LARGEST)

    def test_one_without_a_length_is_bounded_as_well(self) -> None:
        """What comes in parts is counted."""
        answering = Answering(b"...")
        agent = RequestTraversalAgent(answering)
        asked = ask(agent, self.clock, URL, b"?")
        for _ in range(LARGEST // 4096 + 1):
            if not asked.called:
                answering.request.write(bytes(4096))
                agent.flush()
        why = self.failureResultOf(asked, NoAnswer).value
        self.assertEqual(str(why), f"answered with over {LARGEST} bytes")

    def test_one_that_drips_is_ended(self) -> None:
        """The time is for all of it."""
        asked = ask(RequestTraversalAgent(Answering(b"...")), self.clock, URL, b"?")
        self.clock.advance(SECONDS - 1)
        self.assertNoResult(asked)
        self.clock.advance(1)
        why = self.failureResultOf(asked, NoAnswer).value
        self.assertEqual(str(why), "did not answer in 10 s")

    def test_failures_have_names(self) -> None:
        """Each says what the operator has to look at."""
        lost = ResponseFailed([Failure(error.ConnectionLost())])
        for failure, text in (
            (error.DNSLookupError(), "has a name that is not found"),
            (error.ConnectionRefusedError(), "refuses connections"),
            (error.TimeoutError(), "cannot be reached in time"),
            (error.NoRouteError(), "cannot be reached"),
            (OSError(24, "Too many open files"), "cannot be reached"),
            (lost, "broke off"),
            (ResponseFailed([Failure(ValueError("x"))]), "answers what is no HTTP (ValueError)"),
        ):
            self.assertEqual(self.why(failure), text)

    def test_who_asked_may_cancel(self) -> None:
        """That is no failure of the responder, however the agent tells of it."""
        asked = ask(Failing(None), self.clock, URL, b"?")
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_question_that_hangs_is_told_as_late(self) -> None:
        """Also where the agent hides our cancel in a failure of the request."""
        asked = ask(Failing(None), self.clock, URL, b"?")
        self.clock.advance(SECONDS)
        why = self.failureResultOf(asked, NoAnswer).value
        self.assertEqual(str(why), "did not answer in 10 s")
