"""
HTTP/1.1 as a client speaks it: requests to bytes, and an upstream's bytes to events.

An answer that two readers could read in two ways is no answer: the connection is given up,
and nothing behind such an answer is ever taken for the next one. Nothing here knows a
transport, a clock or a route.

Source: RFC 9112.
"""

from __future__ import annotations

import enum
import re

import attrs
import httptools

from pomeriumd.errors import BadMessage, PomeriumError, UpstreamBroken
from pomeriumd.http.chunked import ChunkedReader
from pomeriumd.http.events import Data, End, Field, Response
from pomeriumd.http.fields import FieldLines, connection_options, end_to_end
from pomeriumd.http.head import FieldReader, HeadReader
from pomeriumd.http.limits import Limits
from pomeriumd.http.outgoing import CHUNKED, WITHOUT, Counted, Outgoing
from pomeriumd.http.status import NO_BODY

Event = Response | Data | End

_END = End()

_FIELDS = FieldReader(httptools.HttpResponseParser, UpstreamBroken)

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*)?\r\n")

_TWO_WORDS = re.compile(rb"[!-~]+ [!-~]+").fullmatch

_SWITCHING = 101

_FINAL = 200

_DIGITS = 18
"""Digits of the longest Content-Length: it then fits every reader's 64 bits."""

_NO_OPTIONS: frozenset[bytes] = frozenset()

_BODY_EXPECTED = frozenset({b"POST", b"PUT", b"PATCH"})
"""Methods whose empty body is announced too (RFC 9110 section 8.6)."""


class _Reading(enum.Enum):
    """What the upstream's next byte is."""

    HEAD = "of a head"
    LENGTH = "of a body of known size"
    CHUNKED = "of a chunked body"
    CLOSE = "of a body that ends with the connection"
    TUNNEL = "of what was upgraded to"
    STRAY = "nothing that was asked for"


# Each look-up in an Enum class costs 60 ns.
_HEAD, _LENGTH, _STRAY = _Reading.HEAD, _Reading.LENGTH, _Reading.STRAY


