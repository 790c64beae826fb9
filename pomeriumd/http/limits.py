"""Every bound of the HTTP engine, in one frozen value."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Limits:
    """
    Bounds in bytes, counts and seconds.

    Source of the defaults: what browsers send at most (a target under 8 KiB, cookies up
    to some 20 KiB) with room above; the times are those of shared names in Pomerium
    (``timeout_read_header``, ``timeout_idle``, ``timeout_read``).
    """

    head_size: int = 65_536
    """Request line and fields together; over it: 431."""
    field_count: int = 128
    """Header fields of one message; over it: 431."""
    target_size: int = 16_384
    """The request target alone; over it: 431 (414 is spelled the same way to a user)."""
    trailer_size: int = 8_192
    """All trailers together; over it the message is refused."""
    response_head_size: int = 262_144
    """Head of an upstream's answer; over it: 502."""
    pipelined: int = 65_536
    """Bytes that may wait behind the request being served; more stop reading."""
    interim: int = 16
    """Interim (1xx) answers of an upstream to one request; over it: 502."""
    buffered: int = 262_144
    """Bytes that may wait in us for either side before its other side is paused."""
    small_body: int = 65_536
    """The largest body that our own pages take (a form)."""
