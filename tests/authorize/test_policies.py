"""Tests for pomeriumd.authorize.policies."""

from __future__ import annotations

import itertools
from typing import Any

import attrs
from hypothesis import assume, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.access.decision import Allow, Deny, SignIn
from pomeriumd.access.routes import Route
from pomeriumd.access.verdict import CLIENT_CERTIFICATE, SESSION, Question, Verdict
from pomeriumd.authorize.policies import HOLDS, Cluster, Policies
from pomeriumd.crypto.keys import KeyRing, Purpose, ring
from pomeriumd.errors import SettingsError
from pomeriumd.rpc import api
from pomeriumd.session.session import Identity, Session
from pomeriumd.session.standing import SessionLimits
from pomeriumd.session.token import encode
from pomeriumd.settings.values import Origin
from tests.support.laws import examples
from tests.support.settings import ISSUER, route

ROOT, PREVIOUS, OTHER = (bytes([number]) * 32 for number in (7, 8, 9))
KEYS = ring([ROOT, PREVIOUS], Purpose.ROUTE_SESSION)
NOW = 1_790_000_000.0
AUTHENTICATE = "https://auth.example.com"
APP = "app.example.com"
LIMITS = SessionLimits()
ALICE = Session(
    id="c2Vzc2lvbg",
    identity=Identity(issuer=ISSUER, subject="alice", email="alice@example.com", groups=("staff",)),
    issuer=AUTHENTICATE,
    audience=f"{APP}:443",
    auth_time=int(NOW) - 1000,
    checked=int(NOW) - 100,
    recheck=int(NOW) + 500,
    seen=int(NOW) - 60,
    expires=int(NOW) - 1000 + 14 * 3600,
)
ALLOWED = route(APP, allowed_users=("alice@example.com",))


def cluster(*routes: Any, **changes: Any) -> Cluster:
    """Return a cluster with these routes."""
    given: dict[str, Any] = {
        "name": "main",
        "authenticate": AUTHENTICATE,
        "issuer": ISSUER,
        "routes": routes or (ALLOWED,),
    }
    return Cluster(**given | changes)


def policies(*clusters: Cluster, limits: SessionLimits = LIMITS) -> Policies:
    """Compile the policies of these clusters."""
    return Policies.of(clusters or (cluster(),), KEYS, limits)


def ask(
    session: Session | None,
    by: Policies | None = None,
    *,
    about: Any = ALLOWED,
    keys: KeyRing = KEYS,
    now: float = NOW,
) -> Verdict:
    """Have them decide whether this session may use the route."""
    token = "" if session is None else encode(session, keys)
    by = policies() if by is None else by
    return by.answer(Question(route=Route.of(about).id, token=token), now)


def changed(**changes: Any) -> Session:
    """Return Alice's session with these changes."""
    return attrs.evolve(ALICE, **changes)


