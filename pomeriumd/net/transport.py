"""
Sockets that write without a queue.

Twisted queues every write and waits for the writable event: two ``epoll_ctl`` and a turn
of the loop for each answer, 10 µs of some 40. Here a write goes to the socket when the
reactor's turn ends, together with those of other connections (``turn_end`` says why), or at
once where the reactor has no such end. What the socket does not take goes the way Twisted
made for it.

It also knows how a server ends a connection: flush, say so, and let the client finish.
Nothing here knows TLS; ``tls`` builds on it.

The private attributes of Twisted's that this depends on are pinned by a test.
"""

from __future__ import annotations

import errno
import fcntl
import math
import socket
import sys
import termios
from collections.abc import Iterable
from typing import Any
from typing import Protocol as Shape

from twisted.internet import abstract, main, tcp
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IProducer, IProtocolFactory, IReactorFDSet
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from pomeriumd.net.client_certificates import Shown
from pomeriumd.net.deadlines import Deadlines
from pomeriumd.net.turn_end import TurnEnd

FLUSH_SECONDS = 60.0
"""What is queued when a connection is closed must be taken within this time. The queue
is a few hundred KiB at most, so that a client of 8 KB/s still gets it all."""

LINGER_SECONDS = 2.0
"""How long the client's own end is waited for after ours. Closing while the client still
sends would reset the connection and could take our answer with it. RFC 9112, 9.6."""

READ_SIZE = 65_536
"""Bytes read from one connection before the others have their turn."""

HELD_SIZE = 65_536
"""Bytes at which what is held for the turn's end goes out before it: only then does whoever
writes so much in one turn learn that the other side takes none of it."""

UNSENT_SIZE = 131_072
"""
Bytes that the kernel may hold for one connection beyond what is on its way.

It would take up to 4 MB for a reader that stalls, and ask for more only when a third of
that has gone: a reader at a few KB/s then looks as if it took nothing for minutes.
Inherited from the listening socket (Linux).
"""

DISCARD_SIZE = 65_536
"""Bytes of such a client that are read, and thrown away, in one turn."""

SocketAddress = tuple[str, int] | tuple[str, int, int, int]
"""An address as the socket module has it: (host, port), and two more for IPv6."""

PeerAddress = IPv4Address | IPv6Address

_NOBODY = Protocol()
"""Stands for the protocol of a connection that has none yet; ignores all it is told."""


class Listener(Shape):
    """What an accepted connection needs of the port that accepted it."""

    factory: IProtocolFactory
    deadlines: Deadlines

    def left(self) -> None:
        """Learn that one of the accepted connections is gone."""


def plain_address(address: SocketAddress) -> SocketAddress:
    """
    Return the address with an IPv4 client of a dual-stack port as IPv4.

    ``::ffff:10.0.0.1`` would otherwise slip past every list that names 10.0.0.0/8.
    """
    host, port = address[:2]
    if host.startswith("::ffff:") and "." in host:
        return (host[7:], port)
    return address


def _shown(address: SocketAddress) -> PeerAddress:
    if len(address) == 2:  # noqa: PLR2004  # (host, port)
        return IPv4Address("TCP", *address)
    return IPv6Address("TCP", *address)


