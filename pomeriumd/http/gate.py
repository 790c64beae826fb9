"""
Which request heads pass, one rule a function.

llhttp has read the fields already: names are tokens, values hold no control but a tab, no
line is folded. It lets through what two readers could still read in two ways; that is
what is refused here. HTTP/2 will come through the same rules.

Source: RFC 9112 (message syntax), RFC 9110 (semantics).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from pomeriumd.errors import (
    BadMessage,
    ClientError,
    HeadTooLarge,
    MethodNotAllowed,
    NotSupported,
    VersionNotSupported,
)
from pomeriumd.http.events import Field, Request
from pomeriumd.http.fields import MISSPELT, ONLY_ONCE, clients_options, end_to_end
from pomeriumd.http.host import authority
from pomeriumd.http.limits import Limits
from pomeriumd.http.notes import Notes
from pomeriumd.http.target import canonical

METHODS = frozenset(
    b"""
    ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT COPY DELETE GET HEAD LABEL LINK LOCK MERGE
    MKACTIVITY MKCALENDAR MKCOL MKREDIRECTREF MKWORKSPACE MOVE OPTIONS ORDERPATCH PATCH POST
    PROPFIND PROPPATCH PUT QUERY REBIND REPORT SEARCH UNBIND UNCHECKOUT UNLINK UNLOCK UPDATE
    UPDATEREDIRECTREF VERSION-CONTROL
    """.split()
)
"""Methods that are passed on: those of HTTP and WebDAV that llhttp knows."""

_REFUSED_METHODS = frozenset({b"CONNECT", b"TRACE"})
"""CONNECT would open a tunnel past the policy. TRACE would show to a page what we add for
the upstream alone, the identity assertion among it."""

_DIGITS = 18
"""Digits of the longest Content-Length: it then fits every reader's 64 bits."""

_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")

_ABSOLUTE = re.compile(rb"(https?)://([^/?#]*)([^#]*)", re.IGNORECASE)

_PORTS = {b"http": 80, b"https": 443}

_WEBSOCKET_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")

_NOTHING: frozenset[bytes] = frozenset()


class RequestLine(NamedTuple):
    """What a request line says, once it has passed."""

    method: bytes
    target: bytes
    http11: bool
    """Else HTTP/1.0."""
    path: bytes | None
    """Canonical, of a target in origin form; None for one that the fields have a say in."""
    query: bytes | None

    def __repr__(self) -> str:
        """Say which path, and nothing of the query: there are codes and tokens in some."""
        return f"RequestLine({self.method!r}, {self.path!r})"


class Judged(NamedTuple):
    """What the fields of a head say, once they have passed."""

    fields: list[Field]
    """The end-to-end ones."""
    host: bytes
    port: int | None
    length: int | None
    upgrade: bytes | None
    """For a GET; no other method upgrades anything."""
    persists: bool
    """Whether the connection may carry another request after this one."""
    expects_continue: bool
    notes: Notes

    def __repr__(self) -> str:
        """Say which host, and nothing of the fields: there are credentials among them."""
        return f"Judged({self.host!r}, {len(self.fields)} fields)"


def judge(fields: list[Field], *, http11: bool) -> Judged:
    """
    Pass a head's fields, or refuse them.

    Args:
        fields: all of them in wire order, names in lower case.
        http11: whether the request line said HTTP/1.1, else HTTP/1.0.

    Raises:
        BadMessage: a rule is broken.
    """
    only = by_name(fields)
    host, port = host_of(only)
    length = body_length(only, http11=http11)
    options = clients_options(only[b"connection"]) if b"connection" in only else _NOTHING
    upgrade = None
    if b"upgrade" in options and b"close" not in options and http11 and length == 0:
        upgrade = upgrade_of(only)
    expects = b"expect" in only and expectation(only[b"expect"], http11=http11)
    return Judged(
        end_to_end(fields),
        host,
        port,
        length,
        upgrade,
        http11 and b"close" not in options,
        expects and length != 0,
        Notes(),
    )


def admit(line: RequestLine, judged: Judged) -> Request:
    """
    Make a request of a request line and the fields behind it.

    Raises:
        BadMessage: the target is not one, or names another host than the fields.
    """
    method, target, _, path, query = line
    fields, host, port, length, upgrade, _, _, _ = judged
    if path is None:
        path, query = target_of(target, method, host, port)
    if method != b"GET":
        upgrade = None
    return Request(method, host, port, path, query, fields, length, upgrade)


def request_line(line: bytes, limits: Limits) -> RequestLine:
    """
    Split a request line, and bring its path into the one form.

    Raises:
        ClientError: it is refused; the class says the status.

    Source: RFC 9112 section 3: single spaces, and no white space elsewhere.
    """
    parts = line.split(b" ")
    if len(parts) != 3:  # noqa: PLR2004 - method, target, version
        raise BadMessage(f"request line of {len(parts)} words, want 3")
    method, target, version = parts
    if len(target) > limits.target_size:
        raise HeadTooLarge(f"target of {len(target)} bytes, at most {limits.target_size}")
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        if _VERSION.fullmatch(version):
            raise VersionNotSupported(f"{version.decode('ascii')}, want HTTP/1.1 or HTTP/1.0")
        raise BadMessage("request line does not end in an HTTP version")
    if method not in METHODS:
        raise _refused_method(method)
    path, query = canonical(target) if target.startswith(b"/") else (None, None)
    return RequestLine(method, target, version == b"HTTP/1.1", path, query)


