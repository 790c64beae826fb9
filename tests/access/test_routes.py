"""Which route takes a request, against a linear scan, and in the cases of the manual."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.access.decision import Allow
from pomeriumd.access.routes import Route, RouteTable
from pomeriumd.errors import BadMessage, SettingsError
from pomeriumd.http.target import canonical
from pomeriumd.session.session import Identity
from pomeriumd.settings.model import Origin, RouteSettings, UpstreamURL

APP = "app.example.com"


def route(host: str = APP, *, place: str = "policy[0]", port: int = 443, **keys: Any) -> Route:
    """Return a compiled route."""
    to = UpstreamURL("http", "127.0.0.1", 8080)
    return Route.of(RouteSettings(place=place, from_=Origin("https", host, port), to=to, **keys))


def by(kind: str, text: str) -> Route:
    """Return a route that finds its requests in this way."""
    keys: dict[str, Any] = {kind: text}
    return route(place="policy[2]", **keys)


def winner(routes: list[Route], path: str, host: str = APP) -> int | None:
    """Return the position of the route that takes a request."""
    found = RouteTable.of(routes).find(host.encode(), path.encode())
    return None if found is None else routes.index(found)


def rank(keys: dict[str, Any], path: str) -> tuple[int, int] | None:
    """Say how exactly one route takes a path, as the manual puts it; None if not at all."""
    for kind, text in keys.items():
        if kind == "path":
            return (0, 0) if path == text else None
        if kind == "regex":
            return (1, 0) if re.fullmatch(text, path) else None
        below = path.startswith(text if text.endswith("/") else text + "/")
        return (2, -len(text)) if path == text or below else None
    return (3, 0)


def scan(table: list[tuple[str, dict[str, Any]]], host: str, path: str) -> int | None:
    """Look at every route, one after the other."""
    ranked = [
        (found, position)
        for position, (its_host, keys) in enumerate(table)
        if its_host == host and (found := rank(keys, path)) is not None
    ]
    return min(ranked)[1] if ranked else None


HOSTS = ["a.example", "b.a.example", "a.example.org"]
hosts = st.sampled_from(HOSTS)
paths = st.lists(st.sampled_from(["api", "apix", "v1", "a.b"]), max_size=4).flatmap(
    lambda words: st.sampled_from(["/" + "/".join(words), "/" + "".join(w + "/" for w in words)])
)
expressions = st.sampled_from(["/api", "/.*", "/api/.+", "/[a-z]+", "/(api|v1)/?", "/a.b/v1"])
matchers: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"path": paths}),
    st.fixed_dictionaries({"prefix": paths}),
    st.fixed_dictionaries({"regex": expressions}),
)


class FindTests(SynchronousTestCase):
    """RouteTable.find()."""

    @given(st.lists(st.tuples(hosts, matchers), max_size=12), hosts, paths)
    def test_is_a_linear_scan(
        self, table: list[tuple[str, dict[str, Any]]], host: str, path: str
    ) -> None:
        """It finds what looking at every route, one after the other, would find."""
        routes = [route(its_host, **keys) for its_host, keys in table]
        self.assertEqual(winner(routes, path, host), scan(table, host, path))

    @given(st.permutations([{}, {"path": "/a/b"}, {"prefix": "/a"}, {"prefix": "/a/b"}]))
    def test_the_most_exact_wins_wherever_it_stands(self, table: list[dict[str, Any]]) -> None:
        """Path before long prefix before short prefix before all, in any order of the file."""
        routes = [route(**keys) for keys in table]
        for path, wanted in {
            "/a/b": {"path": "/a/b"},
            "/a/b/": {"prefix": "/a/b"},
            "/a/bc": {"prefix": "/a"},
            "/a": {"prefix": "/a"},
            "/ab": {},
            "/": {},
        }.items():
            self.assertEqual(winner(routes, path), table.index(wanted), path)

    def test_prefix_on_segment_borders(self) -> None:
        """/api takes /api and /api/x, never /apix, whatever sign follows."""
        routes = [route(prefix="/api")]
        for path in ("/api", "/api/", "/api/x", "/api/x/y"):
            self.assertEqual(winner(routes, path), 0, path)
        for path in ("/apix", "/ap", "/", "/API", "/api.", "/api%20", "/x/api"):
            self.assertIsNone(winner(routes, path), path)

    def test_prefix_with_a_slash_at_its_end(self) -> None:
        """/api/ takes only what lies under it, and is longer than /api."""
        routes = [route(prefix="/api"), route(prefix="/api/")]
        self.assertEqual(winner(routes, "/api"), 0)
        self.assertEqual(winner(routes, "/api/"), 1)
        self.assertEqual(winner(routes, "/api/x"), 1)
        self.assertIsNone(winner(routes[1:], "/api"))

    def test_prefix_of_everything(self) -> None:
        """The prefix / takes every path."""
        for path in ("/", "/a", "/a/b/"):
            self.assertEqual(winner([route(), route(prefix="/")], path), 1)

    def test_regex_matches_whole_paths(self) -> None:
        """An expression that fits a part of the path does not match (P12)."""
        routes = [route(regex="/a(b|bc)")]
        for path in ("/ab", "/abc"):
            self.assertEqual(winner(routes, path), 0)
        for path in ("/abx", "/x/ab", "/ab/", "/ab\n", "/a"):
            self.assertIsNone(winner(routes, path), path)

    def test_regex_sees_signs_raw(self) -> None:
        """Escaped or not, a sign that may stand raw is one to an expression; others stay."""
        for sign in "!$&'()*+,:=@":
            routes = [route(regex=f"/\\{sign}me/%20"), route()]
            for spelling in (sign, f"%{ord(sign):02X}"):
                self.assertEqual(winner(routes, f"/{spelling}me/%20"), 0, spelling)
        self.assertEqual(winner([route(regex="/%7C"), route()], "/%7C"), 0)

    def test_regex_in_order_of_the_file(self) -> None:
        """Of two expressions that match, the first one takes the request."""
        routes = [route(regex="/a.*"), route(regex="/ab"), route(prefix="/ab")]
        self.assertEqual(winner(routes, "/ab"), 0)
        self.assertEqual(winner(routes[1:], "/ab"), 0)

    def test_path_before_regex(self) -> None:
        """An exact path is taken before an expression that stands above it."""
        self.assertEqual(winner([route(regex=".*"), route(path="/ab")], "/ab"), 1)

    def test_of_two_alike_the_first_wins(self) -> None:
        """Two routes that take the same requests: the first one in the file."""
        alike: list[dict[str, Any]] = [{}, {"path": "/a"}, {"prefix": "/a"}, {"regex": "/a"}]
        for keys in alike:
            self.assertEqual(winner([route(**keys), route(**keys)], "/a"), 0)

    def test_hosts_are_exact(self) -> None:
        """No part of a host, no parent and no subdomain of it is that host (P13)."""
        routes = [route()]
        for host in (
            "evil-app.example.com",
            "app.example.com.evil",
            "x.app.example.com",
            "example.com",
            "app.example.com.",
            "APP.example.com",
            "appxexample.com",
            "",
        ):
            self.assertIsNone(winner(routes, "/", host), host)

    def test_no_route_of_another_host(self) -> None:
        """A path that only another host's route takes is not found."""
        routes = [route(path="/a"), route("b.example")]
        self.assertIsNone(winner(routes, "/b"))
        self.assertIsNone(RouteTable.of([]).find(b"b.example", b"/"))

    def test_ipv6(self) -> None:
        """A host that is an address is found in brackets, as requests have it."""
        self.assertEqual(winner([route("[2001:db8::1]")], "/", "[2001:db8::1]"), 0)

    def test_cost_does_not_grow_with_hosts(self) -> None:
        """A look-up reads the routes of its own host and no others."""
        table = RouteTable.of([route(f"{n}.example", prefix=f"/{n}") for n in range(500)])
        self.assertEqual(len(table._hosts[b"7.example"].under), 1)
        found = table.find(b"499.example", b"/499/x")
        assert found is not None
        self.assertEqual(found.settings.from_.host, "499.example")

    def test_cost_does_not_grow_with_segments(self) -> None:
        """A path of thousands of segments is tried at the sizes of prefixes alone."""
        table = RouteTable.of([route(prefix="/a"), route(prefix="/b/c"), route(prefix="/d/e/")])
        self.assertEqual(table._hosts[APP.encode()].sizes, (5, 3))
        self.assertIsNone(table.find(APP.encode(), b"/x" * 8000))

    def test_has_its_own_policy(self) -> None:
        """Two routes of one host have each their own rules."""
        open_, closed = route(path="/a", allow_any_authenticated_user=True), route()
        table = RouteTable.of([open_, closed])
        who = Identity(issuer="https://id.example", subject="1")
        for path, admitted in ((b"/a", True), (b"/b", False)):
            found = table.find(APP.encode(), path)
            assert found is not None
            self.assertEqual(isinstance(found.policy.decide(who), Allow), admitted)


