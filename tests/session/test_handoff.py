"""Tests for pomeriumd.session.handoff."""

from __future__ import annotations

import os

import attrs
import orjson
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.crypto.seal import seal
from pomeriumd.errors import BadToken
from pomeriumd.session.handoff import Handoff, open_handoff, seal_handoff
from pomeriumd.session.session import Identity, Session

KEYS = (b"\x07" * 32,)
NOW = 1_790_000_000
HANDOFF = Handoff(
    session=Session(
        id="s",
        identity=Identity(issuer="https://idp", subject="alice"),
        issuer="https://auth.example.com",
        audience="app.example.com:443",
        auth_time=NOW,
        checked=NOW,
        recheck=NOW + 600,
        seen=NOW,
        expires=NOW + 50_000,
    ),
    login="id.hash",
    redirect="https://app.example.com/",
    expires=NOW + 60,
)
SEALED = seal_handoff(KEYS, HANDOFF, random=os.urandom)


class HandoffTests(SynchronousTestCase):
    """A hand-off opens at its route host, for a minute."""

    def opened(self, sealed: str, *, audience: str = "app.example.com:443", at: int = 0) -> Handoff:
        """Open it ``at`` seconds after it was made."""
        return open_handoff(KEYS, sealed, audience=audience, now=NOW + at)

    def refused(
        self, said: str, sealed: str = SEALED, *, audience: str = "app.example.com:443", at: int = 0
    ) -> None:
        """Assert that it is refused with this text."""
        with self.assertRaises(BadToken) as caught:
            self.opened(sealed, audience=audience, at=at)
        self.assertEqual(str(caught.exception), said)

    def test_round_trip(self) -> None:
        """It comes out as it went in."""
        self.assertEqual(self.opened(SEALED), HANDOFF)

    def test_another_host(self) -> None:
        """At another host or port it does not even open."""
        for audience in ("app2.example.com:443", "app.example.com:8443", "app.example.com"):
            self.refused("seal does not open", audience=audience)

    def test_its_minute(self) -> None:
        """It ends after a minute, with another for clocks that differ, both ways."""
        for at in (-60, 0, 60, 119):
            self.assertEqual(self.opened(SEALED, at=at), HANDOFF)
        self.refused("hand-off has expired", at=120)
        self.refused("hand-off is from the future: the clocks differ", at=-61)

    @given(st.text(max_size=100))
    def test_any_text(self, text: str) -> None:
        """A stranger's text gives BadToken and no other error."""
        with self.assertRaises(BadToken):
            self.opened(text)

    def test_another_version_of_ours(self) -> None:
        """Under our seal, but without a session in it, it is refused like a stranger's."""
        for content in ({}, {"session": None}, {"session": "s"}, {"session": [1]}):
            sealed = seal(
                KEYS,
                orjson.dumps(content),
                context=b"handoff 1\napp.example.com:443",
                random=os.urandom,
            )
            self.refused("hand-off holds no session", sealed)

    def test_a_person_in_hundreds_of_groups_fits_a_url(self) -> None:
        """With groups up to their bound the whole stays under a request target's 16 KiB."""
        groups = tuple(f"{n:036d}" for n in range(150))
        identity = attrs.evolve(HANDOFF.session.identity, groups=groups)
        full = attrs.evolve(
            HANDOFF,
            session=attrs.evolve(HANDOFF.session, identity=identity),
            redirect="https://app.example.com/" + "x" * 1_900,
        )
        self.assertLess(len(seal_handoff(KEYS, full, random=os.urandom)), 13_000)
