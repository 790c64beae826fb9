"""
The requests: a browser's nine header fields, and who is signed in with which.

They are made here, whole, so that the client does nothing while it measures but send them.
"""

from __future__ import annotations

from typing import Protocol

import attrs

from bench.certificate import DOMAIN

ROUTES = 50
SESSIONS = 1000

_LIKE_A_BROWSER = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    "Accept-Language: en-GB,en;q=0.7,de;q=0.3\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "Referer: https://{host}/documents/overview\r\n"
    "Cookie: {cookie}\r\n"
    "Sec-Fetch-Dest: document\r\n"
    "Sec-Fetch-Mode: navigate\r\n"
    "Sec-Fetch-Site: same-origin\r\n"
)

_OF_THE_APPLICATION = "theme=dark; sid=8f2c1d7e5b9a4c3d"
"""Cookies that every request brings, as one does that comes to an application."""


def host(number: int) -> str:
    """Return the host of a route; there are ``ROUTES``."""
    return f"r{number % ROUTES}.{DOMAIN}"


def request(host: str, path: str, cookie: str = "") -> bytes:
    """Return a request; ``cookie`` is the one that signs in, as ``name=value``."""
    cookies = f"{_OF_THE_APPLICATION}; {cookie}" if cookie else _OF_THE_APPLICATION
    fields = _LIKE_A_BROWSER.format(host=host, cookie=cookies)
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode("ascii")


class Traffic(Protocol):
    """What the client sends on one rung."""

    @property
    def signed_in(self) -> bool:
        """Return whether its requests bring sessions."""

    @property
    def once(self) -> bool:
        """Return whether no request of it may be sent twice."""

    def requests(self, count: int) -> list[bytes]:
        """Return requests for one load: ``count`` where none may come twice."""

    def one(self, path: str, *, signed_in: bool) -> tuple[str, bytes]:
        """Return the host and the bytes of a request for a path of the upstream's."""


@attrs.frozen
class Anonymous:
    """One request, over and over."""

    host: str
    signed_in: bool = attrs.field(default=False, init=False)
    once: bool = attrs.field(default=False, init=False)

    def requests(self, count: int) -> list[bytes]:
        """Return it."""
        return [request(self.host, "/documents/4711")]

    def one(self, path: str, *, signed_in: bool) -> tuple[str, bytes]:
        """Return it for another path."""
        return self.host, request(self.host, f"/{path}")
