"""The pages of ours on route hosts."""

from __future__ import annotations

import json
from hashlib import sha256
from ipaddress import ip_network
from urllib.parse import parse_qs, urlsplit

import attrs
from twisted.internet.address import IPv4Address
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.crypto import base64url
from pomeriumd.crypto.keys import SharedKeys
from pomeriumd.errors import Problem
from pomeriumd.session.cookies import CookieShape
from pomeriumd.session.handoff import HANDOFF_SECONDS, Handoff, seal_handoff
from pomeriumd.session.pending import PendingLogins
from tests.support.rig import MALLORY, NAVIGATION, Chance, Got, Rig, parse, request
from tests.support.settings import SHARED, route

KEYS = SharedKeys.derived([SHARED])
FORM = (b"content-type", b"application/x-www-form-urlencoded")


class OwnCase(SynchronousTestCase):
    """A daemon in memory with one route for Alice."""

    def setUp(self) -> None:
        """Start it."""
        self.rig = Rig(route(allowed_users=("alice@example.com",)))

    def ask(self, octets: bytes) -> Got:
        """Send a request on a connection of its own, and return the answer."""
        client = self.rig.connect()
        client.sends(octets)
        return parse(client.got())

    def cookie(self) -> tuple[bytes, bytes]:
        """Return a Cookie field with Alice's session."""
        return (b"cookie", self.rig.cookie())


class TextTests(OwnCase):
    """What a daemon at work looks like in a log or a debugger."""

    def test_it_holds_no_secret(self) -> None:
        """Neither the keys nor the tokens of those who are signed in (abuse case A4)."""
        self.rig.connect().sends(request(b"/", self.cookie()))
        text = repr(self.rig.front)
        self.assertIn("Sessions(", text)
        self.assertNotIn(self.rig.token(), text)
        for ring in (KEYS.csrf, KEYS.route_session, KEYS.handoff, KEYS.signed_url):
            self.assertNotIn(repr(ring[0])[2:-1], text)


class EverywhereTests(OwnCase):
    """Health and keys answer on every host, and no upstream is ever asked."""

    def test_they_answer_on_any_host(self) -> None:
        """A balancer's check needs no name of ours."""
        for host in (b"app.example.com", b"auth.example.com", b"10.0.0.9:443", b"elsewhere"):
            for path, body in ((b"/healthz", b"OK"), (b"/ping", b"pomeriumd/")):
                got = self.ask(request(path, host=host))
                self.assertEqual((got.status, got.body[: len(body)]), (200, body))

    def test_insiders_are_told_what_is_wrong(self) -> None:
        """On the machine itself, and at a proxy in front that is trusted; no stranger is."""
        problem = Problem("authorize 10.0.0.7:5443", "cannot be reached; does it run?")
        rig = Rig(route(), trusted_proxies=(ip_network("192.0.2.10"),))
        own = attrs.evolve(rig.front.generation.own, problems=lambda: (problem,))
        rig.front.generation = attrs.evolve(rig.front.generation, own=own)
        through = (b"x-forwarded-for", b"203.0.113.9")
        for peer, fields, told in (
            ("127.0.0.1", (), True),
            ("::1", (), True),
            ("192.0.2.10", (), True),
            ("192.0.2.10", (through,), False),
            ("203.0.113.9", (), False),
            ("203.0.113.9", ((b"x-forwarded-for", b"127.0.0.1"),), False),
        ):
            client = rig.connect(IPv4Address("TCP", peer, 5000))
            client.sends(request(b"/healthz?verbose", *fields))
            got = parse(client.got())
            self.assertEqual((got.status, got.body[:2]), (200, b"OK"))
            self.assertEqual(str(problem).encode() in got.body, told, peer)

    def test_they_take_get_and_head_only(self) -> None:
        """Anything else is 405."""
        for method in (b"POST", b"PUT", b"DELETE", b"OPTIONS"):
            got = self.ask(request(b"/ping", method=method))
            self.assertEqual((got.status, got.field(b"allow")), (405, b"GET, HEAD"))
        self.assertEqual(self.ask(request(b"/ping", method=b"HEAD")).status, 200)

    def test_the_keys_are_published(self) -> None:
        """The JWKS holds one public ES256 key and no private part."""
        got = self.ask(request(b"/.well-known/pomerium/jwks.json"))
        (key,) = json.loads(got.body)["keys"]
        self.assertEqual((key["alg"], key["kty"], key["use"]), ("ES256", "EC", "sig"))
        self.assertNotIn("d", key)

    def test_a_page_is_judged_by_its_whole_path(self) -> None:
        """Words of ours in a query or inside a path decide nothing (CVE-2023-33189)."""
        for target in (
            b"/secret?x=/.pomerium/",
            b"/secret/.pomerium/",
            b"/a/.pomerium",
            b"/ping/",
            b"/x/ping",
            b"/healthz.html",
            b"/secret?/ping",
        ):
            self.assertIn(self.ask(request(target)).status, (401, 404), target)
        self.assertEqual(self.rig.upstreams.opened, [])

    def test_an_unknown_page_of_ours_is_404(self) -> None:
        """What begins like ours never reaches an upstream, signed in or not."""
        for path in (b"/.pomerium/x", b"/.pomerium/admin", b"/.pomerium/callback/x"):
            self.assertEqual(self.ask(request(path, self.cookie())).status, 404, path)
        self.assertEqual(self.rig.upstreams.opened, [])

    def test_pages_of_a_person_need_a_host_of_ours(self) -> None:
        """On a host without a route there is nobody to be."""
        for path in (b"/.pomerium/", b"/.pomerium/sign_in", b"/.pomerium/sign_out"):
            self.assertEqual(self.ask(request(path, host=b"elsewhere")).status, 404)


