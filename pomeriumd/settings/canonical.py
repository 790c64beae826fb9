"""
What settings say, in one form: equal for two files that say the same.

The order of keys, comments, lines, the spelling of a duration and what is written out though
it is the default make no difference; the content of a file that is named does, its path does
not. So two hosts, two formats and two versions of pomeriumd agree.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pomeriumd.settings.keys import (
    CLUSTER_KEYS,
    GLOBAL_KEYS,
    LISTS_OF_MAPS,
    MTLS_KEYS,
    ROUTE_KEYS,
    Key,
)
from pomeriumd.settings.model import ClusterSettings, DownstreamMTLS, RouteSettings, Settings
from pomeriumd.settings.reads import ReadsPairs
from pomeriumd.settings.values import CertificatePair, Secret


def digest(settings: Settings) -> str:
    """
    Return the SHA-256 of what settings say: 64 hexadecimal digits.

    It may be shown: secrets go into it, but ``cookie_secret`` or ``shared_secret``, which are 32
    random bytes and of which every process has one, keep all else in it from being guessed.
    """
    found = said(settings, GLOBAL_KEYS)
    clusters = sorted(settings.clusters, key=lambda cluster: cluster.name)
    # Left out where there are none, as what is by default is.
    if clusters:
        found["clusters"] = [
            {
                **said(cluster, CLUSTER_KEYS),
                "routes": [said(route, ROUTE_KEYS) for route in cluster.routes],
            }
            for cluster in clusters
        ]
    if settings.downstream_mtls is not None:
        found["downstream_mtls"] = said(settings.downstream_mtls, MTLS_KEYS)
    found["routes"] = [said(route, ROUTE_KEYS) for route in settings.routes]
    found["certificates"] = [_plain(pair) for pair in settings.certificates]
    text = json.dumps(found, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def said(
    of: Settings | ClusterSettings | RouteSettings | DownstreamMTLS, keys: Mapping[str, Key]
) -> dict[str, Any]:
    """
    Return by key what is not as by default, as JSON has it; none of the LISTS_OF_MAPS.

    Secrets are in it: it is not for showing.
    """
    found = {}
    for name, key in keys.items():
        if not key.attribute or name in LISTS_OF_MAPS:
            continue
        value = getattr(of, key.attribute)
        if value != key.default:
            plain = _plain(value)
            found[name] = sorted(plain) if isinstance(key.marks, ReadsPairs) else plain
    return found


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Secret):
        return {"secret": value.reveal().hex()}
    if isinstance(value, bytes):
        return {"octets": value.hex()}
    if isinstance(value, CertificatePair):
        return {"chain": value.chain.hex(), "key": value.key.reveal().hex()}
    # Addresses and URLs have a text of their own, networks are one.
    return getattr(value, "text", None) or str(value)
