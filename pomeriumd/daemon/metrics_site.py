"""
Where Prometheus reads: a small site of its own, never on the port of the proxy.

There is no sign-in. What is bounded here is what a scraper that went wrong can take: its
connections, its time, and the processor at one go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.interfaces import IAddress, IDelayedCall, IListeningPort, IPushProducer
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.http import NOT_FOUND
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from zope.interface import implementer

from pomeriumd.daemon.exposition import CONTENT_TYPE
from pomeriumd.daemon.listeners import Listener

CONNECTIONS = 16
"""Open at one time; one more is closed."""

IDLE_SECONDS = 30.0
"""For a request to arrive, and between two of them; a scraper comes again each minute or so,
and may connect anew."""

SCRAPE_SECONDS = 60.0
"""For one answer to be taken."""

Text = Callable[[], Iterator[bytes]]
"""Begins a new text: its pieces, each made when it is asked for."""

_PAGE = b"""<!DOCTYPE html>
<html lang="en"><title>pomeriumd</title><p><a href="/metrics">Metrics</a></p></html>
"""


@implementer(IPushProducer)
class _Answer:
    """One text on its way: a piece for each turn of the loop, while the client takes them."""

    _log = Logger()

    def __init__(self, request: Request, pieces: Iterator[bytes], clock: Any) -> None:
        self._request = request
        self._pieces = pieces
        self._clock = clock
        self._paused = False
        self._next: IDelayedCall | None = None
        self._late: IDelayedCall = clock.callLater(SCRAPE_SECONDS, self._abort)
        request.notifyFinish().addBoth(lambda _: self._settle())
        request.registerProducer(self, streaming=True)
        self._go()

    def _go(self) -> None:
        self._next = None
        try:
            piece = next(self._pieces, None)
        except Exception:  # noqa: BLE001  # what is wrong with it must not close the site
            self._log.failure("the metrics could not be told")
            self._abort()
            return
        if piece is None:
            self._request.unregisterProducer()
            self._request.finish()
            return
        if piece:
            self._request.write(piece)
        if not self._paused:
            self.resumeProducing()

    def _abort(self) -> None:
        # Ended in peace, half a text would pass for a whole one.
        self._settle()
        if self._request.channel is not None:
            self._request.channel.forceAbortClient()

    def _settle(self) -> None:
        self.pauseProducing()
        if self._late.active():
            self._late.cancel()

    def pauseProducing(self) -> None:
        """The client is slow: make no more."""
        self._paused = True
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def resumeProducing(self) -> None:
        """The client takes more: when everybody else had a turn."""
        self._paused = False
        if self._next is None:
            self._next = self._clock.callLater(0, self._go)

    def stopProducing(self) -> None:
        """Nobody is there any more."""
        self._settle()


class _Pages(Resource):
    """``/metrics``, a page that leads there, and nothing else: paths are compared whole."""

    isLeaf = True

    def __init__(self, text: Text, clock: Any) -> None:
        super().__init__()
        self._text = text
        self._clock = clock

    def render_GET(self, request: Request) -> bytes | int:
        """Give the text, or what else is there."""
        if request.path == b"/metrics":
            request.setHeader(b"content-type", CONTENT_TYPE)
            _Answer(request, self._text(), self._clock)
            return NOT_DONE_YET
        return self.render_HEAD(request)

    def render_HEAD(self, request: Request) -> bytes:
        """Give the head; making a text for it would be for nothing."""
        if request.path == b"/metrics":
            request.setHeader(b"content-type", CONTENT_TYPE)
            return b""
        if request.path == b"/":
            return _PAGE
        request.setResponseCode(NOT_FOUND)
        request.setHeader(b"content-type", b"text/plain")
        return b"There is /metrics and nothing else.\n"


class _Site(Site):
    """The site, without a log of its own: nobody wants a line for each scrape."""

    noisy = False

    def log(self, request: object) -> None:
        """Say nothing."""


class _Bounded(WrappingFactory):
    """So many connections and no more."""

    noisy = False

    def buildProtocol(  # type: ignore[override]  # None as IProtocolFactory has it
        self, addr: IAddress | None
    ) -> ProtocolWrapper | None:
        """Return the protocol of a connection; None, which closes it, when there are enough."""
        return super().buildProtocol(addr) if len(self.protocols) < CONNECTIONS else None


def site(text: Text, reactor: Any) -> WrappingFactory:
    """Return the factory of the site's connections."""
    return _Bounded(_Site(_Pages(text, reactor), timeout=IDLE_SECONDS, reactor=reactor))


@attrs.define(eq=False)
class MetricsSite(Service):
    """
    The site, on a socket that listens already; nowhere, as long as there is none.

    Args:
        text: begins a text for each scrape.
        reactor: everything of it.
    """

    _text: Text
    _reactor: Any
    _factory: WrappingFactory = attrs.field(init=False)
    _port: IListeningPort | None = attrs.field(default=None, init=False)
    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self._factory = site(self._text, self._reactor)

    def listen(self, listener: Listener | None) -> None:
        """Serve there and nowhere else from now on; scrapes under way come to their end."""
        before, self._port = self._port, None
        if listener is not None:
            self._port = self._reactor.adoptStreamPort(
                listener.socket.fileno(), listener.socket.family, self._factory
            )
            self._log.info("metrics are served on {address}", address=listener.text)
        if before is not None:
            before.stopListening()

    def stopService(self) -> Any:
        """Close the port, and cut what is open: nobody waits for metrics at the end."""
        super().stopService()
        port, self._port = self._port, None
        for connection in tuple(self._factory.protocols):
            connection.abortConnection()
        return None if port is None else port.stopListening()
