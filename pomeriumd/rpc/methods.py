"""
What authorize answers over gRPC: its own service, health, and reflection.

Every call goes through one place, unary or streaming, before its first message is waited
for: there its token is looked at. Without one only ``grpc.health.v1`` answers, because the
balancers that ask it have none; it says no more than whether we serve. Who has no token
cannot keep a call open, but for a bounded number that follow our health.

An answer is worked out on the loop's thread, by frozen policies; nothing waits for another
thread. Whatever goes wrong is a status: never an answer that lets somebody in.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias
from urllib.parse import unquote

import attrs
import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import aio as reflection
from twisted.logger import LogLevel
from twisted.python.failure import Failure

from pomeriumd.access.verdict import Question, Verdict
from pomeriumd.crypto.keys import KeyRing
from pomeriumd.errors import BadMessage
from pomeriumd.rpc import api, tokens
from pomeriumd.rpc.reports import Report, Seldom
from pomeriumd.rpc.told import Told

WATCHES = 1024
"""Most ``Watch`` streams: of so many proxy processes."""
WITHOUT_TOKEN = 1024
"""Most calls and streams of health: of the same, and of balancers. There is room for others
beside them (``server.AT_ONCE``)."""
REFLECTIONS = 16
"""Most streams of reflection: of so many people with a tool."""

PATIENCE = 10.0
"""Seconds for the one message of somebody who needed no token."""

HEALTH = "grpc.health.v1.Health"
REFLECTION = "grpc.reflection.v1alpha.ServerReflection"
HEALTH_CHECK = f"/{HEALTH}/Check"
HEALTH_WATCH = f"/{HEALTH}/Watch"
REFLECT = f"/{REFLECTION}/ServerReflectionInfo"
OPEN = frozenset({HEALTH_CHECK, HEALTH_WATCH})
"""What needs no token."""
NO_POLICIES = "there are no policies to answer by"
UNKNOWN = "unknown"
"""What calls of methods that are none of ours are counted under."""

Context = grpc.aio.ServicerContext[Any, bytes]
Code = grpc.StatusCode
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_Work = Callable[[Any, Context], Awaitable[bytes | None]]

_SERVING: bytes = health_pb2.HealthCheckResponse(status="SERVING").SerializeToString()
_NOT_SERVING: bytes = health_pb2.HealthCheckResponse(status="NOT_SERVING").SerializeToString()
_NO_SERVICE: bytes = health_pb2.HealthCheckResponse(status="SERVICE_UNKNOWN").SerializeToString()

_REMEDIES: Mapping[str, str] = {
    tokens.MISSING: "is it a proxy of ours, and does what lies between leave authorization alone?",
    tokens.ANOTHER_KIND: "is it a proxy of ours, of this version?",
    tokens.SECRET: "set the same shared_secret there and here",
    tokens.CLOCK: "set the clocks right, there and here (timedatectl, chronyc tracking)",
}


@attrs.frozen(kw_only=True, eq=False)
class Served:
    """What is answered by."""

    answer: Callable[[Question], Verdict]
    """Quick, and safe on any thread."""
    generation: str
    """Digest of the policies that it answers by."""
    keys: KeyRing = attrs.field(repr=False)
    """Of ``Purpose.GRPC``."""
    admission: tokens.Admission = attrs.field(init=False, repr=False)

    @admission.default
    def _of_keys(self) -> tokens.Admission:
        return tokens.Admission(self.keys)


@attrs.define(eq=False)
class Counts:
    """What was answered; written on the server's thread, and read on any."""

    answered: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    """Calls, by method (``/service/name``, or ``UNKNOWN``) and the name of their status; a
    stream counts when it ends."""
    refused: Counter[str] = attrs.field(factory=Counter)
    """Calls that were not admitted, by the words of ``tokens``."""
    failures: int = 0
    """Calls that we failed ourselves: bugs."""

    def taken(self) -> tuple[dict[tuple[str, str], int], dict[str, int], int]:
        """Return a copy of all three: in one step each, so that no thread is in between."""
        return dict.copy(self.answered), dict.copy(self.refused), self.failures


