"""One generation takes another's place: who is served by which, and that the old one goes."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.net.port import Port
from pomeriumd.net.server import ServerConnections
from pomeriumd.settings.model import Address, UpstreamURL
from tests.support.certificates import leaf
from tests.support.rig import ALICE, MALLORY, NAVIGATION, Got, Rig, parse, request
from tests.support.serving import MemoryClient
from tests.support.settings import route
from tests.support.streaming import OK, SWITCH, WEBSOCKET, websocket

HERE = route(allowed_users=("alice@example.com",), allow_websockets=True)
ELSEWHERE = attrs.evolve(HERE, to=UpstreamURL("http", "10.0.0.2", 8080, ""))


def marked(number: int) -> dict[str, Any]:
    """Return settings by which every answer says which generation gave it."""
    return {"headers": (("X-Generation", str(number)),)}


def generation(got: Got) -> bytes:
    """Return which generation gave an answer."""
    return got.field(b"x-generation")


class PhaseTests(SynchronousTestCase):
    """An exchange ends under the generation that it began with, wherever it was at the swap."""

    def setUp(self) -> None:
        """Serve the first one."""
        self.rig = Rig(HERE, **marked(1))
        self.cookie = (b"cookie", self.rig.cookie())
        self.client = self.rig.connect()

    def swap(self) -> None:
        """Put another in its place that leads elsewhere."""
        self.rig.reload(ELSEWHERE, **marked(2))

    def test_a_head_half_read(self) -> None:
        """An exchange begins with its whole head: it is the new one's."""
        octets = request(b"/", self.cookie)
        self.client.sends(octets[:40])
        self.swap()
        self.client.sends(octets[40:])
        self.rig.upstreams.last.sends(OK)
        self.assertEqual(generation(parse(self.client.got())), b"2")
        self.assertEqual(self.rig.upstreams.last.peer.host, "10.0.0.2")

    def test_a_body_under_way(self) -> None:
        """All of it arrives at the upstream that it began with, and the answer comes back."""
        self.client.sends(request(b"/", self.cookie, (b"content-length", b"6"), method=b"POST"))
        self.client.sends(b"abc")
        self.swap()
        self.client.sends(b"def")
        self.assertTrue(self.rig.upstreams.last.got().endswith(b"\r\n\r\nabcdef"))
        self.rig.upstreams.last.sends(OK)
        self.assertEqual(generation(parse(self.client.got())), b"1")

    def test_waiting_for_the_upstream(self) -> None:
        """Its answer goes out as the generation of the request wants it."""
        self.client.sends(request(b"/", self.cookie))
        self.swap()
        self.rig.upstreams.last.sends(OK)
        self.assertEqual(generation(parse(self.client.got())), b"1")

    def test_waiting_for_a_connection(self) -> None:
        """One that is being opened to a peer that is gone is opened, and serves it."""
        self.rig.upstreams.hold = True
        self.client.sends(request(b"/", self.cookie))
        self.swap()
        self.rig.upstreams.release()
        self.assertEqual(self.rig.upstreams.last.peer.host, "10.0.0.1")
        self.rig.upstreams.last.sends(OK)
        self.assertEqual(generation(parse(self.client.got())), b"1")
        self.assertTrue(self.rig.upstreams.last.gone)

    def test_sent_a_second_time(self) -> None:
        """A request that an old connection swallowed is sent again to where it was going."""
        for _ in range(2):
            self.client.sends(request(b"/", self.cookie))
            if not _:
                self.rig.upstreams.last.sends(OK)
        self.client.got()
        self.swap()
        self.rig.upstreams.last.closes()
        self.assertEqual(len(self.rig.upstreams.opened), 2)
        self.assertEqual(self.rig.upstreams.last.peer.host, "10.0.0.1")
        self.rig.upstreams.last.sends(OK)
        self.assertEqual(generation(parse(self.client.got())), b"1")

    def test_an_answer_under_way(self) -> None:
        """The rest of it follows."""
        self.client.sends(request(b"/", self.cookie))
        upstream = self.rig.upstreams.last
        upstream.sends(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabc")
        self.swap()
        upstream.sends(b"def")
        got = parse(self.client.got())
        self.assertEqual((generation(got), got.body), (b"1", b"abcdef"))

    def test_a_tunnel(self) -> None:
        """It goes on, both ways, and ends as either side wants it."""
        tunnel = websocket(self.rig)
        self.swap()
        self.assertTrue(tunnel.flows())
        tunnel.client.leaves()
        self.assertTrue(tunnel.upstream.gone)

    def test_an_upgrade_that_is_not_agreed_yet(self) -> None:
        """It becomes a tunnel all the same."""
        self.client.sends(request(b"/ws", self.cookie, *WEBSOCKET))
        self.swap()
        self.rig.upstreams.last.sends(SWITCH)
        self.assertTrue(self.client.got().startswith(b"HTTP/1.1 101"))

    def test_a_failure(self) -> None:
        """Its page is the old generation's, as the answer would have been."""
        self.client.sends(request(b"/", self.cookie))
        self.swap()
        self.rig.upstreams.last.closes()
        got = parse(self.client.got())
        self.assertEqual((got.status, generation(got)), (502, b"1"))

    def test_a_form_of_ours(self) -> None:
        """A page of ours whose body is under way is answered by whom it began with."""
        self.client.sends(
            request(b"/.pomerium/sign_out", (b"content-length", b"6"), method=b"POST"), b"a=b"
        )
        self.swap()
        self.client.sends(b"c=d")
        self.assertEqual(generation(parse(self.client.got())), b"1")

    def test_the_next_request_of_a_connection(self) -> None:
        """It is the new one's, on whatever connection it comes, waiting already or not."""
        self.client.sends(request(b"/", self.cookie), request(b"/second", self.cookie))
        self.swap()
        self.rig.upstreams.last.sends(OK)
        self.assertEqual(generation(parse(self.client.got())), b"1")
        self.assertEqual(self.rig.upstreams.last.peer.host, "10.0.0.2")
        self.rig.upstreams.last.sends(OK)
        self.assertEqual(generation(parse(self.client.got())), b"2")


class GoneTests(SynchronousTestCase):
    """
    What is out of force is freed by the last exchange that needed it.

    Not by the collector: it has been told to leave alone what was there at the start, and
    looking through everything would stop everybody.
    """

    def setUp(self) -> None:
        """Leave the collector out."""
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)

    def refs(self, rig: Rig) -> dict[str, Callable[[], object]]:
        """Return ways to see what a generation is made of, which hold nothing of it."""
        here = rig.front.generation
        return {
            "generation": weakref.ref(here),
            "routes": weakref.ref(here.routes),
            "sessions": weakref.ref(here.sessions),
            "logins": weakref.ref(here.logins),
            "own pages": weakref.ref(here.own),
            "settings": weakref.ref(rig.front.built.settings),
        }

    def alive(self, refs: dict[str, Callable[[], object]]) -> list[str]:
        """Say what of it is still there."""
        return [name for name, ref in refs.items() if ref() is not None]

    def served(self, rig: Rig) -> list[MemoryClient]:
        """Have everything answered that there is, and leave the connections open."""
        alice, mallory = ((b"cookie", rig.cookie(who)) for who in (ALICE, MALLORY))
        clients = []
        for octets in (
            request(b"/", alice),
            request(b"/x", alice, method=b"POST", body=b"abc"),
            request(b"/", mallory, *NAVIGATION),
            request(b"/", *NAVIGATION),
            request(b"/api"),
            request(b"/.pomerium/", alice, *NAVIGATION),
            request(b"/.pomerium/sign_out", alice, *NAVIGATION),
            request(b"/.pomerium/callback/?a=b", alice),
            request(b"/.well-known/pomerium/jwks.json"),
            request(b"/nobody", host=b"nobody.example.com"),
            request(b"/.pomerium/", *NAVIGATION, host=b"auth.example.com"),
            request(b"/.pomerium/sign_in", *NAVIGATION, host=b"auth.example.com"),
            b"nonsense\r\n\r\n",
        ):
            for _ in range(3):  # what comes more than once is remembered
                before = len(rig.upstreams.opened)
                client = rig.connect()
                client.sends(octets)
                if len(rig.upstreams.opened) > before or not client.got():
                    rig.upstreams.last.sends(OK)
                    client.got()
                clients.append(client)
        return clients

    def test_with_nobody_under_way(self) -> None:
        """It goes at once, though all its clients are still connected."""
        rig = Rig(HERE)
        clients = self.served(rig)
        refs = self.refs(rig)
        rig.reload(ELSEWHERE)
        self.assertEqual(self.alive(refs), [])
        self.assertGreater(len(clients), 30)

    def test_with_the_last_exchange(self) -> None:
        """A body of ours under way holds it until it has come."""
        rig = Rig(HERE)
        client = rig.connect()
        head = request(b"/.pomerium/sign_out", (b"content-length", b"6"), method=b"POST")
        client.sends(head, b"abc")
        refs = self.refs(rig)
        rig.reload(ELSEWHERE)
        self.assertIn("generation", self.alive(refs))
        client.sends(b"def")
        self.assertEqual(self.alive(refs), [])

    def test_who_waits_for_a_connection(self) -> None:
        """The client that leaves meanwhile takes the generation along."""
        rig = Rig(HERE)
        rig.upstreams.hold = True
        client = rig.connect()
        client.sends(request(b"/", (b"cookie", rig.cookie())))
        refs = self.refs(rig)
        rig.reload(ELSEWHERE)
        self.assertIn("generation", self.alive(refs))
        client.leaves()
        rig.upstreams.release()
        self.assertEqual(self.alive(refs), [])

    def test_streams_hold_none(self) -> None:
        """Of 200 generations, each with a stream that lasts, one is left: that in force."""
        rig = Rig(HERE)
        rig.sweeps()
        self.addCleanup(rig.sweep.stopService)
        streams, refs = [], []
        for number in range(200):
            streams.append(websocket(rig))
            refs.append(self.refs(rig))
            rig.reload(attrs.evolve(HERE, to=UpstreamURL("http", "10.0.0.1", 8000 + number, "")))
        left = [name for ref in refs for name in self.alive(ref)]
        self.assertEqual(left, [])
        rig.pass_time(5)
        self.assertTrue(all(stream.flows() for stream in streams))

    def test_what_was_made_of_it_goes_too(self) -> None:
        """Routes are freed by the sweep, in pieces, once nobody is served under them."""
        rig = Rig(*(route(f"h{number}.example.com") for number in range(500)))
        ways = rig.front.generation.ways
        parts: list[Callable[[], object]] = [weakref.ref(one) for one in (*ways, *ways.values())]
        del ways
        rig.reload(ELSEWHERE)
        pieces = list(rig.front.freeing())
        self.assertEqual([part for part in parts if part() is not None], [])
        self.assertGreater(len(pieces), 10)
        self.assertEqual(list(rig.front.freeing()), [])

    def test_one_that_is_needed_is_kept_whole(self) -> None:
        """The sweep takes nothing from a generation under which somebody is served."""
        rig = Rig(HERE)
        client = rig.connect()
        head = request(b"/.pomerium/sign_out", (b"content-length", b"6"), method=b"POST")
        client.sends(head, b"abc")
        rig.reload(ELSEWHERE)
        self.assertEqual(list(rig.front.freeing()), [])
        client.sends(b"def")
        self.assertNotEqual(list(rig.front.freeing()), [])

    def test_certificates(self) -> None:
        """A store that was replaced goes with the last handshake that began with it."""
        certified: dict[str, Any] = {"insecure_server": False}
        rig = Rig(HERE, certificates=(leaf("a.test").pair(),), **certified)
        store = rig.front.built.store
        assert store is not None
        gone: Callable[[], object] = weakref.ref(store)
        port = Port(
            Address("127.0.0.1", 0),
            ServerConnections(rig.front),
            rig.clock,
            deadlines=rig.front.deadlines,
            store=store,
        )
        del store
        rig.reload(HERE, certificates=(leaf("b.test").pair(),), **certified)
        self.assertIsNotNone(gone())
        port.store = rig.front.built.store
        self.assertIsNone(gone())