SPELLINGS = ("/caf\u00e9 x/y", "/caf%c3%a9%20x/y", "/%63af%C3%A9%20x//y", "/./caf\u00e9 x/y")
"""One path, as four operators write it."""


class CanonicalTests(SynchronousTestCase):
    """A path in the settings takes the requests that it was meant to take."""

    def test_spellings_of_one_path(self) -> None:
        """However a path is written in the file, its requests are found (P1, P2)."""
        for kind in ("path", "prefix"):
            for text in SPELLINGS:
                with self.subTest(text):
                    path, _ = canonical(b"/c%61f%c3%A9%20x/z/../y")
                    self.assertEqual(winner([by(kind, text)], path.decode()), 0)

    def test_paths_that_no_request_can_have(self) -> None:
        """A path that no request could ever have is a problem with its place, not a dead rule."""
        rows = {
            ("path", ""): "policy[2].path: '' is no path: target does not begin with a slash",
            ("prefix", "a"): "policy[2].prefix: 'a' is no path: target does not begin with a slash",
            ("path", "/a?b"): "policy[2].path: want a path without a query, got '/a?b'",
            ("path", "/a#b"): "policy[2].path: '/a#b' is no path: target holds byte 0x23",
            ("prefix", "/%2f"): "policy[2].prefix: '/%2f' is no path: path holds %2F",
            ("regex", "/("): (
                "policy[2].regex: '/(' is no expression: "
                "missing ), unterminated subpattern at position 1"
            ),
            ("regex", "/\u00e9"): (
                "policy[2].regex: want ASCII, since paths are percent-encoded, got '/\\xe9'"
            ),
        }
        for (kind, text), wanted in rows.items():
            with self.subTest(wanted), self.assertRaises(SettingsError) as caught:
                RouteTable.of([by(kind, text)])
            self.assertEqual(str(caught.exception), f"1 problem in the settings:\n  {wanted}")


