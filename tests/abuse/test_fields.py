"""
4.2: what the fields of a request may say, and what an upstream is told about who asks.

What arrives at an upstream is read by h11, and folded as the greediest backend folds it:
every sign of a name that is no letter or digit is one and the same.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network
from itertools import product
from typing import Any, ClassVar
from urllib.parse import unquote

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.cli.verify.assertion import Refused, read_keys, verified
from pomeriumd.errors import SettingsError
from pomeriumd.settings.model import Origin
from tests.support.rig import ALICE, MALLORY, NAVIGATION, NOW, parse, request
from tests.support.stand import Outcome, Stand, StandCase, named, public

WAITING: dict[str, str] = {}
PARTLY: dict[str, str] = {
    "H14": "calls between services have deadlines and sizes of their own; issue 5",
}

MARK = b"forged-1f4c"
"""Stands in forged values, and nowhere else."""

WEBSOCKET = (
    (b"connection", b"Upgrade"),
    (b"upgrade", b"websocket"),
    (b"sec-websocket-version", b"13"),
    (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
)

ROUTES = (
    public("open", prefix="/open"),
    named("any", prefix="/any", allowed_users=(), allow_any_authenticated_user=True),
    named("tunnel", prefix="/ws", allow_websockets=True),
    named("silent", prefix="/silent", pass_identity_headers=False),
    named("denied", prefix="/denied", allowed_users=("bob@example.com",)),
    named("rest"),
)

CLIENT = "203.0.113.9"
"""The address at the other end of each connection here."""


def folded(name: bytes) -> bytes:
    """Return a name as a backend sees it that keeps fields in variables."""
    return re.sub(rb"[^a-z0-9]", b"-", name.lower())


def titled(name: bytes) -> bytes:
    """Return a name as it is mostly written."""
    return b"-".join(word.capitalize() for word in name.split(b"-"))


def spellings(name: bytes, joints: bytes = b"-_.") -> Iterator[bytes]:
    """Give each spelling of a name with these signs in place of its hyphens."""
    words = name.split(b"-")
    for signs in product(joints, repeat=len(words) - 1):
        spelled = words[0] + b"".join(
            bytes([sign]) + word for sign, word in zip(signs, words[1:], strict=True)
        )
        yield from dict.fromkeys((spelled, spelled.upper(), titled(spelled)))


class Fields(StandCase):
    """Sends requests with fields of a stranger's making."""

    routes = ROUTES


NAMES_OF_PATHS = (
    b"x-forwarded-uri",
    b"x-forwarded-path",
    b"x-forwarded-url",
    b"x-forwarded-method",
    b"x-forwarded-prefix",
    b"x-original-url",
    b"x-original-uri",
    b"x-original-path",
    b"x-rewrite-url",
    b"x-envoy-original-path",
    b"x-accel-redirect",
    b"x_forwarded_uri",
    b"x-forwarded_uri",
    b"X.Forwarded.Uri",
)
OPEN_PATHS = (
    b"/open",
    b"/ping",
    b"/healthz",
    b"/.pomerium/",
    b"/.well-known/pomerium/jwks.json",
    b"https://app.example.com/open",
    b"/open/../rest",
    b"OPTIONS",
)


class OtherPathTests(Fields):
    """H1: the route is that of the path on the socket, whoever is trusted with addresses."""

    row = "H1"
    VARIANTS = tuple(product(NAMES_OF_PATHS, OPEN_PATHS, (b"/guarded", b"/open", b"/ws")))

    def test_the_path_on_the_socket(self) -> None:
        """No field opens a path or moves a request, not even from a trusted proxy."""
        trusting = Stand(*ROUTES, trusted_proxies=(ip_network(f"{CLIENT}/32"),))
        for stand in (self.stand, trusting):
            for name, value, target in self.VARIANTS:
                stranger = stand.send(request(target, (name, value)))
                wanted = 200 if target == b"/open" else 401
                self.assertEqual(stranger.status, wanted, (name, value, target))
                alice = stand.send(request(target, (b"cookie", stand.cookie()), (name, value)))
                upstream = {b"/open": "open", b"/ws": "tunnel"}.get(target, "rest")
                self.assertEqual((alice.one.upstream, alice.one.target), (upstream, target))
                self.assertNotIn(folded(name), {folded(n) for n, _ in alice.one.fields})


STRANGERS_FIELDS = (
    b"forwarded",
    b"x-forwarded",
    b"x-forwarded-by",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-port",
    b"x-forwarded-prefix",
    b"x-forwarded-proto",
    b"x-forwarded-scheme",
    b"x-forwarded-server",
    b"x-forwarded-ssl",
    b"x-forwarded-client-cert",
    b"x-real-ip",
    b"x-client-ip",
    b"x-cluster-client-ip",
    b"x-originating-ip",
    b"client-ip",
    b"true-client-ip",
    b"cf-connecting-ip",
    b"fastly-client-ip",
    b"x-host",
    b"x-scheme",
    b"x-url-scheme",
    b"front-end-https",
    b"x-request-id",
)


