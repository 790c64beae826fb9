"""
What serves in one process: its connections, and the generation in force.

A supervisor's worker has one, and so has a daemon of a single process. Both are asked for the
same few things (``servants.Servants``), so that nothing else has to know which of them it is.
"""

from __future__ import annotations

import gc
import os
import secrets
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from pomeriumd.daemon import frames
from pomeriumd.daemon.access_log import AccessLog
from pomeriumd.daemon.authorize_client import AuthorizeClient
from pomeriumd.daemon.authorize_server import AuthorizeServer
from pomeriumd.daemon.autocert import Autocert, issuing_of
from pomeriumd.daemon.board import Board
from pomeriumd.daemon.build import Built, building
from pomeriumd.daemon.collector import leave_alone, left_alone
from pomeriumd.daemon.descriptors import needed, provide, share
from pomeriumd.daemon.frames import BadFrames, Framed
from pomeriumd.daemon.front import Front
from pomeriumd.daemon.listeners import MAIN, REDIRECT, CannotBind
from pomeriumd.daemon.logs import LineObserver
from pomeriumd.daemon.messages import CannotServe
from pomeriumd.daemon.observing import Observing
from pomeriumd.daemon.pieces import in_pieces
from pomeriumd.daemon.plain_front import PlainFront, share_of
from pomeriumd.daemon.servants import DRAIN_SECONDS
from pomeriumd.daemon.staple_files import StapleFiles, StapleReader
from pomeriumd.daemon.stapling import Stapling
from pomeriumd.daemon.sweep import Sweep
from pomeriumd.daemon.tally import Tally
from pomeriumd.daemon.world import World
from pomeriumd.errors import Problem, SettingsError
from pomeriumd.http.limits import Limits
from pomeriumd.net.connect import Connectors
from pomeriumd.net.contexts import CertificateStore
from pomeriumd.net.deadlines import Deadlines
from pomeriumd.net.names import resolver
from pomeriumd.net.port import Port
from pomeriumd.net.server import ServerConnections
from pomeriumd.net.staples import Staples
from pomeriumd.net.upstreams import Upstreams
from pomeriumd.net.verify import HTTPSPolicy, system_trust
from pomeriumd.oidc.agent import provider_agent
from pomeriumd.pieces import Pieces
from pomeriumd.proxy.client_address import TrustedProxies
from pomeriumd.proxy.path import Edge
from pomeriumd.settings.model import Settings

READY_SECONDS = 2.0
"""For the first connection to authorize. Without one we serve all the same: what is remembered
elsewhere says nothing here, but our own pages and health checks are answered."""


def world_of(reactor: Any) -> World:
    """Return what generations need from outside; nobody elsewhere is asked for decisions."""
    return World(
        agent=provider_agent(reactor, HTTPSPolicy()),
        clock=reactor,
        now=time.time,  # noqa: TID251  # here the arguments come from
        random=secrets.token_bytes,
        connector=Connectors(reactor),
    )