@attrs.define(eq=False, repr=False)  # what waits in it holds cookies
class Client1:
    """
    One connection to an upstream; it carries one exchange after another.

    The caller sends what ``request``, ``data`` and ``end`` return, and feeds what arrives.
    After an error the connection carries nothing any more.

    Attributes:
        limits: the bounds.
        began: a byte of the answer to the current request has come.
    """

    limits: Limits
    began: bool = attrs.field(default=False, init=False)
    _reader: HeadReader = attrs.field(init=False)
    _reading: _Reading = attrs.field(default=_Reading.STRAY, init=False)
    _left: int = attrs.field(default=0, init=False)
    """Bytes of a body of known size that are still to come."""
    _chunks: ChunkedReader = attrs.field(init=False)
    """Made for each chunked body."""
    _out: Outgoing | None = attrs.field(default=None, init=False)
    _sent: bool = attrs.field(default=True, init=False)
    """Whether every byte of the request has been handed out."""
    _head_only: bool = attrs.field(default=False, init=False)
    _upgrade: bytes | None = attrs.field(default=None, init=False)
    _interim: int = attrs.field(default=0, init=False)
    _persists: bool = attrs.field(default=True, init=False)
    _trailing: bytes = attrs.field(default=b"", init=False)

    def __attrs_post_init__(self) -> None:
        self._reader = HeadReader(
            self.limits.response_head_size,
            b"H",
            UpstreamBroken,
            UpstreamBroken,
        )

    @property
    def reusable(self) -> bool:
        """Whether it may carry a request now: all that was asked for is over, both ways."""
        return self._persists and self._sent and self._reading is _STRAY

    def request(
        self,
        method: bytes,
        target: bytes,
        fields: FieldLines,
        length: int | None,
        *,
        upgrade: bytes | None = None,
    ) -> bytes:
        """
        Begin a request.

        Args:
            method: in upper case.
            target: canonical path, and query with its question mark.
            fields: Host and the end-to-end fields.
            length: size of the body in bytes; None sends it chunked.
            upgrade: what to ask to be upgraded to.

        Returns:
            The head's bytes.

        Raises:
            PomeriumError: the connection is not reusable, or something in the head would
                begin another word or end the head.
        """
        if not self.reusable:
            raise PomeriumError("a request on a connection that is not free")
        line = b"%b %b" % (method, target)
        if not _TWO_WORDS(line):
            raise PomeriumError("a target or method to send is not one word")
        if fields.find(b"\r\n\r\n") >= 0:
            raise PomeriumError("fields to send hold an empty line")
        ours = b""
        if length == 0:
            self._out = WITHOUT
            self._sent = True
            if method in _BODY_EXPECTED:
                ours = b"content-length: 0\r\n"
        elif length is None:
            self._out = CHUNKED
            self._sent = False
            ours = b"transfer-encoding: chunked\r\n"
        else:
            self._out = Counted(length, length, BadMessage)
            self._sent = False
            ours = b"content-length: %d\r\n" % length
        if upgrade is not None:
            ours += b"connection: upgrade\r\nupgrade: %b\r\n" % upgrade
        self._reading = _HEAD
        self._head_only = method == b"HEAD"
        self._upgrade = upgrade
        self._interim = 0
        self.began = False
        return b"%b HTTP/1.1\r\n%b%b\r\n" % (line, fields, ours)

    def data(self, octets: bytes) -> bytes:
        """
        Return the bytes to send for a piece of the request's body.

        Raises:
            BadMessage: it is more than was announced; the caller aborts.
        """
        out = self._out
        if out is None:
            raise PomeriumError("a body before its head")
        if out is WITHOUT and octets:
            raise BadMessage(f"body of 0 bytes announced, {len(octets)} came")
        framed = out.data(octets)
        self._sent = out is WITHOUT or (isinstance(out, Counted) and out.left == 0)
        return framed

    def end(self, trailers: tuple[Field, ...] = ()) -> bytes:
        """
        Return the bytes to send at the end of the request.

        Raises:
            BadMessage: the body was less than was announced; the caller aborts.
        """
        if self._out is None:
            raise PomeriumError("an end before its head")
        last = self._out.end(trailers)
        self._sent = True
        return last

    def feed(self, octets: bytes) -> list[Event]:
        """
        Take bytes from the upstream.

        Returns:
            What they mean, in order; interim answers are read over.

        Raises:
            UpstreamBroken: they cannot be read, or could be read in two ways.
        """
        try:
            return self._take(octets) if octets else []
        except (UpstreamBroken, BadMessage) as error:
            self._persists = False
            self._reading = _STRAY
            if isinstance(error, BadMessage):
                raise UpstreamBroken(str(error)) from None
            raise

    def _take(self, octets: bytes) -> list[Event]:
        """Take bytes, at least one, where the last ones ended."""
        reading = self._reading
        if reading is _HEAD:
            self.began = True
            taken = self._reader.take(octets)
            return [] if taken is None else self._begin(*taken)
        if reading is _LENGTH:
            return self._counted(octets)
        match reading:
            case _Reading.CHUNKED:
                return self._chunked(octets)
            case _Reading.CLOSE | _Reading.TUNNEL:
                return [Data(octets)]
            case _:
                # Behind an answer, or before any request: whoever takes it for an answer
                # gives it to somebody else.
                self._persists = False
                return []

    def _begin(self, head: bytes, rest: bytes) -> list[Event]:
        """Read a whole head, and go on with the bytes behind it."""
        line = _STATUS_LINE.match(head)
        if line is None:
            raise UpstreamBroken("status line is not HTTP/1.1 or HTTP/1.0 and a status")
        fields = _FIELDS.read(head)
        status = int(line[2])
        if status < _FINAL:
            return self._begin_interim(status, fields, rest)
        http11 = line[1] == b"1"
        length, chunked, options = _framing(fields, http11=http11)
        if not http11 or b"close" in options:
            self._persists = False
        if self._head_only or status in NO_BODY:
            if status == 204:  # noqa: PLR2004
                length = 0
            return [Response(status, end_to_end(fields), length), *self._ended(_END, rest)]
        response = Response(status, end_to_end(fields), length)
        if length is not None:
            self._left = length
            self._reading = _LENGTH
            return [response, *self._counted(rest)] if rest or not length else [response]
        if chunked:
            self._chunks = ChunkedReader(self.limits.trailer_size)
            self._reading = _Reading.CHUNKED
        else:
            self._persists = False
            self._reading = _Reading.CLOSE
        return [response, *self._take(rest)] if rest else [response]

    def _begin_interim(self, status: int, fields: list[Field], rest: bytes) -> list[Event]:
        """
        Read over an interim answer; begin the tunnel if it is that.

        Raises:
            UpstreamBroken: it announces a body, which it cannot have: a reader that believes
                it takes the final answer for that body (RFC 9112 section 6.3).
        """
        only = dict(fields)
        if b"transfer-encoding" in only or only.get(b"content-length", b"0") != b"0":
            raise UpstreamBroken(f"status {status} with a body")
        if status == _SWITCHING:
            self._check_upgrade(fields)
            self._reading = _Reading.TUNNEL
            self._persists = False
            self._trailing = rest
            return [Response(status, end_to_end(fields), 0)]
        self._interim += 1
        if self._interim > self.limits.interim:
            raise UpstreamBroken(f"more than {self.limits.interim} interim answers")
        return self._take(rest) if rest else []

    def _check_upgrade(self, fields: list[Field]) -> None:
        """Refuse a tunnel that was not asked for (F11)."""
        if self._upgrade is None:
            raise UpstreamBroken("status 101 without being asked")
        to = [value.lower() for name, value in fields if name == b"upgrade"]
        if to != [self._upgrade]:
            raise UpstreamBroken("status 101 to another protocol than asked")

    def _counted(self, octets: bytes) -> list[Event]:
        """Take bytes of a body of known size."""
        left = self._left
        if len(octets) < left:
            self._left = left - len(octets)
            return [Data(octets)]
        body, rest = (octets, b"") if len(octets) == left else (octets[:left], octets[left:])
        end = self._ended(_END, rest)
        return [Data(body), *end] if left else end

    def _chunked(self, octets: bytes) -> list[Event]:
        """Take bytes of a chunked body."""
        chunks = self._chunks
        body = chunks.feed(octets)
        events: list[Event] = [Data(body)] if body else []
        if chunks.ended:
            events += self._ended(End(chunks.trailers), chunks.rest)
        return events

    def _ended(self, end: End, rest: bytes) -> list[Event]:
        """End the answer; whether the connection is good for another is settled here."""
        self._reading = _STRAY
        # An upstream that answered before it had the whole request may take the rest of
        # the body for the next request (F6).
        if rest or not self._sent:
            self._persists = False
        return [end]

    def trailing(self) -> bytes:
        """Return the bytes of the tunnel that came with the 101; once, then b""."""
        trailing, self._trailing = self._trailing, b""
        return trailing

    def closed(self, *, clean: bool) -> list[Event]:
        """
        Take the end of the upstream's bytes.

        Args:
            clean: whether the upstream ended it on purpose: FIN, and over TLS close_notify.

        Returns:
            The end of an answer whose body ends with the connection; [] when nothing was
            due.

        Raises:
            UpstreamBroken: it ended inside an answer, or before one.
        """
        reading, self._reading = self._reading, _STRAY
        self._persists = False
        if reading in (_STRAY, _Reading.TUNNEL):
            return []
        if reading is _Reading.HEAD and not self.began:
            raise UpstreamBroken("connection ended before the answer")
        if reading is not _Reading.CLOSE or not clean:
            raise UpstreamBroken("connection ended inside the answer")
        return [_END]


