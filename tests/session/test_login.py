"""Tests for pomeriumd.session.login: the route host's side, with authenticate's played."""

from __future__ import annotations

import os

import attrs
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.crypto.keys import SharedKeys
from pomeriumd.errors import BadMessage, LoginFailed
from pomeriumd.http.events import Field
from pomeriumd.session.cookies import CookieShape, Pair, read
from pomeriumd.session.handoff import Handoff, seal_handoff
from pomeriumd.session.login import (
    Finished,
    LoginCookieMissing,
    LoginSite,
    begin_login,
    finish_login,
    forget,
)
from pomeriumd.session.session import Identity, Session
from pomeriumd.session.sign_in import SignInRequest, read_sign_in
from pomeriumd.session.token import decode

AUTH = "https://auth.example.com"
APP = "app.example.com:443"
NOW = 1_790_000_000
OLD = [b"3.%d" % (NOW + by) for by in (-60, -20, 20, 10**9)]
"""Counts of another time."""
SITE = LoginSite(
    keys=SharedKeys.derived((b"\x07" * 32,)),
    shape=CookieShape(name="_pomerium"),
    authenticate=AUTH,
)
ALICE = Session(
    id="s",
    identity=Identity(issuer="https://idp", subject="alice"),
    issuer=AUTH,
    audience=APP,
    auth_time=NOW,
    checked=NOW,
    recheck=NOW + 600,
    seen=NOW,
    expires=NOW + 50_400,
)


class Browser:
    """A jar of one host's cookies."""

    def __init__(self) -> None:
        self.jar: dict[bytes, bytes] = {}

    def take(self, fields: list[Field] | tuple[Field, ...]) -> None:
        """Keep and drop cookies as the fields say."""
        for _, text in fields:
            name, _, value = text.partition(b";")[0].partition(b"=")
            self.jar[name] = value
            if b"; Max-Age=0;" in text:
                del self.jar[name]

    @property
    def pairs(self) -> list[Pair]:
        """Return the cookies to send."""
        return list(self.jar.items())

    def begin(
        self, path: bytes = b"/a", session: Session | None = None, *, again: bool = False
    ) -> SignInRequest:
        """Begin a login, and return what authenticate reads."""
        url, fields = begin_login(
            SITE,
            self.pairs,
            origin="https://app.example.com",
            path=path,
            query=b"b=c",
            session=session,
            now=NOW,
            random=os.urandom,
            again=again,
        )
        self.take(fields)
        query = url.partition("?")[2].encode()
        return read_sign_in(SITE.keys.signed_url, AUTH, query, NOW)

    def finish(self, query: bytes, *, audience: str = APP, at: int = 0) -> Finished:
        """Finish a login ``at`` seconds after NOW."""
        return finish_login(SITE, self.pairs, audience=audience, query=query, now=NOW + at)


def handed(asked: SignInRequest, session: Session = ALICE) -> bytes:
    """Return the callback's query, as authenticate makes it."""
    handoff = Handoff(session=session, login=asked.login, redirect=asked.redirect, expires=NOW + 60)
    sealed = seal_handoff(SITE.keys.handoff, handoff, random=os.urandom)
    return b"pomerium_session_encrypted=" + sealed.encode()


