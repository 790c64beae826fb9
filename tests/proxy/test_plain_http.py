"""What is answered over plain http: to https, or nothing at all."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.plain_front import PlainFront
from pomeriumd.net.server import ServerConnection
from pomeriumd.proxy.client_address import TrustedProxies
from pomeriumd.proxy.plain_http import PlainHTTP, origins_of
from pomeriumd.settings.addresses import network
from pomeriumd.settings.model import Origin, RouteSettings
from tests.support.rig import Got, Rig, parse, request
from tests.support.serving import MemoryClient
from tests.support.settings import make_settings, route


@attrs.define
class OneChallenge:
    """Knows one token, and keeps what it was asked."""

    asked: list[str] = attrs.Factory(list)

    def key_authorization(self, token: str) -> bytes | None:
        """Return it."""
        self.asked.append(token)
        return b"known.thumb" if token == "known" else None


class BrokenChallenges:
    """Cannot read what it keeps."""

    def key_authorization(self, token: str) -> bytes | None:
        """Fail."""
        raise OSError(f"no file for {token}")


class PlainCase(SynchronousTestCase):
    """A daemon in memory, asked over plain http."""

    def setUp(self) -> None:
        """Start it with two hosts."""
        self.serve(route(), route("wiki.example.com"))

    def serve(self, *routes: RouteSettings, **more: Any) -> None:
        """Start it with these routes."""
        self.rig = Rig(*routes, **more)

    def challenge(self, challenges: Any) -> None:
        """Have challenges answered."""
        built = self.rig.front.built
        here = built.generation
        plain = PlainHTTP.of(built.settings, here.own, here.trusted, here.replies, challenges)
        self.rig.front.swap(attrs.evolve(built, plain_http=plain))

    def connect(self) -> MemoryClient:
        """Open a connection."""
        client = MemoryClient(ServerConnection(PlainFront(self.rig.front)))
        client.protocol.makeConnection(client.transport)
        return client

    def sends(self, octets: bytes) -> Got:
        """Send these bytes and return the answer."""
        client = self.connect()
        client.sends(octets)
        return parse(client.got())

    def ask(self, *args: Any, **more: Any) -> Got:
        """Send a request and return the answer."""
        return self.sends(request(*args, **more))


class RedirectTests(PlainCase):
    """Where requests are led."""

    def test_path_and_query_are_kept(self) -> None:
        """A page view goes to the same place over https, and may be remembered."""
        got = self.ask(b"/a/b;c?x=1&y=%2F?")
        self.assertEqual(
            (got.status, got.field(b"location")),
            (301, b"https://app.example.com/a/b;c?x=1&y=%2F?"),
        )

    def test_the_path_is_the_one_that_rules_see(self) -> None:
        """Dots, doubled slashes and needless escapes are gone before, not after."""
        got = self.ask(b"//evil.example/../%61//b")
        self.assertEqual(got.field(b"location"), b"https://app.example.com/a/b")

    def test_an_empty_query_stays(self) -> None:
        """A question mark with nothing behind it is part of the address."""
        self.assertEqual(self.ask(b"/?").field(b"location"), b"https://app.example.com/?")

    def test_methods(self) -> None:
        """GET and HEAD get 301; all others 308, which keeps method and body."""
        for method in (b"GET", b"HEAD"):
            self.assertEqual(self.ask(method=method).status, 301)
        for method in (b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"):
            self.assertEqual(self.ask(method=method, body=b"x").status, 308)

    def test_the_port_is_that_of_the_settings(self) -> None:
        """The port of `from` is named; the one that was asked counts for nothing."""
        self.serve(route(from_=Origin("https", "app.example.com", 8443)))
        for host in (b"app.example.com", b"app.example.com:80", b"APP.example.com.:8080"):
            self.assertEqual(
                self.ask(host=host).field(b"location"), b"https://app.example.com:8443/"
            )

    def test_authenticate_is_a_host_of_ours(self) -> None:
        """So is that of the sign-in."""
        self.assertEqual(
            self.ask(b"/x", host=b"auth.example.com").field(b"location"),
            b"https://auth.example.com/x",
        )

    def test_other_hosts(self) -> None:
        """An unknown host gets 404, and its name stands nowhere in the answer."""
        for host in (b"other.test", b"127.0.0.1", b"[::1]", b"x.app.example.com", b"example.com"):
            got = self.ask(host=host)
            self.assertEqual((got.status, got.field(b"location")), (404, b""))
            self.assertNotIn(host, got.body + repr(got.fields).encode())

    def test_http_origins_lead_nowhere(self) -> None:
        """Where `from` is http:// there is no https, and no circle."""
        settings = make_settings(route(from_=Origin("http", "app.example.com", 80)))
        self.assertEqual(list(origins_of(settings)), [b"auth.example.com"])

    def test_the_first_route_says_the_port(self) -> None:
        """Of two routes of one host the first counts."""
        first = route(from_=Origin("https", "app.example.com", 8443))
        self.assertEqual(
            origins_of(make_settings(first, route()))[b"app.example.com"],
            "https://app.example.com:8443",
        )

    def test_no_path(self) -> None:
        """What asks for the whole server is led nowhere."""
        self.assertEqual(self.ask(b"*", method=b"OPTIONS").status, 404)

    def test_absolute_form(self) -> None:
        """A whole URL is taken if it names the host that Host names."""
        got = self.ask(b"http://app.example.com/a?b")
        self.assertEqual(got.field(b"location"), b"https://app.example.com/a?b")
        self.assertEqual(self.ask(b"http://wiki.example.com/").status, 400)

    def test_what_came_over_tls_is_not_led_in_circles(self) -> None:
        """A trusted balancer that says https has the wrong port: 421, and no redirect."""
        self.serve(route(), trusted_proxies=(network("203.0.113.0/24"),))
        self.assertIsInstance(self.rig.front.generation.trusted, TrustedProxies)
        self.assertEqual(self.ask(b"/", (b"x-forwarded-proto", b"https")).status, 421)
        self.assertEqual(self.ask(b"/", (b"x-forwarded-proto", b"http")).status, 301)

    def test_what_a_stranger_says_of_tls_counts_for_nothing(self) -> None:
        """Without trusted proxies the field is not looked at."""
        self.assertEqual(self.ask(b"/", (b"x-forwarded-proto", b"https")).status, 301)


