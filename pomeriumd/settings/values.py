"""
The values that settings are made of: secrets, addresses, origins, certificates.

Each is frozen and already canonical; who holds one need not check it again.
"""

from __future__ import annotations

import hmac

import attrs

DEFAULT_PORTS = {"http": 80, "https": 443}
"""The port that a URL means when it names none."""


EVERYWHERE = ("", "::")
"""Hosts that mean every address of this machine, IPv4 and IPv6."""

EVERYWHERE_4 = "0.0.0.0"  # noqa: S104  # to compare with
"""The one that means every address of IPv4."""


class Secret:
    """
    Octets that nothing prints: not repr, not str, not format, not an error's text.

    Two secrets are compared in constant time. An empty secret is false, as bytes are.
    """

    __slots__ = ("_octets",)

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    def reveal(self) -> bytes:
        """Return the octets themselves; keep what you do with them out of every text."""
        return self._octets

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._octets, other._octets)

    def __hash__(self) -> int:
        return hash((Secret, self._octets))

    def __bool__(self) -> bool:
        return bool(self._octets)

    def __repr__(self) -> str:
        return "Secret(...)"

    __str__ = __repr__


@attrs.frozen
class Address:
    """Where to listen. An empty host means every address of this machine."""

    host: str
    """A name or an IP address without brackets."""
    port: int

    @property
    def text(self) -> str:
        """Return it as an operator writes it: ``:443``, ``[::1]:443``, ``host:443``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def collides(self, other: Address) -> bool:
        """Return whether two sockets cannot listen at both; a port of 0 is any free one."""
        if not self.port or self.port != other.port:
            return False
        hosts = {self.host, other.host}
        if len(hosts) == 1 or not hosts.isdisjoint(EVERYWHERE):
            return True
        return EVERYWHERE_4 in hosts and not any(":" in host for host in hosts)


@attrs.frozen
class Origin:
    """Scheme, host and port that a browser sees."""

    scheme: str
    host: str
    """Lower case, IDNA A-labels, no trailing dot; IPv6 compressed and in brackets: the
    same text that stands in ``Request.host``."""
    port: int

    @property
    def text(self) -> str:
        """Return scheme://host, with the port only where it is not the scheme's own."""
        if self.port == DEFAULT_PORTS.get(self.scheme):
            return f"{self.scheme}://{self.host}"
        return f"{self.scheme}://{self.host}:{self.port}"

    @property
    def audience(self) -> str:
        """Return host:port with the port always written: what sessions are made out to."""
        return f"{self.host}:{self.port}"


@attrs.frozen
class UpstreamURL:
    """Where an application listens, and the path that its requests are put under."""

    scheme: str
    """``http`` or ``https``."""
    host: str
    """To connect to and to verify: lower case, A-labels; IPv6 *without* brackets."""
    port: int
    path: str = ""
    """Put in front of each request's path: empty, or ``/x/y`` with no slash at the end."""

    @property
    def authority(self) -> str:
        """Return what the Host field says: brackets as needed, port if not the default."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS.get(self.scheme) else f"{host}:{self.port}"

    @property
    def text(self) -> str:
        """Return the whole URL."""
        return f"{self.scheme}://{self.authority}{self.path}"


@attrs.frozen(kw_only=True)
class Facts:
    """What was found in a certificate and its key when they were checked."""

    names: tuple[str, ...]
    """DNS names in lower case and A-labels, a wildcard as ``*.example.com``."""
    addresses: tuple[str, ...]
    """IP addresses, IPv6 without brackets."""
    title: str
    """What an operator knows it by: its first name, else its subject."""
    begins: float
    """From when on it is valid: seconds since the epoch."""
    expires: float
    """Until when."""
    kind: str
    """Equal for chains that OpenSSL takes alike, or refuses: keys, sizes, signatures."""
    provisional: bool = False
    """It is for a time of trial: see ``provisional``."""
    notes: tuple[str, ...] = ()
    """What is odd about it and does not keep it from serving."""

    def covers(self, host: str) -> bool:
        """
        Return whether it is for a host.

        Args:
            host: canonical: a name in lower case and A-labels, a wildcard as such, or an IP
                address, IPv6 in brackets or not.

        Source: RFC 9525 section 6.3; a wildcard is the whole of the first label, for one.
        """
        host = host.strip("[]")
        label, _, rest = host.partition(".")
        return (
            host in self.names
            or host in self.addresses
            or (bool(label) and f"*.{rest}" in self.names)
        )


@attrs.frozen(kw_only=True)
class CertificatePair:
    """A server certificate with its key, both PEM."""

    chain: bytes
    """The certificate first, then what leads to its root."""
    key: Secret
    place: str
    """Where it stands in the settings, for errors: ``certificate``, ``certificates[1]``."""
    facts: Facts | None = attrs.field(default=None, eq=False, repr=False)
    """None where nobody has looked yet."""
    automatic: bool = False
    """Ordered by us (``autocert``): it is renewed, and shown even when it has expired."""
