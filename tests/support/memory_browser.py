"""A browser in memory, between a Rig and a MemoryProvider: it keeps cookies and follows."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urljoin, urlsplit

import attrs

from tests.support.memory_provider import MemoryProvider
from tests.support.rig import NAVIGATION, Got, Rig, parse, request
from tests.support.settings import ISSUER

REDIRECTS = 20


@attrs.define(eq=False)
class Browser:
    """One profile."""

    rig: Rig
    provider: MemoryProvider
    jars: dict[str, dict[bytes, tuple[bytes, float]]] = attrs.field(factory=dict, init=False)
    """Values by host and name, and their ends by the rig's clock: a browser's is its own."""
    before: Callable[[str], None] = attrs.field(default=lambda _: None, init=False)
    """Is told each address before it is asked."""
    at: str = attrs.field(default="", init=False)
    """The address of the last page."""
    way: list[str] = attrs.field(factory=list, init=False)
    """All addresses on the way to it."""

    def open(self, url: str = "https://app.example.com/", *, wait: float = 0) -> Got:
        """
        Open a page, and follow where it leads; at the provider, sign in.

        Args:
            url: where to begin.
            wait: seconds that a page of ours may take.
        """
        self.way = []
        for _ in range(REDIRECTS):
            self.at = url
            self.way.append(url)
            if url.startswith(ISSUER):
                url = self.provider.sign_in(url)
                continue
            got = self.ask(url, *NAVIGATION, wait=wait)
            if got.status != 302:
                return got
            url = urljoin(url, got.field(b"location").decode("ascii"))
        raise AssertionError(f"went in circles: {self.way}")

    def script(self, url: str = "https://app.example.com/data") -> Got:
        """Ask as a page's script does."""
        return self.ask(url, (b"accept", b"application/json"))

    def ask(self, url: str, *fields: tuple[bytes, bytes], wait: float = 0) -> Got:
        """Ask one thing; an upstream that is reached answers with 200."""
        parts = urlsplit(url)
        host = str(parts.hostname)
        jar = self.jars.setdefault(host, {})
        self.before(url)
        clock = self.rig.clock.seconds()
        kept = [(name, value) for name, (value, end) in jar.items() if clock < end]
        cookie = b"; ".join(b"%b=%b" % pair for pair in kept)
        sent = [*fields, (b"cookie", cookie)] if cookie else list(fields)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        client = self.rig.connect()
        opened = len(self.rig.upstreams.opened)
        client.sends(request(target.encode("ascii"), *sent, host=host.encode("ascii")))
        octets = client.got()
        if len(self.rig.upstreams.opened) > opened:
            # One connection for each, so that none is met that idled for too long.
            head = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"
            self.rig.upstreams.last.sends(head)
        elif not octets:
            self.rig.pass_time(wait)
        octets += client.got()
        assert octets, f"nobody answers for {url}"
        client.leaves()
        got = parse(octets)
        for field in got.all(b"set-cookie"):
            pair, *attributes = field.split(b"; ")
            name, _, value = pair.partition(b"=")
            [age] = [one[8:] for one in attributes if one.startswith(b"Max-Age=")]
            jar[name] = (value, self.rig.clock.seconds() + int(age))
        return got
