"""
The gRPC server of authorize: a port, and one thread with a loop of its own.

The port is bound while there are still the rights to; what is answered by is handed over
later, and again for each generation, from any thread. grpc binds the port itself and can
adopt none, so this process is the only one that accepts from it.

Importing this imports grpc, which must not be in a process that forks: import it late.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import attrs
import grpc
from twisted.logger import LogLevel

from pomeriumd.rpc import api
from pomeriumd.rpc.methods import Counts, Methods, Served
from pomeriumd.rpc.reports import Report
from pomeriumd.settings.values import Address

AT_ONCE = 4096
"""Most calls that are under way, streams among them; one more is RESOURCE_EXHAUSTED."""

HANDSHAKE = 10.0
"""Seconds for TLS and the first frames of a connection."""

PINGS = 5.0
"""Seconds between two pings of a client that we put up with; proxies of ours send one every
ten, so that firewalls do not forget their connections."""

SILENCE = 30.0
"""Seconds without a sign of life after which we ask a client for one."""
PATIENCE = 10.0
"""Seconds for its answer: one that has vanished holds its streams no longer."""

NOTICE = 1.0
"""Seconds between saying that we do not serve and refusing calls: whoever listens has heard
by then, and calls elsewhere."""


class CannotBind(Exception):
    """The address cannot be had; the text says which, the system's reason, and what to do."""


@attrs.frozen(kw_only=True)
class Tls:
    """How the server shows who it is; all of it PEM."""

    key: bytes = attrs.field(repr=False)
    chain: bytes
    """The certificate first, then what leads to its root."""
    client_ca: bytes | None = None
    """Who calls has to show a certificate of one of these; None to ask for none."""

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        """Return it in grpc's form."""
        return grpc.ssl_server_certificate_configuration(
            [(self.key, self.chain)], root_certificates=self.client_ca
        )


