"""The echo: a message of any size, in pieces, both ways at the client's pace."""

from __future__ import annotations

import base64

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from wsproto import ConnectionType, WSConnection
from wsproto.connection import Connection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Message,
    Ping,
    Pong,
    Request,
    TextMessage,
)

from pomeriumd.cli.verify.site import Site
from pomeriumd.cli.verify.websocket import PING
from pomeriumd.net.server import ServerConnection
from tests.support.serving import Wire


@attrs.define
class Client:
    """A client by wsproto, in memory."""

    clock: Clock
    frames: Connection | WSConnection = attrs.Factory(lambda: WSConnection(ConnectionType.CLIENT))
    transport: Wire = attrs.Factory(Wire)
    connection: ServerConnection = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        site = Site(keys=None, audience="", now=lambda: 0, clock=self.clock, record=lambda _: None)
        self.connection = ServerConnection(site)
        self.connection.makeConnection(self.transport)

    def send(self, event: Event) -> None:
        """Send an event's bytes."""
        self.connection.dataReceived(self.frames.send(event))

    def events(self) -> list[Event]:
        """Return what has come."""
        octets = self.transport.value()
        self.transport.clear()
        if octets:
            self.frames.receive_data(octets)
        return list(self.frames.events())

    def open(self) -> list[Event]:
        """Shake hands."""
        self.send(Request(host="x", target="/echo"))
        return self.events()

    def message(self) -> str | bytes:
        """Return the pieces that came, as one."""
        pieces = [event.data for event in self.events() if isinstance(event, Message)]
        return "".join(pieces) if isinstance(pieces[0], str) else b"".join(pieces)


class EchoTests(SynchronousTestCase):
    """Echo says back what it hears."""

    def client(self) -> Client:
        """Return a client whose hands are shaken."""
        client = Client(Clock())
        (accepted,) = client.open()
        self.assertIsInstance(accepted, AcceptConnection)
        return client

    def test_text_and_bytes(self) -> None:
        """A message comes back as what it was."""
        client = self.client()
        client.send(TextMessage("hé"))
        self.assertEqual(client.events(), [TextMessage("hé")])
        client.send(BytesMessage(b"\xff\x00"))
        self.assertEqual(client.message(), b"\xff\x00")

    @given(st.text(min_size=1), st.lists(st.integers(1, 40), min_size=1))
    @settings(max_examples=100)
    def test_in_any_pieces(self, text: str, sizes: list[int]) -> None:
        """Fragments and segments may be cut anywhere."""
        client = self.client()
        half = len(text) // 2
        octets = client.frames.send(TextMessage(text[:half], message_finished=False))
        octets += client.frames.send(Ping(b"between"))
        octets += client.frames.send(TextMessage(text[half:]))
        while octets:
            for size in sizes:
                client.connection.dataReceived(octets[:size])
                octets = octets[size:]
                if not octets:
                    break
        events = client.events()
        said = "".join(event.data for event in events if isinstance(event, TextMessage))
        self.assertEqual(said, text)
        self.assertEqual(sum(isinstance(event, Pong) for event in events), 1)

    def test_what_came_with_the_handshake(self) -> None:
        """A frame in the same segment as the handshake is echoed, too."""
        client = Client(Clock())
        hello = client.frames.send(Request(host="x", target="/echo"))
        early = Connection(ConnectionType.CLIENT).send(TextMessage("early"))
        client.connection.dataReceived(hello + early)
        self.assertIn(TextMessage("early"), client.events())

    def test_a_large_message_is_not_gathered(self) -> None:
        """The echo of a message's first part comes before its last."""
        client = self.client()
        octets = client.frames.send(BytesMessage(b"x" * 1_000_000))
        client.connection.dataReceived(octets[:500_000])
        first = client.message()
        self.assertTrue(0 < len(first) <= 500_000)
        client.connection.dataReceived(octets[500_000:])
        self.assertEqual(len(first) + len(client.message()), 1_000_000)

    def test_close(self) -> None:
        """A close is answered with the same code, and the connection ends."""
        client = self.client()
        client.send(CloseConnection(1000, "bye"))
        self.assertEqual(client.events(), [CloseConnection(1000, "bye")])
        self.assertTrue(client.transport.disconnecting)
        self.assertEqual(client.clock.getDelayedCalls()[1:], [])

    def test_broken_frames(self) -> None:
        """A frame against the rules is answered with the code for it, and the end."""
        for octets, code in (
            (b"\x81\x01a", 1002),  # not masked
            (b"\xf1\x80\0\0\0\0", 1002),  # reserved bits
            (b"\x80\x80\0\0\0\0", 1002),  # a continuation of nothing
            (b"\x89\xfe\xff\xff\0\0\0\0", 1002),  # a ping of 65,535 bytes
            (b"\x81\x81\0\0\0\0\xff", 1007),  # not UTF-8
            (b"\x88\x82\0\0\0\0\x03\xec", 1002),  # a close with a code that is none
        ):
            client = self.client()
            client.connection.dataReceived(octets)
            (closed,) = client.events()
            self.assertEqual(getattr(closed, "code", None), code, octets)
            self.assertTrue(client.transport.disconnecting)

    def test_nothing_after_the_close(self) -> None:
        """What a client sends after it said goodbye is not answered."""
        client = self.client()
        octets = client.frames.send(TextMessage("a")) + client.frames.send(CloseConnection(1000))
        late = Connection(ConnectionType.CLIENT).send(TextMessage("late"))
        client.connection.dataReceived(octets + late)
        self.assertEqual(client.events(), [TextMessage("a"), CloseConnection(1000, "")])

    def test_back_pressure(self) -> None:
        """A client that does not read its echo is not read from."""
        client = self.client()
        client.connection.pauseProducing()
        self.assertEqual(client.transport.producerState, "paused")
        client.connection.resumeProducing()
        self.assertEqual(client.transport.producerState, "producing")

    def test_pings_and_gives_up(self) -> None:
        """A client that is not heard of for two pings is gone."""
        client = self.client()
        client.clock.advance(PING)
        self.assertEqual(client.events(), [Ping(b"")])
        client.send(Pong(b""))
        client.clock.advance(PING)
        self.assertEqual(client.events(), [Ping(b"")])
        client.clock.advance(PING)
        self.assertTrue(client.transport.disconnecting)

    def test_the_client_leaves(self) -> None:
        """No timer outlives its client."""
        client = self.client()
        client.connection.connectionLost()
        self.assertEqual(client.clock.getDelayedCalls(), [])

    def test_bad_handshakes(self) -> None:
        """A handshake without a good key or version is refused before it is accepted."""
        good = base64.b64encode(b"x" * 16).decode()
        for fields in (
            {"sec-websocket-version": "13"},
            {"sec-websocket-key": good},
            {"sec-websocket-key": good, "sec-websocket-version": "8"},
            {"sec-websocket-key": "x", "sec-websocket-version": "13"},
            {"sec-websocket-key": good[:-4], "sec-websocket-version": "13"},
            {"sec-websocket-key": "!" * 24, "sec-websocket-version": "13"},
        ):
            client = Client(Clock())
            lines = ["GET /echo HTTP/1.1", "host: x", "connection: upgrade", "upgrade: websocket"]
            lines += [f"{name}: {value}" for name, value in fields.items()]
            client.connection.dataReceived("\r\n".join([*lines, "", ""]).encode())
            self.assertIn(client.transport.value()[9:12], (b"400", b"426"), fields)
