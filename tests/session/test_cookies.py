"""Tests for pomeriumd.session.cookies."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.http.events import Field
from pomeriumd.session.cookies import (
    CANDIDATES,
    PIECE_COUNT,
    PIECE_SIZE,
    VALUE_SIZE,
    CookieShape,
    Pair,
    clear,
    is_ours,
    read,
    write,
)

HOST = CookieShape(name="_pomerium")
PLAIN = CookieShape(name="_pomerium", secure=False)
DOMAIN = CookieShape(name="_pomerium", domain="example.com", same_site="None")

shapes = st.sampled_from([HOST, PLAIN, DOMAIN])
values = st.integers(1, VALUE_SIZE).map(lambda size: ("eyJ." + "aB3-_" * size)[:size])


def sent(fields: list[Field]) -> list[Pair]:
    """Return the cookies that a browser keeps of these fields."""
    jar: dict[bytes, bytes] = {}
    for _, text in fields:
        name, _, value = text.partition(b";")[0].partition(b"=")
        jar[name] = value
        if b"; Max-Age=0;" in text:
            del jar[name]
    return list(jar.items())


class ShapeTests(SynchronousTestCase):
    """A shape is a cookie's name and attributes."""

    def test_the_prefix_is_there_iff_browsers_allow_it(self) -> None:
        """__Host- wants Secure and no Domain."""
        self.assertEqual(HOST.full_name, "__Host-_pomerium")
        self.assertEqual(PLAIN.full_name, "_pomerium")
        self.assertEqual(DOMAIN.full_name, "_pomerium")

    def test_attributes(self) -> None:
        """What is set is what the settings say."""
        self.assertEqual(
            write(HOST, "v", max_age=60),
            [
                (
                    b"set-cookie",
                    b"__Host-_pomerium=v; Path=/; Max-Age=60; Secure; HttpOnly; SameSite=Lax",
                )
            ],
        )
        self.assertEqual(
            write(DOMAIN, "v", max_age=60),
            [
                (
                    b"set-cookie",
                    b"_pomerium=v; Path=/; Domain=example.com; Max-Age=60; Secure; %b"
                    % b"HttpOnly; SameSite=None",
                )
            ],
        )

    def test_a_cookie_beside_it_never_leaves_its_host(self) -> None:
        """It has no Domain and is HttpOnly; it is never Strict, and None only if that is."""
        shape = CookieShape(name="p", domain="example.com", http_only=False, same_site="Strict")
        beside = shape.host_only("login_1")
        self.assertEqual(beside.full_name, "__Host-p_login_1")
        self.assertEqual((beside.domain, beside.http_only, beside.same_site), (None, True, "Lax"))
        self.assertEqual(DOMAIN.host_only("x").same_site, "None")


