"""What the log hides, by name and by shape."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.redact import HIDDEN, ITEMS, TEXT_SIZE, fields, is_secret, plain, scrub

JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.binary(), inner),
    max_leaves=20,
)


class NameTests(SynchronousTestCase):
    """is_secret() knows a secret by its field's name."""

    def test_secrets_in_every_spelling(self) -> None:
        """Case and separators hide no secret from it."""
        for name in (
            "Authorization",
            "proxy-authorization",
            "Cookie",
            "set-cookie",
            "Set_Cookie",
            "code",
            "CODE",
            "state",
            "id_token",
            "refresh-token",
            "tokens",
            "client_secret",
            "shared.secret",
            "password",
            "pomerium_signature",
            "session",
            "session_id",
            "x-pomerium-jwt-assertion",
            "code_verifier",
            "nonce",
            "signing_key",
            "query",
            "_csrf",
        ):
            self.assertTrue(is_secret(name), name)

    def test_ordinary_names(self) -> None:
        """What only looks a bit like one stays readable."""
        for name in (
            "status_code",
            "encoded",
            "user",
            "key",
            "keys",
            "host",
            "statement",
            "tokenized",
        ):
            self.assertFalse(is_secret(name), name)


class ShapeTests(SynchronousTestCase):
    """scrub() knows a secret by its shape."""

    def test_each_shape(self) -> None:
        """Tokens, query values, header fields and our cookies are hidden; the rest stays."""
        for text, wanted in (
            (f"bad token {JWT}, expired", "bad token [hidden], expired"),
            ("GET /cb?code=abc&state=x%20y done", "GET /cb?code=[hidden]&state=[hidden] done"),
            ("field (b'cookie', b'a=1; b=2') seen", "field (b'cookie', b'[hidden]') seen"),
            ('{"Authorization": "Basic eA=="}', "{\"Authorization\": '[hidden]'}"),
            ("got Bearer abcdefgh.ijk=", "got Bearer [hidden]"),
            ("Cookie __Host-_pomerium_0=abc; x=1", "Cookie __Host-_pomerium_0=[hidden]; x=1"),
            ("nothing here? no & no = no", "nothing here? no & no = no"),
        ):
            self.assertEqual(scrub(text), wanted)

    def test_a_long_text_keeps_its_ends(self) -> None:
        """A text over the bound loses its middle."""
        text = scrub("a" + "x" * 10 * TEXT_SIZE + "z")
        self.assertEqual((text[0], text[-1]), ("a", "z"))
        self.assertLess(len(text), TEXT_SIZE + 10)

    def test_a_lone_surrogate_is_escaped(self) -> None:
        """An undecodable file name does not keep the line from being written."""
        self.assertEqual(scrub("a\udcffb"), "a\\udcffb")


class PlainTests(SynchronousTestCase):
    """plain() and fields() make anything fit for JSON."""

    def test_nested_secrets(self) -> None:
        """A secret is hidden by its name at any depth."""
        given: dict[object, object] = {
            "request": {"fields": [{"Cookie": "a=1", "host": "x"}]},
            b"State": b"s",
        }
        wanted = {"request": {"fields": [{"Cookie": HIDDEN, "host": "x"}]}, "State": HIDDEN}
        self.assertEqual(fields(given), wanted)

    def test_depth_and_count_are_bounded(self) -> None:
        """Deep and long values are cut, also those that contain themselves."""
        endless: list[object] = []
        endless.append(endless)
        self.assertEqual(plain(endless), [[[[[["[...]"]]]]]])
        self.assertEqual(len(fields({str(n): n for n in range(1000)})), ITEMS)

    @given(values)
    def test_everything_can_be_encoded(self, value: object) -> None:
        """Whatever a caller logs becomes JSON."""
        orjson.dumps(plain(value))
