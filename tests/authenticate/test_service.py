"""Tests for pomeriumd.authenticate: whole sign-ins, with a route host and a browser played."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from urllib.parse import parse_qs, urlencode, urlsplit

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from pomeriumd.answers.answer import Answer
from pomeriumd.answers.call import Call
from pomeriumd.answers.pages import Pages
from pomeriumd.authenticate.renewal import Renewals
from pomeriumd.authenticate.service import Authenticate, AuthenticateSite
from pomeriumd.crypto.keys import OwnKeys, SharedKeys
from pomeriumd.errors import LoginFailed, ProviderError
from pomeriumd.http.events import Field, Request
from pomeriumd.oidc.grant import Grant, GrantRefused, Unconfirmed
from pomeriumd.session.cookies import CookieShape, read
from pomeriumd.session.login import LoginSite, begin_login, finish_login
from pomeriumd.session.session import Identity, Session
from pomeriumd.session.sign_in import SignInRequest, sign_in_url, sign_out_url
from pomeriumd.session.standing import SessionLimits
from pomeriumd.session.token import decode

AUTH = "https://auth.example.com"
APP = "https://app.example.com"
IDP = "https://idp.example.com"
BEGAN = 1_790_000_000.0
SHARED = SharedKeys.derived((b"\x07" * 32,))
OWN = OwnKeys.derived((b"\x08" * 32,))
SHAPE = CookieShape(name="_pomerium")
ALICE = Identity(issuer=IDP, subject="alice", email="alice@example.com", groups=("admins",))


@attrs.define
class FakeProvider:
    """A provider that says what the test wants, and keeps what it was asked."""

    issuer: str = IDP
    identity: Identity = ALICE
    refresh_token: str | None = "r1"
    error: Exception | None = None
    """Raised at every question."""
    errors: dict[str, Exception] = attrs.Factory(dict)
    """Raised at questions that begin with the word."""
    logout: str | None = None
    asked: list[str] = attrs.Factory(list)
    exchanged: list[dict[str, str | None]] = attrs.Factory(list)

    def _tell(self, what: str) -> None:
        self.asked.append(what)
        error = self.errors.get(what.partition(" ")[0], self.error)
        if error is not None:
            raise error

    def _grant(self) -> Grant:
        return Grant(
            identity=self.identity,
            refresh_token=self.refresh_token,
            id_token="id-t0ken",
            access_token="access-t0ken",
        )

    async def authorization_url(
        self, *, state: str, nonce: str, verifier: str, redirect_uri: str
    ) -> str:
        """Return a URL that shows what was asked."""
        self._tell("authorize")
        asked = {"state": state, "nonce": nonce, "redirect_uri": redirect_uri}
        return f"{self.issuer}/authorize?{urlencode(asked)}"

    async def exchange(
        self, *, code: str, verifier: str, nonce: str, redirect_uri: str, iss: str | None
    ) -> Grant:
        """Return the person."""
        self._tell(f"exchange {code}")
        self.exchanged.append({"verifier": verifier, "nonce": nonce, "iss": iss})
        return self._grant()

    async def refresh(self, *, refresh_token: str, identity: Identity) -> Grant:
        """Return the person, and a new refresh token."""
        self._tell(f"refresh {refresh_token}")
        self.refresh_token = f"r{len(self.asked) + 1}"
        return self._grant()

    async def revoke(self, *, refresh_token: str | None, access_token: str | None) -> bool:
        """Note it."""
        self._tell(f"revoke {refresh_token}")
        return True

    async def logout_url(
        self, *, id_token: str | None, redirect_uri: str, state: str
    ) -> str | None:
        """Return where the provider ends its session, if it has such a place."""
        self._tell(f"logout {id_token}")
        return self.logout and f"{self.logout}?{urlencode({'state': state})}"


class Jar(dict[bytes, bytes]):
    """One host's cookies in a browser."""

    def take(self, fields: Iterable[Field]) -> None:
        """Keep and drop cookies as the fields say."""
        for name, text in fields:
            if name == b"set-cookie":
                cookie, _, value = text.partition(b";")[0].partition(b"=")
                self[cookie] = value
                if b"; Max-Age=0;" in text:
                    del self[cookie]

    def field(self) -> list[Field]:
        """Return the Cookie field to send."""
        return [(b"cookie", b"; ".join(b"%b=%b" % pair for pair in self.items()))] if self else []


def location(answer: Answer) -> str:
    """Return where an answer sends the browser."""
    assert answer.status == 302, (answer.status, answer.body)
    return dict(answer.fields)[b"location"].decode()


