# ruff: noqa: RUF001 - look-alikes are what S6 is about
"""
Sessions and cookies (abuse cases 4.5).

Whatever a stranger plants, tosses, cuts or keeps: a session is one person's, at one host,
for a bounded time, and it ends when it is ended.
"""

from __future__ import annotations

import json
import re
from itertools import permutations, product
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.web.server import NOT_DONE_YET

from pomeriumd.crypto.keys import KeyRing, OwnKeys, SharedKeys
from pomeriumd.crypto.seal import seal
from pomeriumd.crypto.urls import sign_url
from pomeriumd.daemon.build import building
from pomeriumd.http.limits import Limits
from pomeriumd.pieces import finish
from pomeriumd.session.provider import ProviderSession, open_provider, seal_provider
from pomeriumd.session.session import Identity, Session
from pomeriumd.session.token import decode
from tests.support.browser import APP, AUTH, OK, ROUTES, WIKI, Browser, SignInCase
from tests.support.leads import page
from tests.support.provider import PERSON, status
from tests.support.rig import ALICE, MALLORY, NAVIGATION, Chance, Got, parse, request
from tests.support.serving import MemoryClient
from tests.support.settings import COOKIE, ISSUER, SHARED, route

WAITING: dict[str, str] = {
    "S7": "no password is checked here, so there is nobody to guess: the provider does; local "
    "accounts, should they come, bring constant work",
    "S8": "second factors, one-time codes and invitations are the provider's; local accounts, "
    "should they come, bring limits by subject and address, and single use",
}

SHARED_KEYS = SharedKeys.derived([SHARED])
OWN_KEYS = OwnKeys.derived([COOKIE])
SESSION = b"__Host-_pomerium"
OWN = b"__Host-_pomerium_authenticate"
AUTH_HOST = "auth.example.com"
APP_HOST = "app.example.com"
WIKI_HOST = "wiki.example.com"
FORM = (b"content-type", b"application/x-www-form-urlencoded")


SEALS = ("login cookie", "transaction cookie", "trail", "own session", "hand-off", "state")
"""Everything that is sealed on the way of a sign-in and a sign-out."""


class SessionCase(SignInCase):
    """Sessions, looked into with the daemon's own keys."""

    def session(self, browser: Browser | None = None, host: str = APP_HOST) -> Session:
        """Return the session that a browser has at a route host."""
        port = 8443 if host == WIKI_HOST else 443
        return decode(
            (browser or self.browser).at(host)[SESSION].decode(),
            SHARED_KEYS.route_session,
            audience=f"{host}:{port}",
            issuer=AUTH,
            now=self.clock.seconds(),
        )

    def own(self, browser: Browser | None = None) -> ProviderSession:
        """Return the session that a browser has at authenticate."""
        return open_provider(
            OWN_KEYS.session,
            (browser or self.browser).at(AUTH_HOST)[OWN].decode(),
            audience=f"{AUTH_HOST}:443",
            issuer=ISSUER,
        )

    def sealed(self, **more: Any) -> bytes:
        """Return the value of a cookie with a session at authenticate."""
        now = int(self.clock.seconds())
        given: dict[str, Any] = {
            "id": "session-1",
            "identity": ALICE,
            "auth_time": now,
            "checked": now,
            "seen": now,
            "expires": now + 14 * 3_600,
            "refresh_token": "r1",
            "id_token": "i1",
        }
        return seal_provider(
            OWN_KEYS.session,
            ProviderSession(**(given | more)),
            audience=f"{AUTH_HOST}:443",
            issuer=ISSUER,
            random=Chance(count=1 << 20),
        ).encode()

    def csrf(self, url: str, browser: Browser | None = None) -> bytes:
        """Return the token of a sign-out page's form."""
        body = (browser or self.browser).open(f"{url}/.pomerium/sign_out").body
        found = re.search(rb'name="pomerium_csrf" value="([^"]*)"', body)
        assert found is not None, body
        return found[1]

    def press(self, url: str, token: bytes, browser: Browser | None = None) -> Got:
        """Press the sign-out button of a host."""
        return (browser or self.browser).open(
            f"{url}/.pomerium/sign_out", FORM, method=b"POST", body=b"pomerium_csrf=" + token
        )

    def sign_out(self, url: str = APP, browser: Browser | None = None) -> Got:
        """Sign out at a host, and follow the page that leads on."""
        browser = browser or self.browser
        got = self.press(url, self.csrf(url, browser), browser)
        onward = got.field(b"refresh").decode().partition("; url=")[2]
        return browser.follow(onward) if onward else got

    def values(self) -> dict[str, str]:
        """Return a sealed value of each sort, from a sign-in and a sign-out as they happen."""
        browser = self.new_browser()
        url = browser.until(f"{APP}/", f"{AUTH}/oauth2/callback")
        (login,) = [v for (h, n), v in browser.cookies.items() if h == APP_HOST and b"_login_" in n]
        at = browser.at(AUTH_HOST)
        (transaction,) = [v for n, v in at.items() if b"_login_" in n]
        (trail,) = [v for n, v in at.items() if b"_trail" in n]
        last = browser.until(url, f"{APP}/.pomerium/callback/")
        handoff = dict(parse_qsl(urlsplit(last).query))["pomerium_session_encrypted"]
        own = browser.at(AUTH_HOST)[OWN]
        browser.follow(last)
        got = self.press(AUTH, self.csrf(AUTH, browser), browser)
        state = re.search(rb"[?&]state=([A-Za-z0-9_-]+)", got.field(b"refresh"))
        assert state is not None
        texts = (login.decode(), transaction.decode(), trail.decode(), own.decode(), handoff)
        return dict(zip(SEALS, (*texts, state[1].decode()), strict=True))


