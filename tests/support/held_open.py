"""
What a connection takes of the real daemon, for the table in the settings manual.

``python -m tests.support.held_open`` starts the daemon, opens connections to it in one state
after the other, and prints by how much its resident size grows with each. It takes half a
minute and some thousand descriptors.
"""

from __future__ import annotations

import contextlib
import resource
import socket
import ssl
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from tests.support.load.daemon import Daemon, public
from tests.support.load.wire import HOST

SETTLE_SECONDS = 3.0
"""For what the daemon does after the last request."""

REQUEST = (
    "GET {path} HTTP/1.1\r\nhost: {host}\r\naccept: text/html\r\ncookie: a={cookie}\r\n"
    "user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\r\n"
)


def upstream(*, flood: bool) -> int:
    """Return the port of an application that never answers, or never stops to."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    held: list[socket.socket] = []

    def pour(client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            client.recv(65_536)
            client.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n")
            while True:
                client.sendall(bytes(65_536))

    def accept() -> None:
        while True:
            client, _ = listening.accept()
            held.append(client)
            if flood:
                threading.Thread(target=pour, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    port: int = listening.getsockname()[1]
    return port


def measure(what: str, count: int, path: str = "", *, tls: bool = True, **settings: Any) -> None:
    """Print what each of so many connections takes that have asked for a path, if any."""
    port = upstream(flood=path == "/flood")
    settings |= {"max_connections": count + 50, "upstream_max_connections": count + 50}
    settings |= {"default_upstream_timeout": "0s", "log_level": "warn"}
    with tempfile.TemporaryDirectory() as place, Daemon(Path(place), public(port), **settings) as d:
        d.answering()
        context = ssl.create_default_context(cafile=str(d.authority))

        def ask(client: socket.socket, path: str) -> None:
            client.sendall(REQUEST.format(path=path, host=HOST, cookie="c" * 300).encode())

        def connect() -> socket.socket:
            client = socket.create_connection(("127.0.0.1", d.port))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            if tls:
                client = context.wrap_socket(client, server_hostname=HOST)
            ask(client, "/robots.txt")
            client.recv(65_536)
            return client

        first = [connect() for _ in range(20)]
        time.sleep(SETTLE_SECONDS)
        before = d.resident
        clients = [connect() for _ in range(count)]
        for client in clients if path else ():
            ask(client, path)
        time.sleep(SETTLE_SECONDS)
        each = (d.resident - before) / count / 1024
        print(f"{each:7.1f} KiB  {what} (the daemon before: {before >> 20} MiB)", flush=True)  # noqa: T201
        for client in first + clients:
            client.close()


if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    measure("open, plain", 4_000, tls=False, insecure_server=True, certificates=[])
    measure("open, TLS", 4_000)
    measure("a request under way, TLS", 1_000, "/never")
    measure("a client that takes nothing, TLS", 200, "/flood")