def parameters(url: str) -> dict[str, str]:
    """Return the query of a URL."""
    return {name: value[0] for name, value in parse_qs(urlsplit(url).query).items()}


class World(TestCase):
    """A browser, the route host app, authenticate and a provider, on one clock."""

    def setUp(self) -> None:
        """Begin with an empty browser."""
        self.time = BEGAN
        self.provider = FakeProvider()
        self.forgotten: list[str] = []
        self.site = AuthenticateSite(
            origin=AUTH, callback_path="/oauth2/callback", shape=SHAPE, limits=SessionLimits()
        )
        self.replica()
        self.own, self.app = Jar(), Jar()
        self.log = EventLoggingObserver.createWithCleanup(self, globalLogPublisher)

    def replica(self) -> None:
        """Let another process answer from now on: nothing of the memory stays."""
        self.authenticate = Authenticate(
            site=self.site,
            shared_keys=SHARED,
            own_keys=OWN,
            provider=self.provider,
            renewals=Renewals(provider=self.provider, now=lambda: self.time),
            forget=self.forgotten.append,
            pages=Pages(),
            now=lambda: self.time,
            random=os.urandom,
            origin_known=lambda *origin: (
                origin in (("https", "app.example.com", 443), ("https", "app2.example.com", 443))
            ),
        )

    def call(
        self,
        url: str,
        *,
        method: bytes = b"GET",
        body: bytes = b"",
        fields: list[Field] | None = None,
        jar: Jar | None = None,
    ) -> Answer:
        """Ask authenticate, as the browser does, and let the browser keep its cookies."""
        jar = self.own if jar is None else jar
        path, mark, query = url.removeprefix(AUTH).partition("?")
        request = Request(
            method,
            b"auth.example.com",
            None,
            path.encode(),
            query.encode() if mark else None,
            [*(fields or [(b"accept", b"text/html")]), *jar.field()],
            len(body),
            None,
        )
        coroutine = self.authenticate.answer(
            Call(request=request, request_id="req-1", body=body, client="192.0.2.1")
        )
        answer = self.successResultOf(Deferred.fromCoroutine(coroutine))
        self.assertEqual(dict(answer.fields)[b"cache-control"], b"no-store")
        jar.take(answer.fields)
        return answer

    def begin(self, session: Session | None = None, path: bytes = b"/a") -> str:
        """Ask the route host for a page, and return the URL at authenticate."""
        url, fields = begin_login(
            LoginSite(keys=SHARED, shape=SHAPE, authenticate=AUTH),
            list(self.app.items()),
            origin=APP,
            path=path,
            query=None,
            session=session,
            now=self.time,
            random=os.urandom,
        )
        self.app.take(fields)
        return url

    def finish(self, answer: Answer) -> Session:
        """Follow authenticate's hand-off to the route host, and return its session."""
        url = location(answer)
        self.assertTrue(url.startswith(f"{APP}/.pomerium/callback/?pomerium_session_encrypted="))
        finished = finish_login(
            LoginSite(keys=SHARED, shape=SHAPE, authenticate=AUTH),
            list(self.app.items()),
            audience="app.example.com:443",
            query=url.partition("?")[2].encode(),
            now=self.time,
        )
        self.app.take(finished.fields)
        self.app.pop(b"__Host-_pomerium_rounds", None)
        [token] = read(self.app.items(), SHAPE)
        return decode(
            token, SHARED.route_session, audience="app.example.com:443", issuer=AUTH, now=self.time
        )

    def at_provider(self, answer: Answer) -> str:
        """Return the state that the browser brought to the provider."""
        url = location(answer)
        self.assertTrue(url.startswith(f"{IDP}/authorize?"), url)
        return parameters(url)["state"]

    def back(self, state: str, **more: str) -> Answer:
        """Come back from the provider."""
        given = {"state": state, "code": "c0de", **more}
        return self.call("/oauth2/callback?" + urlencode(given))

    def signed_in(self) -> Session:
        """Sign in the whole way."""
        return self.finish(self.back(self.at_provider(self.call(self.begin()))))

    def failed(self, answer: Answer, check: str, status: int = 400) -> str:
        """Assert that the answer explains the named check; return its text."""
        page = answer.body.decode()
        self.assertEqual(answer.status, status, page)
        self.assertIn(f"<code>{check}</code>", page)
        self.assertIn("req-1", page)
        return re.sub(r"\s+", " ", page)

    def logged(self) -> str:
        """Return all that was logged, as text."""
        return "\n".join(filter(None, map(formatEvent, self.log)))


