"""
Answers of our own: pages, and every error as a page or a cut.

This much of a generation is needed for as long as an exchange lasts, and no more: a stream of
days that held its whole generation would keep all routes of its day in memory.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.logger import Logger
from twisted.python.failure import Failure

from pomeriumd.access.routes import Route
from pomeriumd.answers.answer import Answer
from pomeriumd.answers.call import Call
from pomeriumd.answers.pages import Pages
from pomeriumd.errors import MethodNotAllowed, PomeriumError, Side, UpstreamError
from pomeriumd.net.exchange import Exchange
from pomeriumd.proxy.logins import hint
from pomeriumd.proxy.response_headers import ResponseHeaders

CountTLS = Callable[[Route, str], None]
"""Is told of a request that failed because TLS with its upstream did: the route, and why."""

_log = Logger()


def not_counted(route: Route, reason: str) -> None:
    """Count nothing."""
    del route, reason


@attrs.frozen(kw_only=True, eq=False)
class Replies:
    """Gives answers of our own; it knows nothing that changes with the routes."""

    pages: Pages
    headers: ResponseHeaders
    """What our own answers carry too; an application's get them in ``Outbound``."""
    count_tls: CountTLS = not_counted

    def give(self, exchange: Exchange, answer: Answer, *, close: bool = False) -> None:
        """Give an answer, with the header fields that the settings ask for."""
        given = {name for name, _ in answer.fields}
        fields = self.headers.fields(exchange.request.host)
        more = [field for field in fields if field[0] not in given]
        exchange.error = exchange.error or answer.error
        exchange.reply(attrs.evolve(answer, fields=(*answer.fields, *more)), close=close)

    def fail(self, exchange: Exchange, error: BaseException) -> None:
        """Answer with an error; or cut, when an answer is under way already."""
        if exchange.over:
            return
        exchange.error = type(error).__name__
        if not isinstance(error, PomeriumError):
            _log.failure(
                "request {request_id} failed: a bug of ours",
                failure=Failure(error),
                request_id=exchange.id,
            )
            error = PomeriumError("a bug of ours")
        elif error.side is not Side.CLIENT and not error.told_apart:
            remedy = self._remedy(error, exchange.route)
            _log.warn(
                "request {request_id}: {error}",
                request_id=exchange.id,
                error=f"{error}; {remedy}" if remedy else str(error),
                kind=exchange.error,
                route=exchange.route.id if exchange.route is not None else "",
            )
        if exchange.started:
            exchange.cut(error)
            return
        call = Call(request=exchange.request, request_id=exchange.id, client=exchange.client)
        answer = self.pages.error(
            error,
            call,
            who=exchange.user or None,
            sign_in_url=hint(exchange.route),
            allow=error.allow if isinstance(error, MethodNotAllowed) else None,
        )
        self.give(exchange, answer, close=error.ends_connection)

    def _remedy(self, error: PomeriumError, route: Route | None) -> str:
        """Return what the operator can do; where keys of the route are meant, of which one."""
        if route is None or not isinstance(error, UpstreamError) or not error.tls:
            return error.remedy
        self.count_tls(route, error.tls)
        settings = route.settings
        return f"in {settings.place} ({settings.from_.text}): {error.remedy}"
