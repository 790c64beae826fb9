"""Which header fields the answers of each host carry, found once for a generation."""

from __future__ import annotations

from twisted.logger import Logger

from pomeriumd.net.contexts import CertificateStore
from pomeriumd.pieces import Pieces
from pomeriumd.proxy.response_headers import ResponseHeaders
from pomeriumd.settings.model import RESPONSE_HEADERS, Settings

FEW = 256
"""Hosts of one piece: some 0.3 ms."""

SHOWN = 8
"""Hosts that the log names."""

_log = Logger()


def building_headers(settings: Settings, store: CertificateStore | None) -> Pieces[ResponseHeaders]:
    """
    Leave Strict-Transport-Security out for hosts whose certificate is for a time of trial.

    That is the default one; who writes ``headers`` has what is written there. Where any
    certificate is of that kind, hosts that nobody configured do not send it either.
    """
    usual = settings.headers
    if store is None or not store.any_provisional or usual != RESPONSE_HEADERS:
        return ResponseHeaders(usual)
    hosts = dict.fromkeys(route.from_.host for route in settings.routes)
    if settings.authenticate_service_url is not None:
        hosts[settings.authenticate_service_url.host] = None
    insistent, left_out = set(), []
    for count, host in enumerate(hosts):
        if not count % FEW:
            yield
        if store.provisional(host.encode("ascii")):
            left_out.append(host)
        else:
            insistent.add(host)
    if left_out:
        more = f" and {len(left_out) - SHOWN} more" if len(left_out) > SHOWN else ""
        _log.warn(
            "no Strict-Transport-Security is sent for {hosts}: the certificate is self-signed or "
            "of a staging authority, and browsers that insisted on it would lock people out; get "
            "one that browsers trust",
            hosts=", ".join(left_out[:SHOWN]) + more,
        )
    return ResponseHeaders(usual, frozenset(insistent))
