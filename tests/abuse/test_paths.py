"""
4.1: which route takes a request, however its path, host, method or address is spelled.

The oracle is no code of ours: what the upstream received is read by h11, looked up by a
linear scan, and read once more as lenient backends read it. Whatever was let through
without a session must be nobody's protected path in any of these readings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, ip_network
from ipaddress import IPv6Address as IPv6
from itertools import product
from typing import Any, ClassVar
from urllib.parse import quote, unquote_to_bytes

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from OpenSSL._util import lib
from twisted.internet.address import IPv6Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.access.authorizer import LocalAuthorizer
from pomeriumd.access.decision import Allow
from pomeriumd.access.routes import Route
from pomeriumd.errors import PomeriumError, ProviderError
from pomeriumd.net.contexts import CertificateStore
from pomeriumd.session.known import Known
from pomeriumd.session.session import Identity
from pomeriumd.settings.model import Origin, RouteSettings, UpstreamURL
from tests.support.certificates import NOW as CERTIFIED
from tests.support.certificates import leaf
from tests.support.handshakes import meet
from tests.support.rig import ALICE, NAVIGATION, NOW, request
from tests.support.settings import ISSUER, route
from tests.support.stand import Asked, Outcome, Stand, StandCase, named, public
from tests.support.variants import each_way, in_cases, lookalikes, readings

WAITING: dict[str, str] = {}
PARTLY: dict[str, str] = {
    "P6": "nothing rewrites a path but `to` with a path; whoever adds a rewriting setting",
    "P11": "HTTP/2's pseudo-fields; whoever adds HTTP/2 towards clients",
    "P18": "there is no HTTP/3; whoever adds QUIC gives it no early data either",
    "P19": "reload with a broken file; issue 4",
}

REFUSED = frozenset({302, 400, 401, 403, 404, 405, 421, 431, 501, 505})

ROUTES = (
    public("rest"),
    public("public", prefix="/public"),
    named("admin", prefix="/admin"),
    named("exact", path="/exact/secret"),
    named("files", regex="/files/[0-9]+"),
    named("people", regex="/@[a-z]+(?:/.*)?"),
)
GUARDED = frozenset({"admin", "exact", "files", "people"})


def owner(path: bytes) -> str:
    """Return whose a path is, by the manual's sentence and without our table."""
    plain = unquote_to_bytes(path)
    if plain == b"/exact/secret":
        return "exact"
    if re.fullmatch(rb"/files/[0-9]+", plain):
        return "files"
    if re.fullmatch(rb"/@[a-z]+(?:/.*)?", plain):
        return "people"
    for name in ("admin", "public"):
        prefix = f"/{name}".encode()
        if plain == prefix or plain.startswith(prefix + b"/"):
            return name
    return "rest"


class Paths(StandCase):
    """Sends requests for paths, and judges what became of them."""

    routes = ROUTES

    def ask_as_alice(self, target: bytes, *fields: tuple[bytes, bytes], **more: Any) -> Outcome:
        """Send the same with one."""
        return self.ask(target, (b"cookie", self.stand.cookie()), *fields, **more)

    def judged(self, target: bytes, *fields: tuple[bytes, bytes]) -> tuple[Outcome, Outcome]:
        """Send a target without and with a session; each outcome must be a safe one."""
        stranger, alice = self.ask(target, *fields), self.ask_as_alice(target, *fields)
        for outcome in (stranger, alice):
            if not outcome.asked:
                self.assertIn(outcome.status, REFUSED, target)
                continue
            path = outcome.one.path
            self.assertEqual(outcome.one.upstream, owner(path), target)
            self.assertEqual(outcome.logged[0].path, path, target)
            self.assertIsNotNone(CANONICAL.fullmatch(path), (target, path))
        for asked in stranger.asked:
            owners = {owner(reading) for reading in readings(asked.path)}
            self.assertEqual(owners & GUARDED, set(), (target, asked.path))
        return stranger, alice

    def refused(self, target: bytes, *fields: tuple[bytes, bytes]) -> None:
        """Find that a target is a 400 for everybody."""
        for outcome in self.judged(target, *fields):
            self.assertEqual((outcome.status, outcome.asked), (400, ()), target)

    def guarded(self, target: bytes, by: str, path: bytes) -> None:
        """Find that a target is one path of a protected route, however it is written."""
        stranger, alice = self.judged(target)
        self.assertEqual((stranger.status, stranger.asked), (401, ()), target)
        self.assertEqual((alice.one.upstream, alice.one.path), (by, path), target)


CANONICAL = re.compile(
    rb"(?!.*//)(?!.*/\.{1,2}(?:/|$))/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-F]{2})*"
)
"""No empty segment but the last, no dot segment, no escape in lower case."""


UP = (b"..", b"%2e%2e", b"%2E.", b".%2e", b"..;x", b"..;", b"..%00", b"..%3B", b"...", b"..%5c")
BETWEEN = (b"/", b"//", b"/./", b"/%2e/", b"\\", b"%2f", b"%5C", b"/;/", b"/.;x/", b"/x/../")


