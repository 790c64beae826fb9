"""
What we forward is what we received, whoever reads it.

h11 and llhttp read what came out at the other side; each has to find there what the client,
or the upstream, has said, with the same ends. Then no reader behind us, or in front, can
be made to see a message that we did not see.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.http.events import Data, End, Request
from pomeriumd.http.limits import Limits
from tests.support.crossing import MARK, Crossed, Crossing
from tests.support.laws import examples
from tests.support.messages import (
    CUTS,
    METHODS,
    Answered,
    Sent,
    answers,
    cut,
    mutated,
    requests,
)
from tests.support.readers import (
    Message,
    Misread,
    h11_answers,
    h11_requests,
    llhttp_answer,
    llhttp_requests,
)
from tests.support.taking import server

OURS = {
    *(b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port"),
    *(b"x-request-id", b"content-length", b"transfer-encoding", b"connection", b"upgrade"),
}
"""What stands behind the client's fields in a request."""

OURS_BACK = {
    *(b"x-frame-options", b"x-content-type-options", b"strict-transport-security", b"date"),
    *(b"content-length", b"transfer-encoding", b"connection"),
}
"""What stands behind the upstream's fields in an answer."""


def read(crossed: Crossed) -> list[Message]:
    """Return the whole requests that the upstreams got; both readers have to agree."""
    found: list[Message] = []
    for octets in crossed.forwarded:
        one, other = h11_requests(octets), llhttp_requests(octets)
        assert one.whole == other.whole, f"h11 {one.whole}, llhttp {other.whole}"
        found += one.whole
    return found


def read_back(crossed: Crossed, method: bytes) -> Message | None:
    """Return the one answer that the client got, if it is whole; both have to agree."""
    ended = crossed.closing
    one = h11_answers(crossed.answered, [method], ended=False)
    if ended and not one.whole:
        one = h11_answers(crossed.answered, [method], ended=True)
    other = llhttp_answer(crossed.answered, head_only=method == b"HEAD", ended=ended)
    assert one.whole == ([other] if other else []), f"h11 {one.whole}, llhttp {other}"
    return other


class RequestTests(SynchronousTestCase):
    """What a client says reaches the upstream."""

    def setUp(self) -> None:
        """Start a daemon."""
        self.crossing = Crossing()

    @examples(50)
    @given(st.lists(requests(), min_size=1, max_size=3), CUTS)
    def test_good_requests_arrive(self, sent: list[Sent], places: list[int]) -> None:
        """Method, target, end-to-end fields, body, trailers: as sent, and nothing besides."""
        ends = next((at for at, one in enumerate(sent) if one.closes), len(sent)) + 1
        wire = b"".join(one.octets for one in sent)
        crossed = self.crossing.requests(cut(wire, places))
        found = read(crossed)
        self.assertEqual(len(found), len(sent[:ends]), crossed)
        for message, one in zip(found, sent[:ends], strict=True):
            self.assertEqual(message.start, one.start)
            self.assertEqual((message.body, message.trailers), (one.body, one.trailers))
            host, *fields = message.fields
            self.assertEqual(host, (b"host", b"10.0.0.1:8080"))
            self.assertEqual(tuple(fields[: len(one.fields)]), one.fields)
            self.assertLessEqual({name for name, _ in fields[len(one.fields) :]}, OURS)
        methods = [one.start[0] for one in sent[:ends]]
        back = h11_answers(crossed.answered, methods, ended=False)
        self.assertEqual([one.start for one in back.whole], [(b"%d" % MARK,)] * len(methods))
        self.assertEqual(crossed.kinds, [(MARK, "")] * len(methods))

    @examples(80)
    @given(
        mutated(st.lists(requests().map(lambda one: one.octets), max_size=3).map(b"".join)), CUTS
    )
    def test_whatever_passes_is_read_in_one_way(self, wire: bytes, places: list[int]) -> None:
        """
        Of any bytes, what the upstream gets is exactly the messages that we read.

        And a reader that takes the client's own bytes takes them for the same messages: what
        we let pass is not what a balancer in front would have cut in another place.
        """
        crossed = self.crossing.requests(cut(wire, places))
        found = read(crossed)
        self.assertEqual(sum(status == MARK for status, _ in crossed.kinds), len(found))
        accepted = [_message(events) for events in server([wire], Limits(), tunnels=False).whole]
        rest = iter(accepted)
        for message in found:
            self.assertTrue(any(_same(message, one) for one in rest), f"{message} of {accepted}")
        for reader in (h11_requests, llhttp_requests):
            try:
                theirs = reader(wire).whole
            except Misread:
                continue
            for ours, other in zip(accepted, theirs, strict=False):
                self.assertEqual((ours.start[0], ours.body), (other.start[0], other.body))

    @examples(50)
    @given(
        st.lists(requests().map(lambda one: one.octets), max_size=2)
        .map(b"".join)
        .flatmap(lambda wire: st.just(wire) | mutated(st.just(wire))),
        CUTS,
    )
    def test_any_cutting_is_forwarded_alike(self, wire: bytes, places: list[int]) -> None:
        """Upstream and log are told the same; of a message that is refused, nothing whole."""
        whole, pieces = self.crossing.requests([wire]), self.crossing.requests(cut(wire, places))
        self.assertEqual(_told(pieces), _told(whole))


