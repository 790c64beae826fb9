"""
Reads the heads of requests, and each line and each block of fields only once.

A client sends nearly the same head again and again, and the same bytes mean the same. So
what a request line and what a block of fields mean is remembered by their bytes, for all
connections together. A block has room for notes: what other parts of the proxy work out of
it, and of nothing else, is kept and forgotten with it.
"""

from __future__ import annotations

import attrs
import httptools

from pomeriumd.errors import BadMessage, HeadTooLarge
from pomeriumd.http.events import Request
from pomeriumd.http.gate import Judged, RequestLine, admit, judge, readable, request_line
from pomeriumd.http.head import FieldReader
from pomeriumd.http.limits import Limits
from pomeriumd.http.recent import Recent

LINES = 4_096
"""Request lines remembered."""

LINES_SIZE = 1 << 20
"""Bytes of them; with what they mean they take three times that."""

BLOCKS = 8_192
"""Blocks of fields remembered."""

BLOCKS_SIZE = 4 << 20
"""Bytes of them: a browser's are some 1 KiB with a session. With what they mean, and the
notes, they take six times that, and twenty times where a block is 128 fields of a letter or two."""


@attrs.define(eq=False, repr=False)  # what it remembers holds cookies
class RequestHeads:
    """Reads whole heads of requests, of any connection."""

    limits: Limits
    _lines: Recent[bytes, RequestLine] = attrs.field(init=False)
    _blocks: Recent[bytes, Judged] = attrs.field(init=False)
    _fields: FieldReader[httptools.HttpRequestParser] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._lines = Recent(LINES, LINES_SIZE)
        self._blocks = Recent(BLOCKS, BLOCKS_SIZE)
        self._fields = FieldReader(httptools.HttpRequestParser, BadMessage)

    def read(self, head: bytes) -> tuple[Request, Judged, bool]:
        """
        Return what a whole head says, and whether it is HTTP/1.1 (else 1.0).

        Args:
            head: with its empty line, and no larger than ``limits`` allows.

        Raises:
            ClientError: it is refused; the class says the status.
        """
        end = head.find(b"\r\n")
        text = head[:end]
        line = self._lines.get(text, end)
        if line is None:
            line = request_line(text, self.limits)
            self._lines.put(text, line, end)
        if not line.http11:
            judged = self._judge(head, http11=False)
        else:
            block = head[end:]
            found = self._blocks.get(block, len(block))
            judged = found if found is not None else self._remembered(head, block)
        return admit(line, judged), judged, line.http11

    def _remembered(self, head: bytes, block: bytes) -> Judged:
        judged = self._judge(head, http11=True)
        self._blocks.put(block, judged, len(block))
        return judged

    def _judge(self, head: bytes, *, http11: bool) -> Judged:
        fields = self._fields.read(head)
        if len(fields) > self.limits.field_count:
            raise HeadTooLarge(f"{len(fields)} fields, at most {self.limits.field_count}")
        if not head.isascii():
            readable(fields)
        return judge(fields, http11=http11)
