"""A port of ours on a reactor of the test's own, with a client in a thread beside it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.python.failure import Failure

from pomeriumd.net.deadlines import Deadlines
from pomeriumd.net.port import Port
from pomeriumd.settings.values import Address

T = TypeVar("T")

PATIENCE_SECONDS = 60.0
"""A test that takes longer has hung."""


class Served:
    """Serves protocols at a free loopback port while a client is at work."""

    def __init__(self, protocol: Callable[[], Protocol], *, small: int = 0, **more: Any) -> None:
        self.small = small
        """Bytes that the kernel is to hold for each client, where that matters."""
        self.reactor = EPollReactor()
        self.made: list[Any] = []

        class Making(ServerFactory):
            noisy = False

            def buildProtocol(_, addr: Any) -> Protocol:  # noqa: N805  # self is outside
                self.made.append(protocol())
                last: Protocol = self.made[-1]
                return last

        self.deadlines = Deadlines(self.reactor)
        self.port = Port(
            Address("127.0.0.1", 0), Making(), self.reactor, deadlines=self.deadlines, **more
        )

    def run(self, client: Callable[[int], T]) -> T:
        """Run the reactor until the client, told the port, returns; give what it gave."""
        given: list[T] = []
        failed: list[BaseException] = []
        self.port.startListening()
        if self.small:
            self.port.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.small)
        number = self.port.getHost().port

        def work() -> None:
            try:
                given.append(client(number))
            except BaseException as error:  # noqa: BLE001  # raised again below
                failed.append(error)
            finally:
                self.reactor.callFromThread(self.reactor.stop)

        beside = threading.Thread(target=work)
        self.reactor.callWhenRunning(beside.start)
        hung = self.reactor.callLater(PATIENCE_SECONDS, self.reactor.stop)
        self.reactor.run(installSignalHandlers=False)
        if hung.active():
            hung.cancel()
        self.close()
        beside.join(PATIENCE_SECONDS)
        if failed:
            raise failed[0]
        if not given:
            raise AssertionError("the client did not come to an end")
        return given[0]

    def until(self, what: Deferred[T]) -> T:
        """Run the reactor until this comes, and give it."""
        came: list[T] = []
        failed: list[Failure] = []
        what.addCallbacks(came.append, failed.append)
        what.addCallback(lambda _: self.reactor.stop())
        self.port.startListening()
        self.reactor.callLater(PATIENCE_SECONDS, self.reactor.stop)
        self.reactor.run(installSignalHandlers=False)
        self.close()
        if failed:
            failed[0].raiseException()
        return came[0]

    def close(self) -> None:
        """Give back the descriptors."""
        for one in self.reactor.removeAll():
            close = getattr(getattr(one, "socket", None), "close", None)
            if close is not None:
                close()
        waker = self.reactor.waker
        if waker is not None:
            waker.connectionLost(None)
        self.reactor._poller.close()