@attrs.define(eq=False, kw_only=True)
class Server:
    """
    Answers proxies; each of its methods may be called on any thread, one after another.

    Args:
        address: where it listens.
        tls: None is plaintext.
        now: seconds since the epoch.
        report: see there; called on the server's thread.
        max_age: seconds after which a connection is asked to end, so that clients look up
            our name again; 0 is without end.
        max_age_grace: seconds that its calls have then.
        share_port: another process of ours has the port: a hand-over.
    """

    address: Address
    tls: Tls | None = attrs.field(repr=False)
    now: Callable[[], float]
    report: Report
    max_age: float = 300.0
    max_age_grace: float = 300.0
    share_port: bool = False
    port: int = attrs.field(default=0, init=False)
    """That was bound."""
    ended: Future[None] = attrs.field(factory=Future, init=False)
    """Done when the thread has ended: after ``stop``, or without it, which is a fatal error."""
    _methods: Methods = attrs.field(init=False)
    _loop: asyncio.AbstractEventLoop = attrs.field(init=False)
    _thread: threading.Thread | None = attrs.field(default=None, init=False)
    _begin: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)
    _stop: asyncio.Future[tuple[float, float]] = attrs.field(init=False)
    _next: grpc.ServerCertificateConfiguration | None = attrs.field(default=None, init=False)

    @_methods.default
    def _made(self) -> Methods:
        return Methods(self.now, self.report)

    @property
    def counts(self) -> Counts:
        """Return what it has answered."""
        return self._methods.counts

    @property
    def watches(self) -> int:
        """Return how many ``Watch`` streams are open."""
        return self._methods.generations.followers

    def bind(self) -> None:
        """
        Have the port, and a thread; nothing is accepted yet.

        Raises:
            CannotBind: see there.
        """
        bound: Future[int] = Future()
        self._thread = threading.Thread(target=self._run, args=(bound,), name="grpc", daemon=True)
        self._thread.start()
        try:
            self.port = bound.result()
        except Exception as error:
            self._thread.join()
            self._thread = None
            raise CannotBind(f"grpc_address: {self._why_not()}") from error

    def start(self) -> None:
        """Accept connections; until there is something to answer by, health says not serving."""
        self._hand_over(self._begin.set)

    def serve(self, served: Served | None) -> None:
        """
        Answer by this from now on, and tell all who watch.

        Args:
            served: None is by nothing: health says not serving, and calls are UNAVAILABLE.
        """
        self._hand_over(self._methods.serve, served)

    def withdraw(self) -> None:
        """Say that we do not serve, and answer still: who listens calls elsewhere."""
        self._hand_over(self._methods.withdraw)

    def show(self, tls: Tls) -> None:
        """
        Show this certificate from the next connection on.

        Raises:
            ValueError: whether there is TLS, or a client's certificate is asked for, was
                settled when the port was bound: it needs a restart.
        """
        if self.tls is None or (self.tls.client_ca is None) != (tls.client_ca is None):
            raise ValueError("grpc's TLS cannot be switched on or off, nor client certificates")
        self._next = tls.configuration()

    def stop(self, grace: float, notice: float = NOTICE) -> Future[None]:
        """
        Say that we do not serve, let calls come to their end, and close.

        Args:
            grace: seconds for the calls that are under way.
            notice: seconds for clients to hear of it.

        Returns:
            What is done when the port is closed and the thread has ended; it takes no longer
            than both together. A second call hastens nothing.
        """
        if self._thread is None:
            if not self.ended.done():
                self.ended.set_result(None)
        else:
            self._hand_over(self._stopping, grace, notice)
        return self.ended

    def _hand_over(self, work: Callable[..., None], *arguments: object) -> None:
        """Have it done on the loop's thread; once that has ended there is nothing to do it for."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(work, *arguments)

    def _stopping(self, grace: float, notice: float) -> None:
        if not self._stop.done():
            self._stop.set_result((grace, notice))
            self._begin.set()

    def _run(self, bound: Future[int]) -> None:
        try:
            asyncio.run(self._main(bound))
        except Exception as error:  # noqa: BLE001  # whoever waits has to hear of it
            if bound.done():
                self.report(LogLevel.critical, "grpc ended: {problem}", problem=repr(error))
            else:
                bound.set_exception(error)
        finally:
            if bound.exception() is None:
                self.ended.set_result(None)

    async def _main(self, bound: Future[int]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = self._loop.create_future()
        server = grpc.aio.server(
            handlers=[self._methods], options=self._options(), maximum_concurrent_rpcs=AT_ONCE
        )
        bound.set_result(self._add_port(server))
        await self._begin.wait()
        # Even to be stopped at once: grpc gives the port of a server back that was started.
        await server.start()
        grace, notice = await self._stop
        self._methods.withdraw()
        await asyncio.sleep(notice)
        self._methods.end()
        await server.stop(grace)

    def _add_port(self, server: grpc.aio.Server) -> int:
        host = f"[{self.address.host}]" if ":" in self.address.host else self.address.host
        where = f"{host or '[::]'}:{self.address.port}"
        if self.tls is None:
            return server.add_insecure_port(where)
        credentials = grpc.dynamic_ssl_server_credentials(
            self.tls.configuration(),
            self._shown,
            require_client_authentication=self.tls.client_ca is not None,
        )
        return server.add_secure_port(where, credentials)

    def _why_not(self) -> str:
        """Ask the system why the address cannot be had: grpc does not say."""
        try:
            family, kind, proto, _, where = socket.getaddrinfo(
                self.address.host or None,
                self.address.port,
                type=socket.SOCK_STREAM,
                flags=socket.AI_PASSIVE,
            )[0]
            with socket.socket(family, kind, proto) as tried:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                tried.bind(where)
                tried.listen()
        except OSError as error:
            reason = f"{error.strerror or error}; {_remedy(error)}"
        else:
            reason = "the system would allow it, and grpc gives no reason; " + (
                "set GRPC_VERBOSITY=ERROR to see what it says"
                if self.tls is None
                else "can its certificate and key be used?"
            )
        return f"cannot listen on {self.address.text}: {reason}"

    def _shown(self) -> Any:
        """
        Return what handshakes show from now on; None is what they showed before.

        grpc calls this on a thread of its own, before each handshake.
        """
        changed, self._next = self._next, None
        return changed

    def _options(self) -> list[tuple[str, Any]]:
        options = [
            # With it, a second instance would bind the port silently and share its calls.
            ("grpc.so_reuseport", int(self.share_port)),
            ("grpc.max_receive_message_length", api.MESSAGE_SIZE),
            ("grpc.max_send_message_length", api.MESSAGE_SIZE),
            ("grpc.server_handshake_timeout_ms", _ms(HANDSHAKE)),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", _ms(PINGS)),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.keepalive_time_ms", _ms(SILENCE)),
            ("grpc.keepalive_timeout_ms", _ms(PATIENCE)),
        ]
        if self.max_age:
            options.append(("grpc.max_connection_age_ms", _ms(self.max_age)))
            options.append(("grpc.max_connection_age_grace_ms", _ms(self.max_age_grace)))
        return options


def _ms(seconds: float) -> int:
    return max(1, min(int(seconds * 1000), 2**31 - 1))


def _remedy(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program has it: stop that one, or set another address"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "ports below 1024 need a restart, as root or with CAP_NET_BIND_SERVICE"
    return "has this machine such an address?"
