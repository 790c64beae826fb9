"""Streams that somebody elsewhere decides again: over the wire, in a daemon in memory."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.access.decision import Decision, Deny, SignIn
from pomeriumd.crypto.keys import SharedKeys
from pomeriumd.daemon.judging import AT_ONCE
from pomeriumd.errors import Undecided
from pomeriumd.session.session import Session
from pomeriumd.session.token import decode
from pomeriumd.settings.model import RouteSettings
from tests.support.elsewhere import YES, Asked, ElsewhereRig
from tests.support.rig import ALICE
from tests.support.settings import AUTHENTICATE, SHARED, route
from tests.support.streaming import Lasting, WebSocket, websocket

APP = route(allowed_users=("alice@example.com",), allow_websockets=True)
OTHER = route("other.example.com", allowed_users=("alice@example.com",))
NO = Deny(("groups-unauthorized",))
WITHIN = 5
"""Seconds that a denied stream may last."""


class JudgingCase(SynchronousTestCase):
    """A daemon in memory that sweeps, and asks elsewhere."""

    def start(self, *routes: RouteSettings, **more: Any) -> None:
        """Start it."""
        self.rig = ElsewhereRig(*(routes or (APP, OTHER)), timeout_idle=7200.0, **more)
        self.elsewhere = self.rig.elsewhere
        self.rig.sweeps()
        self.addCleanup(self.rig.sweep.stopService)
        self.log = EventLoggingObserver.createWithCleanup(
            self,  # type: ignore[arg-type]  # of a test it needs addCleanup alone
            globalLogPublisher,
        )

    def websocket(self, **session: Any) -> WebSocket:
        """Open a WebSocket that is allowed."""
        self.elsewhere.prompt = {"decision": YES}
        stream = websocket(self.rig, ALICE, **session)
        self.elsewhere.prompt = None
        return stream

    def answering(self, seconds: float, decision: Decision | Exception, **more: Any) -> None:
        """Let time pass, and have each question answered within half a second."""
        for _ in range(int(seconds * 2)):
            self.rig.clock.advance(0.5)
            for asked in self.elsewhere.open:
                if isinstance(decision, Exception):
                    asked.answer.errback(decision)
                else:
                    asked.gives(decision, **more)

    def unheard(self, seconds: float) -> None:
        """Let time pass in which nobody answers, and no Watch is heard."""
        self.elsewhere.heard = {}
        self.answering(seconds, Undecided("nobody"))

    def reasons(self) -> list[str]:
        """Return why streams were cut, the first word of each."""
        return [
            event["reasons"][0]
            for event in self.log
            if event.get("log_format", "").startswith("a stream was cut")
        ]

    def session(self, asked: Asked) -> Session:
        """Return the session of a question, verified as whoever decides does."""
        return decode(
            asked.question.token,
            SharedKeys.derived([SHARED]).route_session,
            audience="app.example.com:443",
            issuer=AUTHENTICATE.text,
            now=self.rig.now(),
        )


class DecidedTests(JudgingCase):
    """Answers that come later count like any other."""

    def test_who_is_denied_now(self) -> None:
        """Other policies elsewhere, and a denial: cut within five seconds, with its reason."""
        for tenths in range(0, 50, 5):
            self.start()
            stream = self.websocket()
            self.answering(10, YES)
            self.rig.clock.advance(tenths / 10)
            self.elsewhere.heard["one"] = "g2"
            self.answering(WITHIN, NO, generation="g2")
            self.assertTrue(stream.cut, tenths)
            self.assertEqual(self.reasons(), ["groups-unauthorized"])

    def test_who_is_allowed_still(self) -> None:
        """Asked again and allowed, it lives on, and bytes flow."""
        self.start()
        stream = self.websocket()
        self.elsewhere.heard["one"] = "g2"
        asked = len(self.elsewhere.asked)
        self.answering(20, YES, generation="g2")
        self.assertTrue(stream.flows())
        self.assertEqual(len(self.elsewhere.asked), asked + 1)
        self.assertEqual(self.rig.sweep.open, 1)

    def test_what_is_kept_asks_nobody(self) -> None:
        """While the decision holds, no question goes out for a stream but once a minute."""
        self.start()
        self.websocket()
        asked = len(self.elsewhere.asked)
        self.answering(58, YES)
        self.assertEqual(len(self.elsewhere.asked), asked)

    def test_an_open_stream_is_use(self) -> None:
        """What is asked about it is a session that was seen lately, however long it rests."""
        self.start(session_idle=600.0)
        stream = self.websocket()
        self.answering(1800, YES)
        self.assertFalse(stream.cut)
        self.elsewhere.heard["one"] = "g2"
        self.rig.pass_time(2.5)
        session = self.session(self.elsewhere.last)
        self.assertLessEqual(self.rig.now() - session.seen, 65)

    def test_the_freshest_session_of_another_host(self) -> None:
        """Its token is made out to this host: the person as the provider knows them now."""
        self.start()
        stream = self.websocket()
        self.rig.pass_time(60)
        fresher = self.rig.token(
            attrs.evolve(ALICE, groups=("new",)),
            audience="other.example.com:443",
            checked=int(self.rig.now()),
        )
        sessions = self.rig.front.generation.sessions
        self.assertIsNotNone(
            sessions._verified(("other.example.com:443", fresher, True), self.rig.now())
        )
        self.rig.pass_time(2.5)
        session = self.session(self.elsewhere.open[-1])
        self.assertEqual(session.identity.groups, ("new",))
        self.assertFalse(stream.cut)

    def test_websockets_off(self) -> None:
        """What the proxy itself forbids is forbidden, whoever answers what."""
        self.start()
        stream = self.websocket()
        self.rig.reload(attrs.evolve(APP, allow_websockets=False), timeout_idle=7200.0)
        self.answering(WITHIN, YES)
        self.assertTrue(stream.cut)
        self.assertEqual(self.reasons(), ["websockets-off"])

    def test_a_sign_out(self) -> None:
        """Nobody is let in by whoever decides: it ends with its own reason."""
        self.start()
        stream = self.websocket()
        self.rig.sweep.signed_out("session-1")
        self.answering(WITHIN, SignIn(("user-unauthenticated",)))
        self.assertTrue(stream.cut)
        self.assertEqual(self.reasons(), ["signed-out"])

    def test_a_route_that_is_gone_asks_nobody(self) -> None:
        """What has ended for reasons of ours is cut, though nobody answers."""
        self.start()
        stream = self.websocket()
        self.rig.reload(OTHER, timeout_idle=7200.0)
        self.unheard(WITHIN)
        self.assertTrue(stream.cut)
        self.assertEqual(self.reasons(), ["route-gone"])


class OutageTests(JudgingCase):
    """Nobody answers."""

    def test_it_lives_on_for_max_age(self) -> None:
        """From when it was known to be allowed; the look at which that is over cuts it."""
        self.start(max_age=60.0)
        stream = self.websocket()
        self.answering(10, YES)
        self.unheard(50)
        self.assertFalse(stream.cut)
        self.unheard(10)
        self.assertTrue(stream.cut)
        self.assertEqual(self.reasons(), ["undecided"])

    def test_an_outage_that_ends(self) -> None:
        """Decided in time it goes on, and has the whole time again."""
        self.start(max_age=60.0)
        stream = self.websocket()
        for _ in range(3):
            self.unheard(50)
            self.elsewhere.heard = {"one": "g1"}
            self.answering(10, YES)
        self.assertFalse(stream.cut)

    def test_without_a_cache(self) -> None:
        """With max_age 0, one look may fail; a second one cuts it."""
        self.start(max_age=0.0)
        stream = self.websocket()
        self.answering(10, YES)
        self.unheard(2)
        self.assertFalse(stream.cut)
        self.answering(2, YES)
        self.assertFalse(stream.cut)
        self.unheard(4)
        self.assertTrue(stream.cut)

    def test_answers_that_never_come(self) -> None:
        """A look waits a second for all of them; then it is as if nobody had answered."""
        self.start(max_age=60.0)
        stream = self.websocket()
        self.elsewhere.heard = {}
        self.rig.pass_time(55)
        self.assertFalse(stream.cut)
        self.rig.pass_time(7)
        self.assertTrue(stream.cut)
        self.assertEqual(self.elsewhere.open, [])

    def test_who_counts_no_more_is_not_spared(self) -> None:
        """Signed out in an outage: cut at the next look, since nobody says otherwise."""
        self.start(max_age=60.0)
        stream = self.websocket()
        self.elsewhere.heard = {}
        self.rig.sweep.signed_out("session-1")
        self.unheard(WITHIN)
        self.assertTrue(stream.cut)
        self.assertEqual(self.reasons(), ["signed-out"])

    def test_what_is_no_answer(self) -> None:
        """A bug, here or there, lets nobody go on, and is told as one."""
        self.start()
        stream = self.websocket()
        self.elsewhere.heard = {}
        self.answering(70, RuntimeError("bug"))
        self.assertTrue(stream.cut)
        self.assertEqual(self.reasons(), ["undecided"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class ManyTests(JudgingCase):
    """Many streams."""

    def many(self, count: int) -> list[Lasting]:
        """Open so many, each of another session, and have their decisions not hold any more."""
        streams: list[Lasting] = [self.websocket(id=f"session-{n}") for n in range(count)]
        self.rig.pass_time(4)
        self.elsewhere.heard["one"] = "g2"
        return streams

    def test_so_many_at_once(self) -> None:
        """No more questions are out than may be; each answer lets out the next."""
        self.start()
        streams = self.many(AT_ONCE + 3)
        self.rig.clock.advance(2)
        self.assertEqual(len(self.elsewhere.open), AT_ONCE)
        self.elsewhere.open[0].gives(generation="g2")
        self.assertEqual(len(self.elsewhere.open), AT_ONCE)
        while self.elsewhere.open:
            self.elsewhere.open[0].gives(generation="g2")
        self.rig.clock.advance(0.5)
        self.assertEqual([stream.cut for stream in streams], [False] * len(streams))
        self.assertEqual(self.rig.sweep.open, len(streams))

    def test_questions_that_nobody_answers_keep_nobody_back(self) -> None:
        """Whom one look did not reach comes first in the next."""
        self.start()
        self.many(AT_ONCE + 1)
        self.rig.clock.advance(2)
        reached = {asked.question.token for asked in self.elsewhere.open}
        self.rig.clock.advance(1)
        self.assertEqual(self.elsewhere.open, [])
        self.rig.clock.advance(1)
        again = {asked.question.token for asked in self.elsewhere.open}
        self.assertEqual(len(again - reached), 1)

    def test_the_end_of_the_daemon(self) -> None:
        """Stopped while it waits it cuts nobody, and leaves no question and no timer."""
        self.start()
        streams = self.many(3)
        self.rig.clock.advance(2)
        self.rig.sweep.stopService()
        self.assertEqual(self.elsewhere.open, [])
        self.rig.pass_time(5)
        self.assertNotIn("Judging", repr(self.rig.clock.getDelayedCalls()))
        self.assertEqual([stream.cut for stream in streams], [False] * 3)
