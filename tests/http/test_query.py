"""Tests for pomeriumd.http.query."""

from __future__ import annotations

from urllib.parse import urlencode

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.errors import BadMessage
from pomeriumd.http.query import parameters

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


def refusal(query: bytes) -> str:
    """Return the text with which a query is refused."""
    try:
        return f"passed: {parameters(query)!r}"
    except BadMessage as error:
        return str(error)


class ParameterTests(SynchronousTestCase):
    """parameters() reads what can be read in one way."""

    def test_values(self) -> None:
        """Escapes and plus signs are decoded; a value may be empty or missing."""
        self.assertEqual(
            parameters(b"a=1&&b=x+y%2Bz&c&d=&e=f=g&%C3%A4=%e2%82%ac;&"),
            {"a": "1", "b": "x y+z", "c": "", "d": "", "e": "f=g", "\u00e4": "\u20ac;"},
        )

    def test_nothing(self) -> None:
        """No query is as good as an empty one."""
        self.assertEqual([parameters(None), parameters(b"")], [{}, {}])

    def test_duplicates(self) -> None:
        """O15: a name occurs once, in whatever spelling; and no text shows a value."""
        cases = dict.fromkeys(
            [
                b"state=1&state=2",
                b"state=1&a=b&state=1",
                b"state=1&%73tate=2",
                b"state&state=",
                b"%73%74ate=1&stat%65=2",
            ],
            "parameter 'state' occurs twice",
        )
        self.assertEqual({case: refusal(case) for case in cases}, cases)

    def test_what_cannot_be_read(self) -> None:
        """Controls, half escapes, other encodings, and too much of it."""
        odd = "parameters hold a space, a control, a byte over 126 or half an escape"
        cases = {
            b"a=%": odd,
            b"a=%1": odd,
            b"a=%zz": odd,
            b"a b": odd,
            b"a\r\n": odd,
            b"\xc3\xa4": odd,
            b"a=\x7f": odd,
            b"a=%ff": "a parameter is not UTF-8",
            b"%c0%af=a": "a parameter is not UTF-8",
            b"a=%00": "a parameter holds NUL",
            b"&".join(b"a%d" % n for n in range(65)): "65 parameters, at most 64",
            b"a" * 65_537: "parameters of 65537 bytes, at most 65536",
        }
        self.assertEqual({case: refusal(case) for case in cases}, cases)

    @given(st.dictionaries(texts.filter(bool), texts, max_size=10))
    def test_round_trip(self, pairs: dict[str, str]) -> None:
        """What the standard library writes is read as it was meant."""
        self.assertEqual(parameters(urlencode(pairs).encode("ascii")), pairs)