class _Ends(Exception):  # how a call ends
    """A call ends with a status that is not OK."""

    def __init__(self, code: Code, text: str, metadata: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(text)
        self.code = code
        self.metadata = metadata


class Methods(grpc.GenericRpcHandler):
    """
    The methods, and what they share; all of it is used on one loop's thread.

    Args:
        now: seconds since the epoch.
        report: see there.
    """

    def __init__(self, now: Callable[[], float], report: Report) -> None:
        self.counts = Counts()
        self.generations: Told[str | None] = Told(None)
        self.health: Told[bytes] = Told(_NOT_SERVING)
        self._served: Served | None = None
        self._now = now
        self._report = report
        self._said = Seldom()
        self._failed = Seldom()
        self._reflecting = 0
        self._without_token = 0
        self._reflection = reflection.ReflectionServicer([api.SERVICE, HEALTH, REFLECTION])
        self._handlers: dict[str, _Handler] = {
            api.CHECK: grpc.unary_unary_rpc_method_handler(self._ended(api.CHECK, self._check)),
            api.WATCH: grpc.unary_stream_rpc_method_handler(self._ended(api.WATCH, self._watch)),
            REFLECT: grpc.stream_stream_rpc_method_handler(self._ended(REFLECT, self._reflect)),
            # As streams: grpc would wait for the message of any other for ever.
            HEALTH_CHECK: grpc.stream_stream_rpc_method_handler(
                self._ended(HEALTH_CHECK, self._health_check)
            ),
            HEALTH_WATCH: grpc.stream_stream_rpc_method_handler(
                self._ended(HEALTH_WATCH, self._health_watch)
            ),
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> _Handler | None:
        """Return what answers a call of which nothing has come but its head."""
        method = handler_call_details.method
        handler = self._handlers.get(method)
        if handler is None:
            self.counts.answered[UNKNOWN, Code.UNIMPLEMENTED.name] += 1
            return None
        if method in OPEN:
            return handler
        if self._served is None:
            return self._ending(method, _Ends(Code.UNAVAILABLE, NO_POLICIES))
        try:
            self._served.admission.admit(handler_call_details.invocation_metadata, self._now())
        except tokens.Refused as error:
            return self._refusing(method, error)
        return handler

    def serve(self, served: Served | None) -> None:
        """Answer by this from now on; None is by nothing, which no call survives."""
        self._served = served
        self.generations.tell(None if served is None else served.generation)
        self.health.tell(_NOT_SERVING if served is None else _SERVING)

    def withdraw(self) -> None:
        """Say that we do not serve, to whoever asks for our health; calls are answered still."""
        self.health.tell(_NOT_SERVING)

    def end(self) -> None:
        """End the streams that would never end by themselves."""
        self.generations.end()
        self.health.end()

    # What each method does. A streaming one writes its messages and returns None.

    async def _check(self, data: bytes, context: Context) -> bytes:
        served = self._served
        if served is None:
            raise _Ends(Code.UNAVAILABLE, NO_POLICIES)
        try:
            question = api.read_question(data)
        except BadMessage as error:
            raise _Ends(Code.INVALID_ARGUMENT, str(error)) from None
        return api.write_verdict(served.answer(question))

    async def _watch(self, data: bytes, context: Context) -> None:
        if self.generations.followers >= WATCHES:
            raise _Ends(Code.RESOURCE_EXHAUSTED, f"{WATCHES} streams are open already")
        await context.send_initial_metadata(self._time())

        async def write(generation: str | None) -> None:
            if generation is None:
                raise _Ends(Code.UNAVAILABLE, NO_POLICIES)
            await context.write(api.write_generation(generation))

        await self.generations.follow(write, api.BEAT)

    async def _reflect(self, messages: AsyncIterator[bytes], context: Context) -> None:
        if self._reflecting >= REFLECTIONS:
            raise _Ends(Code.RESOURCE_EXHAUSTED, f"{REFLECTIONS} streams are open already")

        async def asked() -> AsyncIterator[Any]:
            async for data in messages:
                yield _parsed(reflection_pb2.ServerReflectionRequest, data)

        self._reflecting += 1
        try:
            async for answer in self._reflection.ServerReflectionInfo(asked(), context):
                await context.write(answer.SerializeToString())
        finally:
            self._reflecting -= 1

    async def _health_check(self, messages: AsyncIterator[bytes], context: Context) -> None:
        with self._bounded():
            if not await _of_ours(messages):
                raise _Ends(Code.NOT_FOUND, "there is no such service")
            await context.write(self.health.value)

    async def _health_watch(self, messages: AsyncIterator[bytes], context: Context) -> None:
        with self._bounded():
            known = await _of_ours(messages)

            async def write(status: bytes) -> None:
                await context.write(status if known else _NO_SERVICE)

            await self.health.follow(write)

    @contextmanager
    def _bounded(self) -> Iterator[None]:
        """Have a part of what may be under way without a token."""
        if self._without_token >= WITHOUT_TOKEN:
            raise _Ends(Code.RESOURCE_EXHAUSTED, f"{WITHOUT_TOKEN} calls of health are under way")
        self._without_token += 1
        try:
            yield
        finally:
            self._without_token -= 1

    # How they end.

    def _ended(self, method: str, work: _Work) -> Callable[[Any, Context], Any]:
        """Return a method whose every end has a status, and is counted."""

        async def answer(data: Any, context: Context) -> bytes | None:
            code = Code.CANCELLED
            try:
                done = await work(data, context)
                code = Code.OK
            except _Ends as end:
                code, failed = end.code, end
            except asyncio.CancelledError:
                raise
            except Exception:  # noqa: BLE001  # a bug is no reason to let somebody in
                code, failed = Code.INTERNAL, _Ends(Code.INTERNAL, "this failed here; see its log")
                self._bug(method)
            finally:
                self.counts.answered[method, code.name] += 1
            if code is not Code.OK:
                await context.abort(failed.code, str(failed), failed.metadata)
            return done

        return answer

    def _ending(self, method: str, end: _Ends) -> _Handler:
        """Return what ends a call, whatever it is and whether or not it goes on."""

        async def work(_: AsyncIterator[bytes], __: Context) -> None:
            raise end

        return grpc.stream_stream_rpc_method_handler(self._ended(method, work))

    def _refusing(self, method: str, error: tokens.Refused) -> _Handler:
        async def work(_: AsyncIterator[bytes], context: Context) -> None:
            self.counts.refused[error.word] += 1
            host = peer_host(context.peer())
            if self._said.due(host, self._now()):
                self._report(
                    LogLevel.warn,
                    "a call from {peer} was refused ({word}): {reason}; {remedy}",
                    peer=host,
                    word=error.word,
                    reason=str(error),
                    remedy=_REMEDIES[error.word],
                )
            said = ((tokens.REFUSED_FIELD, error.word), *self._time())
            raise _Ends(Code.UNAUTHENTICATED, str(error), said)

        return grpc.stream_stream_rpc_method_handler(self._ended(method, work))

    def _bug(self, method: str) -> None:
        self.counts.failures += 1
        if self._failed.due(method, self._now()):
            self._report(
                LogLevel.critical,
                "{method} failed; nobody was let in",
                method=method,
                log_failure=Failure(),
            )

    def _time(self) -> tuple[tuple[str, str], ...]:
        return ((tokens.TIME_FIELD, str(int(self._now()))),)


def peer_host(peer: str) -> str:
    """Return who calls, without the port: ``10.0.0.1`` of ``ipv4:10.0.0.1:5000``."""
    kind, _, rest = unquote(peer).partition(":")
    host = rest.rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else ""
    return host or peer


async def _of_ours(messages: AsyncIterator[bytes]) -> bool:
    """Say whether health is asked about a service that is here."""
    try:
        async with asyncio.timeout(PATIENCE):
            data = await anext(messages, b"")
    except TimeoutError:
        raise _Ends(Code.DEADLINE_EXCEEDED, f"no message came in {PATIENCE:g} s") from None
    return _parsed(health_pb2.HealthCheckRequest, data).service in ("", api.SERVICE)


def _parsed(kind: Any, data: bytes) -> Any:
    try:
        return kind.FromString(data)
    except DecodeError:
        raise _Ends(Code.INVALID_ARGUMENT, "no message of this kind") from None
