"""Tests for pomeriumd.session.token and pomeriumd.session.claims."""

from __future__ import annotations

import os
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.crypto import tokens
from pomeriumd.crypto.keys import OwnKeys, SharedKeys
from pomeriumd.crypto.seal import seal, unseal
from pomeriumd.crypto.urls import check_url, sign_url
from pomeriumd.errors import BadToken
from pomeriumd.session.claims import session_claims
from pomeriumd.session.csrf import csrf_token, csrf_valid
from pomeriumd.session.handoff import Handoff, open_handoff, seal_handoff
from pomeriumd.session.provider import ProviderSession, open_provider, seal_provider
from pomeriumd.session.session import Identity, Session
from pomeriumd.session.token import KIND, decode, encode

ROOT = b"\x07" * 32
KEYS = SharedKeys.derived((ROOT,))
NOW = 1_790_000_100.0

ALICE = Session(
    id="c2Vzc2lvbg",
    identity=Identity(
        issuer="https://idp.example.com",
        subject="alice",
        email="alice@example.com",
        name="Älice",
        groups=("admins", "öps"),
    ),
    issuer="https://auth.example.com",
    audience="app.example.com:443",
    auth_time=1_790_000_000,
    checked=1_790_000_000,
    recheck=1_790_000_600,
    seen=1_790_000_060,
    expires=1_790_050_400,
)

TOKEN = encode(ALICE, KEYS.route_session)

seconds = st.integers(0, 1_790_000_100)
texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
identities = st.builds(
    Identity,
    issuer=texts,
    subject=texts,
    email=st.none() | st.just("a@b.example"),
    name=st.none() | texts,
    groups=st.lists(texts, max_size=5).map(tuple),
)


def taken(token: str) -> Session:
    """Decode a token as the route host it was made for does."""
    return decode(
        token,
        KEYS.route_session,
        audience="app.example.com:443",
        issuer="https://auth.example.com",
        now=NOW,
    )


class TokenTests(SynchronousTestCase):
    """decode() gives the session that encode() was given, or BadToken."""

    def refused(self, said: str, **other: Any) -> None:
        """Assert that a token of ours with these claims is refused with this text."""
        claims = {**session_claims(ALICE), "iat": ALICE.seen, **other}
        with self.assertRaises(BadToken) as caught:
            taken(tokens.sign(KEYS.route_session, claims, kind=KIND))
        self.assertEqual(str(caught.exception), said)

    @given(identities, seconds, seconds, seconds, seconds)
    def test_round_trip(
        self, identity: Identity, auth_time: int, checked: int, recheck: int, seen: int
    ) -> None:
        """Every session comes back as it was."""
        session = attrs.evolve(
            ALICE,
            identity=identity,
            auth_time=auth_time,
            checked=checked,
            recheck=recheck,
            seen=seen,
        )
        self.assertEqual(taken(encode(session, KEYS.route_session)), session)

    @given(st.integers(0, len(TOKEN) * 7 - 1))
    def test_every_flipped_bit_is_refused(self, bit: int) -> None:
        """No bit of the cookie can change."""
        at, shift = divmod(bit, 7)
        with self.assertRaises(BadToken):
            taken(TOKEN[:at] + chr(ord(TOKEN[at]) ^ (1 << shift)) + TOKEN[at + 1 :])

    def test_another_host_another_port(self) -> None:
        """A token of one route host is none at another."""
        for audience in ("app2.example.com:443", "app.example.com:8443", "auth.example.com:443"):
            with self.assertRaises(BadToken):
                decode(TOKEN, KEYS.route_session, audience=audience, issuer=ALICE.issuer, now=NOW)

    def test_versions(self) -> None:
        """A version that is not known, or is no number, is refused."""
        for version in (0, 2, True, "1", 1.0, None):
            self.refused("token is of another version", v=version)

    def test_times(self) -> None:
        """Each time is whole seconds within sane years."""
        for name in ("auth_time", "chk", "rck", "seen", "exp", "iat"):
            for value in (True, 1e300, -1, 1.5, "1790000000", None, 2**63 - 1):
                self.refused(f"token's {name} is no time", **{name: value})

    def test_texts(self) -> None:
        """Each text is one, not empty, not endless."""
        for name in ("sid", "idp", "sub"):
            for value in ("", 1, None, ["a"], True, "x" * 1025):
                self.refused(f"token's {name} is no text of 1 to 1024 characters", **{name: value})
        for name in ("email", "name"):
            for value in ("", 1, False, [], "x" * 1025):
                self.refused(f"token's {name} is no text of 1 to 1024 characters", **{name: value})

    def test_an_email_has_one_at_sign(self) -> None:
        """An address that two readers could split in two ways is refused."""
        for value in ("alice", "alice@evil.com@example.com", "@@"):
            self.refused("token's email is no address", email=value)

    def test_groups(self) -> None:
        """Groups are a bounded list of texts."""
        for other in (None, "admins", {"a": 1}, ["g"] * 513):
            self.refused("token's groups are no list of 512 at most", groups=other)
        odd: list[object] = [[1], [""], [None], ["x" * 1025], [["a"]]]
        for value in odd:
            self.refused("token's groups hold something that is no group", groups=value)

    def test_every_claim_is_required(self) -> None:
        """A token that leaves any claim out is refused."""
        claims = {**session_claims(ALICE), "iat": ALICE.seen}
        for name in claims:
            less = {key: value for key, value in claims.items() if key != name}
            with self.assertRaises(BadToken, msg=name):
                taken(tokens.sign(KEYS.route_session, less, kind=KIND))