class FixationTests(SessionCase):
    """S1: nothing that was in a browser before a sign-in is in the session after it."""

    row = "S1"
    VARIANTS = tuple(
        product(
            ("ended", "idle", "of mallory, ended", "rubbish", "empty", "another host's", "pieces"),
            ("both", "app", "authenticate"),
            ("no login", "mallory's login"),
        )
    )

    def planted(self, what: str) -> tuple[bytes, bytes]:
        """Return what somebody plants at app and at authenticate."""
        now = int(self.clock.seconds())
        old = now - 14 * 3_600
        who = MALLORY if "mallory" in what else ALICE
        ended = {"id": "planted", "auth_time": old, "checked": old, "expires": now}
        times = {
            "ended": {**ended, "seen": now},
            "of mallory, ended": {**ended, "seen": now},
            "idle": {"id": "planted", "checked": now - 3_600, "seen": now - 3_600},
        }
        if what in times:
            token = self.rig.token(who, **times[what]).encode()
            return token, self.sealed(identity=who, **times[what])
        return {
            "rubbish": (b"planted", b"planted"),
            "empty": (b"", b""),
            "another host's": (self.rig.token(audience="wiki.example.com:8443").encode(),) * 2,
            "pieces": (b"%3.AAAAAAAA.planted", b"%3.AAAAAAAA.planted"),
        }[what]

    def test_planted_before_a_sign_in(self) -> None:
        """The id is new, the person is who signed in, and what was planted is gone."""
        ids: set[str] = set()
        for what, where, login in self.VARIANTS:
            browser = self.new_browser()
            at_app, at_authenticate = self.planted(what)
            if where in ("both", "app"):
                browser.cookies[APP_HOST, SESSION] = at_app
                browser.cookies[APP_HOST, SESSION + b"_1"] = b"AAAAAAAA.planted"
            if where in ("both", "authenticate"):
                browser.cookies[AUTH_HOST, OWN] = at_authenticate
                browser.cookies[AUTH_HOST, OWN + b"_1"] = b"AAAAAAAA.planted"
            if login == "mallory's login":
                mallory = self.new_browser()
                mallory.until(f"{APP}/evil", f"{AUTH}/oauth2/callback")
                browser.cookies.update({k: v for k, v in mallory.cookies.items() if b"_l" in k[1]})
            got = browser.follow(f"{APP}/")
            self.assertEqual(got.status, 200, (what, where, login))
            session, own = self.session(browser), self.own(browser)
            self.assertEqual(session.identity.subject, "alice")
            self.assertEqual(session.id, own.id)
            self.assertRegex(session.id, r"^[A-Za-z0-9_-]{43}$")
            self.assertNotIn(session.id, ids)
            ids.add(session.id)
            self.assertFalse([v for v in browser.cookies.values() if b"planted" in v])

    def test_a_new_id_at_every_change_of_person(self) -> None:
        """Signed out and in again, somebody else, the same again: no id comes twice."""
        ids: list[str] = []
        for sub in ("alice", "mallory", "alice", "alice"):
            self.provider.person["sub"] = sub
            self.sign_in()
            self.assertEqual(self.session().identity.subject, sub)
            ids.append(self.session().id)
            self.sign_out()
        self.assertEqual(len(set(ids)), len(ids))

    def test_the_way_to_the_provider_clears_what_is_over(self) -> None:
        """A sign-in page that keeps the old cookie would let it come back (CVE-2026-34454)."""
        for what in ("ended", "idle", "rubbish", "pieces"):
            self.browser.cookies[AUTH_HOST, OWN] = self.planted(what)[1]
            self.browser.cookies[AUTH_HOST, OWN + b"_2"] = b"AAAAAAAA.planted"
            self.browser.until(f"{APP}/", f"{ISSUER}/")
            self.assertFalse([n for n in self.browser.at(AUTH_HOST) if n.startswith(OWN)], what)

    def test_somebody_elses_sign_in_is_not_taken_over(self) -> None:
        """Mallory's answer and mallory's hand-off give nobody a session but mallory."""
        for step, begun, signed_in in product(
            (f"{AUTH}/oauth2/callback", f"{APP}/.pomerium/callback/"), (False, True), (False, True)
        ):
            self.start(*self.routes)
            self.provider.person["sub"] = "mallory"
            link = self.new_browser().until(f"{APP}/", step)
            self.provider.person["sub"] = "alice"
            if signed_in:
                self.sign_in()
            if begun:
                self.browser.open(f"{APP}/.pomerium/sign_in")
            self.browser.follow(link)
            if self.browser.has_session():
                self.assertEqual(self.session().identity.subject, "alice")
            if OWN in self.browser.at(AUTH_HOST):
                self.assertEqual(self.own().identity.subject, "alice")
            for asked in self.browser.at_applications:
                self.assertNotIn(b"mallory", asked)


class SignedOutTests(SessionCase):
    """S2: a sign-out ends at the provider first, here at once, elsewhere at the next recheck."""

    row = "S2"
    VARIANTS = tuple(
        product(
            (APP, AUTH),
            ("works", "has none", "fails", "says no"),
            ("kept", "not kept"),
        )
    )
    """Where it is pressed, what revocation does, and whether a thief kept all cookies."""

    def revocation(self, how: str) -> None:
        """Set the provider up."""
        if how == "has none":
            self.provider.metadata["revocation_endpoint"] = None
        elif how == "fails":
            self.provider.answers["/revoke"] = status(500)
        elif how == "says no":
            self.provider.answers["/revoke"] = status(400)

    def test_everything_of_ours_ends(self) -> None:
        """Every cookie of ours at that host and at authenticate is cleared, whatever else fails."""
        for where, how, _ in self.VARIANTS:
            self.start(*self.routes)
            self.revocation(how)
            self.sign_in()
            self.sign_in(f"{WIKI}/")
            refresh = self.own().refresh_token
            got = self.sign_out(where)
            self.assertEqual(self.browser.at(AUTH_HOST), {}, (where, how))
            if where == APP:
                self.assertEqual(self.browser.at(APP_HOST), {}, (where, how))
            revoked = [form["token"] for form in self.provider.forms("/revoke")]
            self.assertEqual(revoked, [] if how == "has none" else [refresh])
            words = page(got).words
            self.assertIn("You are signed out", words)
            self.assertIn("at the latest 60 minutes from now", words)

    def test_the_provider_is_told_before_the_cookies_go(self) -> None:
        """While revocation is under way the browser has been told nothing yet."""
        self.sign_in()
        self.provider.answers["/revoke"] = lambda _: NOT_DONE_YET
        token = self.csrf(AUTH)
        client = self.rig.connect()
        client.sends(
            request(
                b"/.pomerium/sign_out",
                FORM,
                *NAVIGATION,
                (b"cookie", self.browser.field(AUTH_HOST)),
                method=b"POST",
                host=AUTH_HOST.encode(),
                body=b"pomerium_csrf=" + token,
            )
        )
        self.assertEqual(len(self.provider.forms("/revoke")), 1)
        self.assertEqual(client.got(), b"")
        self.clock.advance(4)  # it gives up, and ends the session here all the same
        cleared = parse(client.got()).all(b"set-cookie")
        self.assertTrue(any(c.startswith(OWN + b"=;") for c in cleared))

    def test_other_hosts_end_at_the_next_recheck(self) -> None:
        """A page view there goes to the provider; a script has an hour at the latest."""
        for where, how, kept in self.VARIANTS:
            if how != "works":
                continue
            for navigates in (True, False):
                self.start(*self.routes)
                self.sign_in()
                self.sign_in(f"{WIKI}/")
                thief = self.browser.copy()
                self.sign_out(where)
                browser = thief if kept == "kept" else self.browser
                if kept == "not kept":
                    self.assertIn(SESSION, browser.at(WIKI_HOST))
                self.clock.advance(600 if navigates else 3_600)
                if navigates:
                    self.assertTrue(browser.until(f"{WIKI}/", ISSUER).startswith(ISSUER))
                    self.assertNotIn(OWN, browser.at(AUTH_HOST))
                else:
                    self.assertEqual(browser.open(f"{WIKI}/", navigates=False).status, 401)

    def test_a_kept_cookie_is_not_renewed(self) -> None:
        """Whoever kept authenticate's cookie has no more of it: the provider knows the end."""
        self.sign_in()
        thief = self.browser.copy()
        self.sign_out()
        for passed in (600, 600, 600):
            self.clock.advance(passed)
            kept = thief.copy()
            self.assertTrue(kept.until(f"{APP}/", ISSUER).startswith(f"{ISSUER}/authorize"))
            self.assertNotIn(OWN, kept.at(AUTH_HOST))

    def test_a_kept_cookie_has_an_end_even_where_nobody_can_be_told(self) -> None:
        """Without revocation it is the recheck that counts, as the page says."""
        self.revocation("has none")
        self.sign_in()
        thief = self.browser.copy()
        self.sign_out()
        self.provider.active = False
        self.clock.advance(3_600)
        self.assertEqual(thief.open(f"{APP}/", navigates=False).status, 401)
        self.assertEqual(thief.follow(f"{APP}/").status, 400)

    def test_pages_that_were_open_do_nothing_later(self) -> None:
        """The form of an ended session, posted again, ends nothing and begins nothing."""
        self.sign_in()
        token = self.csrf(APP)
        self.sign_out()
        self.sign_in()
        self.assertEqual(self.press(APP, token).status, 400)
        self.assertTrue(self.browser.has_session())


