"""A look-up comes to its end, whatever the system says."""

from __future__ import annotations

import errno
import socket
from typing import Any

import attrs
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IAddress, IHostnameResolver, IHostResolution
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pomeriumd.net.names import resolver


class AtOnce(Clock):
    """A reactor whose threads are its own."""

    def callFromThread(self, call: Any, *given: Any) -> None:
        """Call."""
        call(*given)

    def getThreadPool(self) -> ThreadPool:
        """Return itself."""
        return self  # type: ignore[return-value]  # as far as one is needed

    def callInThreadWithCallback(self, done: Any, call: Any, *given: Any, **named: Any) -> None:
        """Call, and tell."""
        try:
            result = call(*given, **named)
        except OSError:
            done(False, Failure())
        else:
            done(True, result)


@attrs.define
class Told:
    """Is told what is found."""

    addresses: list[IAddress] = attrs.Factory(list)
    complete: bool = False

    def resolutionBegan(self, resolution: IHostResolution) -> None:
        """Begin."""

    def addressResolved(self, address: IAddress) -> None:
        """Keep it."""
        self.addresses.append(address)

    def resolutionComplete(self) -> None:
        """End."""
        self.complete = True


class ResolverTests(SynchronousTestCase):
    """resolver() over a C library that says what the test wants."""

    def told(self, look_up: Any) -> Told:
        """Return what was told of a name."""
        told = Told()
        made = resolver(AtOnce(), look_up)
        self.assertTrue(verifyObject(IHostnameResolver, made))
        made.resolveHostName(told, "app.internal", 80)  # type: ignore[arg-type]
        return told

    def test_found(self) -> None:
        """The addresses come through."""
        stream = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", 80))
        told = self.told(lambda *_: [stream])
        self.assertEqual(told, Told([IPv4Address("TCP", "10.0.0.1", 80)], complete=True))

    def test_every_failure_is_an_end(self) -> None:
        """No such name, and a system that could not even look: both are none found."""
        for error in (
            socket.gaierror(socket.EAI_NONAME, "no"),
            socket.gaierror(socket.EAI_AGAIN, "later"),
            OSError(errno.EMFILE, "Too many open files"),
            OSError(errno.ENOMEM, "no memory"),
        ):

            def fail(*_: object, error: OSError = error) -> None:
                raise error

            self.assertEqual(self.told(fail), Told(complete=True), error)
