"""
Whatever comes in whatever order: reloads, requests, streams, sign-outs and the end of sessions.

Every answer is what the generation says under which its request began. No stream outlives its
permission by five seconds, and none is cut that has had it all the time.
"""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.task import Clock

from pomeriumd.session.session import Identity
from pomeriumd.settings.model import RouteSettings
from tests.support.laws import examples
from tests.support.rig import Rig, parse, request
from tests.support.settings import ISSUER, route
from tests.support.streaming import OK, PHASES, Lasting, asking, lasting

PEOPLE = ("alice", "bob")
PATIENCE = 5.0
LASTS = 60
"""Seconds that the shorter sessions last."""
MOST = 12
"""Streams at a time."""


@attrs.frozen
class Policy:
    """What the settings of one generation say, as a model."""

    admitted: frozenset[str] = frozenset(PEOPLE)
    websockets: bool = True
    there: bool = True
    """The route is."""

    def routes(self) -> tuple[RouteSettings, ...]:
        """Return it as settings."""
        others = route("b.example.com", allowed_users=("x@example.com",))
        if not self.there:
            return (others,)
        users = tuple(f"{name}@example.com" for name in sorted(self.admitted))
        return (others, route(allowed_users=users, allow_websockets=self.websockets))

    def status(self, person: str) -> int:
        """Return what a request gets."""
        if not self.there:
            return 404
        return 200 if person in self.admitted else 403

    def allows(self, person: str, *, websocket: bool) -> bool:
        """Say whether a stream may be open."""
        return self.status(person) == 200 and (self.websockets or not websocket)


policies = st.builds(
    Policy,
    admitted=st.frozensets(st.sampled_from(PEOPLE)),
    websockets=st.booleans(),
    there=st.sampled_from([True, True, True, False]),
)


@attrs.define(eq=False)
class Stream:
    """An exchange that lasts, and what the model knows of it."""

    lasting: Lasting
    phase: str
    person: str
    sign_in: str
    generation: int
    ends: float
    signed_out: bool = False
    denied: bool = False
    """It has been at some time."""
    since: float | None = None
    """When that began, while it goes on."""


def _identity(name: str) -> Identity:
    return Identity(issuer=ISSUER, subject=name, email=f"{name}@example.com")