def _bent(url: str, other: str) -> list[str]:
    """Return a signed URL in other forms, none of which was signed."""
    address, _, query = url.partition("?")
    pairs = query.split("&")
    bent = [
        *(f"{address}?{'&'.join(pairs[:n] + pairs[n + 1 :])}" for n in range(len(pairs))),
        *(f"{address}?{'&'.join([*pairs, pair])}" for pair in pairs),
        *(f"{address}?{'&'.join([pair, *pairs])}" for pair in pairs),
        *(f"{address}?{'&'.join(order)}" for order in permutations(pairs) if list(order) != pairs),
        *(f"{url}{more}" for more in ("x", "&", "=", "&a=b", "%20", "&pomerium_signature=x", "A")),
        *(f"{address}?{more}{query}" for more in ("&", "a=b&", "?", "pomerium_seen=9&")),
        *(url[:-n] for n in (1, 2, 20, 43, 44)),
        url.replace("%2F", "%2f", 1),
        url.replace("%3A", ":", 1),
        url.replace("=", "%3D", 1),
        url.replace("pomerium_", "Pomerium_", 1),
        url.replace("pomerium_", "%70omerium_", 1),
        f"{address}?{other.partition('?')[2].rpartition('&')[0]}&{pairs[-1]}",
        f"{url.rpartition('=')[0]}={other.rpartition('=')[2]}",
        re.sub(r"pomerium_expiry=\d", "pomerium_expiry=9", url),
        re.sub(r"pomerium_expiry=(\d+)", r"pomerium_expiry=\g<1>0", url),
        re.sub(r"pomerium_issued=\d", "pomerium_issued=0", url),
        url.replace("app.example.com", "wiki.example.com", 1),
    ]
    at = range(0, len(query), 5)
    bent += [f"{address}?{query[:n]}{chr(ord(query[n]) ^ 1)}{query[n + 1 :]}" for n in at]
    return [each for each in dict.fromkeys(bent) if each != url]


class SignedTests(SessionCase):
    """S3: a link between our services counts to the letter, for minutes, at one address."""

    row = "S3"
    VARIANTS = tuple(
        ring for ring in ("route_session", "route_login", "handoff", "csrf", "own", "root", "none")
    )
    """Keys with which somebody else could sign."""

    def refuses_sign_in(self, url: str) -> None:
        """Assert that no sign-in begins by this link."""
        browser = self.browser.copy()
        got = browser.open(url)
        self.assertEqual(got.status, 400, url)
        self.assertEqual(self.provider.authorized, [])
        self.assertEqual(browser.at(AUTH_HOST), self.browser.at(AUTH_HOST))

    def refuses_sign_out(self, url: str, *, status_: int = 200) -> None:
        """Assert that a link only asks, and ends nothing."""
        browser = self.browser.copy()
        got = browser.open(url)
        self.assertEqual(got.status, status_, url)
        self.assertIn(OWN, browser.at(AUTH_HOST))
        self.assertEqual(self.provider.forms("/revoke"), [])

    def test_a_bent_sign_in(self) -> None:
        """Every part of it is covered, its order and its spelling too."""
        url = self.browser.until(f"{APP}/a", AUTH)
        other = self.new_browser().until(f"{APP}/b", AUTH)
        bent = _bent(url, other)
        self.assertGreater(len(bent), 120)
        for each in bent:
            self.refuses_sign_in(each)
        self.assertEqual(self.browser.follow(url).status, 200)

    def test_a_bent_sign_out(self) -> None:
        """The same for the link that ends a session without asking again."""
        self.sign_in()
        got = self.press(APP, self.csrf(APP), self.browser.copy())
        url = got.field(b"refresh").decode().partition("; url=")[2]
        for each in _bent(url, url):
            self.refuses_sign_out(each)
        self.browser.follow(url)
        self.assertEqual(len(self.provider.forms("/revoke")), 1)

    def test_it_is_bound_to_its_address(self) -> None:
        """A link to one page signs nothing at another, nor at another host."""
        url = self.browser.until(f"{APP}/", AUTH)
        query = url.partition("?")[2]
        for address in (
            *(f"{AUTH}/.pomerium/sign_out", f"{APP}/.pomerium/sign_out", f"{AUTH}/.pomerium/"),
            *(
                f"{APP}/.pomerium/callback/",
                f"{WIKI}/.pomerium/callback/",
                f"{AUTH}/oauth2/callback",
            ),
        ):
            got = self.browser.copy().open(f"{address}?{query}")
            self.assertIn(got.status, (200, 302, 400, 401), address)
            self.assertFalse(self.browser.has_session())
        self.assertEqual(self.provider.authorized, [])

    def test_it_is_good_for_five_minutes(self) -> None:
        """With a minute for clocks that differ, on either side."""
        url = self.browser.until(f"{APP}/", AUTH)
        self.clock.advance(360)
        self.refuses_sign_in(url)
        now = self.clock.seconds()
        ahead = sign_url(SHARED_KEYS.signed_url, url.partition("&pomerium_issued")[0], now + 61)
        self.refuses_sign_in(ahead)

    def test_another_key(self) -> None:
        """No key but that of signed URLs signs one."""
        plain = self.browser.until(f"{APP}/", AUTH).partition("&pomerium_issued")[0]
        rings: dict[str, KeyRing] = {
            "route_session": SHARED_KEYS.route_session,
            "route_login": SHARED_KEYS.route_login,
            "handoff": SHARED_KEYS.handoff,
            "csrf": SHARED_KEYS.csrf,
            "own": OWN_KEYS.session,
            "root": (SHARED,),
            "none": (b"\0" * 32,),
        }
        for name in self.VARIANTS:
            self.refuses_sign_in(sign_url(rings[name], plain, self.clock.seconds()))

    def test_a_sign_out_of_another_session(self) -> None:
        """Mallory's own link, good as it is, ends nothing in alice's browser."""
        mallory = self.new_browser()
        self.provider.person["sub"] = "mallory"
        self.sign_in(browser=mallory)
        got = self.press(APP, self.csrf(APP, mallory), mallory)
        url = got.field(b"refresh").decode().partition("; url=")[2]
        self.provider.person["sub"] = "alice"
        self.sign_in()
        self.refuses_sign_out(url)