class DotSegmentTests(Paths):
    """P1: one canonical form, for the rule, the log and the upstream alike."""

    row = "P1"
    VARIANTS = tuple(
        dict.fromkeys(
            start + one + up + other + end
            for (start, end), one, up, other in product(
                ((b"/public", b"admin"), (b"/admin", b"public"), (b"/exact/x", b"secret")),
                BETWEEN,
                UP,
                BETWEEN[::2],
            )
        )
    )

    def test_every_walk(self) -> None:
        """Down, up and down again with every joint: what reaches an upstream is its own."""
        let_through = 0
        for target in self.VARIANTS:
            _, alice = self.judged(target)
            let_through += len(alice.asked)
        # Not all may be refused: then nothing would have been compared.
        self.assertGreater(let_through, 100)

    @given(
        st.lists(
            st.sampled_from(
                [
                    *BETWEEN,
                    *UP,
                    b"public",
                    b"admin",
                    b"exact",
                    b"secret",
                    b"files",
                    b"7",
                    b"?",
                    b"@bob",
                    b"%40bob",
                ]
            ),
            max_size=8,
        )
    )
    @settings(max_examples=300)
    def test_any_walk(self, pieces: list[bytes]) -> None:
        """Any row of such pieces."""
        self.judged(b"/" + b"".join(pieces))


class EscapedLetterTests(Paths):
    """P2: an escape that nobody needs is the letter itself."""

    row = "P2"
    VARIANTS = tuple(dict.fromkeys((*each_way(b"admin"), *each_way(b"admin/x-y_z~1.txt"))))

    def test_every_spelling(self) -> None:
        """A protected path stays protected, and the upstream gets its one spelling."""
        for escaped in self.VARIANTS:
            # An escaped slash is another matter: P3.
            target = b"/" + re.sub(rb"%2[fF]", b"/", escaped)
            path = b"/" + unquote_to_bytes(escaped)
            self.guarded(target, "admin", path)

    def test_signs_that_may_stand_raw(self) -> None:
        """An expression that names one of them is not passed by under its escape."""
        for sign in b"!$&'()*+,=:@":
            raw = bytes([sign])
            pattern = re.escape("/x/" + raw.decode() + "me") + "(?:/.*)?"
            stand = Stand(named("guarded", regex=pattern), public("rest"))
            for spelling in (raw, b"%%%02X" % sign, b"%%%02x" % sign):
                for shape in (b"/x/%bme", b"/x/%bme/y", b"/x/./%b%%6de/y", b"/x/y/../%bme"):
                    target = shape % spelling
                    self.assertEqual(stand.send(request(target)).status, 401, target)
                    alice = stand.send(request(target, (b"cookie", stand.cookie()))).one
                    self.assertEqual(alice.upstream, "guarded", target)
                    self.assertIn(b"/x/" + spelling.upper() + b"me", alice.path)
                near = stand.send(request(b"/x/%byou" % spelling)).one
                self.assertEqual(
                    (near.upstream, near.path), ("rest", b"/x/%byou" % spelling.upper())
                )
                # Without its parameter it would be the other's.
                odd = stand.send(request(b"/x/%bme;z" % spelling))
                self.assertEqual((odd.status, odd.asked), (400, ()))


DELIMITERS = (0x2F, 0x5C, 0x3B, 0x25, 0x3F, 0x23, 0x7F, *range(0x20))


class DelimiterTests(Paths):
    """P3: what one decoder cuts at and another keeps is refused for everybody."""

    row = "P3"
    VARIANTS = tuple(
        dict.fromkeys(
            before + escaped + after
            for octet in DELIMITERS
            for escaped in (
                b"%%%02X" % octet,
                b"%%%02x" % octet,
                b"%%25%02x" % octet,
                b"%%2525%02x" % octet,
                b"%%u00%02x" % octet,
            )
            for before, after in (
                (b"/", b"admin"),
                (b"/admin", b""),
                (b"/admin", b"/../public"),
                (b"/public/..", b"admin"),
                (b"/exact", b"secret"),
            )
        )
    ) + tuple(
        b"/public/" + overlong + b"admin"
        for overlong in (
            *(b"%%%02x%%%02x" % (lead, low) for lead in (0xC0, 0xC1) for low in range(0x80, 0xC0)),
            *(b"%%e0%%%02x%%af" % low for low in range(0x80, 0xA0)),
            *(b"%%f0%%%02x%%80%%af" % low for low in range(0x80, 0x90)),
        )
    )

    def test_every_escape(self) -> None:
        """400, with a session and without one, and nothing reaches an upstream."""
        for target in self.VARIANTS:
            self.refused(target)


class FragmentTests(Paths):
    """P4: a fragment never ends a path, for there is none."""

    row = "P4"
    VARIANTS = tuple(
        dict.fromkeys(
            target[:place] + b"#" + target[place:]
            for target in (
                b"/admin/public",
                b"/public/x?a=b",
                b"/files/7?/public",
                b"http://app.example.com/admin",
            )
            for place in range(len(target) + 1)
        )
    )

    def test_raw(self) -> None:
        """A raw one is refused wherever it stands: in the path, in the query, in front."""
        for target in self.VARIANTS:
            self.refused(target)
            # Escaped it is a delimiter in a path (P3), and an ordinary byte in a query.
            path, mark, query = target.replace(b"#", b"%23").partition(b"?")
            if b"%23" in path:
                self.refused(path + mark + query)
            else:
                _, alice = self.judged(path + mark + query)
                self.assertEqual(alice.one.target, path + mark + query)


QUERY_PIECES = (
    b"/public",
    b"/a.css",
    b"/../a.css",
    b"?/public/a.css",
    b"%3F/public",
    b"%2Fpublic%2Fa.css",
    b";/a.css",
    b"&/a.css",
    b"=/a.css",
    b"%23/a.css",
    b"%00/a.css",
    b"\\a.css",
    b"http://app.example.com/a.css",
    b"/../../public/a.css",
)


