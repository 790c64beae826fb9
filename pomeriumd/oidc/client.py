"""
One request to the provider and its whole answer, bounded in every way.

Foreign exceptions end here: above this file a provider that is down, slow, too large or
not speaking HTTP is a ProviderError. Nothing here knows OpenID Connect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final, cast

import attrs
from OpenSSL import SSL
from treq.client import HTTPClient
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import (
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
)
from twisted.web.error import SchemeNotSupported
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from pomeriumd.crypto.tls_faults import CertificateRefused, Fault, Found, broken_off
from pomeriumd.errors import ProviderError
from pomeriumd.oidc.document import read_object
from pomeriumd.oidc.flow import Form
from pomeriumd.oidc.waiting import within
from pomeriumd.small_body import SmallBody

DEFAULT_SECONDS = 5.0
"""For a whole request, from the name look-up to the last byte."""

DEFAULT_SIZE = 262_144
"""Bytes of a body."""

MAX_AT_ONCE = 64
"""Requests to the provider that may be under way; more fail at once rather than queue."""

_JSON = {"accept": "application/json", "user-agent": "pomeriumd"}

_WRAPPED = (RequestGenerationFailed, RequestTransmissionFailed, ResponseFailed)

_STORE = "; put the authority that issued it into the store of this host, and restart"
_CLOCK = "; if it is not so, set the clock of this host right"

_REMEDIES: Final[Mapping[Fault, str]] = {
    Fault.UNTRUSTED: _STORE,
    Fault.SELF_SIGNED: _STORE,
    Fault.EXPIRED: _CLOCK,
    Fault.NOT_YET: _CLOCK,
}
"""What can be done at this end."""

# What each failure is called in the log; the first that fits.
_FOREIGN: Final[tuple[tuple[type[Exception], str], ...]] = (
    (error.DNSLookupError, "name not found"),
    (error.ConnectionRefusedError, "connection refused"),
    (error.TimeoutError, "no connection in time"),
    (error.TCPTimedOutError, "no connection in time"),
    (error.ConnectError, "no connection"),
    (CertificateRefused, "TLS failed"),
    (SSL.Error, "TLS failed"),
    (error.ConnectionClosed, "connection broke off"),
    (SchemeNotSupported, "scheme not supported"),
    (OSError, "no connection"),
    (UnicodeError, "URL or answer not readable"),
    (ValueError, "URL or answer not readable"),
    (Exception, "answer is not HTTP"),
)


@attrs.frozen
class Reply:
    """An answer of the provider, whole."""

    status: int
    media_type: str
    body: bytes = attrs.field(repr=False)

    def read_object(self, what: str) -> dict[str, Any]:
        """
        Return the JSON object that the body is.

        Raises:
            ProviderError: it is none. The text names the media type: an HTML page where
                JSON belongs is usually a gateway's.
        """
        try:
            return read_object(self.body)
        except ValueError as found:
            raise ProviderError(
                f"{what}: {found} (status {self.status}, {self.media_type or 'no media type'})"
            ) from None


@attrs.define(kw_only=True)
class ProviderClient:
    """Asks a provider, never longer or for more than it may take."""

    _agent: IAgent
    _clock: IReactorTime
    _now: Callable[[], float]
    _under_way: int = attrs.field(default=0, init=False)
    skew: float | None = attrs.field(default=None, init=False)
    """Seconds that the provider's clock was ahead of ours at its last Date; None before."""

    async def get(
        self, url: str, what: str, *, bearer: str | None = None, seconds: float = DEFAULT_SECONDS
    ) -> Reply:
        """
        Fetch a URL.

        Args:
            url: checked already, see metadata.
            what: names the request in the errors' texts.
            bearer: an access token to show.
            seconds: for all of it.

        Raises:
            ProviderError: no whole answer came in time and within DEFAULT_SIZE, or it was
                a redirect or had a content coding.
        """
        fields = {"authorization": f"Bearer {bearer}"} if bearer else {}
        return await within(seconds, self._clock, self._ask("GET", url, fields, None, what), what)

    async def post(self, form: Form, what: str, *, seconds: float = DEFAULT_SECONDS) -> Reply:
        """
        Send a form.

        Args:
            form: where to and what.
            what: names the request in the errors' texts.
            seconds: for all of it.

        Raises:
            ProviderError: as for get().
        """
        fields = {"content-type": "application/x-www-form-urlencoded"}
        if form.authorization is not None:
            fields["authorization"] = form.authorization.decode("ascii")
        work = self._ask("POST", form.url, fields, form.body, what)
        return await within(seconds, self._clock, work, what)

    async def _ask(
        self, method: str, url: str, fields: Mapping[str, str], body: bytes | None, what: str
    ) -> Reply:
        if self._under_way >= MAX_AT_ONCE:
            raise ProviderError(f"{what}: {MAX_AT_ONCE} requests under way already")
        self._under_way += 1
        try:
            # One HTTPClient a request: it keeps cookies, and the provider's have no
            # business in the next person's sign-in.
            client = HTTPClient(_Plain(self._agent), data_to_body_producer=SmallBody)
            response = await client.request(
                method,
                url,
                headers=Headers({name: [value] for name, value in {**_JSON, **fields}.items()}),
                data=body,
                allow_redirects=False,
                unbuffered=True,
                # Unused without a timeout; without it treq imports the global reactor.
                reactor=cast("Any", self._clock),
            )
            self._measure(response)
            return await self._read(response, what)
        except _WRAPPED as failed:
            reasons = [reason.value for reason in getattr(failed, "reasons", ())]
            if any(isinstance(reason, CancelledError) for reason in reasons):
                # The agent hides a cancel in a failure of the request. To call that the
                # provider's would make every visitor who leaves count against it.
                raise CancelledError from failed
            raise ProviderError(f"{what}: {_named(reasons[0] if reasons else failed)}") from failed
        except _OURS_TO_TRANSLATE as failed:
            raise ProviderError(f"{what}: {_named(failed)}") from failed
        finally:
            self._under_way -= 1

    async def _read(self, response: IResponse, what: str) -> Reply:
        problem = _problem(response)
        if problem is not None:
            _drop(response)
            raise ProviderError(f"{what}: {problem}")
        body = await _collect(response, DEFAULT_SIZE)
        if body is None:
            raise ProviderError(f"{what}: answer is over {DEFAULT_SIZE} bytes")
        return Reply(response.code, _media_type(response), body)

    def _measure(self, response: IResponse) -> None:
        """Compare the clocks; a wrong clock is behind many a sign-in that fails."""
        dates = response.headers.getRawHeaders(b"date", [])
        try:
            self.skew = parsedate_to_datetime(dates[0].decode("ascii")).timestamp() - self._now()
        except (IndexError, OverflowError, TypeError, ValueError):
            return


