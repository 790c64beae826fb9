"""
The gRPC side of authorize in one process: bound, started, and told of each generation.

grpc is imported when it is bound and not before: a process that has it must not fork.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from pomeriumd.authorize.answers import Answers
from pomeriumd.daemon.build import Built
from pomeriumd.daemon.listeners import CannotBind
from pomeriumd.daemon.series import Labels
from pomeriumd.errors import Problem
from pomeriumd.settings.model import Settings
from pomeriumd.settings.pairs import grpc_pair

if TYPE_CHECKING:
    from pomeriumd.rpc.server import Server, Tls


@attrs.define(eq=False)
class AuthorizeServer:
    """
    Answers proxies elsewhere; there is nothing of it before ``bind``.

    Args:
        reactor: everything of it: time, threads.
        now: seconds since the epoch; safe on any thread.
    """

    _reactor: Any
    _now: Callable[[], float]
    _answers: Answers = attrs.field(init=False)
    _server: Server | None = None
    _wanted: str | None = None
    """Why there is no port, while there should be one."""
    _log = Logger()

    @_answers.default
    def _fresh(self) -> Answers:
        return Answers(now=self._now, report=self._report)

    @property
    def bound(self) -> bool:
        """Return whether it has its port."""
        return self._server is not None

    @property
    def answered(self) -> Mapping[Labels, int]:
        """Return how many calls have ended, by service, method and gRPC's status."""
        if self._server is None:
            return {}
        answered, _, _ = self._server.counts.taken()
        return {(*_named(method), status): count for (method, status), count in answered.items()}

    @property
    def refused(self) -> Mapping[Labels, int]:
        """Return how many calls were not admitted, by the reason."""
        if self._server is None:
            return {}
        _, refused, _ = self._server.counts.taken()
        return {(word,): count for word, count in refused.items()}

    @property
    def unknown(self) -> int:
        """Return how many questions were about routes that were not configured here."""
        return self._answers.unknown

    @property
    def watches(self) -> int:
        """Return how many processes of proxies listen for changes."""
        return 0 if self._server is None else self._server.watches

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Return what keeps proxies from being answered."""
        if self._server is not None and self._server.ended.done():
            return (Problem("grpc_address", "has ended, see the log; restart pomeriumd"),)
        return () if self._wanted is None else (Problem("grpc_address", self._wanted),)

    def bind(self, settings: Settings) -> None:
        """
        Have the port of ``grpc_address``; nothing is accepted yet.

        Raises:
            CannotBind: see there.
        """
        from pomeriumd.rpc import server as rpc  # noqa: PLC0415  # only now: it imports grpc

        if settings.grpc_address is None:
            return
        made = rpc.Server(
            address=settings.grpc_address,
            tls=_tls(settings),
            now=self._now,
            report=self._report,
            max_age=settings.grpc_server_max_connection_age,
            max_age_grace=settings.grpc_server_max_connection_age_grace,
        )
        try:
            made.bind()
        except rpc.CannotBind as error:
            self._wanted = str(error)
            raise CannotBind(self._wanted) from error
        self._server, self._wanted = made, None

    def begin(self, built: Built) -> None:
        """Accept, and answer by a generation."""
        if self._server is not None:
            self._server.start()
            self.take(built)

    def take(self, built: Built) -> None:
        """Answer by this generation from now on, and tell every proxy that it is another."""
        server, policies = self._server, built.policies
        if server is None or policies is None:
            return
        from pomeriumd.rpc.methods import Served  # noqa: PLC0415  # as above

        tls = _tls(built.settings)
        if tls is not None:
            server.show(tls)
        server.serve(
            Served(
                answer=self._answers.by(policies),
                generation=policies.digest,
                keys=built.grpc_keys,
            )
        )

    async def stop(self, seconds: float) -> None:
        """Say that we go, let calls under way end within so many seconds, and close."""
        server = self._server
        if server is None:
            return
        ended: Deferred[None] = Deferred()
        server.stop(seconds).add_done_callback(
            lambda _: self._reactor.callFromThread(ended.callback, None)
        )
        await ended

    def _report(self, level: Any, format: str, **fields: object) -> None:  # noqa: A002
        self._reactor.callFromThread(self._log.emit, level, format, **fields)


def _named(method: str) -> tuple[str, str]:
    """Return service and method of ``/service/Method``."""
    service, _, name = method.strip("/").partition("/")
    return (service, name) if name else ("", method)


def _tls(settings: Settings) -> Tls | None:
    from pomeriumd.rpc.server import Tls  # noqa: PLC0415  # as above

    pair = grpc_pair(settings) if settings.grpc_tls else None
    if pair is None:
        return None
    return Tls(key=pair.key.reveal(), chain=pair.chain, client_ca=settings.grpc_client_ca)
