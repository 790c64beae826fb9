"""
Readers of URLs, host names, listening addresses and networks.

Pure: a name is brought into its canonical form (lower case, IDNA A-labels), never resolved.

Source: RFC 3986 section 3; RFC 5891 (IDNA 2008) after UTS 46 mapping, as browsers do it.
"""

from __future__ import annotations

import re
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from urllib.parse import unquote

import attrs
import idna

from pomeriumd.settings.fields import shown, text
from pomeriumd.settings.reads import Unfit
from pomeriumd.settings.values import DEFAULT_PORTS, Address, Origin, UpstreamURL

LONGEST_NAME = 253
"""Characters of a host name; RFC 1035 section 2.3.4."""

HIGHEST_PORT = 65_535

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)(\?[^#]*)?(#.*)?", re.DOTALL)
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]{0,10}))?")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")

FROM_NOT_YET = frozenset({"tcp+https", "udp+https", "tcp+http", "ssh"})
"""Schemes of ``from`` that Pomerium has and we do not."""

TO_NOT_YET = frozenset({"h2c", "tcp", "udp", "ssh", "http+unix", "https+unix"})
"""Schemes of ``to`` that Pomerium has and we do not."""


@attrs.frozen
class _Parts:
    scheme: str
    host: str
    port: int
    path: str
    query: str
    fragment: str


def _split(found: object, not_yet: frozenset[str] = frozenset()) -> _Parts:
    """Take an http or https URL apart; its host is canonical, IPv6 without brackets."""
    value = text(found)
    parts = _URL.fullmatch(value)
    if parts is None:
        raise Unfit(f"want http:// or https://, got {_hidden(value)}")
    scheme, authority = parts[1].lower(), parts[2]
    if scheme in not_yet:
        raise Unfit(f"not yet: {scheme}://; want http:// or https://")
    if scheme not in DEFAULT_PORTS:
        raise Unfit(f"want http:// or https://, got {_hidden(value)}")
    if "@" in authority:
        # It may hold a password: not shown.
        raise Unfit("want a URL without user name and password")
    if not authority:
        raise Unfit(f"no host in {shown(value)}")
    host, port = _host_port(authority, value)
    return _Parts(
        scheme,
        host,
        DEFAULT_PORTS[scheme] if port is None else port,
        parts[3],
        parts[4] or "",
        parts[5] or "",
    )


def _hidden(value: str) -> str:
    """Show a text that is no URL, unless it may hold a password."""
    return "text with an @ in it" if "@" in value else shown(value)


def _host_port(authority: str, value: str) -> tuple[str, int | None]:
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise Unfit(f"want host or host:port, got {shown(value)}")
    if not parts[2]:
        return host(parts[1]), None
    number = int(parts[2])
    if not 1 <= number <= HIGHEST_PORT:
        raise Unfit(f"want a port of 1 to {HIGHEST_PORT}, got {number}")
    return host(parts[1]), number


def host(value: str) -> str:
    """
    Return a host in canonical form.

    Returns:
        A name in lower case as A-labels and without a trailing dot; an IP address in its
        shortest form, IPv6 without brackets.

    Raises:
        Unfit: it is neither; the text shows it.
    """
    if value.startswith("["):
        return _ipv6(value[1:-1], value)
    name = value.removesuffix(".").lower()
    if "*" in name:
        raise Unfit(f"not yet: wildcards, as in {shown(value)}; want one host name")
    if not name.isascii():
        name = _a_labels(name, value)
    labels = name.split(".")
    if len(name) > LONGEST_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        raise Unfit(f"want a host name, got {shown(value)}")
    # 127.1 and 0x7f.1 are names to us and addresses to some resolvers.
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1]):
        try:
            return str(IPv4Address(name))
        except AddressValueError:
            raise Unfit(f"want a host name or an IP address, got {shown(value)}") from None
    return name


def _ipv6(inside: str, value: str) -> str:
    try:
        address = IPv6Address(inside)
    except AddressValueError:
        address = None
    if address is None or address.scope_id is not None:
        raise Unfit(f"want an IPv6 address in brackets, got {shown(value)}")
    return str(address)


def _a_labels(name: str, value: str) -> str:
    try:
        return idna.encode(name, uts46=True, transitional=False).decode("ascii")
    except idna.IDNAError:
        raise Unfit(f"want a host name, got {shown(value)}") from None


