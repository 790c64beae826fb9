"""
Pebble, the ACME server for tests of Let's Encrypt, and the daemons that order from it.

All names lead to 127.0.0.1, where it looks at the ports that it is told.
"""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import attrs
from acme.jws import JWS
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from josepy import json_util
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from tests.support.certificates import authority, leaf
from tests.support.processes import Running, free_port
from tests.support.settings import COOKIE, SHARED

HOSTS = ("app.example.com", "authenticate.example.com", "mail.example.com")
"""What a daemon of ours serves."""

PATIENCE_SECONDS = 180.0
"""A bound for a machine under load, not a promise."""

STORY = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_AUTHZREUSE": "0"}


@attrs.define(eq=False, kw_only=True)
class Pebble:
    """
    The authority, and the name server that it asks.

    Args:
        place: an empty directory.
        tls_port: where it looks for TLS-ALPN-01.
        http_port: where it looks for HTTP-01.
        more: of its configuration.
        nonce_reject: per cent of good nonces that it refuses.
    """

    place: Path
    tls_port: int
    http_port: int = 1
    more: Mapping[str, Any] = attrs.Factory(dict)
    nonce_reject: int = 25
    port: int = attrs.Factory(free_port)
    management: int = attrs.Factory(free_port)
    names: int = attrs.Factory(free_port)
    """Port at which records are set."""
    _server: Running = attrs.field(init=False)
    _names: Running = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Start both."""
        self.place.mkdir(parents=True, exist_ok=True)
        (self.place / "ca.pem").write_bytes(authority().pem)
        certified = leaf("localhost", "127.0.0.1")
        (self.place / "cert.pem").write_bytes(certified.pem)
        (self.place / "key.pem").write_bytes(certified.key_pem)
        dns = free_port()
        ours = "127.0.0.1"
        self._names = Running(
            [
                *("pebble-challtestsrv", "-defaultIPv4", ours, "-defaultIPv6", "", "-http01", ""),
                *("-https01", "", "-tlsalpn01", "", "-dns01", f"{ours}:{dns}"),
                *("-management", f"{ours}:{self.names}"),
            ],
        )
        self._dns = f"{ours}:{dns}"
        self.start()

    _dns: str = attrs.field(default="", init=False)

    def start(self) -> None:
        """Start the authority: it knows nobody."""
        config = self.place / "pebble.json"
        config.write_text(
            json.dumps(
                {
                    "pebble": {
                        "listenAddress": f"127.0.0.1:{self.port}",
                        "managementListenAddress": f"127.0.0.1:{self.management}",
                        "certificate": str(self.place / "cert.pem"),
                        "privateKey": str(self.place / "key.pem"),
                        "httpPort": self.http_port,
                        "tlsPort": self.tls_port,
                        "ocspResponderURL": "",
                        **self.more,
                    }
                }
            )
        )
        self._server = Running(
            ["pebble", "-config", config, "-dnsserver", self._dns, "-strict"],
            more={**STORY, "PEBBLE_WFE_NONCEREJECT": str(self.nonce_reject)},
        )
        self._server.begun("Listening on")
        until(lambda: bool(self.root()))

    @property
    def url(self) -> str:
        """Where its directory is."""
        return f"https://127.0.0.1:{self.port}/dir"

    @property
    def settings(self) -> dict[str, Any]:
        """Return what a daemon has to be told of it."""
        return {
            "autocert": True,
            "autocert_ca": self.url,
            "autocert_trusted_ca_file": str(self.place / "ca.pem"),
        }

    def root(self) -> str:
        """Return the root of what it issues, PEM; another one after each start."""
        context = ssl.create_default_context(cadata=authority().pem.decode())
        url = f"https://127.0.0.1:{self.management}/roots/0"
        try:
            with urllib.request.urlopen(url, context=context, timeout=10) as answer:
                found: str = answer.read().decode("ascii")
                return found
        except OSError:
            return ""

    def issued(self, certificate: x509.Certificate) -> str:
        """Return what it says of a certificate: ``Valid``, ``Revoked``."""
        context = ssl.create_default_context(cadata=authority().pem.decode())
        url = f"https://127.0.0.1:{self.management}/cert-status-by-serial/"
        url += f"{certificate.serial_number:x}"
        with urllib.request.urlopen(url, context=context, timeout=10) as answer:  # noqa: S310  # ours
            status: str = json.loads(answer.read())["Status"]
            return status

    def said(self, words: str) -> int:
        """Return how many lines of its log have these words."""
        return self._server.count(words)

    def end(self) -> None:
        """End the authority, and leave the name server."""
        self._server.stop()

    def stop(self) -> None:
        """End both."""
        self._server.stop()
        self._names.stop()


@attrs.define(eq=False, kw_only=True)
class Ordering:
    """
    A daemon that orders its certificates.

    Args:
        place: an empty directory.
        settings: over the usual ones; ``Pebble.settings`` among them.
        more: variables for its process.
    """

    place: Path
    settings: Mapping[str, Any]
    port: int = attrs.Factory(free_port)
    more: Mapping[str, str] = attrs.Factory(dict)
    process: Running = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Start."""
        self.place.mkdir(parents=True, exist_ok=True)
        self.start()

    @property
    def config(self) -> Path:
        """Its settings file."""
        return self.place / "config.json"

    @property
    def directory(self) -> Path:
        """Where it keeps what it orders."""
        return Path(self.settings.get("autocert_dir", self.place / "state" / "autocert"))

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self.config.touch(mode=0o600)
        self.config.write_text(json.dumps({**self._usual(), **self.settings}))
        program = str(Path(sys.executable).with_name("twistd"))
        self.process = Running(
            [program, "-n", "--pidfile=", "pomerium", "-c", str(self.config)],
            where=self.place,
            more=self.more,
        )
        self.process.begun("listens on")

    def stop(self) -> None:
        """End it."""
        self.process.stop()

    def _usual(self) -> dict[str, Any]:
        return {
            "address": f"127.0.0.1:{self.port}",
            "workers": 1,
            "state_dir": str(self.place / "state"),
            "control_socket": str(self.place / "control.sock"),
            "shared_secret": base64.b64encode(SHARED).decode("ascii"),
            "cookie_secret": base64.b64encode(COOKIE).decode("ascii"),
            "authenticate_service_url": "https://authenticate.example.com",
            "idp_provider": "oidc",
            "idp_provider_url": "http://127.0.0.1:1",
            "idp_client_id": "pomerium",
            "idp_client_secret": "secret",
            "policy": [
                {
                    "from": f"https://{host}",
                    "to": "http://127.0.0.1:1",
                    "allow_public_unauthenticated_access": True,
                }
                for host in ("app.example.com", "mail.example.com")
            ],
        }

    def shows(self, name: str) -> x509.Certificate:
        """Return what it shows for a name, whoever signed it."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection(("127.0.0.1", self.port), 10) as plain,
            context.wrap_socket(plain, server_hostname=name) as tls,
        ):
            der = tls.getpeercert(binary_form=True)
            assert der is not None
            return x509.load_der_x509_certificate(der)

    def trusted(self, name: str, root: str) -> bool:
        """Return whether a client that knows the root believes it for a name."""
        context = ssl.create_default_context(cadata=root)
        try:
            with (
                socket.create_connection(("127.0.0.1", self.port), 10) as plain,
                context.wrap_socket(plain, server_hostname=name),
            ):
                return True
        except (ssl.SSLError, OSError):
            return False

    def until_trusted(self, root: str, *names: str) -> None:
        """Wait until such a client believes it for all of these."""
        until(lambda: all(self.trusted(name, root) for name in names or HOSTS))

    @contextmanager
    def serving(self) -> Iterator[list[str]]:
        """Have clients come all the time; give what went wrong with them."""
        wrong: list[str] = []
        ended = threading.Event()

        def visits() -> None:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            while not ended.wait(0.02):
                visit = http.client.HTTPSConnection(
                    "127.0.0.1", self.port, timeout=30, context=context
                )
                try:
                    visit.request("GET", "/ping", headers={"host": "app.example.com"})
                    status = visit.getresponse().status
                    if status != 200:
                        wrong.append(str(status))
                except (OSError, http.client.HTTPException) as error:
                    wrong.append(repr(error))
                finally:
                    visit.close()

        visitor = threading.Thread(target=visits)
        visitor.start()
        try:
            yield wrong
        finally:
            ended.set()
            visitor.join(PATIENCE_SECONDS)


class Front:
    """Stands before Pebble, and refuses new orders for as long as it is told to."""

    def __init__(self, place: Path, pebble: Pebble) -> None:
        self.limit: str | None = None
        """A Retry-After to refuse with."""
        self.refused = 0
        front = self
        known = ssl.create_default_context(cadata=authority().pem.decode())

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                upstream = http.client.HTTPSConnection("127.0.0.1", pebble.port, context=known)
                upstream.request(self.command, self.path, body, dict(self.headers))
                answer = upstream.getresponse()
                status, content = answer.status, answer.read()
                headers = [(n, v) for n, v in answer.getheaders() if n.lower() != "content-length"]
                if front.limit is not None and self.path == "/order-plz":
                    front.refused += 1
                    status = 429
                    content = json.dumps(
                        {
                            "type": "urn:ietf:params:acme:error:rateLimited",
                            "detail": "too many certificates already",
                        }
                    ).encode()
                    nonces = [(n, v) for n, v in headers if n.lower() == "replay-nonce"]
                    headers = [("Retry-After", front.limit), *nonces]
                upstream.close()
                self.send_response(status)
                for name, value in headers:
                    if name.lower() not in ("connection", "date", "server", "transfer-encoding"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_POST = do_HEAD = _pass

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pebble.place / "cert.pem", pebble.place / "key.pem")
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}/dir"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE_SECONDS)


def revoke(pebble: Pebble, daemon: Ordering) -> None:
    """Revoke what the daemon was issued, with its account, as another client of it would."""
    [account] = (daemon.directory / "accounts").iterdir()
    kid = json.loads((account / "account.json").read_text())["kid"]
    key = JWKEC(key=load_pem_private_key((account / "key.pem").read_bytes(), None))
    [kept] = (daemon.directory / "certificates").glob("*.pem")
    pem = kept.read_bytes()
    leaf = x509.load_pem_x509_certificates(pem[pem.index(b"-----BEGIN CERTIFICATE") :])[0]
    payload = {"certificate": json_util.encode_b64jose(leaf.public_bytes(Encoding.DER))}
    context = ssl.create_default_context(cadata=authority().pem.decode())
    url = f"https://127.0.0.1:{pebble.port}/revoke-cert"
    for _ in range(20):
        nonce_url = f"https://127.0.0.1:{pebble.port}/nonce-plz"
        with urllib.request.urlopen(nonce_url, context=context, timeout=10) as answer:
            nonce = json_util.decode_b64jose(answer.headers["replay-nonce"])
        octets = json.dumps(payload).encode()
        signed = JWS.sign(octets, key=key, alg=ES256, nonce=nonce, url=url, kid=kid)
        request = urllib.request.Request(url, signed.json_dumps().encode())
        request.add_header("content-type", "application/jose+json")
        try:
            urllib.request.urlopen(request, context=context, timeout=10).close()  # noqa: S310  # ours
        except urllib.error.HTTPError as error:
            if b"badNonce" not in error.read():
                raise
        else:
            return
    raise AssertionError("the authority took no nonce")


def until(holds: Any, patience: float = PATIENCE_SECONDS) -> None:
    """Wait until something holds."""
    end = time.monotonic() + patience
    while not holds():
        if time.monotonic() > end:
            raise AssertionError("it did not come to be")
        time.sleep(0.05)
