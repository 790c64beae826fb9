"""Tests for pomeriumd.http.fields: which fields cross the proxy, and how they are written."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.errors import BadMessage, PomeriumError
from pomeriumd.http import fields
from pomeriumd.http.events import Field
from pomeriumd.http.fields import (
    ENDS_HERE,
    MISSPELT,
    ONLY_ONCE,
    OPTIONS_SIZE,
    clients_options,
    connection_options,
    end_to_end,
    field_lines,
    read_fields,
    trailers_that_may_pass,
)

names = st.sampled_from(sorted(ENDS_HERE)) | st.from_regex(rb"[a-z][a-z0-9-]{0,9}", fullmatch=True)

values = st.from_regex(rb"([!-~]([ -~]{0,20}[!-~])?)?", fullmatch=True)

some_fields = st.lists(st.tuples(names, values), max_size=10)


class EndToEndTests(SynchronousTestCase):
    """end_to_end() keeps what may be forwarded, and only that."""

    @given(some_fields)
    def test_is_a_subsequence_without_hop_fields(self, given_fields: list[Field]) -> None:
        """What comes out came in, in that order, and nothing in it ends here."""
        kept = end_to_end(given_fields)
        rest = iter(given_fields)
        self.assertTrue(all(field in rest for field in kept))
        self.assertFalse({name for name, _ in kept} & ENDS_HERE)
        self.assertEqual(end_to_end(kept), kept)


def held() -> tuple[int, int]:
    """Return how many lists of options are remembered."""
    remembered, clients = fields._remembered, fields._clients_remembered
    return remembered.cache_info().currsize, clients.cache_info().currsize


class ConnectionTests(SynchronousTestCase):
    """A Connection field is read, and is no tool against us."""

    def test_options(self) -> None:
        """They lose case and white space; empty list members are nothing."""
        self.assertEqual(
            connection_options(b" Keep-Alive,,\tUPGRADE ,"), {b"keep-alive", b"upgrade"}
        )

    def test_refuses_to_drop_cookie(self) -> None:
        """Connection: cookie is refused by name; the session cannot be dropped late."""
        with self.assertRaises(BadMessage) as caught:
            clients_options(b"close, Cookie")
        self.assertEqual(str(caught.exception), "Connection lists cookie")

    def test_other_names_are_just_options(self) -> None:
        """X-Real-Ip in the list is read, and nothing comes of it."""
        self.assertEqual(clients_options(b"X-Real-Ip"), {b"x-real-ip"})

    def test_long_lists_are_not_remembered(self) -> None:
        """Who sends them by the hundred leaves nothing of them here."""
        before = held()
        for number in range(1_000):
            value = b"a" * OPTIONS_SIZE + b",%d" % number
            self.assertEqual(clients_options(value), connection_options(value))
        self.assertEqual(held(), before)


class MisspeltTests(SynchronousTestCase):
    """H4: the names that a backend could fold into one of ours."""

    def test_every_fold_is_there_and_no_name_itself(self) -> None:
        """Underscores and dots in any mixture; never a proper spelling."""
        self.assertLessEqual(
            {b"content_length", b"sec_fetch.site", b"sec-fetch_site", b"x_pomerium_authorization"},
            MISSPELT,
        )
        self.assertFalse(MISSPELT & (ONLY_ONCE | ENDS_HERE))
        self.assertEqual(
            {name.replace(b"_", b"-").replace(b".", b"-") for name in MISSPELT},
            {name for name in ONLY_ONCE | ENDS_HERE if b"-" in name},
        )


class TrailerTests(SynchronousTestCase):
    """trailers_that_may_pass() lets nothing through that the head was checked for."""

    def test_families(self) -> None:
        """Framing, routing, identity, cookies and cache, in every spelling a backend folds."""
        dropped = [
            name.replace(b"-", joint)
            for name in (
                b"transfer-encoding",
                b"content-length",
                b"content-type",
                b"content-encoding",
                b"host",
                b"connection",
                b"te",
                b"trailer",
                b"authorization",
                b"proxy-authorization",
                b"www-authenticate",
                b"cookie",
                b"set-cookie",
                b"forwarded",
                b"x-forwarded-for",
                b"x-real-ip",
                b"x-pomerium-jwt-assertion",
                b"remote-user",
                b"cache-control",
                b"if-match",
                b"range",
                b"location",
            )
            for joint in (b"-", b"_", b".", b"+", b"!", b"~", b"|")
        ]
        self.assertEqual(trailers_that_may_pass([(name, b"a") for name in dropped]), ())

    def test_others_stay(self) -> None:
        """What gRPC and digests use is kept, in order."""
        kept = ((b"grpc-status", b"0"), (b"grpc-message", b""), (b"digest", b"x"))
        self.assertEqual(trailers_that_may_pass(kept), kept)


class WireTests(SynchronousTestCase):
    """Fields to bytes and back."""

    @given(st.lists(st.tuples(names, values), min_size=1, max_size=10))
    def test_round_trip(self, given_fields: list[Field]) -> None:
        """What is written is read as the same."""
        self.assertEqual(read_fields(field_lines(given_fields)), given_fields)

    def test_nothing_to_write(self) -> None:
        """Without fields there is no line."""
        self.assertEqual(field_lines([]), b"")

    @given(
        st.lists(st.tuples(names, values), max_size=3),
        st.sampled_from([b"\r", b"\n", b"\0", b"\r\n"]),
        st.integers(0, 1),
    )
    def test_no_break_is_written(self, before: list[Field], octet: bytes, place: int) -> None:
        """H9: in a name or a value, it is refused."""
        parts = [b"name", b"value"]
        parts[place] += octet + b"more"
        with self.assertRaises(PomeriumError) as caught:
            field_lines([*before, (parts[0], parts[1])])
        self.assertEqual(str(caught.exception), "a field to send holds CR, LF or NUL")

    def test_lines_that_cannot_be_read(self) -> None:
        """A line is a token, a colon and printable text, and ends in CR LF."""
        for line in (b"a\r\n", b": b\r\n", b"a : b\r\n", b" a: b\r\n", b"a: b\n", b"a: \x01\r\n"):
            with self.assertRaises(BadMessage) as caught:
                read_fields(b"x: y\r\n" + line)
            self.assertEqual(str(caught.exception), "a field line that cannot be read")