class SignInTests(World):
    """Somebody signs in, and again without noticing."""

    def test_the_whole_way(self) -> None:
        """The route host gets the person, its own audience, and the times that count."""
        self.assertEqual(
            attrs.evolve(self.signed_in(), id=""),
            Session(
                id="",
                identity=ALICE,
                issuer=AUTH,
                audience="app.example.com:443",
                auth_time=int(BEGAN),
                checked=int(BEGAN),
                recheck=int(BEGAN) + 600,
                seen=int(BEGAN),
                expires=int(BEGAN) + 14 * 3600,
            ),
        )
        self.assertEqual(list(self.own), [b"__Host-_pomerium_authenticate"])
        self.assertEqual(self.provider.asked, ["authorize", "exchange c0de"])

    def test_what_travels_is_never_the_secret(self) -> None:
        """Verifier and tokens are in no URL, page or log line; each login has its own nonce."""
        one, two = (self.call(self.begin()) for _ in range(2))
        nonces = {parameters(location(each))["nonce"] for each in (one, two)}
        self.assertEqual(len(nonces), 2)
        done = self.back(self.at_provider(one))
        verifier = str(self.provider.exchanged[0]["verifier"])
        self.assertEqual(len(verifier), 43)
        self.assertIn(self.provider.exchanged[0]["nonce"], nonces)
        for text in (location(one), location(done), self.logged(), repr(self.authenticate)):
            for secret in (verifier, "id-t0ken", "access-t0ken", "c0de"):
                self.assertNotIn(secret, text)

    def test_any_replica_goes_on(self) -> None:
        """No step needs the memory of the one before it."""
        url = self.begin()
        self.replica()
        state = self.at_provider(self.call(url))
        self.replica()
        answer = self.back(state)
        self.replica()
        self.assertEqual(self.finish(answer).identity, ALICE)
        self.time += 900
        self.replica()
        self.assertEqual(self.finish(self.call(self.begin())).checked, int(BEGAN) + 900)

    def test_a_second_host_without_a_question(self) -> None:
        """While the session is fresh the provider is not asked, and the id stays the same."""
        first = self.signed_in()
        self.time += 599
        second = self.finish(self.call(self.begin()))
        self.assertEqual(len(self.provider.asked), 2)
        self.assertEqual((second.id, second.checked), (first.id, int(BEGAN)))
        self.assertEqual(second.seen, int(BEGAN) + 599)

    def test_half_an_hour_at_the_provider(self) -> None:
        """The link is checked on arrival only; an hour is enough for anybody."""
        state = self.at_provider(self.call(self.begin()))
        self.time += 30 * 60
        self.assertEqual(self.finish(self.back(state)).auth_time, int(BEGAN) + 1800)

    def test_two_tabs_at_once(self) -> None:
        """Both sign-ins end, in any order, each at its own login."""
        states = [self.at_provider(self.call(self.begin(path=p))) for p in (b"/1", b"/2")]
        for state in reversed(states):
            self.finish(self.back(state))

    def test_a_new_id_at_every_sign_in(self) -> None:
        """A session that was in the browser before gives nothing to the next one."""
        first = self.signed_in()
        self.time += 14 * 3600
        self.assertNotEqual(self.signed_in().id, first.id)

    def test_a_cookie_that_does_not_open(self) -> None:
        """It is no session, breaks nothing, and is cleared."""
        for name in (b"__Host-_pomerium_authenticate", b"__Host-_pomerium_authenticate_3"):
            self.own[name] = b"%3.rubbish"
        self.call(self.begin())
        self.assertFalse([name for name in self.own if b"_authenticate" in name])

    def test_another_provider_in_the_settings(self) -> None:
        """Sessions of the one before it are over."""
        self.signed_in()
        self.provider.issuer = "https://other.example.com"
        self.replica()
        self.assertTrue(location(self.call(self.begin())).startswith("https://other.example.com/"))

    def test_hundreds_of_groups(self) -> None:
        """What a policy names is handed on, and the whole fits where it has to."""
        self.site = attrs.evolve(self.site, groups_named=frozenset({"admins"}))
        self.replica()
        groups = (*(f"{n:036d}" for n in range(3_000)), "admins")
        self.provider.identity = attrs.evolve(ALICE, groups=groups)
        answer = self.back(self.at_provider(self.call(self.begin())))
        self.assertLess(len(location(answer)), 16_000)
        self.assertIn("admins", self.finish(answer).identity.groups)

    def test_an_identity_that_no_session_holds(self) -> None:
        """It is refused here, by name, and not at the route host for ever."""
        self.provider.identity = attrs.evolve(ALICE, subject="x" * 2_000)
        self.failed(self.back(self.at_provider(self.call(self.begin()))), "identity")