class AnswerTests(SynchronousTestCase):
    """answer() lets in whom the route's rules let in, and believes no proxy about who that is."""

    def signs_in(self, verdict: Verdict) -> None:
        """Assert that this is nobody, for this once."""
        self.assertEqual(
            (verdict.decision, verdict.valid_for), (SignIn(("user-unauthenticated",)), 0.0)
        )

    def test_who_is_listed(self) -> None:
        """Allowed, and it depends on the session alone."""
        here = policies()
        verdict = ask(ALICE, here)
        self.assertEqual(verdict.decision, Allow(("email-ok",)))
        self.assertEqual((verdict.generation, verdict.depends_on), (here.digest, {SESSION}))

    def test_who_is_not_listed(self) -> None:
        """Denied with the reasons that the proxy's own policy would give."""
        bob = changed(identity=attrs.evolve(ALICE.identity, email="bob@example.com"))
        self.assertEqual(ask(bob).decision, Deny(("email-unauthorized",)))

    def test_nobody(self) -> None:
        """Without a token there is nobody, and that holds for all who have none."""
        verdict = ask(None)
        self.assertEqual(verdict.decision, SignIn(("user-unauthenticated",)))
        self.assertEqual((verdict.valid_for, verdict.depends_on), (HOLDS, {SESSION}))

    def test_a_public_route(self) -> None:
        """Everyone is let in, whatever token there is, and it depends on nothing."""
        public = route(APP, allow_public_unauthenticated_access=True)
        here = policies(cluster(public))
        for token in ("", "garbage", encode(ALICE, KEYS)):
            verdict = here.answer(Question(route=Route.of(public).id, token=token), NOW)
            self.assertEqual(verdict.decision, Allow(("accept",)))
            self.assertEqual((verdict.valid_for, verdict.depends_on), (HOLDS, frozenset()))

    def test_a_previous_secret(self) -> None:
        """A session that was signed before a rotation counts."""
        keys = ring([PREVIOUS], Purpose.ROUTE_SESSION)
        self.assertEqual(ask(ALICE, keys=keys).decision, Allow(("email-ok",)))

    def test_another_secret(self) -> None:
        """A session that does not verify is nobody's."""
        self.signs_in(ask(ALICE, keys=ring([OTHER], Purpose.ROUTE_SESSION)))

    def test_a_key_of_another_purpose(self) -> None:
        """The key that opens a call signs no session."""
        self.signs_in(ask(ALICE, keys=ring([ROOT], Purpose.GRPC)))

    def test_a_session_of_another_host(self) -> None:
        """The token of one application does not open another, whatever proxy says so."""
        self.signs_in(ask(changed(audience="wiki.example.com:443")))

    def test_a_session_of_another_authenticate(self) -> None:
        """Only the cluster's own issues sessions for it."""
        self.signs_in(ask(changed(issuer="https://auth.example.org")))

    @examples(50)
    @given(st.text(max_size=50) | st.just("a" * 40_000))
    def test_any_token(self, token: str) -> None:
        """Whatever stands for a token is nobody's, and raises nothing."""
        assume(token)
        verdict = policies().answer(Question(route=Route.of(ALLOWED).id, token=token), NOW)
        self.signs_in(verdict)

    def test_a_route_that_is_not_here(self) -> None:
        """Denied for this once: it may be on its way."""
        verdict = ask(ALICE, about=route("new.example.com"))
        self.assertEqual((verdict.decision, verdict.valid_for), (Deny(("route-unknown",)), 0.0))

    def test_two_ports_of_a_host(self) -> None:
        """Its cookie is one, so a session counts on all routes of the host."""
        other = route(APP, from_=Origin("https", APP, 8443), allowed_users=("alice@example.com",))
        here = policies(cluster(other, ALLOWED))
        for about in (ALLOWED, other):
            self.assertEqual(ask(ALICE, here, about=about).decision, Allow(("email-ok",)))

    def test_the_first_of_two(self) -> None:
        """Of two that take the same requests the first one's rules count, as in the proxy."""
        second = route(APP, allow_any_authenticated_user=True)
        bob = changed(identity=attrs.evolve(ALICE.identity, email="bob@example.com"))
        here = policies(cluster(ALLOWED, second))
        self.assertEqual(ask(bob, here).decision, Deny(("email-unauthorized",)))

    def test_it_can_be_told(self) -> None:
        """Every verdict has a form on the wire."""
        for verdict in (ask(ALICE), ask(None), ask(ALICE, about=route("new.example.com"))):
            self.assertEqual(api.read_verdict(api.write_verdict(verdict)), verdict)