class LoginTests(SynchronousTestCase):
    """A login ends in the browser that began it, at the host where it began."""

    def refused(self, browser: Browser, query: bytes, check: str, *, at: int = 0) -> None:
        """Assert that the login does not end, by the named check."""
        with self.assertRaises(LoginFailed) as caught:
            browser.finish(query, at=at)
        self.assertEqual(caught.exception.check, check)

    def test_the_whole_way(self) -> None:
        """The session cookie is set, the login's is cleared, and the target is the old one."""
        browser = Browser()
        asked = browser.begin()
        self.assertEqual(asked.redirect, "https://app.example.com/a?b=c")
        self.assertEqual(asked.seen, 0)
        finished = browser.finish(handed(asked))
        browser.take(finished.fields)
        self.assertEqual(finished.redirect, "https://app.example.com/a?b=c")
        self.assertEqual(list(browser.jar), [b"__Host-_pomerium", b"__Host-_pomerium_rounds"])
        [token] = read(browser.pairs, SITE.shape)
        self.assertEqual(
            decode(token, SITE.keys.route_session, audience=APP, issuer=AUTH, now=NOW), ALICE
        )
        self.assertIn(b"; Max-Age=50400;", finished.fields[0][1])

    def test_two_tabs(self) -> None:
        """Two logins at once end both, in any order, each at its own target."""
        browser = Browser()
        one, two = browser.begin(b"/1"), browser.begin(b"/2")
        for asked in (two, one):
            finished = browser.finish(handed(asked))
            browser.take(finished.fields)
            self.assertEqual(finished.redirect, asked.redirect)

    def test_a_renewal_says_when_the_session_was_used(self) -> None:
        """Authenticate learns that the person is there."""
        session = attrs.evolve(ALICE, seen=NOW - 5)
        self.assertEqual(Browser().begin(session=session).seen, NOW - 5)

    def test_anothers_hand_off(self) -> None:
        """The link that signs the attacker in signs nobody else in."""
        attacker, victim = Browser(), Browser()
        query = handed(attacker.begin())
        victim.begin()
        self.refused(victim, query, "login-cookie")
        self.refused(Browser(), query, "login-cookie")

    def test_a_hand_off_with_another_secret(self) -> None:
        """The login's id alone, which is in the cookie's name, is no proof."""
        browser = Browser()
        asked = browser.begin()
        login = asked.login.partition(".")[0]
        for digest in ("", "." + "A" * 43, ".é"):
            self.refused(browser, handed(attrs.evolve(asked, login=login + digest)), "login-cookie")

    def test_a_lost_cookie_is_told_with_its_target(self) -> None:
        """The route host can start over, and knows whether it did so before."""
        for again in (False, True):
            browser = Browser()
            query = handed(browser.begin(again=again))
            with self.assertRaises(LoginCookieMissing) as caught:
                Browser().finish(query)
            self.assertEqual(caught.exception.redirect, "https://app.example.com/a?b=c")
            self.assertEqual(caught.exception.again, again)
            browser.finish(query)

    def test_once(self) -> None:
        """The cookie is cleared on use, so the link is good once."""
        browser = Browser()
        query = handed(browser.begin())
        browser.take(browser.finish(query).fields)
        self.refused(browser, query, "login-cookie")

    def test_another_host(self) -> None:
        """A hand-off to one route host is of no use at another."""
        browser = Browser()
        query = handed(browser.begin())
        with self.assertRaises(LoginFailed) as caught:
            browser.finish(query, audience="app2.example.com:443")
        self.assertEqual(str(caught.exception), "seal does not open")
        self.assertEqual(caught.exception.check, "handoff")

    def test_its_minute(self) -> None:
        """An old link is refused by name."""
        browser = Browser()
        self.refused(browser, handed(browser.begin()), "handoff", at=121)

    def test_another_issuer(self) -> None:
        """A session of another authenticate is refused."""
        browser = Browser()
        session = attrs.evolve(ALICE, issuer="https://auth2.example.com")
        self.refused(browser, handed(browser.begin(), session), "handoff")

    def test_parameters(self) -> None:
        """Without the parameter, or with two of them, there is no login."""
        browser = Browser()
        query = handed(browser.begin())
        self.refused(browser, b"", "handoff")
        with self.assertRaises(BadMessage):
            browser.finish(query + b"&" + query)

    def test_any_request_can_be_come_back_to(self) -> None:
        """Odd octets and endless targets begin a login all the same, in one cookie."""
        for path in (b"/\\evil", b"//evil.example/", b"/" + b"x" * 9_000, b"/a\x7fb", b"/%2F"):
            browser = Browser()
            asked = browser.begin(path)
            self.assertTrue(asked.redirect.startswith("https://app.example.com/"))
            self.assertLess(max(len(value) for value in browser.jar.values()), 3_800)

    def test_the_secret_stays_in_the_cookie(self) -> None:
        """Each login has its own secret, and what travels is a digest that is not in it."""
        browser = Browser()
        one, two = browser.begin(), browser.begin()
        self.assertNotEqual(one.login.partition(".")[2], two.login.partition(".")[2])

    def test_a_loop_ends_with_an_explanation(self) -> None:
        """A browser that loses its session cookie each time is stopped in the fourth round."""
        browser = Browser()
        for _ in range(3):
            browser.take(browser.finish(handed(browser.begin())).fields)
            del browser.jar[b"__Host-_pomerium"]
        with self.assertRaises(LoginFailed) as caught:
            browser.begin()
        self.assertEqual(caught.exception.check, "session-cookie")
        self.assertEqual(str(caught.exception), "no good session after 3 sign-ins in a row")
        browser.begin(session=ALICE)

    def test_a_count_of_a_strangers(self) -> None:
        """A count that is none counts nothing."""
        now = b"%d" % NOW
        for value in (
            b"",
            b"x",
            b"3",
            b"-1." + now,
            b"99." + now,
            "٣.".encode() + now,
            b"3. " + now,
            *OLD,
        ):
            browser = Browser()
            browser.jar[b"__Host-_pomerium_rounds"] = value
            browser.begin()

    def test_forget(self) -> None:
        """A sign-out leaves neither session nor logins."""
        browser = Browser()
        asked = browser.begin()
        browser.begin()
        browser.take(browser.finish(handed(asked)).fields)
        self.assertEqual(len(browser.jar), 3)
        browser.take(forget(SITE, browser.pairs, audience=APP))
        self.assertEqual(browser.jar, {})