class PieceTests(SessionCase):
    """S4: a cookie in pieces is whole or none, and costs no more than its bytes."""

    row = "S4"
    VARIANTS = tuple(
        dict.fromkeys(
            (
                *("", "%", "%.", "%2", "%2.", "%2.AAAAAAAA", "%2.AAAAAAAA.", "%0.AAAAAAAA.x"),
                *(f"%{count}.AAAAAAAA.x" for count in (1, 2, 3, 4, 5, 6, 9, 10, 99, 10**9, 10**40)),
                *(
                    f"%{count}.AAAAAAAA.x"
                    for count in ("-1", "+2", "02", "2.0", "２", "x", "1e3", " ")
                ),
                *("%2.AAAAAAA.x", "%2.AAAAAAAAA.x", "%2.AAAA%AAA.x", "%%2.AAAAAAAA.x", '"%2.A.x"'),
                *(
                    ".",
                    "..",
                    "...",
                    "=",
                    "==",
                    '""',
                    "eyJ",
                    "eyJ.eyJ.",
                    "%5." + "A" * 3_900,
                    "A" * 7_000,
                ),
                *(
                    "null",
                    "true",
                    "0",
                    "[]",
                    "deleted",
                    "\x7f",
                    "é",
                    "%25",
                    "%2.AAAAAAAA.%2.BBBBBBBB.x",
                ),
            )
        )
    )

    def test_crafted_pieces(self) -> None:
        """At both places: no session, no failure of ours, whatever follows the first piece."""
        for host, name in ((APP_HOST, SESSION), (AUTH_HOST, OWN)):
            for first, others in product(self.VARIANTS, (0, 1, 4, 60)):
                pairs = [name + b"=" + first.encode()]
                pairs += [b"%b_%d=AAAAAAAA.x" % (name, n) for n in range(others)]
                got = self.ask(host, pairs)
                self.assertIn(got.status, (302, 400, 401, 431), (first, others))
                if got.status == 302:
                    self.assertTrue(got.field(b"location").startswith(AUTH.encode()))
        self.assertEqual(self.rig.upstreams.opened, [])

    def ask(self, host: str, pairs: list[bytes]) -> Got:
        """Send cookies."""
        fields = ((b"cookie", b"; ".join(pairs)), *NAVIGATION)
        target = b"/" if host == APP_HOST else b"/.pomerium/"
        client = self.rig.connect()
        client.sends(request(target, *fields, host=host.encode()))
        return parse(client.got())

    def test_thousands_of_cookies(self) -> None:
        """As many as a head holds: answered at once, and without a session."""
        for name in (SESSION, SESSION + b"_1", b"a", b"", SESSION + b"_login_x", OWN):
            for count in (100, 1_000):
                got = self.ask(APP_HOST, [name + b"="] * count)
                self.assertIn(got.status, (302, 401, 431), (name, count))

    def test_a_real_one_in_pieces(self) -> None:
        """Any piece missing, doubled wrongly, or of another's: none. In any order: the session."""
        large = {"groups": [f"group-{n:03d}-{'g' * 40}" for n in range(110)]}
        self.provider.person.update(large)
        self.sign_in()
        other = self.new_browser()
        self.provider.person["sub"] = "mallory"
        self.sign_in(browser=other)
        for host, name in ((APP_HOST, SESSION), (AUTH_HOST, OWN)):
            mine = [n + b"=" + v for n, v in self.browser.at(host).items() if n.startswith(name)]
            mine = [m for m in mine if re.match(re.escape(name) + rb"(_\d)?=", m)]
            theirs = [n + b"=" + v for n, v in other.at(host).items()]
            self.assertGreater(len(mine), 1, host)
            for order in permutations(mine):
                self.assertEqual(self.through(host, list(order)), 200)
            for gone in range(len(mine)):
                left = mine[:gone] + mine[gone + 1 :]
                self.assertNotEqual(self.through(host, left), 200)
                key = mine[gone].partition(b"=")[0]
                swapped = next(pair for pair in theirs if pair.partition(b"=")[0] == key)
                if gone:
                    self.assertNotEqual(self.through(host, [*left, swapped]), 200)
                cut = mine[gone][:-1]
                self.assertNotEqual(self.through(host, [*left, cut]), 200)
                # A sibling's piece beside ours does no harm, on either side of it.
                self.assertEqual(self.through(host, [*mine, key + b"=BBBBBBBB.x"]), 200)
                self.assertEqual(self.through(host, [key + b"=BBBBBBBB.x", *mine]), 200)

    def through(self, host: str, pairs: list[bytes]) -> int:
        """Return the status; the application answers if it is asked."""
        target = b"/" if host == APP_HOST else b"/.pomerium/"
        client = self.rig.connect()
        fields = ((b"cookie", b"; ".join(pairs)),)
        client.sends(request(target, *fields, host=host.encode()))
        octets = client.got()
        if not octets:
            for server in self.rig.upstreams.opened:
                if server.got():
                    server.sends(OK)
            octets = client.got()
        return parse(octets).status


