"""
Clients and an application that say who they are talking to, and check that it is them.

Each request carries a number of its own, in its path and all through its body, and each
answer that of its request. h11 reads at both ends. Whatever is not as it has to be is an
AssertionError: a second request on a connection that is still at work, an answer or a byte of
one for somebody else, a short answer that looks whole.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import attrs
import h11

from tests.support.messages import cut
from tests.support.network import Link

SAFE = (b"GET", b"HEAD")

HANDSHAKE = (
    b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)

STRAY = b"HTTP/1.1 200 OK\r\nx-number: 0\r\ncontent-length: 0\r\n\r\n"
"""An answer that nobody asked for."""


def token(kind: bytes, number: int) -> bytes:
    """Return what the bytes of one request, or answer, are made of."""
    return b"%b%d;" % (kind, number)


def check_stream(octets: bytes, kind: bytes, number: int) -> None:
    """Assert that these are the first bytes of a stream of one token."""
    one = token(kind, number)
    whole = one * (len(octets) // len(one) + 1)
    assert whole.startswith(octets), f"{octets[:80]!r} is not of {one!r}"


@attrs.define(eq=False)
class Asked:
    """One request, and what has become of it."""

    number: int
    method: bytes
    body: bytes
    upgrade: bool
    seen: list[Application] = attrs.Factory(list)
    """Connections on which the upstream saw it."""
    answer: bytes = b""
    """The body of its answer, all of it."""
    finished: bool = False
    """The upstream has sent all of its answer."""


@attrs.define(eq=False)
class Application:
    """The upstream's end of one connection."""

    link: Link
    book: dict[int, Asked]
    current: Asked | None = None
    whole: bool = False
    """All of the current request is here."""
    served: int = 0
    script: deque[bytes] = attrs.Factory(deque)
    """What is still to be sent of the answer."""
    began: bool = False
    """A byte of the answer to the current request has been sent."""
    last: bool = False
    """No other request may come on this connection."""
    ends: bool = False
    """It is closed behind the answer."""
    until_close: bool = False
    """Its answer has no other end than the connection's."""
    tunnel: Asked | None = None
    slow: bool = False
    """It takes nothing for now."""
    _through: bytes = b""
    _body: bytes = b""
    _reader: h11.Connection = attrs.Factory(lambda: h11.Connection(h11.SERVER))

    @property
    def ready(self) -> bool:
        """It has a request, and has not begun to answer it."""
        return self.current is not None and not self.script and not self.began

    def read(self) -> None:
        """Take what came."""
        octets = self.link.take()
        if self.tunnel is not None:
            self._through += octets
            check_stream(self._through, b"c", self.tunnel.number)
        elif octets:
            self._reader.receive_data(octets)
            self._events()

    def _events(self) -> None:
        while (event := self._reader.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            if isinstance(event, h11.Request):
                self._begin(event)
            elif isinstance(event, h11.Data):
                assert self.current is not None
                self._body += event.data
                assert self.current.body.startswith(self._body), "bytes of another request"
            elif isinstance(event, h11.EndOfMessage):
                assert self.current is not None
                self.whole = True
                assert self._body == self.current.body, "a short request that looks whole"
        if self.whole:
            behind = self._reader.trailing_data[0]
            assert not behind, f"{behind!r} while a request is being served"

    def _begin(self, head: h11.Request) -> None:
        assert self.current is None
        assert not self.last, "a request on a connection that was given up"
        asked = self.book[int(head.target.rpartition(b"/")[2])]
        assert asked.method == head.method
        for other in asked.seen:
            assert other.link.lost or other.link.aborted, "one request at two places at once"
            assert asked.method in SAFE, "sent again, and may have been acted on"
            assert not asked.body, "sent again with a body"
            assert not asked.upgrade, "an upgrade was sent again"
            assert not other.began, "sent again after an answer"
            assert other.served, "sent again from a new connection"
        asked.seen.append(self)
        self.current, self.whole, self._body, self.began = asked, False, b"", False

    def prepare(self, kind: str, size: int, places: Sequence[int], *, keep: bool) -> None:
        """Write an answer, to be sent in pieces."""
        asked = self.current
        assert asked is not None
        asked.answer = body = token(b"u", asked.number) * size
        field = b"x-number: %d\r\n" % asked.number
        if not keep:
            field += b"connection: close\r\n"
        first = b"HTTP/1.1 200 OK\r\n" + field
        bare = asked.method == b"HEAD"
        sent = b"" if bare else body
        octets = first + b"content-length: %d\r\n\r\n" % len(body) + sent
        if kind == "switch" and not asked.upgrade:
            kind = "counted"
        self.ends = not keep
        self.until_close = kind == "close"
        if kind == "chunked":
            pieces = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in cut(body, places) if p)
            octets = first + b"transfer-encoding: chunked\r\n\r\n"
            octets += b"" if bare else pieces + b"0\r\n\r\n"
        elif kind == "close":
            octets = first + b"\r\n" + sent
            self.ends = True
        elif kind == "interim":
            octets = b"HTTP/1.1 103 Early Hints\r\nx-number: 0\r\n\r\n" + octets
        elif kind == "none":
            asked.answer = b""
            octets = b"HTTP/1.1 204 No Content\r\n" + field + b"\r\n"
        elif kind == "broken":
            octets = b"HTTP/1.1 2OO OK\r\n" + field + b"\r\n"
        elif kind == "switch":
            asked.answer = b""
            octets = b"HTTP/1.1 101 Switching Protocols\r\n" + field
            octets += b"connection: upgrade\r\nupgrade: websocket\r\n\r\n"
        self.last = self.last or self.ends or kind in ("longer", "broken", "switch")
        if kind == "switch":
            self.ends = False
            self.script = deque([octets, b""])
        else:
            self.script = deque(cut(octets, places))
        if kind == "longer":
            # With the end, in one piece: what comes after the next request has gone out
            # cannot be told from its answer, by nobody.
            self.script[-1] += STRAY

    def step(self) -> None:
        """Send the next piece of the answer."""
        piece = self.script.popleft()
        if not piece:
            self._switch()
            return
        self.began = True
        if not self.script and self.current is not None:
            self.current.finished = True
        self.link.send(piece)
        if not self.script and self.current is not None:
            self._finish()

    def _switch(self) -> None:
        self.tunnel, self.current = self.current, None
        early = self._reader.trailing_data[0]
        self._through += early
        assert self.tunnel is not None
        check_stream(self._through, b"c", self.tunnel.number)

    def _finish(self) -> None:
        self.served += 1
        if self.ends:
            self.link.end(clean=True)
        if self.whole and not self.last:
            self._reader.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
            self._reader.send(h11.EndOfMessage())
            self._reader.start_next_cycle()
            self.current = None
            self._events()
        else:
            # Answered before the request was whole: nothing else may come after it.
            self.last = True
            if self.whole:
                self.current = None

    def stray(self) -> None:
        """Send what nobody asked for."""
        self.last = True
        self.link.send(STRAY)

    def speak(self, count: int) -> None:
        """Send through the tunnel."""
        assert self.tunnel is not None
        self.link.send(token(b"u", self.tunnel.number) * count)


