"""
Secrets are rotated in three steps, and what was made before a step is taken after it.

    0  old                           1  old, and new as the previous one
    2  new, and old as the previous  3  new

Replicas take a step one after the other, so two neighbouring steps serve side by side: each
must take what the other makes. First each use of a key by itself, then whole sign-ins,
renewals and sign-outs in every order of the two replicas.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs
import jwt
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.access.assertion import ASSERTION
from pomeriumd.authenticate.site import AuthenticateSite, Goals
from pomeriumd.authenticate.trail import Trail
from pomeriumd.crypto.keys import KeyRing, OwnKeys, Purpose, SharedKeys
from pomeriumd.crypto.seal import seal, unseal
from pomeriumd.crypto.urls import check_url, sign_url
from pomeriumd.daemon.build import building
from pomeriumd.errors import BadToken
from pomeriumd.http.limits import Limits
from pomeriumd.pieces import finish
from pomeriumd.proxy.generation import Generation
from pomeriumd.session.cookies import CookieShape
from pomeriumd.session.csrf import csrf_token, csrf_valid
from pomeriumd.session.handoff import Handoff, open_handoff, seal_handoff
from pomeriumd.session.pending import PendingLogins
from pomeriumd.session.provider import ProviderSession, open_provider, seal_provider
from pomeriumd.session.session import Identity, Session
from pomeriumd.session.sign_in import (
    SignInRequest,
    read_sign_in,
    read_sign_out,
    sign_in_url,
    sign_out_url,
)
from pomeriumd.session.standing import SessionLimits
from pomeriumd.session.token import decode, encode
from pomeriumd.settings.model import Secret
from tests.support.browser import APP, AUTH, NOWHERE, Browser, SignInCase
from tests.support.rig import Got
from tests.support.settings import COOKIE, SHARED, make_settings

NOW = 1_790_000_000
HERE = "app.example.com:443"
SHAPE = CookieShape(name="_pomerium")
IDP = "https://id.example.com"

OLD, NEW = bytes(range(100, 132)), bytes(range(132, 164))
STEPS = ((OLD,), (OLD, NEW), (NEW, OLD), (NEW,))
"""The roots that each step has: the first signs and seals."""

TOGETHER = [(a, b) for a in range(4) for b in range(4) if abs(a - b) <= 1]
"""Steps that two replicas may have at one time."""

PERSON = Identity(issuer=IDP, subject="u1", email="ann@example.com")
SESSION = Session(
    id="s1",
    identity=PERSON,
    issuer=AUTH,
    audience=HERE,
    auth_time=NOW,
    checked=NOW,
    recheck=NOW + 600,
    seen=NOW,
    expires=NOW + 3600,
)
OWN_SESSION = ProviderSession(
    id="s1", identity=PERSON, auth_time=NOW, checked=NOW, seen=NOW, expires=NOW + 3600
)


@attrs.frozen
class Use:
    """One way in which the product uses a ring of keys."""

    purpose: Purpose
    ring: str
    """The attribute of SharedKeys, or of OwnKeys after ``own.``."""
    make: Callable[[KeyRing], Any]
    read: Callable[[KeyRing, Any], object]
    """Raises BadToken, or returns what is false, if it does not take what was made."""

    def keys(self, roots: Iterable[bytes]) -> KeyRing:
        """Return the ring that these roots give."""
        keys = SharedKeys.derived(tuple(roots)), OwnKeys.derived(tuple(roots))
        which, _, name = self.ring.rpartition(".")
        ring: KeyRing = getattr(keys[which == "own"], name)
        return ring

    def takes(self, roots: Iterable[bytes], made: Any) -> bool:
        """Return whether somebody with these roots takes what was made."""
        try:
            return bool(self.read(self.keys(roots), made))
        except BadToken:
            return False


def begun(keys: KeyRing) -> Any:
    """Return a login under way: its id, and its cookie as the browser sends it."""
    logins = PendingLogins(shape=SHAPE, keys=keys, audience=HERE)
    login, fields = logins.begin((), {"a": "b"}, now=NOW, random=os.urandom)
    name, _, value = fields[0][1].partition(b";")[0].partition(b"=")
    return login, ((name, value),)


def found(keys: KeyRing, made: Any) -> object:
    """Return the content of a login under way."""
    login, pairs = made
    return PendingLogins(shape=SHAPE, keys=keys, audience=HERE).find(pairs, login, now=NOW)


def trail(keys: KeyRing) -> Trail:
    """Return authenticate's trail."""
    site = AuthenticateSite(
        origin=AUTH,
        callback_path="/oauth2/callback",
        shape=SHAPE,
        limits=SessionLimits(),
        groups_named=frozenset(),
    )
    return Trail(site=site, keys=keys, goals=Goals(lambda *_: True), random=os.urandom)