def _framing(fields: list[Field], *, http11: bool) -> tuple[int | None, bool, frozenset[bytes]]:
    """
    Return the Content-Length, whether the body is chunked, and the Connection options.

    Raises:
        UpstreamBroken: the fields say it in two ways, or in one that we do not read.

    Source: RFC 9112 section 6.3, without its leniencies.
    """
    only = dict(fields)
    length, coding = only.get(b"content-length"), only.get(b"transfer-encoding")
    options = connection_options(only[b"connection"]) if b"connection" in only else _NO_OPTIONS
    if len(only) != len(fields):
        names = [name for name, _ in fields]
        if names.count(b"content-length") > 1 or names.count(b"transfer-encoding") > 1:
            raise UpstreamBroken("Content-Length or Transfer-Encoding occurs twice")
        values = [value for name, value in fields if name == b"connection"]
        options = connection_options(b",".join(values))
    if coding is not None:
        if length is not None:
            raise UpstreamBroken("Transfer-Encoding beside Content-Length")
        if not http11:
            raise UpstreamBroken("Transfer-Encoding in HTTP/1.0")
        if coding.lower() != b"chunked":
            raise UpstreamBroken("Transfer-Encoding is not chunked")
        return None, True, options
    if length is None:
        return None, False, options
    if not length.isdigit() or len(length) > _DIGITS:
        raise UpstreamBroken(f"Content-Length is not a number of at most {_DIGITS} digits")
    return int(length), False, options
