"""A request to a page of ours, whole."""

from __future__ import annotations

import attrs

from pomeriumd.http.events import Request


@attrs.frozen(kw_only=True)
class Call:
    """
    What a page of ours gets to see: the head, the small body, and who is asking.

    ``secure`` and ``client`` come from the socket or from a trusted proxy, never from a
    header of a stranger.
    """

    request: Request
    request_id: str
    body: bytes = b""
    """At most ``Limits.small_body`` bytes."""
    client: str = ""
    """The client's address, as text."""
