"""
Certificates that ``autocert`` keeps: for which names they are to be, and those that are there.

What orders them writes them down in ``autocert_place`` (``acme.store``) and lists them in an
index; here they become certificates of the settings, as good as those that were written there.
A file that is missing or broken is passed over: it will be ordered again, and nobody may be kept
from starting by it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_address

import attrs
from cryptography import x509

from pomeriumd.settings.chain import examined
from pomeriumd.settings.files import LARGEST_NAMED, Files
from pomeriumd.settings.model import Settings
from pomeriumd.settings.roles import AUTHENTICATE, PROXY
from pomeriumd.settings.values import CertificatePair, Secret

DIRECTORY = "certificates"
"""Below ``autocert_place``."""

INDEX = "index"
"""In it: the names of the files beside it that count, one a line."""

MOST_KEPT = 5_000
"""Certificates of one index."""

_FILE = re.compile(r"[a-z0-9_-][a-z0-9._-]{0,250}\.pem")
_BEGIN = b"-----BEGIN CERTIFICATE-----"


@attrs.frozen
class Names:
    """DNS names that some certificates are for."""

    _names: frozenset[str]

    @classmethod
    def of(cls, chains: Iterable[bytes]) -> Names:
        """Return those of the first certificate of each chain, PEM."""
        return cls(frozenset(name for chain in chains for name in dns_names(chain)))

    def cover(self, name: str) -> bool:
        """
        Return whether a name is among them, or a wildcard for it is.

        Source: RFC 9525 section 6.3.
        """
        return name in self._names or f"*.{name.partition('.')[2]}" in self._names


def dns_names(chain: bytes) -> frozenset[str]:
    """Return the DNS names of the first certificate of a PEM; none of one that is broken."""
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return frozenset()
    found = names.get_values_for_type(x509.DNSName)
    return frozenset(name.lower().removesuffix(".") for name in found)


def wanted_names(settings: Settings) -> tuple[str, ...]:
    """
    Return the names that are to be ordered, sorted; none if ``autocert`` is off.

    They are ``autocert_names``, and the hosts that are served here with TLS and that neither
    these nor a configured certificate cover. An address, or a name without a dot, is ordered at
    no public authority, and not here.
    """
    if not settings.autocert:
        return ()
    configured = Names.of(pair.chain for pair in settings.certificates if not pair.automatic)
    given = [name for name in settings.autocert_names if not configured.cover(name)]
    asked = Names(frozenset(given))
    hosts = {
        host
        for host in _hosts(settings)
        if orderable(host) and not (configured.cover(host) or asked.cover(host))
    }
    return tuple(sorted(hosts.union(given)))


def _hosts(settings: Settings) -> Iterator[str]:
    if settings.runs(PROXY):
        yield from (r.from_.host for r in settings.all_routes if r.from_.scheme == "https")
    if settings.runs(AUTHENTICATE):
        origins = [settings.authenticate_service_url]
        origins += [cluster.authenticate_service_url for cluster in settings.clusters]
        for origin in origins:
            if origin is not None and origin.scheme == "https":
                yield origin.host


def orderable(host: str) -> bool:
    """Return whether an authority on the web can see whose a host is."""
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return "." in host
    return False


def missing_names(settings: Settings) -> tuple[str, ...]:
    """Return those of the names for which nothing is there yet, sorted."""
    kept = Names.of(pair.chain for pair in settings.certificates if pair.automatic)
    return tuple(name for name in wanted_names(settings) if not kept.cover(name))


def with_kept(settings: Settings, files: Files) -> Settings:
    """Return the settings with the certificates that are kept for them behind their own."""
    if not settings.autocert:
        return settings
    wanted = wanted_names(settings)
    kept = [
        (end, pair)
        for end, pair in kept_pairs(settings.autocert_place, files)
        if any(map(Names.of([pair.chain]).cover, wanted))
    ]
    # Of two for the same name the first one is shown: the one that is good for longer.
    kept.sort(key=lambda found: (-found[0], found[1].place))
    pairs = tuple(pair for _, pair in kept)
    return attrs.evolve(settings, certificates=(*settings.certificates, *pairs))


def kept_pairs(place: str, files: Files) -> Iterator[tuple[float, CertificatePair]]:
    """
    Return the certificates that the index lists, each with its end.

    Args:
        place: ``autocert_place``.
        files: reads them, and has seen the index afterwards: one that appears is a change.
    """
    directory = f"{place}/{DIRECTORY}"
    try:
        index = files.read(f"{directory}/{INDEX}", LARGEST_NAMED).decode("ascii", "replace")
    except OSError:
        return
    for name in index.split()[:MOST_KEPT]:
        if _FILE.fullmatch(name) is None:
            continue
        path = f"{directory}/{name}"
        try:
            found = kept_pair(files.read(path, LARGEST_NAMED), path)
        except (OSError, ValueError):
            continue
        yield found


def kept_pair(pem: bytes, path: str) -> tuple[float, CertificatePair]:
    """
    Return what a file holds, a key and then its certificate with its chain, and its end.

    Raises:
        ValueError: it does not hold that.
    """
    key_pem, begin, rest = pem.partition(_BEGIN)
    chain = begin + rest
    ordered, facts = examined(chain, key_pem)
    pair = CertificatePair(
        chain=ordered, key=Secret(key_pem), place=path, facts=facts, automatic=True
    )
    return facts.expires, pair
