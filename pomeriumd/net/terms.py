"""
On which terms we speak TLS with whoever connects to us: the same for all certificates.

TLS 1.2 and 1.3 with forward secrecy and AEAD only, no compression, no renegotiation, no early
data. The key exchange is in OpenSSL's own order of preference: X25519MLKEM768, X25519, P-256
and on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import attrs
from cryptography import x509
from OpenSSL import SSL

from pomeriumd.net.client_certificates import NOBODY_ASKED, Asks
from pomeriumd.net.pem import Key
from pomeriumd.net.staples import Staples

SPOKEN = (b"http/1.1", b"http/1.0")
"""What ALPN may choose, the best first. Old clients that offer nothing but HTTP/1.0 would
otherwise be refused in the handshake, though the parser takes them."""

CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"
"""TLS 1.2: forward secrecy and AEAD, nothing else."""

CIPHERS_13 = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

SESSION_ID = b"pomeriumd"
"""Sessions of ours resume at us only. OpenSSL wants it named; at most 32 bytes."""

VALIDATION = b"acme-tls/1"
"""What an authority offers that looks whether a host is ours; it asks for nothing else.
RFC 8737."""

Named = Callable[[SSL.Connection], None]
"""Chooses the certificate of a connection whose hello is read."""


class NoCommonProtocol(Exception):
    """The client offers protocols, and none that we speak. RFC 7301, 3.2: fatal."""


class Validations(Protocol):
    """Has what such an authority is shown; ``acme.challenges.Challenges`` does."""

    def certificate(self, name: bytes | None) -> tuple[x509.Certificate, Key] | None:
        """Return the certificate for a name that is looked at now; None for all others."""


@attrs.frozen(kw_only=True)
class Terms:
    """On which terms all connections of a store are made; equal ones can share a base context."""

    protocols: tuple[bytes, ...] = SPOKEN
    """That ALPN may choose, the best first."""
    asks: Asks = NOBODY_ASKED
    """What clients are asked for; by identity, as what follows."""
    staples: Staples | None = None
    """What is shown with certificates that name a responder."""
    validations: Validations | None = None
    """None where no names are proved to an authority."""


USUAL = Terms()
"""Where nobody is asked for a certificate."""


def server_context(terms: Terms, named: Named) -> SSL.Context:
    """
    Return a context with all but a certificate.

    Args:
        terms: see there.
        named: is called when the client's hello is read; must not raise.
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(
        SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE
    )
    # An idle connection gives back some 34 KB.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_cipher_list(CIPHERS)
    context.set_tls13_ciphersuites(CIPHERS_13)
    context.set_session_id(SESSION_ID)
    # Tickets alone: what a client keeps needs no memory here.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    terms.asks.prepare(context)
    protocols, validations = terms.protocols, terms.validations

    def select(connection: SSL.Connection, offered: list[bytes]) -> bytes:
        if VALIDATION in offered:
            _validate(connection, validations)
            return VALIDATION
        for protocol in protocols:
            if protocol in offered:
                return protocol
        raise NoCommonProtocol("the client offers no protocol of ours")

    context.set_alpn_select_callback(select)
    context.set_tlsext_servername_callback(named)
    return context


def _validate(connection: SSL.Connection, validations: Validations | None) -> None:
    """
    Show an authority what proves a host, in place of the certificate that is chosen already.

    It has no certificate of its own to show; and nothing is read from it (``tls``).
    """
    found = None if validations is None else validations.certificate(connection.get_servername())
    if found is None:
        raise NoCommonProtocol("nobody proves this host now")
    certificate, key = found
    connection.use_certificate(certificate)
    connection.use_privatekey(key)
    connection.set_verify(SSL.VERIFY_NONE)
