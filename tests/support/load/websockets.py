"""
WebSockets that stay open, a program: ``websockets PORT CA HOST COUNT PACE [COOKIE]``.

Each of ``COUNT`` exchanges a message every ``PACE`` seconds: a number of its own, which has to
come back. One that ends, or that gets something else, is cut: that is said at once.

It says ``open``, with the clients' ports, when each has had its first message back, and ends when
its standard input does.
"""

from __future__ import annotations

import base64
import json
import os
import select
import ssl
import struct
import sys
import threading
import time
from typing import Any

from tests.support.load.wire import HOST, Broken, Reader, Wire, connected, request

PATIENCE = 60.0
"""Seconds for a message to come back."""

_SAID = threading.Lock()


def frame(text: bytes) -> bytes:
    """Return a text of at most 125 bytes as a frame of a client; a mask of zero masks nothing."""
    return struct.pack(">BBI", 0x81, 0x80 | len(text), 0) + text


def text_of(reader: Reader) -> bytes:
    """Return the text of the next frame of a server."""
    head = reader.octets(2)
    if head[0] != 0x81 or head[1] > 125:  # RFC 6455, 5.2
        raise Broken(f"a frame that is no short text: {head!r}")
    return reader.octets(head[1])


class Sockets:
    """All of them, and what became of them."""

    def __init__(self, port: int, authority: str, host: str, pace: float, cookie: str) -> None:
        self.port, self.host, self.pace, self.cookie = port, host, pace, cookie
        self.context = ssl.create_default_context(cafile=authority)
        self.over = threading.Event()
        self.begun = threading.Semaphore(0)
        self.exchanged = 0
        self.ports: list[int] = []
        self.cut: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    def run(self, number: int) -> None:
        """Be one of them."""
        port = 0
        released = False
        try:
            plain = connected(self.port, PATIENCE)
            port = plain.getsockname()[1]
            self.ports.append(port)
            with self.context.wrap_socket(plain, server_hostname=HOST) as wire:
                reader = self.opened(wire)
                count = 0
                while not self.over.is_set():
                    self.exchange(reader, b"%d.%d" % (number, count))
                    count += 1
                    if not released:
                        self.begun.release()
                        released = True
                    self.pause(wire)
        except (OSError, Broken) as error:
            self.was_cut(number, port, f"{type(error).__name__}: {error}")
        finally:
            if not released:
                self.begun.release()

    def opened(self, wire: Wire) -> Reader:
        """Ask for a WebSocket, and return what reads it."""
        fields = [
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            f"Origin: https://{self.host}",
        ]
        if self.cookie:
            fields.append(f"Cookie: {self.cookie}")
        wire.sendall(request("GET", "/echo", *fields, host=self.host))
        reader = Reader(wire, 1 << 14)
        line, _ = reader.head()
        if b" 101 " not in line:
            raise Broken(line.decode())
        return reader

    def exchange(self, reader: Reader, text: bytes) -> None:
        """Send a text, and have it back."""
        reader.wire.sendall(frame(text))
        came = text_of(reader)
        if came != text:
            raise Broken(f"{came!r} for {text!r}")
        with self._lock:
            self.exchanged += 1

    def pause(self, wire: Wire) -> None:
        """Wait for the next message's time; whatever comes meanwhile is an end."""
        ends = time.perf_counter() + self.pace
        while not self.over.is_set():
            left = ends - time.perf_counter()
            if left <= 0:
                return
            ready, _, _ = select.select([wire], [], [], min(left, 0.5))
            if ready:
                # TLS has messages of its own; when one comes, nothing is there to read.
                wire.settimeout(0.01)
                try:
                    raise Broken("closed" if not wire.recv(1) else "a message nobody asked for")
                except (TimeoutError, ssl.SSLWantReadError):
                    pass
                finally:
                    wire.settimeout(PATIENCE)

    def was_cut(self, number: int, port: int, how: str) -> None:
        """Note it, and say it."""
        told = {"cut": number, "port": port, "how": how}
        with self._lock:
            self.cut.append(told)
        say(told)


def say(what: dict[str, Any]) -> None:
    """Say it to who started us."""
    with _SAID:
        print(json.dumps(what), flush=True)  # noqa: T201  # see above


def main(port: str, authority: str, host: str, count: str, pace: str, cookie: str = "") -> None:
    """Exchange messages until told to end, and say what came of it."""
    sockets = Sockets(int(port), authority, host, float(pace), cookie)
    threads = [threading.Thread(target=sockets.run, args=[n]) for n in range(int(count))]
    for thread in threads:
        thread.start()
    for _ in threads:
        sockets.begun.acquire()
    say({"open": len(threads) - len(sockets.cut), "ports": sockets.ports})
    sys.stdin.read()
    sockets.over.set()
    for thread in threads:
        thread.join()
    say({"opened": len(threads), "exchanged": sockets.exchanged, "cuts": sockets.cut})


if __name__ == "__main__":
    main(*sys.argv[1:])