class TimeTests(SynchronousTestCase):
    """A verdict holds until the session does not, and no longer."""

    def test_until_it_is_unconfirmed(self) -> None:
        """The provider has to be asked again after session_recheck_max."""
        limits = attrs.evolve(LIMITS, recheck_max=600.0)
        self.assertEqual(ask(ALICE, policies(limits=limits)).valid_for, 500.0)

    def test_until_its_end(self) -> None:
        """Not past the absolute end."""
        self.assertEqual(ask(changed(expires=int(NOW) + 7)).valid_for, 7.0)

    def test_until_the_limit_of_today(self) -> None:
        """A limit that was shortened holds for sessions that exist."""
        limits = attrs.evolve(LIMITS, expire=1060.0)
        self.assertEqual(ask(ALICE, policies(limits=limits)).valid_for, 60.0)

    def test_a_bound(self) -> None:
        """However long a session lives."""
        limits = SessionLimits(expire=1e7, recheck_max=1e7)
        long = changed(expires=int(NOW) + 10_000_000)
        self.assertEqual(ask(long, policies(limits=limits)).valid_for, HOLDS)

    def test_an_unconfirmed_session(self) -> None:
        """It lets nobody in before the provider has confirmed it."""
        verdict = ask(changed(checked=int(NOW) - 3600))
        self.assertEqual(verdict.decision, SignIn(("session-unconfirmed", "user-unauthenticated")))
        self.assertEqual(verdict.valid_for, 0.0)

    def test_a_session_at_its_end(self) -> None:
        """Its owner signs in again."""
        verdict = ask(changed(expires=int(NOW)))
        self.assertEqual(verdict.decision, SignIn(("session-ended", "user-unauthenticated")))
        self.assertEqual(verdict.valid_for, 0.0)

    def test_an_idle_session(self) -> None:
        """When it was used last the token does not say in time; the proxy knows."""
        self.assertEqual(ask(changed(seen=int(NOW) - 86_400)).decision, Allow(("email-ok",)))

    @examples(60)
    @given(st.integers(0, 5000), st.integers(0, 5000), st.integers(1, 5000), st.floats(1.0, 5000.0))
    def test_a_moment_earlier_and_later(
        self, began: int, checked: int, lives: int, most: float
    ) -> None:
        """For as long as it says it is the same, and then it is not, or has its bound."""
        limits = SessionLimits(expire=most, recheck_max=most)
        here = policies(limits=limits)
        session = changed(
            auth_time=int(NOW) - began, checked=int(NOW) - checked, expires=int(NOW) + lives
        )
        verdict = ask(session, here)
        assume(isinstance(verdict.decision, Allow))
        just_before, then = NOW + verdict.valid_for - 0.01, NOW + verdict.valid_for + 0.01
        if just_before >= NOW:
            self.assertEqual(ask(session, here, now=just_before).decision, verdict.decision)
        if verdict.valid_for < HOLDS:
            self.assertIsInstance(ask(session, here, now=then).decision, SignIn)


class ClusterTests(SynchronousTestCase):
    """Several clusters are served by one authorize, each by its own rules."""

    def test_one_provider(self) -> None:
        """Clusters with different routes and one authenticate: each route has its rules."""
        wiki = route("wiki.example.com", allowed_groups=("staff",))
        here = policies(cluster(), cluster(wiki, name="second"))
        there = changed(audience="wiki.example.com:443")
        self.assertEqual(ask(ALICE, here).decision, Allow(("email-ok",)))
        self.assertEqual(ask(there, here, about=wiki).decision, Allow(("groups-ok",)))
        self.assertIsInstance(ask(ALICE, here, about=wiki).decision, SignIn)

    def test_two_providers(self) -> None:
        """The same e-mail address from another issuer is another person."""
        wiki = route("wiki.example.org", allowed_users=("alice@example.com",))
        other_issuer, other_authenticate = "https://id.example.org", "https://auth.example.org"
        second = cluster(wiki, name="second", authenticate=other_authenticate, issuer=other_issuer)
        here = policies(cluster(), second)
        theirs = changed(
            audience="wiki.example.org:443",
            issuer=other_authenticate,
            identity=attrs.evolve(ALICE.identity, issuer=other_issuer),
        )
        self.assertEqual(ask(ALICE, here).decision, Allow(("email-ok",)))
        self.assertEqual(ask(theirs, here, about=wiki).decision, Allow(("email-ok",)))

        # Their authenticate vouches for one of ours, or for itself at our host.
        for stranger in (
            attrs.evolve(theirs, identity=ALICE.identity),
            attrs.evolve(ALICE, issuer=other_authenticate),
            attrs.evolve(ALICE, identity=theirs.identity),
        ):
            for about in (ALLOWED, wiki):
                self.assertIsInstance(ask(stranger, here, about=about).decision, SignIn)

    def test_the_other_provider_is_named(self) -> None:
        """Somebody of another provider learns that it is the wrong one here."""
        stranger = changed(identity=attrs.evolve(ALICE.identity, issuer="https://id.example.org"))
        self.assertEqual(
            ask(stranger).decision, SignIn(("issuer-unauthorized", "user-unauthenticated"))
        )

    def test_a_route_of_two_clusters(self) -> None:
        """It is refused: which provider's people would it be for?"""
        with self.assertRaises(SettingsError) as caught:
            policies(cluster(), cluster(route(APP, place="clusters[1].policy[0]"), name="second"))
        (problem,) = caught.exception.problems
        self.assertEqual(
            str(problem),
            "clusters[1].policy[0].from: https://app.example.com is a route of the cluster main,"
            " too: give it to one of them",
        )


