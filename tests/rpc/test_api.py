"""Tests for pomeriumd.rpc.api."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import attrs
from google.protobuf import descriptor_pb2
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.access.decision import PLAIN, Allow, Deny, SignIn
from pomeriumd.access.verdict import Question, Verdict
from pomeriumd.crypto.tokens import TOKEN_SIZE
from pomeriumd.errors import BadMessage, Undecided
from pomeriumd.rpc import api
from tests.support.laws import examples

ROOT = Path(__file__).parent.parent.parent
QUESTION = Question(
    route="0123456789abcdef",
    token="e30.e30.c2ln",
    generation="fedcba9876543210",
    attributes={"method": "GET"},
)
VERDICT = Verdict(
    decision=Deny(("email-unauthorized", "domain-unauthorized")),
    valid_for=12.5,
    generation="fedcba9876543210",
    depends_on=frozenset({"session", "method"}),
)

ids = st.from_regex(r"[0-9A-Za-z._:-]{1,128}", fullmatch=True)
attributes = st.from_regex(r"[a-z][a-z0-9_.-]{0,63}", fullmatch=True)
words = st.from_regex(r"[a-z0-9-]{1,64}", fullmatch=True)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
questions = st.builds(
    Question,
    route=ids,
    token=st.text(st.characters(max_codepoint=127)),
    generation=st.just("") | ids,
    attributes=st.dictionaries(attributes, text, max_size=5),
)
verdicts = st.builds(
    Verdict,
    decision=st.builds(
        lambda outcome, reasons: outcome(tuple(reasons)),
        st.sampled_from([Allow, Deny, SignIn]),
        st.lists(words, max_size=5),
    ),
    valid_for=st.floats(0, api.LONGEST),
    generation=ids,
    depends_on=st.frozensets(attributes, max_size=5),
)


class LawTests(SynchronousTestCase):
    """What is written is read as it was; what a stranger writes is read or refused."""

    @examples(60)
    @given(questions)
    def test_a_question_comes_as_it_went(self, question: Question) -> None:
        """Reading undoes writing."""
        self.assertEqual(api.read_question(api.write_question(question)), question)

    @examples(60)
    @given(verdicts)
    def test_a_verdict_comes_as_it_went(self, verdict: Verdict) -> None:
        """Reading undoes writing, to the last bit of its time."""
        self.assertEqual(api.read_verdict(api.write_verdict(verdict)), verdict)

    @examples(60)
    @given(ids)
    def test_a_generation_comes_as_it_went(self, generation: str) -> None:
        """Reading undoes writing."""
        self.assertEqual(api.read_generation(api.write_generation(generation)), generation)

    @examples(200)
    @given(st.binary(max_size=60))
    def test_bytes_of_a_stranger_raise_nothing_else(self, data: bytes) -> None:
        """Any bytes are a question, or a BadMessage; a verdict, or Undecided."""
        with contextlib.suppress(BadMessage):
            api.read_question(data)
        with contextlib.suppress(Undecided):
            api.read_verdict(data)

    @examples(60)
    @given(st.integers(-(2**31), 2**31 - 1).filter(lambda number: number not in {1, 2, 3}))
    def test_an_outcome_that_is_not_known_lets_nobody_in(self, number: int) -> None:
        """Every number but three is no decision at all."""
        with self.assertRaises(Undecided):
            api.read_verdict(answer(outcome=number))


def answer(**fields: Any) -> bytes:
    """Return the bytes of an answer that allows, with these fields instead."""
    fields = {"outcome": 1, "reasons": ["accept"], "generation": "ab"} | fields
    return bytes(api.CheckResponse(**fields).SerializeToString())


class AnswerTests(SynchronousTestCase):
    """read_verdict() takes nothing that it would have to guess at."""

    def refused(self, data: bytes, said: str) -> None:
        """Assert that the answer is refused with this text."""
        with self.assertRaises(Undecided) as caught:
            api.read_verdict(data)
        self.assertEqual(str(caught.exception), f"answer cannot be read: {said}")

    def test_an_empty_answer(self) -> None:
        """No bytes at all are a message of protobuf's, and no decision."""
        self.refused(b"", "outcome 0 is not known here")

    def test_times_that_are_none(self) -> None:
        """Not a number, infinity, the past and more than a day are refused."""
        for wrong in (float("nan"), float("inf"), -1.0, api.LONGEST + 1):
            self.refused(answer(valid_for=wrong), f"want valid_for of 0 to 86400 s, got {wrong}")

    def test_reasons_that_are_no_words(self) -> None:
        """A reason is shown to users and written to logs: it is a word, and short."""
        for wrong in ("", "Accept", "a b", "<b>", "a\n", "a" * 65):
            self.refused(answer(reasons=[wrong]), "reasons are not up to 32 words")

    def test_many_reasons(self) -> None:
        """Their number has a bound."""
        self.refused(answer(reasons=["a"] * 33), "reasons are not up to 32 words")

    def test_no_generation(self) -> None:
        """An answer that no policies gave holds for nothing."""
        self.refused(answer(generation=""), "generation is no id of up to 128 characters")

    def test_dependencies_that_are_no_names(self) -> None:
        """A name that is none of ours would make a key that nothing equals."""
        self.refused(answer(depends_on=["A"]), "dependencies are not up to 32 names")

    def test_a_large_answer(self) -> None:
        """More than the bound is not even looked at."""
        self.refused(b"\x12" * (api.MESSAGE_SIZE + 1), "over 65536 bytes")

    def test_a_generation_that_is_none(self) -> None:
        """A watch that tells nothing is an error."""
        with self.assertRaises(Undecided):
            api.read_generation(b"")

    def test_our_own_words_pass(self) -> None:
        """Every reason that a policy of ours gives can be given to a proxy."""
        for word in PLAIN:
            verdict = attrs.evolve(VERDICT, decision=Deny((word,)))
            self.assertEqual(api.read_verdict(api.write_verdict(verdict)), verdict)

    def test_a_verdict_that_cannot_be_read_is_not_written(self) -> None:
        """What the other side would refuse is found here first."""
        with self.assertRaises(ValueError):
            api.write_verdict(attrs.evolve(VERDICT, valid_for=float("nan")))


