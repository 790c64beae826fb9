"""Client certificates for tests: good ones, and one for each way to be none."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier
from OpenSSL import SSL, crypto

from pomeriumd.access.client_certificate import UPN
from pomeriumd.net.client_certificates import Asked, Shown, shown
from pomeriumd.net.contexts import CertificateStore
from pomeriumd.net.pem import Key
from tests.support.certificates import BEGIN, END, Issued, issue

CLIENTS = ExtendedKeyUsageOID.CLIENT_AUTH
SERVERS = ExtendedKeyUsageOID.SERVER_AUTH

MAIL = x509.RFC822Name("ann@example.com")


def upn(text: str) -> x509.OtherName:
    """Return a user principal name."""
    octets = text.encode()
    return x509.OtherName(UPN, bytes([0x0C, len(octets)]) + octets)


@cache
def people() -> Issued:
    """Return the authority that issues client certificates."""
    return issue(authority=True, title="people")


@cache
def others() -> Issued:
    """Return one that nobody trusts, or one route alone."""
    return issue(authority=True, title="others")


@cache
def between() -> Issued:
    """Return an intermediate of the first one."""
    return issue(authority=True, title="between", by=people())


def client(
    *names: x509.GeneralName,
    by: Issued | None = None,
    title: str = "ann",
    usages: Sequence[ObjectIdentifier] = (CLIENTS,),
    begin: datetime = BEGIN,
    end: datetime = END,
    key: Key | None = None,
    hashed: Any = None,
    more: Sequence[x509.ExtensionType] = (),
) -> Issued:
    """Return a client's certificate; ``usages`` may be empty."""
    by = people() if by is None else by
    key = ec.generate_private_key(ec.SECP256R1()) if key is None else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)]))
        .issuer_name(by.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    for extension in more:
        builder = builder.add_extension(extension, critical=False)
    return Issued(builder.sign(by.key, hashed or hashes.SHA256()), key)


@cache
def ann() -> Issued:
    """Return a good one."""
    return client(MAIL)


def weak() -> Issued:
    """Return one whose key is too short."""
    return client(key=rsa.generate_private_key(public_exponent=65537, key_size=1024))  # noqa: S505


def revoking(
    *revoked: Issued,
    by: Issued | None = None,
    begin: datetime = BEGIN,
    due: datetime = END,
    signed_by: Issued | None = None,
) -> bytes:
    """Return an authority's list of what it has revoked, PEM."""
    by = people() if by is None else by
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(by.certificate.subject)
        .last_update(begin)
        .next_update(due)
    )
    for one in revoked:
        entry = (
            x509.RevokedCertificateBuilder()
            .serial_number(one.certificate.serial_number)
            .revocation_date(begin + timedelta(days=1))
            .build()
        )
        builder = builder.add_revoked_certificate(entry)
    return builder.sign((signed_by or by).key, hashes.SHA256()).public_bytes(Encoding.PEM)


def x509_of(one: Issued) -> crypto.X509:
    """Return a certificate as OpenSSL hands it over."""
    return crypto.X509.from_cryptography(one.certificate)


@attrs.frozen(eq=False)
class Meeting:
    """A handshake, over."""

    client: SSL.Connection
    server: Asked
    asked: bool
    """The client was asked for a certificate."""
    issuers: tuple[str, ...]
    """Whose certificates it was asked for."""

    @property
    def shown(self) -> Shown | None:
        """Return what the server has of the client."""
        return shown(self.server)


def shake_hands(
    store: CertificateStore,
    name: bytes | None,
    showing: Issued | None = None,
    *chain: Issued,
    version: int = SSL.TLS1_3_VERSION,
    before: SSL.Connection | None = None,
) -> Meeting:
    """
    Return client and server after a handshake in memory.

    Args:
        store: the server's.
        name: that the client asks for.
        showing: what it shows when it is asked.
        chain: what it sends besides.
        version: of TLS.
        before: a connection of the client's, whose session it would go on with.

    Raises:
        SSL.Error: one of the two ended it.
    """
    if before is None:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(version)
        if showing is not None:
            context.use_certificate(showing.certificate)
            context.use_privatekey(showing.key)
            for link in chain:
                context.add_extra_chain_cert(link.certificate)
    else:
        context = before.get_context()
    one = SSL.Connection(context, None)
    one.set_connect_state()
    if name is not None:
        one.set_tlsext_host_name(name)
    session = None if before is None else before.get_session()
    if session is not None:
        one.set_session(session)
    server = Asked(store.base(), None)
    store.begin(server)
    server.set_accept_state()
    names: list[str] = []
    waiting = {one, server}
    for _ in range(10):
        for end, other in ((one, server), (server, one)):
            try:
                end.do_handshake()
                waiting.discard(end)
            except SSL.WantReadError:
                pass
            with contextlib.suppress(SSL.WantReadError):
                other.bio_write(end.bio_read(65536))
        if not waiting:
            break
    names = [str(name.CN) for name in one.get_client_ca_list()]
    # Tickets of TLS 1.3 come with the first bytes.
    server.send(b"x")
    one.bio_write(server.bio_read(65536))
    one.recv(1)
    return Meeting(one, server, server.ask is not None, tuple(names))
