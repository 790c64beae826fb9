"""
What changed between two settings, in sentences for the log, and what of it needs a restart.

Pure. No secret is in a sentence: of a secret it says that it changed, of a certificate whose it
is and until when, of a route which keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cryptography import x509

from pomeriumd.errors import Problem
from pomeriumd.settings.canonical import said
from pomeriumd.settings.fields import LONGEST_SHOWN, written
from pomeriumd.settings.keys import CLUSTER_KEYS, GLOBAL_KEYS, MTLS_KEYS, ROUTE_KEYS, Key
from pomeriumd.settings.model import ClusterSettings, DownstreamMTLS, RouteSettings, Settings
from pomeriumd.settings.reads import ReadsPairs
from pomeriumd.settings.values import CertificatePair

MOST_SENTENCES = 50
"""A log line has room for twice as many."""

LONGEST_TITLE = 120
"""Characters of a route or certificate's name."""

AT_START = ("services", "workers", "state_dir", "control_socket", "pomerium_debug")
"""Keys that are looked at when the daemon starts and not again: what is started, where the
secrets lie that it made, where it is asked, and how its log is written."""

GRPC_AT_START = (
    *("grpc_address", "grpc_insecure", "grpc_client_ca"),
    *("grpc_server_max_connection_age", "grpc_server_max_connection_age_grace"),
)
"""The same where authorize listens for proxies: a gRPC listener is made once. A proxy reads two
of them, and takes a change."""


def changes(before: Settings, after: Settings) -> tuple[str, ...]:
    """
    Return what changed, one sentence for each key, certificate and route.

    Returns:
        None if, and only if, both say the same (see ``canonical``); at most MOST_SENTENCES,
        of which the last one tells how many more there are.
    """
    found = [
        *_keys(before, after),
        *_mtls(before.downstream_mtls, after.downstream_mtls),
        *_certificates(before.certificates, after.certificates),
        *_routes(before.routes, after.routes),
        *_clusters(before.clusters, after.clusters),
    ]
    if len(found) <= MOST_SENTENCES:
        return tuple(found)
    kept = found[: MOST_SENTENCES - 1]
    return (*kept, f"and {len(found) - len(kept)} more")


def needs_restart(before: Settings, after: Settings) -> tuple[Problem, ...]:
    """Return a problem for each change that a running daemon cannot make."""
    found = _changed_at_start(before, after)
    both_listen = None not in (before.grpc_address, after.grpc_address)
    if both_listen and not found and before.grpc_tls != after.grpc_tls:
        text = "gRPC goes from TLS to none, or back, which needs a restart: restart pomeriumd"
        return (Problem("certificates", text),)
    return found


def _changed_at_start(before: Settings, after: Settings) -> tuple[Problem, ...]:
    listens = (before.grpc_address, after.grpc_address) != (None, None)
    keys = (*AT_START, *GRPC_AT_START) if listens else AT_START
    return tuple(
        Problem(
            key.name,
            f"{_from_to(getattr(before, key.attribute), getattr(after, key.attribute))}, which "
            "needs a restart: restart pomeriumd, or take the change back",
        )
        for key in _differing(before, after)
        if key.name in keys
    )


def _differing(before: Settings, after: Settings) -> Iterator[Key]:
    old, new = said(before, GLOBAL_KEYS), said(after, GLOBAL_KEYS)
    for name, key in GLOBAL_KEYS.items():
        if old.get(name) != new.get(name) or (name in old) != (name in new):
            yield key


def _keys(before: Settings, after: Settings) -> Iterator[str]:
    for key in _differing(before, after):
        old, new = getattr(before, key.attribute), getattr(after, key.attribute)
        if key.secret:
            yield f"{key.name} changed"
        elif isinstance(key.marks, ReadsPairs):
            names = sorted({name for name, _ in set(old) ^ set(new)})
            yield f"{key.name} changed: {_cut(', '.join(names), LONGEST_TITLE)}"
        else:
            yield f"{key.name} {_from_to(old, new)}"


def _from_to(old: Any, new: Any) -> str:
    if isinstance(old or new, bytes):
        return "changed"
    return f"changed from {_shown(old)} to {_shown(new)}"


def _shown(value: Any) -> str:
    """Return a value as an operator writes it, not too long."""
    if value is None:
        return "the default"
    if value == ():
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return written(value)
    if isinstance(value, tuple):
        return _cut(f"[{', '.join(map(_text, value))}]", LONGEST_SHOWN)
    return _cut(_text(value), LONGEST_SHOWN)


