"""An application behind the proxy: it says what it was sent."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""Of RFC 6455, 1.3."""


class _Echo(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answer with the request's header fields as JSON; or echo a WebSocket's short texts."""
        if self.headers.get("upgrade") == "websocket":
            self._echo(self.headers["sec-websocket-key"])
            return
        fields = {name.lower(): value for name, value in self.headers.items()}
        body = json.dumps(fields).encode("ascii")
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _echo(self, key: str) -> None:
        proof = hashlib.sha1(f"{key}{_GUID}".encode(), usedforsecurity=False)
        self.protocol_version = "HTTP/1.1"
        self.send_response(101)
        self.send_header("upgrade", "websocket")
        self.send_header("connection", "upgrade")
        self.send_header("sec-websocket-accept", base64.b64encode(proof.digest()).decode())
        self.end_headers()
        self.close_connection = True
        # A client's mask of zero masks nothing.
        while head := self.rfile.read(6):
            size = head[1] & 0x7F
            self.wfile.write(bytes([0x81, size]) + self.rfile.read(size))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name is theirs
        """Stay silent."""


class Application:
    """The application, in a thread of its own."""

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.05])
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