class QueryTests(Paths):
    """P5: rules see the path, and nothing of the query."""

    row = "P5"
    VARIANTS = tuple(
        dict.fromkeys(
            b"?" + one + joint + other
            for one, joint, other in product(QUERY_PIECES, (b"", b"&x="), (b"", *QUERY_PIECES))
        )
    )

    @classmethod
    def setUpClass(cls) -> None:
        """Make an expression public that a whole URL would match."""
        cls.stand = Stand(
            public("assets", regex=r"/.*\.(?:css|js)"),
            public("public", prefix="/public"),
            named("rest"),
        )

    def test_no_query_opens_a_path(self) -> None:
        """A protected path stays protected, and its query arrives untouched."""
        for query in self.VARIANTS:
            target = b"/admin" + query
            self.assertEqual(self.ask(target).status, 401, target)
            alice = self.ask_as_alice(target)
            self.assertEqual((alice.one.upstream, alice.one.target), ("rest", target))

    def test_no_query_closes_one(self) -> None:
        """An open one stays open, with any query."""
        for query in self.VARIANTS:
            self.assertEqual(self.ask(b"/a.css" + query).one.upstream, "assets", query)

    @given(st.from_regex(rb"[!-\"$-~]{0,40}", fullmatch=True))
    def test_any_query(self, query: bytes) -> None:
        """Any bytes that may stand there."""
        self.assertEqual(self.ask(b"/admin?" + query).status, 401)
        self.assertEqual(self.ask_as_alice(b"/admin?" + query).one.target, b"/admin?" + query)


class PrefixTests(Paths):
    """P6: a prefix takes whole segments, and what follows never leaves the upstream's own path."""

    row = "P6"
    VARIANTS = tuple(
        dict.fromkeys(
            b"/api" + suffix + tail
            for suffix, tail in product(
                (
                    *(bytes([octet]) for octet in range(0x21, 0x7F) if octet not in b"#?/"),
                    *(b"%%%02X" % octet for octet in range(256)),
                    b"..",
                    b"..;",
                    b".%2e",
                    b"x",
                    b"-v2",
                ),
                (b"", b"/", b"/foo", b"/../api", b"/../../secret", b"../secret"),
            )
        )
    )

    @classmethod
    def setUpClass(cls) -> None:
        """Make a prefix public in front of a protected rest; both upstreams have a path."""
        cls.stand = Stand(
            public("api", prefix="/api", to=UpstreamURL("http", "api", 80, "/base/open")),
            named("rest", to=UpstreamURL("http", "rest", 80, "/base")),
        )

    def test_whole_segments(self) -> None:
        """Whatever follows the prefix without a slash is not under it, in any reading."""
        reached = 0
        for target in self.VARIANTS:
            outcome = self.ask(target)
            for asked in outcome.asked:
                reached += 1
                self.assertEqual(asked.upstream, "api", target)
                for reading in readings(asked.path):
                    plain = reading + b"/"
                    self.assertTrue(plain.startswith(b"/base/open/api/"), (target, reading))
            if not outcome.asked:
                self.assertIn(outcome.status, REFUSED, target)
        self.assertGreater(reached, 5)

    def test_the_server_as_a_whole(self) -> None:
        """An asterisk is no path, and becomes none behind the path that `to` names."""
        outcome = self.ask_as_alice(b"*", method=b"OPTIONS")
        self.assertEqual((outcome.one.upstream, outcome.one.target), ("rest", b"*"))
        self.assertEqual(self.ask(b"*", method=b"OPTIONS").status, 401)

    def test_the_upstreams_own_path(self) -> None:
        """With a session too, nothing climbs out of the path that `to` names."""
        for target in self.VARIANTS:
            for asked in self.ask_as_alice(target).asked:
                for reading in readings(asked.path):
                    self.assertTrue((reading + b"/").startswith(b"/base/"), (target, reading))


def _escaped(word: bytes) -> bytes:
    return b"".join(b"%%%02x" % octet for octet in word)


class CaseTests(Paths):
    """P7: a path is compared byte by byte, in one place, whatever the spelling of a byte."""

    row = "P7"
    VARIANTS = in_cases(b"admin")

    @classmethod
    def setUpClass(cls) -> None:
        """Ask for one path in its capitals, and for another in any."""
        cls.stand = Stand(
            named("folded", regex="(?i)/secret(?:/.*)?"),
            named("admin", prefix="/admin"),
            public("rest"),
        )

    def test_escaped_capitals_are_capitals(self) -> None:
        """Each mixture gets one decision, escaped or not."""
        for word, tail in product(self.VARIANTS, (b"", b"/x%20y")):
            upstream = "admin" if word == b"admin" else "rest"
            for escaped in (0, 1, 3, 5):
                target = b"/" + _escaped(word[:escaped]) + word[escaped:] + tail
                stranger, alice = self.ask(target), self.ask_as_alice(target)
                self.assertEqual(stranger.status, 401 if upstream == "admin" else 200, target)
                self.assertEqual(alice.one.upstream, upstream, target)
                self.assertEqual(alice.one.path, b"/" + word + tail, target)

    def test_a_rule_that_folds(self) -> None:
        """An expression that folds case does so for every spelling."""
        for word in in_cases(b"secret"):
            for target in (b"/" + word, b"/" + _escaped(word[:1]) + word[1:] + b"/x"):
                self.assertEqual(self.ask(target).status, 401, target)