class AnswerTests(PlainCase):
    """What all answers have in common."""

    def test_no_hsts(self) -> None:
        """HSTS is not sent over plain http, the other header fields are."""
        for got in (self.ask(), self.ask(host=b"other.test"), self.ask(b"/ping")):
            self.assertEqual(got.field(b"strict-transport-security"), b"")
            self.assertNotEqual(got.field(b"x-frame-options"), b"")

    def test_nobody_stays(self) -> None:
        """Every answer is the last of its connection, and what was sent ahead is not served."""
        client = self.connect()
        client.sends(request() * 3)
        got = client.got()
        self.assertEqual((got.count(b"HTTP/1.1"), b"connection: close" in got.lower()), (1, True))
        self.assertTrue(client.closing)

    def test_a_body_is_not_read(self) -> None:
        """A large upload is answered at its head."""
        got = self.sends(
            b"POST / HTTP/1.1\r\nhost: app.example.com\r\ncontent-length: 99999999\r\n\r\nabc"
        )
        self.assertEqual(got.status, 308)

    def test_what_cannot_be_read(self) -> None:
        """Nonsense gets 400 in plain words."""
        got = self.sends(b"GET / HTTP/1.1\r\nhost: a b<script>\r\n\r\n")
        self.assertEqual((got.status, got.field(b"content-type")[:10]), (400, b"text/plain"))
        self.assertNotIn(b"script", got.body)

    def test_the_head_has_its_time(self) -> None:
        """Half a head is answered 408 when its time is over, as on the main port."""
        client = self.connect()
        client.sends(b"GET / HTTP/1.1\r\nhost: app")
        self.rig.pass_time(self.rig.front.times.head + 2)
        self.assertEqual(parse(client.got()).status, 408)

    def test_the_head_has_its_bound(self) -> None:
        """A head that is too large is 431."""
        fields = [(b"x-%d" % count, b"y" * 4000) for count in range(40)]
        self.assertEqual(self.ask(b"/", *fields).status, 431)

    def test_each_has_a_line(self) -> None:
        """The access log says what was asked and what became of it."""
        self.ask(b"/a?secret=1")
        self.ask(host=b"other.test")
        self.assertEqual(
            [(e.host, e.path, e.status, e.decision, e.error) for e in self.rig.logged],
            [
                (b"app.example.com", b"/a", 301, "redirect", ""),
                (b"other.test", b"/", 404, "own", "NoRoute"),
            ],
        )

    def test_a_reload_counts_at_once(self) -> None:
        """A host that is new is led, one that is gone is not."""
        self.rig.reload(route("new.example.com"))
        self.assertEqual(self.ask(host=b"new.example.com").status, 301)
        self.assertEqual(self.ask().status, 404)


