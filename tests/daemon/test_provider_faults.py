"""A whole daemon in memory whose provider is down, hangs, or breaks halfway, for an hour."""

from __future__ import annotations

import tempfile

from twisted.internet.testing import EventLoggingObserver
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.support.memory_browser import Browser
from tests.support.memory_provider import MemoryProvider
from tests.support.rig import Rig
from tests.support.settings import route

MINUTE = 60
HOUR = 60 * MINUTE


class FaultCase(SynchronousTestCase):
    """Somebody who is signed in, and a provider with a fault."""

    def setUp(self) -> None:
        """Sign in."""
        self.provider = MemoryProvider(self.seconds)
        self.rig = self.made()
        self.log = EventLoggingObserver()
        globalLogPublisher.addObserver(self.log)
        self.addCleanup(globalLogPublisher.removeObserver, self.log)
        self.browser = Browser(self.rig, self.provider)
        self.assertEqual(self.browser.open().status, 200)
        self.provider.asked.clear()

    def made(self) -> Rig:
        """Return a daemon that knows nothing of one before it."""
        state = self.enterContext(tempfile.TemporaryDirectory())
        return Rig(route(allowed_groups=("staff",)), agent=self.provider, state_dir=state)

    def seconds(self) -> float:
        """Return the provider's time."""
        return float(self.rig.clock.seconds())

    def pass_time(self, seconds: float) -> None:
        """Let time pass at the daemon and at the provider."""
        self.rig.clock.advance(seconds)

    def works(self) -> None:
        """See a page, by its own address, and a script's answer."""
        self.assertEqual(self.browser.open().status, 200)
        self.assertEqual(self.browser.at, "https://app.example.com/")
        self.assertEqual(self.browser.script().status, 200)

    def logged(self) -> list[str]:
        """Return what was logged since the last time."""
        lines = [str(formatEvent(event)) for event in self.log]
        self.log._events.clear()
        return lines


class DownTests(FaultCase):
    """Nobody listens at the provider."""

    def setUp(self) -> None:
        """Take it down, a moment after the sign-in."""
        super().setUp()
        self.provider.down = True

    def test_nobody_notices_for_an_hour(self) -> None:
        """Pages and scripts work until ``session_recheck_max``; the log says what is put off."""
        for _ in range(59):
            self.pass_time(MINUTE)
            self.works()
        lines = self.logged()
        self.assertIn(
            "renewal put off by 60 s: token endpoint: connection refused",
            lines,
        )
        self.assertEqual(self.provider.logins, 1)

    def test_the_provider_is_not_flooded(self) -> None:
        """However many pages somebody opens, it is asked once a minute."""
        self.pass_time(10 * MINUTE)
        for _ in range(20):
            self.works()
        self.assertEqual(len(self.provider.asked), 1)

    def test_after_the_hour(self) -> None:
        """A page view is told that it is not now, and when; a script, where to sign in."""
        for _ in range(59):
            self.pass_time(MINUTE)
            self.works()
        self.pass_time(MINUTE)
        self.logged()
        got = self.browser.open()
        self.assertEqual(got.status, 503)
        self.assertGreater(int(got.field(b"retry-after")), 0)
        self.assertIn(b"Sign-in is not available right now", got.body)
        self.assertEqual(self.logged()[-1], "provider: token endpoint: connection refused")
        script = self.browser.script()
        self.assertEqual(script.status, 401)
        self.assertIn(b"sign_in_url", script.body)

    def test_when_it_returns(self) -> None:
        """The very next page view works, with no login."""
        for _ in range(5 * 60):
            self.pass_time(MINUTE)
            if self.browser.open().status == 503:
                break
        for _ in range(30):
            self.pass_time(MINUTE)
            self.assertEqual(self.browser.open().status, 503)
        self.provider.down = False
        # What the metadata's back-off leaves is at most this.
        self.pass_time(75)
        self.works()
        self.assertEqual(self.provider.logins, 1)
        self.pass_time(9 * MINUTE)
        self.works()
        self.assertEqual(self.provider.thefts, 0)

    def test_somebody_new(self) -> None:
        """Is told the same, and nobody is sent to where nobody listens without metadata."""
        got = Browser(self.made(), self.provider).open()
        self.assertEqual(got.status, 503)
        self.assertGreater(int(got.field(b"retry-after")), 0)

    def test_a_removed_person_does_not_gain_by_it(self) -> None:
        """An hour is the most that anybody has who was removed meanwhile."""
        self.provider.groups = []
        for _ in range(59):
            self.pass_time(MINUTE)
            self.works()
        self.provider.down = False
        self.pass_time(MINUTE)
        self.assertEqual(self.browser.open().status, 403)


class HangingTests(FaultCase):
    """The provider takes questions and does not answer."""

    def setUp(self) -> None:
        """Let the token endpoint hang."""
        super().setUp()
        self.provider.hanging.add("/token")

    def test_one_of_many_waits(self) -> None:
        """One page view finds out in ten seconds; the others go on at once."""
        others = [Browser(self.rig, self.provider) for _ in range(3)]
        self.provider.hanging.clear()
        for other in others:
            other.open()
        self.provider.hanging.add("/token")
        self.pass_time(10 * MINUTE)
        self.assertEqual(self.browser.open(wait=10.5).status, 200)
        for other in others:
            self.assertEqual(other.open().status, 200)
        lines = self.logged()
        self.assertIn("renewal put off by 60 s: token endpoint: no answer in 10 s", lines)
        self.assertEqual(
            lines.count(
                "renewal put off by 60 s: token endpoint: no answer a moment ago,"
                " not asked again so soon"
            ),
            3,
        )

    def test_when_it_returns(self) -> None:
        """The next renewal after the rest works, with no login."""
        self.pass_time(10 * MINUTE)
        self.browser.open(wait=10.5)
        self.provider.hanging.clear()
        self.pass_time(MINUTE)
        self.works()
        self.assertEqual(self.provider.asked[-1], ("/token", "refresh_token"))
        self.assertEqual(self.provider.logins, 1)


class HalfwayTests(FaultCase):
    """The token endpoint works, and what comes after it does not."""

    def test_keys_that_cannot_be_had(self) -> None:
        """The refresh token is used, and nobody is taken for a thief: the next one was kept."""
        self.provider.broken.add("/jwks")
        for _ in range(10):
            self.pass_time(MINUTE)
            self.works()
        # Keys stand in for a day, so they have to be unknown: a daemon that has started anew.
        jars = self.browser.jars
        self.rig = self.made()
        self.rig.clock.advance(30 * MINUTE)
        self.browser = Browser(self.rig, self.provider)
        self.browser.jars = jars
        for _ in range(20):
            self.works()
            self.pass_time(MINUTE)
        self.assertIn("renewal put off by 60 s: key set: status 500, want 200", self.logged())
        self.provider.broken.clear()
        self.pass_time(MINUTE)
        self.works()
        self.assertEqual((self.provider.logins, self.provider.thefts), (1, 0))
