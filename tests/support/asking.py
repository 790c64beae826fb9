"""A daemon in memory whose connections begin with a real handshake, client certificates and all."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL

from pomeriumd.net.server import ServerConnection
from pomeriumd.settings.model import DownstreamMTLS, RouteSettings
from tests.support.certificates import Issued, leaf
from tests.support.clients import people, shake_hands
from tests.support.rig import Got, Rig, parse
from tests.support.serving import MemoryClient

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def mtls(**more: Any) -> DownstreamMTLS:
    """Return settings that trust people()."""
    return DownstreamMTLS(**({"ca": people().pem} | more))


class AskingRig(Rig):
    """A daemon that ends TLS: what it asks of clients, and what they showed, is OpenSSL's."""

    def __init__(self, *routes: RouteSettings, **more: Any) -> None:
        super().__init__(*routes, **(self._usual() | more))

    def reload(self, *routes: RouteSettings, **more: Any) -> None:
        """Put new settings in force."""
        super().reload(*routes, **(self._usual() | more))

    def _usual(self) -> dict[str, Any]:
        pairs = (leaf("*.example.com").pair(),)
        return {"insecure_server": False, "certificates": pairs, "downstream_mtls": mtls()}

    def meet(
        self,
        name: bytes | None,
        showing: Issued | None = None,
        *chain: Issued,
        version: int = SSL.TLS1_3_VERSION,
    ) -> MemoryClient:
        """Open a connection as a client that wants this name, and shows this if it is asked."""
        store = self.front.built.store
        assert store is not None
        met = shake_hands(store, name, showing, *chain, version=version)
        return self.connect_with(secure=True, shown=met.shown)

    def connect_with(self, **facts: Any) -> MemoryClient:
        """Open a connection whose transport knows these."""
        client = MemoryClient(ServerConnection(self.front))
        for fact, value in facts.items():
            setattr(client.transport, fact, value)
        client.protocol.makeConnection(client.transport)
        return client

    def ask(self, client: MemoryClient, octets: bytes) -> Got:
        """Send a request, let the application answer if it gets it, and return the answer."""
        before = len(self.upstreams.opened)
        client.sends(octets)
        reached = client.got()
        if reached:
            return parse(reached)
        assert len(self.upstreams.opened) > before or self.upstreams.opened
        self.asked = self.upstreams.last.got()
        self.upstreams.last.sends(ANSWER)
        return parse(client.got())
