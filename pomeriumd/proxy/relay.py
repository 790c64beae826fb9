"""
Both bodies of one exchange, and every way in which it can end.

Two sinks, crossed: what arrives at one side is written to the other, and what a side
cannot take pauses the side that feeds it. Nothing is gathered: what is held at any time
is what the two transports hold, and they say when that is enough.

Once the head of the answer has gone out there is no other answer: whatever goes wrong
then cuts the connection, so that a client sees a broken answer and never a short one.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from pomeriumd.errors import PomeriumError
from pomeriumd.http.events import Field, Response
from pomeriumd.net.exchange import SWITCHING, Exchange
from pomeriumd.net.pauses import CLIENT, UPSTREAM
from pomeriumd.net.upstream import UpstreamConnection


@attrs.define(eq=False, kw_only=True)
class Relay:
    """
    The client's sink: what it sends goes to the upstream.

    Args:
        exchange: the client's side.
        connection: the upstream's side, leased, the request's head given already.
        fields: what becomes of the answer's fields on their way to the client.
        trailers: which trailers of the request go on.
        failed: called once, instead of cutting, when the upstream fails before the
            answer's head has gone out; may answer, or try again.
        answered: called when the head of the answer has come.
    """

    exchange: Exchange
    connection: UpstreamConnection
    fields: Callable[[list[Field]], list[Field]]
    trailers: Callable[[tuple[Field, ...]], tuple[Field, ...]]
    failed: Callable[[PomeriumError], None]
    answered: Callable[[], None]
    request_done: bool = False
    over: bool = False

    def data(self, octets: bytes) -> None:
        """Pass a piece of the request's body on."""
        if not self.over:
            self.connection.send(octets)

    def end(self, trailers: tuple[Field, ...]) -> None:
        """Pass the end of the request on, once."""
        if not self.over and not self.request_done:
            self.request_done = True
            self.connection.finish(self.trailers(trailers) if trailers else ())

    def lost(self, error: PomeriumError) -> None:
        """The client left: the upstream's work is for nobody."""
        del error  # the exchange has noted it
        if not self.over:
            self.over = True
            self.connection.cut()

    def flush(self) -> None:
        """Let the upstream have what came."""
        if not self.over:
            self.connection.flush()

    def full(self) -> None:
        """The client is slow: read no more of the answer."""
        if not self.over:
            self.connection.pause(CLIENT)

    def drained(self) -> None:
        """The client has caught up."""
        if not self.over:
            self.connection.resume(CLIENT)


@attrs.define(eq=False)
class Answering:
    """The upstream's sink: what it answers goes to the client."""

    _relay: Relay

    def responded(self, response: Response) -> None:
        """Pass the head of the answer on, as far as it may cross."""
        relay = self._relay
        relay.answered()
        passed = Response(response.status, relay.fields(response.fields), response.length)
        exchange = relay.exchange
        if response.status == SWITCHING:
            ahead = exchange.switch(passed)
            if ahead:
                relay.connection.send(ahead)
                relay.connection.flush()
        else:
            exchange.respond(passed)

    def data(self, octets: bytes) -> None:
        """Pass a piece of the answer on."""
        self._relay.exchange.send(octets)

    def end(self, trailers: tuple[Field, ...]) -> None:
        """The answer is complete."""
        relay = self._relay
        relay.over = True
        relay.exchange.resume(UPSTREAM)
        relay.exchange.finish(trailers)

    def lost(self, error: PomeriumError) -> None:
        """The upstream failed."""
        relay = self._relay
        relay.over = True
        exchange = relay.exchange
        exchange.resume(UPSTREAM)
        if exchange.started:
            exchange.cut(error)
        else:
            relay.failed(error)

    def flush(self) -> None:
        """Let the client have what came."""
        self._relay.exchange.flush()

    def full(self) -> None:
        """The upstream is slow: read no more of the request."""
        self._relay.exchange.pause(UPSTREAM)

    def drained(self) -> None:
        """The upstream has caught up."""
        self._relay.exchange.resume(UPSTREAM)
