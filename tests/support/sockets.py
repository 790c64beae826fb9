"""Real loopback sockets under a reactor whose turns the test calls."""

from __future__ import annotations

import select
import socket
import struct
from typing import Any

import attrs
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from pomeriumd.net.deadlines import Deadlines


class Turns(Clock):
    """A reactor whose turns are called by the test; it shows who waits for what."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()
        self.writers: set[Any] = set()

    def addReader(self, reader: Any) -> None:
        """Wait for input."""
        self.readers.add(reader)

    def addWriter(self, writer: Any) -> None:
        """Wait for room."""
        self.writers.add(writer)

    def removeReader(self, reader: Any) -> None:
        """Wait for input no more."""
        self.readers.discard(reader)

    def removeWriter(self, writer: Any) -> None:
        """Wait for room no more."""
        self.writers.discard(writer)

    def turn(self, wait: float = 1.0) -> None:
        """Do what one turn of the poll reactors does."""
        read, write, _ = select.select(list(self.readers), list(self.writers), [], wait)
        for one in read:
            if one in self.readers:
                self._finish(one, one.doRead(), reading=True)
        for one in write:
            if one in self.writers:
                self._finish(one, one.doWrite(), reading=False)
        self.advance(0)

    def turns(self, count: int = 8) -> None:
        """Do turns that find nothing rather than wait."""
        for _ in range(count):
            self.turn(0.02)

    def _finish(self, one: Any, why: Exception | None, *, reading: bool) -> None:
        if why is None:
            return
        self.removeReader(one)
        if reading and isinstance(why, ConnectionDone):
            one.readConnectionLost(Failure(why))
        else:
            self.removeWriter(one)
            one.connectionLost(Failure(why))


class Told(Protocol):
    """Writes down what its transport tells it."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.lost: list[type[BaseException] | None] = []

    def dataReceived(self, data: bytes) -> None:
        """Keep the piece."""
        self.got.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Keep the reason's kind."""
        self.lost.append(reason.type)


@implementer(IHalfCloseableProtocol)
class ToldOfHalves(Told):
    """Goes on when one direction ends."""

    def __init__(self) -> None:
        super().__init__()
        self.halves: list[str] = []

    def readConnectionLost(self) -> None:
        """Note that the other side has said all."""
        self.halves.append("read")

    def writeConnectionLost(self) -> None:
        """Note that ours is said."""
        self.halves.append("write")


@implementer(IPushProducer)
class Source:
    """Writes down when it is to pause, resume and stop."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        """Note."""
        self.told.append("pause")

    def resumeProducing(self) -> None:
        """Note."""
        self.told.append("resume")

    def stopProducing(self) -> None:
        """Note."""
        self.told.append("stop")


@attrs.define(eq=False)
class Listening:
    """What an accepted connection needs of its port."""

    factory: Any
    deadlines: Deadlines
    gone: int = 0

    def left(self) -> None:
        """Count."""
        self.gone += 1


class OneProtocol(ServerFactory):
    """Gives the protocol it was made with, and remembers for whom."""

    def __init__(self, protocol_: Protocol | None) -> None:
        self.given, self.asked = protocol_, list[Any]()

    def buildProtocol(self, addr: Any) -> Protocol | None:
        """Give it."""
        self.asked.append(addr)
        return self.given


def connected(small: int = 0) -> tuple[socket.socket, socket.socket, tuple[Any, ...]]:
    """Return both ends of a loopback connection, and the client's address."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(1)
        client = socket.socket()
        if small:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, small)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, small)
        client.connect(listening.getsockname())
        server, address = listening.accept()
    client.settimeout(5)
    # What a test sends is there in the next turn.
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return server, client, address


def drained(client: socket.socket, reactor: Turns, size: int) -> bytes:
    """Read so many bytes at the client while the reactor turns."""
    pieces, got = [], 0
    client.settimeout(0.02)
    for _ in range(20_000):
        try:
            piece = client.recv(65536)
        except TimeoutError:
            piece = None
        if piece == b"":
            break
        if piece:
            pieces.append(piece)
            got += len(piece)
        if got >= size:
            break
        reactor.turn(0)
    client.settimeout(5)
    return b"".join(pieces)


def reset(client: socket.socket) -> None:
    """Close with a reset instead of an end."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
