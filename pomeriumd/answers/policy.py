"""The header fields that keep a page of ours from doing, or giving away, more than it shows."""

from __future__ import annotations

from collections.abc import Sequence

from pomeriumd.answers.safe import origin
from pomeriumd.http.events import Field

INTERCEPTED: Field = (b"x-pomerium-intercepted-response", b"true")
"""Tells an application's own script that this answer is ours, not the application's."""

NOSNIFF: Field = (b"x-content-type-options", b"nosniff")

NO_STORE: Field = (b"cache-control", b"no-store")

NO_REFERRER: Field = (b"referrer-policy", b"no-referrer")
"""Our addresses may hold codes and tokens, and a link of ours may lead to the application
behind the same host: it must not read them."""

OWN_REFERRER: Field = (b"referrer-policy", b"same-origin")
"""For pages with a form: under no-referrer a browser posts ``Origin: null``, and the check
of the origin could not tell our own form from a stranger's."""


def content_security_policy(form_to: Sequence[str] = ()) -> bytes:
    """
    Return the policy of a page of ours.

    Args:
        form_to: links whose origins its form may lead to; what is none is left out, so
            that nothing (say, from a provider's discovery document) can add a directive.
    """
    targets = dict.fromkeys(["'self'", *filter(None, map(origin, form_to))])
    return (
        "default-src 'none'; style-src 'self'; img-src 'self'; "
        f"form-action {' '.join(targets)}; base-uri 'none'; frame-ancestors 'none'"
    ).encode("ascii")
