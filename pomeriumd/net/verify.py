"""
What an upstream's certificate has to be, and what we show it.

Twisted's own check takes a certificate that bears no name at all (Twisted 26.10 with
service-identity 26.1: the error that says so is logged, and then forgotten). With a
private authority that issues such certificates to people, each of them could pass for
the upstream. Here whatever goes wrong in the check is a refusal, a ``CertificateRefused`` that
says why. Whether a certificate was revoked is not asked.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any
from weakref import WeakValueDictionary

import attrs
from OpenSSL import SSL, crypto
from OpenSSL._util import lib
from service_identity.hazmat import DNS_ID, IPAddress_ID
from twisted.internet._sslverify import IOpenSSLTrustRoot
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from pomeriumd.crypto.tls_faults import DEPTH
from pomeriumd.errors import Problem, SettingsError
from pomeriumd.net.believing import ServiceID, check
from pomeriumd.net.pem import read_certificates, read_pair, use

HTTP1 = (b"http/1.1",)
"""The protocols that we speak, the best first (ALPN)."""

HOSTS = 64
"""Hosts for which an HTTPSPolicy keeps what it made: an identity provider has a few."""


@implementer(IOpenSSLClientConnectionCreator)
@attrs.frozen
class Verified:
    """Makes connections that believe a certificate of a trusted authority for one name."""

    server_name: str
    """ASCII; a name or an IP address."""
    _options: CertificateOptions = attrs.field(repr=False)

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Return a connection that asks for the name, and breaks off at another's."""
        connection = _named(self.server_name, self._options, tlsProtocol)
        wanted: ServiceID = (
            IPAddress_ID(self.server_name)
            if _is_address(self.server_name)
            else DNS_ID(self.server_name)
        )
        connection.set_verify(
            SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, check(wanted, tlsProtocol)
        )
        return connection


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
        return _named(self.server_name, self._options, tlsProtocol)


@implementer(IPolicyForHTTPS)
@attrs.define(eq=False)
class HTTPSPolicy:
    """
    For Twisted's Agent: each host must have a certificate for its name; see above.

    What is made for a host is kept.
    """

    custom_ca: bytes | None = None
    """PEM certificates to trust in place of the system's."""
    _made: dict[str, IOpenSSLClientConnectionCreator] = attrs.field(factory=dict, repr=False)

    def creatorForNetloc(self, hostname: bytes, port: int) -> IOpenSSLClientConnectionCreator:
        """Return what makes connections to a host, whatever the port."""
        name = hostname.decode("ascii")
        made = self._made.get(name)
        if made is None:
            if len(self._made) >= HOSTS:
                self._made.clear()
            made = self._made[name] = client_options(
                server_name=name, custom_ca=self.custom_ca, place=name
            )
        return made


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
    Return what makes TLS connections to one upstream.

    Those that are alike but for the name share one context, and all that trust the same
    authorities have read them once.

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
    name = server_name if server_name.isascii() else server_name.encode("idna").decode("ascii")
    alike = (skip_verify, custom_ca, client_cert, client_key, tuple(protocols))
    options = _options.get(alike)
    if options is None:
        own = _shown(place, client_cert, client_key)
        trust = None if skip_verify else _trust(place, custom_ca)
        options = CertificateOptions(
            trustRoot=trust, verifyDepth=DEPTH, acceptableProtocols=list(protocols), **own
        )
        # Made now, or the first connection would wait for it. A server that renegotiates could
        # have been given somebody else's request to answer (CVE-2009-3555).
        options.getContext().set_options(SSL.OP_NO_RENEGOTIATION)
        _options[alike] = options
    return Unverified(name, options) if skip_verify else Verified(name, options)


@implementer(IOpenSSLTrustRoot)
class Trust:
    """
    Authorities that were read once, for all contexts that trust them.

    Args:
        read: reads them into a context.
        partial: each of them is believed for what it is, also one that another one issued: an
            intermediate authority, or the server's own certificate.
    """

    def __init__(self, read: IOpenSSLTrustRoot, *, partial: bool = False) -> None:
        self._holder = SSL.Context(SSL.TLS_CLIENT_METHOD)
        read._addCACertsToContext(self._holder)  # noqa: SLF001  # Twisted's interface
        store = self._holder.get_cert_store()
        if partial and store is not None:
            store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)

    def _addCACertsToContext(self, context: SSL.Context) -> None:
        # pyOpenSSL has no public way to share a store; a test pins what this relies on.
        store = lib.SSL_CTX_get_cert_store(self._holder._context)  # noqa: SLF001  # see above
        lib.X509_STORE_up_ref(store)
        lib.SSL_CTX_set_cert_store(context._context, store)  # noqa: SLF001  # see above


@functools.cache
def system_trust() -> Trust:
    """Return the system's authorities; the first call reads them, which takes some 20 ms."""
    return Trust(platformTrust())


_options: WeakValueDictionary[object, CertificateOptions] = WeakValueDictionary()
"""By all that went into them; gone with the last peer that has them."""

_custom: WeakValueDictionary[bytes, Trust] = WeakValueDictionary()


def _trust(place: str, custom_ca: bytes | None) -> Trust:
    if custom_ca is None:
        return system_trust()
    trust = _custom.get(custom_ca)
    if trust is None:
        try:
            roots = read_certificates(custom_ca)
        except ValueError as error:
            raise SettingsError([Problem(f"{place}.tls_custom_ca", str(error))]) from error
        trust = _custom[custom_ca] = Trust(
            trustRootFromCertificates(
                [Certificate(crypto.X509.from_cryptography(root)) for root in roots]
            ),
            partial=True,
        )
    return trust


def _shown(place: str, cert: bytes | None, key: bytes | None) -> dict[str, Any]:
    """Return the arguments for what we show, none if nothing."""
    if cert is None and key is None:
        return {}
    if cert is None or key is None:
        missing = "tls_client_cert" if cert is None else "tls_client_key"
        raise SettingsError([Problem(f"{place}.{missing}", "missing, the other one is there")])
    try:
        chain, private = read_pair(cert, key)
        use(SSL.Context(SSL.TLS_CLIENT_METHOD), chain, private)
    except ValueError as error:
        raise SettingsError([Problem(f"{place}.tls_client_cert", str(error))]) from error
    return {"certificate": chain[0], "privateKey": private, "extraCertChain": chain[1:]}


def _is_address(host: str) -> bool:
    return isIPAddress(host) or isIPv6Address(host)


def _named(
    server_name: str, options: CertificateOptions, protocol: TLSMemoryBIOProtocol
) -> SSL.Connection:
    connection = options.clientConnectionForTLS(protocol)
    # An address is no name: RFC 6066, 3.
    if not _is_address(server_name):
        connection.set_tlsext_host_name(server_name.encode("ascii"))
    return connection