class LinkTests(World):
    """Only what a route host signed, for our own routes, is answered."""

    def test_links_that_are_not_good(self) -> None:
        """Unsigned, altered, stale: the page says so, and nothing begins."""
        good = self.begin()
        for url in (
            "/.pomerium/sign_in",
            f"{AUTH}/.pomerium/sign_in?x=y",
            good + "x",
            good.replace("app", "evil"),
            good + "&a=b",
        ):
            answer = self.call(url)
            self.assertEqual(answer.status, 400)
            self.assertIn(b"no longer valid", answer.body)
        self.time += 361
        self.assertEqual(self.call(good).status, 400)
        self.assertEqual(self.provider.asked, [])
        self.assertEqual(self.own, {})

    def test_targets_that_are_not_ours(self) -> None:
        """A signature does not make a stranger's address a target, signed in or not."""
        for signed_in in (False, True):
            if signed_in:
                self.signed_in()
            for to in (
                "https://evil.example/",
                "https://app.example.com.evil.example/",
                "https://app.example.com:8443/",
                "http://app.example.com/",
                "//evil",
                "",
                "https://app.example.com@evil.example/",
                "javascript:alert(1)",
                "https://app.example.com\\@evil.example/",
                "https://evil.example\\.app",
            ):
                asked = SignInRequest(redirect=to, login="id.hash")
                answer = self.call(sign_in_url(SHARED.signed_url, AUTH, asked, self.time))
                self.failed(answer, "redirect-target")

    def test_a_route_that_went_away(self) -> None:
        """Its removal while the person was at the provider is explained."""
        state = self.at_provider(self.call(self.begin()))
        self.authenticate._by_path = {}
        self.authenticate = Authenticate(
            site=self.site,
            shared_keys=SHARED,
            own_keys=OWN,
            provider=self.provider,
            renewals=Renewals(provider=self.provider, now=lambda: self.time),
            forget=self.forgotten.append,
            pages=Pages(),
            now=lambda: self.time,
            random=os.urandom,
            origin_known=lambda *_: False,
        )
        self.failed(self.back(state), "redirect-target")


