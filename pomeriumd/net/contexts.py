"""
Which certificate answers to which name, and what we ask of an upstream's.

Contexts are built once per generation and never changed afterwards; a new generation has
new ones. TLS 1.2 and 1.3 with forward secrecy and AEAD only, no compression, no
renegotiation, no early data. The key exchange is in OpenSSL's own order of preference:
X25519MLKEM768, X25519, P-256 and on.

Sessions resume by ticket within one process, for as long as the generation lives: its
contexts share the base context's ticket keys. Where a host asks for client certificates,
that must not be: a session from another host would resume past its rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import attrs
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    optionsForClientTLS,
    trustRootFromCertificates,
)
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from pomeriumd.errors import Problem, SettingsError
from pomeriumd.settings.values import CertificatePair

CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"
"""TLS 1.2: forward secrecy and AEAD, nothing else."""

CIPHERS_13 = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

SESSION_ID = b"pomeriumd"
"""Sessions of ours resume at us only. OpenSSL wants it named; at most 32 bytes."""

HTTP1 = (b"http/1.1",)
"""The protocols that we speak, the best first (ALPN)."""

Key = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey
"""What certificates on the web are made for."""


class NoCommonProtocol(Exception):
    """The client offers protocols, and none that we speak. RFC 7301, 3.2: fatal."""


@attrs.frozen(eq=False)
class CertificateStore:
    """The certificates of one generation, by the names that they are for."""

    _exact: Mapping[bytes, SSL.Context] = attrs.field(repr=False)
    _wildcards: Mapping[bytes, SSL.Context] = attrs.field(repr=False)
    """By what follows the ``*.``."""
    _first: SSL.Context = attrs.field(repr=False)

    @classmethod
    def of(
        cls, pairs: Sequence[CertificatePair], now: float, protocols: Sequence[bytes] = HTTP1
    ) -> CertificateStore:
        """
        Build the contexts.

        Args:
            pairs: at least one; where two are for the same name, the first has it.
            now: seconds since the epoch.
            protocols: that ALPN may choose, the best first.

        Raises:
            SettingsError: a pair that could not serve, each with its place.
        """
        exact: dict[bytes, SSL.Context] = {}
        wildcards: dict[bytes, SSL.Context] = {}
        contexts: list[SSL.Context] = []
        problems = [] if pairs else [Problem("certificates", "missing, TLS needs one")]
        for pair in pairs:
            try:
                chain, key = _pair(pair.chain, pair.key.reveal())
                _check_dates(chain[0], now)
                context = _server_context(chain, key, tuple(protocols))
                names = _names(chain[0])
            except ValueError as error:
                problems.append(Problem(pair.place, str(error)))
                continue
            contexts.append(context)
            for name in names:
                kind = wildcards if name.startswith(b"*.") else exact
                kind.setdefault(name.removeprefix(b"*."), context)
        if problems:
            raise SettingsError(problems)
        store = cls(exact, wildcards, contexts[0])
        contexts[0].set_tlsext_servername_callback(store._named)
        return store

    @property
    def names(self) -> frozenset[bytes]:
        """Return all names that have a certificate, wildcards as ``*.example.com``."""
        return frozenset(self._exact) | frozenset(b"*." + name for name in self._wildcards)

    def choose(self, server_name: bytes | None) -> SSL.Context:
        """
        Return the context for a name: exact, else by wildcard, else the first one.

        Args:
            server_name: as the client sent it, in any case; None where it sent none.
        """
        if server_name is None:
            return self._first
        name = server_name.lower().removesuffix(b".")
        found = self._exact.get(name)
        if found is None:
            # A wildcard stands for one label, and for a whole one. RFC 9525, 6.3.
            label, _, rest = name.partition(b".")
            found = self._wildcards.get(rest) if label else None
        return found or self._first

    def base(self) -> SSL.Context:
        """Return the context that every handshake begins with."""
        return self._first

    def _named(self, connection: SSL.Connection) -> None:
        """Go on with the certificate for the name in the client's hello; must not raise."""
        chosen = self.choose(connection.get_servername())
        if chosen is not self._first:
            connection.set_context(chosen)