class WriteReadTests(SynchronousTestCase):
    """read() gives back the value that write() was given, whole or not at all."""

    @given(shapes, values)
    def test_round_trip(self, shape: CookieShape, value: str) -> None:
        """A value of any size comes back, in cookies that browsers keep."""
        fields = write(shape, value, max_age=60)
        self.assertEqual(read(sent(fields), shape), [value])
        self.assertLessEqual(len(fields), PIECE_COUNT)
        for name, piece in sent(fields):
            self.assertLessEqual(len(piece), PIECE_SIZE)
            self.assertLessEqual(len(name) + len(piece), 4096)

    @given(values, st.data())
    def test_a_piece_missing_is_no_session(self, value: str, data: st.DataObject) -> None:
        """Without any one of its pieces there is no value."""
        pairs = sent(write(HOST, value, max_age=60))
        del pairs[data.draw(st.integers(0, len(pairs) - 1))]
        self.assertEqual(read(pairs, HOST), [])

    def test_refuses_what_does_not_fit(self) -> None:
        """A value over the bound is an error here, not a session that nobody can read."""
        with self.assertRaises(ValueError) as caught:
            write(HOST, "x" * (VALUE_SIZE + 1), max_age=60)
        self.assertEqual(str(caught.exception), "cookie is 18921 characters, want 18920 at most")

    def test_tossed_cookies_spoil_nothing(self) -> None:
        """Pieces of the same names from a sibling domain, before or after, do not mix in."""
        real = sent(write(DOMAIN, "r" * 9_000, max_age=60))
        tossed = sent(write(DOMAIN, "t" * 9_000, max_age=60))
        for pairs in (tossed + real, real + tossed, [*tossed[:2], *real, *tossed]):
            self.assertIn("r" * 9_000, read(pairs, DOMAIN))

    def test_every_candidate_is_given(self) -> None:
        """Of two cookies of one name both are tried; what verifies is for the caller."""
        name = b"_pomerium"
        self.assertEqual(read([(name, b"a"), (b"x", b"y"), (name, b"b")], DOMAIN), ["a", "b"])

    def test_candidates_are_bounded(self) -> None:
        """A thousand cookies of our name cost no thousand signatures."""
        pairs = [(b"_pomerium", b"%d" % n) for n in range(1_000)]
        self.assertEqual(len(read(pairs, DOMAIN)), CANDIDATES)

    def test_crafted_counts(self) -> None:
        """A count that is none, zero, one, too large or huge is no value, and breaks nothing."""
        tag = b"AAAAAAAA"
        others = [(b"__Host-_pomerium_%d" % n, tag + b".x") for n in range(10)]
        for count in (b"0", b"1", b"6", b"9", b"-1", b"99999999999", b"", b"x", b"2.", b"%2"):
            for value in (b"%" + count + b"." + tag + b".x", b"%" + count, b"%", b""):
                pairs = [(b"__Host-_pomerium", value), *others]
                self.assertEqual(read(pairs, HOST), [], msg=value)

    @given(
        st.lists(
            st.tuples(
                st.sampled_from([b"__Host-_pomerium", b"__Host-_pomerium_1", b"__Host-_pomerium_"]),
                st.binary(max_size=20) | st.just(b"%2.AAAAAAAA.x") | st.just(b"AAAAAAAA.y"),
            ),
            max_size=6,
        )
    )
    def test_any_cookies(self, pairs: list[Pair]) -> None:
        """Nothing that a browser may send raises."""
        self.assertTrue(all(read(pairs, HOST)))

    def test_pieces_left_over_are_cleared(self) -> None:
        """A shorter value clears the pieces of the longer one before it."""
        before = sent(write(HOST, "x" * 12_000, max_age=60))
        fields = write(HOST, "y", max_age=60, pairs=before)
        self.assertEqual(
            [text.partition(b"=")[0] for _, text in fields],
            [b"__Host-_pomerium", *(b"__Host-_pomerium_%d" % n for n in (1, 2, 3))],
        )


class ClearTests(SynchronousTestCase):
    """clear() leaves nothing of a value behind."""

    @given(shapes, values)
    def test_every_piece_is_cleared(self, shape: CookieShape, value: str) -> None:
        """Each cookie that was sent is cleared, with the attributes it was set with."""
        pairs = sent(write(shape, value, max_age=60))
        fields = clear([*pairs, (b"app", b"1"), (b"_pomeriumx", b"1")], shape)
        cleared = {text.partition(b"=")[0] for _, text in fields}
        self.assertEqual(cleared, {name for name, _ in pairs})
        self.assertTrue(all(b"; Max-Age=0;" in text for _, text in fields))
        if shape.domain is not None:
            self.assertEqual(sum(b"Domain=example.com" in text for _, text in fields), len(pairs))

    def test_nothing_there_nothing_cleared(self) -> None:
        """Somebody without a session gets no fields."""
        self.assertEqual(clear([(b"app", b"1")], HOST), [])


class IsOursTests(SynchronousTestCase):
    """is_ours() knows the cookies that must not reach an upstream, and no other."""

    def test_ours(self) -> None:
        """Session, pieces, logins: with the prefix and without."""
        ours = is_ours("_pomerium")
        rests = (
            "",
            "_1",
            "_4",
            "_12",
            "_login_0006a000000AAAAAAAAAAAAAAAAAAAAAA",
            "_authenticate",
            "_authenticate_1",
            "_rounds",
            "_trail",
        )
        for prefix, rest in itertools.product(("", "__Host-"), rests):
            self.assertTrue(ours(f"{prefix}_pomerium{rest}".encode()), msg=prefix + rest)

    def test_not_ours(self) -> None:
        """What only begins so belongs to the application."""
        ours = is_ours("_pomerium")
        for name in (
            b"_pomeriumx",
            b"_pomerium_",
            b"_pomerium_x",
            b"_pomerium_123",
            b"x_pomerium",
            b"_POMERIUM",
            b"_pomerium_login",
            b"_pomerium_1\n",
            b"",
            b"_pomerium-1",
        ):
            self.assertFalse(ours(name), msg=name)

    def test_a_name_is_no_pattern(self) -> None:
        """Letters that mean something to a pattern mean themselves."""
        self.assertFalse(is_ours("a.b")(b"axb"))
        self.assertTrue(is_ours("a.b")(b"__Host-a.b"))