class ConfusionTests(SynchronousTestCase):
    """Whatever of ours is offered in another place than its own is refused there."""

    def setUp(self) -> None:
        """Make one of each kind, all of them good."""
        own = OwnKeys.derived((ROOT,))
        provider = ProviderSession(
            id=ALICE.id,
            identity=ALICE.identity,
            auth_time=ALICE.auth_time,
            checked=ALICE.checked,
            seen=ALICE.seen,
            expires=ALICE.expires,
        )
        handoff = Handoff(
            session=ALICE,
            login="id.hash",
            redirect="https://app.example.com/",
            expires=int(NOW) + 60,
        )
        self.made = {
            "session": TOKEN,
            "handoff": seal_handoff(KEYS.handoff, handoff, random=os.urandom),
            "provider": seal_provider(
                own.session,
                provider,
                audience="app.example.com:443",
                issuer="i",
                random=os.urandom,
            ),
            "route login": seal(KEYS.route_login, b"{}", context=b"login", random=os.urandom),
            "own login": seal(own.login, b"{}", context=b"login", random=os.urandom),
            "csrf": csrf_token(KEYS.csrf, session_id="s", audience="a", action="x"),
            "url": sign_url(KEYS.signed_url, "https://auth.example.com/", NOW),
        }
        self.places = {
            "session": taken,
            "handoff": lambda text: open_handoff(
                KEYS.handoff, text, audience="app.example.com:443", now=NOW
            ),
            "provider": lambda text: open_provider(
                own.session, text, audience="app.example.com:443", issuer="i"
            ),
            "route login": lambda text: unseal(KEYS.route_login, text, context=b"login"),
            "own login": lambda text: unseal(own.login, text, context=b"login"),
            "csrf": self._csrf,
            "url": lambda text: check_url(KEYS.signed_url, text, NOW),
        }

    def _csrf(self, text: str) -> None:
        if not csrf_valid(KEYS.csrf, text, session_id="s", audience="a", action="x"):
            raise BadToken("form")

    def test_each_is_taken_in_its_own_place(self) -> None:
        """The matrix below refuses because of the place, not because of the token."""
        for kind, text in self.made.items():
            self.places[kind](text)

    def test_none_is_taken_in_another(self) -> None:
        """Every kind offered in every other place is refused, under one and the same root."""
        for kind, text in self.made.items():
            for place, take in self.places.items():
                if place != kind:
                    with self.assertRaises(BadToken, msg=f"{kind} taken as {place}"):
                        take(text)