class RenewalTests(World):
    """From ten minutes on the provider is asked again, and its answer counts."""

    def later(self, seconds: float) -> str:
        """Let time pass with somebody working at the route host, and return the next link."""
        session = self.signed_in()
        self.time += seconds
        return self.begin(attrs.evolve(session, seen=int(self.time) - 1))

    def test_without_noticing(self) -> None:
        """The browser goes to authenticate and back, nowhere else."""
        url = self.later(600)
        self.provider.identity = attrs.evolve(ALICE, groups=("users",))
        session = self.finish(self.call(url))
        self.assertEqual(session.checked, int(BEGAN) + 600)
        self.assertEqual(session.recheck, int(BEGAN) + 1200)
        self.assertEqual(session.identity.groups, ("users",))
        self.assertEqual((session.auth_time, session.expires), (int(BEGAN), int(BEGAN) + 50_400))

    def test_a_second_tab_with_the_old_cookie(self) -> None:
        """A rotated refresh token logs nobody out: the answer is remembered."""
        one, two = self.later(600), self.begin()
        old = Jar(self.own)
        first = self.call(one)
        second = self.call(two, jar=old)
        self.assertEqual(self.provider.asked[2:], ["refresh r1"])
        self.assertEqual(old.keys(), self.own.keys())
        self.assertTrue(location(first).startswith(APP))
        self.assertTrue(location(second).startswith(APP))

    def test_the_new_token_is_the_next_one(self) -> None:
        """What the provider gave last is what it is asked with next."""
        self.call(self.later(600))
        given = self.provider.refresh_token
        self.time += 600
        self.call(self.begin())
        self.assertEqual(self.provider.asked[-1], f"refresh {given}")

    def test_the_provider_is_down(self) -> None:
        """Somebody who was confirmed within the hour goes on, and is asked about in a minute."""
        url = self.later(1800)
        self.provider.error = ProviderError("down")
        session = self.finish(self.call(url))
        self.assertEqual(session.checked, int(BEGAN))
        self.assertEqual(session.recheck, int(BEGAN) + 1860)
        self.provider.error = None
        self.time += 60
        self.assertEqual(self.finish(self.call(self.begin())).checked, int(BEGAN) + 1860)

    def test_the_provider_is_down_for_too_long(self) -> None:
        """After the hour nobody goes on without it; the page says when to come back."""
        url = self.later(3600)
        self.provider.error = ProviderError("down")
        answer = self.call(url)
        self.assertEqual(answer.status, 503)
        self.assertIn(b"retry-after", dict(answer.fields))
        self.provider.error = None
        self.assertEqual(self.finish(self.call(url)).checked, int(BEGAN) + 3600)

    def test_a_token_that_was_used_for_nothing(self) -> None:
        """The next one is kept, whether the session goes on meanwhile or has to wait."""
        for later, status in ((1800, 302), (3600, 503)):
            url = self.later(later)
            self.provider.errors = {"refresh": Unconfirmed("keys are down", f"next-{later}")}
            self.assertEqual(self.call(url).status, status)
            self.provider.errors = {}
            self.time += 61
            self.replica()
            self.finish(self.call(self.begin()))
            self.assertEqual(self.provider.asked[-1], f"refresh next-{later}")
            self.own.clear()

    def test_a_refusal_is_a_new_sign_in(self) -> None:
        """A dead grant, another person, a failed check: the session is over at once."""
        for error in (GrantRefused("dead"), LoginFailed("odd", "id-token-issuer", "Odd.")):
            url = self.later(600)
            self.provider.errors = {"refresh": error}
            self.at_provider(self.call(url))
            self.assertNotIn(b"__Host-_pomerium_authenticate", self.own)
            self.provider.errors = {}
            self.app.clear()
            self.own.clear()

    def test_another_person_is_not_renewed(self) -> None:
        """A refresh that names somebody else ends the session."""
        url = self.later(600)
        self.provider.identity = attrs.evolve(ALICE, subject="mallory")
        self.at_provider(self.call(url))
        self.assertNotIn(b"__Host-_pomerium_authenticate", self.own)

    def test_refused_and_then_down(self) -> None:
        """What was refused does not come back to life because the provider went down."""
        url = self.later(600)

        self.provider.errors = {
            "refresh": GrantRefused("dead"),
            "authorize": ProviderError("down"),
        }
        self.assertEqual(self.call(url).status, 503)
        self.assertNotIn(b"__Host-_pomerium_authenticate", self.own)

    def test_without_a_refresh_token(self) -> None:
        """A provider that gives none is asked by way of the browser."""
        self.provider.refresh_token = None
        url = self.later(600)
        self.finish(self.back(self.at_provider(self.call(url))))
        self.assertFalse([what for what in self.provider.asked if what.startswith("refresh")])

    def test_idle_here_but_not_there(self) -> None:
        """The route host's word counts: somebody who works in one page is not idle."""
        session = self.signed_in()
        self.time += 3700
        self.finish(self.call(self.begin(attrs.evolve(session, seen=int(self.time) - 10))))
        self.assertIn("refresh r1", self.provider.asked)

    def test_idle_everywhere(self) -> None:
        """An hour without anybody is a new sign-in, not a silent renewal."""
        self.signed_in()
        self.time += 3700
        self.at_provider(self.call(self.begin()))
        self.assertFalse([what for what in self.provider.asked if what.startswith("refresh")])

    def test_the_absolute_end(self) -> None:
        """Fourteen hours after the sign-in nothing but a sign-in helps."""
        session = self.signed_in()
        while self.time < BEGAN + 14 * 3600 - 1800:
            self.time += 1800
            session = self.finish(self.call(self.begin(session)))
        self.assertEqual(session.expires, int(BEGAN) + 14 * 3600)
        self.time += 1800
        self.at_provider(self.call(self.begin(session)))


