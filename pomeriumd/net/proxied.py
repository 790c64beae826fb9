"""
The wait for a PROXY header, from the accepted socket to the connection that it makes.

A port that expects headers (``use_proxy_protocol``) has this read each socket first. Only when the
header is there whole is a connection made of the socket, with the header's client for its peer:
nothing above, TLS included, knows that there was one, and ports without the setting do nothing
for it.

The bytes of the header are taken from the socket as they come, and not one more: what has been
looked at (``MSG_PEEK``) and belongs to it. Left there until it is whole, a part of one would have
the reactor come back to it without a pause.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

import attrs
from twisted.internet.interfaces import IReactorFDSet, IReactorTime, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from pomeriumd.net.deadlines import Deadlines
from pomeriumd.net.proxy_protocol import MOST, BadHeader, Header, parse
from pomeriumd.net.transport import SocketAddress, plain_address

QUIET_SECONDS = 60.0
"""Between two lines about refused headers: whoever can connect could fill the log."""

NOT_LISTED = "it comes from an address that trusted_proxies does not list"
HIDDEN = (
    "it does not say for whom it is, so that the client's own X-Forwarded-For would be taken for "
    "that of the proxy"
)


class Senders(Protocol):
    """Whose headers are believed."""

    @property
    def networks(self) -> Sequence[object]:
        """Return who is listed; with nobody listed everybody is believed."""

    def trusts(self, address: str) -> bool:
        """Return whether an address is listed."""


@attrs.define(eq=False)
class Refusals:
    """
    Counts what is refused at one port, and says so once a minute.

    Args:
        clock: tells when the minute is over.
    """

    _clock: IReactorTime
    port: int = 0
    """Its number, for the log."""
    count: int = 0
    _unsaid: int = 0
    _quiet_until: float = -math.inf
    _log: ClassVar[Logger] = Logger()

    def add(self, client: str, why: str) -> None:
        """Count one."""
        self.count += 1
        now = self._clock.seconds()
        if now < self._quiet_until:
            self._unsaid += 1
            return
        self._quiet_until = now + QUIET_SECONDS
        self._log.warn(
            "{port} closed a connection from {client}: {why}; with use_proxy_protocol each "
            "connection begins with a PROXY header, health checks too, and comes from a balancer"
            "{more}",
            port=self.port,
            client=client,
            why=why,
            more=f" ({self._unsaid} more in the time before)" if self._unsaid else "",
        )
        self._unsaid = 0


@implementer(IReadDescriptor)
class Proxied:
    """
    One accepted socket whose header is awaited.

    Args:
        skt: as accept() gives it.
        client: its other end.
        senders: whose headers are believed.
        refusals: learn of what is no good.
        deadlines: end the wait.
        seconds: of it.
        reactor: tells when there is something to read.
        make: makes the connection: of the socket, for this client, due by then.
        left: is called when there will be none.
    """

    def __init__(
        self,
        skt: socket.socket,
        client: SocketAddress,
        *,
        senders: Senders,
        refusals: Refusals,
        deadlines: Deadlines,
        seconds: float,
        reactor: IReactorFDSet,
        make: Callable[[socket.socket, Any, float], None],
        left: Callable[[], None],
    ) -> None:
        skt.setblocking(False)
        self._socket = skt
        self._number = skt.fileno()
        self._client = client
        self._host = plain_address(client)[0]
        self._senders = senders
        self._refusals = refusals
        self._deadlines = deadlines
        self._seconds = seconds
        self._reactor = reactor
        self._make = make
        self._left = left
        self._octets = b""
        self._over = False
        self.due = math.inf

    def __repr__(self) -> str:
        """Return what a log line can show."""
        return f"<{type(self).__name__} of {self._host}>"

    def begin(self) -> None:
        """Wait for the header; not at all if it would not be believed."""
        if self._senders.networks and not self._senders.trusts(self._host):
            self._refuse(NOT_LISTED)
            return
        self._deadlines.watch(self)
        self.due = self._deadlines.now + self._seconds
        self._reactor.addReader(self)

    def fileno(self) -> int:
        """Return the socket's number, the same when the socket is not ours any more."""
        return self._number

    def logPrefix(self) -> str:
        """Return what the reactor calls this in the log."""
        return type(self).__name__

    def doRead(self) -> None:
        """Take what is there of the header."""
        if self._over:
            return
        try:
            seen = self._socket.recv(MOST - len(self._octets), socket.MSG_PEEK)
            found = parse(self._octets + seen)
            if seen and not isinstance(found, BadHeader):
                # Of the beginning of a header all is the header's.
                whole = found.size if isinstance(found, Header) else MOST
                self._octets += self._socket.recv(min(whole - len(self._octets), len(seen)))
        except BlockingIOError:
            return
        except OSError:
            self._ended()
            return
        if not seen:
            self._ended()
        elif isinstance(found, BadHeader):
            self._refuse(found.why)
        elif isinstance(found, Header):
            self._take(found)

    def _take(self, header: Header) -> None:
        """Let the socket be a connection of whom the header names."""
        client, source = self._client, header.source
        if source is not None:
            host, port = source
            client = (host, port, 0, 0) if ":" in host else (host, port)
        elif self._senders.networks and not header.local:
            self._refuse(HIDDEN)
            return
        due = self.due
        self._settle()
        self._make(self._socket, client, due)

    def _ended(self) -> None:
        """The other side left; one that said nothing at all has only seen whether we are here."""
        if self._octets:
            self._refuse("it ended inside its PROXY header")
        else:
            self._close()

    def _refuse(self, why: str) -> None:
        self._refusals.add(self._host, why)
        self._close()

    def _close(self) -> None:
        """Hang up, with a reset if there is something unread: nothing of it was for us."""
        self._settle()
        self._socket.close()
        self._left()

    def _settle(self) -> None:
        if self.due < math.inf:
            # Before the socket closes, or another reader comes: the reactor goes by its number.
            self._reactor.removeReader(self)
            self._deadlines.forget(self)
            self.due = math.inf
        self._over = True

    def overdue(self) -> None:
        """The header took too long."""
        self._refuse(f"its PROXY header was not complete within {self._seconds:g} s")

    def connectionLost(self, reason: Failure) -> None:
        """Learn from the reactor that the other side is gone."""
        if not self._over:
            self._ended()
