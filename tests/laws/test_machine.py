"""
Whatever client and upstream do, and whenever they leave.

Several clients and an application with few connections, driven over the wire through a whole
daemon: requests in pieces, pipelined, slow or broken off; answers early, late, in pieces, cut,
closed, or of rubbish; upgrades; pauses by buffers that are full; connections refused or held
up; and time that passes in between. What must hold is checked by the parties themselves (see
``tests.support.parties``), and at the end here: nothing is left over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twisted.internet.task import Clock

from pomeriumd.net.server import ServerConnection
from tests.support.crossing import PUBLIC
from tests.support.laws import examples
from tests.support.network import ROOM, Link, Network
from tests.support.parties import Application, Asked, Client, token
from tests.support.rig import Rig

MOST = 2
"""Connections to the upstream: few, so that there is a line."""

CLIENTS = 4

MOST_WAITING = ROOM + 6_000
"""Bytes that may wait for somebody who does not read: where the pause begins, and one piece
of the largest body with its head behind it."""

which = st.integers(0, 7)
sizes = st.sampled_from([0, 1, 2, 40, 300])
places = st.lists(st.integers(0, 400), max_size=3)
mostly = st.sampled_from([True, True, True, False])
KINDS = (
    *("counted", "counted", "counted", "chunked", "chunked", "close", "interim", "none"),
    *("broken", "longer"),
)


class Exchanges(RuleBasedStateMachine):
    """Clients, a daemon, an application."""

    def __init__(self) -> None:
        super().__init__()
        clock = Clock()
        self.network = Network(clock)
        self.rig = Rig(PUBLIC, upstream_max_connections=MOST, connector=self.network, clock=clock)
        self.clients: list[Client] = []
        self.gone: list[Client] = []
        self.applications: list[Application] = []
        self.book: dict[int, Asked] = {}
        self.stay = False

    def come(self, *, old: bool) -> None:
        """Let a client connect."""
        link = Link(self.rig.clock, deaf=True)
        self.clients.append(Client(link, old=old))
        link.connect(ServerConnection(self.rig.front))

    def read(self) -> None:
        """Let all take what has come to them, but those who are slow."""
        for application in self.alive():
            if not application.slow:
                application.read()
        for client in self.clients:
            if not client.slow:
                client.read()

    # Choosing

    def alive(self) -> list[Application]:
        """Return the upstream's connections that are open, as the network knows them."""
        known = {application.link for application in self.applications}
        for link in self.network.links:
            if link not in known:
                self.applications.append(Application(link, self.book))
        return [one for one in self.applications if not (one.link.lost or one.link.aborted)]

    def answering(self) -> list[Application]:
        """Return those with something of an answer still to send."""
        return [one for one in self.alive() if one.script]

    # Clients

    @precondition(lambda self: len(self.clients) < CLIENTS)
    @rule(old=st.booleans())
    def comes(self, old: bool) -> None:
        """A client connects."""
        self.come(old=old)

    def ask(
        self,
        number: int,
        method: bytes,
        *,
        size: int = 0,
        framing: str = "counted",
        cuts: Sequence[int] = (),
        upgrade: bool = False,
        at_once: bool = True,
    ) -> None:
        """Let a client ask something that was never asked before."""
        free = [one for one in self.clients if not one.done]
        client = free[number % len(free)]
        tag = len(self.book) + 1
        asked = Asked(tag, method, token(b"c", tag) * size, upgrade and not client.old)
        self.book[tag] = asked
        client.ask(asked, framing, cuts)
        while at_once and client.unsent:
            client.send()
        self.read()

    def somebody_asks(self) -> bool:
        """Return whether there is a client that may ask."""
        return any(not one.done for one in self.clients)

    @precondition(somebody_asks)
    @rule(number=which, method=st.sampled_from([b"GET", b"HEAD", b"POST"]))
    def asks(self, number: int, method: bytes) -> None:
        """A client asks, without a body."""
        self.ask(number, method)

    @precondition(somebody_asks)
    @rule(number=which, count=st.integers(2, 5))
    def pipelines(self, number: int, count: int) -> None:
        """A client asks several things at once; perhaps more than its connection will carry."""
        for _ in range(count):
            if self.somebody_asks():
                self.ask(number, b"GET")

    @precondition(somebody_asks)
    @rule(
        number=which,
        method=st.sampled_from([b"POST", b"PUT", b"GET"]),
        framing=st.sampled_from(["counted", "chunked", "expect"]),
        size=sizes,
        cuts=places,
        at_once=st.booleans(),
    )
    def asks_at_length(
        self, number: int, method: bytes, framing: str, size: int, cuts: list[int], at_once: bool
    ) -> None:
        """A client has something to send, perhaps piece by piece."""
        self.ask(number, method, size=size, framing=framing, cuts=cuts, at_once=at_once)

    @precondition(somebody_asks)
    @rule(number=which)
    def asks_for_a_tunnel(self, number: int) -> None:
        """A client asks for a WebSocket."""
        self.ask(number, b"GET", upgrade=True)

    @precondition(lambda self: any(one.unsent for one in self.clients))
    @rule(number=which, whole=st.booleans())
    def sends(self, number: int, whole: bool) -> None:
        """A client sends a piece, or all that it has."""
        ready = [one for one in self.clients if one.unsent]
        client = ready[number % len(ready)]
        client.send()
        while whole and client.unsent:
            client.send()
        self.read()

    @precondition(lambda self: self.clients)
    @rule(number=which, clean=st.booleans())
    def leaves(self, number: int, clean: bool) -> None:
        """A client goes, in the middle of whatever it is in; another one comes."""
        client = self.clients.pop(number % len(self.clients))
        self.gone.append(client)
        client.link.end(clean=clean)
        self.come(old=not number)

    @precondition(lambda self: any(one.tunnel for one in self.clients))
    @rule(number=which, size=sizes)
    def speaks(self, number: int, size: int) -> None:
        """A client sends through its tunnel."""
        ready = [one for one in self.clients if one.tunnel]
        ready[number % len(ready)].speak(size)
        self.read()

    # The application

    def answer(
        self, number: int, kind: str, size: int, cuts: Sequence[int], *, keep: bool, at_once: bool
    ) -> None:
        """Let the application answer on one connection."""
        ready = [one for one in self.alive() if one.ready]
        application = ready[number % len(ready)]
        application.prepare(kind, size, cuts, keep=keep)
        while at_once and application.script:
            application.step()
        self.read()

    def somebody_waits(self) -> bool:
        """Return whether the application has a request that it has not begun to answer."""
        return any(one.ready for one in self.alive())

    @precondition(somebody_waits)
    @rule(number=which, size=sizes)
    def answers_well(self, number: int, size: int) -> None:
        """The application answers, at once and whole, early perhaps; or opens a tunnel."""
        self.answer(number, "switch", size, (), keep=True, at_once=True)

    @precondition(somebody_waits)
    @rule(
        number=which,
        kind=st.sampled_from(KINDS),
        size=sizes,
        cuts=places,
        keep=mostly,
        at_once=st.booleans(),
    )
    def answers(
        self, number: int, kind: str, size: int, cuts: list[int], keep: bool, at_once: bool
    ) -> None:
        """The application answers in any way, perhaps piece by piece."""
        self.answer(number, kind, size, cuts, keep=keep, at_once=at_once)

    @precondition(lambda self: self.answering())
    @rule(number=which, whole=st.booleans())
    def goes_on(self, number: int, whole: bool) -> None:
        """The application sends a piece of an answer, or the rest."""
        ready = self.answering()
        application = ready[number % len(ready)]
        application.step()
        while whole and application.script:
            application.step()
        self.read()

    @precondition(lambda self: self.alive())
    @rule(number=which, clean=st.booleans())
    def dies(self, number: int, clean: bool) -> None:
        """A connection to the upstream ends: idle, before, inside or behind an answer."""
        alive = self.alive()
        application = alive[number % len(alive)]
        application.script.clear()
        # An answer that ends with the connection is whole if that ends in peace: nobody can
        # tell that more was to come.
        inside = application.current is not None and application.began
        application.link.end(clean=clean and not (inside and application.until_close))
        self.read()

    @precondition(lambda self: any(one.served and not one.current for one in self.alive()))
    @rule(number=which)
    def babbles(self, number: int) -> None:
        """An idle connection brings what nobody asked for."""
        idle = [one for one in self.alive() if one.served and not one.current]
        application = idle[number % len(idle)]
        application.read()
        free = application.current is None and application.tunnel is None
        # What is still on its way when the next request goes out cannot be told from an answer.
        if free and application.link.quiet:
            application.stray()
        self.read()

    @precondition(lambda self: any(one.tunnel for one in self.alive()))
    @rule(number=which, size=sizes)
    def speaks_back(self, number: int, size: int) -> None:
        """The application sends through a tunnel."""
        ready = [one for one in self.alive() if one.tunnel]
        ready[number % len(ready)].speak(size)
        self.read()

    @rule(number=which, client=st.booleans())
    def dawdles(self, number: int, client: bool) -> None:
        """Somebody reads nothing any more; or reads again."""
        if client and self.clients:
            slow = self.clients[number % len(self.clients)]
            slow.slow = not slow.slow
        elif alive := self.alive():
            application = alive[number % len(alive)]
            application.slow = not application.slow
        self.read()

    # The network and time

    @rule(mood=st.sampled_from(["open", "open", "refuse", "hold"]))
    def turns(self, mood: str) -> None:
        """Connections come about from now on, or do not, or wait."""
        self.network.mood = mood

    @precondition(lambda self: self.network.held)
    @rule(good=st.booleans())
    def settles(self, good: bool) -> None:
        """A connection that was held up comes about, or fails."""
        self.network.settle(good=good)

    @rule(seconds=st.sampled_from([0, 0, 0, 0.5, 3, 11, 31, 65, 310]))
    def time_passes(self, seconds: float) -> None:
        """Time passes; at the least, one turn of the reactor."""
        self.rig.clock.advance(0)
        self.rig.pass_time(seconds)
        self.read()

    @rule(size=sizes)
    def all_goes_well(self, size: int) -> None:
        """Whatever is under way on all connections comes to its end."""
        self.network.mood = "open"
        for application in self.alive():
            application.slow = False
        for client in self.clients:
            client.slow = False
        for _ in range(3):
            while self.network.held:
                self.network.settle(good=True)
            self.rig.clock.advance(0)
            for client in self.clients:
                while client.unsent:
                    client.send()
            self.read()
            for application in self.alive():
                if application.ready:
                    application.prepare("counted", size, [], keep=True)
                while application.script:
                    application.step()
            self.read()

    # What must hold at any time; the parties see to the rest.

    @invariant()
    def never_too_many(self) -> None:
        """The upstream never has more connections than it may."""
        opened = [link for link in self.network.links if link.open]
        assert len(opened) + len(self.network.held) <= MOST

    @invariant()
    def little_is_held(self) -> None:
        """Whoever does not read pauses who feeds him: little waits in between."""
        for link in [*self.network.links, *(one.link for one in self.clients)]:
            assert len(link.waiting) <= MOST_WAITING

    @invariant()
    def nothing_is_logged_twice(self) -> None:
        """No request has two lines."""
        ids = [entry.request_id for entry in self.rig.logged]
        assert len(ids) == len(set(ids))

    @initialize(stay=st.booleans())
    def decides(self, stay: bool) -> None:
        """In the end the clients leave; or they stay, silent, and wait for us to close."""
        self.stay = stay

    def teardown(self) -> None:
        """Nothing comes any more, and time passes: nothing is left over, and all works."""
        for client in self.clients:
            if not self.stay:
                client.link.end(clean=True)
        # The longest wait of ours is five minutes; and what was pipelined waits in turn, for an
        # upstream that says nothing.
        for _ in range(30 + 2 * len(self.book)):
            self.rig.pass_time(31)
            self.read()
            if not self.rig.clock.getDelayedCalls():
                break
        assert not self.network.held
        assert not self.alive(), "a connection to the upstream was left open"
        everybody = [one.link for one in self.clients + self.gone]
        assert not [link for link in everybody if link.open], "a client was never left"
        for link in everybody:
            link.take()  # real transports wait a minute at most for a client to do so
        self.rig.clock.advance(0)
        assert not self.rig.clock.getDelayedCalls(), self.rig.clock.getDelayedCalls()
        self.check_log()
        self.check_pool()
        assert not self.rig.clock.getDelayedCalls(), self.rig.clock.getDelayedCalls()

    def check_log(self) -> None:
        """Every request that anybody saw has one line."""
        paths = Counter(entry.path for entry in self.rig.logged)
        for number, asked in self.book.items():
            lines = paths[b"/n/%d" % number]
            assert lines == 1 if asked.seen else lines <= 1, f"{lines} lines for {number}"
        for client in self.clients + self.gone:
            assert not client.answered or self.rig.logged
        assert not [entry for entry in self.rig.logged if entry.status == 500]
        ids = sorted(entry.request_id for entry in self.rig.logged)
        assert ids == [f"rig-{count + 1:08x}" for count in range(len(ids))], "a line is missing"

    def check_pool(self) -> None:
        """As many requests as there may be connections each get one at once: none leaked."""
        self.network.mood = "open"
        before = len(self.network.links)
        links = []
        for _ in range(MOST):
            link = Link(self.rig.clock, deaf=True)
            link.connect(ServerConnection(self.rig.front))
            link.send(b"GET /n/0 HTTP/1.1\r\nHost: app.example.com\r\n\r\n")
            links.append(link)
        assert len(self.network.links) == before + MOST, "a place in the pool has leaked"
        for link in links:
            link.end(clean=False)
        self.rig.clock.advance(0)
        self.rig.pass_time(1)


Exchanges.TestCase.settings = examples(25, steps=40)
ExchangesTests = Exchanges.TestCase
