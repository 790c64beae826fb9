"""Tests for asking a provider that is slow, large, gone or not speaking HTTP."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from treq.testing import RequestTraversalAgent
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer
from zope.interface.verify import verifyObject

from pomeriumd.crypto.tls_faults import CertificateRefused, Fault, Found
from pomeriumd.errors import ProviderError
from pomeriumd.oidc.client import DEFAULT_SIZE, MAX_AT_ONCE, ProviderClient, Reply, _Plain
from pomeriumd.oidc.flow import Form

NOW = 1_800_000_000.0
DATE = b"Fri, 15 Jan 2027 08:01:40 GMT"
"""NOW and 100 seconds."""

Render = Callable[[Request], Any]


class Served(Resource):
    """A server whose answer is one function."""

    isLeaf = True

    def __init__(self, answer: Render) -> None:
        super().__init__()
        self.answer = answer
        self.requests: list[Request] = []
        self.gone: list[Failure] = []

    def render(self, request: Request) -> Any:
        """Answer whatever is asked, and note who hangs up."""
        self.requests.append(request)
        request.notifyFinish().addErrback(self.gone.append)
        return self.answer(request)


@implementer(IAgent)
class Failing:
    """An agent whose requests all end in one way."""

    def __init__(self, outcome: Callable[[], Deferred[IResponse]]) -> None:
        self.outcome = outcome

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """Return that outcome."""
        return self.outcome()


def with_fields(body: bytes, **fields: bytes) -> Render:
    """Return an answer with header fields; an underscore stands for a hyphen."""

    def answer(request: Request) -> bytes:
        for name, value in fields.items():
            request.setHeader(name.replace("_", "-").encode(), value)
        return body

    return answer


class ClientTests(SynchronousTestCase):
    """ProviderClient gives whole small answers, or a ProviderError that says why not."""

    def setUp(self) -> None:
        """Have a clock of our own."""
        self.clock = Clock()

    def client(self, agent: IAgent) -> ProviderClient:
        """Return a client over ``agent``."""
        return ProviderClient(agent=agent, clock=self.clock, now=lambda: NOW)

    def ask(self, answer: Render, **options: Any) -> Deferred[Reply]:
        """Ask a server that answers so."""
        self.served = Served(answer)
        self.agent = RequestTraversalAgent(self.served)
        self.asked = self.client(self.agent)
        return Deferred.fromCoroutine(self.asked.get("https://idp/x?y", "userinfo", **options))

    def refused(self, answer: Render) -> str:
        """Return the text of the ProviderError for such an answer."""
        asked = self.ask(answer)
        self.agent.flush()
        failure = self.failureResultOf(asked, ProviderError)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        return str(failure.value)

    def test_asks_plainly(self) -> None:
        """JSON without a coding, our name, the bearer token, and no cookie."""
        reply = self.successResultOf(
            self.ask(with_fields(b"{}", content_type=b"Application/JSON; x=y"), bearer="T")
        )
        self.assertEqual(reply, Reply(200, "application/json", b"{}"))
        (request,) = self.served.requests
        self.assertEqual((request.method, request.uri), (b"GET", b"/x?y"))
        sent = dict(request.requestHeaders.getAllRawHeaders())
        self.assertEqual(sent[b"Accept"], [b"application/json"])
        self.assertEqual(sent[b"Accept-Encoding"], [b"identity"])
        self.assertEqual(sent[b"Authorization"], [b"Bearer T"])
        self.assertEqual(sent[b"User-Agent"], [b"pomeriumd"])
        self.assertNotIn(b"Cookie", sent)

    def test_sends_a_form(self) -> None:
        """Body, type and authorization as flow made them."""
        bodies: list[bytes] = []

        def answer(request: Any) -> bytes:
            bodies.append(request.content.read())
            return b"{}"

        served = Served(answer)
        form = Form("https://idp/token", b"a=1&b=2", b"Basic eA==")
        asked = self.client(RequestTraversalAgent(served)).post(form, "token endpoint")
        self.successResultOf(Deferred.fromCoroutine(asked))
        (request,) = served.requests
        self.assertEqual(bodies, [b"a=1&b=2"])
        self.assertEqual(request.method, b"POST")
        self.assertEqual(request.getHeader("authorization"), "Basic eA==")
        self.assertEqual(request.getHeader("content-type"), "application/x-www-form-urlencoded")

    def test_cookies_are_forgotten(self) -> None:
        """What the provider sets for one person does not go out with the next."""
        self.successResultOf(self.ask(with_fields(b"{}", set_cookie=b"session=ann")))
        self.successResultOf(Deferred.fromCoroutine(self.asked.get("https://idp/x", "userinfo")))
        self.assertIsNone(self.served.requests[1].getHeader("cookie"))

    def test_errors_of_the_provider_are_answers(self) -> None:
        """What 400 and 500 mean is for the caller to say."""
        for status in (400, 401, 404, 429, 500, 503):

            def answer(request: Request, status: int = status) -> bytes:
                request.setResponseCode(status)
                return b"no"

            self.assertEqual(self.successResultOf(self.ask(answer)).status, status)

    def test_redirects_are_not_followed(self) -> None:
        """A redirect would lead past every check of the metadata (O18)."""
        for status in (301, 302, 303, 307, 308, 300, 304):

            def answer(request: Request, status: int = status) -> bytes:
                request.setResponseCode(status)
                request.setHeader("location", "http://169.254.169.254/")
                return b""

            self.assertEqual(
                self.refused(answer),
                f"userinfo: status {status}, a redirect; none is followed",
            )
            self.assertEqual(len(self.served.requests), 1)

    def test_content_codings_are_refused(self) -> None:
        """A bomb is not even read (O19)."""
        bomb = gzip.compress(b"{" + b" " * 10_000_000)
        for coding in (b"gzip", b"GZIP", b"deflate", b"br", b"identity, gzip", b"x"):
            self.assertEqual(
                self.refused(with_fields(bomb, content_encoding=coding)),
                "userinfo: answer has a content coding, none was asked for",
            )
        reply = self.successResultOf(self.ask(with_fields(b"{}", content_encoding=b"identity")))
        self.assertEqual(reply.body, b"{}")

    def test_size_ends_at_the_bound(self) -> None:
        """The bound itself is read; one byte more is not, announced or not."""
        text = f"userinfo: answer is over {DEFAULT_SIZE} bytes"
        reply = self.successResultOf(self.ask(lambda _: b"x" * DEFAULT_SIZE))
        self.assertEqual(len(reply.body), DEFAULT_SIZE)
        self.assertEqual(self.refused(lambda _: b"x" * (DEFAULT_SIZE + 1)), text)

        def unannounced(request: Request) -> object:
            for _ in range(5):
                request.write(b"x" * (DEFAULT_SIZE // 4))
            return NOT_DONE_YET

        self.assertEqual(self.refused(unannounced), text)
        self.agent.flush()
        self.assertEqual(len(self.served.gone), 1)

    def test_a_slow_answer_ends_at_the_deadline(self) -> None:
        """Whether nothing comes, or it drips: the whole request has one deadline."""
        for first in (b"", b"{"):

            def drip(request: Request, first: bytes = first) -> object:
                if first:
                    request.write(first)
                return NOT_DONE_YET

            asked = self.ask(drip)
            self.agent.flush()
            self.clock.advance(4.9)
            self.assertNoResult(asked)
            self.clock.advance(0.2)
            failure = self.failureResultOf(asked, ProviderError)
            self.assertEqual(failure.getErrorMessage(), "userinfo: no answer in 5 s")
            self.agent.flush()
            self.assertEqual(len(self.served.gone), 1)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_caller_that_leaves_hangs_up(self) -> None:
        """The connection goes with it, and no timer stays."""
        for first in (b"", b"{"):

            def drip(request: Request, first: bytes = first) -> object:
                if first:
                    request.write(first)
                return NOT_DONE_YET

            asked = self.ask(drip)
            self.agent.flush()
            asked.cancel()
            self.failureResultOf(asked, CancelledError)
            self.agent.flush()
            self.assertEqual(len(self.served.gone), 1)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_cut_body_is_an_error(self) -> None:
        """Half of a chunked answer is none."""

        def cut(request: Any) -> object:
            request.write(b"{}")
            request.transport.abortConnection()
            return NOT_DONE_YET

        self.assertEqual(self.refused(cut), "userinfo: connection broke off")

    def test_failures_have_words_of_ours(self) -> None:
        """Each foreign exception is named, and its own text stays out of ours."""
        tls = SSL.Error([("SSL routines", "", "certificate verify failed")])
        for failed, words in (
            (error.DNSLookupError("secret"), "name not found"),
            (error.ConnectionRefusedError("secret"), "connection refused"),
            (error.TimeoutError("secret"), "no connection in time"),
            (error.TCPTimedOutError("secret"), "no connection in time"),
            (error.ConnectError("secret"), "no connection"),
            (error.ConnectionLost("secret"), "connection broke off"),
            (
                CertificateRefused(Found(Fault.EXPIRED, "its certificate has expired, at noon")),
                (
                    "TLS failed (expired): its certificate has expired, at noon; if it is not so, "
                    "set the clock of this host right"
                ),
            ),
            (
                SSL.Error([("SSL routines", "", "wrong version number")]),
                "TLS failed (not-tls): does not speak TLS at all",
            ),
            (tls, "TLS failed (other): certificate verify failed"),
            (SSL.Error(), "TLS failed"),
            (OSError(24, "secret"), "no connection"),
            (UnicodeDecodeError("utf-8", b"secret", 0, 1, ""), "URL or answer not readable"),
            (RuntimeError("secret"), "answer is not HTTP"),
        ):
            outcomes: list[BaseException] = [ResponseFailed([Failure(failed)])]
            if not isinstance(failed, RuntimeError):
                outcomes.append(failed)
            for outcome in outcomes:
                agent = Failing(lambda outcome=outcome: fail(outcome))  # type: ignore[misc]  # a default is no parameter
                asked = Deferred.fromCoroutine(self.client(agent).get("https://idp", "key set"))
                failure = self.failureResultOf(asked, ProviderError)
                self.assertEqual(failure.getErrorMessage(), f"key set: {words}")

    def test_a_bug_stays_a_bug(self) -> None:
        """What no network does is not called the provider's."""
        agent = Failing(lambda: fail(ZeroDivisionError()))
        asked = Deferred.fromCoroutine(self.client(agent).get("https://idp", "key set"))
        self.failureResultOf(asked, ZeroDivisionError)

    def test_too_many_at_once_fail_at_once(self) -> None:
        """The bound is on requests under way; one that ends makes room."""
        waiting: list[Deferred[IResponse]] = []

        def never() -> Deferred[IResponse]:
            waiting.append(Deferred())
            return waiting[-1]

        client = self.client(Failing(never))
        asked = [
            Deferred.fromCoroutine(client.get("https://idp", "userinfo"))
            for _ in range(MAX_AT_ONCE)
        ]
        more = Deferred.fromCoroutine(client.get("https://idp", "userinfo"))
        self.assertEqual(
            self.failureResultOf(more, ProviderError).getErrorMessage(),
            "userinfo: 64 requests under way already",
        )
        asked[0].cancel()
        self.failureResultOf(asked[0], CancelledError)
        self.assertNoResult(Deferred.fromCoroutine(client.get("https://idp", "userinfo")))

    def test_measures_the_providers_clock(self) -> None:
        """By the Date of each answer; one that is no date changes nothing."""
        self.successResultOf(self.ask(with_fields(b"{}", date=DATE)))
        self.assertEqual(self.asked.skew, 100.0)
        for date in (b"", b"soon", b"Fri, 99 Jan 2027 08:01:40 GMT", b"\xff"):
            self.served.answer = with_fields(b"{}", date=date)
            self.successResultOf(
                Deferred.fromCoroutine(self.asked.get("https://idp/x", "userinfo"))
            )
            self.assertEqual(self.asked.skew, 100.0)

    def test_json_errors_name_status_and_type(self) -> None:
        """An HTML page where JSON belongs is said to be one, and is not quoted."""
        for reply, text in (
            (Reply(502, "text/html", b"<p>"), "not JSON at character 0 (status 502, text/html)"),
            (Reply(200, "", b"[]"), "want an object, got a list (status 200, no media type)"),
        ):
            with self.assertRaises(ProviderError) as caught:
                reply.read_object("userinfo")
            self.assertEqual(str(caught.exception), f"userinfo: {text}")
        self.assertNotIn("secret", repr(Reply(200, "", b"secret")))

    def test_a_media_type_is_bounded_and_plain(self) -> None:
        """It goes into the log."""
        long = self.successResultOf(self.ask(with_fields(b"{}", content_type=b"x" * 999)))
        self.assertEqual(long.media_type, "x" * 64)
        for octets, shown in ((b"a\x1b[31m", "unreadable"), (b"a\xff", "a\\xff")):
            odd = self.successResultOf(self.ask(with_fields(b"{}", content_type=octets)))
            self.assertEqual(odd.media_type, shown)

    def test_the_plain_agent_is_an_agent(self) -> None:
        """It does what IAgent says."""
        verifyObject(IAgent, _Plain(Failing(lambda: succeed(None))))  # type: ignore[arg-type]  # never fires