class ReadingTests(SynchronousTestCase):
    """What a backend may read differently never dodges a rule."""

    ROUTES = (route(prefix="/admin"), route(path="/@me"), route())

    def test_escapes_do_not_tell_paths_apart(self) -> None:
        """A reserved character and its escape are one path, in rules and in requests."""
        for path in ("/@me", "/%40me"):
            self.assertEqual(winner(list(self.ROUTES), path), 1, path)
        self.assertEqual(winner([route(path="/%40me"), route()], "/@me"), 0)
        self.assertEqual(winner([route(path="/caf%C3%A9"), route()], "/caf%C3%A9"), 0)

    def test_a_parameter_does_not_lead_past_a_rule(self) -> None:
        """/admin;x is /admin to a servlet: with another route for it, nobody gets it."""
        for path in ("/admin;x", "/admin;x=1/users", "/admin;", "/admin;a;b/c"):
            with self.assertRaises(BadMessage, msg=path):
                RouteTable.of(self.ROUTES).find(APP.encode(), path.encode())

    def test_a_parameter_that_changes_no_route_is_let_be(self) -> None:
        """Applications that use them keep them."""
        for path, expected in (("/admin/users;page=2", 0), ("/a;b=c/d", 2)):
            self.assertEqual(winner(list(self.ROUTES), path), expected, path)


class IdTests(SynchronousTestCase):
    """Route.id."""

    def test_does_not_depend_on_its_place(self) -> None:
        """Moving a route, or changing its rules or upstream, keeps its id."""
        one = route(prefix="/a")
        other = route(prefix="/a", place="routes[7]", allowed_users=("a@b.c",), timeout=3.0)
        self.assertEqual(one.id, other.id)
        self.assertRegex(one.id, r"\A[0-9a-f]{16}\Z")

    def test_tells_routes_apart(self) -> None:
        """Another origin, kind of matcher or text gives another id."""
        routes = [
            route(),
            route("b.example"),
            route(port=8443),
            *(by(kind, text) for kind in ("path", "prefix", "regex") for text in ("/a", "/b")),
            route(prefix="/a/"),
        ]
        self.assertEqual(len({one.id for one in routes}), len(routes))

    def test_is_the_same_in_every_process(self) -> None:
        """The id is a digest of text, so logs of all workers agree on it."""
        self.assertEqual(route(prefix="/a").id, "56fbbcbc4cfaf342")

    def test_routes_are_only_equal_to_themselves(self) -> None:
        """Two routes with the same settings can both be keys of one map."""
        self.assertEqual(len({route(), route()}), 2)


class OriginsTests(SynchronousTestCase):
    """Where a browser may be sent."""

    def test_hosts(self) -> None:
        """Every host is listed once, as requests name it."""
        table = RouteTable.of([route(), route(path="/a"), route("b.example", port=8443)])
        self.assertEqual(table.hosts, {b"app.example.com", b"b.example"})

    def test_only_the_origins_of_routes(self) -> None:
        """Scheme, host and port must all be those of one route."""
        table = RouteTable.of([route(), route("b.example", port=8443)])
        self.assertTrue(table.origin_known("https", APP, 443))
        self.assertTrue(table.origin_known("https", "b.example", 8443))
        for scheme, host, port in (
            ("http", APP, 443),
            ("https", APP, 8443),
            ("https", "b.example", 443),
            ("https", "evil.example", 443),
            ("https", "evil-" + APP, 443),
            ("javascript", APP, 443),
        ):
            self.assertFalse(table.origin_known(scheme, host, port))
