"""Calls that stand for what a daemon makes of a request."""

from __future__ import annotations

from pomeriumd.answers.call import Call
from pomeriumd.net.server import UNREADABLE


def unread(request_id: str) -> Call:
    """Return the call that answers a request which could not be read."""
    return Call(request=UNREADABLE, request_id=request_id)
