"""
What a failed handshake with an upstream means for whoever wrote its route.

The text says what was seen, the remedy which key of the route to change.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from OpenSSL import SSL

from pomeriumd.crypto.tls_faults import (
    CLOSED,
    LATE,
    CertificateRefused,
    Fault,
    Found,
    broken_off,
)
from pomeriumd.errors import UpstreamTimeout, UpstreamUnreachable
from pomeriumd.net.peer import TLSPolicy

_CLOCK = "give the application a new one; if it is not so, set the clock of this host right"
_OURS = "set tls_client_cert and tls_client_key to a pair of an authority that it trusts"

_REMEDIES: Mapping[Fault, str] = MappingProxyType(
    {
        Fault.EXPIRED: _CLOCK,
        Fault.NOT_YET: _CLOCK,
        Fault.WRONG_NAME: "set tls_server_name to one of its names, or give it one for {name}",
        Fault.NO_NAME: "give the application one with the subjectAltName {name}",
        Fault.TOO_DEEP: "give the application a shorter chain, or put one of its authorities into "
        "tls_custom_ca",
        Fault.PURPOSE: "give the application one for serverAuth",
        Fault.WEAK: "give the application one of at least 2048 bits (RSA) or 256 (EC), and SHA-256",
        Fault.INVALID: "give the application another one",
        Fault.OURS_WANTED: _OURS,
        Fault.OURS_REFUSED: "is tls_client_cert of an authority that it trusts, with the whole "
        "chain, for clients, and not expired?",
        Fault.VERSION: "have the application speak TLS 1.2 or 1.3",
        Fault.CIPHERS: "have the application offer ECDHE with AES-GCM or ChaCha20; if it wants a "
        "client certificate, set tls_client_cert",
        Fault.NAME_UNKNOWN: "{name} is what was asked for: set tls_server_name to a name that it "
        "serves",
        Fault.HTTP_VERSION: "have the application offer http/1.1 (ALPN)",
        Fault.NOT_TLS: "if it speaks plain HTTP, write http:// in `to`; else is the port right?",
        Fault.CLOSED: "see its own log; does it want another tls_server_name, or tls_client_cert?",
        Fault.LATE: "does the port of `to` speak TLS, and what keeps the application?",
        Fault.OTHER: "see the application's own log",
    }
)


def refused(
    error: BaseException, tls: TLSPolicy, *, shaken: bool, asked: bool
) -> UpstreamUnreachable | None:
    """
    Return the error of a connection that TLS ended, None if something else did.

    Args:
        error: what ended it.
        tls: what was asked of the upstream.
        shaken: the handshake was complete on our side.
        asked: the upstream asked for our certificate.
    """
    found = _found(error, tls, shaken=shaken, asked=asked)
    if found is None:
        return None
    return UpstreamUnreachable(_text(found), _remedy(found.fault, tls), tls=found.fault.value)


def late(tls: TLSPolicy) -> UpstreamTimeout:
    """Return the error of an upstream whose handshake did not end in time."""
    return UpstreamTimeout(_text(LATE), _remedy(Fault.LATE, tls), tls=Fault.LATE.value)


def _found(error: BaseException, tls: TLSPolicy, *, shaken: bool, asked: bool) -> Found | None:
    if isinstance(error, CertificateRefused):
        return error.found
    if isinstance(error, SSL.Error):
        triples = error.args[0] if error.args and isinstance(error.args[0], list) else []
        words = [str(triple[-1]) for triple in triples if triple]
        return broken_off(words, asked=asked, shows=tls.client_cert is not None)
    return None if shaken else CLOSED


def _text(found: Found) -> str:
    return f"TLS with the upstream failed ({found.fault.value}): {found.text}"


def _remedy(fault: Fault, tls: TLSPolicy) -> str:
    if fault is Fault.UNTRUSTED:
        key = "set tls_custom_ca to" if tls.custom_ca is None else "add to tls_custom_ca"
        return f"{key} the authority that issued it, or have the application send its whole chain"
    if fault is Fault.SELF_SIGNED:
        key = "set tls_custom_ca to" if tls.custom_ca is None else "add to tls_custom_ca"
        return f"{key} this very certificate, or give the application one of an authority"
    return _REMEDIES[fault].format(name=tls.server_name)