HOSTS = 150
"""More than the hundred above which one of our kin compared hosts in another way."""


class HostCaseTests(Paths):
    """P8: a host has one spelling, made once, before anything looks at it."""

    row = "P8"
    VARIANTS = tuple(
        host + dot + port
        for host, dot, port in product(
            (*in_cases(b"a-user")[::3], b"a-user", b"A-USER"),
            (b".Example.COM", b".example.com.", b".EXAMPLE.com."),
            (b"", b":443", b":8443", b":0443"),
        )
    )

    @classmethod
    def setUpClass(cls) -> None:
        """Have many hosts, one of them protected."""
        cls.stand = Stand(
            *(
                public("rest", from_=Origin("https", f"h{n}.example.com", 443))
                for n in range(HOSTS)
            ),
            named(
                "user",
                from_=Origin("https", "a-user.example.com", 443),
                preserve_host_header=True,
            ),
        )

    def test_every_spelling_is_the_host(self) -> None:
        """Without a session 401; with this host's session its upstream, and its one name."""
        cookie = self.stand.cookie(audience="a-user.example.com:443")
        for host in self.VARIANTS:
            self.assertEqual(self.stand.send(request(host=host)).status, 401, host)
            outcome = self.stand.send(request(b"/", (b"cookie", cookie), host=host))
            self.assertEqual(outcome.one.upstream, "user", host)
            self.assertEqual(outcome.logged[0].host, b"a-user.example.com", host)
            for name in (b"host", b"x-forwarded-host"):
                (came,) = outcome.one.all(name)
                self.assertEqual(came.partition(b":")[0], b"a-user.example.com", host)

    def test_the_sign_in_host_too(self) -> None:
        """The host of our own sign-in is never a route's, in any spelling."""
        for host in (b"AUTH.example.com", b"auth.example.com.", b"Auth.Example.Com.:443"):
            outcome = self.stand.send(request(b"/ping", host=host))
            self.assertEqual((outcome.status, outcome.asked), (200, ()), host)
            self.assertEqual(outcome.logged[0].decision, "own", host)


HOST = b"app.example.com"


class HostGrammarTests(Paths):
    """P9: a Host field is a host and a port, or the request is refused."""

    row = "P9"
    VARIANTS = tuple(
        dict.fromkeys(
            (
                *(
                    HOST[:place] + bytes([octet]) + HOST[place:]
                    for octet in range(256)
                    for place in (0, 3, len(HOST))
                ),
                *(
                    HOST + junk
                    for junk in (
                        b"/?",
                        b"/public",
                        b"/#",
                        b"#/public",
                        b"?/public",
                        b"@other.example.com",
                        b":443/public",
                        b":443@other.example.com",
                        b":",
                        b":0",
                        b":65536",
                        b":4 43",
                        b":443:443",
                        b":+443",
                        b", other.example.com",
                        b" other.example.com",
                        b"..",
                        b"%2e",
                        b"%00",
                        b"%2fpublic",
                        b"\\public",
                        b";x",
                    )
                ),
                *(
                    junk + HOST
                    for junk in (b"user@", b"user:pass@", b"http://", b"//", b"[", b"[::1]", b".")
                ),
            )
        )
    )

    @classmethod
    def setUpClass(cls) -> None:
        """Make the host public: nothing but its grammar keeps a request out."""
        cls.stand = Stand(public("rest"))

    def test_every_byte_everywhere(self) -> None:
        """Only a spelling of the host itself reaches its upstream; no junk is cut off."""
        itself = re.compile(rb"[\t ]*app\.example\.com\.?(?::[0-9]{1,5})?[\t ]*", re.IGNORECASE)
        for host in self.VARIANTS:
            outcome = self.stand.send(request(host=host))
            if outcome.asked:
                self.assertIsNotNone(itself.fullmatch(host), host)
            else:
                self.assertIn(outcome.status, (400, 404), host)
            if not re.fullmatch(rb"[\t ]*[A-Za-z0-9_.:-]*[\t ]*", host):
                self.assertEqual(outcome.status, 400, host)


@attrs.define
class Remembering:
    """The real authorizer, and the routes that it was asked about."""

    routes: list[Route] = attrs.Factory(list)
    heard, patience = True, 0.0

    def decide(self, route: Route, known: Known | None, _: object = None) -> Any:
        """Remember the route, and decide."""
        self.routes.append(route)
        return LocalAuthorizer().decide(route, known)


ELSEWHERE = (
    b"/public",
    b"/public/../admin",
    b"http://app.example.com/public",
    b"https://other.example.com/admin",
    b"//app.example.com/public",
    b"app.example.com/public",
)
ELSEWHERE_NAMES = (
    b"host-override",
    b"x-forwarded-host",
    b"x-forwarded-path",
    b"x-forwarded-prefix",
    b"x-forwarded-uri",
    b"x-original-url",
    b"x-rewrite-url",
    b"x-envoy-original-path",
    b"referer",
    b"destination",
)


