"""How far a session is believed at this moment; ``docs/sessions.md`` has the limits."""

from __future__ import annotations

import enum

import attrs

from pomeriumd.session.session import Session

LEEWAY = 60
"""Seconds by which our clock may run behind the one that wrote a session."""


class Standing(enum.Enum):
    """What may still be done with a session."""

    FRESH = "fresh"
    """Everything goes on."""
    RECHECK = "recheck"
    """The next navigation renews through authenticate; other requests go on."""
    STALE = "stale"
    """Nothing goes on before the provider has confirmed the person."""
    ENDED = "ended"
    """Idle for too long, or at its absolute end: sign in again."""


@attrs.frozen(kw_only=True)
class SessionLimits:
    """The four limits of a session, in seconds; the defaults are those of the settings."""

    expire: float = 14 * 3600.0
    """From sign-in to the absolute end (``cookie_expire``)."""
    idle: float = 3600.0
    """Without a request before it ends (``session_idle``)."""
    recheck: float = 600.0
    """From a confirmation to the next that is asked for (``session_recheck``)."""
    recheck_max: float = 3600.0
    """From a confirmation to when nothing goes on without one (``session_recheck_max``)."""


def standing(
    session: Session, now: float, limits: SessionLimits, *, in_use: bool = False
) -> Standing:
    """
    Judge a session.

    Args:
        session: verified already; only its times are looked at.
        now: seconds since the epoch.
        limits: as they are set now, not as they were when the session began: a limit
            that the operator shortens holds for the sessions that exist.
        in_use: a stream of it is open, so it is not idle whenever its last request was.
    """
    latest = now + LEEWAY
    if session.auth_time > latest or session.checked > latest or session.seen > latest:
        # Written by a clock that is wrong, or before ours was set back: believing it
        # would lengthen every limit by the difference.
        return Standing.ENDED
    if now >= session.expires or now >= session.auth_time + limits.expire:
        return Standing.ENDED
    if now >= session.seen + limits.idle and not in_use:
        return Standing.ENDED
    if now >= session.checked + limits.recheck_max:
        return Standing.STALE
    if now >= session.recheck:
        return Standing.RECHECK
    return Standing.FRESH
