"""Redirects of authenticate's."""

from __future__ import annotations

from collections.abc import Iterable

from pomeriumd.answers.answer import Answer
from pomeriumd.answers.policy import INTERCEPTED, NO_REFERRER, NO_STORE
from pomeriumd.http.events import Field


def redirect(to: str, fields: Iterable[Field] = ()) -> Answer:
    """Return a 302; ``to`` was made or checked by us, never taken from a request as it came."""
    location = (b"location", to.encode("ascii"))
    return Answer(302, (location, NO_STORE, NO_REFERRER, INTERCEPTED, *fields))