def right_counted(chain: list[str], peer: str, listed: Callable[[str], bool]) -> list[str]:
    """Return the addresses that count, the client first: a hop is believed by whom we list."""
    kept = [peer]
    for hop in reversed(chain):
        if not listed(kept[0]):
            break
        try:
            ip_address(hop)
        except ValueError:
            break
        kept.insert(0, hop)
    return kept


class ForwardedTests(Fields):
    """H2: who is no listed proxy says nothing about where a request came from."""

    row = "H2"
    trusting: Stand
    VARIANTS = tuple(
        (spelling, value)
        for name in STRANGERS_FIELDS
        for spelling in spellings(name, b"-_")
        for value in (MARK, b"198.51.100.7, " + MARK, b"for=" + MARK, b"https")
    )

    @classmethod
    def setUpClass(cls) -> None:
        """Start a daemon that lists nobody, and one that lists its client and a network."""
        super().setUpClass()
        networks = (ip_network(f"{CLIENT}/32"), ip_network("10.0.0.0/8"))
        cls.trusting = Stand(*ROUTES, trusted_proxies=networks)

    def test_a_strangers_word(self) -> None:
        """It reaches neither upstream, nor log, nor the address that a login comes back to."""
        for name, value in self.VARIANTS:
            through = self.ask(b"/open", (name, value))
            self.assertNotIn(MARK, through.one.octets, name)
            self.assertEqual(through.one.all(b"x-forwarded-for"), [CLIENT.encode()])
            self.assertEqual(through.one.all(b"x-forwarded-host"), [b"app.example.com"])
            self.assertEqual(through.one.all(b"x-forwarded-proto"), [b"http"])
            self.assertEqual(through.one.all(b"x-forwarded-port"), [b"80"])
            self.assertNotIn(MARK.decode(), repr(through.logged))
            login = self.ask(b"/guarded", (name, value), *NAVIGATION)
            self.assertEqual(login.status, 302, name)
            self.assertNotIn(MARK, login.got, name)

    @given(
        st.lists(
            st.sampled_from(
                ["10.0.0.1", "10.9.9.9", "198.51.100.7", "192.0.2.4", "2001:db8::1", "unknown", ""]
            ),
            max_size=6,
        )
    )
    @settings(max_examples=100)
    def test_hops_are_counted_from_the_right(self, chain: list[str]) -> None:
        """Behind a listed proxy, the client is the last hop that nobody listed."""

        def listed(text: str) -> bool:
            return text == CLIENT or text.startswith("10.")

        wanted = right_counted(chain, CLIENT, listed)
        sent = (b"x-forwarded-for", ", ".join(chain).encode())
        outcome = self.trusting.send(request(b"/open", sent))
        self.assertEqual(outcome.one.all(b"x-forwarded-for"), [", ".join(wanted).encode()])
        self.assertEqual(outcome.logged[0].client, wanted[0])


GOOD = "198.51.100.7"


class GarbageTests(Fields):
    """H3: what is no address is nobody's, and no reason to do anything else."""

    row = "H3"
    VARIANTS = tuple(
        dict.fromkeys(
            text.encode()
            for text in (
                *(
                    GOOD[:place] + junk + GOOD[place:]
                    for place in (0, 3, 12)
                    for junk in 'x:/["%-_'
                ),
                *(
                    GOOD + junk
                    for junk in (":80", "/32", ".", ".1", "%eth0", ";x", "\u00a0", "\u0667")
                ),
                *(f"fe80::1%{zone}" for zone in ("eth0", "\u00e9", "<b>", "a b", "1", "\u0661")),
                *("256.1.1.1", "1.2.3", "01.2.3.4", "0x7f.1", "2130706433", "127.1", "1e1.0.0.1"),
                *("[::1]", "[::1]:80", "::1::", ":::", "::ffff:999.1.1.1", "1:2:3:4:5:6:7:8:9"),
                *(
                    "unknown",
                    "_hidden",
                    "localhost",
                    "null",
                    "None",
                    "-",
                    "'",
                    '"',
                    "\u2026",
                    "a" * 9000,
                ),
                *("for=1.2.3.4", "1.2.3.4 5.6.7.8", "\u0661.2.3.4", "1\u30022.3.4", "\uff11.2.3.4"),
            )
        )
    )

    def test_no_exception_and_no_way_in(self) -> None:
        """The listed proxy itself is the client then; decisions stay what they are."""
        stand = Stand(*ROUTES, trusted_proxies=(ip_network(f"{CLIENT}/32"),))
        for garbage in self.VARIANTS:
            for value in (garbage, garbage + b", " + garbage, b"198.51.100.9, " + garbage):
                field = (b"x-forwarded-for", value)
                self.assertEqual(stand.send(request(b"/guarded", field)).status, 401, value)
                outcome = stand.send(request(b"/open", field))
                self.assertEqual(outcome.status, 200, value)
                self.assertEqual(outcome.one.all(b"x-forwarded-for"), [CLIENT.encode()], value)
                self.assertEqual(outcome.logged[0].client, CLIENT, value)


