"""Tests for pomeriumd.session.pending."""

from __future__ import annotations

import os

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.http.events import Field
from pomeriumd.session.cookies import CookieShape, Pair
from pomeriumd.session.pending import LOGINS, PendingLogins

NOW = 1_790_000_000.0
HERE = PendingLogins(
    shape=CookieShape(name="_pomerium"), keys=(b"\x07" * 32,), audience="app.example.com:443"
)


def kept(fields: list[Field], jar: dict[bytes, bytes]) -> list[Pair]:
    """Let a browser's jar take these fields, and return its cookies."""
    for _, text in fields:
        name, _, value = text.partition(b";")[0].partition(b"=")
        jar[name] = value
        if b"; Max-Age=0;" in text:
            del jar[name]
    return list(jar.items())


class PendingLoginsTests(SynchronousTestCase):
    """A login under way is in the browser that began it, and opens only here."""

    def setUp(self) -> None:
        """Begin one login in an empty jar."""
        self.jar: dict[bytes, bytes] = {}
        self.login, self.fields = HERE.begin((), {"a": "b"}, now=NOW, random=os.urandom)
        self.pairs = kept(self.fields, self.jar)

    def test_the_cookie(self) -> None:
        """It has the login's id in its name, lives an hour, and never leaves the host."""
        [(_, text)] = self.fields
        name, _, rest = text.decode().partition("=")
        self.assertEqual(name, f"__Host-_pomerium_login_{self.login}")
        self.assertEqual(
            rest.partition("; ")[2], "Path=/; Max-Age=3600; Secure; HttpOnly; SameSite=Lax"
        )

    def test_is_found_for_an_hour(self) -> None:
        """The content is there until the hour is over, also for a clock a minute behind."""
        for at in (-60, 0, 1800, 3599):
            self.assertEqual(HERE.find(self.pairs, self.login, now=NOW + at), {"a": "b"})
        for at in (-62, 3600, 10**6):
            self.assertIsNone(HERE.find(self.pairs, self.login, now=NOW + at))

    def test_other_hosts_keys_and_ids(self) -> None:
        """A cookie opens at its host, under its key, by its own name."""
        for elsewhere in (
            attrs.evolve(HERE, audience="app2.example.com:443"),
            attrs.evolve(HERE, audience="app.example.com:8443"),
            attrs.evolve(HERE, keys=(b"\x08" * 32,)),
        ):
            self.assertIsNone(elsewhere.find(self.pairs, self.login, now=NOW))
        other, fields = HERE.begin((), {"c": "d"}, now=NOW, random=os.urandom)
        [(name, _)] = kept(fields, {})
        self.assertIsNone(HERE.find([(name, self.pairs[0][1])], other, now=NOW))

    @given(st.text(max_size=40))
    def test_any_id(self, login: str) -> None:
        """An id that a stranger puts into a URL finds nothing and breaks nothing."""
        self.assertIsNone(
            HERE.find(
                [(b"__Host-_pomerium_login_" + login.encode("utf-8", "replace"), b"x")],
                login,
                now=NOW,
            )
        )

    def test_a_cookie_that_does_not_open_hides_no_other(self) -> None:
        """Of two cookies of one name the one that opens counts."""
        [(name, _)] = self.pairs
        pairs = [(name, b"tossed"), *self.pairs]
        self.assertEqual(HERE.find(pairs, self.login, now=NOW), {"a": "b"})

    def test_never_more_than_eight(self) -> None:
        """The ninth login clears the oldest, whatever order the browser sends them in."""
        logins = [self.login]
        for n in range(1, 30):
            login, fields = HERE.begin(
                sorted(self.pairs, reverse=n % 2 == 0), {"n": n}, now=NOW + n, random=os.urandom
            )
            self.pairs = kept(fields, self.jar)
            logins.append(login)
        self.assertEqual(HERE.ids(self.pairs), set(logins[-LOGINS:]))
        for login in logins[-LOGINS:]:
            self.assertIsNotNone(HERE.find(self.pairs, login, now=NOW + 30))

    def test_a_flood_is_cleared_at_once(self) -> None:
        """Fifty cookies of that name in one jar are brought down to eight."""
        pairs = [(b"__Host-_pomerium_login_%09x" % n + b"A" * 22, b"x") for n in range(50)]
        _, fields = HERE.begin(pairs, {}, now=NOW, random=os.urandom)
        self.assertEqual(len(fields), 1 + 50 - (LOGINS - 1))

    def test_clears_one_or_all(self) -> None:
        """A login that is over is cleared alone; a sign-out clears them all."""
        _, fields = HERE.begin(self.pairs, {}, now=NOW, random=os.urandom)
        pairs = kept(fields, self.jar)
        self.assertEqual(len(kept(HERE.clear(pairs, self.login), dict(pairs))), 1)
        self.assertEqual(kept(HERE.clear(pairs), dict(pairs)), [])
        self.assertEqual(HERE.clear([], self.login), [])

    def test_refuses_what_is_no_cookie(self) -> None:
        """Content over one cookie's size is an error here, not a login that cannot end."""
        with self.assertRaises(ValueError):
            HERE.begin((), {"a": "x" * 3_000}, now=NOW, random=os.urandom)

    def test_the_content_is_hidden(self) -> None:
        """What is kept is not to be read in the cookie, nor the key in the repr."""
        self.assertNotIn(b"YiI", self.pairs[0][1])
        self.assertNotIn("keys", repr(HERE))