class HeaderTests(OwnCase):
    """The header fields of the settings stand on our own answers too, each once."""

    def test_every_answer_of_ours_has_them(self) -> None:
        """Pages, redirects, errors and health; a field that a page sets itself stays."""
        for octets in (
            request(b"/ping"),
            request(b"/", *NAVIGATION),
            request(b"/"),
            request(b"/.pomerium/sign_out", self.cookie(), *NAVIGATION),
            request(b"/", host=b"auth.example.com"),
            b"GET / HTTP/1.1\r\n\r\n",
        ):
            got = self.ask(octets)
            for name, value in (
                (b"strict-transport-security", b"max-age=31536000; includeSubDomains"),
                (b"x-frame-options", b"SAMEORIGIN"),
                (b"x-content-type-options", b"nosniff"),
            ):
                self.assertEqual(got.field(name), value, (octets, name))


class WhoTests(OwnCase):
    """Who am I?"""

    def test_it_shows_who_is_signed_in(self) -> None:
        """Name and groups are there; the token is not."""
        name, value = self.cookie()
        got = self.ask(request(b"/.pomerium/", (name, value), *NAVIGATION))
        self.assertIn(b"alice<wbr>@example.com", got.body)
        self.assertIn(b"staff", got.body)
        self.assertNotIn(value.partition(b"=")[2], got.body)

    def test_a_stranger_signs_in_and_comes_back(self) -> None:
        """Without a session a page view goes to sign in; a script gets 401."""
        self.assertEqual(self.ask(request(b"/.pomerium/", *NAVIGATION)).status, 302)
        self.assertEqual(self.ask(request(b"/.pomerium/")).status, 401)

    def test_somebody_denied_may_still_see_it(self) -> None:
        """Who a route refuses can see as whom, and sign out."""
        cookie = (b"cookie", self.rig.cookie(MALLORY))
        self.assertEqual(self.ask(request(b"/.pomerium/", cookie, *NAVIGATION)).status, 200)


