"""How each peer is reached: name, address and TLS, built once and kept."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint

from pomeriumd.net.contexts import client_options
from pomeriumd.net.dialer import Dialer
from pomeriumd.net.upstream import CONNECT_SECONDS, Peer


@attrs.define(eq=False)
class Connectors:
    """
    The endpoints of all peers; a ``Connector`` for ``Upstreams``.

    A name is resolved anew for each connection, all its addresses are tried, and the first
    that answers is taken (RFC 8305).
    """

    _reactor: Any
    _endpoints: dict[Peer, IStreamClientEndpoint] = attrs.Factory(dict)

    def prepare(self, peer: Peer, place: str) -> None:
        """
        Build a peer's endpoint, so that what is wrong with it is a problem of the settings.

        Args:
            peer: where to.
            place: of the route in the settings.

        Raises:
            SettingsError: a certificate or key that cannot be used.
        """
        endpoint: IStreamClientEndpoint = HostnameEndpoint(
            Dialer(self._reactor), peer.host, peer.port, timeout=CONNECT_SECONDS
        )
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
            )
        self._endpoints[peer] = endpoint

    def __call__(self, peer: Peer) -> IStreamClientEndpoint:
        """Return the endpoint of a peer that was prepared."""
        return self._endpoints[peer]
