"""Two independent readers of HTTP/1.1: what h11 and llhttp take bytes for."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import h11
import httptools

from pomeriumd.http.events import Field

ROOM = 1 << 20
"""Bytes of the largest head that h11 is to take: our own bounds are what is tested."""


@attrs.frozen
class Message:
    """One whole message as somebody read it; names in lower case."""

    start: tuple[bytes, ...]
    """Method and target of a request; the status of an answer."""
    fields: tuple[Field, ...]
    body: bytes = b""
    trailers: tuple[Field, ...] = ()

    def all(self, name: bytes) -> list[bytes]:
        """Return every value of a field."""
        return [value for given, value in self.fields if given == name]


class Misread(Exception):
    """A reader refuses the bytes. The text is its own."""


@attrs.frozen
class Reading:
    """What a reader makes of a connection's bytes."""

    whole: list[Message]
    begun: bool
    """Whether a message was begun that has no end."""


def _pairs(headers: Sequence[tuple[bytes, bytes]]) -> tuple[Field, ...]:
    return tuple((bytes(name).lower(), bytes(value)) for name, value in headers)


def _one(connection: h11.Connection) -> Message | None:
    """Return the whole message that a connection of h11 has before it."""
    try:
        event = connection.next_event()
        while isinstance(event, h11.InformationalResponse):
            event = connection.next_event()
        if not isinstance(event, (h11.Request, h11.Response)):
            return None
        head, body = event, b""
        while isinstance(event := connection.next_event(), h11.Data):
            body += event.data
    except h11.RemoteProtocolError as error:
        raise Misread(f"h11: {error}") from error
    if not isinstance(event, h11.EndOfMessage):
        return None
    start = (
        (bytes(head.method), bytes(head.target))
        if isinstance(head, h11.Request)
        else (b"%d" % head.status_code,)
    )
    return Message(start, _pairs(head.headers), body, _pairs(event.headers))


def h11_requests(octets: bytes) -> Reading:
    """Return the requests that h11 reads, one behind the other."""
    whole: list[Message] = []
    while octets:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=ROOM)
        connection.receive_data(octets)
        message = _one(connection)
        if message is None:
            return Reading(whole, begun=True)
        whole.append(message)
        octets = connection.trailing_data[0]
    return Reading(whole, begun=False)


def h11_answers(octets: bytes, methods: Sequence[bytes], *, ended: bool) -> Reading:
    """
    Return the answers that h11 reads, one behind the other.

    Args:
        octets: all that the client got.
        methods: of the requests that they answer.
        ended: whether the connection ended in peace behind them.
    """
    whole: list[Message] = []
    for method in methods:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=ROOM)
        connection.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
        connection.send(h11.EndOfMessage())
        if octets:  # nothing would mean to h11 that the connection has ended
            connection.receive_data(octets)
        if ended:
            connection.receive_data(b"")
        message = _one(connection) if octets else None
        if message is None:
            return Reading(whole, begun=bool(octets))
        whole.append(message)
        octets = connection.trailing_data[0]
    if octets:
        raise Misread(f"h11: {len(octets)} bytes behind the last answer")
    return Reading(whole, begun=False)


class _Listener:
    """Puts together what llhttp tells."""

    def __init__(self) -> None:
        self.whole: list[Message] = []
        self.on_message_begin()

    def on_message_begin(self) -> None:
        self.target, self.body = b"", b""
        self.fields: list[Field] = []
        self.trailers: list[Field] = []
        self.in_body = False

    def on_url(self, octets: bytes) -> None:
        self.target += octets

    def on_header(self, name: bytes, value: bytes) -> None:
        # llhttp leaves the white space in that stands behind a value.
        field = (name.lower(), value.rstrip(b" \t"))
        (self.trailers if self.in_body else self.fields).append(field)

    def on_headers_complete(self) -> None:
        self.in_body = True

    def on_body(self, octets: bytes) -> None:
        self.body += octets

    def start(self) -> tuple[bytes, ...]:
        raise NotImplementedError

    def message(self) -> Message:
        return Message(self.start(), tuple(self.fields), self.body, tuple(self.trailers))

    def on_message_complete(self) -> None:
        self.whole.append(self.message())
        self.on_message_begin()


class _Requests(_Listener):
    def __init__(self) -> None:
        super().__init__()
        self.parser = httptools.HttpRequestParser(self)

    def start(self) -> tuple[bytes, ...]:
        return (self.parser.get_method(), self.target)


class _Answers(_Listener):
    def __init__(self) -> None:
        super().__init__()
        self.parser = httptools.HttpResponseParser(self)

    def start(self) -> tuple[bytes, ...]:
        return (b"%d" % self.parser.get_status_code(),)


def llhttp_requests(octets: bytes) -> Reading:
    """Return the requests that llhttp reads, one behind the other."""
    whole: list[Message] = []
    while octets:
        listener = _Requests()
        try:
            listener.parser.feed_data(octets)
        except httptools.HttpParserUpgrade as upgrade:
            whole += listener.whole
            # It stops behind a request that asks for an upgrade, whoever grants it.
            octets = octets[upgrade.args[0] :]
            continue
        except httptools.HttpParserError as error:
            raise Misread(f"llhttp: {error}") from error
        # One more message has begun unless llhttp told its last one whole.
        begun = listener.in_body or bool(listener.fields or listener.target)
        return Reading([*whole, *listener.whole], begun=begun)
    return Reading(whole, begun=False)


def llhttp_answer(octets: bytes, *, head_only: bool, ended: bool) -> Message | None:
    """
    Return the one answer that llhttp reads; None if it is not whole.

    Args:
        octets: all that the client got.
        head_only: it answers HEAD, which llhttp cannot be told.
        ended: whether the connection ended in peace behind it.
    """
    listener = _Answers()
    try:
        listener.parser.feed_data(octets)
    except httptools.HttpParserUpgrade as upgrade:
        if upgrade.args[0] != len(octets):
            raise Misread("llhttp: bytes behind a switch") from upgrade
    except httptools.HttpParserError as error:
        raise Misread(f"llhttp: {error}") from error
    final = [message for message in listener.whole if message.start[0][:1] != b"1"]
    if len(final) > 1:
        raise Misread(f"llhttp: {len(final)} answers")
    if final:
        return final[0]
    # A body that ends with the connection, or one that is announced and does not come.
    if listener.in_body and (
        head_only or (ended and not listener.message().all(b"content-length"))
    ):
        if listener.message().all(b"transfer-encoding") and not head_only:
            return None
        return listener.message()
    return None