@attrs.define(eq=False)
class Counted:
    """Chance that remembers how much was asked for, and what it gave."""

    chance: Chance = attrs.Factory(Chance)
    given: list[bytes] = attrs.Factory(list)

    def __call__(self, size: int) -> bytes:
        """Return so many bytes."""
        self.given.append(self.chance(size))
        return self.given[-1]


class ChanceTests(SessionCase):
    """S5: what must not be guessed is 128 bits of chance or more, and every seal is its own."""

    row = "S5"
    VARIANTS = SEALS

    def test_chance_is_never_small_and_never_twice(self) -> None:
        """Ids, secrets, nonces: each draw is 16 bytes or more, and all of a sort differ."""
        counted = Counted()
        world = attrs.evolve(self.rig.world, random=counted)
        self.rig.front.swap(finish(building(self.rig.settings, SHARED, world, Limits())))
        seen: dict[str, set[str]] = {name: set() for name in self.VARIANTS}
        for _ in range(30):
            for name, value in self.values().items():
                self.assertNotIn(value[:32], seen[name])  # the nonce stands in front
                seen[name].add(value[:32])
        # Two bytes are the jitter of a provider's back-off; nothing hangs on those.
        sizes = {len(octets) for octets in counted.given} - {2}
        self.assertGreaterEqual(min(sizes), 16)
        self.assertEqual(len({o for o in counted.given if len(o) > 2}), len(counted.given))
        for name in ("state", "nonce", "code_challenge"):
            drawn = [asked[name] for asked in self.provider.authorized]
            self.assertEqual(len(set(drawn)), 30)
        verifiers = {form["code_verifier"] for form in self.provider.forms("/token")}
        self.assertEqual(len(verifiers), 30)

    def test_one_thing_sealed_twice_looks_different(self) -> None:
        """No fixed IV: nobody sees that two seals hold the same."""
        chance = Chance()
        keys = OWN_KEYS.login
        texts = {seal(keys, b"same", context=b"same", random=chance) for _ in range(200)}
        self.assertEqual(len(texts), 200)
        self.assertEqual(len({text[:33] for text in texts}), 200)

    def test_every_bit_counts(self) -> None:
        """A sealed value with any character changed opens nowhere."""
        browser = self.new_browser()
        url = browser.until(f"{APP}/", f"{AUTH}/oauth2/callback")
        (key,) = [k for k in browser.cookies if k[0] == AUTH_HOST and b"_login_" in k[1]]
        whole = browser.cookies[key]
        for at in range(0, len(whole), 3):
            changed = b"A" if whole[at : at + 1] != b"A" else b"B"
            bent = browser.copy()
            bent.cookies[key] = whole[:at] + changed + whole[at + 1 :]
            bent.cookies.pop((AUTH_HOST, b"__Host-_pomerium_trail"))
            self.assertEqual(bent.open(url).status, 400, at)
            self.assertNotIn(OWN, bent.at(AUTH_HOST))
        self.assertEqual(self.provider.forms("/token"), [])
        self.assertEqual(browser.follow(url).status, 200)

    def test_no_module_draws_from_a_weak_source(self) -> None:
        """Nothing of ours imports random, or makes ids of clocks and counters alone."""
        weak = re.compile(r"^\s*(?:import random\b|from random\b|.*\buuid[14]?\b)", re.MULTILINE)
        files = list((Path(__file__).parents[2] / "pomeriumd").glob("**/*.py"))
        self.assertGreater(len(files), 100)
        for file in files:
            self.assertIsNone(weak.search(file.read_text("utf-8")), file)


SPELLINGS = (
    *(str.lower, str.upper, str.title, str.swapcase, str.capitalize),
    lambda text: "".join(c.upper() if n % 2 else c.lower() for n, c in enumerate(text)),
)

FOLDS = {
    "k": "\u212a", "i": "\u0130\u0131", "s": "\u017f", "a": "а\u212b\u00aaａ", "e": "еｅ",
    "o": "о０º", "m": "ｍ", "p": "рｐ", "l": "1|ⅼ", "x": "хⅹ", "c": "сⅽ", "n": "ｎ",
}  # fmt: skip
"""Letters that some folding takes for others."""


class SpellingTests(SessionCase):
    """S6: one person is one person however the address is spelled, and nobody else is."""

    row = "S6"
    VARIANTS = tuple(product(range(len(SPELLINGS)), repeat=2))
    EMAIL = "kim.island@example.com"

    def test_case_does_not_matter(self) -> None:
        """Rule and address in any case: the address is met, by user and by domain."""
        for one, two in self.VARIANTS:
            rule, email = SPELLINGS[one](self.EMAIL), SPELLINGS[two](self.EMAIL)
            domain = SPELLINGS[one]("example.com")
            for rules in ({"allowed_users": (rule,)}, {"allowed_domains": (domain,)}):
                self.assertEqual(self.status_of(rules, email), 200, (rules, email))

    def test_look_alikes_do(self) -> None:
        """Each letter replaced by one that folds to it, or looks so: another address."""
        rules: dict[str, Any] = {
            "allowed_users": (self.EMAIL,),
            "allowed_domains": ("example.com",),
        }
        count = 0
        for at, letter in enumerate(self.EMAIL):
            for other in FOLDS.get(letter, ""):
                email = self.EMAIL[:at] + other + self.EMAIL[at + 1 :]
                user_only = {"allowed_users": (self.EMAIL,)}
                in_domain = at > self.EMAIL.index("@")
                wanted = rules if in_domain else user_only
                self.assertEqual(self.status_of(wanted, email), 403, email)
                count += 1
        self.assertGreater(count, 25)

    def test_a_subject_is_compared_letter_by_letter(self) -> None:
        """Providers give ids that differ in case alone to different people."""
        for spelling in SPELLINGS:
            subject = spelling("kim-Island")
            wanted = 200 if subject == "kim-Island" else 403
            rules = {"allowed_users": ("kim-Island",)}
            self.assertEqual(self.status_of(rules, None, subject), wanted)

    def test_an_address_is_no_subject(self) -> None:
        """Who chose somebody's address for a subject has not verified it."""
        rules = {"allowed_users": (self.EMAIL,)}
        self.assertEqual(self.status_of(rules, None, self.EMAIL), 403)

    def status_of(self, rules: dict[str, Any], email: str | None, subject: str = "kim") -> int:
        """Return what somebody gets at a route with these rules."""
        self.start(route(**rules))
        identity = Identity(issuer=ISSUER, subject=subject, email=email)
        cookie = (b"cookie", self.rig.cookie(identity))
        return self.browser.open(f"{APP}/", cookie, navigates=False).status