class QuestionTests(SynchronousTestCase):
    """read_question() takes what a proxy of ours asks, and says what is wrong with the rest."""

    def refused(self, said: str, **fields: Any) -> None:
        """Assert that the question with these fields instead is refused, on both sides."""
        whole: dict[str, Any] = {
            "route": "a",
            "token": "",
            "generation": "b",
            "attributes": {},
        } | fields
        with self.assertRaises(BadMessage) as read:
            api.read_question(api.CheckRequest(**whole).SerializeToString())
        self.assertEqual(str(read.exception), f"question cannot be read: {said}")
        with self.assertRaises(Undecided) as written:
            api.write_question(Question(**whole))
        self.assertEqual(str(written.exception), f"question cannot be asked: {said}")

    def test_no_route(self) -> None:
        """A question is about a route."""
        self.refused("route is no id of up to 128 characters", route="")

    def test_a_route_that_would_end_a_line(self) -> None:
        """What is written to a log is an id."""
        self.refused("route is no id of up to 128 characters", route="a\nb")

    def test_a_long_token(self) -> None:
        """A token has the bound that it has everywhere."""
        self.refused(f"token is over {TOKEN_SIZE} characters", token="a" * (TOKEN_SIZE + 1))

    def test_a_token_of_other_characters(self) -> None:
        """A token is ASCII; and the text does not quote it."""
        self.refused("token is no ASCII", token="ä")

    def test_many_attributes(self) -> None:
        """Their number has a bound."""
        self.refused("over 32 attributes", attributes={f"a{n}": "" for n in range(33)})

    def test_attributes_of_no_name(self) -> None:
        """A name is one that a policy could ask for."""
        self.refused("an attribute's name is none", attributes={"": "x"})

    def test_text_that_is_none(self) -> None:
        """Half a character cannot be sent, and is said so rather than raised."""
        with self.assertRaises(Undecided):
            api.write_question(attrs.evolve(QUESTION, attributes={"path": "\udc80"}))

    def test_many_bytes(self) -> None:
        """What is too large together is refused before it is sent."""
        with self.assertRaises(Undecided):
            api.write_question(attrs.evolve(QUESTION, attributes={"path": "a" * 65_536}))


class ProtoTests(SynchronousTestCase):
    """authorize.proto is what the descriptors say."""

    def test_it_compiles_to_the_same(self) -> None:
        """The compiler makes of the file what is written out in Python."""
        with tempfile.TemporaryDirectory() as place:
            made = Path(place) / "set"
            subprocess.run(
                [
                    *(sys.executable, "-W", "ignore", "-m", "grpc_tools.protoc", "-I."),
                    *(f"--descriptor_set_out={made}", "pomeriumd/rpc/authorize.proto"),
                ],
                cwd=ROOT,
                check=True,
            )
            (compiled,) = descriptor_pb2.FileDescriptorSet.FromString(made.read_bytes()).file
        for message in compiled.message_type:
            for one in (message, *message.nested_type):
                for field in one.field:
                    field.ClearField("json_name")  # follows from its name
        ours = descriptor_pb2.FileDescriptorProto()
        api.CheckRequest.DESCRIPTOR.file.CopyToProto(ours)
        self.assertEqual(compiled, ours)
