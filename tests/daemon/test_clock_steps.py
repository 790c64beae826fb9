"""A whole daemon in memory whose time of day is set by an hour; its timers go on."""

from __future__ import annotations

import json

from twisted.logger import LogLevel

from pomeriumd.crypto import base64url
from tests.support.browser import APP, AUTH, Browser, SignInCase
from tests.support.logged import Logged
from tests.support.rig import NAVIGATION, Got, parse, request
from tests.support.settings import route

MINUTE = 60
HOUR = 60 * MINUTE


class StepCase(SignInCase):
    """Somebody who is signed in, at a daemon whose clock the test sets."""

    routes = (route(allowed_groups=("staff",), pass_identity_headers=True),)

    def setUp(self) -> None:
        """Sign in."""
        super().setUp()
        self.provider_set_by = 0.0
        self.provider.now = lambda: self.clock.seconds() + self.provider_set_by
        self.log = Logged(self)
        self.sign_in()

    def new_browser(self) -> Browser:
        """Return one that drops cookies at their end; its clock is never set."""
        return Browser(self.rig, self.provider, ends={})

    def set_all(self, seconds: float) -> None:
        """Set the clocks of daemon and provider alike: both are right, before and after."""
        self.rig.set_by += seconds
        self.provider_set_by += seconds

    def check(self, got: Got) -> str:
        """Return the check that a page names."""
        return got.body.partition(b"<code>")[2].partition(b"</code>")[0].decode("ascii")

    def logged(self) -> str:
        """Return what was logged."""
        return "\n".join(self.log.lines(LogLevel.info))


class WrongTests(StepCase):
    """The clock is wrong for a while, and then right again."""

    def test_an_hour_behind(self) -> None:
        """Sessions are from the future: nobody is let in, and page and log name the clock."""
        self.rig.set_by = -HOUR
        self.assertEqual(self.browser.script().status, 401)
        self.assertEqual(self.check(self.browser.follow()), "clock")
        self.assertIn(
            "sign-in failed at clock: id token: issued 3600 s in the future", self.logged()
        )
        self.rig.set_by = 0
        self.assertEqual(self.browser.script().status, 200)
        self.assertEqual(self.browser.follow().status, 200)

    def test_an_hour_ahead(self) -> None:
        """Nobody has been here for an hour, as it seems; and the ID token has expired."""
        self.rig.set_by = HOUR
        self.assertEqual(self.browser.script().status, 401)
        self.assertEqual(self.check(self.browser.follow()), "clock")
        self.assertIn("sign-in failed at clock: id token: expired 3300 s ago", self.logged())
        self.rig.set_by = 0
        self.assertEqual(self.browser.follow().status, 200)

    def test_half_an_hour_ahead(self) -> None:
        """A recheck that fails for the clock alone ends nobody's session."""
        self.rig.set_by = HOUR / 2
        for _ in range(5):
            self.assertEqual(self.browser.follow().status, 200)
            self.clock.advance(MINUTE)
        self.assertIn(
            "renewal put off by 60 s: id token: expired 1500 s ago by our clock, leeway 60 s",
            self.logged(),
        )
        self.assertEqual((self.provider.logins, self.provider.thefts), (1, 0))
        # What was seen in the wrong half hour is from the future now.
        self.rig.set_by = 0
        self.clock.advance(10 * MINUTE)
        self.assertEqual(self.browser.follow().status, 200)
        self.assertEqual((self.provider.logins, self.provider.thefts), (2, 0))

    def test_a_clock_that_stays_wrong(self) -> None:
        """Put off is not for ever: after ``session_recheck_max`` nobody goes on."""
        self.rig.set_by = HOUR / 2
        statuses = []
        for _ in range(40):
            statuses.append(self.browser.follow().status)
            self.clock.advance(MINUTE)
        self.assertEqual(set(statuses[:30]), {200})
        self.assertEqual(set(statuses[30:]), {503})