class TogetherTests(SessionCase):
    """S9: two people who renew or sign in at one time never get each other's session."""

    row = "S9"
    TEXTS = ("s", "s1", "s1r", "s1r1", "1", "r", "r1", "1r1", "3:s1r", "1:s", "s:1", "\0", "é")
    VARIANTS = tuple(
        (one, two)
        for one, two in product(product(TEXTS, repeat=2), repeat=2)
        if one < two and (one[0] + one[1] == two[0] + two[1] or {*one} == {*two})
    )
    """Pairs of (session id, refresh token) that are one text, or have the same parts."""

    def begin(self, browser: Browser, url: str) -> MemoryClient:
        """Send a request whose answer waits for the provider."""
        parts = urlsplit(url)
        client = self.rig.connect()
        client.sends(
            request(
                f"{parts.path}?{parts.query}".encode(),
                *NAVIGATION,
                (b"cookie", browser.field(parts.netloc)),
                host=parts.netloc.encode(),
            )
        )
        return client

    def held(self) -> list[Any]:
        """Make the token endpoint wait, and return what waits there."""
        waiting: list[Any] = []

        def hold(request_: Any) -> Any:
            waiting.append(request_)
            return NOT_DONE_YET

        self.provider.answers["/token"] = hold
        return waiting

    def release(self, request_: Any, sub: str, nonce: str | None = None) -> None:
        """Answer one of them."""
        request_.write(json.dumps(self.provider.granted({**PERSON, "sub": sub}, nonce)).encode())
        request_.finish()
        self.provider.flush()

    def subject_of(self, client: MemoryClient, browser: Browser) -> str:
        """Follow a hand-off, and return whose session it gave."""
        got = parse(client.got())
        browser.keep(AUTH_HOST, got)
        url = got.field(b"location").decode()
        self.assertTrue(url.startswith(f"{APP}/.pomerium/callback/?"), got)
        browser.open(url)
        return self.session(browser).identity.subject

    def test_renewals_at_one_time(self) -> None:
        """However ids and tokens run together, each browser gets its own person, in any order."""
        self.assertGreater(len(self.VARIANTS), 50)
        old = int(self.clock.seconds()) - 700
        for number, pair in enumerate(self.VARIANTS):
            waiting = self.held()
            browsers, clients = [], []
            for sub, (session_id, token) in zip(("ann", "bob"), pair, strict=True):
                browser = self.new_browser()
                who = attrs.evolve(ALICE, subject=sub)
                browser.cookies[AUTH_HOST, OWN] = self.sealed(
                    id=f"{number}{session_id}", identity=who, refresh_token=token, checked=old
                )
                browsers.append(browser)
                clients.append(self.begin(browser, browser.until(f"{APP}/", AUTH)))
            self.assertEqual(len(waiting), 2, pair)
            order = (0, 1) if number % 2 else (1, 0)
            for which in order:
                self.release(waiting[which], ("ann", "bob")[which])
            for which, sub in enumerate(("ann", "bob")):
                self.assertEqual(self.subject_of(clients[which], browsers[which]), sub, pair)

    def test_sign_ins_at_one_time(self) -> None:
        """Three codes under way: each ends in the browser that brought it, in any order."""
        for order in permutations(range(3)):
            waiting = self.held()
            browsers = [self.new_browser() for _ in range(3)]
            clients, nonces = [], []
            for browser in browsers:
                url = browser.until(f"{APP}/", f"{AUTH}/oauth2/callback")
                nonces.append(self.provider.authorized[-1]["nonce"])
                clients.append(self.begin(browser, url))
            for which in order:
                self.release(waiting[which], f"person-{which}", nonces[which])
            for which, browser in enumerate(browsers):
                self.assertEqual(self.subject_of(clients[which], browser), f"person-{which}")

    def test_two_tabs_of_one_person_share(self) -> None:
        """The same session asks once; that is what the key is for."""
        waiting = self.held()
        self.browser.cookies[AUTH_HOST, OWN] = self.sealed(checked=int(self.clock.seconds()) - 700)
        other = self.browser.copy()
        one = self.begin(self.browser, self.browser.until(f"{APP}/", AUTH))
        two = self.begin(other, other.until(f"{APP}/", AUTH))
        self.assertEqual(len(waiting), 1)
        self.release(waiting[0], "alice")
        self.assertEqual(self.subject_of(one, self.browser), "alice")
        self.assertEqual(self.subject_of(two, other), "alice")


ITS_OWN = b"its own"
"""Stands for the value that a login's cookie has anyway."""