class CallbackTests(World):
    """What comes back from the provider is believed only by the browser that went there."""

    def test_duplicates(self) -> None:
        """A parameter that stands twice is refused before anything is looked at."""
        state = self.at_provider(self.call(self.begin()))
        for name in ("state", "code", "error", "iss"):
            query = f"state={state}&code=c&error=e&iss=i&{name}=x"
            answer = self.call(f"/oauth2/callback?{query}")
            self.assertEqual(answer.status, 400)
        self.assertEqual(self.provider.exchanged, [])

    def test_an_error_of_the_provider(self) -> None:
        """It is named and escaped; the login is over, and the button begins a new one."""
        state = self.at_provider(self.call(self.begin()))
        page = self.failed(
            self.back(state, error="access_denied", error_description="<b>no</b>"),
            "provider-error",
        )
        self.assertIn("access_denied", page)
        self.assertIn("&lt;b&gt;no", page)
        self.assertIn(f'href="{APP}/a"', page)
        self.assertEqual(self.own, {})
        self.assertIn("sign-in failed at provider-error", self.logged())

    def test_a_check_that_fails(self) -> None:
        """The page and the log share its word; the transaction is gone."""
        state = self.at_provider(self.call(self.begin()))
        self.provider.error = LoginFailed("bad nonce", "id-token-nonce", "Start again.")
        self.failed(self.back(state), "id-token-nonce")
        self.assertIn("sign-in failed at id-token-nonce: bad nonce", self.logged())
        self.assertEqual(self.own, {})

    def test_the_provider_is_down(self) -> None:
        """The page may be loaded again: the transaction is still there."""
        state = self.at_provider(self.call(self.begin()))
        self.provider.error = ProviderError("down")
        self.assertEqual(self.back(state).status, 503)
        self.provider.error = None
        self.finish(self.back(state))

    def test_iss_is_passed_on(self) -> None:
        """The provider's own check of the issuer gets what came, or that nothing came."""
        for more in ({"iss": IDP}, {}):
            self.back(self.at_provider(self.call(self.begin())), **more)
            self.assertEqual(self.provider.exchanged[-1]["iss"], more.get("iss"))
            self.own.clear()

    def test_a_lost_cookie_starts_over_once(self) -> None:
        """The first time the browser goes back to its target; the second time it is told."""
        for round_ in (1, 2):
            state = self.at_provider(self.call(self.begin()))
            del self.own[b"__Host-_pomerium_login_" + state.encode()]
            answer = self.back(state)
            if round_ == 1:
                self.assertEqual(location(answer), f"{APP}/a")
        page = self.failed(answer, "state-cookie")
        self.assertIn("more than 60 minutes", page)
        self.assertIn(f'href="{APP}/a"', page)

    def test_starting_over_is_possible_again_later(self) -> None:
        """A loss tomorrow is not explained with today's."""
        for _ in range(2):
            state = self.at_provider(self.call(self.begin()))
            del self.own[b"__Host-_pomerium_login_" + state.encode()]
            self.assertEqual(location(self.back(state)), f"{APP}/a")
            self.time += 600

    def test_starting_over_in_an_hour_to_come(self) -> None:
        """After the clock was set back a loss of then is none of now."""
        self.time += 3600
        for _ in range(2):
            state = self.at_provider(self.call(self.begin()))
            del self.own[b"__Host-_pomerium_login_" + state.encode()]
            self.assertEqual(location(self.back(state)), f"{APP}/a")
            self.time -= 3600

    def test_more_than_an_hour(self) -> None:
        """The cookie no longer counts, even if the browser still sends it."""
        state = self.at_provider(self.call(self.begin()))
        self.time += 3600
        self.assertEqual(location(self.back(state)), f"{APP}/a")
        self.assertEqual(self.provider.exchanged, [])

    def test_no_cookies_at_all(self) -> None:
        """A browser that keeps none gets the explanation at once: there is no loop."""
        state = self.at_provider(self.call(self.begin()))
        self.own.clear()
        page = self.failed(self.back(state), "state-cookie")
        self.assertIn("sent no cookie at all", page)

    def test_another_browser(self) -> None:
        """A code and state of the attacker's sign nobody else in (login CSRF)."""
        state = self.at_provider(self.call(self.begin()))
        victim = Jar({b"other": b"1"})
        answer = self.call(f"/oauth2/callback?state={state}&code=c", jar=victim)
        self.failed(answer, "state-cookie")
        self.assertEqual(self.provider.exchanged, [])

    def test_once(self) -> None:
        """The same callback loaded again does not reach the provider."""
        state = self.at_provider(self.call(self.begin()))
        self.back(state)
        self.failed(self.back(state), "state-cookie")
        self.assertEqual(len(self.provider.exchanged), 1)

    def test_a_transaction_of_another_provider(self) -> None:
        """A sign-in does not end at another provider than it began at (mix-up)."""
        state = self.at_provider(self.call(self.begin()))
        self.provider.issuer = "https://other.example.com"
        self.replica()
        self.failed(self.back(state), "issuer-changed")
        self.assertEqual(self.provider.exchanged, [])

    @settings(max_examples=60)
    @given(st.binary(max_size=60))
    def test_any_query(self, query: bytes) -> None:
        """Whatever a stranger sends, the answer is a page that says what is wrong."""
        answer = self.call(
            "/oauth2/callback?" + query.decode("latin-1").encode("ascii", "ignore").decode()
        )
        self.assertEqual(answer.status, 400)

    def test_methods(self) -> None:
        """HEAD would use the code up; POST is not how the provider answers."""
        for method in (b"HEAD", b"POST", b"PUT"):
            answer = self.call("/oauth2/callback?code=c", method=method)
            self.assertEqual(answer.status, 405)
            self.assertEqual(dict(answer.fields)[b"allow"], b"GET")


