"""
What we sign and seal comes back as it was, and no bit of it can change.

Session tokens, hand-offs, logins under way (of both hosts), authenticate's own session, and
signed URLs. Of each, several; of each of those, every bit.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.authenticate.transaction import Transaction
from pomeriumd.crypto.keys import OwnKeys, SharedKeys
from pomeriumd.crypto.urls import check_url, sign_url
from pomeriumd.errors import BadToken
from pomeriumd.session.cookies import CookieShape
from pomeriumd.session.handoff import Handoff, open_handoff, seal_handoff
from pomeriumd.session.pending import PendingLogins
from pomeriumd.session.provider import ProviderSession, open_provider, seal_provider
from pomeriumd.session.session import Identity, Session
from pomeriumd.session.sign_in import SignInRequest, read_sign_in, sign_in_url
from pomeriumd.session.token import decode, encode
from tests.support.laws import examples

NOW = 1_790_000_000
SHARED = SharedKeys.derived([bytes(range(32))])
OWN = OwnKeys.derived([bytes(range(32, 64))])
AUTH = "https://auth.example.com"
HERE = "app.example.com:443"
LOGINS = PendingLogins(shape=CookieShape(name="_pomerium"), keys=SHARED.route_login, audience=HERE)

words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
times = st.integers(NOW - 100_000, NOW)
identities = st.builds(
    Identity,
    issuer=words,
    subject=words,
    email=st.none() | st.builds("{}@x.example".format, words.filter(lambda text: "@" not in text)),
    name=st.none() | words,
    groups=st.lists(words, max_size=3).map(tuple),
)
sessions = st.builds(
    Session,
    id=words,
    identity=identities,
    issuer=st.just(AUTH),
    audience=st.just(HERE),
    auth_time=times,
    checked=times,
    recheck=times,
    seen=times,
    expires=st.integers(NOW + 1, NOW + 100_000),
)
targets = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20).map(
    lambda text: f"https://app.example.com/{text}"
)
handoffs = st.builds(
    Handoff,
    session=sessions,
    login=words,
    redirect=targets,
    expires=st.integers(NOW, NOW + 60),
)
asked = st.builds(SignInRequest, redirect=targets, login=words.map(ascii), seen=st.just(0) | times)


def flipped(text: str) -> Iterator[str]:
    """Give the text with each of its bits turned over, one at a time."""
    for at, character in enumerate(text):
        for bit in range(7):
            yield text[:at] + chr(ord(character) ^ 1 << bit) + text[at + 1 :]


class SecretCase(SynchronousTestCase):
    """What all these share."""

    def check_text(self, text: str, read: Callable[[str], Any], wanted: object) -> None:
        """Assert that the text reads as wanted, and that no other text one bit away reads."""
        self.assertEqual(read(text), wanted)
        for other in flipped(text):
            with self.assertRaises(BadToken, msg=other):
                read(other)


class TokenTests(SecretCase):
    """What is signed."""

    @examples(8)
    @given(sessions)
    def test_session_tokens(self, session: Session) -> None:
        """A session at a route host."""

        def read(text: str) -> Session:
            return decode(text, SHARED.route_session, audience=HERE, issuer=AUTH, now=NOW)

        self.check_text(encode(session, SHARED.route_session), read, session)

    @examples(8)
    @given(targets.filter(lambda text: "#" not in text))
    def test_signed_urls(self, url: str) -> None:
        """Any URL of ours: what arrives is what was signed, each character of it."""
        self.check_text(
            sign_url(SHARED.signed_url, url, NOW),
            lambda text: check_url(SHARED.signed_url, text, NOW),
            None,
        )

    @examples(8)
    @given(asked)
    def test_sign_in_links(self, request: SignInRequest) -> None:
        """What a route host asks authenticate, through the browser."""
        url = sign_in_url(SHARED.signed_url, AUTH, request, NOW)

        def read(query: str) -> SignInRequest:
            return read_sign_in(SHARED.signed_url, AUTH, query.encode(), NOW)

        self.check_text(url.partition("?")[2], read, request)


class SealTests(SecretCase):
    """What is sealed."""

    @examples(4)
    @given(handoffs)
    def test_handoffs(self, handoff: Handoff) -> None:
        """A session on its way to a route host."""
        self.check_text(
            seal_handoff(SHARED.handoff, handoff, random=os.urandom),
            lambda text: open_handoff(SHARED.handoff, text, audience=HERE, now=NOW),
            handoff,
        )

    @examples(4)
    @given(
        st.builds(
            ProviderSession,
            id=words,
            identity=identities,
            auth_time=times,
            checked=times,
            seen=times,
            expires=times,
            refresh_token=st.none() | words,
            id_token=st.none() | words,
        )
    )
    def test_sessions_at_authenticate(self, session: ProviderSession) -> None:
        """Authenticate's own session, with the provider's tokens."""
        idp = "https://id.example.com"
        self.check_text(
            seal_provider(OWN.session, session, audience=HERE, issuer=idp, random=os.urandom),
            lambda text: open_provider(OWN.session, text, audience=HERE, issuer=idp),
            session,
        )

    @examples(4)
    @given(asked.map(lambda request: attrs.evolve(request, seen=0)), words)
    def test_transactions(self, request: SignInRequest, issuer: str) -> None:
        """A sign-in under way, kept in the browser: an altered cookie is none."""
        begun = Transaction.begun(issuer, request, os.urandom(64))
        login, fields = LOGINS.begin((), begun.content(), now=NOW, random=os.urandom)
        name, _, rest = fields[0][1].partition(b"=")

        def read(text: str) -> Transaction:
            content = LOGINS.find([(name, text.encode())], login, now=NOW)
            if content is None:
                raise BadToken("no such login")
            return Transaction.kept(content)

        self.check_text(rest.partition(b";")[0].decode(), read, begun)