class PlaneTests(SessionCase):
    """S10: a credential of one place opens that place and no other."""

    row = "S10"
    DOORS = (
        *("session at app", "credential at app", "session at authenticate", "hand-off at app"),
        *("form at app", "form at authenticate", "state after sign-out", "login at app"),
        *("transaction", "trail"),
    )
    CREDENTIALS = (
        *("session at app", "session at wiki", "session at authenticate", "hand-off at app"),
        *("form at app", "form at wiki", "form at authenticate", "state after sign-out"),
        *("login at app", "transaction", "trail", "hand-off at wiki", "assertion", "signature"),
        *("ID token", "access token", "refresh token", "client secret"),
    )
    VARIANTS = tuple(product(CREDENTIALS, DOORS))
    OPENS = frozenset(
        {
            *((name, name) for name in DOORS),
            ("session at app", "credential at app"),
        }
    )

    def credentials(self) -> dict[str, str]:
        """Return one of each, of alice's, made as they are made."""
        values = self.values()
        self.sign_in()
        self.sign_in(f"{WIKI}/")
        copy = self.browser.copy()
        at_wiki = copy.until(f"{WIKI}/.pomerium/sign_in", f"{WIKI}/.pomerium/callback/")
        signed = copy.until(f"{APP}/.pomerium/sign_in", AUTH)
        assertion = re.search(rb"jwt-assertion: (\S+)", self.browser.at_applications[0])
        assert assertion is not None
        issued = self.provider.issued
        return {
            "session at app": self.browser.at(APP_HOST)[SESSION].decode(),
            "session at wiki": self.browser.at(WIKI_HOST)[SESSION].decode(),
            "session at authenticate": self.browser.at(AUTH_HOST)[OWN].decode(),
            "hand-off at app": values["hand-off"],
            "hand-off at wiki": dict(parse_qsl(urlsplit(at_wiki).query))[
                "pomerium_session_encrypted"
            ],
            "form at app": self.csrf(APP).decode(),
            "form at wiki": self.csrf(WIKI).decode(),
            "form at authenticate": self.csrf(AUTH).decode(),
            "state after sign-out": values["state"],
            "login at app": values["login cookie"],
            "transaction": values["transaction cookie"],
            "trail": values["trail"],
            "assertion": assertion[1].decode(),
            "signature": signed.rpartition("=")[2],
            "ID token": next(t for t in issued if t.startswith("ey")),
            "access token": next(t for t in issued if t.startswith("access")),
            "refresh token": next(t for t in issued if t.startswith("refresh")),
            "client secret": "provider secret",
        }

    def opens(self, door: str, value: str) -> bool:
        """Say whether a door opens for a value."""
        text = value.encode()
        if door.startswith("form"):
            url = APP if door == "form at app" else AUTH
            return self.press(url, text, self.browser.copy()).status == 200
        if door in ("transaction", "login at app"):
            return self.finishes(door, text)
        browser = self.new_browser()
        if door == "state after sign-out":
            got = browser.open(f"{AUTH}/.pomerium/signed_out?{urlencode({'state': value})}")
            return b"signed out at your identity provider" in got.body
        place, wanted = {
            "session at app": (f"{APP}/", 200),
            "credential at app": (f"{APP}/", 200),
            "session at authenticate": (f"{AUTH}/.pomerium/", 200),
            # Without the login's cookie even a good one only starts over.
            "hand-off at app": (
                f"{APP}/.pomerium/callback/?{urlencode({'pomerium_session_encrypted': value})}",
                302,
            ),
            "trail": (f"{AUTH}/oauth2/callback?state=x&code=x", 302),
        }[door]
        names = {
            "session at app": (APP_HOST, SESSION),
            "session at authenticate": (AUTH_HOST, OWN),
            "trail": (AUTH_HOST, b"__Host-_pomerium_trail"),
        }
        if door in names:
            browser.cookies[names[door]] = text
        field = (b"authorization", b"Pomerium " + text)
        fields = (field,) if door == "credential at app" else ()
        return browser.open(place, *fields, navigates=False).status == wanted

    def finishes(self, door: str, text: bytes) -> bool:
        """Say whether a value, in the place of a login's cookie, finishes that login."""
        browser = self.new_browser()
        step = f"{AUTH}/oauth2/callback" if door == "transaction" else f"{APP}/.pomerium/callback/"
        url = browser.until(f"{APP}/", step)
        host = urlsplit(url).netloc
        (key,) = [k for k in browser.cookies if k[0] == host and b"_login_" in k[1]]
        # Each login has a seal of its own (O5), so that none but its own can open its door.
        if text != ITS_OWN:
            browser.cookies[key] = text
        browser.cookies.pop((AUTH_HOST, b"__Host-_pomerium_trail"), None)
        browser.open(url)
        wanted = (AUTH_HOST, OWN) if door == "transaction" else (APP_HOST, SESSION)
        return wanted in browser.cookies

    def test_every_credential_at_every_door(self) -> None:
        """It opens where it belongs, and nowhere else."""
        credentials = self.credentials()
        self.assertEqual(set(credentials), set(self.CREDENTIALS))
        for name, door in self.VARIANTS:
            value = credentials[name]
            if name == door and door in ("transaction", "login at app"):
                value = ITS_OWN.decode()
            opened = self.opens(door, value)
            self.assertEqual(opened, (name, door) in self.OPENS, (name, door))


@attrs.define(eq=False)
class Tossed(Browser):
    """A browser into which a sibling domain has put cookies that never go away."""

    before: bytes = b""
    after: bytes = b""

    def field(self, host: str) -> bytes:
        """Return the tossed ones around its own."""
        return b"; ".join(filter(None, (self.before, Browser.field(self, host), self.after)))


class TossingTests(SessionCase):
    """S11: cookies that a sibling tossed in neither become the session nor hide it."""

    row = "S11"
    NAMES = (
        *(b"_pomerium", b"__host-_pomerium", b"__HOST-_pomerium", b"__Secure-_pomerium"),
        *(b"__Host-_Pomerium", b"_pomerium_1", b"__Host-_pomerium_", b" __Host-_pomerium"),
        *(b"__Host-_pomerium\t", b"__Host-_pomerium_login_", b"_pomerium_authenticate", b""),
    )
    VARIANTS = tuple(product(NAMES, (1, 3, 40), ("before", "after", "both")))

    def tossed(self, cookies: bytes, where: str) -> Tossed:
        """Return a browser with its own session and these around it."""
        browser = Tossed(self.rig, self.provider, dict(self.browser.cookies))
        browser.before = cookies if where in ("before", "both") else b""
        browser.after = cookies if where in ("after", "both") else b""
        return browser

    def test_other_names_are_not_ours(self) -> None:
        """Mallory's good session under any name that a sibling can set: alice stays alice."""
        self.sign_in()
        token = self.rig.token(MALLORY).encode()
        for name, count, where in self.VARIANTS:
            if name.strip() == SESSION:
                continue  # a browser sends none such; see the next test
            browser = self.tossed(b"; ".join([name + b"=" + token] * count), where)
            got = browser.open(f"{APP}/")
            self.assertEqual(got.status, 200)
            self.assertIn(b"user-id: alice", browser.at_applications[0], (name, where))
            # And alone it is nobody's session.
            alone = Tossed(self.rig, self.provider, {})
            alone.before = name + b"=" + token
            self.assertEqual(alone.open(f"{APP}/", navigates=False).status, 401, name)

    def test_of_one_name_the_one_that_verifies_counts(self) -> None:
        """Rubbish, cut, old or another host's, on either side of the real one."""
        self.sign_in()
        now = int(self.clock.seconds())
        real = self.browser.at(APP_HOST)[SESSION]
        for other in (
            *(b"", b"x", real[:-1], real + b"x", b"%2.AAAAAAAA.x", b'"' + real + b'"', b"deleted"),
            *(self.rig.token(expires=now - 61).encode(), real.swapcase(), real.rpartition(b".")[0]),
            *(self.rig.token(audience="wiki.example.com:8443").encode(), real.replace(b".", b"")),
        ):
            for count, where in product((1, 3), ("before", "after", "both")):
                browser = self.tossed(b"; ".join([SESSION + b"=" + other] * count), where)
                self.assertEqual(browser.open(f"{APP}/", navigates=False).status, 200, other)

    def test_at_authenticate(self) -> None:
        """The same with the session there: its owner is known, and can sign out."""
        self.sign_in()
        real = self.browser.at(AUTH_HOST)[OWN]
        for other, where in product((b"", b"x", real[:-1], real.swapcase()), ("before", "after")):
            browser = self.tossed(OWN + b"=" + other, where)
            self.assertEqual(browser.open(f"{AUTH}/.pomerium/").status, 200)

    def test_no_loop_comes_of_it(self) -> None:
        """More rubbish than is looked at: a sign-in ends on a page that says what is wrong."""
        self.start(*self.routes, cookie_domain="example.com")
        browser = Tossed(self.rig, self.provider)
        browser.before = b"; ".join([b"_pomerium=rubbish-%d" % n for n in range(20)])
        for _ in range(8):
            url = f"{APP}/"
            try:
                got = browser.follow(url)
            except AssertionError:
                continue
            break
        self.assertEqual(got.status, 400)
        self.assertIn(b"<code>session-cookie</code>", got.body)
        self.assertEqual(browser.at_applications, [])

    def test_a_sign_in_clears_pieces_that_were_left(self) -> None:
        """What a new session does not need goes, so that no old piece stays beside it."""
        for number in range(1, 5):
            self.browser.cookies[APP_HOST, SESSION + b"_%d" % number] = b"AAAAAAAA.old"
        self.sign_in()
        self.assertEqual([n for n in self.browser.at(APP_HOST) if b"_pomerium_" in n], [ROUNDS])


