"""
The service ``pomerium.authorize.v1.Authorize``: its messages, and what they mean to us.

Each message is read from bytes and written to bytes here, so that what a stranger's message
does wrong is an error of ours that says so, on either side. Nothing is guessed: an outcome
that is not known, a number that is no time, a reason that is not a word is refused, and an
answer that is refused has let nobody in.

The descriptors are written out in Python, so there is no generated code to keep;
``authorize.proto`` beside this file says the same to readers and to other languages, and
a test compiles and compares it.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from pomeriumd.access.decision import Allow, Decision, Deny, SignIn
from pomeriumd.access.verdict import Question, Verdict
from pomeriumd.crypto.tokens import TOKEN_SIZE
from pomeriumd.errors import BadMessage, Undecided

PACKAGE: Final = "pomerium.authorize.v1"
SERVICE: Final = f"{PACKAGE}.Authorize"
"""The name that health is asked for, and that reflection tells."""
CHECK: Final = f"/{SERVICE}/Check"
WATCH: Final = f"/{SERVICE}/Watch"

MESSAGE_SIZE: Final = 65_536
"""Most bytes of a message either way: twice the longest token."""
NAME_SIZE: Final = 128
"""Most characters of a route's id and of a generation."""
COUNT: Final = 32
"""Most reasons, attributes or dependencies of one message."""
LONGEST: Final = 86_400.0
"""Most seconds for which a verdict may claim to hold."""
BEAT: Final = 10.0
"""Seconds after which a ``Watch`` stream repeats the generation."""

_id = re.compile(rf"[0-9A-Za-z._:-]{{0,{NAME_SIZE}}}")
_word = re.compile(r"[a-z0-9-]{1,64}")
_attribute = re.compile(r"[a-z][a-z0-9_.-]{0,63}")