class SignOutTests(World):
    """A sign-out ends what can be ended, once it is clear who wants it."""

    def form(self) -> str:
        """Open the page with the button, and return its token."""
        page = self.call("/.pomerium/sign_out").body.decode()
        found = re.search(r'name="pomerium_csrf" value="([^"]*)"', page)
        assert found is not None, page
        return found[1]

    def post(self, token: str) -> Answer:
        """Press the button."""
        body = urlencode({"pomerium_csrf": token}).encode()
        return self.call("/.pomerium/sign_out", method=b"POST", body=body)

    def link(self, session: Session) -> str:
        """Return the link that the route host gives after its own sign-out."""
        return sign_out_url(
            SHARED.signed_url, AUTH, session_id=session.id, redirect=f"{APP}/", now=self.time
        )

    def test_get_asks(self) -> None:
        """A link or an image that leads here signs nobody out."""
        self.signed_in()
        before = dict(self.own)
        self.assertIn(b"alice<wbr>@example.com", self.call("/.pomerium/sign_out").body)
        self.assertEqual(self.own, before)

    def test_post_acts(self) -> None:
        """Tokens are revoked and every cookie of ours is cleared."""
        self.signed_in()
        self.call(self.begin())
        self.time += 700
        answer = self.post(self.form())
        self.assertEqual(answer.status, 200)
        self.assertIn(b"60 minutes", answer.body)
        self.assertEqual(self.own, {})
        self.assertEqual(self.provider.asked[-2:], ["revoke r1", "logout id-t0ken"])

    def test_what_is_open_ends(self) -> None:
        """Whoever acts tells the id of the session, so that its streams end here."""
        first = self.signed_in()
        self.post(self.form())
        second = self.signed_in()
        self.call(self.link(second))
        self.post("x")
        self.assertEqual(self.forgotten, [first.id, second.id])

    def test_post_without_its_token(self) -> None:
        """A form of a stranger's page is refused, and so is another session's token."""
        self.signed_in()
        other = self.form()
        self.own.clear()
        self.app.clear()
        self.signed_in()
        for token in ("", "x", other):
            self.assertEqual(self.post(token).status, 403)
        self.assertIn(b"__Host-_pomerium_authenticate", self.own)
        self.assertEqual(self.provider.asked.count("revoke r1"), 0)

    def test_at_the_provider_too(self) -> None:
        """Where it can, the provider ends its session; the page after it knows the way back."""
        session = self.signed_in()
        self.provider.logout = f"{IDP}/logout"
        url = location(self.call(self.link(session)))
        self.assertTrue(url.startswith(f"{IDP}/logout?state="))
        self.assertEqual(self.own, {})
        page = self.call("/.pomerium/signed_out?" + urlsplit(url).query)
        self.assertIn(b"signed out at your identity provider", page.body)
        self.assertIn(f'href="{APP}/"'.encode(), page.body)

    def test_after_a_form_the_way_on_is_a_page(self) -> None:
        """A redirect would be held against the form's policy."""
        self.signed_in()
        self.provider.logout = f"{IDP}/logout"
        answer = self.post(self.form())
        self.assertEqual(answer.status, 200)
        self.assertTrue(dict(answer.fields)[b"refresh"].startswith(f"0; url={IDP}/logout".encode()))
        self.assertEqual(self.own, {})

    def test_a_link_for_another_session(self) -> None:
        """A route host's link does nothing to a browser with another session: it asks."""
        link = self.link(attrs.evolve(self.signed_in(), id="another"))
        self.assertIn(b"pomerium_csrf", self.call(link).body)
        self.assertIn(b"__Host-_pomerium_authenticate", self.own)

    def test_links_that_are_not_good(self) -> None:
        """Altered, unsigned or stale: it asks."""
        link = self.link(self.signed_in())
        for url in (link + "x", link.partition("&pomerium_issued")[0], "/.pomerium/sign_out?a=b"):
            self.assertIn(b"pomerium_csrf", self.call(url).body)
        self.assertIn(b"pomerium_csrf", self.call(link, method=b"HEAD").body)
        self.time += 361
        self.assertIn(b"pomerium_csrf", self.call(link).body)
        self.assertNotIn("revoke r1", self.provider.asked)

    def test_a_target_that_is_not_ours(self) -> None:
        """The page after it leads to our own routes only."""
        session = self.signed_in()
        link = sign_out_url(
            SHARED.signed_url,
            AUTH,
            session_id=session.id,
            redirect="https://evil.example/",
            now=self.time,
        )
        self.assertNotIn(b"evil", self.call(link).body)

    def test_the_provider_is_down(self) -> None:
        """The session here ends all the same."""
        session = self.signed_in()
        self.provider.error = ProviderError("down")
        self.assertEqual(self.call(self.link(session)).status, 200)
        self.assertEqual(self.own, {})

    def test_nobody_is_signed_in(self) -> None:
        """Then there is nothing to end, and nothing fails."""
        self.assertEqual(self.post("").status, 200)
        self.assertEqual(self.call("/.pomerium/sign_out").status, 200)
        self.assertEqual(self.provider.asked, [])

    def test_a_state_that_is_not_ours(self) -> None:
        """Nobody can make the page say that the provider was told, or lead elsewhere."""
        for query in ("", "?state=x", "?state=a&state=b", "?state=https://evil.example/"):
            page = self.call(f"/.pomerium/signed_out{query}").body
            self.assertNotIn(b"signed out at your identity provider", page)
            self.assertNotIn(b"evil", page)

    def test_json(self) -> None:
        """A program gets JSON, and is not sent to the provider."""
        self.signed_in()
        self.provider.logout = f"{IDP}/logout"
        body = urlencode({"pomerium_csrf": self.form()}).encode()
        answer = self.call(
            "/.pomerium/sign_out",
            method=b"POST",
            body=body,
            fields=[(b"accept", b"application/json")],
        )
        self.assertEqual(json.loads(answer.body)["signed_out"], True)
        self.assertEqual(self.own, {})


