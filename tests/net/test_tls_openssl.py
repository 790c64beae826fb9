"""TLS of ours against other people's: the openssl program and Python's ssl, on epoll."""

from __future__ import annotations

import hashlib
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO

import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from pomeriumd.net.contexts import CertificateStore
from pomeriumd.net.tls import TURN_SIZE, TLSServer
from tests.support.certificates import NOW, authority, leaf
from tests.support.served import Served
from tests.support.sockets import Told

VERSIONS = ("1_2", "1_3")

pytestmark = pytest.mark.needs("openssl")


def store() -> CertificateStore:
    """Return the certificates of two hosts."""
    return CertificateStore.of(
        [leaf("app.example.test").pair(), leaf("*.wild.test").pair("certificates[1]")], NOW
    )


class Answering(Protocol):
    """Says what it was asked as, and closes."""

    transport: TLSServer

    def dataReceived(self, data: bytes) -> None:
        """Answer."""
        name, protocol = self.transport.server_name, self.transport.negotiatedProtocol
        self.transport.write(b"asked as %s over %s\n" % (name or b"-", protocol or b"-"))
        self.transport.loseConnection()


class Lines(Protocol):
    """Gives back what it gets."""

    transport: TLSServer

    def dataReceived(self, data: bytes) -> None:
        """Give it back."""
        self.transport.write(b"got " + data)


@implementer(IPushProducer)
class Echo(Told):
    """Gives back everything, and reads no faster than it is read."""

    transport: TLSServer

    def __init__(self) -> None:
        super().__init__()
        self.pauses, self.most = 0, 0

    def connectionMade(self) -> None:
        """Be told of a full buffer."""
        self.transport.registerProducer(self, streaming=True)

    def dataReceived(self, data: bytes) -> None:
        """Give it back."""
        transport = self.transport
        transport.write(data)
        self.most = max(self.most, len(transport.dataBuffer) + transport._tempDataLen)

    def pauseProducing(self) -> None:
        """Read no more."""
        self.pauses += 1
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read on."""
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """connectionLost() follows."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Keep the reason."""
        super().connectionLost(reason)


def trusting(version: str = "1_3") -> ssl.SSLContext:
    """Return a client of Python's that trusts the tests' authority."""
    context = ssl.create_default_context(cadata=authority().pem.decode())
    exact = ssl.TLSVersion.TLSv1_2 if version == "1_2" else ssl.TLSVersion.TLSv1_3
    context.minimum_version = context.maximum_version = exact
    return context