class Reloads(RuleBasedStateMachine):
    """A daemon in memory whose settings change."""

    def __init__(self) -> None:
        super().__init__()
        self.policy, self.generation = Policy(), 0
        self.rig = Rig(*self.policy.routes(), clock=Clock(), **self._more())
        self.rig.sweeps()
        self.streams: list[Stream] = []
        self.signed_out: dict[str, float] = {}
        """When each was last signed out."""

    def _more(self) -> dict[str, Any]:
        return {
            "headers": (("X-Generation", str(self.generation)),),
            "timeout_idle": 7200.0,
            "session_recheck_max": 7200.0,
            "default_upstream_timeout": 7200.0,
            "timeout_read": 0.0,
        }

    @rule(policy=policies)
    def reload(self, policy: Policy) -> None:
        """Put other settings in force."""
        self.policy = policy
        self.generation += 1
        self.rig.reload(*policy.routes(), **self._more())
        self._look()

    @rule(person=st.sampled_from(PEOPLE))
    def ask(self, person: str) -> None:
        """A request that is answered at once is answered by the generation in force."""
        client = self.rig.connect()
        octets = request(b"/", (b"cookie", self.rig.cookie(_identity(person), id="once")))
        if self.policy.status(person) == 200:
            asking(self.rig, client, octets).sends(OK)
        else:
            client.sends(octets)
        got = parse(client.got())
        assert got.status == self.policy.status(person), (got.status, self.policy, person)
        assert got.field(b"x-generation") == b"%d" % self.generation
        client.leaves()

    @precondition(lambda self: len(self.streams) < MOST)
    @rule(
        person=st.sampled_from(PEOPLE),
        phase=st.sampled_from(sorted(PHASES)),
        short=st.booleans(),
    )
    def begin(self, person: str, phase: str, short: bool) -> None:
        """Begin an exchange that lasts, where one is allowed."""
        websocket = phase in ("switching", "tunnel")
        if not self.policy.allows(person, websocket=websocket):
            return
        ends = int(self.rig.now()) + (LASTS if short else 7200)
        # Of one sign-in all sessions end at one time.
        sign_in = f"{person}, until {ends}"
        made = lasting(phase, self.rig, _identity(person), id=sign_in, expires=ends)
        stream = Stream(made, phase, person, sign_in, self.generation, ends)
        # A session that was signed out a moment ago: its cookie is still good, as it is in any
        # other process, and what it opens here may be cut with what it had open.
        stream.denied = self.rig.now() - self.signed_out.get(sign_in, 0) < PATIENCE
        self.streams.append(stream)

    @precondition(lambda self: self.streams)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        """Bring one that still lives to its end: its answer is that of its own generation."""
        stream = self.streams.pop(data.draw(st.integers(0, len(self.streams) - 1)))
        client, upstream = stream.lasting.client, stream.lasting.upstream
        if stream.lasting.cut:
            return
        if stream.phase == "waiting":
            upstream.sends(OK)
            got = parse(client.got())
            assert got.status == 200
            assert got.field(b"x-generation") == b"%d" % stream.generation
        elif stream.phase == "uploading":
            client.sends(b"67890")
            assert upstream.got().endswith(b"67890")
        elif stream.phase == "downloading":
            upstream.sends(b"67890")
            assert client.got().endswith(b"1234567890")
        client.leaves()

    @precondition(lambda self: self.streams)
    @rule(data=st.data())
    def sign_out(self, data: st.DataObject) -> None:
        """Somebody who has a stream presses the button, at some application."""
        sign_in = data.draw(st.sampled_from(sorted({one.sign_in for one in self.streams})))
        self.signed_out[sign_in] = self.rig.now()
        self.rig.front.generation.sessions.forget(self.rig.session(id=sign_in))
        for stream in self.streams:
            stream.signed_out |= stream.sign_in == sign_in
        self._look()

    @rule(halves=st.integers(1, 16))
    def pass_time(self, halves: int) -> None:
        """Let time pass, and look at all of it."""
        for _ in range(halves):
            self.rig.clock.advance(0.5)
            self._look()

    @rule()
    def pass_a_minute(self) -> None:
        """Let the shorter sessions end."""
        self.pass_time(2 * LASTS)

    def _look(self) -> None:
        now = self.rig.now()
        for stream in self.streams:
            allowed = (
                self.policy.allows(stream.person, websocket=stream.phase in ("switching", "tunnel"))
                and now < stream.ends
                and not stream.signed_out
            )
            if allowed:
                stream.since = None
            elif stream.since is None:
                stream.denied, stream.since = True, now
            if stream.lasting.cut:
                assert stream.denied, f"cut with permission: {stream}"
            elif stream.since is not None:
                assert now - stream.since < PATIENCE, f"outlives its permission: {stream}"

    @invariant()
    def nothing_failed(self) -> None:
        """Nobody got a 500, and whoever was cut has its reason in the access log."""
        for entry in self.rig.logged:
            assert entry.status != 500, entry
            assert entry.error in ("", "Denied", "NoRoute", "StreamEnded", "ClientGone"), entry

    def teardown(self) -> None:
        """Nothing is left when it stops."""
        for stream in self.streams:
            if not stream.lasting.cut:
                stream.lasting.client.leaves()
        self.rig.sweep.stopService()
        for server in self.rig.upstreams.opened:
            server.protocol.connectionLost()
        self.rig.clock.advance(1)


Reloads.TestCase.settings = examples(20, steps=30)
ReloadsTests = Reloads.TestCase
