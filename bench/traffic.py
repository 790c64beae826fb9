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

_OF_THE_APPLICATION = "theme=dark; sid={sid:016x}"
"""Cookies that every request brings, as one does that comes to an application."""


def host(number: int) -> str:
    """Return the host of a route; there are ``ROUTES``."""
    return f"r{number % ROUTES}.{DOMAIN}"


def request(host: str, path: str, *, browser: int = 0, cookie: str = "") -> bytes:
    """
    Return a request.

    Args:
        host: for the Host field.
        path: begins with a slash.
        browser: which of them it comes from. No two have the same cookies, so that no proxy
            gains from a head that it has just seen.
        cookie: the one that signs in, as ``name=value``.
    """
    cookies = _OF_THE_APPLICATION.format(sid=0x8F2C_1D7E_5B9A_0000 + browser)
    if cookie:
        cookies += f"; {cookie}"
    fields = _LIKE_A_BROWSER.format(host=host, cookie=cookies)
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode("ascii")


def document(number: int) -> str:
    """Return a path; the measured requests ask for these."""
    return f"/documents/{number % SESSIONS}"


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
    """Requests of a thousand browsers with which nobody is signed in."""

    host: str
    signed_in: bool = attrs.field(default=False, init=False)
    once: bool = attrs.field(default=False, init=False)

    def requests(self, count: int) -> list[bytes]:
        """Return one of each browser."""
        return [request(self.host, document(number), browser=number) for number in range(SESSIONS)]

    def one(self, path: str, *, signed_in: bool) -> tuple[str, bytes]:
        """Return one for another path."""
        return self.host, request(self.host, f"/{path}")