class OneLookupTests(Paths):
    """P10: the route that was found is the one that is judged, logged and used."""

    row = "P10"
    VARIANTS = tuple(
        (target, name, value)
        for target, name, value in product(
            (
                b"/admin",
                b"/admin?/public",
                b"http://app.example.com/admin",
                b"HTTPS://APP.example.com.:443/admin/x",
                b"http://app.example.com?/public",
                b"/public",
            ),
            ELSEWHERE_NAMES,
            ELSEWHERE,
        )
    )

    def test_one_route_for_all(self) -> None:
        """Authorizer, log and upstream name one route, whatever else a request speaks of."""
        stand = Stand(*ROUTES)
        asked = Remembering()
        generation = stand.front.generation
        stand.front.generation = attrs.evolve(
            generation,
            authorizer=asked,
        )
        cookie = (b"cookie", stand.cookie())
        for target, name, value in self.VARIANTS:
            asked.routes.clear()
            host = b"app.example.com:443" if b":443" in target else b"app.example.com"
            outcome = stand.send(request(target, cookie, (name, value), host=host))
            (judged,) = asked.routes
            self.assertEqual(outcome.one.upstream, judged.settings.to.host, target)
            self.assertEqual(outcome.logged[0].route, judged.id, target)
            self.assertEqual(owner(outcome.one.path), judged.settings.to.host, target)


class NoSlashTests(Paths):
    """P11: a target is a path that begins with a slash, or a whole URL for this host."""

    row = "P11"
    VARIANTS = tuple(
        dict.fromkeys(
            start + rest
            for start, rest in product(
                (
                    b"",
                    b".",
                    b"..",
                    b"*",
                    b"?",
                    b";",
                    b"@",
                    b":",
                    b"%2F",
                    b"%2f",
                    b"\\",
                    b"\\\\",
                    b"http:",
                    b"http:/",
                    b"https:",
                    b"ftp://app.example.com/",
                    b"file:///",
                    b"http://",
                    b"http:///",
                    b"http://app.example.com:80@evil.example/",
                    b"http://evil.example/",
                    b"app.example.com:443/",
                    b"service.Name/",
                ),
                (b"admin", b"public", b"x/admin", b"admin/Method"),
            )
        )
    )

    def test_refused(self) -> None:
        """400 for everybody, and no upstream hears of it."""
        for target in self.VARIANTS:
            self.refused(target)


class PatternTests(Paths):
    """P12: expressions match whole paths, and everything else is compared letter by letter."""

    row = "P12"
    VARIANTS = tuple(
        dict.fromkeys(
            before + body + after
            for before, body, after in product(
                (b"", b"/x", b"/x.", b"/%0a", b"//"),
                (b"/open/7", b"/op.n/7", b"/a.b", b"/aXb", b"/a%2Eb", b"/A.b", b"/a-b"),
                (b"", b"x", b"/", b"/x", b"%0A", b"%0a/x", b"%20", b".", b"$", b"|/x", b"/.."),
            )
        )
    )

    @classmethod
    def setUpClass(cls) -> None:
        """Open an expression that nobody anchored, and a path with a dot."""
        cls.stand = Stand(
            public("open", regex="/open/[0-9]"),
            public("alternatives", regex="/one|/two"),
            public("dotted", prefix="/a.b"),
            named("rest"),
        )

    def test_whole_paths(self) -> None:
        """Only a path that the expression takes whole, or that begins with those very bytes."""
        for target in self.VARIANTS:
            for asked in self.ask(target).asked:
                path = asked.path
                by_rule = "open" if path == b"/open/7" else "dotted"
                self.assertEqual(asked.upstream, by_rule, target)
                if by_rule == "dotted":
                    self.assertTrue((path + b"/").startswith(b"/a.b/"), target)

    def test_alternatives_are_whole_too(self) -> None:
        """The last alternative is not open to the right, nor the first to the left."""
        for target in (b"/one", b"/two"):
            self.assertEqual(self.ask(target).one.upstream, "alternatives")
        for target in (b"/onex", b"/one/two", b"/x/two", b"/twox", b"/x/one", b"/one%7C/two"):
            self.assertEqual(self.ask(target).status, 401, target)

    def test_hosts_and_domains_are_no_patterns(self) -> None:
        """The dots of a host and of an e-mail domain stand for dots."""
        stand = Stand(named("app", allowed_users=(), allowed_domains=("example.com",)))
        for octet in b"abcxyz019-_":
            host = HOST.replace(b".", bytes([octet]), 1)
            self.assertEqual(stand.send(request(host=host)).status, 404, host)
            identity = attrs.evolve(ALICE, email=f"alice@example{chr(octet)}com")
            outcome = stand.send(request(b"/", (b"cookie", stand.cookie(identity))))
            self.assertEqual((outcome.status, outcome.asked), (403, ()), identity)


ENDINGS = tuple(
    dict.fromkeys(
        junk + joint + "example.com" + tail
        for junk, joint, tail in product(
            ("evil", "x", "a.b", "alice", ""),
            ("", "-", "_", ".", ".-", "@"),
            ("", ".", ".evil.org", "x", "\0", " ", "%00"),
        )
    )
)


