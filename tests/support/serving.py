"""A ``Serving`` that keeps what it is told, and a client's end of a connection in memory."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from pomeriumd.answers.answer import Answer
from pomeriumd.errors import ClientError, PomeriumError
from pomeriumd.http.events import Field
from pomeriumd.http.limits import Limits
from pomeriumd.http.request_heads import RequestHeads
from pomeriumd.net.deadlines import Deadlines
from pomeriumd.net.exchange import Exchange
from pomeriumd.net.server import ServerConnection, Times


@attrs.define(eq=False)
class RecordedServing:
    """Keeps the exchanges for the test to answer; or lets ``at_once`` answer each."""

    at_once: Callable[[Exchange], None] = lambda _: None
    clock_: Clock = attrs.Factory(Clock)
    limits: Limits = attrs.Factory(Limits)
    times: Times = attrs.Factory(Times)
    closing: bool = False
    served: list[Exchange] = attrs.Factory(list)
    refused: list[ClientError] = attrs.Factory(list)
    logged: list[Exchange] = attrs.Factory(list)
    open: set[ServerConnection] = attrs.Factory(set)
    deadlines: Deadlines = attrs.field(init=False)
    heads: RequestHeads = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Put the wheel on the clock."""
        self.deadlines = Deadlines(self.clock_)
        self.heads = RequestHeads(self.limits)

    def serve(self, exchange: Exchange) -> None:
        """Keep it."""
        self.served.append(exchange)
        self.at_once(exchange)

    def unreadable(self, exchange: Exchange, error: ClientError) -> None:
        """Answer with the bare status."""
        self.refused.append(error)
        exchange.reply(Answer(error.status))

    def ended(self, exchange: Exchange) -> None:
        """Keep it as logged."""
        self.logged.append(exchange)

    def new_id(self) -> str:
        """Count."""
        return f"r{len(self.served)}"

    def clock(self) -> float:
        """Return the clock's seconds."""
        return self.clock_.seconds()

    def date(self) -> bytes:
        """Return one date, always the same."""
        return b"Mon, 23 Nov 2026 03:37:43 GMT"

    def opened(self, connection: ServerConnection) -> None:
        """Keep it."""
        self.open.add(connection)

    def closed(self, connection: ServerConnection) -> None:
        """Forget it."""
        self.open.discard(connection)

    def connect(self) -> MemoryClient:
        """Open a connection."""
        client = MemoryClient(ServerConnection(self))
        client.protocol.makeConnection(client.transport)
        return client

    def pass_time(self, seconds: float) -> None:
        """Let time pass, in steps that no tick is skipped by."""
        for _ in range(int(seconds * 2)):
            self.clock_.advance(0.5)


class Wire(StringTransport):
    """A transport in memory that knows how it was ended."""

    def __init__(self) -> None:
        super().__init__(peerAddress=IPv4Address("TCP", "203.0.113.9", 4711))
        self.aborted = False
        self.waiting = 0
        """Bytes that the client has not acknowledged."""

    def backlog(self) -> int:
        """Return what the test says."""
        return self.waiting

    def abortConnection(self) -> None:
        """Note that it was broken off, and not closed in peace."""
        self.aborted = True
        super().abortConnection()


@attrs.define(eq=False)
class MemoryClient:
    """A client's view of one connection."""

    protocol: ServerConnection
    transport: Wire = attrs.Factory(Wire)

    def sends(self, *pieces: bytes) -> None:
        """Send these bytes."""
        for piece in pieces:
            self.protocol.dataReceived(piece)

    def got(self) -> bytes:
        """Return what came since the last time."""
        octets: bytes = self.transport.value()
        self.transport.clear()
        return octets

    def leaves(self) -> None:
        """Close the connection."""
        self.protocol.connectionLost(Failure(ConnectionDone()))

    @property
    def reading(self) -> bool:
        """The server reads from us."""
        return bool(self.transport.producerState == "producing")

    @property
    def closing(self) -> bool:
        """The server has ended the connection in peace."""
        return bool(self.transport.disconnecting) and not self.aborted

    @property
    def aborted(self) -> bool:
        """The server has broken the connection off."""
        return self.transport.aborted


@attrs.define(eq=False)
class Heard:
    """A ``Sink`` that keeps what it is told, in order."""

    told: list[object] = attrs.Factory(list)
    errors: list[PomeriumError] = attrs.Factory(list)

    def data(self, octets: bytes) -> None:
        """Keep a piece."""
        self.told.append(octets)

    def end(self, trailers: tuple[Field, ...]) -> None:
        """Keep the end."""
        self.told.append(("end", trailers))

    def lost(self, error: PomeriumError) -> None:
        """Keep the kind of the loss, and the loss itself."""
        self.told.append(type(error))
        self.errors.append(error)

    def flush(self) -> None:
        """Nothing is written from here."""

    def full(self) -> None:
        """Keep it."""
        self.told.append("full")

    def drained(self) -> None:
        """Keep it."""
        self.told.append("drained")
