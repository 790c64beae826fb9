"""
A connection to one replica, by ``grpc.aio``.

Importing this imports grpc: never in the supervisor, nor before twistd has forked.

Each has its own connection, which shares nothing with another's; pings keep it open through
firewalls that forget what is silent, and find a host that has gone. Two streams are read for
as long as it lives, health (grpc.health.v1) and policy (``Watch``); whichever ends is opened
again, at once the first time and then with pauses.
"""

from __future__ import annotations

import asyncio
import functools
import os
import ssl
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import attrs

# Its C core writes to stderr of every handshake that fails; we say it in words, once.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc  # see above
import grpc.aio
from grpc_health.v1 import health_pb2

from pomeriumd.access.verdict import Question, Verdict
from pomeriumd.errors import Undecided
from pomeriumd.rpc import api, tokens
from pomeriumd.rpc.endpoint import Endpoint
from pomeriumd.rpc.failures import (
    NOT_SERVING,
    SILENT,
    Failed,
    Kind,
    Seen,
    explain,
)
from pomeriumd.rpc.line import Ear, Line, Metadata, Security
from pomeriumd.rpc.loop import Loop

SILENCE = 2.5 * api.BEAT
"""Seconds after which a policy stream that says nothing is taken for dead."""

FIRST_WORD = 3.0
"""Seconds within which a stream says its first word, connecting included."""

SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 1.0
"""Seconds before a stream that failed is opened again: as soon is a replica back."""

LASTS = 1.0
"""Seconds after which a stream that ends is opened again at once."""

NO_HEALTH_PAUSE = 60.0
"""Seconds after which a service that had no health is asked for it again."""

HEALTH_CHECK = "/grpc.health.v1.Health/Check"
HEALTH_WATCH = "/grpc.health.v1.Health/Watch"

_ASKING = bytes(health_pb2.HealthCheckRequest(service=api.SERVICE).SerializeToString())
_SERVING = health_pb2.HealthCheckResponse.SERVING

_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
"""Where Debian and Red Hat keep the authorities that a host trusts, PEM."""

OPTIONS = (
    # Channels with the same arguments would share one connection, and its fate.
    ("grpc.use_local_subchannel_pool", 1),
    # A retry goes to another replica, and that is the pool's to decide.
    ("grpc.enable_retries", 0),
    ("grpc.service_config_disable_resolution", 1),
    # $https_proxy is for the Internet.
    ("grpc.enable_http_proxy", 0),
    # The server takes pings every 5 s and more. Stateful firewalls forget after minutes.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 2_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Also the longest that one attempt to connect takes, TLS included; 20 s by default.
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_receive_message_length", api.MESSAGE_SIZE),
)


class Dialer:
    """
    Makes channels; they live in the thread of one loop.

    Args:
        loop: that has it.
        now: gives seconds since the epoch; called in the loop's thread.
    """

    def __init__(self, loop: Loop, now: Callable[[], float]) -> None:
        self._loop, self._now = loop, now
        self._made: tuple[Security, grpc.ChannelCredentials] | None = None

    def __call__(
        self, endpoint: Endpoint, security: Security, metadata: Callable[[], Metadata], ear: Ear
    ) -> Line:
        """Begin to connect; as ``Dial`` says."""
        credentials = None if security.plain else self._credentials(security)
        return Channel(self._loop, endpoint, security, credentials, metadata, ear, self._now)

    def _credentials(self, security: Security) -> grpc.ChannelCredentials:
        # Reading some 140 authorities takes milliseconds: once for all replicas.
        if self._made is None or self._made[0] != security:
            pair = security.shown
            self._made = (
                security,
                grpc.ssl_channel_credentials(
                    root_certificates=system_authorities() + security.authorities,
                    private_key=None if pair is None else pair.key.reveal(),
                    certificate_chain=None if pair is None else pair.chain,
                ),
            )
        return self._made[1]