class Unqueued(tcp.Connection):
    """
    Mixed into Twisted's connections: a write goes to the socket if nothing is queued.

    A streaming producer is paused when the queue (what the socket did not take) grows
    over ``bufferSize``, and resumed when it is empty, as in any Twisted transport. A pull
    producer is served from the queue alone, because it is the drained queue that asks it
    for more.
    """

    _broken = False
    _turn_end: TurnEnd | None = None
    _unsent = b""
    """What is written when the turn ends; nothing is queued meanwhile."""

    def doRead(  # type: ignore[override]  # abortConnection() puts another in its place
        self,
    ) -> ConnectionLost | ConnectionDone | None:
        """Read what is there, for the protocol."""
        try:
            octets = self.socket.recv(READ_SIZE)
        except BlockingIOError:
            return None
        except OSError:
            return main.CONNECTION_LOST
        if not octets:
            return main.CONNECTION_DONE
        self.protocol.dataReceived(octets)
        return None

    def write(self, data: bytes) -> None:
        """Write, in this turn as far as the socket takes it and later for the rest."""
        if self._unsent:
            self._unsent += data
            if len(self._unsent) >= HELD_SIZE:
                self.flush()
            return
        if (
            self.dataBuffer
            or self._tempDataBuffer
            or self.disconnecting
            or self._writeDisconnecting
            or not self.connected
            or (self.producer is not None and not self.streamingProducer)
        ):
            abstract.FileDescriptor.write(self, data)
            return
        if self._aborting:
            return
        if self._turn_end is None:
            self._write_now(data)
        elif data:
            self._unsent = data
            self._turn_end.add(self)

    def flush(self) -> None:
        """Write what was held for the end of the turn."""
        data, self._unsent = self._unsent, b""
        if data and not self._aborting:
            self._write_now(data)

    def _write_now(self, data: bytes) -> None:
        sent = self.writeSomeData(data)
        if sent == len(data):
            return
        # An error is met again from the queue, where the reactor learns of it; what the
        # other side said before it left is read first.
        if isinstance(sent, int):
            data = data[sent:]
        abstract.FileDescriptor.write(self, data)

    def loseConnection(self) -> None:
        """Close when all is written."""
        self.flush()
        super().loseConnection()

    def loseWriteConnection(self) -> None:
        """End our side when all is written."""
        self.flush()
        super().loseWriteConnection()

    def connectionLost(self, reason: Failure) -> None:
        """Drop what was held: nobody is there to take it."""
        self._unsent = b""
        super().connectionLost(reason)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Write the pieces as one."""
        self.write(b"".join(iovec))

    def writeSomeData(self, data: bytes) -> int | ConnectionLost:
        """Return how many bytes the socket took, or that the connection is lost."""
        if not data:
            return 0
        try:
            return self.socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                return 0
            self._broken = True
            return main.CONNECTION_LOST

    def readConnectionLost(self, reason: Failure) -> None:
        """
        The other side ended, or broke.

        The kernel reports a reset once. When a write met it, the reads after it see what
        looks like a clean end: a body that ends with the connection would pass as whole.
        """
        if self._broken:
            self.connectionLost(Failure(main.CONNECTION_LOST))
        else:
            super().readConnectionLost(reason)

    def backlog(self) -> int:
        """Return how many bytes the other side has not acknowledged, here and in the kernel."""
        here = len(self._unsent) + len(self.dataBuffer) - self.offset + self._tempDataLen
        try:
            told = fcntl.ioctl(self.socket, termios.TIOCOUTQ, bytes(4))
        except OSError:
            return here
        return here + int.from_bytes(told, sys.byteorder)

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Take a producer, and pause it at once if the queue is full already."""
        super().registerProducer(producer, streaming)
        self._maybePauseProducer()

    def unregisterProducer(self) -> None:
        """Leave the producer; the next one does not inherit its pause."""
        super().unregisterProducer()
        self.producerPaused = False

    def startTLS(self, ctx: object, normal: bool = True) -> None:
        """Refuse: a write at once would go past it in clear."""
        raise NotImplementedError("TLS cannot begin on a connection that is under way")


class PlainClient(Unqueued, tcp.Client):
    """A connection to an upstream."""

    def __init__(self, host: str, port: int, bind: Any, connector: Any, reactor: Any) -> None:
        self._turn_end = getattr(reactor, "turn_end", None)
        super().__init__(host, port, bind, connector, reactor)

    def createInternetSocket(self) -> socket.socket:
        """Return a socket that sends small writes without delay, and holds few large ones."""
        skt: socket.socket = super().createInternetSocket()
        skt.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        skt.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_SIZE)
        return skt


