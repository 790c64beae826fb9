"""
Plain http leads nobody astray: whatever is asked, the answer is one of our origins or none.

Hosts, targets and header fields are those of the corpus in targets.py, sent as they are: what
the parser refuses is refused here, too, and what passes is judged by what came back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.plain_front import PlainFront
from pomeriumd.net.server import ServerConnection
from tests.abuse.targets import (
    AT_HOME,
    ELSEWHERE,
    ESCAPED,
    EVIL,
    INVISIBLE,
    LOOK_ALIKES,
    UNBOUNDED,
)
from tests.support.rig import Rig, parse
from tests.support.serving import MemoryClient
from tests.support.settings import route

APP = b"app.example.com"
OURS = (b"https://app.example.com/", b"https://auth.example.com/")
LOCATION = re.compile(rb"https://(?:app|auth)\.example\.com/[!-~]*")

HOSTS = (
    *UNBOUNDED,
    *LOOK_ALIKES,
    *(f"app.example.com{sign}{EVIL}" for sign in "@/\\?#%:;,|"),
    *(f"{EVIL}{sign}app.example.com" for sign in "@/\\?#%:;,|"),
    *(f"app.example.com{sign}" for sign in (*INVISIBLE, *ESCAPED)),
    *("app.example.com:99999", "app.example.com:x", "app.example.com:80@evil.example"),
    *("[::1]", "[app.example.com]", "0x7f.1", "127.1", "", "app.example.com, evil.example"),
    "app.example.com:443:443",
)

SLASHES = ("/", "//", "///", "/\\", "/./", "/.//")
TARGETS = (
    *(
        f"{slashes}{EVIL}{end}"
        for slashes, end in product(("/", "//", "///", "/\\", "/./", "/.//"), ("", "/", "/x?y"))
    ),
    *(f"/..//{EVIL}", f"/%2f{EVIL}", f"/%2F%2F{EVIL}", f"/%5c{EVIL}", f"/\t/{EVIL}", f"/@{EVIL}"),
    *(f"http://{EVIL}/", f"https://{EVIL}/", f"http://app.example.com@{EVIL}/"),
    *(f"http://{EVIL}@app.example.com/", f"http://app.example.com\\@{EVIL}/"),
    *(f"https:{EVIL}", f"//{EVIL}:80/", f"@{EVIL}", f":{EVIL}", f".{EVIL}", EVIL, "?x", "#x", ""),
    *(f"/a%0d%0aLocation:%20https://{EVIL}/", "/?x=%0d%0aSet-Cookie:%20a=b", "/%00", "/%", "/#x"),
    *(f"/{sign}" for sign in INVISIBLE),
)


class PlainHTTPCase(SynchronousTestCase):
    """A daemon in memory, asked over plain http."""

    def setUp(self) -> None:
        """Start it."""
        self.rig = Rig(route())

    def sends(self, octets: bytes) -> bytes:
        """Send these bytes and return all that came back."""
        client = MemoryClient(ServerConnection(PlainFront(self.rig.front)))
        client.protocol.makeConnection(client.transport)
        client.sends(octets)
        got = client.got()
        client.leaves()
        return got

    def never_leads_away(self, octets: bytes) -> None:
        """Assert that the answer is one of ours, and that the one answer is all that came."""
        got = self.sends(octets)
        answer = parse(got)
        self.assertEqual(got.count(b"HTTP/1.1 "), 1, octets)
        locations = answer.all(b"location")
        for location in locations:
            self.assertTrue(LOCATION.fullmatch(location), (octets, location))
            self.assertTrue(location.startswith(OURS), (octets, location))
            # Behind the origin is one slash, and no reader takes what follows for a host.
            self.assertNotIn(b"//", location.removeprefix(b"https://").partition(b"?")[0])
        self.assertEqual(len(locations), answer.status in (301, 308), octets)
        self.assertEqual(answer.all(b"set-cookie"), [])
        self.assertLess(answer.status, 500 if answer.status not in (501, 505) else 506)
        if not locations:
            self.assertNotIn(EVIL.encode(), got, octets)


class HostTests(PlainHTTPCase):
    """Tricks with the Host field."""

    def test_the_corpus(self) -> None:
        """A host that is not exactly one of ours gets no redirect, and is not shown again."""
        for text in dict.fromkeys(HOSTS):
            host = text.encode("utf-8", "surrogatepass")
            self.never_leads_away(b"GET /x HTTP/1.1\r\nhost: " + host + b"\r\n\r\n")

    def test_fields_that_proxies_send(self) -> None:
        """What says another host, scheme or port beside Host counts for nothing."""
        fields = ("x-forwarded-host", "forwarded", "x-host", "x-original-url", "x-rewrite-url")
        for name, value in product(fields, (EVIL, f"host={EVIL}", f"https://{EVIL}/", f"//{EVIL}")):
            octets = f"GET /x HTTP/1.1\r\nhost: app.example.com\r\n{name}: {value}\r\n\r\n"
            got = parse(self.sends(octets.encode()))
            self.assertEqual(got.field(b"location"), b"https://app.example.com/x")

    def test_two_hosts(self) -> None:
        """Two Host fields, in either order and any case, are refused."""
        for one, other in ((EVIL, "app.example.com"), ("app.example.com", EVIL)):
            octets = f"GET / HTTP/1.1\r\nHost: {one}\r\nhOst: {other}\r\n\r\n".encode()
            self.assertEqual(parse(self.sends(octets)).status, 400)
            self.never_leads_away(octets)

    def test_no_host(self) -> None:
        """So is none, also of HTTP/1.0."""
        for version in (b"1.0", b"1.1"):
            self.assertEqual(parse(self.sends(b"GET / HTTP/" + version + b"\r\n\r\n")).status, 400)


class TargetTests(PlainHTTPCase):
    """Tricks with the target."""

    def targets(self) -> Iterator[str]:
        """Yield all of the corpus."""
        yield from TARGETS
        yield from ELSEWHERE
        yield from AT_HOME
        yield from (f"/{text}" for text in ELSEWHERE)
        yield from (f"/?{text}" for text in ELSEWHERE)

    def test_the_corpus(self) -> None:
        """Whatever stands there, it stays at the host that was asked, or is refused."""
        for text in dict.fromkeys(self.targets()):
            target = text.encode("utf-8", "surrogatepass")
            self.never_leads_away(b"GET " + target + b" HTTP/1.1\r\nhost: " + APP + b"\r\n\r\n")

    @given(st.binary(max_size=40), st.binary(max_size=40))
    def test_any_octets(self, host: bytes, target: bytes) -> None:
        """Any octets as host and target give one answer, and no other place."""
        octets = b"GET /" + target + b" HTTP/1.1\r\nhost: " + host + b"\r\n\r\n"
        if b"\n" not in host + target:
            self.never_leads_away(octets)
        self.never_leads_away(
            b"GET /" + target.replace(b"\n", b"") + b" HTTP/1.1\r\nhost: " + APP + b"\r\n\r\n"
        )
