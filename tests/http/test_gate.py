"""
Tests for pomeriumd.http.gate: its rules by themselves.

What a whole head is refused with stands in test_server1; here are the rules that llhttp
would otherwise get in front of, since HTTP/2 will come to them without it.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.errors import BadMessage
from pomeriumd.http import gate
from pomeriumd.http.events import Field, Request
from pomeriumd.http.limits import Limits


def refusal(call: Callable[[], object]) -> str:
    """Return the text with which a rule refuses."""
    try:
        return f"passed: {call()!r}"
    except BadMessage as error:
        return str(error)


class LengthTests(SynchronousTestCase):
    """body_length() knows the size, or refuses."""

    def test_sizes(self) -> None:
        """Nothing is no body; a coding is one that only its end ends."""
        self.assertEqual(
            [
                gate.body_length({}, http11=True),
                gate.body_length({b"content-length": b"007"}, http11=False),
                gate.body_length({b"content-length": b"9" * 18}, http11=True),
                gate.body_length({b"transfer-encoding": b"CHUNKED"}, http11=True),
            ],
            [0, 7, 10**18 - 1, None],
        )

    def test_both(self) -> None:
        """The two together are refused, llhttp or not."""
        both = {b"content-length": b"1", b"transfer-encoding": b"chunked"}
        self.assertEqual(
            refusal(lambda: gate.body_length(both, http11=True)),
            "Transfer-Encoding beside Content-Length",
        )

    def test_no_numbers(self) -> None:
        """F1: nothing but ASCII digits, and no more than any reader can hold."""
        spellings = [b"", b" 1", b"+5", b"-0", b"0x10", b"1_0", b"1,1", b"1.0", b"1e3"]
        spellings += ["\u0661".encode(), b"1" * 19]
        self.assertEqual(
            {
                refusal(lambda s=s: gate.body_length({b"content-length": s}, http11=True))  # type: ignore[misc]  # mypy cannot type a default in a lambda
                for s in spellings
            },
            {"Content-Length is not a number of at most 18 digits"},
        )

    def test_no_codings(self) -> None:
        """F2: nothing but exactly chunked."""
        spellings = [b"", b"identity", b"xchunked", b"chunkedx", b"chunked ", b"chunked\x0b"]
        spellings += [b"chunked, identity", b"gzip, chunked", b"chunked;q=1", b'"chunked"']
        self.assertEqual(
            {
                refusal(lambda s=s: gate.body_length({b"transfer-encoding": s}, http11=True))  # type: ignore[misc]  # as above
                for s in spellings
            },
            {"Transfer-Encoding is not chunked"},
        )


class FieldTests(SynchronousTestCase):
    """judge() passes a head's fields, or refuses them."""

    def test_two_connection_fields_are_one_list(self) -> None:
        """A close in the first of two counts."""
        fields: list[Field] = [(b"host", b"a"), (b"connection", b"close"), (b"connection", b"x")]
        self.assertFalse(gate.judge(fields, http11=True).persists)

    def test_cookies_may_come_in_pieces(self) -> None:
        """HTTP/2 cuts them up; so a second Cookie field is no duplicate."""
        fields: list[Field] = [(b"host", b"a"), (b"cookie", b"a=1"), (b"cookie", b"b=2")]
        self.assertEqual(gate.judge(fields, http11=True).fields, fields[1:])

    def test_misspelt_names(self) -> None:
        """H4: refused by name."""
        for name in (b"content_length", b"transfer.encoding", b"x_pomerium-authorization"):
            self.assertEqual(
                refusal(lambda name=name: gate.by_name([(b"host", b"a"), (name, b"1")])),  # type: ignore[misc]  # as above
                f"field name {name.decode()}, want hyphens",
            )

    def test_utf8_is_readable(self) -> None:
        """Values beyond ASCII pass if they are UTF-8."""
        gate.readable([(b"a", "\u00e4".encode()), (b"b", b"c")])
        self.assertEqual(
            refusal(lambda: gate.readable([(b"a", b"b"), (b"c", b"\xe4")])), "c is not UTF-8"
        )


class TargetTests(SynchronousTestCase):
    """admit() takes each form of a target where it belongs."""

    def admitted(self, method: bytes, target: bytes, host: bytes = b"a") -> Request:
        """Return the request with this target."""
        line = gate.request_line(b"%b %b HTTP/1.1" % (method, target), Limits())
        return gate.admit(line, gate.judge([(b"host", host)], http11=True))

    def test_absolute_form(self) -> None:
        """Its path is the path if its host is the Host, with the port that goes without saying."""
        found = {
            target: self.admitted(b"GET", target, host)[3:5]
            for target, host in {
                b"http://a/b?c": b"a",
                b"HTTP://A.:80/b": b"a",
                b"https://a:443": b"a",
                b"https://a?c": b"a:443",
                b"http://a:8080/x/../b": b"a:8080",
                b"http://[::1]/": b"[0::1]",
            }.items()
        }
        self.assertEqual(
            list(found.values()),
            [(b"/b", b"c"), (b"/b", None), (b"/", None), (b"/", b"c"), (b"/b", None), (b"/", None)],
        )

    def test_asterisk_form(self) -> None:
        """It is for OPTIONS alone."""
        self.assertEqual(self.admitted(b"OPTIONS", b"*").path, b"*")
        self.assertEqual(
            refusal(lambda: self.admitted(b"GET", b"*")),
            "target is neither a path nor a whole URL",
        )