class Channel:
    """One connection, and the two streams of it; see the module, and ``Line``."""

    def __init__(
        self,
        loop: Loop,
        endpoint: Endpoint,
        security: Security,
        credentials: grpc.ChannelCredentials | None,
        metadata: Callable[[], Metadata],
        ear: Ear,
        now: Callable[[], float],
    ) -> None:
        self._loop, self._endpoint, self._security = loop, endpoint, security
        self._credentials, self._metadata, self._ear, self._now = credentials, metadata, ear, now
        self._closed = False
        self._tasks: set[asyncio.Task[None]] = set()
        loop.do(self._open)

    # In the reactor's thread

    def check(
        self,
        question: Question,
        seconds: float,
        *,
        patient: bool,
        done: Callable[[Verdict | Failed], None],
    ) -> Callable[[], None]:
        """Ask a question; as ``Line`` says."""
        asked = _Asked(done)
        self._loop.do(lambda: self._ask(asked, question, seconds, patient=patient))

        def give_up() -> None:
            asked.done = None
            self._loop.do(asked.cancel)

        return give_up

    def probe(self, seconds: float, done: Callable[[Failed | None], None]) -> None:
        """Ask whether it serves; as ``Line`` says."""
        self._loop.do(lambda: self._spawn(self._probe(seconds, done)))

    def close(self) -> None:
        """Hang up."""
        if not self._closed:
            self._closed = True
            self._loop.do(self._shut)

    # In the loop's thread

    def _open(self) -> None:
        # A certificate has to be for the authority of a call as well, so both are one name.
        name = self._security.certificate_name or self._endpoint.name
        authority = attrs.evolve(self._endpoint, name=name).authority
        options = [*OPTIONS, ("grpc.default_authority", authority)]
        target = f"ipv6:{self._endpoint.text}"
        if ":" not in self._endpoint.address:
            target = f"ipv4:{self._endpoint.text}"
        if self._credentials is None:
            self._channel = grpc.aio.insecure_channel(target, options=options)
        else:
            options.append(("grpc.ssl_target_name_override", name))
            self._channel = grpc.aio.secure_channel(target, self._credentials, options=options)
        self._check: Any = self._channel.unary_unary(api.CHECK)
        self._spawn(self._hear(HEALTH_WATCH, _ASKING, self._health, None))
        self._spawn(self._hear(api.WATCH, api.WATCHING, self._policy, SILENCE))

    def _shut(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._loop.spawn(self._channel.close(None))

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task = self._loop.spawn(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _tell(self, tell: Callable[[], None]) -> None:
        """Have the ear told, unless it has hung up in the meantime."""

        def told() -> None:
            if not self._closed:
                tell()

        self._loop.back(told)

    def _ask(self, asked: _Asked, question: Question, seconds: float, *, patient: bool) -> None:
        if asked.done is not None:
            asked.task = self._spawn(self._asked(asked, question, seconds, patient=patient))

    async def _asked(
        self, asked: _Asked, question: Question, seconds: float, *, patient: bool
    ) -> None:
        outcome: Verdict | Failed
        try:
            answer = await self._check(
                api.write_question(question),
                timeout=seconds,
                metadata=self._metadata(),
                wait_for_ready=patient,
            )
            outcome = api.read_verdict(answer)
        except grpc.aio.AioRpcError as error:
            outcome = self._explain(error)
        except Undecided as error:
            outcome = Failed(Kind.BROKEN, str(error), "")
        self._loop.back(lambda: asked.end(outcome))

    async def _probe(self, seconds: float, done: Callable[[Failed | None], None]) -> None:
        failed: Failed | None = None
        try:
            call: Any = self._channel.unary_unary(HEALTH_CHECK)
            answer = await call(
                _ASKING, timeout=seconds, metadata=self._metadata(), wait_for_ready=True
            )
            if not _serves(answer):
                failed = NOT_SERVING
        except grpc.aio.AioRpcError as error:
            # A service without health is taken at its calls. Source: gRPC, health checking.
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                failed = self._explain(error)
        self._tell(lambda: done(failed))

    # The streams

    async def _hear(
        self,
        method: str,
        request: Any,  # bytes: its stubs know no method without a serializer
        word: Callable[[bytes], None],
        silence: float | None,
    ) -> None:
        """Read a stream for ever, with a pause after each time that it did not last."""
        pause, now = 0.0, asyncio.get_running_loop().time
        while True:
            began, failed = now(), None
            stream: Any = self._channel.unary_stream(method)(request, metadata=self._metadata())
            try:
                await self._read(stream, word, silence)
            except grpc.aio.AioRpcError as error:
                if method == HEALTH_WATCH and error.code() is grpc.StatusCode.UNIMPLEMENTED:
                    await self._no_health()
                    continue
                failed = self._explain(error)
            except TimeoutError:
                failed = SILENT
            except Undecided as error:
                failed = Failed(Kind.BROKEN, str(error), "is it of the same version as we are?")
            finally:
                stream.cancel()
            # Servers end streams when a connection has grown old: that is no failure.
            lasted = now() - began >= LASTS
            self._unheard(method, None if lasted else failed)
            pause = 0.0 if lasted else min(max(2 * pause, SHORTEST_PAUSE), LONGEST_PAUSE)
            await asyncio.sleep(pause)

    async def _read(
        self, stream: Any, word: Callable[[bytes], None], silence: float | None
    ) -> None:
        """Read to the end; raise when it takes too long to begin, or is silent for too long."""
        async with asyncio.timeout(FIRST_WORD):
            ahead = _ahead(await stream.initial_metadata(), self._now())
            said = await stream.read()
        if ahead is not None:
            self._tell(functools.partial(self._ear.clock_is, ahead))
        while said is not grpc.aio.EOF:
            word(said)
            async with asyncio.timeout(silence):
                said = await stream.read()

    async def _no_health(self) -> None:
        """Take a service without health at its calls. Source: gRPC, health checking."""
        self._tell(functools.partial(self._ear.serves, serving=True))
        await asyncio.sleep(NO_HEALTH_PAUSE)

    def _unheard(self, method: str, failed: Failed | None) -> None:
        def tell() -> None:
            if method == HEALTH_WATCH:
                self._ear.serves(serving=None)
            else:
                self._ear.decides_by("")
            if failed is not None:
                self._ear.fails(failed)

        self._tell(tell)

    def _health(self, said: bytes) -> None:
        self._tell(functools.partial(self._ear.serves, serving=_serves(said)))

    def _policy(self, said: bytes) -> None:
        self._tell(functools.partial(self._ear.decides_by, api.read_generation(said)))

    def _explain(self, error: grpc.aio.AioRpcError) -> Failed:
        metadata = error.trailing_metadata() or ()
        security = self._security
        seen = Seen(
            code=error.code().name,
            details=error.details() or "",
            refused=_field(metadata, tokens.REFUSED_FIELD),
            ahead=_ahead(metadata, self._now()),
            plain=security.plain,
            shown=security.shown is not None,
            server_name=security.certificate_name or self._endpoint.name,
        )
        return explain(seen, self._endpoint)


@attrs.define(eq=False)
class _Asked:
    """One call: ``done`` is emptied in the reactor's thread when nobody waits any more."""

    done: Callable[[Verdict | Failed], None] | None
    task: asyncio.Task[None] | None = None

    def cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()

    def end(self, outcome: Verdict | Failed) -> None:
        done, self.done = self.done, None
        if done is not None:
            done(outcome)


def system_authorities() -> bytes:
    """
    Return the authorities that this host trusts, PEM; empty if it has no bundle of them.

    grpc would take its own, which the host's administrator knows nothing of.
    """
    paths = ssl.get_default_verify_paths()
    for place in (paths.cafile, *_BUNDLES):
        if place is not None and Path(place).is_file():
            return Path(place).read_bytes().rstrip() + b"\n"
    return b""


def _serves(answer: bytes) -> bool:
    return bool(health_pb2.HealthCheckResponse.FromString(answer).status == _SERVING)


def _field(metadata: Iterable[tuple[str, str | bytes]], name: str) -> str:
    return next((str(value) for key, value in metadata if key == name), "")


def _ahead(metadata: Iterable[tuple[str, str | bytes]] | None, now: float) -> float | None:
    text = _field(metadata or (), tokens.TIME_FIELD)
    return float(text) - now if text.isascii() and text.isdigit() and len(text) < 12 else None  # noqa: PLR2004  # seconds of a date