class SuffixTests(Paths):
    """P13: a name that ends (or begins) like a listed one is another name."""

    row = "P13"
    VARIANTS = tuple(ending for ending in ENDINGS if ending != "example.com")

    @classmethod
    def setUpClass(cls) -> None:
        """Let a domain in at the domain itself, and at a host of it."""
        rules: dict[str, Any] = {"allowed_users": (), "allowed_domains": ("example.com",)}
        cls.stand = Stand(
            named("site", from_=Origin("https", "example.com", 443), **rules),
            named("app", **rules),
        )

    def test_email_domains(self) -> None:
        """Nobody is let in whose address does not end with an at sign and the domain."""
        for ending in self.VARIANTS:
            for email in (f"mallory@{ending}", f"mallory@example.com@{ending}", ending):
                if re.fullmatch("[a-z.]+@example.com", email):
                    continue
                identity = attrs.evolve(ALICE, email=email)
                outcome = self.stand.send(request(b"/", (b"cookie", self.stand.cookie(identity))))
                # What is no address at all makes no session.
                self.assertEqual(outcome.status, 401 if email.count("@") != 1 else 403, email)
                self.assertEqual(outcome.asked, ())

    def test_hosts(self) -> None:
        """No host but the two has a route, and no session of theirs counts at another."""
        for ending in self.VARIANTS:
            host = ending.encode("ascii")
            cookie = self.stand.cookie(audience="example.com:443")
            outcome = self.stand.send(request(b"/", (b"cookie", cookie), host=host))
            if host in (b"example.com.", b"example.com "):
                self.assertEqual(outcome.one.upstream, "site")
            else:
                self.assertIn(outcome.status, (400, 404), host)
                self.assertEqual(outcome.asked, ())


class LookalikeTests(Paths):
    """P14: nothing is folded into ASCII, neither before nor after a rule looked."""

    row = "P14"
    VARIANTS = tuple(dict.fromkeys(lookalikes("admin.k")))

    def test_paths(self) -> None:
        """Such a path is another path, and stays escaped all the way."""
        for character, letter in self.VARIANTS:
            if letter not in "admin":
                continue
            target = b"/" + quote("admin".replace(letter, character, 1)).encode("ascii")
            stranger, alice = self.judged(target)
            self.assertEqual((stranger.status, alice.one.upstream), (200, "rest"), target)
            self.assertEqual(alice.one.path, target)

    def test_hosts(self) -> None:
        """In a host it is refused, raw as well as escaped."""
        for character, letter in self.VARIANTS:
            host = "admin.k.example.com".replace(letter, character, 1).encode()
            for spelling in (host, quote(host).encode("ascii")):
                outcome = self.stand.send(request(host=spelling))
                self.assertEqual((outcome.status, outcome.asked), (400, ()), spelling)

    def test_people(self) -> None:
        """In an e-mail address it is another person."""
        stand = Stand(named("app", allowed_users=("admin.k@example.com",)))
        allowed = attrs.evolve(ALICE, email="ADMIN.K@Example.com")
        self.assertEqual(
            stand.send(request(b"/", (b"cookie", stand.cookie(allowed)))).one.upstream, "app"
        )
        for character, letter in self.VARIANTS:
            identity = attrs.evolve(
                ALICE, email="admin.k@example.com".replace(letter, character, 1)
            )
            outcome = stand.send(request(b"/", (b"cookie", stand.cookie(identity))))
            self.assertEqual((outcome.status, outcome.asked), (403, ()), identity)


