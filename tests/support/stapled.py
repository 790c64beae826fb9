"""Certificates that name a responder, answers about them, and a responder that gives them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from tests.support.certificates import BEGIN, END, Issued, authority

WEEK = 7 * 86_400.0


def stapled(
    *names: str,
    url: str | None = "http://ocsp.example.test/",
    must: bool = False,
    delegate: bool = False,
    by: Issued | None = None,
    begin: datetime = BEGIN,
    end: datetime = END,
) -> Issued:
    """Return a certificate of the tests' authority that names a responder, or may be one."""
    by = by or authority()
    key = ec.generate_private_key(ec.SECP256R1())
    title = names[0] if names else "responder"
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(by.key.public_key()), critical=False
        )
    )
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False
        )
    if url is not None:
        way = x509.AccessDescription(
            AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(url)
        )
        builder = builder.add_extension(x509.AuthorityInformationAccess([way]), critical=False)
    if must:
        feature = x509.TLSFeature([x509.TLSFeatureType.status_request])
        builder = builder.add_extension(feature, critical=False)
    if delegate:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING])
        builder = builder.add_extension(usage, critical=False)
    return Issued(builder.sign(by.key, hashes.SHA256()), key)


@attrs.frozen(kw_only=True)
class Says:
    """What a responder says, and how it signs it; by default what is right."""

    status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD
    age: float = 3_600.0
    """Seconds since it was so."""
    life: float | None = WEEK
    """Seconds from then until there is something newer; None says nothing of that."""
    issuer: Issued = attrs.Factory(authority)
    """Of the certificate, as the answer has it."""
    signer: Issued = attrs.Factory(authority)
    shown: tuple[Issued, ...] = ()
    """Certificates in the answer."""
    about: Issued | None = None
    """Another certificate than the one that was asked about."""
    digest: Any = attrs.Factory(hashes.SHA256)
    by_key: bool = False

    def answer(self, certificate: x509.Certificate, now: float) -> bytes:
        """Return the answer, DER."""
        begin = datetime.fromtimestamp(now - self.age, UTC).replace(microsecond=0)
        subject = certificate if self.about is None else self.about.certificate
        revoked = self.status is ocsp.OCSPCertStatus.REVOKED
        encoding = ocsp.OCSPResponderEncoding
        builder = (
            ocsp.OCSPResponseBuilder()
            .add_response(
                cert=subject,
                issuer=self.issuer.certificate,
                algorithm=hashes.SHA1(),  # noqa: S303  # as responders do
                cert_status=self.status,
                this_update=begin,
                next_update=None if self.life is None else begin + timedelta(seconds=self.life),
                revocation_time=begin if revoked else None,
                revocation_reason=None,
            )
            .responder_id(encoding.HASH if self.by_key else encoding.NAME, self.signer.certificate)
        )
        if self.shown:
            builder = builder.certificates([one.certificate for one in self.shown])
        return builder.sign(self.signer.key, self.digest).public_bytes(Encoding.DER)


class Responder:
    """
    A responder on a port of loopback, asked over HTTP.

    Args:
        answer: returns status and body for a question (DER).
    """

    def __init__(self, answer: Callable[[bytes], tuple[int, bytes]]) -> None:
        self.answer = answer
        self.asked: list[bytes] = []
        responder = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                question = self.rfile.read(int(self.headers["content-length"]))
                responder.asked.append(question)
                status, body = responder.answer(question)
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("location", responder.url)
                self.send_header("content-type", "application/ocsp-response")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Return where it is."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/ocsp"

    def __enter__(self) -> Self:
        """Give it."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