EMAILS = (None, "a@x.example", "b@x.example", "a@y.example")
SUBJECTS, GROUPS = ("u1", "u2"), ((), ("g1",), ("g2",))
PEOPLE = [
    Identity(issuer=issuer, subject=subject, email=email, groups=groups)
    for issuer, subject, email, groups in itertools.product(
        (ISSUER, "https://id.example.org"), SUBJECTS, EMAILS, GROUPS
    )
]
"""Whoever the rules below can tell apart."""
HOSTS = ("one.example", "two.example", "three.example")


def some(*entries: str) -> st.SearchStrategy[tuple[str, ...]]:
    """Return any selection of entries, in any order."""
    return st.lists(st.sampled_from(entries), unique=True).map(tuple)


rules = st.fixed_dictionaries(
    {},
    optional={
        "allowed_users": some("a@x.example", "B@x.example", "u1", "u2"),
        "allowed_domains": some("x.example", "y.example"),
        "allowed_groups": some("g1", "g2"),
        "allow_any_authenticated_user": st.booleans(),
        "allow_public_unauthenticated_access": st.booleans(),
    },
)
tables = st.dictionaries(st.sampled_from(HOSTS), rules, min_size=1)


def compiled(table: dict[str, dict[str, Any]], issuer: str | None = ISSUER) -> Policies:
    """Return the policies of this table of rules by host."""
    return policies(cluster(*(route(host, **rule) for host, rule in table.items()), issuer=issuer))


def let_in(table: dict[str, dict[str, Any]], issuer: str | None) -> set[tuple[str, int]]:
    """Return everyone who is let in, by host; -1 is nobody at all."""
    found = set()
    for host, rule in table.items():
        policy = Route.of(route(host, **rule), issuer).policy
        for number, person in enumerate([*PEOPLE, None]):
            if isinstance(policy.decide(person), Allow):
                found.add((host, number))
    return found


class DigestTests(SynchronousTestCase):
    """The digest is equal where the same people are let in, and nowhere else."""

    @examples(60)
    @given(tables, st.randoms(use_true_random=False))
    def test_no_order_matters(self, table: dict[str, dict[str, Any]], chance: Any) -> None:
        """Routes and rules may stand in any order, and be written twice."""

        def shuffled(entries: Any) -> Any:
            if not isinstance(entries, tuple):
                return entries
            return tuple(chance.sample([*entries, *entries], 2 * len(entries)))

        other = {
            host: {name: shuffled(value) for name, value in table[host].items()}
            for host in chance.sample(list(table), len(table))
        }
        self.assertEqual(compiled(table).digest, compiled(other).digest)

    @examples(150)
    @given(tables, tables, st.sampled_from([None, ISSUER]), st.sampled_from([None, ISSUER]))
    def test_whoever_is_let_in_shows(
        self,
        one: dict[str, dict[str, Any]],
        other: dict[str, dict[str, Any]],
        issuer: str | None,
        other_issuer: str | None,
    ) -> None:
        """Policies that differ in a single person at a single host differ in the digest."""
        assume(let_in(one, issuer) != let_in(other, other_issuer))
        self.assertNotEqual(compiled(one, issuer).digest, compiled(other, other_issuer).digest)

    def test_what_else_shows(self) -> None:
        """Where sessions come from, their limits, and the routes' places."""
        made = [
            policies(),
            policies(cluster(authenticate="https://auth.example.org")),
            policies(limits=attrs.evolve(LIMITS, expire=60.0)),
            policies(limits=attrs.evolve(LIMITS, recheck_max=60.0)),
            policies(cluster(attrs.evolve(ALLOWED, prefix="/a"))),
            policies(cluster(ALLOWED, route("other.example.com"))),
        ]
        self.assertEqual(len({each.digest for each in made}), len(made))

    def test_clusters_in_any_order(self) -> None:
        """Nor does it matter what they are called."""
        other = cluster(route("other.example.com"), name="second")
        self.assertEqual(
            policies(cluster(), other).digest,
            policies(attrs.evolve(other, name="third"), cluster()).digest,
        )

    def test_no_secret_shows(self) -> None:
        """While a secret is rotated, replicas that have come less far agree."""
        rotated = Policies.of([cluster()], ring([OTHER, ROOT], Purpose.ROUTE_SESSION), LIMITS)
        self.assertEqual(rotated.digest, policies().digest)

    def test_what_does_not_matter(self) -> None:
        """Where a route leads, and how long it waits there, is not who may use it."""
        self.assertEqual(
            policies(cluster(attrs.evolve(ALLOWED, timeout=1.0, place="policy[9]"))).digest,
            policies().digest,
        )


