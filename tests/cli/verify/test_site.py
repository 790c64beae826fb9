"""The application: which request gets which answer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import attrs
import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.cli.verify.assertion import Keys, NoKeys, read_keys
from pomeriumd.cli.verify.keys import KeySource
from pomeriumd.cli.verify.site import CONNECTIONS, Site
from pomeriumd.daemon.access_log import AccessEntry
from pomeriumd.net.server import ServerConnection
from tests.support.serving import Wire

HOST = "verify.example.com"
NOW = 1_800_000_000
KEY = ec.generate_private_key(ec.SECP256R1())
PUBLIC: dict[str, Any] = jwt.algorithms.ECAlgorithm.to_jwk(KEY.public_key(), as_dict=True)
JSON = ("accept", "application/json")


class Known(KeySource):
    """A key source that has the key, or does not."""

    def __init__(self, *, there: bool = True) -> None:
        self.there = there
        self.held: Deferred[None] | None = None

    async def having(self, kid: str) -> Keys:
        """Give the key when the test lets it."""
        if self.held is not None:
            await self.held
        if not self.there:
            raise NoKeys("no key set within 5 s")
        return read_keys({"keys": [{**PUBLIC, "kid": "k"}]})


@attrs.define
class Page:
    """An answer, taken apart."""

    status: int
    fields: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Return the body, decoded."""
        return orjson.loads(self.body)


def assertion(**changes: Any) -> tuple[str, str]:
    """Return the field with a good assertion, some claims changed."""
    claims = {"iss": HOST, "aud": HOST, "sub": "u1", "iat": NOW, "exp": NOW + 300, **changes}
    token = jwt.encode(claims, KEY, "ES256", headers={"kid": "k"})
    return "x-pomerium-jwt-assertion", token