class HealthTests(PlainCase):
    """Pages of our own that balancers ask for."""

    def test_on_any_host(self) -> None:
        """/ping and /healthz answer as on the main port."""
        for path in (b"/ping", b"/healthz"):
            self.assertEqual(self.ask(path, host=b"10.0.0.1").status, 200)
        self.assertEqual(self.ask(b"/ping", method=b"POST", body=b"x").status, 405)

    def test_strangers_are_told_no_more_than_there(self) -> None:
        """What is wrong is for insiders; this client comes from outside."""
        self.assertEqual(self.ask(b"/healthz?verbose").body, b"OK")

    def test_no_other_page(self) -> None:
        """All else of ours is at https."""
        for path in (b"/.pomerium/", b"/.well-known/pomerium/jwks.json", b"/robots.txt"):
            self.assertEqual(self.ask(path).field(b"location"), b"https://app.example.com" + path)


class ChallengeTests(PlainCase):
    """Challenges of an authority that issues certificates."""

    def setUp(self) -> None:
        """Have one under way."""
        super().setUp()
        self.known = OneChallenge()
        self.challenge(self.known)

    def test_a_challenge_is_answered_on_any_host(self) -> None:
        """A certificate may be for more hosts than there are routes."""
        for host in (b"app.example.com", b"other.test"):
            got = self.ask(b"/.well-known/acme-challenge/known", host=host)
            self.assertEqual((got.status, got.body), (200, b"known.thumb"))
            self.assertEqual(got.field(b"content-type"), b"application/octet-stream")

    def test_an_unknown_token_is_like_any_path(self) -> None:
        """Somebody else may order certificates behind us: it is led to https, or nowhere."""
        path = b"/.well-known/acme-challenge/other"
        self.assertEqual(self.ask(path).field(b"location"), b"https://app.example.com" + path)
        self.assertEqual(self.ask(path, host=b"other.test").status, 404)

    def test_what_is_no_token_is_asked_of_nobody(self) -> None:
        """Other characters, a path and a long text never reach whoever reads files."""
        for token in (b"", b"a.b", b"a/b", b"..%2fx", b"a%00", b"a=", b"~", b"k" * 129, b"a;b"):
            self.ask(b"/.well-known/acme-challenge/" + token)
        self.assertEqual(self.known.asked, [])
        self.ask(b"/.well-known/acme-challenge/" + b"k" * 128)
        self.assertEqual(len(self.known.asked), 1)

    def test_other_methods(self) -> None:
        """Only who reads is answered."""
        got = self.ask(b"/.well-known/acme-challenge/known", method=b"POST", body=b"x")
        self.assertEqual((got.status, self.known.asked), (308, []))

    def test_a_fault_of_theirs_is_one_request(self) -> None:
        """It is logged and answered 500, and the next request is answered."""
        self.challenge(BrokenChallenges())
        self.assertEqual(self.ask(b"/.well-known/acme-challenge/known").status, 500)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertEqual(self.ask().status, 301)
