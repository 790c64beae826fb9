"""
The application: which request gets which answer.

It stands on the proxy's own HTTP engine and has its bounds; behind it is nothing that a
request could change.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from email.utils import formatdate
from urllib.parse import parse_qs

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from pomeriumd.answers.answer import Answer
from pomeriumd.cli.verify.assertion import NoKeys, Refused, Verdict, key_id, verified
from pomeriumd.cli.verify.keys import KeySource
from pomeriumd.cli.verify.page import VerifyPage
from pomeriumd.cli.verify.streams import Ticking, Upload, json_answer
from pomeriumd.cli.verify.websocket import Echo
from pomeriumd.daemon.access_log import AccessEntry
from pomeriumd.errors import ClientError, MethodNotAllowed, NoRoute, PomeriumError
from pomeriumd.http.events import Request
from pomeriumd.http.limits import Limits
from pomeriumd.http.negotiate import wants_json
from pomeriumd.http.request_heads import RequestHeads
from pomeriumd.net.deadlines import Deadlines
from pomeriumd.net.exchange import Exchange
from pomeriumd.net.server import ServerConnection, Times
from pomeriumd.proxy.running import run

ASSERTION = b"x-pomerium-jwt-assertion"
"""The field that says who asks."""

CONNECTIONS = 1000
"""Connections at a time; more are closed at once."""

MOST_TICKS = 1_000_000
"""The largest number that ``/clock?ticks=`` takes."""

_READS = (b"GET", b"HEAD")


@attrs.define(eq=False, kw_only=True)
class Site:
    """
    Serves all connections of the application.

    Args:
        keys: the proxy's; None where no address of a key set is configured.
        audience: our own host name, as the proxy's routes have it.
        now: seconds since the epoch.
        clock: the reactor.
        record: takes a line for the access log.
    """

    keys: KeySource | None
    audience: str
    now: Callable[[], float]
    clock_: IReactorTime = attrs.field(alias="clock")
    record: Callable[[AccessEntry], None]
    limits: Limits = attrs.Factory(Limits)
    times: Times = attrs.Factory(Times)
    closing: bool = False
    deadlines: Deadlines = attrs.field(init=False)
    heads: RequestHeads = attrs.field(init=False)
    page: VerifyPage = attrs.Factory(VerifyPage)
    connections: set[ServerConnection] = attrs.Factory(set)
    _log = Logger()

    def __attrs_post_init__(self) -> None:
        """Start the clock of the deadlines."""
        self.deadlines = Deadlines(self.clock_)
        self.heads = RequestHeads(self.limits)

    # What a request gets

    def serve(self, exchange: Exchange) -> None:
        """Answer one request."""
        run(self._serve(exchange), exchange, self._fail)

    async def _serve(self, exchange: Exchange) -> None:
        request = exchange.request
        if request.path == b"/echo":
            if request.upgrade == b"websocket":
                Echo(exchange, self.clock_).begin()
            else:
                exchange.reply(json_answer(426, {"error": "This address speaks WebSocket only."}))
        elif request.path == b"/upload":
            _only(request, b"PUT", b"POST")
            exchange.listen(Upload(exchange))
        elif request.path == b"/clock":
            _only(request, *_READS)
            Ticking(exchange, self.clock_, self.now, _ticks(request.query)).begin()
        else:
            _only(request, *_READS)
            answer = await self._answer(request, exchange.client)
            if not exchange.over:
                exchange.reply(answer)

    async def _answer(self, request: Request, client: str) -> Answer:
        if request.path == b"/healthz":
            return json_answer(200, {"status": "ok"})
        if request.path.startswith(b"/assets/"):
            asset = self.page.asset(request.path)
            if asset is None:
                raise NoRoute("no such asset")
            return asset
        verdict = await self._judge(request)
        show = self.page.json if wants_json(request) else self.page.html
        return show(request, verdict, client)

    async def _judge(self, request: Request) -> Verdict:
        assertions = [value for name, value in request.fields if name == ASSERTION]
        if not assertions:
            return Verdict(
                verified=False,
                text="The request carries no identity assertion: the route is public, it has"
                " pass_identity_headers off, or the request did not come through the proxy.",
            )
        if self.keys is None:
            return Verdict(
                verified=False,
                text="There is an identity assertion, but no key set to verify it with: start"
                " pomeriumd verify with --jwks-url.",
            )
        if len(assertions) > 1:
            return Verdict(verified=False, text="There is more than one identity assertion.")
        assertion = assertions[0].decode("latin-1")
        try:
            keys = await self.keys.having(key_id(assertion))
            claims = verified(assertion, keys, audience=self.audience, now=self.now())
        except Refused as error:
            return Verdict(verified=False, text=f"The identity assertion is not good: {error}.")
        except NoKeys as error:
            return Verdict(verified=False, text=f"The key set cannot be had: {error}.")
        return Verdict(
            verified=True,
            text="The proxy vouches for you: its assertion verifies against its key set.",
            claims=claims,
        )

    def _fail(self, exchange: Exchange, error: BaseException) -> None:
        if exchange.over:
            return
        if not isinstance(error, PomeriumError):
            self._log.failure("request {id} failed", failure=Failure(error), id=exchange.id)
            error = PomeriumError("a bug of ours")
        exchange.error = type(error).__name__
        if exchange.started:
            exchange.cut(error)
        else:
            answer = json_answer(error.status, {"error": error.public})
            if isinstance(error, MethodNotAllowed):
                allow = (b"allow", error.allow.encode("ascii"))
                answer = attrs.evolve(answer, fields=(*answer.fields, allow))
            exchange.reply(answer)

    # What a connection needs

    def unreadable(self, exchange: Exchange, error: ClientError) -> None:
        """Answer what could not be read."""
        self._fail(exchange, error)

    def ended(self, exchange: Exchange) -> None:
        """Write the request's line."""
        request = exchange.request
        self.record(
            AccessEntry(
                time=self.now(),
                request_id=exchange.id,
                route="",
                host=request.host,
                method=request.method,
                path=request.path,
                status=exchange.status,
                sent=exchange.sent,
                received=exchange.received,
                duration_ms=(self.clock() - exchange.began) * 1000,
                decision_ms=0.0,
                upstream_ms=0.0,
                user="",
                decision="",
                reasons=(),
                client=exchange.client,
                error=exchange.error,
            )
        )

    def new_id(self) -> str:
        """Return an id for a request."""
        return secrets.token_hex(8)

    def clock(self) -> float:
        """Return seconds, for durations."""
        return self.clock_.seconds()

    def date(self) -> bytes:
        """Return the Date field's value."""
        return formatdate(self.now(), usegmt=True).encode("ascii")

    def opened(self, connection: ServerConnection) -> None:
        """Note a connection, if there is room for it."""
        self.connections.add(connection)
        if len(self.connections) > CONNECTIONS:
            connection.abort()

    def closed(self, connection: ServerConnection) -> None:
        """Forget a connection."""
        self.connections.discard(connection)


def _only(request: Request, *methods: bytes) -> None:
    if request.method not in methods:
        allow = b", ".join(methods).decode("ascii")
        raise MethodNotAllowed("the address does not take this method", allow)


def _ticks(query: bytes | None) -> int | None:
    """Return the number in ``ticks=N``, if there is a good one."""
    given = parse_qs((query or b"").decode("latin-1")).get("ticks", [])
    if len(given) != 1 or not given[0].isascii() or not given[0].isdecimal():
        return None
    return max(1, min(int(given[0][:9]), MOST_TICKS))