def left(keys: KeyRing) -> Any:
    """Return a trail's cookie as the browser sends it."""
    ((_, field),) = trail(keys).leave((), f"{APP}/x")
    name, _, value = field.partition(b";")[0].partition(b"=")
    return ((name, value),)


def url_taken(keys: KeyRing, made: str) -> bool:
    """Return true, or raise BadToken."""
    check_url(keys, made, NOW)
    return True


def form(keys: KeyRing) -> str:
    """Return the token of a form."""
    return csrf_token(keys, session_id="s1", audience=HERE, action="sign out")


def form_taken(keys: KeyRing, made: str) -> bool:
    """Return whether the form is taken."""
    return csrf_valid(keys, made, session_id="s1", audience=HERE, action="sign out")


USES = {
    "signed URL": Use(
        Purpose.SIGNED_URL,
        "signed_url",
        lambda keys: sign_url(keys, f"{APP}/x", NOW),
        url_taken,
    ),
    "sign-in link": Use(
        Purpose.SIGNED_URL,
        "signed_url",
        lambda keys: sign_in_url(keys, AUTH, SignInRequest(redirect=APP, login="a.b"), NOW),
        lambda keys, made: read_sign_in(keys, AUTH, made.partition("?")[2].encode(), NOW),
    ),
    "sign-out link": Use(
        Purpose.SIGNED_URL,
        "signed_url",
        lambda keys: sign_out_url(keys, AUTH, session_id="s1", redirect=APP, now=NOW),
        lambda keys, made: read_sign_out(keys, AUTH, made.partition("?")[2].encode(), NOW),
    ),
    "route session": Use(
        Purpose.ROUTE_SESSION,
        "route_session",
        lambda keys: encode(SESSION, keys),
        lambda keys, made: decode(made, keys, audience=HERE, issuer=AUTH, now=NOW),
    ),
    "route login": Use(Purpose.ROUTE_LOGIN, "route_login", begun, found),
    "hand-off": Use(
        Purpose.HANDOFF,
        "handoff",
        lambda keys: seal_handoff(
            keys,
            Handoff(session=SESSION, login="a.b", redirect=APP, expires=NOW + 60),
            random=os.urandom,
        ),
        lambda keys, made: open_handoff(keys, made, audience=HERE, now=NOW),
    ),
    "route form": Use(Purpose.ROUTE_CSRF, "csrf", form, form_taken),
    "provider session": Use(
        Purpose.PROVIDER_SESSION,
        "own.session",
        lambda keys: seal_provider(keys, OWN_SESSION, audience=HERE, issuer=IDP, random=os.urandom),
        lambda keys, made: open_provider(keys, made, audience=HERE, issuer=IDP),
    ),
    "provider login": Use(Purpose.PROVIDER_LOGIN, "own.login", begun, found),
    "trail": Use(
        Purpose.PROVIDER_LOGIN, "own.login", left, lambda keys, made: trail(keys).target(made)
    ),
    "sign-out at the provider": Use(
        Purpose.PROVIDER_LOGIN,
        "own.login",
        lambda keys: seal(keys, b"home", context=b"signed out", random=os.urandom),
        lambda keys, made: unseal(keys, made, context=b"signed out"),
    ),
    "provider form": Use(Purpose.PROVIDER_CSRF, "own.csrf", form, form_taken),
}

ELSEWHERE = {
    Purpose.ASSERTION: "a pair of keys and no ring: see ReplicaTests.test_assertions",
    Purpose.MARK: "tells people which secret is which, and is no key",
    Purpose.GRPC: "no service of ours calls another one yet",
}