@attrs.define(eq=False)
class Client:
    """A client's end of one connection."""

    link: Link
    asked: deque[Asked] = attrs.Factory(deque)
    """Requests that wait for their answers."""
    unsent: deque[bytes] = attrs.Factory(deque)
    old: bool = False
    """It speaks HTTP/1.0, and asks once."""
    tunnel: Asked | None = None
    answered: int = 0
    done: bool = False
    """It asks nothing more."""
    slow: bool = False
    """It takes nothing for now."""
    _through: bytes = b""
    _reader: h11.Connection | None = None
    _head: h11.Response | None = None
    _body: bytes = b""

    def ask(self, asked: Asked, framing: str, places: Sequence[int]) -> None:
        """Write a request, to be sent in pieces."""
        self.asked.append(asked)
        version = b"1.0" if self.old else b"1.1"
        head = b"%b /n/%d HTTP/%b\r\nhost: app.example.com\r\n" % (
            asked.method,
            asked.number,
            version,
        )
        body = asked.body
        if asked.upgrade:
            head += HANDSHAKE
        elif framing == "chunked" and not self.old:
            head += b"transfer-encoding: chunked\r\n"
            body = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in cut(body, places) if p)
            body += b"0\r\n\r\n"
        elif body:
            head += b"content-length: %d\r\n" % len(body)
            if framing == "expect":
                head += b"expect: 100-continue\r\n"
        self.unsent.extend(cut(head + b"\r\n" + body, places))
        self.done = self.done or self.old or asked.upgrade

    def send(self) -> None:
        """Send the next piece."""
        piece = self.unsent.popleft()
        if self.link.open:
            self.link.send(piece)

    def read(self) -> None:
        """Take what came."""
        octets: bytes | None = self.link.take()
        while octets is not None:
            if self.tunnel is not None:
                self._through += octets
                check_stream(self._through, b"u", self.tunnel.number)
                return
            # In peace, and not broken off: what ends with it is whole.
            peace = self.link.ending and not self.link.aborted
            if not octets and not (peace and self._head is not None):
                return
            octets = self._take(octets, peace=peace)

    def _take(self, octets: bytes, *, peace: bool) -> bytes | None:
        """Read on in the present answer; return what lies behind it, None while it lasts."""
        assert self.asked, f"{octets!r} came unasked"
        reader = self._reader
        if reader is None:
            reader = self._reader = h11.Connection(h11.CLIENT)
            fields = [("host", "a")]
            if self.asked[0].upgrade:
                fields += [("connection", "upgrade"), ("upgrade", "websocket")]
            reader.send(h11.Request(method=self.asked[0].method, target="/", headers=fields))
            reader.send(h11.EndOfMessage())
            self._head, self._body = None, b""
        if octets:
            reader.receive_data(octets)
        if peace:
            reader.receive_data(b"")
        return self._events(reader)

    def _events(self, reader: h11.Connection) -> bytes | None:
        asked = self.asked[0]
        while (event := reader.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            if isinstance(event, h11.InformationalResponse):
                if event.status_code == 101:
                    self._check_number(event.headers.raw_items(), asked)
                    self.tunnel = asked
                    return bytes(reader.trailing_data[0])
            elif isinstance(event, h11.Response):
                self._head = event
                self._check_number(event.headers.raw_items(), asked)
            elif isinstance(event, h11.Data):
                self._body += event.data
                if self._ours is False:
                    assert asked.answer.startswith(self._body), "bytes of another answer"
            elif isinstance(event, h11.EndOfMessage):
                return self._end(reader, asked)
            else:
                break
        return None

    @property
    def _ours(self) -> bool | None:
        if self._head is None:
            return None
        return not any(name == b"x-number" for name, _ in self._head.headers)

    def _check_number(self, fields: Sequence[tuple[bytes, bytes]], asked: Asked) -> None:
        numbers = [value for name, value in fields if name.lower() == b"x-number"]
        assert numbers in ([], [b"%d" % asked.number]), f"{numbers} for {asked.number}"

    def _end(self, reader: h11.Connection, asked: Asked) -> bytes:
        if self._ours:
            assert self._head is not None
            assert self._head.status_code in (400, 408, 502, 503, 504), self._head
        else:
            wanted = b"" if asked.method == b"HEAD" else asked.answer
            assert self._body == wanted, "a short answer that looks whole"
            assert asked.finished, "an answer that its upstream has not finished"
        self.asked.popleft()
        self.answered += 1
        self._reader = self._head = None
        if reader.our_state is h11.MUST_CLOSE or self.old:
            self.done = True
        return bytes(reader.trailing_data[0])

    def speak(self, count: int) -> None:
        """Send through the tunnel, or what will be the tunnel if it comes about."""
        asked = self.tunnel
        assert asked is not None
        if self.link.open:
            self.link.send(token(b"c", asked.number) * count)
