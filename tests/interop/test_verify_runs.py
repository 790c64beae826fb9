"""``pomeriumd verify`` as a process, with a key set behind TLS on a name nobody resolves."""

from __future__ import annotations

import http.client
import http.server
import json
import os
import ssl
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.cli.demo import pki
from pomeriumd.cli.demo.children import Children, Program

HOST = "verify.pomerium.localhost"
KEY = ec.generate_private_key(ec.SECP256R1())
PUBLIC: dict[str, Any] = jwt.algorithms.ECAlgorithm.to_jwk(KEY.public_key(), as_dict=True)


class KeySet(http.server.BaseHTTPRequestHandler):
    """Serves the key set, and notes for whom."""

    hosts: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        """Answer."""
        self.hosts.append(self.headers["host"])
        body = json.dumps({"keys": [{**PUBLIC, "kid": "k"}]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class VerifyTests(SynchronousTestCase):
    """The application with a real key set."""

    def setUp(self) -> None:
        """Serve a key set under the demo's certificate."""
        self.place = Path(self.enterContext(tempfile.TemporaryDirectory()))
        pki.ensure(self.place, datetime.now(UTC))  # noqa: TID251  # TLS looks at the clock, too
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.place / "server.pem", self.place / "server.key")
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), KeySet)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.keys_port = server.server_port
        self.children = Children()
        self.addCleanup(self.children.stop)

    def verify(self, *options: str) -> dict[str, Any]:
        """Return what the application says of a good assertion."""
        log = self.place / "verify.log"
        words = b"listens on http://127.0.0.1:"
        self.children.start(
            Program(
                "verify",
                [
                    *(sys.executable, "-m", "pomeriumd.cli", "verify"),
                    *("--listen", "127.0.0.1:0", *options),
                ],
                log,
                lambda: words in log.read_bytes(),
                dict(os.environ),
            )
        )
        self.children.wait_until_ready(60, lambda _: None)
        port = int(log.read_bytes().partition(words)[2].split()[0])
        now = int(time.time())  # noqa: TID251  # the application looks at the clock, too
        claims = {"iss": HOST, "aud": HOST, "sub": "u", "iat": now, "exp": now + 300}
        token = jwt.encode(claims, KEY, "ES256", headers={"kid": "k"})
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.addCleanup(connection.close)
        fields = {"accept": "application/json", "x-pomerium-jwt-assertion": token}
        connection.request("GET", "/", headers=fields)
        said: dict[str, Any] = json.load(connection.getresponse())
        return said

    def jwks(self) -> tuple[str, ...]:
        """Return the options that lead to the key set."""
        url = f"https://{HOST}:8443/.well-known/pomerium/jwks.json"
        return ("--jwks-url", url, "--jwks-connect", f"127.0.0.1:{self.keys_port}")

    def test_verifies(self) -> None:
        """The key set is asked for by its name, at the address given, under its own CA."""
        said = self.verify(*self.jwks(), "--jwks-ca", str(self.place / "ca.pem"))
        self.assertTrue(said["verified"], said)
        self.assertEqual(KeySet.hosts[-1], f"{HOST}:8443")

    def test_a_certificate_that_nobody_vouches_for(self) -> None:
        """Without the CA the key set is not believed, and the page says why."""
        said = self.verify(*self.jwks())
        self.assertFalse(said["verified"])
        self.assertIn("certificate verify failed", said["why"])

    def test_another_name(self) -> None:
        """A certificate for another name is not believed, either."""
        url = f"https://other.localhost:{self.keys_port}/"
        ca = ("--jwks-ca", str(self.place / "ca.pem"), "--audience", HOST)
        said = self.verify("--jwks-url", url, "--jwks-connect", f"127.0.0.1:{self.keys_port}", *ca)
        self.assertFalse(said["verified"])
        self.assertIn("no answer from https://other.localhost", said["why"])
