"""Tests for pomeriumd.session.standing."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.session.session import Identity, Session
from pomeriumd.session.standing import SessionLimits, Standing, standing

BEGAN = 1_790_000_000
LIMITS = SessionLimits()

ORDER = [Standing.FRESH, Standing.RECHECK, Standing.STALE, Standing.ENDED]


def session(**other: Any) -> Session:
    """Return a session that began at BEGAN, with some times changed."""
    begun = Session(
        id="s",
        identity=Identity(issuer="https://idp", subject="u"),
        issuer="https://auth",
        audience="app:443",
        auth_time=BEGAN,
        checked=BEGAN,
        recheck=BEGAN + 600,
        seen=BEGAN,
        expires=BEGAN + 14 * 3600,
    )
    return attrs.evolve(begun, **other)


class StandingTests(SynchronousTestCase):
    """standing() says how far a session is believed at one moment."""

    def judged(self, at: float, **other: int) -> Standing:
        """Return the standing ``at`` seconds after the session began."""
        return standing(session(**other), BEGAN + at, LIMITS)

    def test_fresh_until_the_recheck(self) -> None:
        """For ten minutes nothing happens."""
        self.assertIs(self.judged(0), Standing.FRESH)
        self.assertIs(self.judged(599.9), Standing.FRESH)
        self.assertIs(self.judged(600), Standing.RECHECK)

    def test_recheck_until_nothing_goes_on(self) -> None:
        """Somebody who is there has an hour from the last confirmation."""
        self.assertIs(self.judged(3599, seen=BEGAN + 3540), Standing.RECHECK)
        self.assertIs(self.judged(3600, seen=BEGAN + 3540), Standing.STALE)

    def test_the_provider_is_down(self) -> None:
        """A recheck that was put off is fresh again, but never past the longest time."""
        off = {"seen": BEGAN + 3590, "recheck": BEGAN + 3650}
        self.assertIs(self.judged(3599, **off), Standing.FRESH)
        self.assertIs(self.judged(3600, **off), Standing.STALE)

    def test_idle(self) -> None:
        """An hour without a request ends it, whatever the provider confirmed meanwhile."""
        late = {"checked": BEGAN + 3599, "recheck": BEGAN + 4199}
        self.assertIs(self.judged(3599, **late), Standing.FRESH)
        self.assertIs(self.judged(3600, **late), Standing.ENDED)

    def test_the_absolute_end(self) -> None:
        """Nothing moves the end; there is no leeway after it."""
        end = 14 * 3600
        active = {"seen": BEGAN + end - 1, "checked": BEGAN + end - 1, "recheck": BEGAN + end + 9}
        self.assertIs(self.judged(end - 0.1, **active), Standing.FRESH)
        self.assertIs(self.judged(end, **active), Standing.ENDED)
        self.assertIs(
            self.judged(end - 5, **{**active, "expires": BEGAN + end - 5}), Standing.ENDED
        )

    def test_a_limit_that_was_shortened_holds_at_once(self) -> None:
        """The limits that are set now judge the sessions that exist."""
        short = SessionLimits(expire=100, idle=50, recheck=10, recheck_max=20)
        now = BEGAN + 60
        self.assertIs(standing(session(seen=now), now, short), Standing.STALE)
        self.assertIs(standing(session(), now, short), Standing.ENDED)
        self.assertIs(standing(session(seen=now + 40), now + 40, short), Standing.ENDED)

    def test_a_clock_that_runs_behind(self) -> None:
        """A minute of difference is forgiven for each time; more ends the session."""
        for name in ("auth_time", "checked", "seen"):
            self.assertIs(self.judged(0, **{name: BEGAN + 60}), Standing.FRESH)
            self.assertIs(self.judged(0, **{name: BEGAN + 61}), Standing.ENDED)

    @given(st.integers(0, 60_000), st.integers(0, 60_000))
    def test_it_only_gets_worse(self, earlier: int, more: int) -> None:
        """Without a renewal a session never becomes better by waiting."""
        first, then = self.judged(earlier), self.judged(earlier + more)
        self.assertLessEqual(ORDER.index(first), ORDER.index(then))

    @given(st.integers(0, 20_000), st.integers(0, 20_000), st.integers(1, 3600))
    def test_use_never_harms(self, at: int, seen: int, more: int) -> None:
        """A session that was used later stands no worse, as long as the use is past."""
        if seen + more <= at:
            used = self.judged(at, seen=BEGAN + seen + more)
            self.assertLessEqual(ORDER.index(used), ORDER.index(self.judged(at, seen=BEGAN + seen)))
