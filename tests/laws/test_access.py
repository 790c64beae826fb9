"""Who gets where: the route table against a linear scan, and rules that only ever add."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote_to_bytes

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.access.routes import Route, RouteTable
from pomeriumd.errors import BadMessage
from pomeriumd.http.target import canonical, plain_signs
from pomeriumd.session.session import Identity
from tests.support.laws import examples
from tests.support.rig import Rig, parse, request
from tests.support.settings import ISSUER, route

HOSTS = ("a.example", "b.a.example", "[::1]", "10.0.0.7")


sent = st.lists(
    st.sampled_from(
        ["api", "apix", "v1", "a.b", "@me", "%40me", "x%20y", "%61pi", "api;x=1", "v1;", ".", ""]
    ),
    max_size=5,
).map(lambda segments: "/" + "/".join(segments))
"""Of paths in requests."""

configured = st.tuples(
    st.lists(st.sampled_from(["api", "apix", "v1", "a.b", "@me", "%40me", "x%20y"]), max_size=3),
    st.booleans(),
).map(lambda path: "/" + "/".join(path[0]) + ("/" if path[1] and path[0] else ""))

expressions = st.sampled_from(
    [
        "/api",
        "/.*",
        "/api/.+",
        "/[a-z]+",
        "/(api|v1)/?",
        "/a.b/v1",
        "/%40me",
        "/@me",
        "(?:/[^/]+){2}",
    ]
)
matchers: st.SearchStrategy[dict[str, str]] = st.one_of(
    st.just({}),
    configured.map(lambda path: {"path": path}),
    configured.map(lambda path: {"prefix": path}),
    expressions.map(lambda text: {"regex": text}),
)
tables = st.lists(st.tuples(st.sampled_from(HOSTS), matchers), max_size=14)


def rank(keys: dict[str, str], path: bytes) -> tuple[int, int] | None:
    """Say how exactly one route takes a canonical path, as the manual puts it."""
    decoded = unquote_to_bytes(path)
    for kind, text in keys.items():
        if kind == "regex":
            # Expressions see what needs no escape without one, however it was sent.
            return (1, 0) if re.fullmatch(text.encode(), plain_signs(path)) else None
        wanted = unquote_to_bytes(text)
        if kind == "path":
            return (0, 0) if decoded == wanted else None
        below = decoded.startswith(wanted if wanted.endswith(b"/") else wanted + b"/")
        return (2, -len(wanted)) if decoded == wanted or below else None
    return (3, 0)


def scan(table: list[tuple[str, dict[str, str]]], host: str, path: bytes) -> int | None:
    """Look at every route, one after the other; give the place of the best."""
    ranked = [
        (found, place)
        for place, (of, keys) in enumerate(table)
        if of == host and (found := rank(keys, path)) is not None
    ]
    return min(ranked)[1] if ranked else None


class RouteTests(SynchronousTestCase):
    """RouteTable.find()."""

    @examples(150)
    @given(tables, st.sampled_from(HOSTS), sent)
    def test_is_a_linear_scan(
        self, table: list[tuple[str, dict[str, str]]], host: str, target: str
    ) -> None:
        """
        It finds what looking at every route would find, however the path was written.

        A path that is another route's without its parameters is refused, and no other is.
        """
        routes = [Route.of(route(of, **keys)) for of, keys in table]
        path, _ = canonical(target.encode())
        wanted = scan(table, host, path)
        ambiguous = scan(table, host, re.sub(rb";[^/]*", b"", path)) != wanted
        try:
            found = RouteTable.of(routes).find(host.encode(), path)
        except BadMessage:
            self.assertTrue(ambiguous)
            return
        self.assertFalse(ambiguous)
        self.assertEqual(None if found is None else routes.index(found), wanted)


words = st.sampled_from(["k", "K", "staff", "\u212a"])
emails = st.sampled_from(["k@x.io", "K@X.io", "a@x.io", "k@y.x.io"])
rules = st.fixed_dictionaries(
    {
        "allowed_users": st.lists(emails | words, max_size=3).map(tuple),
        "allowed_domains": st.lists(st.sampled_from(["x.io", "y.x.io"]), max_size=1).map(tuple),
        "allowed_groups": st.lists(words, max_size=2).map(tuple),
    }
)
more = st.one_of(
    (emails | words).map(lambda user: ("allowed_users", user)),
    st.sampled_from(["x.io", "y.x.io", "z.io"]).map(lambda domain: ("allowed_domains", domain)),
    words.map(lambda group: ("allowed_groups", group)),
)
people = st.builds(
    Identity,
    issuer=st.sampled_from([ISSUER, ISSUER, "https://other.example"]),
    subject=words,
    email=st.none() | emails,
    groups=st.lists(words, max_size=2).map(tuple),
)


def reached(who: Identity, *policies: dict[str, Any]) -> list[bool]:
    """Say under which of these rules this person's request reaches the application."""
    rig = Rig(*[route(prefix=f"/{place}", **rules) for place, rules in enumerate(policies)])
    found = []
    for place in range(len(policies)):
        client = rig.connect()
        client.sends(request(b"/%d" % place, (b"cookie", rig.cookie(who))))
        found.append(bool(rig.upstreams.opened))
        if not found[-1]:
            assert parse(client.got()).status in (401, 403)
        client.leaves()
        for server in rig.upstreams.opened:
            server.closes()
        rig.upstreams.opened.clear()
    return found


class PolicyTests(SynchronousTestCase):
    """The way of a request, under a policy."""

    @examples(40)
    @given(rules, people, more)
    def test_one_more_denies_nobody(
        self, rules: dict[str, Any], who: Identity, added: tuple[str, str]
    ) -> None:
        """Whoever gets through still does when a user, a domain or a group is added."""
        key, entry = added
        before, behind = (entry, *rules[key]), (*rules[key], entry)
        few, more, same = reached(who, rules, {**rules, key: before}, {**rules, key: behind})
        self.assertLessEqual(few, more)
        self.assertEqual(more, same)