class UseTests(SynchronousTestCase):
    """Everything that verifies tries all keys; everything that signs uses the first."""

    def test_no_purpose_is_left_out(self) -> None:
        """Each purpose, and each ring that is derived, is used here."""
        self.assertEqual({use.purpose for use in USES.values()} | set(ELSEWHERE), set(Purpose))
        rings = {a.name for a in attrs.fields(SharedKeys)}
        rings |= {f"own.{a.name}" for a in attrs.fields(OwnKeys)}
        self.assertEqual({use.ring for use in USES.values()}, rings)

    def test_neighbours_take_what_the_other_makes(self) -> None:
        """At no step, and in no mixture of two, is anything refused."""
        for (name, use), (maker, reader) in itertools.product(USES.items(), TOGETHER):
            made = use.make(use.keys(STEPS[maker]))
            self.assertTrue(use.takes(STEPS[reader], made), f"{name}: {maker} to {reader}")

    def test_what_is_made_is_taken_until_the_old_one_is_gone(self) -> None:
        """What was made before the rotation is taken at every step but the last."""
        for name, use in USES.items():
            made = use.make(use.keys(STEPS[0]))
            taken = [use.takes(roots, made) for roots in STEPS]
            self.assertEqual(taken, [True, True, True, False], name)

    def test_the_previous_one_makes_nothing(self) -> None:
        """Whoever has the previous secret alone takes nothing that is made now."""
        for (name, use), (present, previous) in itertools.product(USES.items(), STEPS[1:3]):
            made = use.make(use.keys((present, previous)))
            self.assertTrue(use.takes((present,), made), name)
            self.assertFalse(use.takes((previous,), made), name)

    def test_no_ring_takes_what_another_makes(self) -> None:
        """A previous secret separates purposes as the present one does."""
        sealed = [use for use in USES.values() if use.make in (begun, form)]
        for one, other in itertools.permutations(sealed, 2):
            if one.make is other.make:
                made = one.make(one.keys((OLD,)))
                self.assertFalse(other.takes((NEW, OLD), made), (one.ring, other.ring))


@attrs.define(eq=False, kw_only=True)
class Wandering(Browser):
    """A browser whose requests a load balancer sends where it likes."""

    way: Iterator[Generation] = attrs.field(factory=lambda: iter(()))
    """The replica of each request to come."""

    def ask(self, *asked: Any, **more: Any) -> Got:
        """Ask the replica whose turn it is."""
        self.rig.front.generation = next(self.way)
        return super().ask(*asked, **more)

    def by_way_of(self, *replicas: Generation) -> Wandering:
        """Return this browser; its next requests go to these replicas, and there are no more."""
        self.way = iter(replicas)
        return self


FORM = (b"content-type", b"application/x-www-form-urlencoded")

PRESENT = {"shared_secret": SHARED, "cookie_secret": COOKIE}
MIXED = ((0, 1), (1, 2), (2, 3))

COURSE = ((0, 0), (1, 0), (1, 1), (2, 1), (2, 2), (3, 2), (3, 3))
"""The steps of two replicas that are renewed one after the other."""


