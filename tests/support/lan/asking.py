"""Single requests from one host to another, and what came back."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from pathlib import Path

import attrs

from tests.support.lan.hosts import Host


@attrs.frozen
class Page:
    """An answer."""

    status: int
    text: str


def ask(
    host: Host,
    address: tuple[str, int],
    octets: str,
    authority: Path | None = None,
    name: str = "",
) -> Page:
    """
    Send one request and return the answer.

    Args:
        host: from where.
        address: and port.
        octets: the whole request.
        authority: file with the authority to trust; None is plain HTTP.
        name: that the certificate has to be good for.
    """
    with host.connect(*address) as plain:
        if authority is None:
            return _ask(plain, octets)
        context = ssl.create_default_context(cafile=str(authority))
        with context.wrap_socket(plain, server_hostname=name) as secured:
            return _ask(secured, octets)


def _ask(connected: socket.socket, octets: str) -> Page:
    connected.sendall(octets.encode("latin-1"))
    response = http.client.HTTPResponse(connected)
    try:
        response.begin()
        return Page(response.status, response.read().decode())
    finally:
        response.close()


def samples(host: Host, address: tuple[str, int], name: str) -> dict[str, float]:
    """Return the values of a metric by their labels, as they stand in the text for Prometheus."""
    page = ask(host, address, f"GET /metrics HTTP/1.1\r\nHost: {address[0]}\r\n\r\n")
    found = re.findall(rf"^{re.escape(name)}(?:\{{(.*)\}})? (\S+)", page.text, re.MULTILINE)
    return {labels: float(value) for labels, value in found}