class SignInTests(OwnCase):
    """The address that a script sends its window to."""

    def test_it_comes_back_to_where_it_is_told(self) -> None:
        """A target at this very host is kept."""
        got = self.ask(
            request(
                b"/.pomerium/sign_in?pomerium_redirect_uri=https%3A%2F%2Fapp.example.com%2Fa%3Fb"
            )
        )
        self.assertEqual(self.target(got), "https://app.example.com/a?b")

    def test_it_never_goes_elsewhere(self) -> None:
        """Another origin, however written, ends at our own root or is refused."""
        for elsewhere in (
            "https%3A%2F%2Fevil.example",
            "%2F%2Fevil.example",
            "https%3A%2F%2Fapp.example.com.evil.example%2F",
            "https%3A%2F%2Fapp.example.com%40evil.example%2F",
            "http%3A%2F%2Fapp.example.com%2F",
            "javascript%3Aalert(1)",
            "%5C%5Cevil.example",
            "https%3A%2F%2Fauth.example.com%2F",
        ):
            target = b"/.pomerium/sign_in?pomerium_redirect_uri=" + elsewhere.encode()
            got = self.ask(request(target))
            if got.status == 302:
                self.assertEqual(self.target(got), "https://app.example.com/", elsewhere)
            else:
                self.assertEqual(got.status, 400, elsewhere)

    def target(self, got: Got) -> str:
        """Return where a sign-in will come back to."""
        query = parse_qs(urlsplit(got.field(b"location").decode()).query)
        return query["pomerium_redirect_uri"][0]


class CallbackTests(OwnCase):
    """A hand-off becomes a session, for the browser that began the login and no other."""

    def begin(self) -> tuple[bytes, str]:
        """Begin a login; return its cookie, and the login's name for authenticate."""
        got = self.ask(request(b"/a?b", *NAVIGATION))
        query = parse_qs(urlsplit(got.field(b"location").decode()).query)
        return got.field(b"set-cookie").partition(b";")[0], query["pomerium_login"][0]

    def back(self, login: str, *cookies: bytes, **more: object) -> Got:
        """Come back from authenticate."""
        now = int(self.rig.clock.seconds())
        sealed = seal_handoff(
            KEYS.handoff,
            Handoff(
                session=self.rig.session(**more),  # type: ignore[arg-type]
                login=login,
                redirect="https://app.example.com/a?b",
                expires=now + HANDOFF_SECONDS,
            ),
            random=Chance(),
        )
        return self.ask(
            request(
                b"/.pomerium/callback/?pomerium_session_encrypted=" + sealed.encode(),
                *((b"cookie", cookie) for cookie in cookies),
                *NAVIGATION,
            )
        )

    def test_it_ends_where_it_began(self) -> None:
        """The session's cookie is set, the login's is cleared, and the browser goes on."""
        cookie, login = self.begin()
        got = self.back(login, cookie)
        self.assertEqual(got.field(b"location"), b"https://app.example.com/a?b")
        session = self.session_of(got)
        (cleared,) = [c for c in got.all(b"set-cookie") if b"_login_" in c]
        self.assertIn(b"Max-Age=0", cleared)
        for attribute in (b"Secure", b"HttpOnly", b"SameSite=Lax", b"Path=/"):
            self.assertIn(attribute, session)

    def test_the_new_session_lets_through(self) -> None:
        """The cookie that was set is a session."""
        cookie, login = self.begin()
        got = self.back(login, cookie)
        session = self.session_of(got)
        client = self.rig.connect()
        client.sends(request(b"/", (b"cookie", session.partition(b";")[0])))
        self.assertIn(b"GET / HTTP/1.1", self.rig.upstreams.last.got())

    def session_of(self, got: Got) -> bytes:
        """Return the one field that sets a session."""
        (session,) = [c for c in got.all(b"set-cookie") if c.startswith(b"__Host-_pomerium=ey")]
        return session

    def test_a_sealed_target_is_asked_about_too(self) -> None:
        """What a login's cookie says under our own seal leads to this host, or nowhere."""
        now = self.rig.clock.seconds()
        logins = PendingLogins(
            shape=CookieShape(name="_pomerium"),
            keys=KEYS.route_login,
            audience="app.example.com:443",
        )
        for to, status in (("https://evil.example/", 302), ("//evil.example/", 400)):
            content = {"secret": "s", "target": to}
            login, ((_, text),) = logins.begin((), content, now=now, random=Chance())
            digest = base64url.encode(sha256(b"pomeriumd login\ns").digest())
            got = self.back(f"{login}.{digest}", text.partition(b";")[0])
            self.assertEqual(got.status, status)
            self.assertIn(got.field(b"location"), (b"https://app.example.com/", b""))

    def test_somebody_elses_hand_off_signs_nobody_in(self) -> None:
        """Another login's hand-off, with or without a login of one's own, sets no session."""
        mine, _ = self.begin()
        _, theirs = self.begin()
        for cookies in ((mine,), ()):
            got = self.back(theirs, *cookies)
            self.assertFalse(
                [c for c in got.all(b"set-cookie") if c.startswith(b"__Host-_pomerium=")]
            )

    def test_without_its_cookie_it_starts_over_once(self) -> None:
        """A callback whose cookie is missing begins anew; the second time it explains."""
        _, login = self.begin()
        got = self.back(login)
        self.assertEqual(got.status, 302)
        query = parse_qs(urlsplit(got.field(b"location").decode()).query)
        self.assertEqual(query["pomerium_redirect_uri"], ["https://app.example.com/a?b"])
        again = self.back(query["pomerium_login"][0])
        self.assertEqual(again.status, 400)
        self.assertIn(b"login-cookie", again.body)

    def test_a_late_tab_adopts_the_session(self) -> None:
        """Without its cookie but with a session, a second tab goes where it wanted to."""
        _, login = self.begin()
        got = self.back(login, self.rig.cookie())
        self.assertEqual(
            (got.status, got.field(b"location")), (302, b"https://app.example.com/a?b")
        )

    def test_garbage_is_explained(self) -> None:
        """A link that is not ours gives 400 and no session."""
        for query in (b"", b"?pomerium_session_encrypted=", b"?pomerium_session_encrypted=x"):
            got = self.ask(request(b"/.pomerium/callback/" + query, *NAVIGATION))
            self.assertEqual((got.status, got.all(b"set-cookie")), (400, []), query)

    def test_a_parameter_twice_is_refused(self) -> None:
        """Whichever of two a reader takes, ours takes neither (O15)."""
        got = self.ask(
            request(
                b"/.pomerium/callback/?pomerium_session_encrypted=a&pomerium_session_encrypted=b"
            )
        )
        self.assertEqual(got.status, 400)


