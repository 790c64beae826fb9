"""
Where an upstream is and how it is reached, as one value.

Two requests share connections only when everything that makes a connection what it is
agrees: address and TLS policy together, compared by value.
"""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class TLSPolicy:
    """What is asked of an upstream's certificate, and what we show it."""

    server_name: str
    custom_ca: bytes | None = None
    client_cert: bytes | None = None
    client_key: bytes | None = attrs.field(default=None, repr=False)
    skip_verify: bool = False


@attrs.frozen(kw_only=True)
class Peer:
    """Where connections go and how: two peers share connections only when equal."""

    host: str
    port: int
    tls: TLSPolicy | None = None
    """None is plain TCP."""
