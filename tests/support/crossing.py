"""Messages on their way through a whole daemon, and what comes out at the other side."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from pomeriumd.daemon.access_log import AccessEntry
from tests.support.readers import Message, h11_requests
from tests.support.rig import Rig
from tests.support.serving import MemoryClient
from tests.support.settings import route
from tests.support.upstreams import MemoryServer

PUBLIC = route(allow_public_unauthenticated_access=True, allow_websockets=True)

MARK = 299
"""The status of an upstream's answers here; no other one is ever given."""


def marked(message: Message) -> bytes:
    """Return a short answer to a request."""
    body = b"" if message.start[0] == b"HEAD" else b"ok"
    return b"HTTP/1.1 %d Marked\r\nContent-Length: 2\r\n\r\n%b" % (MARK, body)


@attrs.frozen
class Crossed:
    """What became of a client's bytes."""

    forwarded: list[bytes]
    """What each connection to the upstream was sent, in the order of their opening."""
    answered: bytes
    """What the client was sent."""
    entries: list[AccessEntry]
    closing: bool
    """Our side ended the client's connection in peace."""
    aborted: bool
    """Our side broke it off."""

    @property
    def kinds(self) -> list[tuple[int, str]]:
        """Return status and error of each line of the log."""
        return [(entry.status, entry.error) for entry in self.entries]


@attrs.define(eq=False)
class Crossing:
    """A daemon that serves one example after another; each with connections of its own."""

    rig: Rig = attrs.Factory(lambda: Rig(PUBLIC))

    def requests(
        self, pieces: Sequence[bytes], answer: Callable[[Message], bytes] = marked
    ) -> Crossed:
        """Send pieces of requests; the upstream answers each that is whole, at once."""
        client = self.rig.connect()
        got: dict[MemoryServer, bytes] = {}
        answered: dict[MemoryServer, int] = {}
        waiting = list(pieces)
        while waiting and client.reading and not (client.closing or client.aborted):
            client.sends(waiting.pop(0))
            self._answer(got, answered, answer)
        return self._end(client, list(got.values()))

    def _answer(
        self,
        got: dict[MemoryServer, bytes],
        answered: dict[MemoryServer, int],
        answer: Callable[[Message], bytes],
    ) -> None:
        """Answer until nothing more comes."""
        moved = True
        while moved:
            moved = False
            for server in tuple(self.rig.upstreams.opened):
                got[server] = got.get(server, b"") + server.got()
                whole = h11_requests(got[server]).whole
                for message in whole[answered.get(server, 0) :]:
                    answered[server] = answered.get(server, 0) + 1
                    moved = True
                    server.sends(answer(message))

    def answer(
        self, request: bytes, pieces: Sequence[bytes], *, ends: bool, clean: bool = True
    ) -> Crossed:
        """Send a whole request, and answer it in pieces; then perhaps close."""
        client = self.rig.connect()
        client.sends(request)
        (server,) = self.rig.upstreams.opened
        sent = server.got()
        for piece in pieces:
            if not server.gone:
                server.sends(piece)
        if ends and not server.gone:
            server.closes(clean=clean)
            self.rig.upstreams.opened.remove(server)
        return self._end(client, [sent])

    def _end(self, client: MemoryClient, forwarded: list[bytes]) -> Crossed:
        answered, closing, aborted = client.got(), client.closing, client.aborted
        client.leaves()
        for server in tuple(self.rig.upstreams.opened):
            server.closes()
        self.rig.upstreams.opened.clear()
        entries = list(self.rig.logged)
        self.rig.logged.clear()
        return Crossed(forwarded, answered, entries, closing, aborted)