class SignOutTests(OwnCase):
    """Signing out needs a button; a link does nothing."""

    def test_a_link_signs_nobody_out(self) -> None:
        """GET shows the button, and clears nothing."""
        got = self.ask(request(b"/.pomerium/sign_out", self.cookie(), *NAVIGATION))
        self.assertEqual((got.status, got.all(b"set-cookie")), (200, []))
        self.assertIn(b'method="post"', got.body)

    def test_the_button_signs_out(self) -> None:
        """POST with the page's token clears the cookie and goes on to authenticate."""
        got = self.press(self.token())
        self.assertEqual(got.status, 200)
        self.assertTrue(got.field(b"set-cookie").startswith(b"__Host-_pomerium=;"))
        self.assertIn(b"https://auth.example.com/.pomerium/sign_out?", got.field(b"refresh"))

    def test_a_forged_form_signs_nobody_out(self) -> None:
        """Without the session's own token nothing is cleared."""
        for token in (b"", b"x", self.token()[:-1], self.token() + b"x"):
            got = self.press(token)
            self.assertEqual((got.status, got.all(b"set-cookie")), (400, []), token)

    def test_a_large_form_is_refused(self) -> None:
        """A form is bounded, announced or not."""
        got = self.press(b"x" * 70_000)
        self.assertEqual(got.status, 413)

    def test_other_methods_are_refused(self) -> None:
        """PUT is no way to sign out."""
        got = self.ask(request(b"/.pomerium/sign_out", self.cookie(), method=b"PUT"))
        self.assertEqual(got.status, 405)

    def token(self) -> bytes:
        """Return the token that the page has."""
        page = self.ask(request(b"/.pomerium/sign_out", self.cookie(), *NAVIGATION)).body
        return (
            page.partition(b'name="pomerium_csrf"')[2].partition(b'value="')[2].partition(b'"')[0]
        )

    def press(self, token: bytes) -> Got:
        """Press the button."""
        return self.ask(
            request(
                b"/.pomerium/sign_out",
                self.cookie(),
                FORM,
                *NAVIGATION,
                method=b"POST",
                body=b"pomerium_csrf=" + token,
            )
        )
