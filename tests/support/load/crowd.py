"""
Many clients that behave badly, a program: ``crowd PORT CA WHAT COUNT SECONDS [SIZE]``.

Each of ``COUNT`` clients does ``WHAT``; floods begin anew, on a connection of their own,
until ``SECONDS`` are over. It says how their connections ended, and how long one went on
at the most. What the ways are called says what they do:

==================  ==================================================================
``fields``          header fields without end
``line``            a request line without end
``own-body``        a chunked body without end for a page of ours
``own-counted``     a body of a terabyte for a page of ours
``extensions``      chunks of one byte, each with an extension
``extension``       one chunk extension without end
``trailers``        trailers without end
``pipeline``        requests without end, of which no answer is read
``shakes``          a handshake that does not go on after its first byte
``slow-head``       a head, one byte a second
``slow-body``       a body of SIZE bytes, one byte a second
``stall``           asks for SIZE bytes, and reads none
``stall-and-go``    the same, and after SECONDS takes all of it
``sip``             the same, and reads a little all the while
``deaf``            sends SIZE bytes to an upstream that reads none
``slow-answer``     asks for SIZE bytes that come one a second
``half-upstream``   asks an upstream that ends its own side
``idle``            one request, and then nothing
``half``            a request, and the end of the client's own side of the connection
``half-body``       half a body, and that end
==================  ==================================================================
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

from tests.support.load.stream import blocks, checksum
from tests.support.load.wire import Broken, Reader, Sum, Wire, dial, request, secured

SIP = 10_000
"""Bytes that a slow reader takes at a time."""

HANG = 600.0
"""Seconds after which a connection that goes on counts as one without end."""


def _fields() -> Iterator[bytes]:
    yield request("GET", "/small")[:-2]
    while True:
        yield b"x-flood: %s\r\n" % (b"a" * 900) * 16


def _line() -> Iterator[bytes]:
    yield b"GET /"
    while True:
        yield b"a" * 16_000


def _own_body() -> Iterator[bytes]:
    yield request("POST", "/ping", "Transfer-Encoding: chunked")
    while True:
        yield b"4000\r\n" + b"b" * 0x4000 + b"\r\n"


def _own_counted() -> Iterator[bytes]:
    yield request("POST", "/ping", f"Content-Length: {10**12}")
    while True:
        yield b"b" * 16_000


def _extensions() -> Iterator[bytes]:
    yield request("PUT", "/up", "Transfer-Encoding: chunked")
    while True:
        yield (b"1;%s\r\nx\r\n" % (b"e" * 200)) * 64


def _extension() -> Iterator[bytes]:
    yield request("PUT", "/up", "Transfer-Encoding: chunked") + b"1;"
    while True:
        yield b"e" * 16_000


def _trailers() -> Iterator[bytes]:
    yield request("PUT", "/up", "Transfer-Encoding: chunked") + b"0\r\n"
    while True:
        yield b"x-flood: %s\r\n" % (b"a" * 900) * 16


def _pipeline() -> Iterator[bytes]:
    while True:
        yield request("GET", "/down?size=60000&kind=counted") * 100


FLOODS: dict[str, Callable[[], Iterator[bytes]]] = {
    "fields": _fields,
    "line": _line,
    "own-body": _own_body,
    "own-counted": _own_counted,
    "extensions": _extensions,
    "extension": _extension,
    "trailers": _trailers,
    "pipeline": _pipeline,
}


class Crowd:
    """All clients, and what became of them."""

    def __init__(self, port: int, authority: str, seconds: float, size: int) -> None:
        self.port, self.authority = port, authority
        self.seconds, self.size = seconds, size
        self.ends = time.perf_counter() + seconds
        self.outcomes: Counter[str] = Counter()
        self.longest = 0.0
        self.shortest = HANG
        self.ready = threading.Semaphore(0)
        self._lock = threading.Lock()

    def dial(self) -> Wire:
        """Connect."""
        return dial(self.port, self.authority, HANG)

    def dial_narrow(self) -> Wire:
        """Connect, with little room in our kernel: what is not read is held by the proxy."""
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        plain.settimeout(HANG)
        plain.connect(("127.0.0.1", self.port))
        return secured(plain, self.authority)

    def one(self, way: Callable[[], None]) -> None:
        """Be one of the crowd; one that did not even connect is counted, and not waited for."""
        began = time.perf_counter()
        try:
            way()
        except OSError as error:
            self.ended(type(error).__name__, began)
        finally:
            self.ready.release()

    def ended(self, how: str, began: float) -> None:
        """Count the end of a connection."""
        took = time.perf_counter() - began
        with self._lock:
            self.outcomes[how] += 1
            self.longest = max(self.longest, took)
            self.shortest = min(self.shortest, took)

    def flood(self, pieces: Callable[[], Iterator[bytes]], *, reads: bool) -> None:
        """Flood, one connection after the other, until the time is over."""
        while time.perf_counter() < self.ends:
            began = time.perf_counter()
            try:
                wire = self.dial() if reads else self.dial_narrow()
            except OSError:
                self.ended("not connected", began)
                continue
            with wire:
                self.ended(self.pour(wire, pieces(), reads=reads), began)

    def pour(self, wire: Wire, pieces: Iterator[bytes], *, reads: bool) -> str:
        """Pour until the other side has had enough; return the status that it gave, if any."""
        got = b""
        over = False
        wire.setblocking(False)
        pending = memoryview(next(pieces))
        while not over:
            try:
                if not pending:
                    pending = memoryview(next(pieces))
                pending = pending[wire.send(pending) :]
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError, BlockingIOError):
                # One that never reads is let go when the time is over.
                left = self.ends - time.perf_counter()
                if not reads and left <= 0:
                    return "let go"
                wait = HANG if reads else left
                if not any(select.select([wire] if reads else [], [wire], [], wait)):
                    return "endless" if reads else "let go"
            except OSError:
                over = True
            if reads:
                with contextlib.suppress(OSError):
                    got += wire.recv(4096)
        with contextlib.suppress(OSError):
            while piece := wire.recv(4096):
                got += piece
        return got[9:12].decode() if got.startswith(b"HTTP/1.1 ") else "cut"

    def drip(self, octets: bytes, *, first: int = 0) -> None:
        """Send one byte a second, and say how the connection ended."""
        began = time.perf_counter()
        with self.dial() as wire:
            self.ready.release()
            wire.sendall(octets[:first])
            wire.settimeout(1.0)
            got = b""
            for place in range(first, len(octets)):
                try:
                    wire.sendall(octets[place : place + 1])
                    got = wire.recv(4096)
                except TimeoutError:
                    continue  # the second is over
                except OSError:
                    pass
                break  # an answer in between, or the end, is the end of it
            wire.settimeout(HANG)
            self.ended(outcome(wire, got), began)

    def sip(self, reader: Reader, found: Sum) -> None:
        """Read 100 KB a second until the time is over."""
        pause = threading.Event()
        while time.perf_counter() < self.ends:
            pause.wait(0.1)
            reader.exactly(SIP, found)

    def stall(self, *, go: bool, sips: bool = False) -> None:
        """Ask for much and read little or nothing; in the end read it, if that is what to do."""
        began = time.perf_counter()
        with self.dial_narrow() as wire:
            wire.sendall(request("GET", f"/down?size={self.size}&kind=counted"))
            self.ready.release()
            if go:
                reader, found = Reader(wire), Sum()
                try:
                    if sips:
                        reader.head()
                        self.sip(reader, found)
                        reader.exactly(self.size - found.size, found)
                    else:
                        threading.Event().wait(self.seconds)
                        _, fields = reader.head()
                        reader.body(fields, found)
                except (OSError, Broken):
                    self.ended("cut", began)
                    return
                whole = found.told() == {"size": self.size, "sha256": checksum(self.size)}
                self.ended("whole" if whole else "spoilt", began)
                return
            watched = select.poll()
            watched.register(wire, select.POLLHUP | select.POLLERR | select.POLLRDHUP)
            self.ended("cut" if watched.poll(HANG * 1000) else "endless", began)

    def deaf(self) -> None:
        """Send to somebody who does not read."""
        began = time.perf_counter()
        with self.dial() as wire:
            wire.sendall(request("PUT", "/deaf", f"Content-Length: {self.size}"))
            self.ready.release()
            try:
                for block in blocks(self.size):
                    wire.sendall(block)
            except OSError:
                pass
            self.ended(outcome(wire), began)

    def ask(self, target: str) -> None:
        """Ask, and read the whole answer."""
        began = time.perf_counter()
        with self.dial() as wire:
            wire.sendall(request("GET", target))
            self.ready.release()
            reader, found = Reader(wire), Sum()
            try:
                _, fields = reader.head()
                reader.body(fields, found)
            except (OSError, Broken):
                self.ended("cut", began)
            else:
                self.ended("whole" if found.size == self.size else "spoilt", began)

    def shake(self) -> None:
        """Begin a handshake."""
        began = time.perf_counter()
        with socket.create_connection(("127.0.0.1", self.port), HANG) as wire:
            wire.sendall(b"\x16")
            self.ready.release()
            self.ended(outcome(wire), began)

    def half(self, *, body: bool) -> None:
        """Send, end our side of the connection, and wait for the other one."""
        began = time.perf_counter()
        with self.dial() as wire:
            if body:
                wire.sendall(request("PUT", "/up", "Content-Length: 10") + b"12345")
            else:
                wire.sendall(request("GET", "/small"))
            # The wire's own would also forget about TLS.
            socket.socket.shutdown(wire, socket.SHUT_WR)
            self.ready.release()
            self.ended(outcome(wire), began)

    def idle(self, count: int) -> None:
        """Open connections that have had one answer, and see when they end."""
        watched, open_ = select.poll(), {}
        ask = request("GET", "/small")
        # One context: loading the authority anew would take longer than the handshakes.
        context = ssl.create_default_context(cafile=self.authority)
        for _ in range(count):
            plain = socket.create_connection(("127.0.0.1", self.port), HANG)
            wire = context.wrap_socket(plain, server_hostname="app.example.test")
            wire.sendall(ask)
            got = b""
            while not got.endswith(b"ok"):
                got += wire.recv(4096)
            watched.register(wire, select.POLLIN)
            open_[wire.fileno()] = (wire, time.perf_counter())
        say({"open": len(open_)})
        while open_:
            for number, _ in watched.poll(HANG * 1000):
                wire, began = open_.pop(number)
                watched.unregister(number)
                self.ended(outcome(wire), began)
                wire.close()


def outcome(wire: Wire, got: bytes = b"") -> str:
    """Return the status that comes, or how the connection ends."""
    try:
        # One that is whole is not waited on: the connection would go on, idle.
        while not (got.startswith(b"HTTP/1.1 200") and got.endswith((b"ok", b"}"))):
            piece = wire.recv(4096)
            if not piece:
                break
            got += piece
    except TimeoutError:
        return "endless"
    except OSError:
        return got[9:12].decode() or "cut"
    return got[9:12].decode() or "closed"


def say(what: dict[str, object]) -> None:
    """Say it to who started us."""
    print(json.dumps(what), flush=True)  # noqa: T201  # see above


def main(port: str, authority: str, what: str, count: str, seconds: str, size: str = "1") -> None:
    """Misbehave, and say what came of it."""
    crowd = Crowd(int(port), authority, float(seconds), int(size))
    slow_body = request("PUT", "/up", f"Content-Length: {size}")
    ways: dict[str, Callable[[], None]] = {
        "shakes": crowd.shake,
        "slow-head": lambda: crowd.drip(request("GET", "/small")),
        "slow-body": lambda: crowd.drip(slow_body + b"x" * crowd.size, first=len(slow_body)),
        "stall": lambda: crowd.stall(go=False),
        "stall-and-go": lambda: crowd.stall(go=True),
        "sip": lambda: crowd.stall(go=True, sips=True),
        "deaf": crowd.deaf,
        "slow-answer": lambda: crowd.ask(f"/drip?size={size}"),
        "half-upstream": lambda: crowd.ask("/half"),
        "half": lambda: crowd.half(body=False),
        "half-body": lambda: crowd.half(body=True),
    }
    if what == "idle":
        crowd.idle(int(count))
    else:
        way = ways.get(what) or (lambda: crowd.flood(FLOODS[what], reads=what != "pipeline"))
        threads = [threading.Thread(target=crowd.one, args=[way]) for _ in range(int(count))]
        for thread in threads:
            thread.start()
        if what in ways:
            for _ in threads:
                crowd.ready.acquire(timeout=HANG)
            say({"open": len(threads)})
        for thread in threads:
            thread.join()
    say(
        {
            "outcomes": dict(crowd.outcomes),
            "shortest_s": crowd.shortest,
            "longest_s": crowd.longest,
        }
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