def _described() -> descriptor_pb2.FileDescriptorProto:
    """Return what ``authorize.proto`` compiles to."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="pomeriumd/rpc/authorize.proto", package=PACKAGE, syntax="proto3"
    )

    def message(owner: Any, name: str, *fields: tuple[str, int, int, str]) -> Any:
        made = owner.add(name=name)
        for number, (field, label, kind, of) in enumerate(fields, 1):
            made.field.add(name=field, number=number, label=label, type=kind, type_name=of)
            if not of:
                made.field[-1].ClearField("type_name")
        return made

    one, many = kinds.LABEL_OPTIONAL, kinds.LABEL_REPEATED
    text = kinds.TYPE_STRING
    request = message(
        file.message_type,
        "CheckRequest",
        ("route", one, text, ""),
        ("token", one, text, ""),
        ("generation", one, text, ""),
        ("attributes", many, kinds.TYPE_MESSAGE, f".{PACKAGE}.CheckRequest.AttributesEntry"),
    )
    entry = message(
        request.nested_type, "AttributesEntry", ("key", one, text, ""), ("value", one, text, "")
    )
    entry.options.map_entry = True
    message(
        file.message_type,
        "CheckResponse",
        ("outcome", one, kinds.TYPE_ENUM, f".{PACKAGE}.Outcome"),
        ("reasons", many, text, ""),
        ("valid_for", one, kinds.TYPE_DOUBLE, ""),
        ("generation", one, text, ""),
        ("depends_on", many, text, ""),
    )
    message(file.message_type, "WatchRequest")
    message(file.message_type, "WatchResponse", ("generation", one, text, ""))

    outcome = file.enum_type.add(name="Outcome")
    for number, name in enumerate(("UNSPECIFIED", "ALLOW", "DENY", "SIGN_IN")):
        outcome.value.add(name=f"OUTCOME_{name}", number=number)

    service = file.service.add(name="Authorize")
    for name in ("Check", "Watch"):
        service.method.add(
            name=name,
            input_type=f".{PACKAGE}.{name}Request",
            output_type=f".{PACKAGE}.{name}Response",
            # Absent, not false, where it does not stream: so does protoc.
            server_streaming=True if name == "Watch" else None,
        )
    return file


# Any: the classes are made at run time, and no checker sees their fields. They are in the
# default pool, where reflection looks.
_classes: dict[str, Any] = message_factory.GetMessageClassesForFiles(
    [descriptor_pool.Default().AddSerializedFile(_described().SerializeToString()).name],
    descriptor_pool.Default(),
)
CheckRequest: Any = _classes[f"{PACKAGE}.CheckRequest"]
CheckResponse: Any = _classes[f"{PACKAGE}.CheckResponse"]
WatchRequest: Any = _classes[f"{PACKAGE}.WatchRequest"]
WatchResponse: Any = _classes[f"{PACKAGE}.WatchResponse"]

WATCHING: Final[bytes] = WatchRequest().SerializeToString()
"""The one request that ``Watch`` takes."""

_NUMBERS: Final[dict[type[Decision], int]] = {Allow: 1, Deny: 2, SignIn: 3}
_OUTCOMES: Final[dict[int, type[Decision]]] = {n: outcome for outcome, n in _NUMBERS.items()}


class _Refused(Exception):  # what is wrong, for whoever asked
    """A value that no message of ours has."""


def write_question(question: Question) -> bytes:
    """
    Return the request of ``Check``.

    Raises:
        Undecided: it holds what the other side would refuse; the text says what.
    """
    try:
        _check_question(question)
        message = CheckRequest(
            route=question.route,
            token=question.token,
            generation=question.generation,
            attributes=question.attributes,
        )
        return _bounded(message.SerializeToString())
    except (_Refused, ValueError) as error:
        raise Undecided(f"question cannot be asked: {_why(error)}") from None


def read_question(data: bytes) -> Question:
    """
    Return what a proxy asks.

    Raises:
        BadMessage: whatever is wrong with it; the text holds nothing of the token.
    """
    try:
        message = CheckRequest.FromString(_bounded(data))
        question = Question(
            route=message.route,
            token=message.token,
            generation=message.generation,
            attributes=dict(message.attributes),
        )
        _check_question(question)
    except (_Refused, DecodeError) as error:
        raise BadMessage(f"question cannot be read: {_why(error)}") from None
    return question


def write_verdict(verdict: Verdict) -> bytes:
    """
    Return the answer of ``Check``.

    Raises:
        ValueError: it holds what the other side would refuse: a bug.
    """
    try:
        _check_verdict(verdict)
    except _Refused as error:
        raise ValueError(f"verdict cannot be given: {error}") from None
    message = CheckResponse(
        outcome=_NUMBERS[type(verdict.decision)],
        reasons=verdict.decision.reasons,
        valid_for=verdict.valid_for,
        generation=verdict.generation,
        depends_on=sorted(verdict.depends_on),
    )
    return bytes(message.SerializeToString())


def read_verdict(data: bytes) -> Verdict:
    """
    Return what a replica decided.

    Raises:
        Undecided: whatever is wrong with it; an outcome that is not known here among it.
    """
    try:
        message = CheckResponse.FromString(_bounded(data))
        outcome = _OUTCOMES.get(message.outcome)
        if outcome is None:
            raise _Refused(f"outcome {message.outcome} is not known here")  # noqa: TRY301
        verdict = Verdict(
            decision=outcome(tuple(message.reasons)),
            valid_for=message.valid_for,
            generation=message.generation,
            depends_on=frozenset(message.depends_on),
        )
        _check_verdict(verdict)
    except (_Refused, DecodeError) as error:
        raise Undecided(f"answer cannot be read: {_why(error)}") from None
    return verdict


def write_generation(generation: str) -> bytes:
    """Return one message of ``Watch``."""
    return bytes(WatchResponse(generation=generation).SerializeToString())


def read_generation(data: bytes) -> str:
    """
    Return what one message of ``Watch`` tells.

    Raises:
        Undecided: it cannot be read, or tells none.
    """
    try:
        told = WatchResponse.FromString(_bounded(data)).generation
        _check_id("generation", told, least=1)
    except (_Refused, DecodeError) as error:
        raise Undecided(f"generation cannot be read: {_why(error)}") from None
    return str(told)


def _check_question(question: Question) -> None:
    _check_id("route", question.route, least=1)
    _check_id("generation", question.generation)
    if len(question.token) > TOKEN_SIZE:
        raise _Refused(f"token is over {TOKEN_SIZE} characters")
    if not question.token.isascii():
        raise _Refused("token is no ASCII")
    if len(question.attributes) > COUNT:
        raise _Refused(f"over {COUNT} attributes")
    if not all(map(_attribute.fullmatch, question.attributes)):
        raise _Refused("an attribute's name is none")


def _check_verdict(verdict: Verdict) -> None:
    reasons = verdict.decision.reasons
    _check_id("generation", verdict.generation, least=1)
    if len(reasons) > COUNT or not all(map(_word.fullmatch, reasons)):
        raise _Refused(f"reasons are not up to {COUNT} words")
    if len(verdict.depends_on) > COUNT or not all(map(_attribute.fullmatch, verdict.depends_on)):
        raise _Refused(f"dependencies are not up to {COUNT} names")
    # Not a number is neither more nor less than anything.
    if not math.isfinite(verdict.valid_for) or not 0 <= verdict.valid_for <= LONGEST:
        raise _Refused(f"want valid_for of 0 to {LONGEST:.0f} s, got {verdict.valid_for}")


def _check_id(what: str, text: str, least: int = 0) -> None:
    if len(text) < least or not _id.fullmatch(text):
        raise _Refused(f"{what} is no id of up to {NAME_SIZE} characters")


def _bounded(data: bytes) -> bytes:
    if len(data) > MESSAGE_SIZE:
        raise _Refused(f"over {MESSAGE_SIZE} bytes")
    return data


def _why(error: Exception) -> str:
    """Return the reason: what protobuf says may quote what a stranger wrote."""
    return str(error) if isinstance(error, _Refused) else "no message of this kind"