class SiteTests(SynchronousTestCase):
    """Site answers over the proxy's own engine."""

    def setUp(self) -> None:
        """Make a site that knows the key."""
        self.clock = Clock()
        self.lines: list[AccessEntry] = []
        self.keys = Known()
        self.site = self.site_with(self.keys)

    def site_with(self, keys: KeySource | None) -> Site:
        """Return a site with these keys."""
        return Site(
            keys=keys,
            audience=HOST,
            now=lambda: NOW,
            clock=self.clock,
            record=self.lines.append,
        )

    def connect(self) -> tuple[ServerConnection, Wire]:
        """Return a connection."""
        connection, transport = ServerConnection(self.site), Wire()
        connection.makeConnection(transport)
        return connection, transport

    def ask(
        self, path: str, *fields: tuple[str, str], method: str = "GET", body: bytes = b""
    ) -> Page:
        """Return the answer to one request."""
        connection, transport = self.connect()
        lines = [f"{method} {path} HTTP/1.1", f"host: {HOST}", "connection: close"]
        lines += [f"{name}: {value}" for name, value in fields]
        if body:
            lines.append(f"content-length: {len(body)}")
        connection.dataReceived("\r\n".join([*lines, "", ""]).encode() + body)
        return self.read(transport)

    def read(self, transport: Wire) -> Page:
        """Take an answer apart."""
        head, _, body = transport.value().partition(b"\r\n\r\n")
        first, *rest = head.decode().split("\r\n")
        fields = dict(line.split(": ", 1) for line in rest)
        return Page(int(first.split()[1]), fields, body)

    # Who you are

    def test_verified(self) -> None:
        """A good assertion is shown with its claims, but not what names the session."""
        said = self.ask("/", JSON, assertion(email="a@b", sid="s3cr3t-session")).json
        self.assertTrue(said["verified"])
        self.assertEqual(said["claims"]["email"], "a@b")
        page = self.ask("/", assertion(name="Alice <b>", sid="s3cr3t-session", jti="j"))
        self.assertIn(b"Hello, <bdi>Alice &lt;b&gt;</bdi>", page.body)
        self.assertNotIn(b"s3cr3t-session", page.body + orjson.dumps(said))

    def test_not_verified(self) -> None:
        """A bad assertion gives no claim, but the reason."""
        said = self.ask("/", JSON, assertion(aud="another.example.com")).json
        self.assertEqual((said["verified"], said["claims"]), (False, {}))
        self.assertEqual(
            said["why"],
            "The identity assertion is not good: made for another application,"
            " want the audience 'verify.example.com'.",
        )

    def test_what_is_missing(self) -> None:
        """Each way in which nothing can be verified has its words."""
        self.assertIn("no identity assertion", self.ask("/", JSON).json["why"])
        twice = self.ask("/", JSON, assertion(), assertion()).json
        self.assertEqual(twice["why"], "There is more than one identity assertion.")
        self.keys.there = False
        gone = self.ask("/", JSON, assertion()).json
        self.assertEqual(gone["why"], "The key set cannot be had: no key set within 5 s.")
        self.site = self.site_with(None)
        self.assertIn("--jwks-url", self.ask("/", JSON, assertion()).json["why"])

    def test_plain_identity_fields_prove_nothing(self) -> None:
        """Who reaches us past the proxy can send those as well."""
        field = ("x-pomerium-authenticated-user-email", "a@b")
        said = self.ask("/", JSON, field).json
        self.assertEqual((said["verified"], said["claims"]), (False, {}))
        self.assertIn(list(field), said["headers"])

    def test_credentials_are_not_shown(self) -> None:
        """A screenshot of the page gives nothing away."""
        fields = (
            ("cookie", "a=s3cr3t"),
            ("authorization", "Bearer s3cr3t"),
            ("x-csrf-token", "s3cr3t"),
        )
        for asked in ((), (JSON,)):
            page = self.ask("/", *fields, assertion(), *asked)
            self.assertNotIn(b"s3cr3t", page.body)
            self.assertNotIn(assertion()[1][-20:].encode(), page.body)
            self.assertIn(b"[hidden, 8 bytes]", page.body)

    def test_what_a_stranger_sends_stays_text(self) -> None:
        """No field, path or claim becomes markup."""
        page = self.ask("/<script>x</script>".replace("<", "%3C"), ("x-a", "<img src=x>"))
        self.assertNotIn(b"<img src=x>", page.body)
        self.assertNotIn(b"<script>x", page.body)
        policy = page.fields["content-security-policy"]
        self.assertIn("default-src 'none'", policy)
        self.assertNotIn("unsafe", policy)

    def test_the_client_leaves_while_keys_are_fetched(self) -> None:
        """Nobody is answered, and nothing breaks."""
        self.keys.held = Deferred()
        connection, transport = self.connect()
        name, token = assertion()
        connection.dataReceived(f"GET / HTTP/1.1\r\nhost: x\r\n{name}: {token}\r\n\r\n".encode())
        connection.connectionLost()
        self.keys.held.callback(None)
        self.assertEqual(transport.value(), b"")
        self.assertEqual([line.status for line in self.lines], [499])

    # The rest

    def test_assets(self) -> None:
        """What the page names is there, and nothing else."""
        page = self.ask("/").body.decode()
        named = [part.split('"')[0] for part in page.split('="')[1:] if part.startswith("/assets/")]
        self.assertEqual(len(set(named)), 3)
        for path in named:
            self.assertEqual(self.ask(path).status, 200, path)
        for path in ("/assets/", "/assets/x", "/assets/verify.css", "/assets/../assets/x"):
            self.assertEqual(self.ask(path).status, 404, path)

    def test_upload(self) -> None:
        """An upload gets its size and hash, with either method."""
        for method in ("PUT", "POST"):
            said = self.ask("/upload", method=method, body=b"abc").json
            self.assertEqual(said, {"size": 3, "sha256": hashlib.sha256(b"abc").hexdigest()})
        self.assertEqual(self.ask("/upload", method="PUT").json["size"], 0)

    @given(st.lists(st.binary(min_size=1, max_size=50), max_size=20))
    @settings(max_examples=50)
    def test_upload_in_pieces(self, pieces: list[bytes]) -> None:
        """The hash is that of the whole, however it comes."""
        connection, transport = self.connect()
        connection.dataReceived(
            b"PUT /upload HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        for piece in pieces:
            connection.dataReceived(b"%x\r\n%b\r\n" % (len(piece), piece))
        connection.dataReceived(b"0\r\n\r\n")
        whole = b"".join(pieces)
        wanted = {"size": len(whole), "sha256": hashlib.sha256(whole).hexdigest()}
        self.assertEqual(self.read(transport).json, wanted)

    def test_an_upload_that_breaks_off(self) -> None:
        """Half an upload gets no hash."""
        connection, transport = self.connect()
        connection.dataReceived(b"PUT /upload HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc")
        connection.connectionLost()
        self.assertEqual(transport.value(), b"")

    def test_clock(self) -> None:
        """One event a second, until the number asked for."""
        connection, transport = self.connect()
        connection.dataReceived(b"GET /clock?ticks=3 HTTP/1.1\r\nhost: x\r\n\r\n")
        for wanted in (1, 2, 3, 3):
            self.assertEqual(transport.value().count(b"data: 2027-01-15T08:00:00Z\n\n"), wanted)
            self.clock.advance(1)
        self.assertIn(b"content-type: text/event-stream\r\n", transport.value())
        self.assertTrue(transport.value().endswith(b"0\r\n\r\n"))

    def test_the_clock_stops_for_who_left(self) -> None:
        """No timer outlives its client."""
        connection, _ = self.connect()
        connection.dataReceived(b"GET /clock HTTP/1.1\r\nhost: x\r\n\r\n")
        connection.connectionLost()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_clock_does_not_pile_up(self) -> None:
        """A client that does not read misses ticks."""
        connection, transport = self.connect()
        connection.dataReceived(b"GET /clock HTTP/1.1\r\nhost: x\r\n\r\n")
        connection.pauseProducing()
        size = len(transport.value())
        self.clock.pump([1] * 100)
        self.assertEqual(len(transport.value()), size)
        connection.resumeProducing()
        self.clock.advance(1)
        self.assertIn(b"id: 2\n", transport.value()[size:])

    def test_head_of_the_clock(self) -> None:
        """HEAD gets the head and no ticks."""
        page = self.ask("/clock", method="HEAD")
        self.assertEqual((page.status, page.body), (200, b""))
        self.assertEqual(self.lines[0].status, 200)

    def test_other_methods(self) -> None:
        """Each address takes its methods and names them."""
        for path, method, allow in (
            ("/", "POST", "GET, HEAD"),
            ("/clock", "DELETE", "GET, HEAD"),
            ("/upload", "GET", "PUT, POST"),
        ):
            page = self.ask(path, method=method)
            self.assertEqual((page.status, page.fields["allow"]), (405, allow))

    def test_nonsense(self) -> None:
        """What cannot be read is answered, too."""
        connection, transport = self.connect()
        connection.dataReceived(b"what\r\n\r\n")
        self.assertEqual(self.read(transport).status, 400)

    def test_ticks_of_all_kinds(self) -> None:
        """A number that is none means no number."""
        for query in ("ticks=", "ticks=x", "ticks=-1", "ticks=1&ticks=2", "ticks=%C2%B2"):
            connection, transport = self.connect()
            connection.dataReceived(f"GET /clock?{query} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            self.clock.pump([1, 1, 1])
            self.assertIn(b"id: 3\n", transport.value(), query)
            connection.connectionLost()

    def test_each_request_has_its_line(self) -> None:
        """The access log has path, status and sizes."""
        self.ask("/upload?x=s3cr3t", method="PUT", body=b"abc")
        line = self.lines[0]
        self.assertEqual((line.path, line.status, line.received), (b"/upload", 200, 3))

    def test_connections_are_bounded(self) -> None:
        """One connection too many is closed, and there is room again when one ends."""
        held = [self.connect() for _ in range(CONNECTIONS)]
        connection, transport = self.connect()
        self.assertTrue(transport.disconnecting)
        connection.connectionLost()
        held[0][0].connectionLost()
        self.assertFalse(self.connect()[1].disconnecting)
