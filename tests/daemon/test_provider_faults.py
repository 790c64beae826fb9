"""A whole daemon in memory whose provider is down, hangs, or breaks halfway, for an hour."""

from __future__ import annotations

from twisted.web.server import NOT_DONE_YET

from pomeriumd.daemon.cells import Reading
from tests.support.browser import APP, Browser, SignInCase
from tests.support.logged import Logged
from tests.support.provider import status
from tests.support.settings import route

MINUTE = 60
HOUR = 60 * MINUTE


class FaultCase(SignInCase):
    """Somebody who is signed in, and a provider with a fault."""

    routes = (route(allowed_groups=("staff",)),)

    def setUp(self) -> None:
        """Sign in."""
        super().setUp()
        self.log = Logged(self)
        self.sign_in()
        self.provider.urls.clear()

    def new_browser(self) -> Browser:
        """Return one that drops cookies at their end."""
        return Browser(self.rig, self.provider, ends={})

    def works(self) -> None:
        """See a page, by its own address, and a script's answer."""
        self.assertEqual(self.browser.follow().status, 200)
        self.assertEqual(self.browser.shown[-1][0], f"{APP}/")
        self.assertEqual(self.browser.script().status, 200)


class DownTests(FaultCase):
    """Nobody listens at the provider."""

    def setUp(self) -> None:
        """Take it down, a moment after the sign-in."""
        super().setUp()
        self.provider.down = True

    def test_nobody_notices_for_an_hour(self) -> None:
        """Pages and scripts work until ``session_recheck_max``; the log says what is put off."""
        for _ in range(59):
            self.clock.advance(MINUTE)
            self.works()
        lines = self.log.lines()
        self.assertIn(
            "renewal put off by 60 s: token endpoint: connection refused",
            lines,
        )
        self.assertEqual(self.provider.logins, 1)

    def test_the_provider_is_not_flooded(self) -> None:
        """However many pages somebody opens, it is asked once a minute."""
        self.clock.advance(10 * MINUTE)
        for _ in range(20):
            self.works()
        self.assertEqual(len(self.provider.urls), 1)

    def test_after_the_hour(self) -> None:
        """A page view is told that it is not now, and when; a script, where to sign in."""
        for _ in range(59):
            self.clock.advance(MINUTE)
            self.works()
        self.clock.advance(MINUTE)
        log = Logged(self)
        got = self.browser.follow()
        self.assertEqual(got.status, 503)
        self.assertGreater(int(got.field(b"retry-after")), 0)
        self.assertIn(b"Sign-in is not available right now", got.body)
        self.assertEqual(log.lines()[-1], "provider: token endpoint: connection refused")
        script = self.browser.script()
        self.assertEqual(script.status, 401)
        self.assertIn(b"sign_in_url", script.body)

    def test_it_is_counted(self) -> None:
        """A sign-in that fails for the provider is an error in the access line and the metrics."""
        for _ in range(59):
            self.clock.advance(MINUTE)
            self.works()
        self.clock.advance(MINUTE)
        self.browser.follow()
        self.assertEqual(self.rig.logged[-1].error, "ProviderError")
        errors = {
            labels[-1]
            for (family, labels), numbers in Reading(self.rig.front.tally.memory)
            if family == "exchange" and numbers[0]
        }
        self.assertIn("ProviderError", errors)

    def test_when_it_returns(self) -> None:
        """The very next page view works, with no login."""
        for _ in range(5 * 60):
            self.clock.advance(MINUTE)
            if self.browser.follow().status == 503:
                break
        for _ in range(30):
            self.clock.advance(MINUTE)
            self.assertEqual(self.browser.follow().status, 503)
        self.provider.down = False
        # What the metadata's back-off leaves is at most this.
        self.clock.advance(75)
        self.works()
        self.assertEqual(self.provider.logins, 1)
        self.clock.advance(9 * MINUTE)
        self.works()
        self.assertEqual(self.provider.thefts, 0)

    def test_somebody_new(self) -> None:
        """Is told the same, and nobody is sent to where nobody listens without metadata."""
        self.start_daemon(*self.routes)
        got = self.new_browser().follow()
        self.assertEqual(got.status, 503)
        self.assertGreater(int(got.field(b"retry-after")), 0)

    def test_a_removed_person_does_not_gain_by_it(self) -> None:
        """An hour is the most that anybody has who was removed meanwhile."""
        self.provider.person["groups"] = []
        for _ in range(59):
            self.clock.advance(MINUTE)
            self.works()
        self.provider.down = False
        self.clock.advance(MINUTE)
        self.assertEqual(self.browser.follow().status, 403)


class HangingTests(FaultCase):
    """The provider takes questions and does not answer."""

    def setUp(self) -> None:
        """Let the token endpoint hang."""
        super().setUp()
        self.provider.answers["/token"] = lambda _: NOT_DONE_YET

    def test_one_of_many_waits(self) -> None:
        """One page view finds out in ten seconds; the others go on at once."""
        others = [self.new_browser() for _ in range(3)]
        self.provider.answers.clear()
        for other in others:
            other.follow()
        self.provider.answers["/token"] = lambda _: NOT_DONE_YET
        self.clock.advance(10 * MINUTE)
        self.browser.patience = 10.5
        self.assertEqual(self.browser.follow().status, 200)
        for other in others:
            self.assertEqual(other.follow().status, 200)
        lines = self.log.lines()
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
        self.clock.advance(10 * MINUTE)
        self.browser.patience = 10.5
        self.browser.follow()
        self.provider.answers.clear()
        self.clock.advance(MINUTE)
        self.works()
        self.assertEqual(self.provider.forms("/token")[-1]["grant_type"], "refresh_token")
        self.assertEqual(self.provider.logins, 1)


class HalfwayTests(FaultCase):
    """The token endpoint works, and what comes after it does not."""

    def test_keys_that_cannot_be_had(self) -> None:
        """The refresh token is used, and nobody is taken for a thief: the next one was kept."""
        self.provider.answers["/jwks"] = status(500)
        for _ in range(10):
            self.clock.advance(MINUTE)
            self.works()
        # Keys stand in for a day, so they have to be unknown: a daemon that has started anew.
        self.start_daemon(*self.routes)
        self.clock.advance(30 * MINUTE)
        self.browser.rig = self.rig
        for _ in range(20):
            self.works()
            self.clock.advance(MINUTE)
        self.assertIn("renewal put off by 60 s: key set: status 500, want 200", self.log.lines())
        self.provider.answers.clear()
        self.clock.advance(MINUTE)
        self.works()
        self.assertEqual((self.provider.logins, self.provider.thefts), (1, 0))
