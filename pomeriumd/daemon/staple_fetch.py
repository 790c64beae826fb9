"""
One question to an OCSP responder, bounded in every way.

Only the URL that stands in the certificate is asked, over plain http: what comes back is
signed. No redirect is followed, and neither time nor size are the responder's to choose.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import OK, PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent

from pomeriumd.net.ocsp import LARGEST
from pomeriumd.small_body import SmallBody

SECONDS = 10.0
"""For all of it, from the name's look-up to the last byte."""

TOO_LARGE = f"answered with over {LARGEST} bytes"

_FIELDS = Headers(
    {
        b"content-type": [b"application/ocsp-request"],
        b"accept": [b"application/ocsp-response"],
        b"accept-encoding": [b"identity"],
        b"user-agent": [b"pomeriumd"],
    }
)


class NoAnswer(Exception):
    """No answer can be had; the text says why, after the word "responder"."""


def ask(agent: IAgent, clock: IReactorTime, url: str, question: bytes) -> Deferred[bytes]:
    """
    Ask a responder.

    Args:
        agent: with connections that end by themselves, as ``provider_agent`` has them.
        clock: for the time it may take.
        url: checked already.
        question: DER.

    Returns:
        A Deferred of the answer's body, at most LARGEST bytes, with whatever in it; NoAnswer
        if there is none, CancelledError if it was cancelled.
    """
    late: list[bool] = []

    def told(outcome: Any, after: float) -> Any:
        late.append(True)
        if isinstance(outcome, Failure):
            raise NoAnswer(f"did not answer in {after:g} s")
        return outcome

    def named(failure: Failure) -> Failure:
        if late or failure.check(NoAnswer):
            return failure
        if failure.check(CancelledError) or _has(failure, CancelledError):
            return Failure(CancelledError())
        return Failure(NoAnswer(_why(failure)))

    asked: Deferred[bytes] = Deferred.fromCoroutine(_ask(agent, url, question))
    return asked.addTimeout(SECONDS, clock, told).addErrback(named)


async def _ask(agent: IAgent, url: str, question: bytes) -> bytes:
    response = await agent.request(b"POST", url.encode("ascii"), _FIELDS, SmallBody(question))
    if response.code != OK:
        response.deliverBody(_Drop())
        moved = ", and is not followed" if 300 <= response.code < 400 else ""  # noqa: PLR2004
        raise NoAnswer(f"answered with status {response.code}{moved}")
    if response.length != UNKNOWN_LENGTH and response.length > LARGEST:
        response.deliverBody(_Drop())
        raise NoAnswer(TOO_LARGE)
    body = _Body()
    response.deliverBody(body)
    return await body.done


class _Drop(Protocol):
    """Hangs up instead of reading."""

    def connectionMade(self) -> None:
        """Close the connection under the answer."""
        if self.transport is not None:
            self.transport.loseConnection()


class _Body(Protocol):
    """Gathers a body up to its bound, then hangs up."""

    def __init__(self) -> None:
        self._left = LARGEST
        self._pieces: list[bytes] = []
        self.done: Deferred[bytes] = Deferred(lambda _: self._hang_up())

    def dataReceived(self, data: bytes) -> None:
        """Keep a piece, or give up at the first byte too many."""
        if self.done.called:
            return
        self._left -= len(data)
        if self._left < 0:
            self.done.errback(NoAnswer(TOO_LARGE))
            self._hang_up()
        else:
            self._pieces.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Give the body if it is whole; one that was cut is seen by whoever reads it."""
        if self.done.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.done.callback(b"".join(self._pieces))
        else:
            self.done.errback(reason)

    def _hang_up(self) -> None:
        self._pieces.clear()
        if self.transport is not None:
            self.transport.loseConnection()


def _has(failure: Failure, kind: type[Exception]) -> bool:
    """Return whether the agent hides such an error in one of its own."""
    return any(reason.check(kind) for reason in getattr(failure.value, "reasons", ()))


_KINDS: tuple[tuple[type[Exception], str], ...] = (
    (error.DNSLookupError, "has a name that is not found"),
    (error.ConnectionRefusedError, "refuses connections"),
    (error.TimeoutError, "cannot be reached in time"),
    (error.ConnectError, "cannot be reached"),
    (error.ConnectionClosed, "broke off"),
    (OSError, "cannot be reached"),
)


def _why(failure: Failure) -> str:
    reasons = getattr(failure.value, "reasons", None) or [failure]
    value = reasons[0].value
    for kind, text in _KINDS:
        if isinstance(value, kind):
            return text
    return f"answers what is no HTTP ({type(value).__name__})"