def _refused_method(method: bytes) -> ClientError:
    """Say why a method does not pass."""
    if method in _REFUSED_METHODS:
        return MethodNotAllowed(f"method {method.decode('ascii')}")
    if re.fullmatch(rb"[A-Z-]{1,32}", method):
        return NotSupported(f"method {method.decode('ascii')}")
    return BadMessage("method is not a word in upper case")


def by_name(fields: list[Field]) -> dict[bytes, bytes]:
    """
    Index the fields by name.

    Raises:
        BadMessage: a name of ``ONLY_ONCE`` stands there twice (H8), or one is spelled as a
            backend might read it and we do not (H4).
    """
    only = dict(fields)
    if not MISSPELT.isdisjoint(only):
        name = min(MISSPELT.intersection(only))
        raise BadMessage(f"field name {name.decode('ascii')}, want hyphens")
    if len(only) != len(fields):
        seen = set()
        for name, _ in fields:
            if name in seen and name in ONLY_ONCE:
                raise BadMessage(f"{name.decode('ascii')} occurs twice")
            seen.add(name)
        if b"connection" in only:
            values = [value for name, value in fields if name == b"connection"]
            only[b"connection"] = b",".join(values)
    return only


def readable(fields: list[Field]) -> None:
    """Refuse values that are not UTF-8: readers that decode disagree on what they say (H9)."""
    for name, value in fields:
        if not value.isascii():
            try:
                value.decode("utf-8")
            except UnicodeDecodeError:
                raise BadMessage(f"{name.decode('ascii')} is not UTF-8") from None


def host_of(only: dict[bytes, bytes]) -> tuple[bytes, int | None]:
    """
    Read the Host field, which every request has, of HTTP/1.0 too: a route hangs on it.

    Source: RFC 9112 section 3.2.
    """
    value = only.get(b"host")
    if value is None:
        raise BadMessage("no Host")
    return authority(value)


def body_length(only: dict[bytes, bytes], *, http11: bool) -> int | None:
    """
    Return the size of the body in bytes, or None if it is chunked.

    Source: RFC 9112 section 6.3, without its leniencies: nothing but one Content-Length of
    digits, or one Transfer-Encoding that is exactly ``chunked``, and never both.
    """
    coding, length = only.get(b"transfer-encoding"), only.get(b"content-length")
    if coding is not None:
        if length is not None:
            raise BadMessage("Transfer-Encoding beside Content-Length")
        if not http11:
            raise BadMessage("Transfer-Encoding in HTTP/1.0")
        if coding.lower() != b"chunked":
            raise BadMessage("Transfer-Encoding is not chunked")
        return None
    if length is None:
        return 0
    if not length.isdigit() or len(length) > _DIGITS:
        raise BadMessage(f"Content-Length is not a number of at most {_DIGITS} digits")
    return int(length)


def expectation(value: bytes, *, http11: bool) -> bool:
    """
    Return whether the client waits for 100 (Continue).

    Source: RFC 9110 section 10.1.1: what HTTP/1.0 expects is ignored.
    """
    if value.lower() != b"100-continue":
        raise BadMessage("Expect is not 100-continue")
    return http11


def upgrade_of(only: dict[bytes, bytes]) -> bytes | None:
    """
    Return b"websocket" if the client properly asks for it.

    Anything else (h2c, a key that is none) makes an ordinary request of it, as the RFC
    allows: then nothing of it is taken for a tunnel by anybody.

    Source: RFC 6455 section 4.1, RFC 9110 section 7.8.
    """
    asked = (
        only.get(b"upgrade", b"").lower() == b"websocket"
        and only.get(b"sec-websocket-version") == b"13"
        and _WEBSOCKET_KEY.fullmatch(only.get(b"sec-websocket-key", b"")) is not None
    )
    return b"websocket" if asked else None


def target_of(
    target: bytes, method: bytes, host: bytes, port: int | None
) -> tuple[bytes, bytes | None]:
    """
    Return canonical path and query of a target in absolute or asterisk form.

    Source: RFC 9112 section 3.2. Its absolute form overrules Host; here they have to agree.
    """
    if target == b"*" and method == b"OPTIONS":
        return target, None
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise BadMessage("target is neither a path nor a whole URL")
    scheme, named, rest = absolute.groups()
    default = _PORTS[scheme.lower()]
    there, port_there = authority(named)
    if (there, port_there or default) != (host, port or default):
        raise BadMessage("target and Host name different hosts")
    return canonical(rest if rest.startswith(b"/") else b"/" + rest)