class ReplicaTests(SignInCase):
    """Two replicas that have come to neighbouring steps, behind a balancer, in memory."""

    def replica(self, secret: str, step: int) -> Generation:
        """Return a replica at a step of this secret's rotation."""
        old = PRESENT[secret]
        roots = ((old,), (old, NEW), (NEW, old), (NEW,))[step]
        given = {**PRESENT, secret: roots[0]}
        if len(roots) > 1:
            given[f"{secret}_previous"] = roots[1]
        settings = make_settings(
            *self.routes,
            state_dir=NOWHERE,
            **{name: Secret(root) for name, root in given.items()},
        )
        return finish(
            building(settings, given["shared_secret"], self.rig.world, Limits())
        ).generation

    def wandering(self) -> Wandering:
        """Return another person's browser."""
        return Wandering(self.rig, self.provider, ends={})

    def orders(self, length: int) -> Iterator[tuple[list[Generation], str]]:
        """Give the replicas of so many requests, in every order, for each mixture of steps."""
        for secret, steps in itertools.product(PRESENT, MIXED):
            pair = [self.replica(secret, step) for step in steps]
            for order in itertools.product((0, 1), repeat=length):
                yield [pair[at] for at in order], f"{secret}, steps {steps}, replicas {order}"

    def signed_in(self, replica: Generation) -> Wandering:
        """Return a browser that signed in at one replica."""
        browser = self.wandering().by_way_of(*[replica] * 5)
        self.assertEqual(browser.follow(f"{APP}/").status, 200)
        return browser

    def test_sign_ins(self) -> None:
        """A sign-in that any replica began any other one goes on with, at each of its steps."""
        for replicas, which in self.orders(5):
            browser = self.wandering().by_way_of(*replicas)
            got = browser.follow(f"{APP}/")
            self.assertEqual((got.status, got.body), (200, b"ok"), which)
            self.assertEqual(list(browser.way), [], which)

    def test_renewals(self) -> None:
        """A session that is due is confirmed by way of any replicas, with no sign-in."""
        for (first, *replicas), which in self.orders(5):
            browser = self.signed_in(first)
            asked = len(self.provider.authorized)
            self.clock.advance(601)
            got = browser.by_way_of(*replicas).follow(f"{APP}/")
            self.assertEqual((got.status, got.body), (200, b"ok"), which)
            self.assertEqual(list(browser.way), [], which)
            self.assertEqual(len(self.provider.authorized), asked, which)

    def test_sign_outs(self) -> None:
        """A form that one replica shows another takes, and authenticate believes its link."""
        for (first, *replicas), which in self.orders(4):
            browser = self.signed_in(first).by_way_of(*replicas)
            where = f"{APP}/.pomerium/sign_out"
            token = re.search(rb'name="pomerium_csrf" value="([^"]*)"', browser.open(where).body)
            assert token is not None, which
            body = b"pomerium_csrf=" + token[1]
            got = browser.open(where, FORM, method=b"POST", body=body)
            self.assertFalse(browser.has_session(), which)
            browser.open(got.field(b"refresh").decode("ascii").partition("; url=")[2])
            self.assertEqual(browser.at("auth.example.com"), {}, which)

    def test_assertions(self) -> None:
        """An application verifies what any replica signs with the keys that any publishes."""
        for (signs, publishes), which in self.orders(2):
            browser = self.signed_in(signs)
            head = browser.at_applications[-1].decode("ascii")
            token = re.search(f"{ASSERTION.decode()}: ([^\r]+)", head, re.IGNORECASE)
            assert token is not None, head
            document = json.loads(publishes.identity.jwks())
            keys = {key["kid"]: jwt.PyJWK(key) for key in document["keys"]}
            claims = jwt.decode(
                token[1],
                keys[jwt.get_unverified_header(token[1])["kid"]],
                algorithms=["ES256"],
                audience="app.example.com",
                options={"verify_exp": False, "verify_iat": False},
            )
            self.assertEqual(claims["sub"], "alice", which)

    def test_the_old_one_is_forgotten(self) -> None:
        """The daemon that took a session a moment ago takes it no more after the last step."""
        for secret, url in (("shared_secret", APP), ("cookie_secret", AUTH)):
            browser = self.signed_in(self.replica(secret, 0))
            for step, wanted in ((2, True), (3, False)):
                browser.by_way_of(self.replica(secret, step))
                known = b"<code>alice</code>" in browser.open(f"{url}/.pomerium/").body
                self.assertEqual(known, wanted, (secret, step))

    def test_the_whole_course(self) -> None:
        """Through all steps, with either replica first, nobody who is signed in notices."""
        for secret, first, gap in itertools.product(PRESENT, (0, 1), (0, 61, 601)):
            steps = [self.replica(secret, step) for step in range(4)]
            browser = self.signed_in(steps[0])
            asked = len(self.provider.authorized)
            # What lies still for all that time was made with the old secret, and ends with it.
            lies_still = gap < {"shared_secret": 61, "cookie_secret": 601}[secret]
            for stage in COURSE[: 5 if lies_still else 7]:
                self.clock.advance(gap)
                replicas = [steps[at] for at in stage]
                for one, other in itertools.permutations(replicas[:: 1 if first else -1]):
                    which = f"{secret}, {gap} s each, steps {stage}, {first} first"
                    browser.by_way_of(*[one, other] * 3)
                    got = browser.follow(f"{APP}/")
                    self.assertEqual((got.status, got.body), (200, b"ok"), which)
                    self.assertEqual(browser.script().status, 200, which)
                    browser.by_way_of(one)
                    self.assertIn(b"<code>alice</code>", browser.open(f"{AUTH}/.pomerium/").body)
            self.assertEqual(len(self.provider.authorized), asked)
