"""
Which header fields cross the proxy, and which end at it.

Pure: bytes in, bytes out. Nothing here knows a transport, a route or a session; names
are in lower case already, as the parsers give them.

Source: RFC 9110 section 7.6.1 (Connection), section 6.5.1 (trailers).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import product
from typing import NewType

from pomeriumd.errors import BadMessage, PomeriumError
from pomeriumd.http.events import Field

FieldLines = NewType("FieldLines", bytes)
"""Fields as they go on the wire: made by ``field_lines``, or joined of what it made."""

ENDS_HERE = frozenset(
    {
        b"connection",
        b"content-length",
        b"expect",
        b"host",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Names that speak of one connection or of one message's framing: each side of the proxy
says its own. They go whether or not a Connection field lists them."""

NOT_THE_CLIENTS_TO_DROP = frozenset(
    {b"authorization", b"content-length", b"cookie", b"host", b"transfer-encoding"}
)
"""Names a Connection field may not list."""

ONLY_ONCE = frozenset(
    {
        b"access-control-request-method",
        b"authorization",
        b"content-length",
        b"content-range",
        b"content-type",
        b"expect",
        b"host",
        b"if-modified-since",
        b"if-range",
        b"if-unmodified-since",
        b"origin",
        b"proxy-authorization",
        b"range",
        b"referer",
        b"sec-fetch-dest",
        b"sec-fetch-mode",
        b"sec-fetch-site",
        b"sec-fetch-user",
        b"sec-websocket-key",
        b"sec-websocket-version",
        b"transfer-encoding",
        b"upgrade",
        b"x-http-method-override",
        b"x-pomerium-authorization",
        b"x-requested-with",
    }
)
"""Names of which a second copy is refused: of two, one reader checks the first and
another obeys the last."""


def _misspelt(name: bytes) -> Iterable[bytes]:
    """Give each spelling that a backend folding ``_`` and ``.`` takes for this name."""
    words = name.decode("ascii").split("-")
    for joints in product("-_.", repeat=len(words) - 1):
        pieces = [word + joint for word, joint in zip(words, (*joints, ""), strict=True)]
        spelling = "".join(pieces).encode("ascii")
        if spelling != name:
            yield spelling


MISSPELT = frozenset(
    spelling for name in sorted(ONLY_ONCE | ENDS_HERE) for spelling in _misspelt(name)
)
"""``content_length``, ``sec.fetch_site``, ...: we read past them, and a backend that keeps
fields in CGI variables does not."""

_NOT_IN_TRAILERS = ENDS_HERE | {
    b"age",
    b"authorization",
    b"cache-control",
    b"cookie",
    b"date",
    b"expires",
    b"forwarded",
    b"location",
    b"max-forwards",
    b"origin",
    b"pragma",
    b"range",
    b"referer",
    b"remote-user",
    b"retry-after",
    b"set-cookie",
    b"trailer",
    b"vary",
    b"via",
    b"warning",
    b"www-authenticate",
}

_plain = re.compile(rb"[a-z0-9-]+").fullmatch

_NOT_IN_TRAILERS_FROM = (
    b"access-control-",
    b"content-",
    b"if-",
    b"proxy-",
    b"sec-",
    b"x-accel-",
    b"x-auth-",
    b"x-envoy-",
    b"x-forwarded-",
    b"x-http-method",
    b"x-original-",
    b"x-pomerium-",
    b"x-real-ip",
    b"x-rewrite-",
)


def end_to_end(fields: Iterable[Field]) -> list[Field]:
    """Leave out the fields that belong to one connection or to one message's framing."""
    return [field for field in fields if field[0] not in ENDS_HERE]


OPTIONS_MOST = 256
"""Values of Connection that are remembered; a handful are in use."""

OPTIONS_SIZE = 256
"""Bytes of the longest one. One of 64 KiB makes a megabyte of options, and 256 of those would
stay for ever."""


def connection_options(value: bytes) -> frozenset[bytes]:
    """
    Return the options of a Connection field, in lower case.

    Args:
        value: all Connection fields of one message, joined with commas.

    Source: RFC 9110 section 7.6.1.
    """
    return _remembered(value) if len(value) <= OPTIONS_SIZE else _options(value)


def _options(value: bytes) -> frozenset[bytes]:
    return frozenset(option.strip(b" \t").lower() for option in value.split(b",")) - {b""}


def clients_options(value: bytes) -> frozenset[bytes]:
    """
    Return the options of a client's Connection field, in lower case.

    It drops nothing that ``ENDS_HERE`` does not drop anyway: a client whose list counted
    would take away what we put there for the upstream to rely on (H6).

    Raises:
        BadMessage: it lists a name of ``NOT_THE_CLIENTS_TO_DROP``.
    """
    return _clients_remembered(value) if len(value) <= OPTIONS_SIZE else _clients(value)


def _clients(value: bytes) -> frozenset[bytes]:
    options = connection_options(value)
    forbidden = sorted(options & NOT_THE_CLIENTS_TO_DROP)
    if forbidden:
        raise BadMessage(f"Connection lists {forbidden[0].decode('ascii')}")
    return options


_remembered = lru_cache(maxsize=OPTIONS_MOST)(_options)
_clients_remembered = lru_cache(maxsize=OPTIONS_MOST)(_clients)


def trailers_that_may_pass(trailers: Iterable[Field]) -> tuple[Field, ...]:
    """
    Leave out the trailers that would say something about framing, routing or identity.

    A backend that merges trailers into the head would believe there what we checked and
    stripped in the head. Some fold every sign of a name into one: a name that is not made of
    letters, digits and hyphens alone goes, as it does in a head.

    Source: RFC 9110 section 6.5.1.
    """
    return tuple(
        field
        for field in trailers
        if _plain(field[0])
        and field[0] not in _NOT_IN_TRAILERS
        and not field[0].startswith(_NOT_IN_TRAILERS_FROM)
    )


_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t\x20-\x7e\x80-\xff]*)\r\n")


def read_fields(block: bytes) -> list[Field]:
    """
    Read field lines, as they stand in a trailer section.

    Args:
        block: lines that each end with CR LF, without the empty line behind them.

    Raises:
        BadMessage: a line is not a token, a colon and printable text.

    Source: RFC 9112 section 5.
    """
    fields: list[Field] = []
    position = 0
    while position < len(block):
        line = _LINE.match(block, position)
        if line is None:
            raise BadMessage("a field line that cannot be read")
        fields.append((line[1].lower(), line[2].strip()))
        position = line.end()
    return fields


def field_lines(fields: Iterable[Field]) -> FieldLines:
    """
    Return field lines as they go on the wire, each with its CR LF.

    Raises:
        PomeriumError: a name or value holds CR, LF or NUL. Nothing that a peer sent can:
            it is something of ours, and it may not become a field of its own (H9).
    """
    lines = [*map(b": ".join, fields), b""]
    block = b"\r\n".join(lines)
    # Counted, which takes a tenth of what a regular expression does on each head.
    breaks = len(lines) - 1
    if block.count(b"\n") != breaks or block.count(b"\r") != breaks or b"\0" in block:
        raise PomeriumError("a field to send holds CR, LF or NUL")
    return FieldLines(block)