def bracketed(name: str) -> str:
    """Return a host as it stands in a URL: IPv6 in brackets."""
    return f"[{name}]" if ":" in name else name


def is_loopback(name: str) -> bool:
    """Return whether a canonical host can only be this machine."""
    name = name.strip("[]")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def route_origin(found: object) -> Origin:
    """Return the origin of ``from``."""
    parts = _split(found, FROM_NOT_YET)
    if parts.path not in ("", "/"):
        raise Unfit(f"want no path, got {shown(parts.path)}; put it in 'path' or 'prefix'")
    return _origin(parts, found)


def service_origin(found: object) -> Origin:
    """Return the origin of one of our own services."""
    parts = _split(found)
    if parts.path not in ("", "/"):
        raise Unfit(f"want scheme, host and port only, got the path {shown(parts.path)}")
    return _origin(parts, found)


def _origin(parts: _Parts, found: object) -> Origin:
    if parts.query or parts.fragment:
        raise Unfit(f"want scheme, host and port only, got {shown(str(found))}")
    return Origin(parts.scheme, bracketed(parts.host), parts.port)


_UPSTREAM_PATH = re.compile(r"(?:/(?:[!$&'()*+,;=:@A-Za-z0-9._~-]|%[0-9A-Fa-f]{2})*)*")


def upstream(found: object) -> UpstreamURL:
    """Return where an application listens."""
    parts = _split(found, TO_NOT_YET)
    # A last slash means nothing in `to`: with one or without, it is the same text.
    if re.search(r",[0-9]+/*$", parts.path):
        raise Unfit(f"not yet: weights, as in {shown(str(found))}; want one URL")
    if parts.query or parts.fragment:
        raise Unfit(f"want no query and no fragment, got {shown(str(found))}")
    if not _UPSTREAM_PATH.fullmatch(parts.path):
        raise Unfit(f"want other characters of the path as %XX, got {shown(parts.path)}")
    if any(segment in (".", "..") for segment in unquote(parts.path).split("/")):
        raise Unfit(f"want a path without . and .. segments, got {shown(parts.path)}")
    return UpstreamURL(parts.scheme, parts.host, parts.port, parts.path.rstrip("/"))


def issuer(found: object) -> str:
    """
    Return an identity provider's issuer, character by character as it was written.

    An issuer is compared as text (OpenID Connect Discovery section 4.3), so nothing here is
    made canonical.
    """
    parts = _split(found)
    if parts.query or parts.fragment:
        raise Unfit(f"want no query and no fragment, got {shown(str(found))}")
    if parts.scheme == "http" and not is_loopback(parts.host):
        raise Unfit(f"want https:// (http:// on loopback only), got {shown(str(found))}")
    value = text(found)
    if not value.isascii() or " " in value:
        raise Unfit(f"want a URL in ASCII, got {shown(value)}")
    return value


def listen_address(found: object) -> Address:
    """Return where to listen: ``:443``, ``127.0.0.1:443``, ``[::1]:443``; port 0 is any."""
    if isinstance(found, int) and not isinstance(found, bool):
        raise Unfit(f"want host:port, got {found}; write ':{found}'")
    value = text(found)
    parts = re.fullmatch(r"(\[[^\[\]]*\]|[^:\[\]]*):([0-9]{1,10})", value)
    if parts is None:
        raise Unfit(f"want :port, host:port or [IPv6]:port, got {shown(value)}")
    if int(parts[2]) > HIGHEST_PORT:
        raise Unfit(f"want a port of 0 to {HIGHEST_PORT}, got {int(parts[2])}")
    return Address(host(parts[1]) if parts[1] else "", int(parts[2]))


def network(found: object) -> IPv4Network | IPv6Network:
    """Return a network; one address alone is a network of one."""
    value = text(found)
    try:
        net = ip_network(value)
    except ValueError as error:
        hint = "; the address has bits beyond the mask" if "host bits" in str(error) else ""
        raise Unfit(f"want an address or a network, got {shown(value)}{hint}") from None
    if net.prefixlen == 0:
        raise Unfit(f"{net} is everybody: any client could say who it is; name the proxies")
    return net


def name_or_address(found: object) -> str:
    """Return a host name or an IP address by itself, canonical, no brackets."""
    value = text(found)
    return host(f"[{value}]" if ":" in value and not value.startswith("[") else value)