IDENTITY_NAMES = (
    b"remote-user",
    b"remote-groups",
    b"remote-email",
    b"x-remote-user",
    b"x-auth-user",
    b"x-auth-email",
    b"x-auth-request-user",
    b"x-auth-request-email",
    b"x-authenticated-user",
    b"x-authentik-username",
    b"x-forwarded-user",
    b"x-forwarded-email",
    b"x-forwarded-groups",
    b"x-webauth-user",
    b"x-vouch-user",
    b"x-user",
    b"x-goog-authenticated-user-email",
    b"x-goog-iap-jwt-assertion",
    b"x-ms-client-principal-name",
    b"x-amzn-oidc-data",
    b"tailscale-user-login",
    b"oidc-claim-email",
    b"ssl-client-s-dn",
    b"x-ssl-client-verify",
    b"client-cert",
    b"cf-access-authenticated-user-email",
    b"x-pomerium-jwt-assertion",
    b"x-pomerium-authenticated-user-id",
    b"x-pomerium-authenticated-user-email",
    b"x-pomerium-authenticated-user-groups",
    b"x-pomerium-claim-email",
    b"x-pomerium-claim-groups",
)


class FoldedTests(Fields):
    """H4: a name that a backend could take for an identity field ends here."""

    row = "H4"
    VARIANTS = tuple(
        dict.fromkeys(
            spelling
            for name in IDENTITY_NAMES
            for joints in (b"-_", b"-.", b"._", b"~")
            for spelling in spellings(name, joints)
        )
    )

    def test_under_no_spelling(self) -> None:
        """Neither name nor value arrives, at a public upstream or at a protected one."""
        names = set(IDENTITY_NAMES)
        ours = {
            folded(name)
            for name, _ in self.ask_as(ALICE, b"/guarded").one.fields
            if name.startswith(b"x-pomerium-")
        }
        self.assertEqual(len(ours), 4)
        for spelling in self.VARIANTS:
            for outcome, allowed in (
                (self.ask(b"/open", (spelling, MARK)), set()),
                (self.ask_as(ALICE, b"/guarded", (spelling, MARK)), ours),
            ):
                self.assertNotIn(MARK, outcome.one.octets, spelling)
                came = [folded(name) for name, _ in outcome.one.fields]
                self.assertEqual(names.intersection(came), allowed, spelling)
                self.assertEqual(len(came), len(set(came)), spelling)

    def test_spaces_and_controls_in_a_name(self) -> None:
        """A name that is no token is a 400."""
        for name, junk in product(IDENTITY_NAMES[:6], (b" ", b"\t", b"\0", b"\x0b", b"\xa0", b":")):
            for spelling in (name + junk, junk + name, name.replace(b"-", junk, 1)):
                if junk == b":" and not spelling.startswith(b":"):
                    continue  # ends the name there, and is another field
                outcome = self.ask(b"/open", (spelling, MARK))
                self.assertEqual((outcome.status, outcome.asked), (400, ()), spelling)


def _requests(stand: Stand, *forged: tuple[bytes, bytes]) -> Iterator[tuple[str, bytes]]:
    """Give a request for every way that one can end, each with the same fields."""
    alice, mallory = (
        (b"cookie", stand.cookie(identity, id=identity.subject)) for identity in (ALICE, MALLORY)
    )
    preflight = (
        (b"origin", b"https://other.example.com"),
        (b"access-control-request-method", b"PUT"),
        (b"access-control-request-headers", forged[0][0]),
    )
    yield "public", request(b"/open", *forged)
    yield "public, signed in", request(b"/open", alice, *forged)
    yield "public upload", request(b"/open", *forged, method=b"POST", body=b"x")
    yield "public preflight", request(b"/open", *forged, *preflight[:2], method=b"OPTIONS")
    yield "preflight", request(b"/x", alice, *forged, *preflight[:2], method=b"OPTIONS")
    yield "preflight without a session", request(b"/x", *forged, *preflight, method=b"OPTIONS")
    yield "any user", request(b"/any", mallory, *forged)
    yield "allowed", request(b"/x", alice, *forged)
    yield "told nothing", request(b"/silent", alice, *forged)
    yield "HEAD", request(b"/x", alice, *forged, method=b"HEAD")
    yield "broken session", request(b"/open", (b"cookie", b"__Host-_pomerium=x"), *forged)
    yield "tunnel", request(b"/ws", alice, *forged, *WEBSOCKET)
    yield "denied", request(b"/denied", alice, *forged, *NAVIGATION)
    yield "sign in", request(b"/x", *forged, *NAVIGATION)
    yield "nobody", request(b"/x", *forged)
    yield "no such host", request(b"/x", *forged, host=b"nobody.example.com")
    yield "no such page", request(b"/.pomerium/x", *forged)
    yield "who am I", request(b"/.pomerium/", alice, *forged, *NAVIGATION)
    yield "sign out", request(b"/.pomerium/sign_out", *forged, *NAVIGATION)
    yield "unreadable", request(b"/%00", *forged)


class EverywhereTests(Fields):
    """H5: what a client says about itself comes off on every way, whoever was asked what."""

    row = "H5"
    VARIANTS = IDENTITY_NAMES

    def test_on_every_way(self) -> None:
        """It stands neither in what an upstream gets, nor in an answer of ours, nor in a log."""
        reached = set()
        for name in self.VARIANTS:
            for way, octets in _requests(self.stand, (titled(name), MARK)):
                outcome = self.stand.send(octets)
                self.assertNotEqual(outcome.status, 500, way)
                for asked in outcome.asked:
                    reached.add(way)
                    self.assertNotIn(MARK, asked.octets, (way, name))
                self.assertNotIn(MARK, outcome.got, (way, name))
                self.assertNotIn(MARK.decode(), repr(outcome.logged), (way, name))
        self.assertEqual(len(reached), 11)