class Accepted(Unqueued, tcp.Server):
    """
    A connection that a port accepted; ``begin`` builds its protocol.

    ``loseConnection`` flushes, ends our side, and then throws away what the client still
    sends until it ends its own, all of it within FLUSH_SECONDS and LINGER_SECONDS; the
    protocol hears nothing in between but ``connectionLost``.
    """

    secure = False
    server_name: bytes | None = None
    """The name that the client asked for (SNI), canonical like ``Request.host``."""
    negotiatedProtocol: bytes | None = None
    shown: Shown | None = None
    """What the client showed of itself, if it was asked for a certificate."""
    due = math.inf
    _lingering = False
    _read_ended = False

    def __init__(
        self,
        skt: socket.socket,
        client: SocketAddress,
        listener: Listener,
        number: int,
        reactor: IReactorFDSet,
    ) -> None:
        client = plain_address(client)
        super().__init__(
            skt,
            _NOBODY,
            client,
            None,  # type: ignore[arg-type]  # Twisted's port would only lend its name
            number,
            reactor,
        )
        self._turn_end = getattr(reactor, "turn_end", None)
        self.listener = listener
        self._peer = _shown(client)

    def __repr__(self) -> str:
        """Return what a log line can show."""
        return f"<{type(self).__name__} of {self.hostname}>"

    def begin(self) -> None:
        """Build the protocol and connect it; without one, hang up."""
        protocol = self.listener.factory.buildProtocol(self._peer)
        if protocol is None:
            self.connectionLost(Failure(ConnectionAborted()))
            return
        self.protocol = protocol
        self.logstr = f"{self._getLogPrefix(protocol)},{self.sessionno},{self.hostname}"
        protocol.makeConnection(self)

    def getPeer(self) -> PeerAddress:
        """Return the client's address."""
        return self._peer

    def getHost(self) -> PeerAddress:
        """Return the address that the client reached."""
        return _shown(plain_address(self.socket.getsockname()))

    def pauseProducing(self) -> None:
        """Stop reading; but not what is thrown away."""
        if not self._lingering:
            self.stopReading()

    def loseConnection(self) -> None:
        """Close when all is written; the class says how."""
        if not self.connected or self.disconnecting:
            return
        self.flush()
        if self.dataBuffer or self._tempDataBuffer or self.producer is not None:
            abstract.FileDescriptor.loseConnection(self)
            if self.producer is None:
                self._wait(FLUSH_SECONDS)
            return
        self.disconnecting = 1
        if self._postLoseConnection() is not None:
            # Nothing is left to wait for. Not in this turn: the protocol is at work in it.
            self.stopReading()
            self.startWriting()

    def unregisterProducer(self) -> None:
        """Leave the producer; if we are closing, only what it wrote is still to go."""
        super().unregisterProducer()
        if self.connected and self.disconnecting and not self._lingering:
            self._wait(FLUSH_SECONDS)

    def _postLoseConnection(self) -> ConnectionDone | None:
        """All is written: end our side; the reactor hangs up at a value that is not None."""
        if self._lingering:
            return None
        if self._read_ended:
            return main.CONNECTION_DONE
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            return main.CONNECTION_DONE
        self._lingering = True
        self._wait(LINGER_SECONDS)
        self.startReading()
        return None

    def _wait(self, seconds: float) -> None:
        deadlines = self.listener.deadlines
        deadlines.watch(self)
        self.due = deadlines.now + seconds

    def _settle(self) -> None:
        """Nothing is waited for any more."""
        self.listener.deadlines.forget(self)
        self.due = math.inf

    def overdue(self) -> None:
        """The client took too long to take the rest, or to end its side."""
        self._settle()
        if self._lingering:
            self.connectionLost(Failure(main.CONNECTION_DONE))
        else:
            self.abortConnection()

    def _discard(self) -> ConnectionDone | None:
        try:
            octets = self.socket.recv(DISCARD_SIZE)
        except BlockingIOError:
            return None
        except OSError:
            # Reset after our end: all of ours has been sent, nobody wants more.
            return main.CONNECTION_DONE
        return None if octets else main.CONNECTION_DONE

    def readConnectionLost(self, reason: Failure) -> None:
        """The client ended its side: so does the connection, unless the protocol goes on."""
        self._read_ended = True
        if self._lingering:
            self.connectionLost(reason)
        elif self.disconnecting and not self._broken:
            return  # what is queued still goes out; with it our end
        else:
            super().readConnectionLost(reason)

    def connectionLost(self, reason: Failure) -> None:
        """Tell the protocol, then the port."""
        if self.disconnected:
            return
        self._settle()
        try:
            super().connectionLost(reason)
        finally:
            self.listener.left()


class PlainServer(Accepted):
    """A connection from a client, without TLS."""

    def doRead(  # type: ignore[override]  # abortConnection() puts another in its place
        self,
    ) -> ConnectionLost | ConnectionDone | None:
        """Read what is there, for the protocol."""
        return self._discard() if self._lingering else super().doRead()

    def peer_certificate(self) -> None:
        """Return None: nobody shows a certificate here."""
