"""The files that a page loads: read once, served with the version that they have."""

from __future__ import annotations

import hashlib
from importlib.resources import files

from pomeriumd.answers.answer import Answer
from pomeriumd.answers.call import Call
from pomeriumd.answers.policy import NOSNIFF
from pomeriumd.http.events import Field

FOR_A_YEAR: Field = (b"cache-control", b"public, max-age=31536000, immutable")
"""For an asset asked for by the version that it has."""

ASK_AGAIN: Field = (b"cache-control", b"no-cache")
"""For an asset asked for by another version: while replicas differ, a page of the new
one may fetch its stylesheet from the old one, and must not keep that for a year."""


class Asset:
    """A static file of ours, read once, with its version."""

    def __init__(self, name: str, kind: bytes) -> None:
        self._body = files("pomeriumd.answers").joinpath("static", name).read_bytes()
        self._kind = kind
        self.query = "v=" + hashlib.sha256(self._body).hexdigest()[:12]

    def answer(self, call: Call | None) -> Answer:
        """Return the file; given the call, it may be kept only as the right version."""
        current = call is None or call.request.query == self.query.encode("ascii")
        cache = FOR_A_YEAR if current else ASK_AGAIN
        return Answer(200, ((b"content-type", self._kind), NOSNIFF, cache), self._body)
