"""Streams that are decided again, over the wire: who is cut, when, and what is said of it."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.session.session import Identity
from pomeriumd.settings.model import RouteSettings, Secret, UpstreamURL
from tests.support.rig import ALICE, NAVIGATION, Rig, parse, request
from tests.support.settings import COOKIE, ISSUER, route
from tests.support.streaming import OK, PHASES, Lasting, WebSocket, lasting, websocket

BOB = Identity(issuer=ISSUER, subject="bob", email="bob@example.com", groups=("staff",))
BOTH = route(allowed_users=("alice@example.com", "bob@example.com"), allow_websockets=True)
BOB_ALONE = attrs.evolve(BOTH, allowed_users=("bob@example.com",))
STAFF = attrs.evolve(BOTH, allowed_users=(), allowed_groups=("staff",))
OTHERS = route("b.example.com", allowed_users=("x@example.com",))
PUBLIC = route(allow_public_unauthenticated_access=True, allow_websockets=True)

QUIET = 7200.0

WITHIN = 5
"""Seconds that a denied stream may last."""


class SweepCase(SynchronousTestCase):
    """A daemon in memory that sweeps."""

    def start(self, *routes: RouteSettings, **more: Any) -> None:
        """Start it."""
        # Tunnels may rest for as long as a test lets them.
        self.rig = Rig(*routes, timeout_idle=QUIET, **more)
        self.rig.sweeps()
        self.addCleanup(self.rig.sweep.stopService)
        self.log = EventLoggingObserver.createWithCleanup(
            self,  # type: ignore[arg-type]  # of a test it needs addCleanup alone
            globalLogPublisher,
        )

    def reload(self, *routes: RouteSettings, **more: Any) -> None:
        """Put other settings in force."""
        self.rig.reload(*routes, timeout_idle=QUIET, **more)

    def websocket(self, identity: Identity | None = ALICE, **more: Any) -> WebSocket:
        """Open a WebSocket, with a session of its own for each person."""
        if identity is not None:
            more = {"id": identity.subject, **more}
        return websocket(self.rig, identity, **more)

    def cuts(self) -> list[dict[str, Any]]:
        """Return what the log says of each stream that was cut."""
        return [e for e in self.log if e.get("log_format", "").startswith("a stream was cut")]

    def reasons(self) -> list[str]:
        """Return why streams were cut, the first word of each."""
        return [event["reasons"][0] for event in self.cuts()]

    def ended(self, *streams: Lasting, after: float = WITHIN) -> list[bool]:
        """Say which of them have been cut after so many seconds."""
        self.rig.pass_time(after)
        return [stream.cut for stream in streams]


class ReloadTests(SweepCase):
    """What the generation in force says counts for whoever came before it."""

    def test_a_user_removed_from_the_route(self) -> None:
        """Whatever the exchange is doing: theirs is cut within 5 s, and no other."""
        for phase in PHASES:
            self.start(BOTH, OTHERS)
            alice = lasting(phase, self.rig, ALICE, id="a")
            bob = lasting(phase, self.rig, BOB, id="b")
            self.rig.pass_time(10)
            self.assertEqual((alice.cut, bob.cut), (False, False), phase)
            self.reload(BOB_ALONE, OTHERS)
            self.assertEqual(self.ended(alice, bob), [True, False], phase)

    def test_one_that_had_just_begun(self) -> None:
        """How old the stream was at the reload, and how far the next sweep, changes nothing."""
        for tenths in range(0, 50, 5):
            self.start(BOTH)
            self.rig.clock.advance(tenths / 10)
            stream = self.websocket()
            self.reload(BOB_ALONE)
            self.assertEqual(self.ended(stream), [True], tenths)

    def test_what_denies_it(self) -> None:
        """A rule, the route, another route before it, websockets off: each with its reason."""
        for name, routes, reason in (
            ("user", (BOB_ALONE,), "email-unauthorized"),
            ("group", (attrs.evolve(STAFF, allowed_groups=("admins",)),), "groups-unauthorized"),
            ("nobody", (route(allow_websockets=True),), "no-rule"),
            ("gone", (OTHERS,), "route-gone"),
            ("moved", (attrs.evolve(BOTH, prefix="/w"),), "route-gone"),
            ("another", (BOTH, attrs.evolve(BOTH, prefix="/ws")), "route-gone"),
            ("off", (attrs.evolve(BOTH, allow_websockets=False),), "websockets-off"),
        ):
            self.start(STAFF if name == "group" else BOTH)
            stream = self.websocket()
            self.rig.pass_time(3)
            self.reload(*routes)
            self.assertEqual(self.ended(stream), [True], name)
            self.assertEqual(self.reasons(), [reason], name)

    def test_what_does_not(self) -> None:
        """Whatever changes but who may use it: the stream lives on, and bytes flow."""
        elsewhere = UpstreamURL("http", "10.0.0.99", 8080, "/x")
        for name, routes, more in (
            ("nothing", (BOTH,), {}),
            ("where it leads", (attrs.evolve(BOTH, to=elsewhere),), {}),
            ("its fields", (attrs.evolve(BOTH, set_request_headers=(("X-A", "b"),)),), {}),
            ("its timeout", (attrs.evolve(BOTH, timeout=1.0),), {}),
            ("its place", (OTHERS, attrs.evolve(BOTH, place="policy[1]")), {}),
            ("more may", (attrs.evolve(BOTH, allowed_groups=("x",)),), {}),
            ("anybody may", (PUBLIC,), {}),
            ("others' paths", (BOTH, attrs.evolve(OTHERS, from_=BOTH.from_, path="/x")), {}),
            ("cookies", (BOTH,), {"cookie_same_site": "strict"}),
            ("the provider's secret", (BOTH,), {"idp_client_secret": Secret(b"new")}),
            ("authenticate's secret", (BOTH,), {"cookie_secret": Secret(COOKIE[::-1])}),
        ):
            self.start(BOTH)
            stream = self.websocket()
            self.rig.pass_time(3)
            self.reload(*routes, **more)
            self.assertEqual(self.ended(stream, after=20), [False], name)
            self.assertTrue(stream.flows(), name)
            self.assertEqual(self.rig.sweep.open, 1)

    def test_a_provider_that_is_another(self) -> None:
        """Identities of the one before count no more."""
        self.start(BOTH)
        stream = self.websocket()
        self.reload(BOTH, idp_provider_url="https://new.example.com")
        self.assertEqual(self.ended(stream), [True])
        self.assertEqual(self.reasons(), ["issuer-unauthorized"])

    def test_secrets_that_were_rotated(self) -> None:
        """Under a secret with the present one as previous it lives on; without it is cut."""
        present, new = Secret(bytes(range(32))), Secret(bytes(range(1, 33)))
        self.start(BOTH, shared_secret=present)
        stream = self.websocket()
        self.reload(BOTH, shared_secret=new, shared_secret_previous=present)
        self.assertEqual(self.ended(stream, after=20), [False])
        self.reload(BOTH, shared_secret=new)
        self.assertEqual(self.ended(stream), [True])
        self.assertEqual(self.reasons(), ["session-ended"])

    def test_a_limit_that_is_shortened(self) -> None:
        """It holds for sessions that exist, and so for their streams."""
        self.start(BOTH)
        stream = self.websocket()
        self.rig.pass_time(60)
        self.reload(BOTH, session_recheck=10.0, session_recheck_max=30.0)
        self.assertEqual(self.ended(stream), [True])
        self.assertEqual(self.reasons(), ["session-unconfirmed"])

    def test_public_streams_ask_nobody(self) -> None:
        """Without a session a public route's stream lives, until the route is public no more."""
        self.start(PUBLIC)
        stream = self.websocket(None)
        self.reload(PUBLIC)
        self.assertEqual(self.ended(stream), [False])
        self.reload(BOTH)
        self.assertEqual(self.ended(stream), [True])
        self.assertEqual(self.reasons(), ["user-unauthenticated"])