ADDED = (
    b"x-pomerium-jwt-assertion",
    b"x-pomerium-authenticated-user-id",
    b"x-pomerium-authenticated-user-email",
    b"x-pomerium-authenticated-user-groups",
    b"x-forwarded-for",
    b"x-forwarded-proto",
    b"x-forwarded-host",
    b"x-forwarded-port",
    b"x-request-id",
    b"x-site",
    b"host",
)
SENT = (b"cookie", b"authorization", b"content-type", b"origin", b"sec-fetch-site", b"x-csrf-token")


class ConnectionTests(Fields):
    """H6: a Connection field takes nothing away that we put there, or that we relied on."""

    row = "H6"
    VARIANTS = tuple(
        dict.fromkeys(
            shape % spelled
            for name in (*ADDED, *SENT)
            for spelled in (name, name.upper(), titled(name), name.replace(b"-", b"_"))
            for shape in (
                b"%s",
                b"close, %s",
                b"%s, keep-alive",
                b" ,%s,, ",
                b"keep-alive,\t%s\t",
                b"upgrade,%s",
                b"%s;q=1",
                b'"%s"',
            )
        )
    )

    @classmethod
    def setUpClass(cls) -> None:
        """Have a route that sets a field of its own."""
        cls.stand = Stand(named("rest", set_request_headers=(("X-Site", "intranet"),)))

    def test_everything_arrives(self) -> None:
        """Or the request is refused; in one field, in two, in front of the rest or behind."""
        own = (
            (b"authorization", b"Basic eDp5"),
            (b"content-type", b"text/plain"),
            (b"origin", b"https://app.example.com"),
            (b"sec-fetch-site", b"same-origin"),
            (b"x-csrf-token", b"1"),
        )
        cookie = (b"cookie", self.stand.cookie() + b"; app=1")
        refused = 0
        for options in self.VARIANTS:
            for fields in (
                ((b"connection", options), cookie, *own),
                (cookie, *own, (b"Connection", b"keep-alive"), (b"CONNECTION", options)),
            ):
                outcome = self.stand.send(request(b"/", *fields))
                if not outcome.asked:
                    refused += 1
                    self.assertEqual(outcome.status, 400, options)
                    continue
                for name in (*ADDED, *SENT):
                    self.assertEqual(len(outcome.one.all(name)), 1, (options, name))
                self.assertEqual(outcome.one.all(b"x-site"), [b"intranet"])
                self.assertEqual(outcome.one.all(b"cookie"), [b"app=1"])
        self.assertLess(refused, len(self.VARIANTS) // 2)


class OneNameTests(SynchronousTestCase):
    """H7: a field that a route sets is one field, however it and the client's are spelled."""

    row = "H7"
    VARIANTS = tuple(dict.fromkeys(spellings(b"x-site-name")))

    def test_the_routes_value_alone(self) -> None:
        """Every pair of spellings: what arrives is the route's, once."""
        for ours in self.VARIANTS:
            if not re.fullmatch(rb"[A-Za-z0-9-]+", ours):
                continue  # the settings take no other names
            stand = Stand(public("rest", set_request_headers=((ours.decode(), "ours"),)))
            for theirs in self.VARIANTS:
                asked = stand.send(request(b"/", (theirs, MARK), (theirs, MARK))).one
                came = [value for name, value in asked.fields if folded(name) == b"x-site-name"]
                self.assertEqual(came, [b"ours"], (ours, theirs))
                self.assertNotIn(MARK, asked.octets)

    def test_twice_in_the_settings(self) -> None:
        """Two spellings of one name in a route are a problem, not a choice."""
        for one, other in product(self.VARIANTS[::4], self.VARIANTS[:3]):
            both = ((one.decode(), "a"), (other.decode(), "b"))
            with self.assertRaises(SettingsError):
                Stand(public("rest", set_request_headers=both))


ONCE = (
    b"host",
    b"authorization",
    b"content-type",
    b"content-range",
    b"origin",
    b"referer",
    b"range",
    b"if-range",
    b"expect",
    b"upgrade",
    b"sec-fetch-site",
    b"sec-fetch-mode",
    b"sec-fetch-dest",
    b"sec-websocket-key",
    b"sec-websocket-version",
    b"x-requested-with",
    b"x-pomerium-authorization",
    b"x-http-method-override",
    b"access-control-request-method",
    b"proxy-authorization",
)
VALUES = {
    b"host": b"app.example.com",
    b"expect": b"100-continue",
    b"upgrade": b"websocket",
    b"sec-websocket-version": b"13",
}


class TwiceTests(Fields):
    """H8: of a field that decides something there is one."""

    row = "H8"
    VARIANTS = tuple(
        (one, other, first, second, between)
        for name in ONCE
        for one, other in ((name, name), (name, titled(name)), (name.upper(), name))
        for first, second in (
            (VALUES.get(name, b"good"), VALUES.get(name, b"good")),
            (VALUES.get(name, b"good"), b"evil.example.com"),
            (b"evil.example.com", VALUES.get(name, b"good")),
        )
        for between in ((), ((b"accept", b"*/*"), (b"x-app", b"1")))
    )

    def test_refused(self) -> None:
        """400 for two, equal or not, next to each other or not, on an open route too."""
        for one, other, first, second, between in self.VARIANTS:
            fields = ((one, first), *between, (other, second))
            if one.lower() == b"host":
                lines = b"".join(b"%b: %b\r\n" % field for field in fields)
                octets = b"GET /open HTTP/1.1\r\n" + lines + b"\r\n"
            else:
                octets = request(b"/open", *fields)
            outcome = self.stand.send(octets)
            self.assertEqual((outcome.status, outcome.asked), (400, ()), fields)

    def test_folded_twins(self) -> None:
        """A backend that folds would have two: the misspelt one is refused or goes."""
        for name in ONCE:
            for spelling in spellings(name):
                if spelling.lower() == name:
                    continue
                value = VALUES.get(name, b"good")
                outcome = self.ask(
                    b"/open", (spelling, MARK), *((name, value),) * (name != b"host")
                )
                for asked in outcome.asked:
                    self.assertNotIn(MARK, asked.octets, spelling)
                if not outcome.asked:
                    self.assertEqual(outcome.status, 400, spelling)


CONTROLS = (*range(9), *range(0x0A, 0x20), 0x7F)
NOT_UTF8 = (b"\xff", b"\xc3", b"\xc3(", b"\xa0", b"\xe2\x82", b"\xf5\x80\x80\x80", b"\xed\xa0\x80")

CLAIM_NAMES = (
    b"x-pomerium-authenticated-user-id",
    b"x-pomerium-authenticated-user-email",
    b"x-pomerium-authenticated-user-groups",
)


claims = st.one_of(
    st.text(min_size=1, max_size=40),
    # What is trimmed on the way, looks encoded already, or looks like two.
    st.sampled_from([" a", "a ", " ", "\t", "a\tb", "UTF-8''x", "utf-8''%41", "UTF-8''", "a,b"]),
    st.sampled_from(["a\r\nX-Evil: 1", "a\n b", "\0", "%41", "a%", "=?utf-8?q?x?=", '"a"', "\x7f"]),
)


def decoded(value: bytes) -> str:
    """Return what a value says, encoded or plain, as an application reads it."""
    text = value.decode("ascii")
    return unquote(text[7:], errors="strict") if text.startswith("UTF-8''") else text


class BreakTests(Fields):
    """H9: no control breaks out of a value, neither a client's nor a claim's."""

    row = "H9"
    VARIANTS = tuple(
        before + junk + after
        for junk in (
            *(bytes([octet]) for octet in CONTROLS),
            *(b"\r%b" % octet for octet in (b" ", b"\t", b"\r", b"x", b"X-Evil: 1")),
            *(b"\n%b" % octet for octet in (b" ", b"\t", b"\n", b"x", b"X-Evil: 1")),
            *(b"\r\n ", b"\r\n\t", b"\r\r\n", b"\n\r\n"),
            *NOT_UTF8,
        )
        for before, after in ((b"a", b"b"), (b"", b"b"), (b"a", b""), (b"a ", b" b"))
    )

    def test_a_clients_values(self) -> None:
        """400, in an ordinary field, in a cookie, in a query and in the target."""
        for value in self.VARIANTS:
            for name in (b"x-app", b"cookie", b"authorization", b"user-agent"):
                outcome = self.ask(b"/open", (name, value), (b"x-last", b"1"))
                if value.endswith((b"\r\n\t", b"\r\n ")) or b"\r\n\r\n" in value + b"\r\n":
                    # The head may end there; then nothing of what follows is in it.
                    self.assertIn(outcome.status, (200, 400), value)
                else:
                    self.assertEqual((outcome.status, outcome.asked), (400, ()), (name, value))
                for asked in outcome.asked:
                    self.assertNotIn(b"x-evil", dict(asked.fields))
            self.assertEqual(self.ask(b"/open?q=" + value).asked, (), value)
            self.assertEqual(self.ask(b"/open/" + value).asked, (), value)

    @given(
        claims,
        st.one_of(st.text(max_size=20), claims).map(lambda text: text.replace("@", "")),
        st.lists(claims, max_size=4),
    )
    @settings(max_examples=80)
    def test_claims(self, subject: str, local: str, groups: list[str]) -> None:
        """Whatever the provider says of a person arrives as that, in one field each."""
        identity = attrs.evolve(
            ALICE, subject=subject, email=f"{local}@example.com", groups=tuple(groups)
        )
        asked = self.ask_as(identity, b"/any").one
        user, email = (asked.all(name)[0] for name in CLAIM_NAMES[:2])
        self.assertEqual((decoded(user), decoded(email)), (subject, f"{local}@example.com"))
        told = [decoded(one) for value in asked.all(CLAIM_NAMES[2]) for one in value.split(b",")]
        self.assertEqual(told, groups)
        self.assertEqual(sorted({n for n, _ in asked.fields}), sorted(n for n, _ in asked.fields))


INNER_NAMES = (
    b"x-envoy-original-path",
    b"x-envoy-internal",
    b"x-envoy-external-address",
    b"x-envoy-decorator-operation",
    b"x-envoy-upstream-rq-timeout-ms",
    b"x-envoy-retry-on",
    b"x-pomerium-reproxy-policy",
    b"x-pomerium-reproxy-policy-hmac",
    b"x-pomerium-route",
    b"x-pomerium-session",
    b"x-pomerium-intercepted-response",
    b"x-pomerium-mcp-token",
    b"x-accel-redirect",
    b"x-accel-buffering",
    b"x-request-id",
    b"x-original-method",
    b"x-forwarded-access-token",
)


class InnerNameTests(Fields):
    """H10: nothing that we say to ourselves travels in a field that a client can set."""

    row = "H10"
    VARIANTS = tuple(
        (spelling, value)
        for name in INNER_NAMES
        for spelling in dict.fromkeys((name, titled(name), name.replace(b"-", b"_")))
        for value in (MARK, b"/open", b"true", b"0")
    )

    def known(self, outcome: Outcome) -> tuple[int, list[bytes], Any]:
        """Return what is the same each time: all but the request's own id."""
        ids = [entry.request_id.encode() for entry in outcome.logged]
        return (
            outcome.status,
            [asked.octets.replace(ids[0], b"ID") for asked in outcome.asked],
            [(entry.route, entry.decision, entry.reasons, entry.user) for entry in outcome.logged],
        )

    def test_it_changes_nothing(self) -> None:
        """Byte for byte, what a request leads to is the same with the field and without."""
        cookie = (b"cookie", self.stand.cookie())
        for target, fields in (
            (b"/guarded", ()),
            (b"/guarded", (cookie,)),
            (b"/open", ()),
            (b"/denied", (cookie,)),
        ):
            plain = self.known(self.ask(target, *fields))
            for name, value in self.VARIANTS:
                outcome = self.known(self.ask(target, *fields, (name, value)))
                self.assertEqual(outcome, plain, (target, name, value))


def _part(token: str, number: int, change: Callable[[dict[str, Any]], object]) -> str:
    """Return a JWT with one of its two documents changed, and its signature kept."""
    parts = token.split(".")
    document = json.loads(base64.urlsafe_b64decode(parts[number] + "=="))
    change(document)
    parts[number] = _b64(json.dumps(document).encode())
    return ".".join(parts)


def _b64(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def _claim(name: str, value: Any) -> Callable[[str], str]:
    return lambda token: _part(token, 1, lambda claims: claims.update({name: value}))


def _without(name: str) -> Callable[[str], str]:
    return lambda token: _part(token, 1, lambda claims: claims.pop(name))


def _headed(**fields: Any) -> Callable[[str], str]:
    return lambda token: _part(token, 0, lambda head: head.update(fields))


def _cut(part: int, place: int) -> Callable[[str], str]:
    """Return what changes one character of one part."""

    def change(token: str) -> str:
        parts = token.split(".")
        at = place % (len(parts[part]) - 1)
        other = "A" if parts[part][at] != "A" else "B"
        parts[part] = parts[part][:at] + other + parts[part][at + 1 :]
        return ".".join(parts)

    return change


class PastTheProxyTests(SynchronousTestCase):
    """H11: an application can tell what came through us from what did not."""

    row = "H11"
    VARIANTS: ClassVar[tuple[tuple[str, Callable[[str], str]], ...]] = (
        *(
            (f"{name}={value!r}", _claim(name, value))
            for name, value in product(
                ("aud", "iss"), ("evil.example.com", "", "APP.example.com", ["x"], None, True)
            )
        ),
        *(
            (f"{name}={value!r}", _claim(name, value))
            for name, value in product(
                ("exp", "iat"), (NOW + 10**6, 1, -1, 1e300, "soon", None, True, 2**70)
            )
        ),
        *((f"no {name}", _without(name)) for name in ("aud", "iss", "sub", "iat", "exp")),
        *(
            (f"alg {alg}", _headed(alg=alg))
            for alg in ("none", "None", "HS256", "RS256", "ES384", 7)
        ),
        *((f"kid {kid}", _headed(kid=kid)) for kid in ("other", "", None, "../x", 1)),
        *((f"part {part} at {at}", _cut(part, at)) for part in range(3) for at in range(0, 80, 5)),
        ("no signature", lambda token: token.rpartition(".")[0] + "."),
        ("two parts", lambda token: token.rpartition(".")[0]),
        ("twice", lambda token: token + "." + token),
        ("nothing", lambda _: ""),
    )

    def setUp(self) -> None:
        """Have two applications, and read the keys that we publish for them."""
        self.stand = Stand(
            named("app"), named("other", from_=Origin("https", "other.example.com", 443))
        )
        self.keys = read_keys(
            json.loads(self.stand.send(request(b"/.well-known/pomerium/jwks.json")).answer.body)
        )

    def assertion(self, host: str = "app.example.com") -> str:
        """Return the assertion that an upstream gets for Alice."""
        cookie = (b"cookie", self.stand.cookie(audience=f"{host}:443"))
        asked = self.stand.send(request(b"/", cookie, host=host.encode())).one
        (value,) = asked.all(b"x-pomerium-jwt-assertion")
        return value.decode("ascii")

    def test_ours_verifies(self) -> None:
        """With the published keys, for this host alone, for five minutes at most."""
        for host, other in (
            ("app.example.com", "other.example.com"),
            ("other.example.com", "app.example.com"),
        ):
            token = self.assertion(host)
            claims = verified(token, self.keys, audience=host, now=NOW)
            self.assertEqual((claims["sub"], claims["email"]), ("alice", "alice@example.com"))
            self.assertLessEqual(claims["exp"] - claims["iat"], 300)
            self.refused(token, audience=other)
            self.refused(token, audience=host, now=NOW + 361)
            self.refused(token, audience=host, now=NOW - 61)

    def test_nothing_else_does(self) -> None:
        """Changed, stripped, signed with what everybody knows: refused, each of them."""
        token = self.assertion()
        for name, change in self.VARIANTS:
            self.assertNotEqual(change(token), token, name)
            self.refused(change(token), name)

    def test_a_public_key_signs_nothing(self) -> None:
        """An HMAC under any form of the published key is no signature."""
        (kid,) = self.keys
        head, claims, _ = _part(self.assertion(), 0, lambda h: h.update(alg="HS256")).split(".")
        published = self.stand.send(request(b"/.well-known/pomerium/jwks.json")).answer.body
        for key in (published, published.strip(), kid.encode(), b"", b"pomerium"):
            signed = f"{head}.{claims}"
            tag = hmac.new(key, signed.encode(), hashlib.sha256).digest()
            self.refused(f"{signed}.{_b64(tag)}", key)

    def refused(
        self, token: str, why: object = "", *, audience: str = "app.example.com", now: float = NOW
    ) -> None:
        """Find that an application would not believe this."""
        try:
            verified(token, self.keys, audience=audience, now=now)
        except Refused:
            return
        self.fail(f"believed: {why}")


class CredentialTests(Fields):
    """H12: a session of ours ends at us, in whatever form it came."""

    row = "H12"
    VARIANTS: ClassVar[tuple[tuple[bytes, bytes], ...]] = (
        *(
            (b"cookie", shape)
            for name in (b"__Host-_pomerium", b"_pomerium", b"__Host-_pomerium_1")
            for shape in (
                name + b"=%s",
                name + b" = %s",
                name + b'="%s"',
                b"app=1; " + name + b"=%s",
                b"app=1;" + name + b"=%s;other=2",
                b";;" + name + b"=%s;",
                name + b"=x; " + name + b"=%s",
                b"\t" + name + b"\t=\t%s",
            )
        ),
        *(
            (b"authorization", scheme + gap + b"%s")
            for scheme in (b"Pomerium", b"pomerium", b"POMERIUM", b"pOmErIuM")
            for gap in (b" ", b"  ", b"\t", b" \t ")
        ),
        *(
            (b"authorization", scheme + b"Pomerium-%s")
            for scheme in (b"Bearer ", b"bearer ", b"BEARER  ", b"Bearer\t")
        ),
        *(
            (name, b"%s")
            for name in (
                b"x-pomerium-authorization",
                b"X-Pomerium-Authorization",
                b"proxy-authorization",
                b"x_pomerium_authorization",
            )
        ),
    )

    def test_it_goes_no_further(self) -> None:
        """Not to an upstream, on any route; not into an answer of ours; not into a log."""
        token = self.stand.token().encode()
        signature = token.rpartition(b".")[2]
        for name, shape in self.VARIANTS:
            value = shape.replace(b"%s", token)
            for target, more in (
                (b"/open", ()),
                (b"/x", ()),
                (b"/x", (b"cookie", self.stand.cookie(id="other"))),
                (b"/denied", NAVIGATION[0]),
                (b"/.pomerium/", NAVIGATION[0]),
                (b"/.pomerium/nothing", ()),
            ):
                fields = ((name, value), *((more,) if more else ()))
                outcome = self.ask(target, *fields)
                for asked in outcome.asked:
                    self.assertNotIn(signature, asked.octets, (name, shape, target))
                self.assertNotIn(signature, outcome.got, (name, shape, target))
                self.assertNotIn(signature.decode(), repr(outcome.logged))

    def test_in_trailers_too(self) -> None:
        """Credentials behind a body go nowhere either."""
        token = self.stand.token().encode()
        for name, shape in self.VARIANTS:
            trailer = b"%b: %b\r\n" % (name, shape.replace(b"%s", token))
            outcome = self.stand.send(
                request(b"/open", (b"transfer-encoding", b"chunked"), method=b"POST")
                + b"1\r\nx\r\n0\r\n"
                + trailer
                + b"x-checksum: 1\r\n\r\n"
            )
            self.assertNotIn(token, outcome.one.octets, name)
            self.assertIn(b"x-checksum: 1", outcome.one.octets)


def broken_tokens(token: str) -> Iterator[str]:
    """Give what resembles a session's token and is none."""
    yield from (token[:end] for end in range(0, len(token), 7))
    yield from (token[start:] for start in range(1, len(token), 11))
    for place in range(0, len(token), 5):
        other = "A" if token[place] != "A" else "B"
        yield token[:place] + other + token[place + 1 :]
        yield token[:place] + "." + token[place:]
        yield token[:place] + '"' + token[place + 1 :]
    yield from (_headed(alg=alg)(token) for alg in ("none", "", None))
    yield from (f"%{n}.{'A' * 8}.{token}" for n in (0, 1, 2, 5, 9, 10, 99, "x", "-1", "2.2"))
    yield from ("null", "{}", "[]", "true", "0", "a.b.c", "...", "..", ".", "%", "%2", "%2..", "=")
    yield from (token + "A", token + "=", token + ".", "A" + token, token * 2, "A" * 20_000)
    yield "\u00e9\u00e8"
    yield token.swapcase()
    yield ".".join(reversed(token.split(".")))


class BrokenSessionTests(Fields):
    """H13: only a session that verifies is one; any other is nobody, and never an error."""

    row = "H13"
    VARIANTS = tuple(dict.fromkeys(broken_tokens(Stand().token())))

    def test_it_is_nobody(self) -> None:
        """401 where somebody is needed, and no word of identity where nobody is."""
        for token in self.VARIANTS:
            value = token.encode()
            for field in (
                (b"cookie", b"__Host-_pomerium=" + value),
                (b"authorization", b"Pomerium " + value),
            ):
                for target in (b"/guarded", b"/any"):
                    outcome = self.ask(target, field)
                    self.assertEqual((outcome.status, outcome.asked), (401, ()), token)
                outcome = self.ask(b"/open", field)
                self.assertEqual(outcome.status, 200, token)
                self.assertNotIn(b"x-pomerium-", outcome.one.octets)
                self.assertEqual(outcome.logged[0].user, "")

    def test_the_good_one_is_somebody(self) -> None:
        """The token that all of them were made of lets Alice in."""
        self.assertEqual(self.ask_as(ALICE, b"/guarded").status, 200)


SLOW_FIELDS = (
    *((b"expect", value) for value in (b"100-continue", b"100-Continue")),
    *(
        (b"range", value)
        for value in (b"bytes=0-", b"bytes=0-0,0-0,0-0", b"bytes=-1", b"bytes=9-1", b"x")
    ),
    *(
        (b"accept-encoding", value)
        for value in (b"gzip", b"br, gzip;q=0", b"identity;q=0", b"*;q=0", b"gzip," * 500)
    ),
    *((b"if-range", value) for value in (b'"x"', b"Wed, 21 Oct 2065 07:28:00 GMT")),
    *((b"if-none-match", value) for value in (b"*", b'"x"')),
    *((b"te", value) for value in (b"trailers", b"chunked;q=0")),
    *((b"content-encoding", value) for value in (b"gzip", b"deflate, gzip")),
    *(
        (b"accept", value)
        for value in (b"*/*;q=0", b"text/plain," * 800, b"application/json;q=" + b"9" * 500)
    ),
    *((b"max-forwards", value) for value in (b"0", b"-1")),
)


class InnerStepTests(Fields):
    """H14: nothing in a request makes an answer of ours wait, grow or change."""

    row = "H14"
    VARIANTS = tuple(product(SLOW_FIELDS, (b"GET", b"POST")))

    def test_the_answer_is_there_at_once(self) -> None:
        """With each of them and without: the same status, in full, before any body."""
        alice = (b"cookie", self.stand.cookie())
        for target, fields, status in (
            (b"/guarded", (), 401),
            (b"/denied", (alice,), 403),
            (b"/.pomerium/nothing", (), 404),
        ):
            for field, method in self.VARIANTS:
                if method == b"POST" and target.startswith(b"/.pomerium/"):
                    continue  # a page of ours reads a form first, within its bound
                # The head alone: nothing of the body has come.
                announced = ((b"content-length", b"5"),) if method == b"POST" else ()
                outcome = self.ask(target, *fields, field, *announced, method=method)
                self.assertEqual(outcome.status, status, (target, field, method))
                length = int(outcome.answer.field(b"content-length"))
                self.assertEqual(len(outcome.answer.body), length)
                # Who said that a body comes, and was not heard, may send it or not.
                self.assertEqual(outcome.ended, method == b"POST")

    def test_a_form_has_its_bound(self) -> None:
        """A form for a page of ours is refused as soon as it is over, announced or not."""
        most = 65_536
        for size in (most + 1, most * 2, 10**9, 10**17):
            head = request(
                b"/.pomerium/sign_out", (b"content-length", b"%d" % size), method=b"POST"
            )
            self.assertEqual(self.stand.send(head).status, 413, size)
        for piece in (1_000, 30_000, 65_000):
            head = request(
                b"/.pomerium/sign_out", (b"transfer-encoding", b"chunked"), method=b"POST"
            )
            chunk = b"%x\r\n" % piece + b"x" * piece + b"\r\n"
            client = self.stand.connect()
            client.sends(head)
            for _ in range(most // piece):
                client.sends(chunk)
            self.assertEqual(client.got(), b"")
            client.sends(chunk)
            self.assertEqual(parse(client.got()).status, 413, piece)
            self.assertTrue(client.closing)
            client.leaves()
