"""Tests for reading a stranger's JSON."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.oidc.document import MAX_DEPTH, read_object

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=10,
)


class ReadObjectTests(SynchronousTestCase):
    """read_object() reads what every reader reads in the same way, and nothing else."""

    def refused(self, octets: bytes) -> str:
        """Return the text of the refusal of ``octets``."""
        with self.assertRaises(ValueError) as caught:
            read_object(octets)
        return str(caught.exception)

    @given(st.dictionaries(st.text(max_size=5), values, max_size=5))
    def test_gives_back_what_was_written(self, document: dict[str, object]) -> None:
        """Any object that json writes is read as it was."""
        self.assertEqual(read_object(json.dumps(document).encode()), document)

    def test_a_name_twice_is_refused_at_any_depth(self) -> None:
        """Two readers could take two values."""
        for octets in (
            b'{"sub": "a", "sub": "b"}',
            b'{"sub": "a", "\\u0073ub": "b"}',
            b'{"x": [{"y": {"a": 1, "a": 1}}]}',
        ):
            self.assertEqual(self.refused(octets), "a name occurs twice in one object")

    def test_depth_ends_at_the_bound(self) -> None:
        """The bound itself is read, one more is not; brackets in text do not count."""
        read_object(b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH)
        read_object(b'{"a": "' + b"[" * 100 + b'\\"' + b"{" * 100 + b'"}')
        for opening in (b'{"a":', b"["):
            deep = b'{"a":' + opening * MAX_DEPTH
            self.assertEqual(self.refused(deep), "nested deeper than 32 levels")
        self.assertEqual(self.refused(b'{"a":' + b"[" * 200_000), "nested deeper than 32 levels")

    def test_what_is_no_json_is_named(self) -> None:
        """Each way of being unreadable has its text, which quotes nothing."""
        for octets, text in (
            (b"", "not JSON at character 0"),
            (b"<html>secret</html>", "not JSON at character 0"),
            (b'{"a": 1} x', "not JSON at character 9"),
            (b"\xff\xfe{}", "not UTF-8"),
            ("{}".encode("utf-16"), "not UTF-8"),
            (b"[]", "want an object, got a list"),
            (b"null", "want an object, got null"),
            (b'"text"', "want an object, got a single value"),
            (b'{"a": NaN}', "NaN is not JSON"),
            (b'{"a": -Infinity}', "-Infinity is not JSON"),
        ):
            self.assertEqual(self.refused(octets), text)

    def test_numbers_of_any_length_do_no_harm(self) -> None:
        """A float out of range is infinite; an endless integer is refused."""
        self.assertEqual(read_object(b'{"a": 1e999}'), {"a": float("inf")})
        self.refused(b'{"a": ' + b"9" * 10_000 + b"}")

    @given(st.binary(max_size=50) | st.text(alphabet='{}[]",:\\1a', max_size=40).map(str.encode))
    def test_anything_is_an_object_or_a_value_error(self, octets: bytes) -> None:
        """No other exception comes out, whatever goes in."""
        try:
            document = read_object(octets)
        except ValueError:
            return
        self.assertIsInstance(document, dict)
