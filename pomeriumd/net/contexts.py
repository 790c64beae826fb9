"""
Which certificate answers to which name, and on which terms.

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

import attrs
from cryptography import x509
from OpenSSL import SSL

from pomeriumd.errors import Problem, SettingsError
from pomeriumd.net.client_certificates import NOBODY_ASKED, Asks
from pomeriumd.net.pem import Key, names_of, read_pair, title, use
from pomeriumd.net.verify import client_options
from pomeriumd.pieces import Pieces, finish
from pomeriumd.settings.values import CertificatePair

__all__ = ["CertificateStore", "NoCommonProtocol", "client_options"]

SPOKEN = (b"http/1.1", b"http/1.0")
"""What ALPN may choose, the best first. Old clients that offer nothing but HTTP/1.0 would
otherwise be refused in the handshake, though the parser takes them."""

CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"
"""TLS 1.2: forward secrecy and AEAD, nothing else."""

CIPHERS_13 = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

SESSION_ID = b"pomeriumd"
"""Sessions of ours resume at us only. OpenSSL wants it named; at most 32 bytes."""


class NoCommonProtocol(Exception):
    """The client offers protocols, and none that we speak. RFC 7301, 3.2: fatal."""


@attrs.frozen(eq=False)
class CertificateStore:
    """The certificates of one generation, by the names that they are for."""

    _exact: Mapping[bytes, SSL.Context] = attrs.field(repr=False)
    _wildcards: Mapping[bytes, SSL.Context] = attrs.field(repr=False)
    """By what follows the ``*.``."""
    _first: SSL.Context = attrs.field(repr=False)
    asks: Asks = attrs.field(default=NOBODY_ASKED, repr=False)
    """What clients are asked for."""

    @classmethod
    def of(
        cls,
        pairs: Sequence[CertificatePair],
        now: float,
        protocols: Sequence[bytes] = SPOKEN,
        asks: Asks = NOBODY_ASKED,
    ) -> CertificateStore:
        """Return the store of these certificates; as ``building`` says."""
        return finish(cls.building(pairs, now, protocols, asks))

    @classmethod
    def building(
        cls,
        pairs: Sequence[CertificatePair],
        now: float,
        protocols: Sequence[bytes] = SPOKEN,
        asks: Asks = NOBODY_ASKED,
    ) -> Pieces[CertificateStore]:
        """
        Build the contexts, one in a piece.

        Args:
            pairs: at least one; where two are for the same name, the first has it.
            now: seconds since the epoch.
            protocols: that ALPN may choose, the best first.
            asks: what clients are asked for.

        Raises:
            SettingsError: a pair that could not serve, each with its place.
        """
        exact: dict[bytes, SSL.Context] = {}
        wildcards: dict[bytes, SSL.Context] = {}
        contexts: list[SSL.Context] = []
        problems = [] if pairs else [Problem("certificates", "missing, TLS needs one")]
        for pair in pairs:
            yield
            try:
                chain, key = read_pair(pair.chain, pair.key.reveal())
                _check_dates(chain[0], now)
                context = _server_context(chain, key, tuple(protocols))
                asks.prepare(context)
                names = names_of(chain[0])
            except ValueError as error:
                problems.append(Problem(pair.place, str(error)))
                continue
            contexts.append(context)
            for name in names:
                kind = wildcards if name.startswith(b"*.") else exact
                kind.setdefault(name.removeprefix(b"*."), context)
        if problems:
            raise SettingsError(problems)
        return cls(exact, wildcards, contexts[0], asks)

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

    def begin(self, connection: SSL.Connection) -> None:
        """Let a handshake go by this store; ``connection`` was made with its base context."""
        connection.set_app_data(self)


def _named(connection: SSL.Connection) -> None:
    """
    Go on with the certificate for the name in the client's hello; must not raise.

    The context does not know its store, or neither would ever be freed but by the collector.
    """
    store: CertificateStore = connection.get_app_data()
    chosen = store.choose(connection.get_servername())
    if chosen is not store.base():
        connection.set_context(chosen)
    store.asks.ask(connection)


def _check_dates(certificate: x509.Certificate, now: float) -> None:
    today = datetime.fromtimestamp(now, UTC)
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    name = title(certificate)
    if end < today:
        raise ValueError(f"the certificate of {name} expired on {end:%Y-%m-%d}")
    if begin > today:
        raise ValueError(f"the certificate of {name} is valid from {begin:%Y-%m-%d %H:%M} UTC on")


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
    use(context, chain, key)

    def select(_: SSL.Connection, offered: list[bytes]) -> bytes:
        for protocol in protocols:
            if protocol in offered:
                return protocol
        raise NoCommonProtocol("the client offers no protocol of ours")

    context.set_alpn_select_callback(select)
    context.set_tlsext_servername_callback(_named)
    return context