class SessionTests(SweepCase):
    """What becomes of a session counts for its streams."""

    def test_its_absolute_end(self) -> None:
        """No confirmation and no use moves it."""
        self.start(BOTH)
        stream = self.websocket(expires=int(self.rig.now()) + 100)
        self.assertEqual(self.ended(stream, after=98), [False])
        self.assertEqual(self.ended(stream, after=2 + WITHIN), [True])
        self.assertEqual(self.reasons(), ["session-ended"])

    def test_idle_is_who_is_not_there(self) -> None:
        """An open stream is use: without any request the session does not end for it."""
        self.start(BOTH, session_idle=60.0)
        stream = self.websocket()
        self.assertEqual(self.ended(stream, after=200), [False])

    def test_nobody_confirmed_it(self) -> None:
        """After the recheck at the latest it is cut, as a request of a script is refused."""
        self.start(BOTH, session_recheck=60.0, session_recheck_max=120.0)
        stream = self.websocket()
        self.assertEqual(self.ended(stream, after=118), [False])
        self.assertEqual(self.ended(stream, after=2 + WITHIN), [True])
        self.assertEqual(self.reasons(), ["session-unconfirmed"])

    def view(self, **session: Any) -> None:
        """Let the person open a page, with a session of the same sign-in."""
        cookie = self.rig.cookie(ALICE, id="alice", **session)
        client = self.rig.connect()
        client.sends(request(b"/page", (b"cookie", cookie), *NAVIGATION))
        self.rig.upstreams.last.sends(OK)
        self.assertEqual(parse(client.got()).status, 200)

    def test_a_page_view_in_another_tab_renews_it(self) -> None:
        """The freshest session of one sign-in counts, through reloads too."""
        self.start(BOTH, session_recheck_max=1200.0)
        stream = self.websocket()
        for _ in range(4):
            self.rig.pass_time(600)
            self.view()
            self.reload(BOTH, session_recheck_max=1200.0)
        self.assertEqual(self.ended(stream), [False])
        self.assertEqual(self.ended(stream, after=1200), [True])

    def test_who_has_left_a_group(self) -> None:
        """What the provider said last counts: the stream ends when the page view is refused."""
        self.start(STAFF)
        stream = self.websocket()
        self.rig.pass_time(600)
        now = int(self.rig.now())
        cookie = self.rig.cookie(attrs.evolve(ALICE, groups=()), id="alice", checked=now)
        client = self.rig.connect()
        client.sends(request(b"/page", (b"cookie", cookie), *NAVIGATION))
        self.assertEqual(parse(client.got()).status, 403)
        self.assertEqual(self.ended(stream), [True])
        self.assertEqual(self.reasons(), ["groups-unauthorized"])

    def test_an_older_session_of_theirs_changes_nothing(self) -> None:
        """A cookie from before the last confirmation brings nobody back, and ends nothing."""
        self.start(STAFF)
        began = int(self.rig.now())
        self.rig.pass_time(600)
        stream = self.websocket(auth_time=began)
        older = self.rig.cookie(
            attrs.evolve(ALICE, groups=()), id="alice", auth_time=began, checked=began
        )
        self.rig.connect().sends(request(b"/page", (b"cookie", older)))
        self.assertEqual(self.ended(stream), [False])

    def sign_out(self, **session: Any) -> None:
        """Press the button."""
        cookie = (b"cookie", self.rig.cookie(ALICE, id="alice", **session))
        client = self.rig.connect()
        client.sends(request(b"/.pomerium/sign_out", cookie, *NAVIGATION))
        page = parse(client.got()).body
        token = page.partition(b'name="pomerium_csrf" value="')[2].partition(b'"')[0]
        assert token, page
        client.sends(
            request(
                b"/.pomerium/sign_out",
                cookie,
                (b"content-type", b"application/x-www-form-urlencoded"),
                method=b"POST",
                body=b"pomerium_csrf=" + token,
            )
        )
        self.assertEqual(parse(client.got()).status, 200)

    def test_a_sign_out(self) -> None:
        """It ends every stream of that session, the youngest too, and nobody else's."""
        self.start(BOTH)
        old, bob = self.websocket(), self.websocket(BOB)
        self.rig.pass_time(3.5)
        young = self.websocket()
        self.sign_out()
        self.assertEqual(self.ended(old, young, bob), [True, True, False])
        self.assertEqual(self.reasons(), ["signed-out"] * 2)

    def test_a_sign_out_over_a_reload(self) -> None:
        """Secrets that change at the same time lose no sign-out."""
        changes: tuple[dict[str, Any], ...] = ({}, {"shared_secret": Secret(b"x" * 32)})
        for more in changes:
            self.start(BOTH)
            stream = self.websocket()
            self.rig.pass_time(3)
            self.sign_out()
            self.reload(BOTH, **more)
            self.assertEqual(self.ended(stream), [True])
            self.assertEqual(self.reasons(), ["signed-out"])

    def test_the_other_processes_hear_of_it(self) -> None:
        """Each sign-out is told once, in time for them to act within five seconds."""
        self.start(BOTH)
        self.sign_out()
        self.rig.pass_time(2.5)
        self.assertEqual(self.rig.told, ["alice"])
        self.rig.pass_time(20)
        self.assertEqual(self.rig.told, ["alice"])

    def test_a_sign_out_elsewhere(self) -> None:
        """It ends the streams here, and is not told back."""
        self.start(BOTH)
        alice, bob = self.websocket(), self.websocket(BOB)
        self.rig.pass_time(3)
        self.rig.sweep.signed_out("alice")
        self.assertEqual(self.ended(alice, bob), [True, False])
        self.rig.pass_time(20)
        self.assertEqual(self.rig.told, [])
        self.assertEqual(self.rig.front.generation.sessions.memory.signed_out, set())

    def test_somebody_who_signs_in_again(self) -> None:
        """A new sign-in is another session: its streams stay."""
        self.start(BOTH)
        self.sign_out()
        stream = self.websocket(id="alice-2")
        self.assertEqual(self.ended(stream, after=20), [False])


