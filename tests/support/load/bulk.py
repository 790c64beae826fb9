"""
A client that moves much, a program: ``python -m tests.support.load.bulk PORT CA WHAT KIND SIZE``.

``up`` and ``down`` with a body ``counted`` or ``chunked``, or ``both`` at once over a
WebSocket. It says what came, and how long it took.
"""

from __future__ import annotations

import base64
import json
import os
import select
import ssl
import struct
import sys
import time
from collections.abc import Iterator
from typing import Any

from tests.support.load.stream import blocks
from tests.support.load.upstream import BINARY, TEXT
from tests.support.load.wire import Reader, Sum, Wire, dial, request

PATIENCE = 600.0

MASKED = struct.Struct(">2sQI")


def up(wire: Wire, kind: str, size: int) -> dict[str, Any]:
    """Send the stream, and return what the upstream says of it."""
    framing = "Transfer-Encoding: chunked" if kind == "chunked" else f"Content-Length: {size}"
    wire.sendall(request("PUT", "/up", framing))
    for block in blocks(size):
        if kind == "chunked":
            wire.sendall(b"%x\r\n" % len(block))
        wire.sendall(block)
        if kind == "chunked":
            wire.sendall(b"\r\n")
    if kind == "chunked":
        wire.sendall(b"0\r\n\r\n")
    reader = Reader(wire)
    _, fields = reader.head()
    told: list[bytes] = []
    reader.body(fields, lambda piece: told.append(bytes(piece)))
    said: dict[str, Any] = json.loads(b"".join(told))
    return said


def down(wire: Wire, kind: str, size: int) -> dict[str, Any]:
    """Take the stream."""
    wire.sendall(request("GET", f"/down?size={size}&kind={kind}"))
    reader, found = Reader(wire), Sum()
    _, fields = reader.head()
    reader.body(fields, found)
    return found.told()


def both(wire: Wire, size: int) -> dict[str, Any]:
    """Send and take the stream over one WebSocket, as fast as each goes."""
    wire.sendall(
        request(
            "GET",
            f"/socket?size={size}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        )
    )
    reader = Reader(wire)
    line, _ = reader.head()
    if b" 101 " not in line:
        return {"status": line.decode()}
    wire.setblocking(False)
    taking, sending = Taking(), frames(size)
    pending = memoryview(b"")
    done = False
    buffer = bytearray(1 << 18)
    # What the reader's buffer still holds belongs to the socket's bytes.
    taking.take(reader.rest())
    while taking.text is None:
        if not pending and not done:
            pending = next(sending, memoryview(b""))
            done = not pending
        idle = True
        if pending:
            try:
                pending = pending[wire.send(pending) :]
                idle = False
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                pass
        try:
            count = wire.recv_into(buffer)
            if not count:
                break
            taking.take(memoryview(buffer)[:count])
            idle = False
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        if idle:
            select.select([wire], [wire] if pending else [], [], PATIENCE)
    said = json.loads(taking.text or b"{}")
    return {**taking.found.told(), "there": said}


def frames(size: int) -> Iterator[memoryview]:
    """Yield the stream as frames of a client; their mask is zero, which masks nothing."""
    for block in blocks(size):
        header = MASKED.pack(BINARY[:1] + bytes([0x80 | BINARY[1]]), len(block), 0)
        yield memoryview(header)
        yield block


class Taking:
    """Takes the frames of a server."""

    def __init__(self) -> None:
        self.found = Sum()
        self.text: bytes | None = None
        self._header = b""
        self._left = 0

    def take(self, view: memoryview) -> None:
        """Take bytes, however they were cut."""
        while view:
            if not self._left:
                need = 10 - len(self._header)
                self._header += view[:need]
                view = view[need:]
                if len(self._header) < 10:
                    return
                self._left = struct.unpack(">Q", self._header[2:])[0]
                if self._header[:2] == TEXT:
                    self._text = b""
                continue
            piece = view[: self._left]
            view = view[len(piece) :]
            self._left -= len(piece)
            if self._header[:2] == TEXT:
                self._text += piece
                if not self._left:
                    self.text = self._text
            else:
                self.found(piece)
            if not self._left:
                self._header = b""


def main(port: str, authority: str, what: str, kind: str, size: str) -> None:
    """Move it, and say what came of it."""
    wire = dial(int(port), authority, PATIENCE)
    began = time.perf_counter()
    match what:
        case "up":
            told = up(wire, kind, int(size))
        case "down":
            told = down(wire, kind, int(size))
        case _:
            told = both(wire, int(size))
    took = time.perf_counter() - began
    print(json.dumps({**told, "seconds": took}), flush=True)  # noqa: T201  # as above


if __name__ == "__main__":
    main(*sys.argv[1:])