@implementer(IOpenSSLClientConnectionCreator)
@attrs.frozen
class Unverified:
    """
    Makes connections that believe any certificate: ``tls_skip_verify``.

    Who can reach the wire between us and the upstream can be the upstream.
    """

    server_name: str
    _options: CertificateOptions = attrs.field(repr=False)

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Return a connection that asks for the name and checks nothing."""
        connection = self._options.clientConnectionForTLS(tlsProtocol)
        if not _is_address(self.server_name):
            connection.set_tlsext_host_name(self.server_name.encode("idna"))
        return connection


_log = Logger()


def client_options(
    *,
    server_name: str,
    place: str,
    custom_ca: bytes | None = None,
    client_cert: bytes | None = None,
    client_key: bytes | None = None,
    skip_verify: bool = False,
    protocols: Sequence[bytes] = HTTP1,
) -> IOpenSSLClientConnectionCreator:
    """
    Return what makes TLS connections to one upstream; build it once per generation.

    Args:
        server_name: that its certificate must bear, a name or an IP address; a name is
            sent along (SNI).
        place: of the route in the settings, e.g. ``policy[3]``.
        custom_ca: PEM certificates to trust in place of the system's.
        client_cert: PEM of what we show, with its chain; goes with ``client_key``.
        client_key: its key, PEM.
        skip_verify: believe any certificate.
        protocols: to offer by ALPN.

    Raises:
        SettingsError: a certificate or key that cannot be used, with its place.
    """
    own = _shown(place, client_cert, client_key)
    offered = list(protocols)
    if skip_verify:
        _log.warn(
            "{place}: the certificate of {server_name} is not verified (tls_skip_verify)",
            place=place,
            server_name=server_name,
        )
        return Unverified(server_name, CertificateOptions(acceptableProtocols=offered, **own))
    trust = None
    if custom_ca is not None:
        try:
            roots = _certificates(custom_ca)
        except ValueError as error:
            raise SettingsError([Problem(f"{place}.tls_custom_ca", str(error))]) from error
        trust = trustRootFromCertificates(
            [Certificate(crypto.X509.from_cryptography(root)) for root in roots]
        )
    return optionsForClientTLS(
        server_name,
        trustRoot=trust,
        acceptableProtocols=offered,
        extraCertificateOptions=own,
    )


def _shown(place: str, cert: bytes | None, key: bytes | None) -> dict[str, Any]:
    """Return the arguments for what we show, none if nothing."""
    if cert is None and key is None:
        return {}
    if cert is None or key is None:
        missing = "tls_client_cert" if cert is None else "tls_client_key"
        raise SettingsError([Problem(f"{place}.{missing}", "missing, the other one is there")])
    try:
        chain, private = _pair(cert, key)
        _use(SSL.Context(SSL.TLS_CLIENT_METHOD), chain, private)
    except ValueError as error:
        raise SettingsError([Problem(f"{place}.tls_client_cert", str(error))]) from error
    return {"certificate": chain[0], "privateKey": private, "extraCertChain": chain[1:]}


def _is_address(host: str) -> bool:
    return isIPAddress(host) or isIPv6Address(host)


def _certificates(pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise ValueError("the certificate cannot be read, want PEM") from None


def _pair(chain_pem: bytes, key_pem: bytes) -> tuple[list[x509.Certificate], Key]:
    """Return both, of one another; no error's text has anything of the key."""
    chain = _certificates(chain_pem)
    try:
        key = load_pem_private_key(key_pem, password=None)
    except TypeError:
        raise ValueError("the key has a passphrase, want one without") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("the key cannot be read, want PEM") from None
    if not isinstance(key, Key):
        raise ValueError(f"the key is {type(key).__name__}, want RSA, EC or Ed25519")  # noqa: TRY004
    if key.public_key() != chain[0].public_key():
        raise ValueError(f"the key does not belong to the certificate of {_title(chain[0])}")
    return chain, key


def _check_dates(certificate: x509.Certificate, now: float) -> None:
    today = datetime.fromtimestamp(now, UTC)
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    title = _title(certificate)
    if end < today:
        raise ValueError(f"the certificate of {title} expired on {end:%Y-%m-%d}")
    if begin > today:
        raise ValueError(f"the certificate of {title} is valid from {begin:%Y-%m-%d %H:%M} UTC on")


def _names(certificate: x509.Certificate) -> list[bytes]:
    """Return the DNS names, lower case; the subject's common name is not one any more."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    except ValueError:
        raise ValueError("the certificate's names cannot be read") from None
    found = extension.value.get_values_for_type(x509.DNSName)
    return [name.lower().removesuffix(".").encode("ascii", "replace") for name in found]


def _title(certificate: x509.Certificate) -> str:
    names = _names(certificate)
    return names[0].decode("ascii") if names else certificate.subject.rfc4514_string()


def _use(context: SSL.Context, chain: Sequence[x509.Certificate], key: Key) -> None:
    try:
        context.use_certificate(chain[0])
        for certificate in chain[1:]:
            context.add_extra_chain_cert(certificate)
        context.use_privatekey(key)
        context.check_privatekey()
    except SSL.Error as error:
        why = error.args[0][-1][-1] if error.args and error.args[0] else "no reason given"
        raise ValueError(f"OpenSSL refuses the certificate: {why}") from error


def _server_context(
    chain: Sequence[x509.Certificate], key: Key, protocols: Sequence[bytes]
) -> SSL.Context:
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
    _use(context, chain, key)

    def select(_: SSL.Connection, offered: list[bytes]) -> bytes:
        for protocol in protocols:
            if protocol in offered:
                return protocol
        raise NoCommonProtocol("the client offers no protocol of ours")

    context.set_alpn_select_callback(select)
    return context
