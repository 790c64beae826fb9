"""How each peer is reached: name, address and TLS."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.interfaces import IStreamClientEndpoint

from pomeriumd.net.dialer import Dialer
from pomeriumd.net.peer import Peer
from pomeriumd.net.upstreams import CONNECT_SECONDS
from pomeriumd.net.verify import client_options


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
            endpoint = wrapClientTLS(
                client_options(
                    server_name=peer.tls.server_name,
                    place=place,
                    custom_ca=peer.tls.custom_ca,
                    client_cert=peer.tls.client_cert,
                    client_key=peer.tls.client_key,
                    skip_verify=peer.tls.skip_verify,
                ),
                endpoint,
                clock=self._reactor,
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