def _text(value: Any) -> str:
    return getattr(value, "text", None) or str(value)


def _cut(text: str, most: int) -> str:
    text = ascii(text)[1:-1]
    return text if len(text) <= most else f"{text[:most]}..."


def _routes(before: Sequence[RouteSettings], after: Sequence[RouteSettings]) -> Iterator[str]:
    old = {(route.from_, route.matcher): route for route in before}
    new = {(route.from_, route.matcher): route for route in after}
    for name, route in new.items():
        if name not in old:
            yield f"route {_title(route)} added"
        elif keys := _changed_keys(old[name], route):
            yield f"route {_title(route)} changed: {', '.join(keys)}"
    for name, route in old.items():
        if name not in new:
            yield f"route {_title(route)} removed"
    if [name for name in old if name in new] != [name for name in new if name in old]:
        yield "the order of the routes changed"


def _clusters(before: Sequence[ClusterSettings], after: Sequence[ClusterSettings]) -> Iterator[str]:
    old = {cluster.name: cluster for cluster in before}
    new = {cluster.name: cluster for cluster in after}
    for name, cluster in new.items():
        former = old.get(name)
        if former is None:
            yield f"cluster {_cut(name, LONGEST_TITLE)} added, routes: {len(cluster.routes)}"
            continue
        if keys := _changed_keys(former, cluster, CLUSTER_KEYS):
            yield f"cluster {_cut(name, LONGEST_TITLE)} changed: {', '.join(keys)}"
        for sentence in _routes(former.routes, cluster.routes):
            yield f"cluster {_cut(name, LONGEST_TITLE)}: {sentence}"
    for name in old:
        if name not in new:
            yield f"cluster {_cut(name, LONGEST_TITLE)} removed"


def _mtls(before: DownstreamMTLS | None, after: DownstreamMTLS | None) -> Iterator[str]:
    if before is None or after is None:
        if before is not after:
            yield f"downstream_mtls {'added' if before is None else 'removed'}"
    elif keys := _changed_keys(before, after, MTLS_KEYS):
        yield f"downstream_mtls changed: {', '.join(keys)}"


def _changed_keys(
    before: RouteSettings | ClusterSettings | DownstreamMTLS,
    after: RouteSettings | ClusterSettings | DownstreamMTLS,
    keys: Mapping[str, Key] = ROUTE_KEYS,
) -> list[str]:
    old, new = said(before, keys), said(after, keys)
    return [
        name for name in keys if old.get(name) != new.get(name) or (name in old) != (name in new)
    ]


def _title(route: RouteSettings) -> str:
    matcher = f" ({route.matcher})" if route.matcher else ""
    return _cut(f"{route.from_.text}{matcher}", LONGEST_TITLE)


def _certificates(
    before: Sequence[CertificatePair], after: Sequence[CertificatePair]
) -> Iterator[str]:
    old = [(pair.chain, pair.key) for pair in before]
    new = [(pair.chain, pair.key) for pair in after]
    gone: dict[str, list[x509.Certificate]] = {}
    were, are = set(old), set(new)
    for chain, _ in (pair for pair in old if pair not in are):
        leaf = _leaf(chain)
        gone.setdefault(_whose(leaf), []).append(leaf)
    for chain, _ in (pair for pair in new if pair not in were):
        leaf = _leaf(chain)
        former = gone.get(_whose(leaf))
        if not former:
            yield f"certificate of {_whose(leaf)} added, good until {_end(leaf)}"
        else:
            yield (
                f"certificate of {_whose(leaf)} changed, good until {_end(leaf)}; the one before "
                f"until {_end(former.pop(0))}"
            )
    for whose, leaves in gone.items():
        yield from (f"certificate of {whose} removed" for _ in leaves)
    if old != new and were == are:
        yield "the order of the certificates changed"


def _leaf(chain: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificates(chain)[0]


def _whose(leaf: x509.Certificate) -> str:
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = found.value.get_values_for_type(x509.DNSName)
    except (x509.ExtensionNotFound, ValueError):
        names = []
    return _cut(names[0] if names else leaf.subject.rfc4514_string(), LONGEST_TITLE)


def _end(leaf: x509.Certificate) -> str:
    return f"{leaf.not_valid_after_utc:%Y-%m-%d}"