class PageTests(World):
    """The other pages at authenticate's host."""

    def test_who(self) -> None:
        """Somebody who is signed in sees as whom; nobody else does."""
        self.assertEqual(self.call("/.pomerium/").status, 401)
        self.signed_in()
        answer = self.call("/.pomerium/")
        self.assertEqual(answer.status, 200)
        self.assertIn(b"alice<wbr>@example.com", answer.body)
        for secret in (b"r1", b"id-t0ken"):
            self.assertNotIn(secret, answer.body)
        self.time += 14 * 3600
        self.assertEqual(self.call("/.pomerium/").status, 401)

    def test_who_as_json(self) -> None:
        """JSON where Accept asks."""
        self.signed_in()
        answer = self.call("/.pomerium/", fields=[(b"accept", b"application/json")])
        self.assertEqual(json.loads(answer.body)["email"], "alice@example.com")

    def test_well_known(self) -> None:
        """Programs find the addresses under Pomerium's names."""
        for path in ("/.well-known/pomerium", "/.well-known/pomerium/"):
            self.assertEqual(
                json.loads(self.call(path).body),
                {
                    "issuer": AUTH,
                    "authentication_callback_endpoint": f"{AUTH}/oauth2/callback",
                    "jwks_uri": f"{AUTH}/.well-known/pomerium/jwks.json",
                },
            )

    def test_home(self) -> None:
        """The slash is added."""
        self.assertEqual(location(self.call("/.pomerium")), "/.pomerium/")

    def test_no_such_page(self) -> None:
        """Other paths are 404, and a part of one of ours is another path."""
        for path in (
            "/",
            "/.pomerium/sign_in/",
            "/x/.pomerium/",
            "/oauth2/callback/",
            "/a?/.pomerium/",
        ):
            self.assertEqual(self.call(path).status, 404)

    def test_methods(self) -> None:
        """Each page takes the methods that it has, and names them."""
        for path, allowed in (
            ("/.pomerium/sign_in", b"GET, HEAD"),
            ("/.pomerium/sign_out", b"GET, HEAD, POST"),
            ("/.pomerium/signed_out", b"GET, HEAD"),
            ("/.pomerium/", b"GET, HEAD"),
            ("/.well-known/pomerium", b"GET, HEAD"),
        ):
            for method in (b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"get"):
                answer = self.call(path, method=method)
                self.assertEqual(answer.status, 405)
                self.assertEqual(dict(answer.fields)[b"allow"], allowed)
