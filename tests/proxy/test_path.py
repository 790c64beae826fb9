"""The way of a request, whole and in memory: from a client's bytes to an upstream's and back."""

from __future__ import annotations

import json
from ipaddress import ip_network

import attrs
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.access.decision import Allow, Deny, SignIn
from pomeriumd.errors import Undecided
from pomeriumd.settings.model import RouteSettings
from tests.support.elsewhere import Elsewhere, ElsewhereRig
from tests.support.rig import ALICE, MALLORY, NAVIGATION, Got, Rig, parse, request
from tests.support.serving import MemoryClient
from tests.support.settings import route

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-App: yes\r\n\r\nok"
FOR_ALICE = route(allowed_users=("alice@example.com",))
PUBLIC = route(allow_public_unauthenticated_access=True)


class PathCase(SynchronousTestCase):
    """A daemon in memory with one route for Alice."""

    routes: tuple[RouteSettings, ...] = (FOR_ALICE,)

    def setUp(self) -> None:
        """Start it, and connect."""
        self.rig = Rig(*self.routes)
        self.client = self.rig.connect()

    def ask(self, octets: bytes, client: MemoryClient | None = None) -> Got:
        """Send a request that is answered by us, and return the answer."""
        client = client or self.client
        client.sends(octets)
        return parse(client.got())

    def through(self, octets: bytes, answer: bytes = OK) -> tuple[bytes, Got]:
        """Send a request that goes through, and return what the upstream and the client got."""
        self.client.sends(octets)
        asked = self.rig.upstreams.last.got()
        self.rig.upstreams.last.sends(answer)
        return asked, parse(self.client.got())

    def later(self, seconds: float) -> None:
        """Let time pass, and connect anew."""
        self.rig.clock.advance(seconds)
        self.client = self.rig.connect()

    def cookie(self, *args: object, **more: object) -> tuple[bytes, bytes]:
        """Return a Cookie field with a session."""
        return (b"cookie", self.rig.cookie(*args, **more))  # type: ignore[arg-type]


