"""The table of ``pomeriumd tls check``: a row for each host, and what is missing there. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import attrs

from pomeriumd.cli.tls.facts import Certificate, KeptIn, Missing, Severity, Trust, looked_at
from pomeriumd.net.pem import names_of, read_certificates
from pomeriumd.settings.model import Settings
from pomeriumd.settings.pairs import covers, grpc_pair
from pomeriumd.settings.roles import AUTHENTICATE, AUTHORIZE, PROXY
from pomeriumd.settings.values import CertificatePair

BROWSERS, PROXIES, NOBODY = "browsers", "proxies", ""
"""Who comes to a host."""


@attrs.frozen(kw_only=True)
class Row:
    """One host, and the certificate that it shows."""

    host: str
    """Empty for a certificate that no host of the settings shows."""
    whose: str
    """Who comes there."""
    certificate: Certificate
    missing: tuple[Missing, ...]

    @property
    def worst(self) -> Severity:
        """Return the worst of what is missing."""
        return max((one.severity for one in self.missing), default=Severity.NOTE)


def rows(
    settings: Settings,
    now: float,
    trusts: Sequence[Trust],
    files: Mapping[bytes, KeptIn],
    settings_file: KeptIn,
) -> list[Row]:
    """
    Return the rows: hosts for browsers, then those for proxies, then what is shown nowhere.

    Args:
        settings: checked already.
        now: seconds since the epoch.
        trusts: whose authorities are known here.
        files: see ``facts.looked_at``, as the next one.
        settings_file: the file of the settings.
    """
    seen = {
        id(pair): looked_at(pair, now, trusts, files, settings_file)
        for pair in settings.certificates
    }
    shown = [(host, whose, seen[id(pair)]) for host, whose, pair in _shown(settings)]
    found = [
        Row(host=host, whose=whose, certificate=one, missing=_of(host, whose, one))
        for host, whose, one in shown
    ]
    used = {id(one.pair) for _, _, one in shown}
    note = Missing(Severity.NOTE, "no host of these settings shows it")
    found += [
        Row(host="", whose=NOBODY, certificate=one, missing=(note, *one.missing))
        for key, one in seen.items()
        if key not in used
    ]
    return found


def worst(found: Sequence[Row]) -> Severity:
    """Return the worst of all rows."""
    return max((row.worst for row in found), default=Severity.NOTE)


def _shown(settings: Settings) -> Iterator[tuple[str, str, CertificatePair]]:
    """Yield each host, who comes there, and what they are shown."""
    if settings.https:
        choose = _Chooser(settings.certificates)
        for host in _hosts(settings):
            yield host, BROWSERS, choose(host)
    pair = grpc_pair(settings) if settings.runs(AUTHORIZE) and settings.grpc_address else None
    if pair is not None:
        hosts = dict.fromkeys(origin.host for origin in settings.authorize_service_urls)
        for host in hosts or ("(gRPC)",):
            yield host, PROXIES, pair


def _hosts(settings: Settings) -> Iterator[str]:
    """Yield the hosts that browsers come to by https, each once."""
    origins = [route.from_ for route in settings.routes if settings.runs(PROXY)]
    if settings.runs(AUTHENTICATE) and settings.authenticate_service_url is not None:
        origins.append(settings.authenticate_service_url)
    yield from dict.fromkeys(origin.host for origin in origins if origin.scheme == "https")


class _Chooser:
    """Chooses as ``net.contexts`` does: by the exact name, by a wildcard, or the first."""

    def __init__(self, pairs: Sequence[CertificatePair]) -> None:
        self._first = pairs[0]
        self._named: dict[str, CertificatePair] = {}
        for pair in pairs:
            for name in names_of(read_certificates(pair.chain)[0]):
                self._named.setdefault(name.decode("ascii"), pair)

    def __call__(self, host: str) -> CertificatePair:
        """Return what is shown for a host."""
        wildcard = f"*.{host.partition('.')[2]}"
        return self._named.get(host) or self._named.get(wildcard) or self._first


def _of(host: str, whose: str, one: Certificate) -> tuple[Missing, ...]:
    """Return what is missing at a host."""
    found: list[Missing] = []
    if not host.startswith("(") and not covers(one.pair, host):
        found.append(
            Missing(Severity.ERROR, f"{host} is not covered: have it issued for this name, too")
        )
    found += one.missing
    if whose == BROWSERS and one.trusts and not one.browsers:
        found.append(
            Missing(
                Severity.NOTE,
                "browsers do not trust it; that is right behind a balancer that ends their TLS",
            )
        )
    return tuple(found)