def _told(crossed: Crossed) -> tuple[list[object], list[tuple[int, str]]]:
    """Return the requests that arrived, but for their ids, and what the log says."""
    found: list[object] = [
        (one.start, [f for f in one.fields if f[0] != b"x-request-id"], one.body, one.trailers)
        for one in read(crossed)
    ]
    # A client that leaves inside a request is no matter of cutting.
    return found, [kind for kind in crossed.kinds if kind[1] != "ClientGone"]


def _message(events: list[object]) -> Message:
    """Return the events of a whole request as a message."""
    request, *body = events
    assert isinstance(request, Request)
    end = body[-1]
    assert isinstance(end, End)
    target = request.path if request.query is None else request.path + b"?" + request.query
    octets = b"".join(piece.data for piece in body if isinstance(piece, Data))
    return Message((request.method, target), tuple(request.fields), octets, end.trailers)


def _same(forwarded: Message, accepted: Message) -> bool:
    """Say whether a forwarded message is this accepted one; fields may have come off."""
    return (forwarded.start, forwarded.body) == (accepted.start, accepted.body) and set(
        forwarded.trailers
    ) <= set(accepted.trailers)


@st.composite
def _exchanges(draw: st.DrawFn) -> tuple[bytes, bytes, Answered]:
    """Give a method, a version and an answer."""
    method = draw(st.sampled_from(METHODS)).encode()
    return method, draw(st.sampled_from([b"1.1", b"1.1", b"1.0"])), draw(answers(method))


class AnswerTests(SynchronousTestCase):
    """What an upstream says reaches the client."""

    def setUp(self) -> None:
        """Start a daemon."""
        self.crossing = Crossing()

    def asked(self, method: bytes, version: bytes) -> bytes:
        """Return a request's bytes."""
        return b"%b / HTTP/%b\r\nHost: app.example.com\r\n\r\n" % (method, version)

    @examples(50)
    @given(_exchanges(), CUTS)
    def test_good_answers_arrive(
        self, given: tuple[bytes, bytes, Answered], places: list[int]
    ) -> None:
        """Status, end-to-end fields, body, trailers: as sent, and nothing besides."""
        method, version, answer = given
        crossed = self.crossing.answer(
            self.asked(method, version), cut(answer.octets, places), ends=answer.until_close
        )
        found = read_back(crossed, method)
        assert found is not None, crossed
        self.assertEqual((found.start, found.body), ((b"%d" % answer.status,), answer.body))
        self.assertEqual(found.fields[: len(answer.fields)], answer.fields)
        self.assertLessEqual({name for name, _ in found.fields[len(answer.fields) :]}, OURS_BACK)
        # There is no place for them in what HTTP/1.0 reads.
        self.assertEqual(found.trailers, answer.trailers if version == b"1.1" else ())
        self.assertEqual(crossed.kinds, [(answer.status, "")])

    @examples(80)
    @given(
        _exchanges().flatmap(
            lambda given: st.tuples(
                st.just(given[0]), st.just(given[1]), mutated(st.just(given[2].octets))
            )
        ),
        CUTS,
        st.booleans(),
        st.booleans(),
    )
    def test_whatever_passes_is_read_in_one_way(
        self, given: tuple[bytes, bytes, bytes], places: list[int], ends: bool, clean: bool
    ) -> None:
        """
        Of any bytes, the client gets one answer that both read alike, or a broken one.

        A reader that takes the upstream's own bytes takes them for the same answer.
        """
        method, version, wire = given
        crossed = self.crossing.answer(
            self.asked(method, version), cut(wire, places), ends=ends, clean=clean
        )
        found = read_back(crossed, method)
        (entry,) = crossed.entries
        if crossed.aborted:
            self.assertIsNone(found)
            self.assertNotEqual(entry.error, "")
            return
        if found is None:
            self.assertEqual(entry.error, "ClientGone")
            return
        self.assertEqual(found.start, (b"%d" % entry.status,))
        if entry.error:
            self.assertEqual(entry.status, 502)
            return
        try:
            theirs = h11_answers(wire, [method], ended=ends and clean).whole
        except Misread:
            theirs = []
        for other in theirs:
            self.assertEqual((found.start, found.body), (other.start, other.body))
