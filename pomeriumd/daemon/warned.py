"""
What of settings was not taken as it stands, or is dangerous, in the log of whoever takes them.

The supervisor alone takes them, once a generation, however many workers it has.
"""

from __future__ import annotations

from twisted.logger import Logger

from pomeriumd.settings.model import Settings
from pomeriumd.settings.roles import PROXY

SHOWN = 10
"""Routes that are named in one line."""

_log = Logger()


def warn_of(settings: Settings) -> None:
    """
    Log one line for each warning: its place, what was done, and what to write instead.

    All routes whose applications are not verified are one line more.
    """
    for warning in settings.warnings:
        _log.warn("{warning}", warning=str(warning))
    if not settings.runs(PROXY):
        return
    skipping = [route for route in settings.all_routes if route.tls_skip_verify]
    if skipping:
        named = ", ".join(f"{route.place} ({route.to.text})" for route in skipping[:SHOWN])
        _log.warn(
            "tls_skip_verify: certificates are not verified, so whoever stands between can be the "
            "application, at {routes}{more}; set tls_custom_ca instead",
            routes=named,
            more=f" and {len(skipping) - SHOWN} more" if len(skipping) > SHOWN else "",
        )