class DecisionTests(PathCase):
    """Who is let through, who is asked to sign in, who is refused; and how each is told."""

    def test_somebody_allowed_reaches_the_application(self) -> None:
        """A session of somebody listed: the request goes through, and the answer comes back."""
        asked, got = self.through(request(b"/a?b=c", self.cookie()))
        self.assertTrue(asked.startswith(b"GET /a?b=c HTTP/1.1\r\nhost: 10.0.0.1:8080\r\n"))
        self.assertEqual((got.status, got.field(b"x-app"), got.body), (200, b"yes", b"ok"))

    def test_the_application_learns_who_it_is(self) -> None:
        """Assertion, id, e-mail and groups arrive, each once."""
        asked, _ = self.through(request(b"/", self.cookie()))
        for field in (
            b"\r\nx-pomerium-jwt-assertion: ey",
            b"\r\nx-pomerium-authenticated-user-id: alice\r\n",
            b"\r\nx-pomerium-authenticated-user-email: alice@example.com\r\n",
            b"\r\nx-pomerium-authenticated-user-groups: staff\r\n",
        ):
            self.assertEqual(asked.count(field), 1, field)

    def test_our_cookies_stay_with_us(self) -> None:
        """The session never reaches the application; its own cookies do."""
        name, ours = self.cookie()
        asked, _ = self.through(request(b"/", (name, b"app=1; " + ours + b"; other=2")))
        self.assertNotIn(b"_pomerium", asked)
        self.assertIn(b"cookie: app=1; other=2\r\n", asked)

    def test_a_stranger_who_navigates_goes_to_sign_in(self) -> None:
        """No session, a page view: a signed redirect to authenticate, and a login's cookie."""
        got = self.ask(request(b"/a?b=c", *NAVIGATION))
        self.assertEqual(got.status, 302)
        self.assertTrue(
            got.field(b"location").startswith(
                b"https://auth.example.com/.pomerium/sign_in?"
                b"pomerium_redirect_uri=https%3A%2F%2Fapp.example.com%2Fa%3Fb%3Dc&"
            )
        )
        self.assertTrue(got.field(b"set-cookie").startswith(b"__Host-_pomerium_login_"))
        self.assertEqual(got.field(b"cache-control"), b"no-store")
        self.assertEqual(self.rig.upstreams.opened, [])

    def test_a_script_without_a_session_gets_401(self) -> None:
        """What is no navigation is never redirected to another origin: 401, in JSON."""
        for fields in (
            ((b"sec-fetch-mode", b"cors"), (b"accept", b"application/json")),
            ((b"x-requested-with", b"XMLHttpRequest"), (b"accept", b"application/json")),
            ((b"accept", b"application/json"),),
        ):
            got = self.ask(request(b"/api", *fields), self.rig.connect())
            self.assertEqual(got.status, 401)
            self.assertEqual(
                json.loads(got.body)["sign_in_url"], "https://app.example.com/.pomerium/sign_in"
            )

    def test_somebody_not_allowed_is_told_why(self) -> None:
        """A session of somebody else: 403, with who, the reason and the request's id."""
        got = self.ask(request(b"/", self.cookie(MALLORY), *NAVIGATION))
        self.assertEqual(got.status, 403)
        self.assertIn(b"mallory<wbr>@example.org", got.body)
        self.assertIn(b"rig-00000001", got.body)
        self.assertEqual(self.rig.upstreams.opened, [])
        self.assertEqual(self.rig.logged[0].decision, "deny")
        self.assertIn("email-unauthorized", self.rig.logged[0].reasons)

    def test_an_unknown_host_is_404(self) -> None:
        """No route: nothing is asked of anybody."""
        got = self.ask(request(b"/", *NAVIGATION, host=b"other.example.com"))
        self.assertEqual(got.status, 404)
        self.assertEqual(self.rig.upstreams.opened, [])

    def test_a_session_of_another_host_is_none(self) -> None:
        """A token made out to another host lets nobody in here."""
        got = self.ask(request(b"/", self.cookie(ALICE, audience="other.example.com:443")))
        self.assertEqual(got.status, 401)

    def test_a_flipped_bit_is_no_session(self) -> None:
        """A token changed in any one character lets nobody in."""
        good = self.rig.token()
        step = max(1, len(good) // 40)
        for place in range(0, len(good), step):
            other = "A" if good[place] != "A" else "B"
            bad = good[:place] + other + good[place + 1 :]
            got = self.ask(
                request(b"/", (b"cookie", b"__Host-_pomerium=" + bad.encode())), self.rig.connect()
            )
            self.assertEqual(got.status, 401, place)

    def test_a_header_brings_a_session_too(self) -> None:
        """Authorization: Pomerium works for programs, in any case, and ends at us."""
        for scheme in (b"Pomerium ", b"pomerium ", b"POMERIUM "):
            field = (b"authorization", scheme + self.rig.token().encode())
            asked, got = self.through(request(b"/", field))
            self.assertEqual(got.status, 200)
            self.assertNotIn(b"\r\nauthorization:", asked)

    def test_a_bad_cookie_does_not_hide_a_good_header(self) -> None:
        """Each way is judged on its own."""
        for cookie in (b"garbage", b"", b"%9.x.y", self.rig.token(expires=1).encode()):
            _, got = self.through(
                request(
                    b"/",
                    (b"cookie", b"__Host-_pomerium=" + cookie),
                    (b"authorization", b"Pomerium " + self.rig.token().encode()),
                )
            )
            self.assertEqual(got.status, 200, cookie)

    def test_the_log_has_no_query(self) -> None:
        """The access line names path and user, and nothing of the query."""
        self.through(request(b"/a?secret=hush", self.cookie()))
        entry = self.rig.logged[0]
        self.assertEqual((entry.path, entry.user, entry.status), (b"/a", "alice@example.com", 200))
        self.assertNotIn("hush", repr(entry))


class NoDecision:
    """An authorizer that is broken, or newer than we are."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def decide(self, *asked: object) -> object:
        """Return what is no decision of ours; or raise."""
        del asked
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class ElsewhereTests(SynchronousTestCase):
    """The same decisions, made by an authorize service: nothing on the way differs."""

    def setUp(self) -> None:
        """Start a daemon that asks, and connect."""
        self.elsewhere = Elsewhere()
        self.rig = ElsewhereRig(FOR_ALICE, elsewhere=self.elsewhere)
        self.client = self.rig.connect()
        self.alice = request(b"/", (b"cookie", self.rig.cookie()), *NAVIGATION)

    def test_allowed(self) -> None:
        """Nothing goes to the application before the answer; then it does, with the identity."""
        self.client.sends(self.alice)
        self.assertEqual(self.rig.upstreams.opened, [])
        self.rig.clock.advance(0.25)
        self.elsewhere.last.gives(Allow(("email-ok",)))
        asked = self.rig.upstreams.last.got()
        self.assertIn(b"\r\nx-pomerium-authenticated-user-email: alice@example.com\r\n", asked)
        self.rig.upstreams.last.sends(OK)
        self.assertEqual(parse(self.client.got()).status, 200)
        entry = self.rig.logged[0]
        self.assertEqual(
            (entry.decision, entry.reasons, entry.decision_ms), ("allow", ("email-ok",), 250)
        )

    def test_known_from_before(self) -> None:
        """The second request waits for nobody."""
        for _ in range(2):
            self.client.sends(self.alice)
            for asked in self.elsewhere.open:
                asked.gives()
            self.rig.upstreams.last.sends(OK)
            self.assertEqual(parse(self.client.got()).status, 200)
        self.assertEqual(len(self.elsewhere.asked), 1)

    def test_denied(self) -> None:
        """The page says the reasons that came with the answer."""
        self.client.sends(self.alice)
        self.elsewhere.last.gives(Deny(("groups-unauthorized",)))
        got = parse(self.client.got())
        self.assertEqual(got.status, 403)
        self.assertIn(b"You are in none of the groups that may open this page.", got.body)
        self.assertEqual(self.rig.upstreams.opened, [])

    def test_sign_in(self) -> None:
        """Nobody is asked about as nobody; a page view goes to sign in, a script gets 401."""
        for fields, status in ((NAVIGATION, 302), ((), 401)):
            client = self.rig.connect()
            client.sends(request(b"/", *fields))
            for asked in self.elsewhere.open:
                self.assertEqual(asked.question.token, "")
                asked.gives(SignIn(("user-unauthenticated",)))
            self.assertEqual(parse(client.got()).status, status)
        self.assertEqual(len(self.elsewhere.asked), 1)

    def test_undecided(self) -> None:
        """503 with a page that says so; the upstream is never asked."""
        self.client.sends(self.alice)
        self.rig.clock.advance(0.5)
        self.elsewhere.last.answer.errback(Undecided("no replica answers"))
        got = parse(self.client.got())
        self.assertEqual(got.status, 503)
        self.assertIn(b"It cannot be decided at the moment whether you may open", got.body)
        self.assertEqual(self.rig.upstreams.opened, [])
        entry = self.rig.logged[0]
        self.assertEqual((entry.error, entry.decision, entry.decision_ms), ("Undecided", "", 500))

    def test_an_outage_is_no_flood_of_lines(self) -> None:
        """Each request has its access line; the log has one line with what to do."""
        log = EventLoggingObserver.createWithCleanup(
            self,  # type: ignore[arg-type]  # of a test it needs addCleanup alone
            globalLogPublisher,
        )
        for _ in range(3):
            client = self.rig.connect()
            client.sends(self.alice)
            self.elsewhere.last.answer.errback(Undecided("no replica answers"))
        self.assertEqual(len(self.rig.logged), 3)
        (line,) = log
        self.assertIn("no replica answers; do the hosts of authorize_service_url", line["error"])

    def test_a_client_that_leaves(self) -> None:
        """It takes its question along, and whatever comes of that harms nobody."""
        self.client.sends(self.alice)
        self.client.leaves()
        self.assertTrue(self.elsewhere.last.cancelled)
        entry = self.rig.logged[0]
        self.assertEqual((entry.status, entry.error), (499, "ClientGone"))
        self.assertEqual(self.rig.upstreams.opened, [])

    def test_one_of_two_leaves(self) -> None:
        """The other one, who asks the same, gets the answer."""
        other = self.rig.connect()
        for client in (self.client, other):
            client.sends(self.alice)
        self.client.leaves()
        self.elsewhere.last.gives(Deny(("email-unauthorized",)))
        self.assertEqual(parse(other.got()).status, 403)
        self.assertEqual([entry.status for entry in self.rig.logged], [499, 403])

    def test_a_body_waits(self) -> None:
        """What the client sends meanwhile is held back, and reaches the application whole."""
        self.client.sends(
            request(b"/", (b"cookie", self.rig.cookie()), method=b"POST", body=b"hello")
        )
        self.elsewhere.last.gives()
        self.assertTrue(self.rig.upstreams.last.got().endswith(b"\r\n\r\nhello"))

    def test_what_is_no_decision(self) -> None:
        """An answer that is none of ours: 500, and the upstream is never asked."""
        for answer in (None, True, "allow"):
            self.client = self.rig.connect()
            self.client.sends(self.alice)
            self.elsewhere.last.gives(answer, valid_for=0.0)  # type: ignore[arg-type]
            self.assertEqual(parse(self.client.got()).status, 500)
            self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        self.assertEqual(self.rig.upstreams.opened, [])


class BehindABalancerTests(SynchronousTestCase):
    """What a trusted proxy says of the client counts everywhere."""

    def test_the_client_is_the_one_behind_it(self) -> None:
        """Log and application see the client's address; a stranger's word changes nothing."""
        for trusted, seen in (("203.0.113.0/24", "198.51.100.7"), ("10.0.0.0/8", "203.0.113.9")):
            rig = Rig(PUBLIC, trusted_proxies=(ip_network(trusted),))
            client = rig.connect()
            client.sends(request(b"/", (b"x-forwarded-for", b"198.51.100.7")))
            self.assertIn(b"x-forwarded-for: " + seen.encode(), rig.upstreams.last.got())
            rig.upstreams.last.sends(OK)
            self.assertEqual(rig.logged[0].client, seen)


class FailClosedTests(PathCase):
    """What is not a positive decision lets nobody through (P19, H13)."""

    def test_anything_but_a_decision_is_a_500(self) -> None:
        """None, True, a string, an exception: the upstream is never asked."""
        for answer in (None, True, "allow", object(), ValueError("broken")):
            broken = NoDecision(answer)
            generation = attrs.evolve(
                self.rig.front.generation,
                authorizer=broken,  # type: ignore[arg-type]  # that is the point
            )
            self.rig.front.generation = generation
            self.assertEqual(self.ask(request(b"/", self.cookie()), self.rig.connect()).status, 500)
            self.assertEqual(len(self.flushLoggedErrors()), 1)
        self.assertEqual(self.rig.upstreams.opened, [])


class LimitTests(PathCase):
    """How long a session is believed."""

    def test_a_page_view_renews_after_the_recheck_time(self) -> None:
        """Ten minutes after the provider's word, the next page view goes to authenticate."""
        cookie = self.cookie()
        self.later(600)
        got = self.ask(request(b"/", cookie, *NAVIGATION))
        self.assertEqual(got.status, 302)
        self.assertIn(b"pomerium_seen=", got.field(b"location"))

    def test_a_renewal_that_comes_to_nothing_does_not_go_round(self) -> None:
        """Due again after each of three rounds: believed, it goes on; else the page says why."""
        for rounds, later, due in ((2, 600, 302), (3, 600, 200), (2, 3600, 302), (3, 3600, 400)):
            with self.subTest(rounds=rounds, later=later):
                name, token = self.cookie(seen=int(self.rig.clock.seconds()) + later - 10)
                self.later(later)
                ended = int(self.rig.clock.seconds()) - 1
                count = b"; __Host-_pomerium_rounds=%d.%d" % (rounds, ended)
                page = request(b"/", (name, token + count), *NAVIGATION)
                got = self.through(page)[1] if due == 200 else self.ask(page)
                self.assertEqual(got.status, due)

    def test_scripts_go_on_until_the_last_moment(self) -> None:
        """Other requests go through until an hour has passed, then get 401."""
        cookie = self.cookie(seen=int(self.rig.clock.seconds()) + 30)
        self.later(3599)
        _, got = self.through(request(b"/", cookie))
        self.assertEqual(got.status, 200)
        self.later(1)
        self.assertEqual(self.ask(request(b"/", cookie)).status, 401)

    def test_using_a_session_keeps_it_from_being_idle(self) -> None:
        """Once a minute, and no oftener, an answer carries the session on."""
        name, value = self.cookie()
        self.assertEqual(self.through(request(b"/", (name, value)))[1].all(b"set-cookie"), [])
        self.later(61)
        _, got = self.through(request(b"/", (name, value)))
        self.assertTrue(got.field(b"set-cookie").startswith(b"__Host-_pomerium=ey"))
        self.assertEqual(self.through(request(b"/", (name, value)))[1].all(b"set-cookie"), [])

    def test_an_answer_for_everybody_carries_no_session(self) -> None:
        """What a shared cache may keep and give to others has no cookie of anybody's."""
        for control in (b"public", b"Public, max-age=60", b"s-maxage=10"):
            cookie = self.cookie()
            self.later(61)
            answer = OK.replace(b"X-App: yes", b"Cache-Control: " + control)
            _, got = self.through(request(b"/", cookie), answer)
            self.assertEqual((got.status, got.all(b"set-cookie")), (200, []), control)

    def test_a_token_that_came_in_a_header_too(self) -> None:
        """The same token in a header and then in a cookie: the cookie is carried on."""
        token = self.rig.token().encode()
        self.through(request(b"/", (b"authorization", b"Pomerium " + token)))
        self.later(61)
        _, got = self.through(request(b"/", (b"cookie", b"__Host-_pomerium=" + token)))
        self.assertEqual(len(got.all(b"set-cookie")), 1)

    def test_an_idle_session_ends(self) -> None:
        """An hour without a request ends it, whatever else it allows."""
        cookie = self.cookie(checked=int(self.rig.clock.seconds()) + 30)
        self.later(3600)
        self.assertEqual(self.ask(request(b"/", cookie)).status, 401)


class PublicTests(PathCase):
    """A public route differs in its data, not in its path."""

    routes = (PUBLIC,)

    def test_nobody_is_asked_to_sign_in(self) -> None:
        """It goes through without a session, as a page view too."""
        _, got = self.through(request(b"/", *NAVIGATION))
        self.assertEqual(got.status, 200)
        self.assertEqual(self.rig.logged[0].decision, "public")

    def test_forged_identity_comes_off_here_too(self) -> None:
        """What a stranger writes about itself never reaches a public application either."""
        forged = [
            (name, b"admin")
            for name in (
                b"x-pomerium-authenticated-user-email",
                b"X-Pomerium-Authenticated-User-Email",
                b"x_pomerium_jwt_assertion",
                b"x-pomerium.claim-email",
                b"X-Pomerium-Claim-Email",
                b"x-forwarded-user",
            )
        ]
        asked, _ = self.through(request(b"/", *forged))
        self.assertNotIn(b"admin", asked)
        self.assertNotIn(b"pomerium", asked.lower())

    def test_our_cookie_comes_off_here_too(self) -> None:
        """A public application never sees a session either."""
        asked, _ = self.through(request(b"/", self.cookie(ALICE)))
        self.assertNotIn(b"_pomerium=", asked)


class BodyTests(PathCase):
    """Bodies stream both ways; nothing is gathered."""

    routes = (PUBLIC,)

    def test_an_upload_flows_before_it_is_complete(self) -> None:
        """The upstream has the first piece while the client still sends."""
        self.client.sends(
            b"POST / HTTP/1.1\r\nhost: app.example.com\r\ncontent-length: 6\r\n\r\nabc"
        )
        self.assertTrue(self.rig.upstreams.last.got().endswith(b"\r\n\r\nabc"))
        self.client.sends(b"def")
        self.assertEqual(self.rig.upstreams.last.got(), b"def")

    def test_a_chunked_upload_stays_chunked(self) -> None:
        """A body without a known size goes on without one, trailers with it."""
        self.client.sends(
            b"POST / HTTP/1.1\r\nhost: app.example.com\r\ntransfer-encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n0\r\nx-checksum: 1\r\nx-pomerium-claim-email: admin\r\n\r\n"
        )
        head, _, body = self.rig.upstreams.last.got().partition(b"\r\n\r\n")
        self.assertIn(b"transfer-encoding: chunked", head)
        self.assertEqual(body, b"3\r\nabc\r\n0\r\nx-checksum: 1\r\n\r\n")

    def test_a_slow_upstream_pauses_the_client(self) -> None:
        """What the upstream cannot take is not read from the client."""
        self.client.sends(
            b"POST / HTTP/1.1\r\nhost: app.example.com\r\ncontent-length: 6\r\n\r\nabc"
        )
        upstream = self.rig.upstreams.last.protocol
        upstream.pauseProducing()
        self.assertFalse(self.client.reading)
        upstream.resumeProducing()
        self.assertTrue(self.client.reading)

    def test_a_slow_client_pauses_the_upstream(self) -> None:
        """What the client cannot take is not read from the upstream."""
        self.client.sends(request())
        upstream = self.rig.upstreams.last
        upstream.sends(OK[:-1])
        self.client.protocol.pauseProducing()
        self.assertEqual(upstream.transport.producerState, "paused")
        self.client.protocol.resumeProducing()
        self.assertEqual(upstream.transport.producerState, "producing")

    def test_an_early_answer_ends_both_connections(self) -> None:
        """An upstream that answers before it has the body: neither side is used again."""
        self.client.sends(
            b"POST / HTTP/1.1\r\nhost: app.example.com\r\ncontent-length: 6\r\n\r\nabc"
        )
        upstream = self.rig.upstreams.last
        upstream.sends(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
        self.assertEqual(parse(self.client.got()).status, 413)
        self.assertTrue(self.client.closing)
        self.assertTrue(upstream.gone)

    def test_a_client_that_leaves_frees_the_upstream(self) -> None:
        """The connection that worked for it is cut, not used for somebody else."""
        self.client.sends(request())
        self.client.leaves()
        self.assertTrue(self.rig.upstreams.last.gone)
        self.assertEqual(self.rig.logged[0].status, 499)

    def test_a_client_that_leaves_while_connecting(self) -> None:
        """A connection that comes too late is kept for the next request."""
        self.rig.upstreams.hold = True
        self.client.sends(request())
        self.client.leaves()
        self.rig.upstreams.release()
        self.assertEqual(self.rig.upstreams.last.got(), b"")
        self.client = self.rig.connect()
        self.assertEqual(self.through(request())[1].status, 200)
        self.assertEqual(len(self.rig.upstreams.opened), 1)


class FailureTests(PathCase):
    """Every way in which an upstream fails has its answer, and names no topology."""

    routes = (PUBLIC,)

    def test_an_upstream_that_cannot_be_reached(self) -> None:
        """502, with the request's id, and without the upstream's address."""
        self.rig.upstreams.refuse = True
        got = self.ask(request(b"/", *NAVIGATION))
        self.assertEqual(got.status, 502)
        self.assertIn(b"rig-00000001", got.body)
        for inside in (b"10.0.0.1", b"8080", b"ConnectError"):
            self.assertNotIn(inside, got.body)

    def test_an_upstream_that_does_not_answer(self) -> None:
        """504 after the route's timeout."""
        self.client.sends(request())
        self.rig.pass_time(31)
        self.assertEqual(parse(self.client.got()).status, 504)

    def test_an_upstream_that_answers_nonsense(self) -> None:
        """502 for what is no HTTP."""
        _, got = self.through(request(), b"SSH-2.0-OpenSSH\r\n")
        self.assertEqual(got.status, 502)

    def test_an_answer_that_breaks_off_is_cut(self) -> None:
        """Once the head has gone out the client sees a broken answer, never a short one."""
        self.client.sends(request())
        self.rig.upstreams.last.sends(OK[:-1])
        self.rig.upstreams.last.closes()
        self.assertTrue(self.client.aborted)

    def reuse(self) -> None:
        """Leave a connection behind that has been used once."""
        self.through(request())

    def test_a_get_on_a_connection_that_had_closed_is_sent_again(self) -> None:
        """The upstream closed an idle connection while the request travelled: nobody notices."""
        self.reuse()
        self.client.sends(request(b"/again"))
        self.rig.upstreams.opened[0].closes()
        self.assertIn(b"GET /again", self.rig.upstreams.opened[1].got())
        self.rig.upstreams.opened[1].sends(OK)
        self.assertEqual(parse(self.client.got()).status, 200)

    def test_it_is_sent_again_only_once(self) -> None:
        """A second death is the answer."""
        self.reuse()
        self.client.sends(request())
        self.rig.upstreams.opened[0].closes()
        self.rig.upstreams.opened[1].closes()
        self.assertEqual(parse(self.client.got()).status, 502)

    def test_what_may_have_been_acted_on_is_never_sent_again(self) -> None:
        """A POST, and anything of which a byte of an answer came, is not repeated."""
        for octets, answered in ((request(method=b"POST", body=b"x"), b""), (request(), b"H")):
            self.setUp()
            self.reuse()
            self.client.sends(octets)
            if answered:
                self.rig.upstreams.opened[0].sends(answered)
            self.rig.upstreams.opened[0].closes()
            self.assertEqual(len(self.rig.upstreams.opened), 1)
            self.assertEqual(parse(self.client.got()).status, 502)


WEBSOCKET = (
    (b"connection", b"Upgrade"),
    (b"upgrade", b"websocket"),
    (b"sec-websocket-version", b"13"),
    (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


class WebSocketTests(PathCase):
    """Tunnels come after the decision, and only from an upstream that agrees."""

    routes = (route(allowed_users=("alice@example.com",), allow_websockets=True),)

    def test_bytes_flow_both_ways(self) -> None:
        """After 101 both directions are the other protocol's bytes, ahead or not."""
        self.client.sends(request(b"/ws", self.cookie(), *WEBSOCKET) + b"early")
        upstream = self.rig.upstreams.last
        self.assertIn(b"upgrade: websocket", upstream.got())
        upstream.sends(SWITCH + b"hello")
        self.assertTrue(self.client.got().endswith(b"\r\n\r\nhello"))
        self.assertEqual(upstream.got(), b"early")
        self.client.sends(b"up")
        upstream.sends(b"down")
        self.assertEqual((upstream.got(), self.client.got()), (b"up", b"down"))

    def test_the_end_of_either_side_ends_both(self) -> None:
        """A closed upstream closes the client, and the other way round."""
        for closes in ("upstream", "client"):
            self.setUp()
            self.client.sends(request(b"/ws", self.cookie(), *WEBSOCKET))
            upstream = self.rig.upstreams.last
            upstream.sends(SWITCH)
            if closes == "upstream":
                upstream.closes()
                self.assertTrue(self.client.closing)
            else:
                self.client.leaves()
                self.assertTrue(upstream.gone)

    def test_nobody_gets_a_tunnel_before_the_decision(self) -> None:
        """Without a session an upgrade is a 401 like any other, and reaches nobody."""
        got = self.ask(request(b"/ws", *WEBSOCKET))
        self.assertEqual(got.status, 401)
        self.assertEqual(self.rig.upstreams.opened, [])

    def test_an_upstream_that_declines(self) -> None:
        """Another answer than 101 is passed on as the answer it is."""
        _, got = self.through(
            request(b"/ws", self.cookie(), *WEBSOCKET),
            b"HTTP/1.1 426 Upgrade Required\r\ncontent-length: 0\r\n\r\n",
        )
        self.assertEqual(got.status, 426)

    def test_an_idle_tunnel_ends(self) -> None:
        """Nothing in either direction for the idle time ends the tunnel."""
        self.client.sends(request(b"/ws", self.cookie(), *WEBSOCKET))
        upstream = self.rig.upstreams.last
        upstream.sends(SWITCH)
        self.rig.pass_time(200)
        self.client.sends(b"ping")
        self.rig.pass_time(200)
        self.assertFalse(upstream.gone)
        self.rig.pass_time(101)
        self.assertTrue(upstream.gone)


class NoWebSocketTests(PathCase):
    """A route says itself whether it takes tunnels."""

    def test_a_route_without_websockets_refuses(self) -> None:
        """An upgrade is refused with its reason, and reaches nobody."""
        got = self.ask(request(b"/ws", self.cookie(), *WEBSOCKET))
        self.assertEqual(got.status, 403)
        self.assertEqual(self.rig.upstreams.opened, [])
