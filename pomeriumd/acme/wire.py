"""
Requests to an authority: signed, each within a time and a size, sent again for a new nonce.

It knows nothing of orders. Foreign exceptions end here: an authority that is down, slow, too
large or not speaking ACME is an AcmeError.

Source: RFC 8555 sections 6 and 7.1.1.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any, cast

import attrs
from acme.jws import JWS
from josepy import json_util
from josepy.jwa import ES256
from josepy.jwk import JWKEC
from treq.client import HTTPClient
from treq.content import collect
from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IReactorTime
from twisted.web.client import ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IResponse

from pomeriumd.acme.problems import LIMITED, REFUSED, UNREACHABLE, AcmeError
from pomeriumd.small_body import SmallBody

SECONDS = 20.0
"""For one request, from the name look-up to the last byte."""

LARGEST = 262_144
"""Bytes of an answer: a chain of certificates has some ten thousand."""

MOST_TRIES = 8
"""With another nonce each. An authority that loses one in four fails all of them once in 65,000."""

NONCES = 8
"""That are kept; each answer brings one."""

LONGEST_SAID = 400
"""Characters of what an authority says that go into a line."""

MOST_WAIT = 7 * 86_400.0
"""Seconds of a Retry-After that are believed; the longest limits there are last a week."""

_NEEDED = ("newNonce", "newAccount", "newOrder")


@attrs.frozen
class Reply:
    """An answer, whole."""

    status: int
    headers: Headers
    body: bytes = attrs.field(repr=False)
    retry_after: float
    """Seconds; 0 if it did not say."""

    def document(self) -> dict[str, Any]:
        """
        Return the JSON object that the body is.

        Raises:
            AcmeError: it is none.
        """
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise AcmeError(
                f"the authority's answer is no JSON object (status {self.status}); does "
                "autocert_ca name the directory of an ACME server?",
                UNREACHABLE,
                whole=True,
            )
        return found

    def location(self) -> str:
        """
        Return where that is which was made.

        Raises:
            AcmeError: it does not say.
        """
        found = self.headers.getRawHeaders("location", [])
        if not found:
            raise AcmeError("the authority's answer has no Location", UNREACHABLE, whole=True)
        return found[0]


@attrs.define(eq=False, kw_only=True)
class Wire:
    """
    Speaks to one authority for one account.

    Args:
        agent: reaches it; it bounds what one connection may take.
        clock: ends requests.
        now: seconds since the epoch.
        url: of its directory.
        key: of the account.
    """

    _agent: IAgent
    _clock: IReactorTime
    _now: Callable[[], float]
    url: str
    key: JWKEC = attrs.field(repr=False)
    kid: str = ""
    """The account's URL, where it is known."""
    _directory: dict[str, Any] = attrs.field(factory=dict, init=False)
    _nonces: deque[bytes] = attrs.field(factory=lambda: deque(maxlen=NONCES), init=False)

    async def directory(self) -> dict[str, Any]:
        """
        Return where the authority has what; it is asked once.

        Raises:
            AcmeError: it cannot be had, or is none.
        """
        if not self._directory:
            reply = await self._ask("GET", self.url)
            found = _good(reply).document()
            if not all(isinstance(found.get(name), str) for name in _NEEDED):
                raise AcmeError(
                    f"{shown(self.url)} is no directory of ACME version 2: want {_NEEDED[2]} in "
                    "it; see autocert_ca",
                    UNREACHABLE,
                    whole=True,
                )
            self._directory = found
        return self._directory

    async def post(self, url: str, payload: dict[str, Any] | None, *, fresh: bool = False) -> Reply:
        """
        Send something signed.

        Args:
            url: as the authority has told it.
            payload: None asks for what is there (POST-as-GET, RFC 8555 section 6.3).
            fresh: signed by the key itself, as of an account that is not known yet.

        Raises:
            AcmeError: it was refused, or no whole answer came.
        """
        octets = b"" if payload is None else json.dumps(payload).encode("ascii")
        for _ in range(MOST_TRIES):
            who = {} if fresh else {"kid": self.kid}
            signed = JWS.sign(
                octets, key=self.key, alg=ES256, nonce=await self._nonce(), url=url, **who
            )
            reply = await self._ask("POST", url, signed.json_dumps().encode("ascii"))
            self._keep_nonce(reply.headers)
            try:
                return _good(reply)
            except AcmeError as error:
                if error.kind != "badNonce":
                    raise
        raise AcmeError(
            f"the authority took none of {MOST_TRIES} nonces of its own", UNREACHABLE, whole=True
        )

    async def _nonce(self) -> bytes:
        if not self._nonces:
            url = (await self.directory())["newNonce"]
            self._keep_nonce(_good(await self._ask("HEAD", url)).headers)
        if not self._nonces:
            raise AcmeError("the authority gives no nonce", UNREACHABLE, whole=True)
        return self._nonces.popleft()

    def _keep_nonce(self, headers: Headers) -> None:
        for value in headers.getRawHeaders("replay-nonce", [])[:1]:
            try:
                self._nonces.append(json_util.decode_b64jose(value))
            except ValueError:
                continue

    async def _ask(self, method: str, url: str, body: bytes | None = None) -> Reply:
        asked = Deferred.fromCoroutine(self._asking(method, url, body))
        try:
            return await asked.addTimeout(SECONDS, self._clock)
        except (AcmeError, CancelledError):
            raise
        except Exception as error:
            raise AcmeError(
                f"{shown(url)} cannot be asked: {_named(error)}", UNREACHABLE, whole=True
            ) from error

    async def _asking(self, method: str, url: str, body: bytes | None) -> Reply:
        # One HTTPClient a request: it keeps cookies.
        response = await HTTPClient(self._agent, data_to_body_producer=SmallBody).request(
            method,
            url,
            headers=Headers(
                {
                    "user-agent": ["pomeriumd"],
                    "content-type": ["application/jose+json"],
                    # treq would ask for gzip and decode it, whatever it grows to.
                    "accept-encoding": ["identity"],
                }
            ),
            data=body,
            allow_redirects=False,
            unbuffered=True,
            # Unused without a timeout; without it treq imports the global reactor.
            reactor=cast("Any", self._clock),
        )
        octets = await _body(response) if method != "HEAD" else b""
        return Reply(response.code, response.headers, octets, self._retry_after(response.headers))

    def _retry_after(self, headers: Headers) -> float:
        """Return what a Retry-After says, seconds or a date. RFC 9110 section 10.2.3."""
        said: str = headers.getRawHeaders("retry-after", [""])[0].strip()
        try:
            seconds = (
                float(said)
                if said.isascii() and said.isdigit()
                else parsedate_to_datetime(said).timestamp() - self._now()
            )
        except (OverflowError, TypeError, ValueError):
            return 0.0
        return min(max(seconds, 0.0), MOST_WAIT)


