"""
Who the client is: the socket's other end, or what a trusted proxy in front says.

Source: what a stranger writes into X-Forwarded-For is never believed (abuse cases H1 to
H3 and P17); listed hops are counted from the right.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import NamedTuple

import attrs

from pomeriumd.http.events import Field

Network = IPv4Network | IPv6Network

HOPS = 32
"""Addresses looked at in one X-Forwarded-For; a longer chain is nobody's real one."""


class Came(NamedTuple):
    """Where a request came from; made for each one."""

    client: str
    """The address of the client itself."""
    chain: str
    """What X-Forwarded-For says to the upstream, the client first."""
    https: bool
    """The client spoke TLS, to us or to the trusted proxy in front."""


@attrs.frozen
class TrustedProxies:
    """The networks whose X-Forwarded-* are believed; nobody's by default."""

    networks: tuple[Network, ...] = ()

    def trusts(self, address: str) -> bool:
        """Return whether this address is a listed one; what is no address is not."""
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        return any(parsed in network for network in self.networks)

    def came(self, peer: str, fields: list[Field], *, secure: bool) -> Came:
        """
        Tell where a request came from.

        Args:
            peer: the socket's other end.
            fields: the request's, as received.
            secure: the socket speaks TLS.
        """
        if not self.networks or not self.trusts(peer):
            return Came(peer, peer, secure)
        chain = _addresses(fields)
        # From the right: each listed hop vouches for the one before it.
        client = peer
        kept = [peer]
        for address in reversed(chain[-HOPS:]):
            if not self.trusts(client):
                break
            if not _is_address(address):
                break  # garbage ends the chain: the hop that passed it on is the client
            client = address
            kept.insert(0, address)
        proto = [v for n, v in fields if n == b"x-forwarded-proto"]
        https = proto[0].strip().lower() == b"https" if len(proto) == 1 else secure
        return Came(client, ", ".join(kept), https)


def _addresses(fields: list[Field]) -> list[str]:
    return [
        piece.strip()
        for name, value in fields
        if name == b"x-forwarded-for"
        for piece in value.decode("latin-1").split(",")
    ]


def _is_address(text: str) -> bool:
    if "%" in text:
        return False  # a zone means something on that host alone, and may hold anything
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
