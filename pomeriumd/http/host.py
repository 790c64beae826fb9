"""
The one spelling of a host that rules, cookies and upstream see.

Source: RFC 9110 section 4.2.3 and 7.2, RFC 3986 section 3.2.2.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address

from pomeriumd.errors import BadMessage

_NAME_SIZE = 253
"""Bytes of the longest name that DNS can carry."""

_LAST_PORT = 65_535

_AUTHORITY = re.compile(
    rb"(?:(?P<name>[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?)\.?|\[(?P<six>[0-9A-Fa-f:.]{2,45})\])"
    rb"(?::(?P<port>[0-9]{1,5}))?"
)

_LONG_OR_EMPTY_LABEL = re.compile(rb"\.\.|[^.]{64}")


@lru_cache(maxsize=1024)
def authority(value: bytes) -> tuple[bytes, int | None]:
    """
    Read the value of a Host field.

    Only ASCII letters, digits, ``-``, ``_`` and ``.`` make a name: whatever else could
    stand there (``/``, ``?``, ``#``, ``@``, ``%``, Unicode) is what other readers cut or
    fold in another way.

    Returns:
        The host in lower case with one trailing dot off, an IPv6 address in brackets and
        in its shortest form; and the port, None if none was named.

    Raises:
        BadMessage: it is no host with an optional port.
    """
    if not value:
        raise BadMessage("Host is empty")
    parts = _AUTHORITY.fullmatch(value)
    if parts is None:
        raise BadMessage("Host is not a host name or address with an optional port")
    port = int(parts["port"]) if parts["port"] else None
    if port is not None and not 0 < port <= _LAST_PORT:
        raise BadMessage(f"Host names port {port}, want 1 to {_LAST_PORT}")
    if parts["six"]:
        return _address(parts["six"]), port
    name: bytes = parts["name"].lower()
    if len(name) > _NAME_SIZE or _LONG_OR_EMPTY_LABEL.search(name):
        raise BadMessage("Host has an empty or overlong label")
    return name, port


def _address(text: bytes) -> bytes:
    """Return an IPv6 address in brackets, in the one form of RFC 5952."""
    try:
        return b"[" + IPv6Address(text.decode("ascii")).compressed.encode("ascii") + b"]"
    except AddressValueError as error:
        raise BadMessage("Host is not an IPv6 address") from error