@attrs.define(eq=False, kw_only=True)
class Serving:
    """
    Serves, under one generation after the other.

    Args:
        reactor: everything of it: time, sockets, names.
        observer: the log of this process.
        tally: its numbers.
        workers: how many processes share what is bounded for all of them together.
        board: of the workers that accept from the same socket.
    """

    _reactor: Any
    _observer: LineObserver
    _tally: Tally
    _workers: int = 1
    _board: Board | None = None
    tell_signed_out: Callable[[str], object] = attrs.field(default=lambda _: None, init=False)
    """Tells other processes that a session was signed out here."""
    _world: World = attrs.field(init=False)
    _limits: Limits = attrs.field(factory=Limits, init=False)
    _deadlines: Deadlines = attrs.field(init=False)
    authorize: AuthorizeClient = attrs.field(init=False)
    """Decides elsewhere, where it has to."""
    _answering: AuthorizeServer = attrs.field(init=False)
    _autocert: Autocert = attrs.field(init=False)
    _access: AccessLog = attrs.field(init=False)
    _upstreams: Upstreams = attrs.field(init=False)
    _staples: StapleReader = attrs.field(init=False)
    _stapling: Stapling = attrs.field(init=False)
    _front: Front | None = attrs.field(default=None, init=False)
    _wanted: int = attrs.field(default=0, init=False)
    """Number of the generation that is prepared; 0 for none."""
    _prepared: Built | None = attrs.field(default=None, init=False)
    _ports: dict[str, Port] = attrs.field(factory=dict, init=False)
    _sweep: Sweep | None = attrs.field(default=None, init=False)
    _observing: Observing | None = attrs.field(default=None, init=False)
    _log = Logger()

    def __attrs_post_init__(self) -> None:
        reactor = self._reactor
        reactor.installNameResolver(resolver(reactor))
        self._deadlines = Deadlines(reactor)
        self.authorize = AuthorizeClient(reactor, time.time)  # noqa: TID251  # as above
        self._answering = AuthorizeServer(reactor, time.time)  # noqa: TID251  # as above
        world, staples = world_of(reactor), Staples(time.time)  # noqa: TID251  # as above
        self._autocert = autocert_of(reactor)
        self._world = attrs.evolve(
            world,
            authorize=self.authorize,
            problems=self._problems,
            count_tls=self._tally.count_tls,
            staples=staples,
        )
        self._staples = StapleReader(staples, reactor, world.now)
        self._stapling = Stapling(
            agent=world.agent, clock=reactor, now=world.now, random=world.random
        )
        self._access = self._observer.access_log(reactor)
        self._upstreams = Upstreams(self._limits, self._deadlines, reactor)

    # Generations

    async def prepare(self, number: int, content: int) -> None:
        """
        Build a generation, in pieces between requests.

        Args:
            number: to call it by.
            content: descriptor of its settings; the caller closes it.

        Raises:
            CannotServe: it cannot be built.
        """
        self._wanted, self._prepared = number, None
        try:
            with left_alone():
                framed = await in_pieces(frames.reading(content), self._reactor)
                built = await in_pieces(self.building(framed), self._reactor)
        except (BadFrames, OSError, SettingsError) as error:
            raise CannotServe(str(error)) from error
        # It may have taken so long that whoever asked has given it up.
        if self._wanted == number:
            self._prepared = built

    def building(self, framed: Framed) -> Pieces[Built]:
        """Build a generation; raise SettingsError if it cannot be."""
        before = None if self._front is None else self._front.built
        settings = framed.settings
        # Before there are connections: browsers refuse some certificates without.
        yield from self._staples.reading(StapleFiles(settings.state_dir, self._world.random))
        return (
            yield from building(settings, framed.shared_secret, self._world, self._limits, before)
        )

    def serve(self, number: int) -> None:
        """
        Take a generation into force that was prepared.

        Raises:
            CannotServe: none of this number was.
        """
        built = self._prepared
        if built is None or self._wanted != number:
            raise CannotServe(f"generation {number} was not prepared")
        self.discard(number)
        self._begin_sweeps(self.take(built))

    def discard(self, number: int) -> None:
        """Forget a generation that was prepared, or was not."""
        if self._wanted == number:
            self._wanted, self._prepared = 0, None

    def take(self, built: Built) -> Front:
        """Serve under a generation from now on; what has begun ends under its own."""
        settings = built.settings
        if settings.http_redirect_addr is None and REDIRECT in self._ports:
            self._ports.pop(REDIRECT).stopListening()
        for name, port in self._ports.items():
            port.store, port.senders = _store(name, built), _senders(built)
            port.allow(self._most(name, settings))
        each = share(settings.upstream_max_connections, self._workers)
        self._rest(self._upstreams.keep(built.endpoints.keys(), each))
        self.authorize.take(built.asked)
        self._answering.take(built)
        self._stapling.take(settings)
        self._autocert.take(built)
        self._observer.set_level(settings.log_level)
        clients = self._most(MAIN, settings)
        if settings.http_redirect_addr is not None:
            clients += self._most(REDIRECT, settings)
        provide(needed(clients, each, built.endpoints.keys()))
        if self._front is not None:
            self._front.swap(built)
            return self._front
        self._front = front = Front(
            built=built,
            edge=Edge(upstreams=self._upstreams, now=self._world.now, clock=time.monotonic),
            limits=self._limits,
            deadlines=self._deadlines,
            record=self._access.record,
            tally=self._tally,
            turn_end=getattr(self._reactor, "turn_end", None),
            run_id=secrets.token_hex(6),
        )
        # Read while nobody waits: the first sign-in, or a reload that brings the first peer with
        # TLS, would stop everybody for the 20 ms that it takes.
        system_trust()
        gc.collect()
        leave_alone()
        return front

    def _most(self, name: str, settings: Settings) -> int:
        """Return how many connections may come to this process by a socket."""
        most = share(settings.max_connections, self._workers)
        return share_of(most) if name == REDIRECT else most

    def _rest(self, work: Pieces[None]) -> None:
        """Do in pieces what nobody waits for."""
        done = Deferred.fromCoroutine(in_pieces(work, self._reactor))
        done.addErrback(lambda failure: self._log.failure("what follows a reload failed", failure))

    # Sockets

    async def ready(self) -> None:
        """
        Wait for who decides, if that is somebody else; return at once when we serve already.

        Who comes meanwhile waits in the queue of the socket, and is served. Accepted, they
        would be told that nobody decides.

        Raises:
            CancelledError: we were told to end.
        """
        if not self._ports:
            await self.authorize.awaited(READY_SECONDS)

    def listen(self, name: str, descriptor: int) -> None:
        """
        Accept connections from a socket, in place of the one of the same name.

        Args:
            name: of the socket.
            descriptor: of the socket, which listens already; it is ours from here on.

        Raises:
            CannotServe: there is no generation to serve under.
        """
        front = self._front
        if front is None:
            os.close(descriptor)
            raise CannotServe("no generation serves yet")
        redirects = name == REDIRECT
        if redirects and front.built.settings.http_redirect_addr is None:
            os.close(descriptor)  # it was sent under the settings of before
            return
        port = Port.adopt(
            descriptor,
            ServerConnections(PlainFront(front) if redirects else front),
            self._reactor,
            store=_store(name, front.built),
            deadlines=self._deadlines,
            most=self._most(name, front.built.settings),
            sharing=None if redirects else self._board,
            senders=_senders(front.built),
        )
        port.startListening()
        if self._board is not None and not redirects:
            self._board.joins()
        before = self._ports.pop(name, None)
        self._ports[name] = port
        if name == MAIN:
            self._begin_sweeps(front)
            self._observe(front, port)
        if before is not None:
            # What waits in its queue came for the old address and would be reset.
            before.doRead()
            before.stopListening()

    # Other services

    def begin(self) -> None:
        """Ask whoever decides elsewhere from now on; after this the process must not fork."""
        self.authorize.begin()
        self._staples.start()

    def bind(self) -> None:
        """
        Bind what proxies elsewhere ask at, if there is to be such a thing.

        Raises:
            CannotBind: it cannot be had.
        """
        if self._front is not None and not self._answering.bound:
            self._answering.bind(self._front.built.settings)

    def answer(self) -> None:
        """
        Do from now on what one process does for all.

        That is to order certificates, to ask OCSP responders, and to answer proxies elsewhere,
        if there are to be such things.

        Raises:
            CannotServe: the address for proxies cannot be had.
        """
        if self._front is None:
            raise CannotServe("no generation serves yet")
        self._stapling.begin(self._front.built.settings)
        self._autocert.begin(self._front.built)
        try:
            self.bind()
        except CannotBind as error:
            raise CannotServe(str(error)) from error
        self._answering.begin(self._front.built)

    def _problems(self) -> Sequence[Problem]:
        return (*self.authorize.problems, *self._answering.problems)

    def _begin_sweeps(self, front: Front) -> None:
        """Decide streams again from now on, and free old generations: also in reserve."""
        if self._sweep is None:
            self._sweep = Sweep(front, self._reactor, self.tell_signed_out)
            self._sweep.startService()

    def _observe(self, front: Front, port: Port) -> None:
        """Write down from now on how this process stands."""
        if self._observing is not None:
            self._observing.port = port
            return
        self._observing = Observing(
            tally=self._tally,
            clock=self._reactor,
            front=front,
            port=port,
            upstreams=self._upstreams,
            lines=self._observer.lines,
            streams=self._streams,
            calling=self.authorize,
            answering=self._answering,
            stapling=self._stapling,
            ordering=self._autocert,
        )
        self._observing.startService()

    def signed_out(self, session: str) -> None:
        """End what a session has open that another process has signed out."""
        if self._sweep is not None:
            self._sweep.signed_out(session)

    def _streams(self) -> int:
        return 0 if self._sweep is None else self._sweep.open

    # The end

    async def stop(self, seconds: float = DRAIN_SECONDS) -> None:
        """Accept no more, let what is under way end within so many seconds, close the rest."""
        front = self._front
        if front is not None:
            self._log.info("stopping: {count} connections to drain", count=len(front.connections))
        self._autocert.stop()
        if self._board is not None:
            self._board.leaves()
        answered = Deferred.fromCoroutine(self._answering.stop(seconds))
        for port in self._ports.values():
            stopping = port.stopListening()
            if stopping is not None:
                await stopping
        if front is not None:
            await front.drain(self._reactor, seconds)
            front.tell_all()
        await answered
        await self.authorize.stop()
        self._staples.stop()
        self._stapling.stop()
        self._upstreams.close()
        for part in (self._sweep, self._observing):
            if part is not None:
                part.stopService()
        self._access.flush()


def _store(name: str, built: Built) -> CertificateStore | None:
    """Return what a socket has TLS with; None is without."""
    return None if name == REDIRECT else built.store


def autocert_of(reactor: Any) -> Autocert:
    """Return what orders certificates; it does nothing before it begins."""
    now, random = time.time, secrets.token_bytes  # noqa: TID251  # here the arguments come from

    def aside(work: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return deferToThreadPool(reactor, reactor.getThreadPool(), work, *arguments)

    return Autocert(
        clock=reactor,
        now=now,
        random=random,
        aside=aside,
        start=partial(issuing_of, reactor, now, random, aside),
    )


def _senders(built: Built) -> TrustedProxies | None:
    """Return whose PROXY headers are believed; None where connections begin with none."""
    return built.generation.trusted if built.settings.use_proxy_protocol else None