class SaidTests(SweepCase):
    """What the log, the access log and the counters say."""

    def test_a_cut_is_explained(self) -> None:
        """
        Who, which route, which reasons, in the log, and counted by reason.

        The access line has the error's class, and the decision that let it in.
        """
        self.start(STAFF)
        stream = self.websocket()
        self.rig.pass_time(10)
        self.reload(attrs.evolve(STAFF, allowed_groups=("admins",)))
        self.assertEqual(self.ended(stream), [True])
        (event,) = self.cuts()
        said = {name: event[name] for name in ("why", "reasons", "user", "host", "path")}
        self.assertEqual(
            said,
            {
                "why": "You are in none of the groups that may open this page.",
                "reasons": ("groups-unauthorized",),
                "user": "alice@example.com",
                "host": "app.example.com",
                "path": "/ws",
            },
        )
        (entry,) = self.rig.logged
        self.assertEqual(event["request_id"], entry.request_id)
        self.assertEqual(
            (entry.status, entry.error, entry.decision, entry.reasons),
            (101, "StreamEnded", "allow", ("groups-ok",)),
        )

    def test_one_that_had_no_answer_yet(self) -> None:
        """Its line has 403: nothing went out that could say otherwise."""
        self.start(BOTH)
        waiting = lasting("waiting", self.rig, ALICE)
        self.rig.pass_time(3)
        self.reload(BOB_ALONE)
        self.assertEqual(self.ended(waiting), [True])
        (entry,) = self.rig.logged
        self.assertEqual((entry.status, entry.error), (403, "StreamEnded"))

    def test_how_many_there_are(self) -> None:
        """Streams are counted that have lasted; short requests and our own pages are not."""
        self.start(BOTH)
        streams = [self.websocket() for _ in range(3)]
        self.rig.connect()
        client = self.rig.connect()
        client.sends(request(b"/ping"))
        self.assertEqual(self.rig.sweep.open, 0)
        self.rig.pass_time(5)
        self.assertEqual(self.rig.sweep.open, 3)
        streams[0].client.leaves()
        self.rig.pass_time(5)
        self.assertEqual(self.rig.sweep.open, 2)

    def test_what_cannot_be_decided_is_cut(self) -> None:
        """A bug of ours lets nobody go on, and is told as one."""

        class Broken:
            heard, patience = True, 0.0

            def decide(self, *_: object) -> Any:
                raise RuntimeError("bug")

        self.start(BOTH)
        stream = self.websocket()
        front = self.rig.front
        front.generation = attrs.evolve(front.generation, authorizer=Broken())
        self.assertEqual(self.ended(stream), [True])
        self.assertEqual(self.reasons(), ["undecided"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class ServiceTests(SweepCase):
    """It begins and ends with the daemon."""

    def test_nothing_is_left_behind(self) -> None:
        """Stopped, it sweeps no more and leaves no timer."""
        self.start(BOTH)
        self.rig.sweep.stopService()
        self.assertEqual(self.rig.clock.getDelayedCalls(), [])
