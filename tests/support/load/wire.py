"""Just enough HTTP for clients and upstreams that have to be cheaper than what they test."""

from __future__ import annotations

import hashlib
import socket
import ssl
from collections.abc import Callable
from typing import Any

HOST = "app.example.test"

QUIET = "quiet.example.test"
"""The probe's host. Its upstream has a process of its own: one that a crowd keeps busy would
be late by itself."""

Wire = socket.socket
"""A connection; ``ssl.SSLSocket`` is one."""

ROOM = 1 << 20


class Broken(Exception):
    """The other side ended where it should not have."""


class Reader:
    """Reads lines and bodies from a connection, through one large buffer."""

    def __init__(self, wire: Wire, room: int = ROOM) -> None:
        self.wire = wire
        self._room = room
        self._buffer = bytearray(room)
        self._view = memoryview(self._buffer)
        self._begin = self._end = 0

    def _more(self) -> None:
        if self._begin == self._end:
            self._begin = self._end = 0
        elif self._end == self._room:
            rest = bytes(self._view[self._begin : self._end])
            self._view[: len(rest)] = rest
            self._begin, self._end = 0, len(rest)
        count = self.wire.recv_into(self._view[self._end :])
        if not count:
            raise Broken("the other side ended")
        self._end += count

    def rest(self) -> memoryview:
        """Return what has been received and not been asked for, once."""
        rest = self._view[self._begin : self._end]
        self._begin = self._end
        return rest

    def until(self, mark: bytes) -> bytes:
        """Return what comes up to the mark, the mark left out."""
        while (place := self._buffer.find(mark, self._begin, self._end)) < 0:
            self._more()
        found = bytes(self._view[self._begin : place])
        self._begin = place + len(mark)
        return found

    def exactly(self, size: int, use: Callable[[memoryview], Any]) -> None:
        """Hand so many bytes to ``use``, as they come."""
        while size:
            if self._begin == self._end:
                self._more()
            taken = min(size, self._end - self._begin)
            use(self._view[self._begin : self._begin + taken])
            self._begin += taken
            size -= taken

    def octets(self, size: int) -> bytes:
        """Return so many bytes."""
        pieces: list[bytes] = []
        self.exactly(size, lambda piece: pieces.append(bytes(piece)))
        return b"".join(pieces)

    def until_end(self, use: Callable[[memoryview], Any]) -> None:
        """Hand all that comes before the other side's end to ``use``."""
        while True:
            if self._begin == self._end:
                try:
                    self._more()
                except Broken:
                    return
            use(self._view[self._begin : self._end])
            self._begin = self._end

    def chunks(self, use: Callable[[memoryview], Any]) -> None:
        """Hand the data of a chunked body to ``use``; no extensions, no trailers."""
        while size := int(self.until(b"\r\n"), 16):
            self.exactly(size, use)
            self.until(b"\r\n")
        self.until(b"\r\n")

    def head(self) -> tuple[bytes, dict[bytes, bytes]]:
        """Return the first line of a message and its fields, names in lower case."""
        line, *lines = self.until(b"\r\n\r\n").split(b"\r\n")
        pairs = (field.partition(b":") for field in lines)
        return line, {name.lower(): value.strip() for name, _, value in pairs}

    def body(self, fields: dict[bytes, bytes], use: Callable[[memoryview], Any]) -> None:
        """Hand a message's body to ``use``."""
        if fields.get(b"transfer-encoding") == b"chunked":
            self.chunks(use)
        elif b"content-length" in fields:
            self.exactly(int(fields[b"content-length"]), use)
        else:
            self.until_end(use)


class Sum:
    """Counts and sums up what it is given."""

    def __init__(self) -> None:
        self.size = 0
        self._sum = hashlib.sha256()

    def __call__(self, piece: memoryview) -> None:
        """Take a piece."""
        self.size += len(piece)
        self._sum.update(piece)

    def told(self) -> dict[str, Any]:
        """Return what was found."""
        return {"size": self.size, "sha256": self._sum.hexdigest()}


def dial(port: int, authority: str | None, timeout: float | None = 60.0) -> Wire:
    """Connect; with TLS if there is a file with the authority to trust."""
    return secured(connected(port, timeout), authority)


def connected(port: int, timeout: float | None = 60.0) -> Wire:
    """Connect, and have small messages sent at once."""
    plain = socket.create_connection(("127.0.0.1", port), timeout)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return plain


def secured(plain: socket.socket, authority: str | None) -> Wire:
    """Put TLS on a connection, if there is a file with the authority to trust."""
    if authority is None:
        return plain
    return ssl.create_default_context(cafile=authority).wrap_socket(plain, server_hostname=HOST)


def request(method: str, target: str, *fields: str, host: str = HOST) -> bytes:
    """Return a request's head."""
    lines = (f"{method} {target} HTTP/1.1", f"Host: {host}", *fields, "", "")
    return "\r\n".join(lines).encode()
