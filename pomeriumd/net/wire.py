"""What a connection needs of its transport, plain or TLS, from a client or to an upstream."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IAddress, IPushProducer


class Wire(Protocol):
    """ITCPTransport, IConsumer and IPushProducer, as far as connections use them."""

    def write(self, data: bytes) -> None:
        """Write, in order, without waiting."""

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """Pause this producer while too much waits to be written."""

    def unregisterProducer(self) -> None:
        """Leave the producer."""

    def pauseProducing(self) -> None:
        """Read no more for now."""

    def resumeProducing(self) -> None:
        """Read on."""

    def loseConnection(self) -> None:
        """Close in peace, when all is written."""

    def abortConnection(self) -> None:
        """Close now; what is not written is lost."""

    def backlog(self) -> int:
        """Return how many bytes the other side has not acknowledged, here and in the kernel."""

    def getPeer(self) -> IAddress:
        """Return the other end's address."""
