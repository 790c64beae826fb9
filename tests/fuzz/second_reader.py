"""
What h11 makes of the same bytes: the second of the two readers that have to agree.

Where h11 takes more than we do, nothing is said here: only what we take is compared.
"""

from __future__ import annotations

from typing import NamedTuple

import h11

Field = tuple[bytes, bytes]

_FRAMING = (
    "bad Content-Length",
    "conflicting Content-Length",
    "multiple Transfer",
    "Only Transfer",
)
"""How the texts begin with which h11 refuses what fields say of framing."""

_ROOM = 1 << 24
"""Bytes of the largest head that it may take: our bounds are to count here, not h11's."""


class Message(NamedTuple):
    """One message as h11 reads it."""

    line: tuple[bytes, ...]
    """Method and target; or the status."""
    fields: list[Field]
    body: bytes
    trailers: list[Field] | None
    """None where h11 refuses them for what they say of framing, as if they stood in a head; we
    take such trailers off."""
    whole: bool

    @property
    def says_its_size_once(self) -> bool:
        """Whether it has one field at most that says where its body ends."""
        names = [name for name, _ in self.fields]
        return names.count(b"content-length") + names.count(b"transfer-encoding") <= 1

    def has(self, trailers: tuple[Field, ...]) -> bool:
        """Say whether these stand among its trailers, in this order."""
        rest = iter(self.trailers or ())
        return self.trailers is None or all(trailer in rest for trailer in trailers)


def requests(octets: bytes) -> tuple[list[Message], bool]:
    """
    Return the requests of one connection, and whether h11 refused what came then.

    The last one may not be whole.
    """
    found: list[Message] = []
    while octets:
        # The one empty line that a server passes over (RFC 9112 section 2.2); h11 does not.
        octets = octets.removeprefix(b"\r\n")
        reader = h11.Connection(h11.SERVER, max_incomplete_event_size=_ROOM)
        reader.receive_data(octets)
        try:
            message = _read(reader)
        except h11.RemoteProtocolError:
            return found, True
        if message is None:
            break
        found.append(message)
        if not message.whole:
            break
        octets = reader.trailing_data[0]
    return found, False


def response(
    octets: bytes, method: bytes = b"GET", *, ended: bool, upgrade: bytes | None = None
) -> tuple[Message | None, bytes]:
    """
    Return the answer to one request, and what comes behind it.

    Args:
        octets: all that came.
        method: of the request.
        ended: whether the connection ended behind them.
        upgrade: what the request asked for.

    Raises:
        RemoteProtocolError: it is no answer.
    """
    reader = h11.Connection(h11.CLIENT, max_incomplete_event_size=_ROOM)
    asked: list[Field] = [(b"host", b"a.example")]
    if upgrade is not None:
        asked += [(b"connection", b"upgrade"), (b"upgrade", upgrade)]
    reader.send(h11.Request(method=method, target=b"/", headers=asked))
    reader.send(h11.EndOfMessage())
    if octets:
        reader.receive_data(octets)
    if ended:
        reader.receive_data(b"")
    message = _read(reader)
    return message, reader.trailing_data[0]


def _read(reader: h11.Connection) -> Message | None:
    """
    Return the next message, interim answers passed over; None if its head is not here.

    One that h11 refuses behind its head is not whole.
    """
    line: tuple[bytes, ...] = ()
    fields: list[Field] = []
    body = b""
    while True:
        try:
            event = reader.next_event()
        except h11.RemoteProtocolError as error:
            if not line:
                raise
            return Message(line, fields, body, None, whole=str(error).startswith(_FRAMING))
        if isinstance(event, h11.Request):
            line, fields = (event.method, event.target), [(n, v) for n, v in event.headers]
        elif isinstance(event, h11.Response) or (
            isinstance(event, h11.InformationalResponse) and event.status_code == 101
        ):
            line, fields = (b"%d" % event.status_code,), [(n, v) for n, v in event.headers]
            if event.status_code == 101:
                return Message(line, fields, b"", [], whole=True)
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return Message(line, fields, body, list(event.headers), whole=True)
        elif isinstance(event, h11.InformationalResponse):
            continue
        else:  # NEED_DATA, PAUSED or ConnectionClosed
            return Message(line, fields, body, [], whole=False) if line else None