class BuildingTests(SynchronousTestCase):
    """Many routes are compiled without stalling a loop."""

    def test_in_pieces(self) -> None:
        """The more routes, the more pieces."""
        many = cluster(*(route(f"a{number}.example") for number in range(320)))
        pieces = sum(1 for _ in Policies.building((many,), KEYS, LIMITS))
        self.assertEqual(pieces, 40)

    def test_how_many(self) -> None:
        """They can be counted."""
        self.assertEqual(len(policies(cluster(ALLOWED, route("other.example.com")))), 2)


class ClientCertificateTests(SynchronousTestCase):
    """A list of client certificates is asked besides all else, over gRPC as in one process."""

    PRINT, KEY = "ab" * 32, "A" * 43 + "="

    def given(self, attribute: str | None, token: str = "", **more: Any) -> Verdict:
        """Return the verdict on a question that has travelled."""
        its = route(APP, allowed_client_certificates=(self.PRINT, self.KEY), **more)
        found = policies(cluster(its))
        attributes = {} if attribute is None else {CLIENT_CERTIFICATE: attribute}
        question = Question(route=Route.of(its).id, token=token, attributes=attributes)
        asked = api.read_question(api.write_question(question))
        return api.read_verdict(api.write_verdict(found.answer(asked, NOW)))

    def test_besides_all_else(self) -> None:
        """Neither a public route nor a session does without; the certificate alone does not do."""
        token = encode(ALICE, KEYS)
        other = f"{'cd' * 32} {'B' * 43}="
        for attribute, decision in (
            (None, Deny(("client-certificate-required",))),
            ("", Deny(("client-certificate-required",))),
            (other, Deny(("client-certificate-unauthorized",))),
        ):
            for more in (
                {"allow_public_unauthenticated_access": True},
                {"allowed_users": ("alice@example.com",)},
            ):
                self.assertEqual(self.given(attribute, token, **more).decision, decision)
        for attribute in (f"{self.PRINT} {'B' * 43}=", f"{'cd' * 32} {self.KEY}"):
            public = self.given(attribute, allow_public_unauthenticated_access=True)
            self.assertEqual(public.decision, Allow(("accept",)))
            self.assertEqual(public.depends_on, {CLIENT_CERTIFICATE})
            allowed = self.given(attribute, token, allowed_users=("alice@example.com",))
            self.assertEqual(allowed.decision, Allow(("email-ok",)))
            self.assertEqual(allowed.depends_on, {SESSION, CLIENT_CERTIFICATE})
            nobody = self.given(attribute, allowed_users=("alice@example.com",))
            self.assertIsInstance(nobody.decision, SignIn)

    def test_digest(self) -> None:
        """Another list is another digest; where there is none, it is what it was."""
        lists: tuple[tuple[str, ...], ...] = (
            (),
            (self.PRINT,),
            (self.KEY,),
            (self.KEY, self.PRINT),
        )
        found = [policies(cluster(route(APP, allowed_client_certificates=its))) for its in lists]
        self.assertEqual(len({one.digest for one in found}), 4)
        turned = route(APP, allowed_client_certificates=(self.PRINT, self.KEY))
        self.assertEqual(policies(cluster(turned)).digest, found[3].digest)