ROUNDS = b"__Host-_pomerium_rounds"


class OneHostTests(SessionCase):
    """S12: a cookie of ours is one host's alone, and no application ever reads it."""

    row = "S12"
    VARIANTS: tuple[dict[str, Any], ...] = tuple(
        {"cookie_name": name, "cookie_same_site": same, "cookie_domain": domain}
        for name, same, domain in product(
            ("_pomerium", "s", "A.b"), ("lax", "none"), (None, "example.com")
        )
    )

    def test_attributes(self) -> None:
        """Over a whole sign-in and sign-out, under all settings: each cookie is bounded."""
        for more in self.VARIANTS:
            self.start(*ROUTES[:2], **more)
            self.sign_in()
            self.sign_in(f"{WIKI}/")
            self.clock.advance(700)
            self.browser.follow(f"{APP}/")
            session = more["cookie_name"].encode()
            count = 0
            for _, got in self.browser.shown:
                for text in got.all(b"set-cookie"):
                    name = text.partition(b"=")[0]
                    parts = {part.strip() for part in text.split(b";")[1:]}
                    self.assertLessEqual({b"Path=/", b"Secure", b"HttpOnly"}, parts)
                    same = more["cookie_same_site"].capitalize().encode()
                    self.assertIn(b"SameSite=" + same, parts)
                    domains = [part for part in parts if part.startswith(b"Domain=")]
                    wide = more["cookie_domain"] and re.fullmatch(session + rb"(_\d)?", name)
                    self.assertEqual(domains, [b"Domain=example.com"] if wide else [], text)
                    if not wide:
                        self.assertTrue(name.startswith(b"__Host-" + session), text)
                    count += 1
            self.assertGreater(count, 10)

    def test_no_application_gets_one(self) -> None:
        """Among an application's own cookies, in any order and case of pieces: none goes on."""
        for more in self.VARIANTS:
            self.start(*ROUTES[:2], **more)
            self.sign_in()
            name = more["cookie_name"]
            prefix = f"__Host-{name}"
            ours = [
                *(f"{p}{s}=secret" for p, s in product((name, prefix), ("_1", "_12", "_rounds"))),
                *(f"{prefix}{s}=secret" for s in ("_authenticate", "_authenticate_1", "_trail")),
                *(f"{p}_login_{'0' * 31}=secret" for p in (name, prefix)),
            ]
            theirs = [f"app{n}={n}" for n in range(4)] + [f"{name}x=1", f"x{name}=1"]
            mixed = [each for pair in zip(ours, theirs * 2, strict=False) for each in pair]
            for order in (mixed, mixed[::-1], ours + theirs, theirs + ours):
                field = (b"cookie", "; ".join(order).encode())
                token = self.browser.field(APP_HOST)
                browser = self.new_browser()
                got = browser.open(f"{APP}/", (b"cookie", token + b"; " + field[1]))
                self.assertEqual(got.status, 200)
                (asked,) = browser.at_applications
                cookie = re.search(rb"\r\ncookie: ([^\r]*)", asked)
                assert cookie is not None
                sent = {piece.strip() for piece in cookie[1].split(b";")}
                self.assertEqual(sent, {each.encode() for each in mixed if each in theirs})

    def test_another_applications_session_is_none(self) -> None:
        """A whole domain's cookie is readable by all of it, and still opens one host only."""
        for more in self.VARIANTS:
            self.start(*ROUTES[:2], **more)
            self.sign_in()
            token = self.rig.token().encode()
            name = more["cookie_name"].encode()
            full = name if more["cookie_domain"] else b"__Host-" + name
            field = (b"cookie", full + b"=" + token)
            browser = self.new_browser()
            self.assertEqual(browser.open(f"{APP}/", field, navigates=False).status, 200)
            self.assertEqual(browser.open(f"{WIKI}/", field, navigates=False).status, 401)

    def test_an_application_cannot_set_one(self) -> None:
        """An answer that would put something under a name of ours reaches no browser."""
        self.sign_in()
        client = self.rig.connect()
        for name in ("__Host-_pomerium", "_pomerium", "=_pomerium", " _pomerium ", "_pomerium_1"):
            client.sends(request(b"/", (b"cookie", self.browser.field(APP_HOST))))
            server = next(s for s in self.rig.upstreams.opened if s.got())
            server.sends(
                b"HTTP/1.1 200 OK\r\nset-cookie: " + name.encode() + b"=x; Domain=example.com\r\n"
                b"set-cookie: app=1\r\ncontent-length: 0\r\n\r\n"
            )
            kept = parse(client.got()).all(b"set-cookie")
            self.assertEqual([c for c in kept if b"SameSite" not in c], [b"app=1"], name)

    @settings(max_examples=60)
    @given(
        st.lists(st.sampled_from([b"a=1", b"_pomerium=x", b"__Host-_pomerium=y", b"b", b"=c", b""]))
    )
    def test_any_mixture(self, pieces: list[bytes]) -> None:
        """Whatever stands around it, ours never goes on."""
        token = self.rig.cookie()
        browser = self.new_browser()
        browser.open(f"{APP}/", (b"cookie", b"; ".join([*pieces, token])))
        for asked in browser.at_applications:
            self.assertNotIn(b"_pomerium=", asked)
