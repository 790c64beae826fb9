"""Tests for pomeriumd.http.cookies."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.errors import PomeriumError
from pomeriumd.http.cookies import cookies, set_cookie, without
from pomeriumd.http.events import Field


def is_ours(name: bytes) -> bool:
    """Say whether a cookie is ours, in these tests."""
    return name.startswith(b"_pomerium")


def refusal(**changes: Any) -> str:
    """Return the text with which a cookie is refused."""
    arguments: dict[str, Any] = {"name": "a", "value": "b", "secure": True} | changes
    name, value = arguments.pop("name"), arguments.pop("value")
    try:
        return f"passed: {set_cookie(name, value, **arguments)!r}"
    except PomeriumError as error:
        return str(error)


class ReadTests(SynchronousTestCase):
    """cookies() gives every cookie that can be read."""

    def test_all_fields_in_order(self) -> None:
        """Two fields, and two cookies of one name, are all there."""
        fields: list[Field] = [
            (b"cookie", b"a=1; b=2"),
            (b"x", b"c=3"),
            (b"cookie", b"a=4"),
        ]
        self.assertEqual(cookies(fields), [(b"a", b"1"), (b"b", b"2"), (b"a", b"4")])

    def test_broken_pieces_hide_nothing(self) -> None:
        """Pieces without a name or an equals sign are passed over."""
        text = b';; =x; junk; a b=c; a"=d ;good = 1==;\t last="q"; \xc3\xa4=e;'
        self.assertEqual(
            cookies([(b"cookie", text)]),
            [(b'a"', b"d"), (b"good", b"1=="), (b"last", b'"q"')],
        )


class WithoutTests(SynchronousTestCase):
    """without() takes ours off and touches nothing else."""

    def test_families(self) -> None:
        """Ours goes, in every place and spelling; the bytes of the others stay."""
        cases = {
            b"_pomerium=x": None,
            b"a=1; _pomerium=x": b"a=1",
            b"_pomerium=x; a=1": b"a=1",
            b"a=1; _pomerium=x; b=2": b"a=1; b=2",
            b"a=1;_pomerium=x;b=2": b"a=1;b=2",
            b" _pomerium =x;a=1": b"a=1",
            b"a=1; _pomerium": b"a=1",
            b"a=1; _pomerium_1=x; _pomerium_2=y": b"a=1",
            b"_pomerium=x;; ;": None,
            b'a="1"; _pomerium=x;  b=2 ;c': b'a="1";  b=2 ;c',
        }
        found = {text: dict(without([(b"cookie", text)], is_ours)).get(b"cookie") for text in cases}
        self.assertEqual(found, cases)

    def test_fields_without_ours_are_the_same_fields(self) -> None:
        """Odd spacing of others is theirs to keep; other fields are not looked at."""
        fields: list[Field] = [
            (b"cookie", b" a=1 ;; b"),
            (b"x", b"_pomerium=1"),
            (b"cookie", b""),
        ]
        self.assertEqual(without(fields, is_ours), fields)

    @given(
        st.lists(
            st.sampled_from([b"a=1", b" b=2", b"_pomerium=x", b" _pomerium_2=y", b"", b" c", b"="])
        ).map(b";".join)
    )
    def test_none_of_ours_is_left(self, text: bytes) -> None:
        """Afterwards the others are there, in order, and ours are not."""
        kept = without([(b"cookie", text)], is_ours)
        others = [pair for pair in cookies([(b"cookie", text)]) if not is_ours(pair[0])]
        self.assertEqual(cookies(kept), others)
        self.assertNotIn(b"_pomerium", b"".join(value for _, value in kept))


class SetTests(SynchronousTestCase):
    """set_cookie() writes one cookie, or none."""

    def test_attributes(self) -> None:
        """Each attribute as asked for."""
        self.assertEqual(
            [
                set_cookie("__Host-a", "b", secure=True),
                set_cookie(
                    "a",
                    "",
                    path="/x",
                    domain="a.example",
                    secure=False,
                    http_only=False,
                    same_site="strict",
                    max_age=-5,
                ),
                set_cookie("a", "b", secure=True, same_site="none", max_age=60),
            ],
            [
                (b"set-cookie", b"__Host-a=b; Path=/; Secure; HttpOnly; SameSite=Lax"),
                (b"set-cookie", b"a=; Path=/x; Domain=a.example; Max-Age=0; SameSite=Strict"),
                (b"set-cookie", b"a=b; Path=/; Max-Age=60; Secure; HttpOnly; SameSite=None"),
            ],
        )

    def test_nothing_gets_out_of_its_place(self) -> None:
        """H9: no argument writes another attribute or another field."""
        octets = [*map(chr, range(0x20)), "\x7f", ";", "\u00e4"]
        self.assertEqual(
            {refusal(value=f"a{octet}b") for octet in [*octets, " ", ",", '"', "\\"]},
            {"value of cookie a holds what a cookie may not"},
        )
        self.assertEqual(
            {refusal(path=f"/a{octet}b") for octet in octets}, {"path of cookie a is not a path"}
        )
        self.assertEqual(
            {refusal(domain=f"a{octet}b") for octet in [*octets, " ", "/"]},
            {"domain of cookie a is not a domain"},
        )
        self.assertEqual(
            [refusal(name=name) for name in ("a;b", "a=b", "", "a\n")],
            [f"cookie name {name!r} is not a token" for name in ("a;b", "a=b", "", "a\n")],
        )

    def test_what_browsers_would_drop(self) -> None:
        """Prefixes and SameSite=None have their conditions."""
        self.assertEqual(
            [
                refusal(name="__Host-a", secure=False),
                refusal(name="__Secure-a", secure=False),
                refusal(name="__Host-a", domain="a"),
                refusal(name="__host-a", path="/a"),
                refusal(same_site="none", secure=False),
                refusal(same_site="lax; Domain=a"),
            ],
            [
                "cookie __Host-a is not Secure",
                "cookie __Secure-a is not Secure",
                "cookie __Host-a has a domain or a path, want / alone",
                "cookie __host-a has a domain or a path, want / alone",
                "cookie a is SameSite=None, want Secure with it",
                "SameSite of cookie a is not Strict, Lax or None",
            ],
        )
