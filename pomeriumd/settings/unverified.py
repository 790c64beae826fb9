"""Routes whose applications are not verified: a warning of one line, however many there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pomeriumd.errors import Problem
from pomeriumd.settings.route import RouteSettings

SHOWN = 10
"""Routes that are named in the line."""


def unverified(routes: Sequence[RouteSettings]) -> Iterator[Problem]:
    """Yield the warning, if there is reason for one."""
    skipping = [route for route in routes if route.tls_skip_verify]
    if not skipping:
        return
    named = ", ".join(f"{route.place} ({route.to.text})" for route in skipping[:SHOWN])
    more = f" and {len(skipping) - SHOWN} more" if len(skipping) > SHOWN else ""
    yield Problem(
        "tls_skip_verify",
        "certificates are not verified, so whoever stands between can be the application, at "
        f"{named}{more}; set tls_custom_ca instead",
    )