PASSED = (
    *("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY", "REPORT", "SEARCH"),
    *("PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "ACL", "BIND"),
)
OTHER_METHODS = (
    *("CONNECT", "TRACE", "TRACK", "DEBUG", "PRI", "PURGE", "BREW", "GETX", "XGET", "SOURCE"),
    *(word.lower() for word in PASSED),
    *(word.title() for word in PASSED),
    *("GET\t", "GET,", "GET/", "GE\0T", "G\u00cbT", "GET-", "-GET", "*", "", '"GET"'),
)
OVERRIDES = (
    b"X-HTTP-Method-Override",
    b"X-HTTP-Method",
    b"X-Method-Override",
    b"x_http_method_override",
    b"X.HTTP.Method.Override",
    b"X-HTTP_Method-Override",
    b"x-method_override",
)


class MethodTests(Paths):
    """P15: one method, the one that was sent; every one of them under the same rule."""

    row = "P15"
    VARIANTS = tuple(product((*PASSED, *OTHER_METHODS), (b"/admin", b"/public", b"/files/7")))

    def test_no_method_opens_a_path(self) -> None:
        """Without a session no method reaches a protected route; none in disguise passes."""
        for method, target in self.VARIANTS:
            word = method.encode()
            # Of CONNECT the target is an authority.
            goal = HOST + b":443" if method == "CONNECT" else target
            stranger = self.ask(goal, method=word)
            alice = self.ask_as_alice(goal, method=word)
            if method in PASSED:
                self.assertEqual(alice.one.method, word)
                wanted = 200 if target == b"/public" else 401
                self.assertEqual(stranger.status, wanted, (method, target))
            else:
                for outcome in (stranger, alice):
                    self.assertIn(outcome.status, (400, 405, 501), (method, target))
                    self.assertEqual(outcome.asked, ())

    def test_head_is_get(self) -> None:
        """HEAD gets what GET gets, everywhere, for everybody, without the body."""
        for target, fields in product(
            (b"/admin", b"/public", b"/ping", b"/.pomerium/", b"/exact/secret", b"/nothing"),
            ((), NAVIGATION, ((b"cookie", self.stand.cookie()),)),
        ):
            got, head = (self.ask(target, *fields, method=word) for word in (b"GET", b"HEAD"))
            self.assertEqual(head.status, got.status, target)
            self.assertEqual(len(head.asked), len(got.asked), target)
            self.assertEqual(head.answer.body, b"", target)

    def test_overrides_are_not_passed_on(self) -> None:
        """A field that would make another method of it does not arrive."""
        for name, method, other in product(OVERRIDES, (b"GET", b"POST"), (b"DELETE", b"PUT")):
            for outcome in (
                self.ask(b"/public", (name, other), method=method),
                self.ask_as_alice(b"/admin", (name, other), method=method),
            ):
                if not outcome.asked:
                    self.assertEqual(outcome.status, 400, name)
                    continue
                self.assertEqual(outcome.one.method, method)
                self.assertNotIn(other, outcome.one.octets)


AGENTS = (
    b"kube-probe/1.29",
    b"GoogleHC/1.0",
    b"ELB-HealthChecker/2.0",
    b"Envoy/HC",
    b"HAProxy/health",
    b"Consul Health Check",
    b"pomerium",
    b"pomeriumd/1.0",
    b"ping",
    b"healthz",
)


class HealthTests(Paths):
    """P16: health is a path of its own; who somebody says he is opens nothing."""

    row = "P16"
    VARIANTS = tuple(
        product(
            AGENTS,
            (b"user-agent", b"x-health-check", b"x-forwarded-uri", b"from"),
            (
                b"/admin",
                b"/admin/ping",
                b"/admin/healthz",
                b"/admin?/ping",
                b"/files/7",
                b"/exact/secret",
            ),
        )
    )

    def test_no_agent_opens_a_path(self) -> None:
        """A protected path is a 401 for each of them."""
        for agent, name, target in self.VARIANTS:
            outcome = self.ask(target, (name, agent))
            self.assertEqual((outcome.status, outcome.asked), (401, ()), (agent, name, target))

    def test_health_is_one_path(self) -> None:
        """Only the very path is answered by us; what resembles it is the policy's."""
        stand = Stand(named("rest"))
        for path in (b"/ping", b"/healthz"):
            self.assertEqual(stand.send(request(path)).logged[0].decision, "own")
            for near in (
                path + b"/",
                path + b"x",
                path + b";x",
                path + b"/x",
                path + b".",
                path + b"%20",
                b"/x" + path,
                path.upper(),
                path.title(),
            ):
                outcome = stand.send(request(near, (b"user-agent", b"kube-probe/1.29")))
                self.assertIn(outcome.status, (400, 401), near)
                self.assertEqual(outcome.asked, ())


def as_six(address: IPv4Address) -> tuple[str, ...]:
    """Return the spellings of an IPv4 address mapped into IPv6."""
    mapped = IPv6((0xFFFF << 32) | int(address))
    return (
        f"::ffff:{address}",
        f"::FFFF:{address}",
        str(mapped),
        mapped.exploded,
        f"0:0:0:0:0:ffff:{address}",
        mapped.exploded.upper(),
    )


def not_mapped(address: IPv4Address) -> tuple[str, ...]:
    """Return IPv6 addresses that hold an IPv4 address and are not that host."""
    number = int(address)
    highs = (0, 0x64FF9B << 96, 0xFFFF << 48, 0xFFFE << 32, 0xFE80 << 112, 0x5EFE << 32)
    return (
        *(str(IPv6(high | number)) for high in highs),
        str(IPv6((0x2002 << 112) | (number << 80))),
        f"2001:db8::{address}",
    )


LISTED = tuple(
    IPv4Address(text) for text in ("10.0.0.1", "10.0.0.255", "10.200.3.4", "10.255.255.255")
)
STRANGERS = tuple(
    IPv4Address(text) for text in ("9.255.255.255", "11.0.0.0", "192.0.2.1", "172.10.0.1")
)


class MappedTests(SynchronousTestCase):
    """P17: an IPv4 client is one address, however a dual-stack socket shows it."""

    row = "P17"
    VARIANTS: ClassVar = (
        *((spelling, True) for address in LISTED for spelling in as_six(address)),
        *((spelling, False) for address in LISTED for spelling in not_mapped(address)),
        *((spelling, False) for address in STRANGERS for spelling in as_six(address)),
    )

    def setUp(self) -> None:
        """Trust a network of IPv4."""
        self.stand = Stand(public("rest"), trusted_proxies=(ip_network("10.0.0.0/8"),))

    def seen(self, peer: str, chain_: str) -> Asked:
        """Return what an upstream hears of a client that came through these."""
        return self.stand.send(
            request(b"/", (b"x-forwarded-for", chain_.encode())),
            peer=IPv6Address("TCP", peer, 4711),
        ).one

    def test_the_socket(self) -> None:
        """Mapped, a listed proxy is believed; an address that only holds its bytes is not."""
        for peer, listed in self.VARIANTS:
            first = self.seen(peer, "198.51.100.7").all(b"x-forwarded-for")[0].split(b", ")[0]
            self.assertEqual(first == b"198.51.100.7", listed, peer)

    def test_the_chain(self) -> None:
        """The same counts for a hop that a listed proxy names."""
        for hop, listed in self.VARIANTS:
            seen = self.seen("::ffff:10.0.0.9", f"198.51.100.7, {hop}")
            first = seen.all(b"x-forwarded-for")[0].split(b", ")[0]
            self.assertEqual(first == b"198.51.100.7", listed, hop)


EARLY_STORE = CertificateStore.of(
    [leaf("first.test").pair(), leaf("app.example.test").pair(), leaf("*.example.test").pair()],
    CERTIFIED,
)


class EarlyDataTests(SynchronousTestCase):
    """P18: no request is taken before its handshake is complete, so that its address is proved."""

    row = "P18"
    VARIANTS: ClassVar = tuple(
        product(
            (
                *(b"first.test", b"app.example.test", b"any.example.test", b"APP.EXAMPLE.TEST"),
                *(b"app.example.test.", b"unknown.test", b"a.b.example.test", None),
            ),
            (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION),
        )
    )

    def test_no_ticket_allows_any(self) -> None:
        """What a client gets to resume with allows it no byte of early data."""
        for name, version in self.VARIANTS:
            met = meet(EARLY_STORE, name, version=version)
            with self.assertRaises(SSL.WantReadError):
                met.client.recv(1)  # what has come is the tickets
            session = met.client.get_session()
            assert session is not None
            self.assertEqual(lib.SSL_SESSION_get_max_early_data(session._session), 0, name)


class Fallen(Exception):
    """What nobody thought of."""


class Lookalike:
    """Has all that an Allow has, and is none."""

    reasons = ("user-ok",)
    allow = allowed = True

    def __bool__(self) -> bool:
        """Be true."""
        return True


@attrs.define
class Answering:
    """An authorizer that answers what it was given."""

    answer: Callable[[], Any]
    heard, patience = True, 0.0

    def decide(self, route: Route, known: Known | None, _: object = None) -> Any:
        """Answer."""
        return self.answer()


def raising(error: BaseException) -> Callable[[], Any]:
    """Return what raises an error."""

    def answer() -> Any:
        raise error

    return answer


async def _later(answer: Any) -> Any:
    if isinstance(answer, BaseException):
        raise answer
    return answer


NO_DECISIONS: tuple[Any, ...] = (
    *(None, True, False, 0, 1, 200, "", "allow", b"allow", (), ("allow",), {"allow": True}),
    *(Allow, Lookalike(), object(), NotImplemented, ..., [Allow(("user-ok",))]),
)
FAILURES: tuple[Exception, ...] = (
    *(ValueError("x"), KeyError("x"), TypeError("x"), RecursionError(), MemoryError()),
    *(AttributeError("x"), ZeroDivisionError(), StopIteration(), TimeoutError(), Fallen()),
    *(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"), AssertionError("x")),
)


class FailClosedTests(SynchronousTestCase):
    """P19: only a decision of ours lets anybody through; everything else closes the route."""

    row = "P19"
    VARIANTS: ClassVar[tuple[tuple[str, Callable[[], Any]], ...]] = (
        *((repr(one), lambda one=one: one) for one in NO_DECISIONS),
        *((f"later {one!r}", lambda one=one: _later(one)) for one in NO_DECISIONS),
        *((f"Deferred {one!r}", lambda one=one: succeed(one)) for one in NO_DECISIONS),
        *((f"raises {one!r}", raising(one)) for one in FAILURES),
        *((f"raises {one!r} later", lambda one=one: _later(one)) for one in FAILURES),
        *((f"fails with {one!r}", lambda one=one: fail(one)) for one in FAILURES),
    )

    def asked(self, stand: Stand, answer: Callable[[], Any]) -> Outcome:
        """Ask a daemon whose authorizer answers so, as Alice."""
        stand.front.generation = attrs.evolve(
            stand.front.generation,
            authorizer=Answering(answer),
        )
        return stand.send(request(b"/", (b"cookie", stand.cookie())))

    def test_no_decision(self) -> None:
        """500, one alarm in the log, and the upstream is never asked; of a public route too."""
        for stand in (Stand(named("app")), Stand(public("app"))):
            for name, answer in self.VARIANTS:
                outcome = self.asked(stand, answer)
                self.assertEqual((outcome.status, outcome.asked), (500, ()), name)
                self.assertEqual(len(self.flushLoggedErrors()), 1, name)

    def test_a_known_failure(self) -> None:
        """An error of ours is the answer that it stands for."""
        for error in (ProviderError("down"), PomeriumError("broken")):
            for answer in (raising(error), lambda error=error: _later(error)):
                outcome = self.asked(Stand(named("app")), answer)
                self.assertEqual((outcome.status, outcome.asked), (error.status, ()))

    def test_a_decision_that_does_not_come(self) -> None:
        """Who waits for a decision waits, and reaches nobody."""
        outcome = self.asked(Stand(public("app")), Deferred)
        self.assertEqual((outcome.status, outcome.asked), (0, ()))

    def test_rules_that_say_nothing(self) -> None:
        """A route without a rule, or with none that could ever be met, admits nobody."""
        nobody: Iterable[RouteSettings] = (
            route(),
            *(route(allowed_users=(entry,)) for entry in ("", "@", "@example.com", "a@b@c", "a@")),
            *(route(allowed_domains=(entry,)) for entry in ("", "@", "a@example.com", "@b")),
            route(allowed_groups=("",)),
        )
        people = [
            Identity(issuer=ISSUER, subject=subject, email=email, groups=groups)
            for subject in ("", "alice", "@")
            for email in (None, "", "@", "@example.com", "a@b@c", "a@", "alice@")
            for groups in ((), ("",), ("@",))
        ]
        for rule in nobody:
            stand = Stand(rule)
            for person in people:
                outcome = stand.send(
                    request(b"/", (b"cookie", stand.cookie(person, auth_time=NOW)))
                )
                self.assertIn(outcome.status, (401, 403), (rule, person))
                self.assertEqual(outcome.asked, ())
