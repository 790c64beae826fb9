"""TLS to upstreams, end to end: the real daemon between a real client and a real server."""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import issue

PATIENCE = 30
BODY = b"all of it"


class Upstream:
    """A TLS server whose answer ends with its connection: in peace, or cut off."""

    def __init__(self, chain: Path, key: Path) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(chain, key)
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listening.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        """Answer one connection after the other, until the listening socket closes."""
        while True:
            try:
                plain, _ = self.listening.accept()
            except OSError:
                return
            with plain:
                try:
                    self.answer(plain)
                except OSError:
                    continue  # refused by the other side: the test sees what that gives

    def answer(self, plain: socket.socket) -> None:
        """Read a request and answer it."""
        with self.context.wrap_socket(plain, server_side=True) as wire:
            asked = b""
            while b"\r\n\r\n" not in asked:
                piece = wire.recv(65536)
                if not piece:
                    return
                asked += piece
            wire.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n" + BODY)
            if b"/clean" in asked:
                wire.unwrap()

    def close(self) -> None:
        """Listen no more."""
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        self.thread.join(PATIENCE)


class UpstreamTLSTests(SynchronousTestCase):
    """What is asked of an upstream's certificate, and what its end means."""

    def setUp(self) -> None:
        """Start an upstream for `inside.example.test`, and the daemon with routes to it."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        ca = issue(authority=True, title="inside")
        leaf = issue("inside.example.test", by=ca)
        for name, octets in (
            ("ca.pem", ca.pem),
            ("chain.pem", leaf.pem),
            ("key.pem", leaf.key_pem),
        ):
            (self.directory / name).write_bytes(octets)
        self.upstream = Upstream(self.directory / "chain.pem", self.directory / "key.pem")
        self.addCleanup(self.upstream.close)
        self.daemon = self.start()
        self.addCleanup(self.stop)

    def start(self) -> subprocess.Popen[str]:
        """Start twistd, and learn from its log that it listens."""
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        to = f"https://127.0.0.1:{self.upstream.port}"
        ca = str(self.directory / "ca.pem")
        public = {"to": to, "allow_public_unauthenticated_access": True}
        settings = {
            "address": f"127.0.0.1:{self.port}",
            "insecure_server": True,
            "cookie_secret": base64.b64encode(os.urandom(32)).decode(),
            "cookie_secure": False,
            "authenticate_service_url": "http://authenticate.localhost",
            "idp_provider": "oidc",
            "idp_provider_url": "https://id.example.com",
            "idp_client_id": "x",
            "idp_client_secret": "y",
            "state_dir": str(self.directory / "state"),
            "routes": [
                {
                    "from": "http://good.localhost",
                    "tls_custom_ca_file": ca,
                    "tls_server_name": "inside.example.test",
                    **public,
                },
                {"from": "http://name.localhost", "tls_custom_ca_file": ca, **public},
                {
                    "from": "http://roots.localhost",
                    "tls_server_name": "inside.example.test",
                    **public,
                },
                {"from": "http://skip.localhost", "tls_skip_verify": True, **public},
            ],
        }
        path = self.directory / "config.json"
        path.write_text(json.dumps(settings))
        twistd = Path(sys.executable).with_name("twistd")
        daemon = subprocess.Popen(
            [twistd, "-n", "--pidfile=", "pomerium", "-c", path],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.directory,
        )
        said = ""
        assert daemon.stdout is not None
        for line in daemon.stdout:
            said += line
            if "listens on" in line:
                return daemon
        raise AssertionError(f"the daemon did not start:\n{said}")

    def stop(self) -> None:
        """End the daemon, and keep what it logged."""
        self.daemon.terminate()
        self.daemon.communicate(timeout=PATIENCE)

    def get(self, host: str, path: str) -> tuple[int, bytes | None]:
        """Return status and body; None for a body that broke off."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("GET", path, headers={"Host": host})
            answer = connection.getresponse()
            try:
                return answer.status, answer.read()
            except (http.client.HTTPException, OSError):
                return answer.status, None
        finally:
            connection.close()

    def test_only_the_right_certificate_is_believed(self) -> None:
        """Its authority and its name count, unless the operator said to skip both."""
        self.assertEqual(self.get("good.localhost", "/clean"), (200, BODY))
        self.assertEqual(self.get("skip.localhost", "/clean"), (200, BODY))
        self.assertEqual(self.get("name.localhost", "/clean")[0], 502)
        self.assertEqual(self.get("roots.localhost", "/clean")[0], 502)

    def test_a_body_that_is_cut_off_is_never_whole(self) -> None:
        """Without close_notify, a body that ends with its connection is broken."""
        self.assertEqual(self.get("good.localhost", "/cut"), (200, None))