class ProgramTests(SynchronousTestCase):
    """The openssl program finds what it should."""

    def setUp(self) -> None:
        """Lay the authority where the program reads it."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.place = Path(directory.name)
        (self.place / "ca.pem").write_bytes(authority().pem)

    def s_client(self, port: int, *more: str, stdin: bytes = b"hello\n") -> tuple[int, str]:
        """Return how s_client ended and what it said."""
        done = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-ign_eof",
             "-CAfile", str(self.place / "ca.pem"), "-verify_return_error", *more],
            input=stdin, capture_output=True, timeout=30, check=False,
        )  # fmt: skip
        return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace")

    def asking(self, *more: str) -> Callable[[int], tuple[int, str]]:
        """Return a client that runs s_client with these."""
        return lambda port: self.s_client(port, *more)

    def test_versions_names_and_protocols(self) -> None:
        """Each version gets the certificate for its name, the protocol, and a clean end."""
        for version in VERSIONS:
            for name, subject in [
                ("app.example.test", "app.example.test"),
                ("ANY.wild.test", "*.wild.test"),
                ("unknown.test", "app.example.test"),
            ]:
                served = Served(Answering, store=store())
                code, said = served.run(
                    self.asking(f"-tls{version}", "-servername", name, "-alpn", "h2,http/1.1")
                )
                self.assertIn(f"asked as {name.lower()} over http/1.1", said)
                self.assertIn("ALPN protocol: http/1.1", said)
                self.assertIn(f"subject=CN = {subject}", said)
                self.assertIn("Verification: OK", said)
                self.assertIn(f"TLSv{version.replace('_', '.')}", said)
                self.assertEqual((code, served.port.failed_handshakes), (0, 0))

    def test_older_versions_are_refused(self) -> None:
        """TLS 1.0 and 1.1 end in an alert, and no protocol is built."""
        for version in ("1", "1_1"):
            served = Served(Answering, store=store())
            code, _ = served.run(self.asking(f"-tls{version}", "-cipher", "DEFAULT:@SECLEVEL=0"))
            self.assertEqual((code, served.made, served.port.failed_handshakes), (1, [], 1))

    def test_resumption(self) -> None:
        """A session is resumed within one store, in both versions."""
        for version in VERSIONS:
            kept = self.place / f"session{version}"
            served = Served(Answering, store=store())

            def twice(port: int, version: str = version, kept: Path = kept) -> str:
                first = self.s_client(port, f"-tls{version}", "-sess_out", str(kept))
                again = self.s_client(port, f"-tls{version}", "-sess_in", str(kept))
                self.assertIn("New, ", first[1])
                return again[1]

            self.assertIn("Reused, ", served.run(twice))

    def test_groups(self) -> None:
        """X25519 and P-256 are both taken."""
        for group in ("X25519", "P-256"):
            served = Served(Answering, store=store())
            code, _ = served.run(self.asking("-groups", group))
            self.assertEqual(code, 0)

    def test_key_updates(self) -> None:
        """Key updates, asked for or not, disturb nothing."""

        def talk(port: int) -> list[bytes]:
            with self.interactive(port, "-tls1_3") as (send, until):
                heard = []
                for command in (b"K\n", b"k\n", b"K\n"):
                    send(b"x\n")
                    heard.append(until(b"got x\n"))
                    send(command)
                    until(b"KEYUPDATE\n")
                send(b"y\n")
                heard.append(until(b"got y\n"))
            return heard

        served = Served(Lines, store=store())
        self.assertEqual(len(served.run(talk)), 4)

    def test_renegotiation_is_refused(self) -> None:
        """A TLS 1.2 client that renegotiates is told no, and the others live on."""

        def talk(port: int) -> bytes:
            with self.interactive(port, "-tls1_2") as (send, until):
                send(b"x\n")
                until(b"got x\n")
                send(b"R\n")
                return until(b"no renegotiation")

        served = Served(Lines, store=store())
        self.assertIn(b"no renegotiation", served.run(talk))

    def interactive(self, port: int, *more: str) -> Interactive:
        """Return a conversation with s_client."""
        return Interactive(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{port}",
             "-CAfile", str(self.place / "ca.pem"), *more]
        )  # fmt: skip


class Interactive:
    """s_client as a person uses it: say something, read what it shows."""

    def __init__(self, command: list[str]) -> None:
        self.program = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def __enter__(self) -> tuple[Callable[[bytes], None], Callable[[bytes], bytes]]:
        stdin, stdout = self.program.stdin, self.program.stdout
        assert stdin is not None
        assert stdout is not None

        def send(octets: bytes) -> None:
            stdin.write(octets)
            stdin.flush()

        def until(wanted: bytes, source: IO[bytes] = stdout) -> bytes:
            heard = b""
            while wanted not in heard:
                octet = source.read(1)
                if not octet:
                    raise AssertionError(heard)
                heard += octet
            return heard

        return send, until

    def __exit__(self, *_: object) -> None:
        self.program.kill()
        self.program.communicate()


class BulkTests(SynchronousTestCase):
    """Megabytes both ways arrive whole, and wait where they should."""

    def test_five_megabytes_each_way(self) -> None:
        """5 MB go out and come back while the client reads only when it cannot write."""
        body = hashlib.shake_256(b"five megabytes").digest(5_000_000)
        for version in VERSIONS:
            served = Served(Echo, store=store(), small=65536)
            digest = served.run(partial(exchanged, version, body))
            self.assertEqual(digest, hashlib.sha256(body).digest())
            echo = served.made[0]
            self.assertGreater(echo.pauses, 0)
            # One turn's bytes can come on top of a buffer that is just not full.
            self.assertLessEqual(echo.most, TLSServer.bufferSize + TURN_SIZE)
            self.assertEqual(echo.lost, [ConnectionDone])

    def test_a_cut_is_told_from_an_end(self) -> None:
        """Python's client sees our end as an end, and our abort as a cut; so do we its own."""
        for version in VERSIONS:
            for clean, kind in [(True, ConnectionDone), (False, ConnectionLost)]:
                served = Served(Echo, store=store())

                def leave(port: int, version: str = version, clean: bool = clean) -> None:
                    raw = socket.create_connection(("127.0.0.1", port), timeout=30)
                    with trusting(version).wrap_socket(
                        raw, server_hostname="app.example.test"
                    ) as wire:
                        wire.sendall(b"x")
                        wire.recv(1)
                        if clean:
                            wire.unwrap()

                served.run(leave)
                self.assertEqual(served.made[0].lost, [kind])


def exchanged(version: str, body: bytes, port: int) -> bytes:
    """Send the body, read it back no sooner than must be, and return its digest."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    raw.connect(("127.0.0.1", port))
    with trusting(version).wrap_socket(raw, server_hostname="app.example.test") as wire:
        wire.setblocking(False)
        digest, sent, got = hashlib.sha256(), 0, 0
        view = memoryview(body)
        while got < len(body):
            try:
                sent += wire.send(view[sent : sent + 65536]) if sent < len(body) else 0
                if sent < len(body):
                    continue
            except ssl.SSLWantWriteError:
                pass
            try:
                piece = wire.recv(65536)
            except ssl.SSLWantReadError:
                continue
            if not piece:
                break
            digest.update(piece)
            got += len(piece)
        wire.setblocking(True)
        wire.unwrap()
    return digest.digest()
