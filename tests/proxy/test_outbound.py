"""The head that an upstream gets, whatever the client sends, and the answer's way back."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.access.assertion import IdentityHeaders
from pomeriumd.crypto.signing import SigningKey
from pomeriumd.errors import SettingsError
from pomeriumd.http.events import Field, Request
from pomeriumd.http.fields import ENDS_HERE, FieldLines, read_fields
from pomeriumd.http.notes import Notes
from pomeriumd.proxy.outbound import NO_FIELDS, Outbound
from pomeriumd.session.session import Identity, Session
from pomeriumd.settings.model import Origin, RouteSettings, Secret, Settings, UpstreamURL

IDENTITY = IdentityHeaders(SigningKey.derived(bytes(32))).lines(
    Session(
        id="s1",
        identity=Identity(
            issuer="https://id.example", subject="00u1", email="ann@example.com", groups=("a",)
        ),
        issuer="https://authenticate.example.com",
        audience="app.example.com:443",
        auth_time=0,
        checked=0,
        recheck=600,
        seen=0,
        expires=3600,
    ),
    "app.example.com",
    1000,
)
CAME = [
    (b"x-forwarded-for", b"192.0.2.7"),
    (b"x-forwarded-proto", b"https"),
    (b"x-forwarded-host", b"app.example.com"),
    (b"x-forwarded-port", b"443"),
    (b"x-request-id", b"r1"),
]


def outbound(
    *,
    to: UpstreamURL | None = None,
    headers: tuple[tuple[str, str], ...] = (),
    cookie_name: str = "_pomerium",
    **keys: Any,
) -> Outbound:
    """Return what makes the heads of a route with these settings."""
    origin = Origin("https", "authenticate.example.com", 443)
    settings = Settings(
        cookie_secret=Secret(bytes(32)),
        authenticate_service_url=origin,
        idp_provider="oidc",
        idp_client_id="us",
        idp_client_secret=Secret(b"x"),
        state_dir="/nowhere",
        headers=headers,
        cookie_name=cookie_name,
    )
    route = RouteSettings(
        place="policy[1]",
        from_=Origin("https", "app.example.com", 443),
        to=to or UpstreamURL("http", "10.0.0.1", 8080),
        **keys,
    )
    return Outbound(route, settings.headers, settings.cookie_name)


def request(*fields: Field, path: bytes = b"/", query: bytes | None = None, **more: Any) -> Request:
    """Return a request as it passed the gate."""
    head: dict[str, Any] = {
        "method": b"GET",
        "host": b"app.example.com",
        "port": None,
        "length": 0,
        "upgrade": None,
        **more,
    }
    return Request(path=path, query=query, fields=list(fields), **head)


def sent(
    out: Outbound, asked: Request, identity: FieldLines = IDENTITY, **more: Any
) -> tuple[bytes, list[Field]]:
    """Return target and fields of the request to the upstream."""
    facts: dict[str, Any] = {"client": "192.0.2.7", "scheme": b"https", "request_id": "r1", **more}
    notes = Notes()
    first = out.head(asked, notes, identity=identity, **facts)
    # What is remembered of a head says the same.
    assert out.head(asked, notes, identity=identity, **facts) == first
    return first[0], read_fields(first[1])


class TargetTests(SynchronousTestCase):
    """The request target for the upstream."""

    def test_joins_paths(self) -> None:
        """The path of `to` stands in front, with one slash between."""
        for base, path, wanted in (
            ("", b"/", b"/"),
            ("", b"/a/b", b"/a/b"),
            ("/", b"/a", b"/a"),
            ("/base", b"/", b"/base/"),
            ("/base", b"/a/", b"/base/a/"),
            ("/base/", b"/a", b"/base/a"),
            ("", b"*", b"*"),
            ("/base", b"*", b"*"),
        ):
            out = outbound(to=UpstreamURL("http", "u", 80, base))
            self.assertEqual(sent(out, request(path=path))[0], wanted)

    @given(st.binary(max_size=20))
    def test_query_is_untouched(self, query: bytes) -> None:
        """The query goes on byte by byte; an empty one keeps its question mark."""
        target, _ = sent(outbound(), request(path=b"/a%20b", query=query))
        self.assertEqual(target, b"/a%20b?" + query)


class HeadTests(SynchronousTestCase):
    """Fields that go out for an ordinary request."""

    def test_order(self) -> None:
        """Host, the client's own, where it came from, who asks, what the route sets."""
        own = [(b"user-agent", b"x"), (b"accept", b"*/*"), (b"accept", b"a/b")]
        _, fields = sent(outbound(set_request_headers=(("X-Site", "lab"),)), request(*own))
        self.assertEqual(
            fields,
            [(b"host", b"10.0.0.1:8080"), *own, *CAME, *read_fields(IDENTITY), (b"x-site", b"lab")],
        )

    def test_nobody(self) -> None:
        """Without an identity, nothing is said of one."""
        _, fields = sent(outbound(), request(), NO_FIELDS)
        self.assertEqual(fields, [(b"host", b"10.0.0.1:8080"), *CAME])

    def test_host(self) -> None:
        """Host is that of `to`, or the client's own where the route keeps it."""
        for to, wanted in (
            (UpstreamURL("http", "u.internal", 80), b"u.internal"),
            (UpstreamURL("https", "u.internal", 443), b"u.internal"),
            (UpstreamURL("https", "u.internal", 80), b"u.internal:80"),
            (UpstreamURL("http", "2001:db8::1", 8080), b"[2001:db8::1]:8080"),
        ):
            _, fields = sent(outbound(to=to), request())
            self.assertEqual(fields[0], (b"host", wanted))
        kept = outbound(preserve_host_header=True)
        self.assertEqual(sent(kept, request())[1][0], (b"host", b"app.example.com"))
        self.assertEqual(sent(kept, request(port=8443))[1][0], (b"host", b"app.example.com:8443"))

    def test_where_it_came_from(self) -> None:
        """Scheme, host and port are the client's; the chain is what the proxy believes."""
        for scheme, port, wanted in (
            (b"https", None, (b"https", b"app.example.com", b"443")),
            (b"http", None, (b"http", b"app.example.com", b"80")),
            (b"https", 8443, (b"https", b"app.example.com:8443", b"8443")),
        ):
            asked = request((b"x-forwarded-for", b"6.6.6.6"), (b"forwarded", b"for=6"), port=port)
            _, fields = sent(outbound(), asked, scheme=scheme, client="192.0.2.1, 10.0.0.9")
            said = [field for field in fields if field[0] in dict(CAME) or field[0] == b"forwarded"]
            self.assertEqual(
                said,
                [
                    (b"x-forwarded-for", b"192.0.2.1, 10.0.0.9"),
                    *zip(
                        (b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port"),
                        wanted,
                        strict=True,
                    ),
                    (b"x-request-id", b"r1"),
                ],
            )

    def test_websocket(self) -> None:
        """A WebSocket request keeps the fields of its own handshake."""
        own = [
            (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
            (b"sec-websocket-version", b"13"),
            (b"sec-websocket-protocol", b"chat"),
            (b"sec-websocket-extensions", b"permessage-deflate"),
        ]
        _, fields = sent(outbound(), request(*own, upgrade=b"websocket"), NO_FIELDS)
        self.assertEqual(fields[1:5], own)


class CredentialTests(SynchronousTestCase):
    """What was meant for us does not reach the upstream."""

    def test_our_cookies(self) -> None:
        """Our cookies come off; those of the application stay, bytes untouched."""
        asked = request((b"cookie", b"a=1; __Host-_pomerium=secret; _pomerium_1=x; b = 2"))
        _, fields = sent(outbound(), asked, NO_FIELDS)
        said = b"".join(value for name, value in fields if name == b"cookie")
        self.assertNotIn(b"secret", said)
        self.assertNotIn(b"_pomerium", said)
        self.assertIn(b"a=1", said)
        self.assertIn(b"b = 2", said)

    def test_nothing_but_our_cookies(self) -> None:
        """No empty Cookie field goes out."""
        _, fields = sent(outbound(), request((b"cookie", b"__Host-_pomerium=secret")), NO_FIELDS)
        self.assertNotIn(b"cookie", dict(fields))

    def test_our_authorization(self) -> None:
        """Every spelling of our own Authorization comes off; others go on."""
        for value in (
            b"Pomerium ey.J.x",
            b"pomerium ey.J.x",
            b"POMERIUM\tey.J.x",
            b"Pomerium",
            b" Pomerium  x",
            b"Bearer Pomerium-ey.J.x",
            b"bearer  POMERIUM-ey.J.x",
        ):
            _, fields = sent(outbound(), request((b"authorization", value)), NO_FIELDS)
            self.assertNotIn(b"authorization", dict(fields), value)
        for value in (b"Basic cG9tZXJpdW06eA==", b"Bearer ey.J.x", b"Pomeriumx y", b"x Pomerium y"):
            _, fields = sent(outbound(), request((b"authorization", value)), NO_FIELDS)
            self.assertEqual(dict(fields)[b"authorization"], value)

    def test_nobody_steers_the_routes_credential(self) -> None:
        """Where the route sets Authorization, the client cannot say as whom to use it."""
        asked = request((b"authorization", b"Bearer mine"), (b"impersonate-user", b"root"))
        _, fields = sent(outbound(), asked, NO_FIELDS)
        self.assertEqual(fields[1:3], asked.fields)
        out = outbound(set_request_headers=(("Authorization", "Bearer ours"),))
        _, fields = sent(out, asked, NO_FIELDS)
        self.assertNotIn(b"impersonate-user", dict(fields))
        self.assertEqual([v for n, v in fields if n == b"authorization"], [b"Bearer ours"])


class SetTests(SynchronousTestCase):
    """set_request_headers."""

    def test_takes_the_place_of_the_clients(self) -> None:
        """A field that the route sets is there once, whatever the client sent and how."""
        out = outbound(set_request_headers=(("X-Api-Key", "ours"),))
        for name in (b"x-api-key", b"x_api_key", b"x.api.key", b"x_api-key", b"x!api'key"):
            _, fields = sent(out, request((name, b"theirs"), (b"x-api-keys", b"1")), NO_FIELDS)
            self.assertEqual(fields[1], (b"x-api-keys", b"1"))
            self.assertEqual(fields[-1], (b"x-api-key", b"ours"))
            self.assertNotIn(b"theirs", [value for _, value in fields])

    def test_a_folded_name_of_the_route(self) -> None:
        """A name that the route sets with _ still displaces the client's with -."""
        out = outbound(set_request_headers=(("X_Api_Key", "ours"),))
        _, fields = sent(out, request((b"x-api-key", b"theirs")), NO_FIELDS)
        self.assertEqual([f for f in fields if b"api" in f[0]], [(b"x_api_key", b"ours")])

    def test_where_it_came_from_may_be_set(self) -> None:
        """A forwarded field that the route sets is sent once, as set."""
        out = outbound(set_request_headers=(("X-Forwarded-Proto", "http"),))
        _, fields = sent(out, request())
        self.assertEqual([v for n, v in fields if n == b"x-forwarded-proto"], [b"http"])

    def test_who_asks_may_not_be_set(self) -> None:
        """Identity and framing are not a route's to set, under any spelling."""
        for name in (
            "X-Pomerium-Jwt-Assertion",
            "x_pomerium_jwt.assertion",
            "X-Pomerium",
            "Host",
            "Transfer-Encoding",
            "content_length",
            "Connection",
        ):
            with self.assertRaises(SettingsError) as caught:
                outbound(set_request_headers=((name, "secret"),))
            self.assertEqual(
                str(caught.exception),
                "1 problem in the settings:\n"
                f"  policy[1].set_request_headers: {name} is not a route's to set",
            )

    def test_twice(self) -> None:
        """One field under two spellings is a problem, not a choice for the backend (H7)."""
        with self.assertRaises(SettingsError) as caught:
            outbound(set_request_headers=(("X-User-Id", "1"), ("x_user_id", "2")))
        self.assertEqual(
            str(caught.exception),
            "1 problem in the settings:\n  policy[1].set_request_headers: x_user_id is set twice",
        )

    def test_values_are_not_shown(self) -> None:
        """What a route sets may be a secret, and is not in repr."""
        out = outbound(set_request_headers=(("Authorization", "Bearer s3cret"),))
        self.assertNotIn("s3cret", repr(out))


SIGNS = b"!#$%&'*+-.^_`|~"
OURS_TO_SAY = [
    b"x-pomerium-jwt-assertion",
    b"x-pomerium-authenticated-user-id",
    b"x-pomerium-authenticated-user-email",
    b"x-pomerium-authenticated-user-groups",
    b"x-pomerium-claim-email",
    b"x-pomerium-authorization",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-user",
    b"x-real-ip",
    b"x-request-id",
    b"x-site",
    b"connection",
    b"transfer-encoding",
    b"content-length",
    b"proxy-authorization",
    b"te",
    b"upgrade",
    b"host",
]


def folded(name: bytes) -> bytes:
    """Return a name as the most careless backend reads it."""
    return bytes(octet if chr(octet).isalnum() else ord("-") for octet in name.lower())


def respelled(name: bytes) -> st.SearchStrategy[bytes]:
    """Give a name with any sign of a token in place of each hyphen."""
    signs = st.lists(st.sampled_from(SIGNS), min_size=name.count(b"-"), max_size=name.count(b"-"))
    return signs.map(lambda drawn: name.replace(b"-", b"%c") % tuple(drawn) if drawn else name)


names = st.one_of(
    st.sampled_from(OURS_TO_SAY).flatmap(respelled),
    st.from_regex(rb"[a-z0-9!#$%&'*+.^_`|~-]{1,20}", fullmatch=True),
    st.sampled_from([b"accept", b"cookie", b"authorization", b"x-sitemap"]),
)
CONTROLS = bytes([*range(9), *range(10, 32), 127])
values = st.binary(max_size=12).map(lambda octets: octets.translate(None, CONTROLS).strip())
"""As the parser gives them: no control but a tab, no white space around."""

clients = st.lists(st.tuples(names, values), max_size=12)


class LawTests(SynchronousTestCase):
    """What holds for every request of every client."""

    out = outbound(set_request_headers=(("X-Site", "lab"),))

    @given(clients)
    @example([(b"x_pomerium_jwt_assertion", b"evil"), (b"x-pomerium-jwt-assertion", b"evil")])
    def test_only_we_speak_in_our_name(self, own: list[Field]) -> None:
        """Each field that is ours leaves exactly once, with our value; none ever is theirs."""
        _, fields = sent(self.out, request(*own))
        ours = [field for field in fields if folded(field[0]).startswith(b"x-pomerium")]
        self.assertEqual(ours, read_fields(IDENTITY))
        came = [field for field in fields if folded(field[0]).startswith(b"x-forwarded")]
        self.assertEqual(came, CAME[:4])
        for name, value in ((b"x-request-id", b"r1"), (b"x-site", b"lab")):
            self.assertEqual([v for n, v in fields if folded(n) == name], [value])

    @given(clients)
    def test_nothing_of_this_hop_leaves(self, own: list[Field]) -> None:
        """Of the names of framing and hop only Host leaves, once, and it is ours."""
        _, fields = sent(self.out, request(*own), NO_FIELDS)
        hop = [field for field in fields if folded(field[0]) in ENDS_HERE]
        self.assertEqual(hop, [(b"host", b"10.0.0.1:8080")])
        self.assertEqual(fields[0], hop[0])

    @given(clients)
    def test_the_rest_is_the_clients(self, own: list[Field]) -> None:
        """What goes on of the client's came from it, in its order."""
        own = [field for field in own if field[0] != b"cookie"]
        _, fields = sent(self.out, request(*own), NO_FIELDS)
        rest = iter(own)
        self.assertTrue(all(field in rest for field in fields[1 : -len(CAME) - 1]))

    @given(clients)
    def test_trailers(self, own: list[Field]) -> None:
        """No trailer speaks in our name, sets what the route sets, or is a credential."""
        for name, _ in self.out.trailers(own):
            self.assertFalse(folded(name).startswith((b"x-pomerium", b"x-forwarded")))
            self.assertNotIn(folded(name), ENDS_HERE | {b"x-site", b"cookie", b"authorization"})

    def test_ordinary_trailers(self) -> None:
        """A checksum behind a body goes on."""
        self.assertEqual(
            self.out.trailers(((b"x-checksum", b"1"), (b"cookie", b"a=1"))),
            ((b"x-checksum", b"1"),),
        )


class ResponseTests(SynchronousTestCase):
    """response_fields()."""

    def test_headers_of_the_settings(self) -> None:
        """Configured fields take the place of the upstream's of those names."""
        out = outbound(headers=(("X-Frame-Options", "DENY"), ("X-New", "1")))
        back = out.response_fields(
            [
                (b"content-type", b"text/html"),
                (b"x-frame-options", b"ALLOWALL"),
                (b"x-frame-options", b"SAMEORIGIN"),
                (b"set-cookie", b"a=1"),
                (b"set-cookie", b"b=2"),
            ],
            ((b"set-cookie", b"__Host-_pomerium=ours"),),
        )
        self.assertEqual(
            back,
            [
                (b"content-type", b"text/html"),
                (b"set-cookie", b"a=1"),
                (b"set-cookie", b"b=2"),
                (b"x-frame-options", b"DENY"),
                (b"x-new", b"1"),
                (b"set-cookie", b"__Host-_pomerium=ours"),
            ],
        )

    def test_an_upstream_does_not_speak_for_us(self) -> None:
        """Our fields, and those of a hop, do not come back from an upstream."""
        back = outbound().response_fields(
            [
                (b"x-pomerium-intercepted-response", b"true"),
                (b"x-pomerium-jwt-assertion", b"x"),
                (b"transfer-encoding", b"chunked"),
                (b"x-pomeriumish", b"1"),
            ]
        )
        self.assertEqual(back, [(b"x-pomeriumish", b"1")])

    def test_no_cookie_of_ours_is_tossed(self) -> None:
        """An upstream cannot set our cookies, however it writes them (S11)."""
        for value in (
            b"_pomerium=x",
            b"__Host-_pomerium=x; Path=/; Secure",
            b"_pomerium_1=x; Domain=example.com",
            b" \t_pomerium\t =x",
            b"=_pomerium=x",
            b"= _pomerium =x; Path=/",
            b"==_pomerium=x",
            b"\x0b_pomerium\x0c=x",
            b"_pomerium",
            b"_pomerium;Path=/",
            b"_pomerium=; Max-Age=0",
        ):
            self.assertEqual(outbound().response_fields([(b"set-cookie", value)]), [], value)

    def test_cookies_of_the_application(self) -> None:
        """Cookies that merely resemble ours, or hold our name, are the application's."""
        for value in (b"_pomeriumx=1", b"a=_pomerium", b"a=1; Path=/_pomerium=", b"x_pomerium=1"):
            fields = [(b"set-cookie", value)]
            self.assertEqual(outbound().response_fields(fields), fields)

    def test_the_name_is_that_of_the_settings(self) -> None:
        """Which cookies are ours follows cookie_name."""
        out = outbound(cookie_name="sso")
        given_ = [(b"set-cookie", b"sso=1"), (b"set-cookie", b"_pomerium=1")]
        self.assertEqual(out.response_fields(given_), given_[1:])

    @given(clients)
    def test_the_rest_is_the_upstreams(self, fields: list[Field]) -> None:
        """What comes back came from the upstream, in its order."""
        rest = iter(fields)
        self.assertTrue(all(field in rest for field in outbound().response_fields(fields)))
