"""What our two parsers take the bytes of a connection for, piece by piece."""

from __future__ import annotations

import attrs

from pomeriumd.errors import ClientError, UpstreamBroken
from pomeriumd.http.client1 import Client1
from pomeriumd.http.events import Data, End, Response
from pomeriumd.http.fields import field_lines
from pomeriumd.http.limits import Limits
from pomeriumd.http.server1 import Server1


def merged(events: list[object]) -> list[object]:
    """Join the neighbouring pieces of a body."""
    joined: list[object] = []
    for event in events:
        if isinstance(event, Data) and joined and isinstance(joined[-1], Data):
            joined[-1] = Data(joined[-1].data + event.data)
        else:
            joined.append(event)
    return joined


@attrs.frozen
class Taken:
    """What a connection's bytes were taken for."""

    whole: list[list[object]]
    """The events of each whole message."""
    error: str
    """The class of the error that ended it, or ""."""
    rest: object = None
    """What follows from its state."""


def server(pieces: list[bytes], limits: Limits, *, tunnels: bool = True) -> Taken:
    """Feed a client's bytes; answer each request that is whole, an upgrade with a tunnel."""
    parser = Server1(limits)
    whole: list[list[object]] = []
    current: list[object] = []
    tunnel = False
    try:
        for piece in pieces:
            events = parser.feed(piece)
            while events:
                current += events
                last, events = events[-1], []
                if tunnel or not isinstance(last, End):
                    continue
                request = current[0]
                if tunnels and getattr(request, "upgrade", None) is not None:
                    tunnel = True
                    early = parser.switch(Response(101, [], 0))[1]
                    current += [Data(early)] if early else []
                    continue
                whole.append(merged(current))
                current = []
                parser.respond(Response(200, [], 0))
                parser.end()
                events = list(parser.next())
    except ClientError as error:
        return Taken(whole, type(error).__name__)
    return Taken(whole, "", (merged(current), parser.idle, parser.expects_continue))


def client(
    pieces: list[bytes], limits: Limits, method: bytes, *, upgrade: bool, clean: bool
) -> Taken:
    """Feed an upstream's bytes, and its end."""
    parser = Client1(limits)
    wanted = b"websocket" if upgrade else None
    parser.request(method, b"/", field_lines([(b"host", b"a")]), 0, upgrade=wanted)
    parser.end()
    events: list[object] = []
    try:
        for piece in pieces:
            events += parser.feed(piece)
            early = parser.trailing()
            events += [Data(early)] if early else []
        reusable = parser.reusable
        events += parser.closed(clean=clean)
    except UpstreamBroken as error:
        assert not parser.reusable
        return Taken([], type(error).__name__)
    return Taken([merged(events)], "", reusable)
