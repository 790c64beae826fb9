"""
A WebSocket that says back what it hears.

Piece by piece: a message of any size is echoed as fragments, as they come, and never
gathered. A client that does not read its echo is not read from, either.

Source: RFC 6455.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage

from pomeriumd.errors import BadMessage, PomeriumError
from pomeriumd.http.events import Field, Request, Response
from pomeriumd.net.exchange import Exchange

PING = 30.0
"""Seconds between two pings: proxies on the way close what is silent for a minute."""

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_SIZE = 16


def accept_fields(request: Request) -> list[Field]:
    """
    Return the fields of the answer that accepts.

    Raises:
        BadMessage: the handshake is not one of version 13 with one good key.

    Source: RFC 6455 section 4.2.
    """
    keys = [value for name, value in request.fields if name == b"sec-websocket-key"]
    versions = [value for name, value in request.fields if name == b"sec-websocket-version"]
    if versions != [b"13"]:
        raise BadMessage("Sec-WebSocket-Version is not 13")
    try:
        good = len(keys) == 1 and len(base64.b64decode(keys[0], validate=True)) == _KEY_SIZE
    except binascii.Error:
        good = False
    if not good:
        raise BadMessage("want one Sec-WebSocket-Key of 16 bytes in base64")
    digest = hashlib.sha1(keys[0] + _MAGIC, usedforsecurity=False).digest()
    return [(b"sec-websocket-accept", base64.b64encode(digest))]


@attrs.define(eq=False)
class Echo:
    """The sink of one tunnel: frames in, frames out."""

    _exchange: Exchange
    _clock: IReactorTime
    _frames: Connection = attrs.Factory(lambda: Connection(ConnectionType.SERVER))
    _heard: bool = True
    _next_ping: IDelayedCall | None = None

    def begin(self) -> None:
        """
        Answer 101, and listen.

        Raises:
            BadMessage: it is no handshake; nothing has been answered.
        """
        exchange = self._exchange
        ahead = exchange.switch(Response(101, accept_fields(exchange.request), None))
        exchange.flush()
        self._next_ping = self._clock.callLater(PING, self._ping)
        exchange.listen(self)
        if ahead:
            self.data(ahead)
            self.flush()

    def data(self, octets: bytes) -> None:
        """Read frames, and answer each."""
        self._heard = True
        self._frames.receive_data(octets)
        for event in self._frames.events():
            if isinstance(event, TextMessage | BytesMessage):
                # As it is: the same piece of the same kind of message.
                self._send(event)
            elif isinstance(event, Ping):
                self._send(event.response())
            elif isinstance(event, CloseConnection):
                # The client's own word, or what wsproto has to say to a broken frame.
                self._send(event.response())
                self._finish()
                return

    def _send(self, event: Event) -> None:
        self._exchange.send(self._frames.send(event))

    def _ping(self) -> None:
        self._next_ping = None
        if not self._heard:
            self._finish()
            return
        self._heard = False
        self._send(Ping())
        self._exchange.flush()
        self._next_ping = self._clock.callLater(PING, self._ping)

    def _finish(self) -> None:
        self._stop()
        if not self._exchange.over:
            self._exchange.finish()

    def _stop(self) -> None:
        if self._next_ping is not None:
            self._next_ping.cancel()
            self._next_ping = None

    def end(self, trailers: object) -> None:
        """Take note that the request had no body; the tunnel begins behind it."""

    def lost(self, error: PomeriumError) -> None:
        """The client is gone."""
        self._stop()

    def flush(self) -> None:
        """Write the answers together."""
        if not self._exchange.over:
            self._exchange.flush()

    def full(self) -> None:
        """The client does not read its echo: do not read from it, either."""
        self._exchange.pause("echo")

    def drained(self) -> None:
        """The client reads again."""
        self._exchange.resume("echo")
