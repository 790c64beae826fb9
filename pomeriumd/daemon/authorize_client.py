"""
The authorize service elsewhere, as one process that serves asks it.

It outlives generations: a reload tells it what is new, and connections that are still right
live on. grpc is imported when it begins and not before: a process that has it must not fork.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from pomeriumd.access.verdict import Given, Question
from pomeriumd.crypto.keys import Purpose, ring
from pomeriumd.daemon.series import Labels
from pomeriumd.errors import Problem, Undecided
from pomeriumd.rpc.failures import Kind
from pomeriumd.rpc.line import Security
from pomeriumd.rpc.names import by_system
from pomeriumd.rpc.pool import OK, Counters, Options, Pool
from pomeriumd.settings.model import Settings
from pomeriumd.settings.values import CertificatePair

if TYPE_CHECKING:
    from pomeriumd.rpc.loop import Loop
    from pomeriumd.rpc.replica import ReplicaStatus


CHECK = ("pomerium.authorize.v1.Authorize", "Check")
"""The one method that is counted: what else is open to a replica are streams."""

STATUS = {
    OK: "OK",
    Kind.UNREACHABLE.value: "UNAVAILABLE",
    Kind.LATE.value: "DEADLINE_EXCEEDED",
    Kind.REFUSED.value: "UNAUTHENTICATED",
    Kind.FOREIGN.value: "UNIMPLEMENTED",
    Kind.SILENT.value: "UNAVAILABLE",
    Kind.BROKEN.value: "INTERNAL",
}
"""gRPC's word for each outcome, as metrics have it."""


def asked(settings: Settings, roots: Sequence[bytes]) -> Options | None:
    """
    Return what the settings say of an authorize service elsewhere; None if they need none.

    Args:
        settings: checked already.
        roots: the shared secret in force, then the previous one.
    """
    if settings.decides_here or not settings.runs("proxy"):
        return None
    return Options(
        urls=settings.authorize_service_urls,
        keys=ring(roots, Purpose.GRPC),
        security=Security(
            plain=settings.authorize_service_urls[0].scheme == "http",
            authorities=settings.certificate_authority or b"",
            certificate_name=settings.override_certificate_name or "",
            shown=_shown(settings),
        ),
        timeout=settings.grpc_client_timeout,
        attempt=settings.grpc_attempt_timeout,
        in_turn=settings.grpc_client_dns_roundrobin,
        resolve_interval=settings.grpc_resolve_interval,
    )


def _shown(settings: Settings) -> CertificatePair | None:
    chain, key = settings.grpc_client_certificate, settings.grpc_client_certificate_key
    if chain is None or key is None:
        return None
    return CertificatePair(chain=chain, key=key, place="grpc_client_certificate")


@attrs.define(eq=False)
class AuthorizeClient:
    """
    Asks replicas elsewhere; implements ``access.authorizer.Remote``.

    Args:
        reactor: everything of it: time, threads.
        now: seconds since the epoch; safe on any thread.
    """

    _reactor: Any
    _now: Callable[[], float]
    _options: Options | None = None
    _begun: bool = False
    _pool: Pool | None = None
    _loop: Loop | None = None

    def take(self, options: Options | None) -> None:
        """Go by these from now on; None is to ask nobody."""
        self._options = options
        if not self._begun:
            return
        if options is None:
            self._hang_up()
            return
        if self._pool is None:
            self._pool = self._made()
        self._pool.take(options)

    def begin(self) -> None:
        """Connect, if there is somebody to ask; from here on this process must not fork."""
        self._begun = True
        self.take(self._options)

    def _made(self) -> Pool:
        from pomeriumd.rpc.channel import Dialer  # noqa: PLC0415  # only now: it imports grpc
        from pomeriumd.rpc.loop import Loop  # noqa: PLC0415

        reactor = self._reactor
        self._loop = Loop(reactor.callFromThread)

        def in_thread(work: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
            return deferToThreadPool(reactor, reactor.getThreadPool(), work, *arguments)

        return Pool(
            dial=Dialer(self._loop, self._now),
            look_up=by_system(in_thread),
            clock=reactor,
            now=self._now,
        )

    def _hang_up(self) -> Deferred[None] | None:
        pool, loop, self._pool, self._loop = self._pool, self._loop, None, None
        if pool is not None:
            pool.stop()
        return None if loop is None else loop.stop()

    async def stop(self) -> None:
        """Hang up; who still waits for a decision gets none."""
        ended = self._hang_up()
        self._begun = False
        if ended is not None:
            await ended

    async def awaited(self, seconds: float) -> None:
        """
        Wait until somebody is there to decide, if anybody has to be asked; only so many seconds.

        Raises:
            CancelledError: this process hangs up first.
        """
        if self._pool is not None:
            await self._pool.awaited(seconds)

    # As Remote

    def check(self, question: Question) -> Deferred[Given]:
        """
        Have one replica answer.

        Raises:
            Undecided: (from the Deferred) none did, in time.
        """
        if self._pool is None:
            raise Undecided("no authorize service is asked by this process")
        return self._pool.check(question)

    def holds(self, replica: str, generation: str) -> bool | None:
        """Say whether what a replica decided under a generation still holds."""
        return None if self._pool is None else self._pool.holds(replica, generation)

    # To look at

    @property
    def calls(self) -> Mapping[Labels, int]:
        """Return how many questions were put to replicas, as ``observing.Calling`` has it."""
        calls: Counter[Labels] = Counter()
        for (address, outcome), count in self.counters.attempts.items():
            calls[address, *CHECK, STATUS[outcome]] += count
        return calls

    @property
    def counters(self) -> Counters:
        """Return what has been counted since it began."""
        return Counters() if self._pool is None else self._pool.counters

    @property
    def replicas(self) -> tuple[ReplicaStatus, ...]:
        """Return how each replica stands."""
        return () if self._pool is None else self._pool.replicas

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Return all that is wrong now, and what to change."""
        return () if self._pool is None else self._pool.problems
