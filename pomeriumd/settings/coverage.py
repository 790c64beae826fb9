"""
Whether each name that is served here has a certificate: else no browser gets any further.

Not asked where TLS ends in front of us: without TLS here, or with a balancer whose forwarded
fields we believe. That one shows its own certificate, and what it wants from ours is its affair.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address

from pomeriumd.errors import Problem
from pomeriumd.settings.automatic import orderable
from pomeriumd.settings.draft import Draft
from pomeriumd.settings.roles import AUTHENTICATE, AUTHORIZE, PROXY
from pomeriumd.settings.values import CertificatePair, Facts, Origin

NEEDS = frozenset(
    {
        *("services", "certificates", "insecure_server", "use_proxy_protocol", "trusted_proxies"),
        "autocert",
        *("drafts", "authenticate_service_url", "grpc_address", "grpc_insecure"),
        *("authorize_service_url", "authorize_service_urls", "override_certificate_name"),
    }
)
"""Values without which it cannot be told."""


def uncovered(draft: Draft) -> Iterator[Problem]:
    """Yield a problem for each name that no certificate covers."""
    if not draft.values.keys() >= NEEDS or not draft.values["certificates"]:
        return
    names = _Covered(draft.values["certificates"])
    seen: set[str] = set()
    for origin, draft_of, key in (*_for_browsers(draft), *_for_proxies(draft)):
        if origin.host in seen:
            continue
        seen.add(origin.host)
        if why := names.lacks(origin.host):
            yield draft_of.at(key, why)


def _for_browsers(draft: Draft) -> Iterator[tuple[Origin, Draft, str]]:
    values = draft.values
    in_front = values["trusted_proxies"] and not values["use_proxy_protocol"]
    if values["insecure_server"] or in_front:
        return
    for origin, draft_of, key in _hosts(draft):
        # One at http:// is served without TLS, and what can be ordered is on its way.
        if origin.scheme == "https" and not (values["autocert"] and orderable(origin.host)):
            yield origin, draft_of, key


def _hosts(draft: Draft) -> Iterator[tuple[Origin, Draft, str]]:
    values = draft.values
    own = values["authenticate_service_url"]
    if AUTHENTICATE in values["services"] and own is not None:
        yield own, draft, "authenticate_service_url"
    if PROXY in values["services"]:
        for route in values["drafts"]:
            if "from_" in route.values:
                yield route.values["from_"], route, "from"


def _for_proxies(draft: Draft) -> Iterator[tuple[Origin, Draft, str]]:
    """Yield the name that proxies elsewhere look for in what authorize shows them."""
    values = draft.values
    if AUTHORIZE not in values["services"] or values["grpc_address"] is None:
        return
    if values["grpc_insecure"]:
        return
    if values["override_certificate_name"]:
        name = values["override_certificate_name"]
        yield Origin("https", name, 443), draft, "override_certificate_name"
        return
    for key in ("authorize_service_url", "authorize_service_urls"):
        found = values[key]
        first = found[0] if isinstance(found, tuple) and found else found
        if isinstance(first, Origin):
            if first.scheme == "https":
                yield first, draft, key
            return


class _Covered:
    """All names of the certificates together."""

    def __init__(self, pairs: Sequence[CertificatePair]) -> None:
        facts = [pair.facts for pair in pairs if pair.facts is not None]
        self._names = {name for one in facts for name in one.names}
        self._first: Facts | None = pairs[0].facts

    def lacks(self, host: str) -> str:
        """Return what is wrong with the certificates for a host; empty if one covers it."""
        if _is_address(host):
            if self._first is None or self._first.covers(host):
                return ""
            return (
                f"no certificate covers {host}, which has to be in the first one: who calls an "
                "address asks for no name; add it there, or use a name"
            )
        parent = host.partition(".")[2]
        if host in self._names or (parent and f"*.{parent}" in self._names):
            return ""
        wild = f", or *.{parent}" if parent else ""
        return f"no certificate covers {host}; add one that has this name{wild}"


def _is_address(host: str) -> bool:
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
