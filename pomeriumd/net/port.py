"""
The listening port: which sockets become connections, and when there are enough.

Clients above the bound are left in the kernel's queue, where waiting costs us nothing and
closing costs them a failure; they are taken in when others have left.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, Self

from twisted.internet import tcp
from twisted.internet.address import IPv4Address
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall, IProtocolFactory, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from pomeriumd.errors import Exhausted
from pomeriumd.net.contexts import CertificateStore
from pomeriumd.net.deadlines import Deadlines
from pomeriumd.net.proxied import Proxied, Refusals, Senders
from pomeriumd.net.tls import TLSServer
from pomeriumd.net.transport import UNSENT_SIZE, PlainServer
from pomeriumd.settings.values import Address

BACKLOG = 1024
"""Connections that the kernel may hold for us; it cuts this to net.core.somaxconn."""

ACCEPTS = 4
"""Connections accepted before the open ones have their turn. With 32, a burst of 64 all went to
one of two workers in every third try: the other had no time to wake up. Over TLS a new
connection costs the same either way."""

HANDSHAKE_SECONDS = 10.0
"""From the accepted socket to the complete TLS handshake, a PROXY header before it included."""

RETRY_SECONDS = 1.0
"""Between two attempts when the system has no descriptor or memory for us."""

STEP_SECONDS = 0.001
"""For which a port leaves what waits to another process that has fewer connections. One that
is not too busy takes it in a tenth of that."""

SLACK = 20
"""One in so many must have left a full port before it accepts again: one line in the log
for each time it fills, rather than one for each client at its edge."""

KEEPALIVE: Sequence[tuple[int, int, int]] = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_SIZE),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
)
"""Set on the listening socket, inherited by all that are accepted (Linux): no delay for
small writes, and a tunnel's dead peer is noticed within two minutes."""

NOT_THE_PORTS_FAULT = frozenset(
    {
        errno.ECONNABORTED,
        errno.EPERM,
        errno.EPROTO,
        errno.ENETDOWN,
        errno.ENOPROTOOPT,
        errno.EHOSTDOWN,
        errno.ENONET,
        errno.EHOSTUNREACH,
        errno.EOPNOTSUPP,
        errno.ENETUNREACH,
    }
)
"""What accept() reports of one connection; the next may well be good. accept(2)."""

NO_IPV6 = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})


class Sharing(Protocol):
    """Other processes that accept from the same socket."""

    def comes(self) -> None:
        """Take note of one more connection of ours."""

    def goes(self) -> None:
        """Take note of one less."""

    def crowded(self) -> bool:
        """Say whether one of them has clearly fewer."""


class Alone:
    """There are none."""

    def comes(self) -> None:
        """Nobody wants to know."""

    def goes(self) -> None:
        """Nobody wants to know."""

    def crowded(self) -> bool:
        """Never."""
        return False