@implementer(IAgent)
@attrs.frozen
class _Plain:
    """
    An agent that asks for no content coding and gives none on.

    treq would ask for gzip and decode it, whatever it grows to (O19).
    """

    _agent: IAgent

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """Ask with ``Accept-Encoding: identity``."""
        plain = Headers() if headers is None else headers.copy()
        plain.setRawHeaders(b"accept-encoding", [b"identity"])
        asked: Deferred[IResponse] = self._agent.request(method, uri, plain, bodyProducer)
        return asked.addCallback(self._refuse_coding)

    def _refuse_coding(self, response: IResponse) -> IResponse:
        codings = response.headers.getRawHeaders(b"content-encoding", [])
        if any(coding.strip().lower() not in (b"", b"identity") for coding in codings):
            _drop(response)
            raise _Coded
        return response


class _Coded(Exception):
    """The answer has a content coding."""


_OURS_TO_TRANSLATE: Final[tuple[type[Exception], ...]] = (
    _Coded,
    *(kind for kind, _ in _FOREIGN if kind is not Exception),
)


class _Collector(Protocol):
    """Gathers a body up to a bound, then hangs up."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._pieces: list[bytes] = []
        self._over = False
        self.done: Deferred[bytes | None] = Deferred(self._cancelled)

    def dataReceived(self, data: bytes) -> None:
        """Keep a piece, or give up at the first byte too many."""
        if self._over:
            return
        self._left -= len(data)
        if self._left < 0:
            self._hang_up()
            self.done.callback(None)
        else:
            self._pieces.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Give the body if it is whole."""
        # PotentialDataLoss: the connection's end ended the body. What it was cut from is
        # seen by the JSON reader.
        if self._over:
            return
        self._over = True
        if reason.check(ResponseDone, PotentialDataLoss):
            self.done.callback(b"".join(self._pieces))
        else:
            self.done.errback(reason)

    def _cancelled(self, _: Deferred[bytes | None]) -> None:
        self._hang_up()

    def _hang_up(self) -> None:
        # First of all over: closing may call connectionLost at once.
        self._over = True
        self._pieces.clear()
        if self.transport is not None:
            self.transport.loseConnection()


class _Drop(Protocol):
    """Hangs up instead of reading."""

    def connectionMade(self) -> None:
        """Close the connection under the response."""
        if self.transport is not None:
            self.transport.loseConnection()


def _collect(response: IResponse, size: int) -> Deferred[bytes | None]:
    """Return the body, None when it is over ``size`` bytes."""
    collector = _Collector(size)
    response.deliverBody(collector)
    return collector.done


def _drop(response: IResponse) -> None:
    response.deliverBody(_Drop())


def _problem(response: IResponse) -> str | None:
    if 300 <= response.code < 400:  # noqa: PLR2004 - RFC 9110 section 15.4
        return f"status {response.code}, a redirect; none is followed"
    if response.length != UNKNOWN_LENGTH and response.length > DEFAULT_SIZE:
        return f"answer is over {DEFAULT_SIZE} bytes"
    return None


def _media_type(response: IResponse) -> str:
    """Return the type of the body as the log may show it."""
    values = response.headers.getRawHeaders(b"content-type", [b""])
    shown = values[0].split(b";")[0].strip().lower().decode("ascii", "backslashreplace")
    return shown[:64] if shown.isprintable() else "unreadable"


def _named(failed: BaseException) -> str:
    """Say what went wrong in our words: a foreign text may hold the request."""
    if isinstance(failed, _Coded):
        return "answer has a content coding, none was asked for"
    words = next(words for kind, words in _FOREIGN if isinstance(failed, kind))
    found = _tls(failed)
    if found is None:
        return words
    return f"{words} ({found.fault.value}): {found.text}{_REMEDIES.get(found.fault, '')}"


def _tls(failed: BaseException) -> Found | None:
    """Return what went wrong with TLS, None if it says nothing or it was something else."""
    if isinstance(failed, CertificateRefused):
        return failed.found
    if isinstance(failed, SSL.Error) and failed.args and isinstance(failed.args[0], list):
        # OpenSSL's queue of (library, function, reason); the reason is a constant text.
        said = [str(entry[-1]) for entry in failed.args[0][:4] if entry]
        return broken_off(said, asked=False, shows=False)
    return None
