"""
The network's cuts mean nothing: any cutting of the bytes gives the same events.

Both parsers, and whole connections through the daemon: what the upstream gets, what the
client gets and what the log says.
"""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.http.limits import Limits
from tests.support.laws import examples
from tests.support.messages import CUTS, answers, cut, mutated, requests
from tests.support.taking import client, server

SMALL = Limits(
    head_size=400,
    field_count=10,
    target_size=80,
    trailer_size=60,
    response_head_size=400,
    interim=1,
)
"""Bounds that messages of this size meet."""


WIRES = st.lists(requests().map(lambda sent: sent.octets), min_size=1, max_size=3).map(b"".join)
SENT = WIRES | mutated(WIRES)
METHODS = st.sampled_from([b"GET", b"HEAD", b"POST"])
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n\r\nab"
ANSWERED = METHODS.flatmap(
    lambda method: st.tuples(
        st.just(method),
        answers(method).map(lambda answer: answer.octets).flatmap(_more) | st.just(SWITCH),
    )
)


def _more(octets: bytes) -> st.SearchStrategy[bytes]:
    """Give an answer, what may stand behind it, and mutations."""
    longer = st.sampled_from([b"", b"", b"\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
    whole = longer.map(lambda behind: octets + behind)
    return whole | mutated(whole)


LIMITS = st.sampled_from([Limits(), SMALL])


class ServerTests(SynchronousTestCase):
    """Server1: what a client sends."""

    @examples(60)
    @given(SENT, CUTS, LIMITS)
    def test_any_cutting(self, wire: bytes, places: list[int], limits: Limits) -> None:
        """Requests, bodies, trailers, tunnels and the error's class hang on the bytes alone."""
        self.assertEqual(server(cut(wire, places), limits), server([wire], limits))

    @examples(30)
    @given(SENT, LIMITS)
    @example(b"TRACE / HTTP/1.1\nHost: a\r\n\r\n", SMALL)
    @example(b"GET / HTTP/1.1\r\nHost: a\n\r\n" + b"a" * 500, SMALL)
    @example(b"GET /" + b"a" * 80 + b" HTTP/1.1\r\nHost: a\nA: b\r\n\r\n", SMALL)
    def test_byte_by_byte(self, wire: bytes, limits: Limits) -> None:
        """The finest cutting of all gives the same."""
        single = [bytes((octet,)) for octet in wire]
        self.assertEqual(server(single, limits), server([wire], limits))


class ClientTests(SynchronousTestCase):
    """Client1: what an upstream answers."""

    @examples(60)
    @given(ANSWERED, CUTS, LIMITS, st.booleans(), st.booleans())
    def test_any_cutting(
        self,
        answered: tuple[bytes, bytes],
        places: list[int],
        limits: Limits,
        upgrade: bool,
        clean: bool,
    ) -> None:
        """Answers, and whether the connection is good for more, hang on the bytes alone."""
        method, wire = answered
        whole = client([wire], limits, method, upgrade=upgrade, clean=clean)
        pieces = client(cut(wire, places), limits, method, upgrade=upgrade, clean=clean)
        self.assertEqual(pieces, whole)

    @examples(30)
    @given(ANSWERED, LIMITS)
    def test_byte_by_byte(self, answered: tuple[bytes, bytes], limits: Limits) -> None:
        """The finest cutting of all gives the same."""
        method, wire = answered
        single = [bytes((octet,)) for octet in wire]
        whole = client([wire], limits, method, upgrade=True, clean=True)
        self.assertEqual(client(single, limits, method, upgrade=True, clean=True), whole)