class RightTests(StepCase):
    """The clock was wrong before, and is right now."""

    def test_what_was_made_in_the_wrong_hour(self) -> None:
        """It ends, whichever way; one sign-in later all holds, and there is no circle."""
        for step in (HOUR, -HOUR, 3 * HOUR, -20 * HOUR):
            self.set_all(step)
            self.assertEqual(self.browser.script().status, 401, step)
            logins = self.provider.logins
            self.assertEqual(self.browser.follow().status, 200, step)
            self.assertEqual(self.provider.logins, logins + 1, step)
            self.assertEqual(self.browser.script().status, 200, step)
            self.browser.follow()
            self.assertEqual(self.provider.logins, logins + 1, step)
            self.clock.advance(30)  # or it would look like a circle

    def test_within_the_leeway(self) -> None:
        """A clock that is set by less than a minute is noticed by nobody."""
        for step in (59.0, -59.0, -59.0, 59.0):
            self.set_all(step)
            self.assertEqual(self.browser.script().status, 200)
            self.assertEqual(self.browser.follow().status, 200)
        self.assertEqual(self.provider.logins, 1)

    def test_the_assertion_is_of_now(self) -> None:
        """What applications verify does not come from a memory of the other hour."""
        for step in (-30.0, 30.0, HOUR, -HOUR):
            self.set_all(step)
            self.browser.follow()
            sent = self.browser.at_applications[-1]
            [token] = [
                line.partition(b": ")[2]
                for line in sent.split(b"\r\n")
                if line.lower().startswith(b"x-pomerium-jwt-assertion:")
            ]
            claims = json.loads(base64url.decode(token.decode("ascii").split(".")[1]))
            now = self.rig.now()
            self.assertLessEqual(claims["iat"], now, step)
            self.assertGreater(claims["exp"], now, step)


class UnderWayTests(StepCase):
    """A sign-in is under way when the clock is set."""

    def interrupted(self, at: str, step: float) -> Got:
        """Begin a sign-in, set the clock before the address in question, and go on."""
        self.browser.cookies.clear()
        url = self.browser.until(f"{APP}/", at)
        self.set_all(step)
        return self.browser.follow(url)

    def test_on_the_way_to_authenticate(self) -> None:
        """The link is too old or from the future: the page says so, and opening it anew works."""
        for step in (HOUR, -HOUR):
            self.setUp()
            got = self.interrupted(f"{AUTH}/.pomerium/sign_in", step)
            self.assertEqual(got.status, 400)
            self.assertIn(b"no longer valid", got.body)
            self.assertEqual(self.browser.follow().status, 200)

    def test_at_the_provider(self) -> None:
        """It starts over by itself and comes to its end."""
        for step in (2 * HOUR, -HOUR):
            self.setUp()
            got = self.interrupted(f"{AUTH}/oauth2/callback", step)
            self.assertEqual(got.status, 200)
            self.assertEqual(self.browser.shown[-1][0], f"{APP}/")

    def test_on_the_way_back(self) -> None:
        """The hand-off is refused by its check; opening the application anew works."""
        for step in (HOUR, -HOUR):
            self.setUp()
            got = self.interrupted(f"{APP}/.pomerium/callback/", step)
            self.assertEqual((got.status, self.check(got)), (400, "handoff"))
            self.assertEqual(self.browser.follow().status, 200)


class TimerTests(StepCase):
    """Connections live and end by a clock that is not set."""

    def test_connections(self) -> None:
        """One that idles stays, one that is slow ends in its time, whatever the date."""
        for step in (HOUR, -HOUR):
            idle, slow = self.rig.connect(), self.rig.connect()
            idle.sends(request(b"/ping", *NAVIGATION))
            self.assertEqual(parse(idle.got()).status, 200)
            slow.sends(b"GET / HTTP/1.1\r\n")
            self.rig.set_by += step
            self.rig.pass_time(1)
            self.assertEqual((idle.closing, slow.closing), (False, False))
            self.rig.pass_time(self.rig.settings.timeout_read_header + 1)
            self.assertEqual(parse(slow.got()).status, 408)
            idle.sends(request(b"/ping", *NAVIGATION))
            self.assertEqual(parse(idle.got()).status, 200)
            idle.leaves()
            slow.leaves()