class Port(tcp.Port):
    """
    Listens at one address and makes connections that write without a queue, with TLS or without.

    ``open`` is how many connections there are, handshakes included, and
    ``failed_handshakes`` how many never got through theirs. ``store`` may be replaced at
    any time, by none too; handshakes that have begun keep theirs. So may ``senders``: with some,
    each connection has to begin with a PROXY header of theirs.
    """

    _log: ClassVar[Logger] = Logger()

    def __init__(
        self,
        address: Address,
        factory: IProtocolFactory,
        reactor: Any,
        *,
        deadlines: Deadlines,
        store: CertificateStore | None = None,
        most: int = 10_000,
        handshake_seconds: float = HANDSHAKE_SECONDS,
        sharing: Sharing | None = None,
        senders: Senders | None = None,
    ) -> None:
        # The unspecified IPv6 address takes IPv4 clients too, see createInternetSocket().
        super().__init__(address.port, factory, BACKLOG, address.host or "::", reactor)
        self._clock: IReactorTime = reactor
        self._everywhere = not address.host
        self.deadlines = deadlines
        self.store = store
        self.most = most
        self.handshake_seconds = handshake_seconds
        self.open = 0
        self.failed_handshakes = 0
        self.senders = senders
        self._refused = Refusals(reactor)
        self._sharing = sharing or Alone()
        self._patient_until = 0.0
        self._pauses: set[str] = set()
        self._exhausted = False
        self._retry: IDelayedCall | None = None
        self._step: IDelayedCall | None = None

    @classmethod
    def adopt(cls, descriptor: int, factory: IProtocolFactory, reactor: Any, **more: Any) -> Self:
        """
        Return a port on a socket that listens already; the port closes it in the end.

        Args:
            descriptor: its number.
            factory: builds the protocols.
            reactor: where it is read.
            more: keywords of the class.
        """
        listening = socket.socket(fileno=descriptor)
        # Blocking, accept() would hold up everybody once the queue is empty.
        listening.setblocking(False)
        _set_options(listening)
        host, port = listening.getsockname()[:2]
        made = cls(Address(host, port), factory, reactor, **more)
        made._preexistingSocket = listening
        return made

    def createInternetSocket(self) -> socket.socket:
        """Return a socket whose connections inherit its options."""
        made: socket.socket = super().createInternetSocket()
        if self.addressFamily == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, self.interface != "::")
        _set_options(made)
        return made

    def startListening(self) -> None:
        """
        Bind and accept; everywhere is IPv6 and IPv4, or IPv4 where there is no other.

        Raises:
            CannotListenError: the address is not to be had.
        """
        try:
            super().startListening()
        except CannotListenError as error:
            if not (self._everywhere and error.socketError.errno in NO_IPV6):
                raise
            self.interface, self.addressFamily = "", socket.AF_INET
            self._addressType = IPv4Address
            super().startListening()
        self._refused.port = self.getHost().port

    def doRead(self) -> None:
        """Accept what waits, within bounds."""
        if self._steps_back():
            return
        for taken in range(ACCEPTS):
            if self.open >= self.most:
                if not taken:  # or nobody may be waiting
                    self._pause("full")
                return
            try:
                skt, client = self.socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in NOT_THE_PORTS_FAULT:
                    self._run_dry(error)
                    return
            else:
                if self._exhausted:
                    self._exhausted = False
                    self._say_again()
                self._take(skt, client)

    def _steps_back(self) -> bool:
        """
        Leave what waits to a process that has fewer connections, if there is one.

        For a moment only: one that is too busy to accept, or that stands still, must not keep
        anybody waiting.
        """
        if not self._sharing.crowded():
            return False
        now = self._clock.seconds()
        if now < self._patient_until:
            return False
        self._patient_until = now + 2 * STEP_SECONDS
        self._pause("crowded")
        self._step = self._clock.callLater(STEP_SECONDS, self._step_forward)
        return True

    def _step_forward(self) -> None:
        self._step = None
        self._resume("crowded")

    def _take(self, skt: socket.socket, client: Any) -> None:
        self.sessionno += 1
        self.open += 1
        self._sharing.comes()
        if self.senders is None:
            self._make(skt, client)
            return
        Proxied(
            skt,
            client,
            senders=self.senders,
            refusals=self._refused,
            deadlines=self.deadlines,
            seconds=self.handshake_seconds,
            reactor=self.reactor,
            make=self._make,
            left=self.left,
        ).begin()

    def _make(self, skt: socket.socket, client: Any, due: float | None = None) -> None:
        """Make a connection of a socket; a handshake's end is due then, if somebody says so."""
        try:
            kind: Any = PlainServer if self.store is None else TLSServer
            connection = kind(skt, client, self, self.sessionno, self.reactor)
        except Exception:  # noqa: BLE001  # one client's failure must not close the port
            self._log.failure("a connection could not be made")
            skt.close()
            self.left()
            return
        try:
            connection.begin()
            if due is not None and connection.secure:
                connection.due = due
        except Exception:  # noqa: BLE001  # as above
            self._log.failure("a connection could not be begun")
            connection.connectionLost(Failure())

    def left(self) -> None:
        """Count a connection that is gone; there may be room again."""
        self.open -= 1
        self._sharing.goes()
        if self._pauses and self.open <= self.most - max(1, self.most // SLACK):
            self._resume("full")

    def allow(self, most: int) -> None:
        """Have so many connections at the most from now on; nobody is cut for it."""
        self.most = most
        if self._pauses and self.open < most:
            self._resume("full")

    @property
    def paused(self) -> bool:
        """Return whether it takes no new connections for now."""
        return bool(self._pauses - {"crowded"})

    @property
    def refused_headers(self) -> int:
        """Return how many connections were closed for their PROXY header."""
        return self._refused.count

    def not_shaken(self) -> None:
        """Count a handshake that failed."""
        self.failed_handshakes += 1

    def _pause(self, why: str) -> None:
        self._pauses.add(why)
        self.stopReading()
        if why == "full":
            self._log.warn(
                "{port} is full: {most} connections are open; more wait until some have left;"
                " raise max_connections if they are wanted",
                port=self.getHost().port,
                most=self.most,
            )

    def _resume(self, why: str) -> None:
        if why not in self._pauses:
            return
        self._pauses.discard(why)
        if not self._pauses and self.connected and not self.disconnecting:
            self.startReading()
            if why == "full":
                self._say_again()

    def _say_again(self) -> None:
        self._log.info("{port} accepts connections again", port=self.getHost().port)

    def _run_dry(self, error: OSError) -> None:
        """
        Wait a second: the system has nothing left for another connection.

        Twisted would give up a reserved descriptor, accept with it and close all that wait.
        They are better off in the queue, and trying in vain would take the whole processor.
        """
        if not self._exhausted:
            self._exhausted = True
            self._log.error(
                "{port} cannot accept: {why}; tries again each second; " + Exhausted.remedy,
                port=self.getHost().port,
                why=str(error),
            )
        self._pause("exhausted")
        self._retry = self._clock.callLater(RETRY_SECONDS, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self._resume("exhausted")

    def connectionLost(self, reason: Failure) -> None:
        """Close the listening socket; connections live on."""
        for waiting in (self._retry, self._step):
            if waiting is not None:
                waiting.cancel()
        self._retry = self._step = None
        super().connectionLost(reason)


def _set_options(listening: socket.socket) -> None:
    for level, option, value in KEEPALIVE:
        listening.setsockopt(level, option, value)
