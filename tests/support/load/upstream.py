"""
The application behind the proxy, a program: ``python -m tests.support.load.upstream``.

Plain sockets and a thread for each connection. Its first line of output is its port; it
ends when its standard input does.

======================  ==============================================================
``/small``              two bytes
``/say?word=``          the word
``/down?size=&kind=``   the stream: ``counted``, ``chunked`` or ``close``
``/up``                 takes the request's body, answers with its size and checksum
``/drip?size=``         one byte a second, chunked
``/deaf``               reads the head of the request and nothing more
``/die?kind=&how=``     half an answer, ended in peace (``fin``) or not (``reset``)
``/reset``              a reset instead of an answer
``/seen``               the paths that were asked for
``/half``               two bytes, then ends its side and waits for ours
``/socket?size=``       a WebSocket: the stream both ways, then what came, as text
``/echo``               a WebSocket: each short text that comes
======================  ==============================================================
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import select
import socket
import struct
import sys
import termios
import threading
import time
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

from tests.support.load.stream import blocks
from tests.support.load.wire import Broken, Reader, Sum

BINARY, TEXT = b"\x82\x7f", b"\x81\x7f"
"""A final frame whose length takes 64 bits (RFC 6455, 5.2)."""

_OK = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"


SEEN: set[str] = set()
"""The paths that somebody asked for."""


def reset(wire: socket.socket) -> None:
    """Let the next close be a reset."""
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def answer(body: bytes) -> bytes:
    """Return a small answer."""
    return _OK + b"content-length: %d\r\n\r\n%s" % (len(body), body)


class Serving:
    """One connection from the proxy."""

    def __init__(self, wire: socket.socket) -> None:
        self.wire = wire
        self.reader = Reader(wire)

    def run(self) -> None:
        """Answer one request after the other."""
        with self.wire:
            try:
                while self.one():
                    pass
            except (OSError, Broken):
                return  # the proxy left: what that means is looked at on its other side

    def one(self) -> bool:  # noqa: PLR0911  # one for each of what it can do
        """Answer one; say whether another may follow."""
        line, fields = self.reader.head()
        target = urlsplit(line.split()[1].decode())
        given = {name: values[0] for name, values in parse_qs(target.query).items()}
        size = int(given.get("size", 0))
        SEEN.add(target.path)
        match target.path:
            case "/down":
                return self.down(size, given["kind"])
            case "/up":
                found = Sum()
                self.reader.body(fields, found)
                self.wire.sendall(answer(json.dumps(found.told()).encode()))
            case "/drip":
                self.drip(size)
            case "/deaf":
                self.wire.settimeout(None)
                # Returns when the proxy resets or ends, and never reads the body.
                self.wire.recv(1, socket.MSG_PEEK)
                _until_gone(self.wire)
                return False
            case "/die":
                self.die(given["kind"], given["how"])
                return False
            case "/reset":
                reset(self.wire)
                return False
            case "/seen":
                self.wire.sendall(answer(json.dumps(sorted(SEEN)).encode()))
            case "/say":
                self.wire.sendall(answer(given["word"].encode()))
            case "/echo":
                self.echo(fields[b"sec-websocket-key"])
                return False
            case "/half":
                self.wire.sendall(_OK + b"\r\nok")
                self.wire.shutdown(socket.SHUT_WR)
                self.reader.until_end(lambda _: None)
                return False
            case "/socket":
                self.socket(size, fields[b"sec-websocket-key"])
                return False
            case _:
                self.wire.sendall(answer(b"ok"))
        return True

    def down(self, size: int, kind: str) -> bool:
        """Send the stream."""
        send = self.wire.sendall
        if kind == "counted":
            send(_OK + b"content-length: %d\r\n\r\n" % size)
        else:
            send(_OK + b"%s\r\n" % (b"transfer-encoding: chunked\r\n" * (kind == "chunked")))
        for block in blocks(size):
            if kind == "chunked":
                send(b"%x\r\n" % len(block))
                send(block)
                send(b"\r\n")
            else:
                send(block)
        if kind == "chunked":
            send(b"0\r\n\r\n")
        return kind != "close"

    def die(self, kind: str, how: str) -> None:
        """Send half of an answer."""
        framing = {
            "counted": b"content-length: 10\r\n",
            "chunked": b"transfer-encoding: chunked\r\n",
        }
        half = b"5\r\n01234\r\n" if kind == "chunked" else b"01234"
        self.wire.sendall(_OK + framing.get(kind, b"") + b"\r\n" + half)
        if how == "reset":
            # Not before the half has been read: a reset overtakes what it follows.
            while fcntl.ioctl(self.wire, termios.TIOCOUTQ, b"0000") != bytes(4):
                time.sleep(0.001)
            reset(self.wire)

    def drip(self, size: int) -> None:
        """Send one byte a second."""
        self.wire.sendall(_OK + b"transfer-encoding: chunked\r\n\r\n")
        for _ in range(size):
            self.wire.sendall(b"1\r\nx\r\n")
            time.sleep(1)
        self.wire.sendall(b"0\r\n\r\n")

    def upgrade(self, key: bytes) -> None:
        """Go over to a WebSocket."""
        proof = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False)
        self.wire.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
            b"sec-websocket-accept: %s\r\n\r\n" % base64.b64encode(proof.digest())
        )

    def echo(self, key: bytes) -> None:
        """Send what comes; the mask is zero, and the texts are short."""
        self.upgrade(key)
        while True:
            size = self.reader.octets(6)[1] & 0x7F
            self.wire.sendall(bytes([0x81, size]) + self.reader.octets(size))

    def socket(self, size: int, key: bytes) -> None:
        """Send the stream and take as much, at the same time."""
        self.upgrade(key)

        def send() -> None:
            for block in blocks(size):
                self.wire.sendall(BINARY + struct.pack(">Q", len(block)))
                self.wire.sendall(block)

        sending = threading.Thread(target=send, daemon=True)
        sending.start()
        found = Sum()
        while found.size < size:
            # With the client's mask, which is zero.
            self.reader.exactly(struct.unpack(">2xQ4x", self.reader.octets(14))[0], found)
        sending.join()
        text = json.dumps(found.told()).encode()
        self.wire.sendall(TEXT + struct.pack(">Q", len(text)) + text)


def _until_gone(wire: socket.socket) -> None:
    """Return when the other side is gone, with what it sent left unread."""
    watched = select.poll()
    watched.register(wire, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
    watched.poll()


def serve(listening: socket.socket, run: Callable[[socket.socket], None]) -> None:
    """Give each connection a thread."""
    while True:
        wire, _ = listening.accept()
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=run, args=[wire], daemon=True).start()


def main() -> None:
    """Serve until standard input ends."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(listening.getsockname()[1], flush=True)  # noqa: T201  # read by who started us
    threading.Thread(
        target=serve, args=[listening, lambda wire: Serving(wire).run()], daemon=True
    ).start()
    sys.stdin.read()
    os._exit(0)  # the threads may hang in calls that have no end


if __name__ == "__main__":
    main()
