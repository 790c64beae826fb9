"""A whole answer of our own, small enough to stand in memory."""

from __future__ import annotations

import attrs

from pomeriumd.http.events import Field


@attrs.frozen
class Answer:
    """Status, end-to-end fields (names in lower case) and the body; no Content-Length."""

    status: int
    fields: tuple[Field, ...] = ()
    body: bytes = b""
    error: str = ""
    """Class name of the error that it explains, for log and metrics; "" for none."""