def shown(text: str) -> str:
    """Return what an authority said as a line may hold it."""
    return ascii(text[:LONGEST_SAID])[1:-1]


def problem_text(problem: Any) -> str:
    """Return what an authority's problem document says. RFC 9457."""
    if not isinstance(problem, dict):
        return "no reason given"
    kind = str(problem.get("type", "")).rsplit(":", 1)[-1]
    detail = str(problem.get("detail", "")) or "no reason given"
    return shown(f"{detail} ({kind})" if kind else detail)


def _good(reply: Reply) -> Reply:
    """Return an answer that is none of failure; raise AcmeError."""
    if 200 <= reply.status < 300:  # noqa: PLR2004  # RFC 9110 section 15.3
        return reply
    try:
        found = json.loads(reply.body)
    except (ValueError, RecursionError):
        found = None
    problem = found if isinstance(found, dict) else {}
    kind = str(problem.get("type", "")).rsplit(":", 1)[-1]
    limited = kind == "rateLimited" or reply.status == 429  # noqa: PLR2004  # RFC 6585
    ours_to_mend = reply.status < 500 and bool(problem)  # noqa: PLR2004  # RFC 9110, 15.6
    raise AcmeError(
        f"the authority says {reply.status}: {problem_text(found)}",
        LIMITED if limited else REFUSED if ours_to_mend else UNREACHABLE,
        kind=kind,
        retry_after=reply.retry_after,
        names=_subjects(problem),
        whole=not ours_to_mend,
    )


def _subjects(problem: dict[str, Any]) -> frozenset[str]:
    """Return which names a problem is about. RFC 8555 section 6.7.1."""
    found = problem.get("subproblems")
    parts = found if isinstance(found, list) else []
    identifiers = [part.get("identifier") for part in parts if isinstance(part, dict)]
    return frozenset(str(one.get("value")) for one in identifiers if isinstance(one, dict))


async def _body(response: IResponse) -> bytes:
    pieces: list[bytes] = []
    size = 0

    def keep(piece: bytes) -> None:
        nonlocal size
        size += len(piece)
        if size <= LARGEST:
            pieces.append(piece)

    # The agent ends a connection that brings far too much; what is a little too much is dropped.
    await collect(response, keep)
    if size > LARGEST:
        raise AcmeError(f"the authority's answer is over {LARGEST} bytes", UNREACHABLE, whole=True)
    return b"".join(pieces)


def _named(error: BaseException) -> str:
    """Say what went wrong, as far as it is known."""
    if isinstance(error, ResponseFailed):
        reasons = [reason.value for reason in getattr(error, "reasons", ())]
        if reasons:
            error = reasons[0]
    if isinstance(error, defer.TimeoutError):
        return f"no answer in {SECONDS:g} s"
    if isinstance(error, DNSLookupError):
        return "its name is not found"
    return shown(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
