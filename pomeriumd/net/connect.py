"""How each peer is reached: name, address and TLS."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
)
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from pomeriumd.net.dialer import Dialer
from pomeriumd.net.peer import Peer
from pomeriumd.net.upstreams import CONNECT_SECONDS
from pomeriumd.net.verify import client_options


class TLSTransport(BufferingTLSTransport):
    """Twisted's; it leaves no circle behind when the other side breaks off."""

    def _tlsShutdownFinished(self, reason: Failure | None) -> None:
        if reason is not None:
            # Its traceback holds the frame that holds it. Nobody reads it, and the garbage
            # collector looks at no generation's connections (``daemon.collector``).
            reason.cleanFailure()
        super()._tlsShutdownFinished(reason)


class TLSFactory(TLSMemoryBIOFactory):
    """Wraps a connection in TLS."""

    protocol = TLSTransport


@implementer(IStreamClientEndpoint)
@attrs.frozen(eq=False)
class TLSEndpoint:
    """
    TLS over another endpoint.

    Args:
        plain: the other one.
        options: make the connection's TLS.
        clock: for its goodbye.
    """

    _plain: IStreamClientEndpoint
    _options: IOpenSSLClientConnectionCreator
    _clock: IReactorTime

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """Return a Deferred of the protocol, whose handshake may be under way."""
        wrapping = TLSFactory(self._options, True, protocolFactory, self._clock)
        connecting: Deferred[Any] = self._plain.connect(wrapping)
        return connecting.addCallback(lambda transport: transport.wrappedProtocol)


@attrs.define(eq=False)
class Connectors:
    """
    Makes the endpoints of peers; a ``Connector``.

    A name is resolved anew for each connection, all its addresses are tried, and the first
    that answers is taken (RFC 8305).
    """

    _reactor: Any

    def __call__(self, peer: Peer, place: str) -> IStreamClientEndpoint:
        """
        Return the endpoint that reaches a peer.

        Args:
            peer: where to.
            place: of the route in the settings.

        Raises:
            SettingsError: a certificate or key that cannot be used.
        """
        endpoint = self._plain(peer)
        if peer.tls is not None:
            endpoint = TLSEndpoint(
                endpoint,
                client_options(
                    server_name=peer.tls.server_name,
                    place=place,
                    custom_ca=peer.tls.custom_ca,
                    client_cert=peer.tls.client_cert,
                    client_key=peer.tls.client_key,
                    skip_verify=peer.tls.skip_verify,
                ),
                self._reactor,
            )
        return endpoint

    def _plain(self, peer: Peer) -> IStreamClientEndpoint:
        """Return the TCP part. An address needs no look-up, and its refusal no waiting."""
        dialer = Dialer(self._reactor)
        if isIPAddress(peer.host):
            return TCP4ClientEndpoint(dialer, peer.host, peer.port, timeout=CONNECT_SECONDS)
        if isIPv6Address(peer.host):
            return TCP6ClientEndpoint(dialer, peer.host, peer.port, timeout=CONNECT_SECONDS)
        return HostnameEndpoint(dialer, peer.host, peer.port, timeout=CONNECT_SECONDS)
